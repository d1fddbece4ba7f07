# Recipes wrap the two commands and the loops of daily work; `just` lists them.

default:
    @just --list

# From nothing to messages through a mesh
up *args:
    hack/up {{args}}

# Removes what `up` started
down:
    hack/down

# Every test, or the stages named; `just test --all` tells every user story
test *stages:
    hack/test {{stages}}

# Starts metrics-server on the running cluster, for `kubectl top` and autoscalers
metrics:
    hack/metrics

# Formats all code
fmt:
    cargo fmt --all

# What a commit must pass, without a cluster
check: fmt
    hack/test style unit

# Writes deploy/crds, docs/reference.md, the chart's definitions and deploy/ anew from the types and the chart
crds:
    cargo run --quiet --bin kubectl-mesh -- crds --dir deploy/crds
    cargo run --quiet --bin kubectl-mesh -- crds --output markdown --dir docs
    hack/deploy

# Writes the generated pages and builds the site of docs/, in target/site/book
site:
    hack/reference
    hack/site

# Prints every word of these files that the style in .vale/ does not allow: `just words crates/api`
words *paths:
    hack/vocabulary {{paths}}

# Builds the operator's images, without a container engine
image:
    hack/image

# Makes all files of a release, without publishing: `just release --dry-run 0.1.0`
release *args:
    hack/release {{args}}

# Lists what is in each program, as CycloneDX and with licence texts, in target/sbom
sbom *args:
    hack/sbom {{args}}

# Installs cargo-deny for `hack/test style`, which else checks deny.toml by itself; takes minutes
cargo-deny:
    cargo install cargo-deny --version 0.20.2 --locked --no-default-features \
      --root "${FUNCTION_MESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/function-mesh}/tools"

# How fast, quiet and small the controller is with 1000 functions: `just bench-controller --help`
bench-controller *args:
    cargo bench -p function-mesh-controller --bench controller -- {{args}}

# The operator killed and its requests struck at every request of every flow, in every way
crash-points *flows:
    FUNCTION_MESH_ALL_POINTS=1 cargo test -p function-mesh-controller --test crash -- {{flows}}

# Attacks on the programs under the chart's memory limits: `just attack --help`
attack *args:
    hack/attack {{args}}

# Edits, faults and crashes by chance for some minutes, then all must be as without
chaos minutes="10":
    FUNCTION_MESH_CHAOS_MINUTES={{minutes}} cargo test -p function-mesh-controller --test crash
