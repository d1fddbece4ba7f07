# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # variables of lib.sh and hack/up, and those set for hack/up
# What `hack/up --kind` and hack/down do with a cluster of kind or k3d. Sourced by them.

kind_name=function-mesh
kind_state=$state/kind
kind_runner=apachepulsar/pulsar:$pulsar_version
kind_controller=localhost/function-mesh/controller-manager:$(crate_version)
kind_webhook=${kind_controller/controller-manager/webhook}

# Chooses the container engine and the tool: kind with Docker or Podman, else k3d with Docker.
kind_preflight() {
  command -v kubectl >/dev/null && command -v helm >/dev/null && command -v python3 >/dev/null ||
    die "--kind needs kubectl, helm and python3"
  for engine in docker podman; do
    ! "$engine" info >/dev/null 2>&1 || break
    engine=''
  done
  [[ -n $engine ]] || die "--kind needs Docker or Podman; neither answers \`docker info\` or \`podman info\`"
  kind_tool=kind
  if ! command -v kind >/dev/null; then
    command -v k3d >/dev/null || die "--kind needs kind or k3d"
    [[ $engine == docker ]] || die "k3d needs Docker; install kind to use Podman"
    kind_tool=k3d
  fi
  [[ $engine == docker ]] || export KIND_EXPERIMENTAL_PROVIDER=podman
}

# Whether the static programs can be compiled outside of a container, which is faster at the second time.
kind_compiles() {
  [[ $(uname -sm) == "Linux x86_64" && $(cc -print-file-name=libc.a 2>/dev/null) == /* ]] && command -v cargo >/dev/null
}

kind_has_images() { "$engine" image inspect "$kind_controller" "$kind_webhook"; }

kind_exists() {
  if [[ $kind_tool == kind ]]; then
    kind get clusters 2>/dev/null | grep -qx "$kind_name"
  else
    k3d cluster get "$kind_name" >/dev/null 2>&1
  fi
}

# Creates the cluster unless it exists, and remembers that hack/down deletes it. The kubeconfig is a file of its own: the
# user's current context stays.
kind_create() {
  mkdir -p "$kind_state"
  kind_exists || {
    printf '%s\n' "$kind_tool" "${KIND_EXPERIMENTAL_PROVIDER:-}" >"$kind_state/created"
    if [[ $kind_tool == kind ]]; then
      kind create cluster --name "$kind_name" --kubeconfig "$kubeconfig" --wait 3m
    else
      k3d cluster create "$kind_name" --kubeconfig-update-default=false --kubeconfig-switch-context=false --wait
    fi
  } >&2
  if [[ $kind_tool == kind ]]; then
    kind get kubeconfig --name "$kind_name"
  else
    k3d kubeconfig get "$kind_name"
  fi >"$kubeconfig"
}

# kind_build PROGRAMS: builds both images with the Dockerfile: from these programs, or in a container without any.
kind_build() {
  local context=$root args=(--build-arg PROFILE=tryout)
  if [[ -n $1 ]]; then
    context=$kind_state/context args=(--build-arg PROGRAMS=programs)
    "$root/hack/image" --context "$1" "$context" >&2
  fi
  "$engine" build --file "$root/Dockerfile" --target controller --tag "$kind_controller" "${args[@]}" "$context" >&2
  "$engine" build --file "$root/Dockerfile" --target webhook --tag "$kind_webhook" "${args[@]}" "$context" >&2
}

# Loads the images as archives, which works with every engine.
kind_load() {
  local ref archive
  for ref in "$kind_controller" "$kind_webhook"; do
    archive=$kind_state/image.tar
    rm -f "$archive" # Podman does not overwrite it
    "$engine" save --output "$archive" "$ref" >&2
    if [[ $kind_tool == kind ]]; then
      kind load image-archive "$archive" --name "$kind_name" >&2
    else
      k3d image import "$archive" --cluster "$kind_name" >&2
    fi
  done
  rm -f "$archive"
}

# The IDs of the images, so that pods restart when the programs change.
kind_digest() {
  "$engine" image inspect --format '{{.Id}}' "$kind_controller" "$kind_webhook" | sha256sum | cut -c1-16
}

# kind_cert_manager VERSION: applies cert-manager's manifest.
kind_cert_manager() {
  kube apply --server-side -f \
    "${FUNCTION_MESH_CERT_MANAGER:-https://github.com/cert-manager/cert-manager/releases/download/$1/cert-manager.yaml}" >&2
  kube wait --for=condition=Available --timeout=5m deployment --all --namespace cert-manager >&2
  await_cert_manager
}

kind_pulsar() {
  sed "s|image: apachepulsar/pulsar:.*|image: $kind_runner|" "$root/hack/pulsar/standalone.yaml" |
    kube apply --server-side -f - >&2
  kube rollout status deployment/pulsar --namespace pulsar --timeout=10m >&2
}

# Prints the address on this machine that forwards to the broker's web port.
kind_forward() {
  local log=$kind_state/forward.log until=$((SECONDS + 30)) address=''
  if ! alive "$kind_state/forward" >/dev/null; then
    rm -f "$log"
    launch "$kind_state/forward" "$log" kubectl --kubeconfig "$kubeconfig" port-forward --namespace pulsar \
      --address 127.0.0.1 deployment/pulsar :8080
  fi
  until [[ -n $address ]]; do
    address=$(sed -n 's/^Forwarding from \([0-9.:]*\) -> .*/\1/p' "$log" 2>/dev/null | head -n 1)
    ((SECONDS < until)) || die "kubectl port-forward does not start: $(tail -n 1 "$log")"
    sleep 0.2
  done
  echo "$address"
}

# Everything up to the broker.
kind_cluster() {
  local programs=''
  if kind_compiles; then
    programs=$(progress "building the operator" "$root/hack/image" --tryout --programs)
    cli=${FUNCTION_MESH_CLI:-$programs/kubectl-mesh}
  fi
  progress "building its images" kind_build "$programs"
  progress "starting the cluster $kind_name with $kind_tool" kind_create
  progress "loading images into the node" kind_load
  progress "starting the broker" kind_pulsar
  host_web=http://$(kind_forward)
  image=$kind_runner programs_hash=$(kind_digest)
  web=http://pulsar.pulsar:8080 broker=pulsar://pulsar.pulsar:6650
}

# Deletes the cluster, if hack/up created it.
kind_down() {
  local tool provider
  [[ -d $kind_state ]] || return 0
  stop_process "$kind_state/forward"
  [[ -f $kind_state/created ]] || return 0
  { read -r tool && read -r provider; } <"$kind_state/created" || true
  if [[ $tool == kind ]]; then
    ${provider:+env KIND_EXPERIMENTAL_PROVIDER="$provider"} kind delete cluster --name "$kind_name"
  else
    k3d cluster delete "$kind_name"
  fi >&2
}
