# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for those who source this
# What the commands in hack/ share: where things are, how progress is told, and how a process is started so
# that exactly that process can be ended later.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is built or fetched once.
cache=${FUNCTION_MESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/function-mesh}
# Everything that runs; sockets in it must have short paths.
state=${FUNCTION_MESH_STATE:-/var/tmp/function-mesh}
# Cargo's; CI keeps it over fresh clones.
target=${CARGO_TARGET_DIR:-$root/target}

die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# step TEXT: tells what comes, with the seconds since the start.
step() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }

# A pid alone may have been given to somebody else since; with its start time it is one process.
start_time() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  read -ra stat <<<"${stat##*) }" # the program's name, before this, may hold blanks
  [[ ${stat[0]} == Z ]] || echo "${stat[19]}"
}

# alive FILE: prints the pid that is recorded in FILE, if that process still runs.
alive() {
  local pid started
  [[ -f $1 ]] || return 1
  read -r pid started <"$1"
  [[ -n $started && $(start_time "$pid") == "$started" ]] && echo "$pid"
}

# launch FILE LOG COMMAND…: starts a process of its own and records it in FILE. The child records itself
# before it becomes COMMAND, so that there is never one that nobody knows of.
launch() {
  local file=$1 log=$2
  shift 2
  # shellcheck disable=SC2016
  setsid bash -c '
    stat=$(</proc/$$/stat); read -ra stat <<<"${stat##*) }"
    echo "$$ ${stat[19]}" >"$0.new" && mv "$0.new" "$0" && exec "$@"
  ' "$file" "$@" </dev/null >>"$log" 2>&1 &
}

# finish FILE: ends the recorded process, kindly at first.
finish() {
  local pid
  if pid=$(alive "$1"); then
    kill -TERM "$pid" 2>/dev/null || true
    for _ in {1..100}; do alive "$1" >/dev/null || break; sleep 0.1; done
    if pid=$(alive "$1"); then kill -KILL "$pid" 2>/dev/null || true; fi
  fi
  rm -f "$1"
}

# need_free FOLDER GIB WHAT: there is room.
need_free() {
  local folder=$1 free
  while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
  free=$(($(df -Pk "$folder" | awk 'NR == 2 { print $4 }') / 1048576))
  ((free >= $2)) || die "$3 needs $2 GiB of room in $folder, and $free are free"
}

# need PROGRAM… : all are there, or all that are missing are named.
need() {
  local program missing=()
  for program in "$@"; do command -v "$program" >/dev/null || missing+=("$program"); done
  ((${#missing[@]} == 0)) || die "not found: ${missing[*]}. Needed are Rust (cargo), Go, Java 17 with Maven, Python 3 and curl"
}

# archive FOLDER [NAME…]: writes a tar of FOLDER that depends on nothing but the contents and SOURCE_DATE_EPOCH.
archive() {
  local folder=$1
  shift
  (($#)) || set -- .
  tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    --mtime="@$SOURCE_DATE_EPOCH" -C "$folder" -cf - "$@"
}

# packages PACKAGE…: installs what is missing of these Debian packages.
packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "install these Debian packages, or what your system calls them: ${missing[*]}"
  ((EUID == 0)) || die "run as root, or install these packages first: ${missing[*]}"
  step "installing ${missing[*]}"
  apt-get update -qq >&2
  # Daemons of these packages must not start: the cluster runs its own.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# What a node needs of the system.
node_packages=(containerd runc containernetworking-plugins iptables nftables conntrack iproute2 procps util-linux)
