# Images of the two programs: static binaries on nothing else. Build either with
#   docker build --target controller -t function-mesh-controller-manager .
#   docker build --target webhook    -t function-mesh-webhook .
# Where no base image can be pulled, build the binaries first and hand them in:
#   docker build --build-arg PROGRAMS=programs --target controller .
# with the binaries in the folder `dist`.
ARG PROGRAMS=build

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# One static file with everything in it. --target keeps build scripts and macros, which run here, dynamic.
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked \
      --target x86_64-unknown-linux-gnu -p function-mesh-controller -p function-mesh-webhook \
 && mkdir /dist \
 && cp target/x86_64-unknown-linux-gnu/release/function-mesh-controller-manager \
       target/x86_64-unknown-linux-gnu/release/function-mesh-webhook /dist/

FROM scratch AS programs
COPY dist /dist

FROM ${PROGRAMS} AS chosen

FROM scratch AS webhook
COPY --from=chosen /dist/function-mesh-webhook /function-mesh-webhook
USER 10000:10001
ENTRYPOINT ["/function-mesh-webhook"]

FROM scratch AS controller
COPY --from=chosen /dist/function-mesh-controller-manager /function-mesh-controller-manager
# Where the original operator's deployments look for it.
COPY --from=chosen /dist/function-mesh-controller-manager /manager
USER 10000:10001
ENTRYPOINT ["/function-mesh-controller-manager"]
