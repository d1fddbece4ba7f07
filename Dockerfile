# Images of the three programs: static binaries on nothing else. Build them with any builder:
#   docker build --target controller -t function-mesh/controller-manager:0.1.0 .
#   docker build --target webhook    -t function-mesh/webhook:0.1.0 .
#   docker build --target console    -t function-mesh/console:0.1.0 .
# Where no base image can be pulled, build the programs first and hand them in, as hack/image does:
#   buildah bud --build-arg PROGRAMS=programs --target controller .
# with the folder `dist` made as below.
ARG PROGRAMS=build
# The builder by digest: a tag may name another image tomorrow. Take another one with --build-arg BUILDER=…@sha256:…
ARG BUILDER=docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1

FROM ${BUILDER} AS build
# A profile of Cargo.toml; tryout is built in less time.
ARG PROFILE=release
WORKDIR /src
COPY . .
# One static file with everything in it, but what unwinding needs: a panic ends the programs. --target keeps build
# scripts and macros, which run here, dynamic.
RUN target=$(rustc --print host-tuple) \
 && RUSTFLAGS="-C target-feature=+crt-static -C force-unwind-tables=no" cargo build --profile $PROFILE --locked \
      --target $target -p function-mesh-controller -p function-mesh-webhook -p function-mesh-console \
 && programs=target/$target/$PROFILE \
 && install -D $programs/function-mesh-webhook /dist/webhook/function-mesh-webhook \
 && install -D $programs/function-mesh-console /dist/console/function-mesh-console \
 && install -D $programs/function-mesh-controller-manager /dist/controller/function-mesh-controller-manager \
 # the path in upstream's deployments
 && ln -s function-mesh-controller-manager /dist/controller/manager

FROM scratch AS programs
COPY dist /dist

FROM ${PROGRAMS} AS chosen

FROM scratch AS webhook
COPY --from=chosen /dist/webhook/ /
USER 10000:10001
ENTRYPOINT ["/function-mesh-webhook"]

FROM scratch AS console
COPY --from=chosen /dist/console/ /
USER 10000:10001
ENTRYPOINT ["/function-mesh-console"]

FROM scratch AS controller
COPY --from=chosen /dist/controller/ /
USER 10000:10001
ENTRYPOINT ["/function-mesh-controller-manager"]
