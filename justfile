# Recipes wrap the two commands and the loops of daily work; `just` lists them.

default:
    @just --list

# From nothing to messages through a mesh
up *args:
    hack/up {{args}}

# Removes what `up` started
down:
    hack/down

# Every test, or the stages named
test *stages:
    hack/test {{stages}}

# Formats all code
fmt:
    cargo fmt --all

# What a commit must pass, without a cluster
check: fmt
    hack/test style unit

# Writes deploy/crds anew from the types
crds:
    cargo run --quiet --bin kubectl-mesh -- crds --dir deploy/crds

# How fast, quiet and small the controller is with 1000 functions: `just bench-controller --help`
bench-controller *args:
    cargo bench -p function-mesh-controller --bench controller -- {{args}}

# The operator killed and its requests struck at every request of every flow, in every way
crash-points *flows:
    FUNCTION_MESH_ALL_POINTS=1 cargo test -p function-mesh-controller --test crash -- {{flows}}

# Edits, faults and crashes by chance for some minutes, then all must be as without
chaos minutes="10":
    FUNCTION_MESH_CHAOS_MINUTES={{minutes}} cargo test -p function-mesh-controller --test crash
