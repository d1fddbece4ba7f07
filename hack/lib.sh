# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for those who source this
# Shared by the commands in hack/: folders, progress, and processes that a later command can stop safely.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=progress.sh
source "$root/hack/progress.sh"
# Built programs and downloads.
cache=${FUNCTION_MESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/function-mesh}
# State of running programs; sockets in it need short paths.
state=${FUNCTION_MESH_STATE:-/var/tmp/function-mesh}
# Target folder of Cargo; CI caches it.
target=${CARGO_TARGET_DIR:-$root/target}

pulsar_version=${PULSAR_VERSION:-4.0.8}

# The version of the programs.
crate_version() { sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1; }

die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Cargo compiles a crate, and all that depends on it, again for other features, which depend on the selected packages and on
# whether tests are among them. So what tests need is selected in the whole workspace, with a test.

# build_programs NAME...: builds these programs as tests use them.
build_programs() { cargo build --quiet --workspace --locked --test pages "${@/#/--bin=}"; }

# test_program FOLDER TEST: builds a test of the package in FOLDER and prints the path of its program. TEST `lib` is the
# unit tests of the library.
test_program() {
  local program which="--test=$2"
  [[ $2 != lib ]] || which=--lib
  program=$(cargo test --quiet --workspace --locked "$which" --no-run --message-format json-render-diagnostics |
    jq -r --arg manifest "$root/$1/Cargo.toml" --arg test "$2" 'select(.reason == "compiler-artifact" and .profile.test
      and .executable and .manifest_path == $manifest and (.target.name == $test or .target.kind == [$test])) | .executable') ||
    return
  [[ -n $program ]] || die "$1: no test program $2"
  echo "$program"
}

# in_package FOLDER COMMAND...: runs a command in the folder of a package, as Cargo runs tests.
in_package() { (cd "$root/$1" && CARGO_MANIFEST_DIR=$PWD "${@:2}"); }

# run_test FOLDER TEST ARGUMENT...: builds a test of the package in FOLDER and runs it.
run_test() {
  local program
  program=$(test_program "$1" "$2") || return
  in_package "$1" "$program" "${@:3}"
}

# The start time of a process: PIDs are reused, a PID with its start time is unique.
start_time() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  read -ra stat <<<"${stat##*) }" # the program's name, before this, may contain spaces
  [[ ${stat[0]} == Z ]] || echo "${stat[19]}"
}

# alive FILE: prints the PID that FILE records, if that process still runs.
alive() {
  local pid started
  [[ -f $1 ]] || return 1
  read -r pid started <"$1"
  [[ -n $started && $(start_time "$pid") == "$started" ]] && echo "$pid"
}

# launch FILE LOG COMMAND...: starts a detached process and records it in FILE. The child records itself before it
# becomes COMMAND, so there is never a process without a record.
launch() {
  local file=$1 log=$2
  shift 2
  # shellcheck disable=SC2016
  setsid bash -c '
    stat=$(</proc/$$/stat); read -ra stat <<<"${stat##*) }"
    echo "$$ ${stat[19]}" >"$0.new" && mv "$0.new" "$0" && exec "$@"
  ' "$file" "$@" </dev/null >>"$log" 2>&1 &
}

# stop_process FILE: stops the recorded process, with SIGTERM first.
stop_process() {
  local pid
  if pid=$(alive "$1"); then
    kill -TERM "$pid" 2>/dev/null || true
    for _ in {1..100}; do alive "$1" >/dev/null || break; sleep 0.1; done
    if pid=$(alive "$1"); then kill -KILL "$pid" 2>/dev/null || true; fi
  fi
  rm -f "$1"
}

# need_free FOLDER GIB WHAT: fails if FOLDER has less free space.
need_free() {
  local folder=$1 free
  while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
  free=$(($(df -Pk "$folder" | awk 'NR == 2 { print $4 }') / 1048576))
  ((free >= $2)) || die "$3 needs $2 GiB of free space in $folder, and $free GiB are free"
}

# make_room GIB: if less is free for builds, deletes what a build makes again: the compiler's incremental results, and
# programs and images of older sources (a folder's time is that of its last use; two stay of each kind).
make_room() {
  local folder old
  mkdir -p "$cache" "$target"
  (($(df -Pk "$target" | awk 'NR == 2 { print $4 }') < $1 * 1048576)) || return 0
  step "less than $1 GiB free: deleting incremental results and older programs"
  rm -rf "$target"/*/incremental "$target"/*/*/incremental
  for folder in cluster runner-image functions; do
    [[ -d $cache/$folder ]] || continue
    find "$cache/$folder" -mindepth 1 -maxdepth 1 -type d -regextype egrep -regex '.*/[0-9a-f]{16}' -printf '%T@ %p\n' |
      sort -rn | tail -n +3 | while read -r _ old; do rm -rf "$old"; done
  done
}

# need PROGRAM...: fails and names the missing programs.
need() {
  local program missing=()
  for program in "$@"; do command -v "$program" >/dev/null || missing+=("$program"); done
  ((${#missing[@]} == 0)) || die "not found: ${missing[*]}; install Rust (cargo), Go, Java 17 with Maven, Python 3 and curl"
}

# archive FOLDER [NAME...]: writes a reproducible tar: it depends only on the contents and SOURCE_DATE_EPOCH.
archive() {
  local folder=$1
  shift
  (($#)) || set -- .
  tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    --mtime="@$SOURCE_DATE_EPOCH" -C "$folder" -cf - "$@"
}

# packages PACKAGE...: installs missing Debian packages.
packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "install these Debian packages, or their equivalents: ${missing[*]}"
  ((EUID == 0)) || die "run as root, or install these packages: ${missing[*]}"
  progress "reading the lists of Debian packages" apt-get update -qq >&2
  # Daemons of these packages must not start: the cluster runs its own.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    progress "installing ${missing[*]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# Debian packages of a node.
node_packages=(containerd runc containernetworking-plugins iptables nftables conntrack iproute2 procps util-linux)
