# Recipes for daily work; `just` lists them.

default:
    @just --list

# Starts a cluster, a broker and the operator, and runs a mesh
up *args:
    hack/up {{args}}

# Removes everything that `up` started
down:
    hack/down

# Runs all tests, or the named stages; `just test --all` runs all end-to-end tests
test *stages:
    hack/test {{stages}}

# Starts metrics-server beside the running cluster, for `kubectl top` and autoscalers
metrics:
    hack/metrics

# Formats all code
fmt:
    cargo fmt --all

# Checks a commit without a cluster
check: fmt
    hack/test style unit

# Writes deploy/crds, docs/reference.md, the chart's CRDs and deploy/ from the types and the chart
crds:
    cargo run --quiet --bin kubectl-mesh -- crds --dir deploy/crds
    cargo run --quiet --bin kubectl-mesh -- crds --output markdown --dir docs
    hack/deploy

# Writes the generated pages and builds the site of docs/, in target/site/book
site:
    hack/reference
    hack/site

# Prints the findings of the style in .vale/ in these files: `just words crates/api`
words *paths:
    hack/vocabulary {{paths}}

# Builds the operator's images, without a container engine
image:
    hack/image

# Builds all files of a release, without publishing: `just release --dry-run 0.1.0`
release *args:
    hack/release {{args}}

# Writes the SBOM and the licence texts of each program to target/sbom
sbom *args:
    hack/sbom {{args}}

# Installs cargo-deny for `hack/test style`, which otherwise checks deny.toml with its own code; takes minutes
cargo-deny:
    cargo install cargo-deny --version 0.20.2 --locked --no-default-features \
      --root "${FUNCTION_MESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/function-mesh}/tools"

# Measures time, requests and memory of this or another operator with 1000 functions: `just bench --help`
bench *args:
    cargo bench -p function-mesh-controller --bench controller -- {{args}}

# Measures requests to Pulsar, time, memory and writes of the observer with up to 1000 functions: `just bench-observer --help`
bench-observer *args:
    cargo bench -p function-mesh-controller --bench observer -- {{args}}

# Runs the scaling decision beside those of KEDA, Numaflow and Flink on simulated traces: `just simulate --help`
simulate *args:
    cargo bench --quiet -p function-mesh-scaling --bench simulate -- {{args}}

# Kills the operator, or injects each fault, at every request of every flow
crash-points *flows:
    FUNCTION_MESH_ALL_POINTS=1 cargo test -p function-mesh-controller --test crash -- {{flows}}

# Attacks on the programs under the chart's memory limits: `just attack --help`
attack *args:
    hack/attack {{args}}

# Random edits, faults and crashes for some minutes; the final state must equal that of an undisturbed run
chaos minutes="10":
    FUNCTION_MESH_CHAOS_MINUTES={{minutes}} cargo test -p function-mesh-controller --test crash
