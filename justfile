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
