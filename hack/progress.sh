# shellcheck shell=bash
# Progress of long commands, on standard error: their standard output belongs to the caller. Sourced by lib.sh, and alone
# by commands that need nothing else of it. It needs Linux, for /proc.
#
# On a terminal one line is rewritten every second, elsewhere a line is printed at least every ten seconds. A command that
# reports progress itself, below another one that does, ends its lines with a carriage return: the outer one shows them,
# as it shows those of cargo, and drops them from the output of a failure.

# step TEXT: prints the next step, with the seconds since the start.
step() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }

# progress TEXT COMMAND...: runs the command, or the function in a subshell, and shows while it runs what it says: of
# cargo and `go build -v` how far they are, of others the last line. Its standard error is shown when it fails, complete.
# `progress_total` is the number of packages that Go compiles, if it is known.
progress() {
  local text=$1 file log ticker status=0
  shift
  step "$text"
  file=$(mktemp)
  exec {log}<>"$file"
  rm "$file" # the descriptors stay, and a killed run leaves no file
  progress_ticker "$text" "/proc/$BASHPID/fd/$log" "$1" &
  ticker=$!
  # In the foreground, so that Ctrl-C reaches it; and not in a condition, which would switch `set -e` off inside.
  set +e
  (
    set -e
    if [[ $1 == cargo ]]; then export CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=120; fi
    FUNCTION_MESH_PROGRESS=nested
    export FUNCTION_MESH_PROGRESS
    "$@"
  ) 2>&"$log" {log}>&-
  status=$?
  set -e
  { kill "$ticker" && wait "$ticker"; } 2>/dev/null || true
  ! progress_on_terminal || printf '\r\033[K' >&2
  ((status == 0)) || progress_output "/proc/$BASHPID/fd/$log" >&2
  exec {log}>&-
  return "$status"
}

progress_on_terminal() { [[ -z ${FUNCTION_MESH_PROGRESS:-} && -t 2 && ${TERM:-dumb} != dumb ]]; }

# The output without what was to be rewritten.
progress_output() { sed 's/.*\r//' "$1"; }

# Draws until it is killed, or this shell has ended. It keeps neither the caller's pipe nor its locks open.
progress_ticker() {
  local text=$1 log=$2 program=$3 since=$SECONDS shown=$SECONDS line columns=80 idle
  exec {idle}<> <(:) >/dev/null 8>&- 9>&-
  while kill -0 "$$" 2>/dev/null; do
    read -rt 1 -u "$idle" || true # sleeps without a process that outlives this one
    line=$(progress_detail "$log" "$program" "${progress_total:-}")
    if [[ -n ${FUNCTION_MESH_PROGRESS:-} ]]; then
      printf '%s\r' "$text${line:+: $line}" >&2
      continue
    fi
    line="$text, $((SECONDS - since)) s${line:+: $line}"
    if progress_on_terminal; then
      read -r _ columns < <(stty size <&2 2>/dev/null) || true
      line=$(printf '[%3d s] %s' "$SECONDS" "$line")
      ((columns > 1)) || columns=80
      printf '\r\033[K%s' "${line:0:columns-1}" >&2
    elif ((SECONDS - shown >= 9)); then
      step "$line"
      shown=$SECONDS
    fi
  done
}

# progress_detail LOG PROGRAM TOTAL: how far the program is, by its output.
progress_detail() {
  local last
  case $2 in
    # `Building [=====>      ] 45/310: serde, tokio(build)`
    cargo) last=$(progress_lines "$1" | sed -n 's/^ *Building \[.*\] \([0-9]*\)\/\([0-9]*\)\(: \(.*\)\)\{0,1\}$/\1 of \2 (\4)/p' | tail -n 1) ;;
    # names of packages, after lines about downloads, which begin with `go: `
    go)
      last=$(grep -vc -e '^go: ' -e '^#' "$1" 2>/dev/null || true)
      if ((last == 0)); then last=''; else last="$last${3:+ of $3} packages ($(progress_lines "$1" | tail -n 1))"; fi
      ;;
  esac
  [[ -n ${last:-} ]] || last=$(progress_lines "$1" | tail -n 1)
  echo "${last//[[:cntrl:]]/}"
}

# The last lines of a log, also those that end with a carriage return, without blanks at their ends.
progress_lines() {
  tail -c 4000 "$1" 2>/dev/null | tr '\r' '\n' | sed -e 's/^\[ *[0-9]* s\] //' -e 's/[[:space:]]*$//' -e '/^$/d'
}

# side_by_side FOLDER COMMAND COMMAND: runs two commands (words, split at spaces) at the same time. Their standard output
# goes to FOLDER/1 and FOLDER/2. When one fails, the other one is stopped. For `progress`, which runs it in a subshell.
side_by_side() {
  local folder=$1 number
  shift
  # For the trap, which runs outside of this function. A process group each: background processes ignore Ctrl-C.
  running=(1 2) pids=()
  trap 'for number in "${running[@]}"; do kill -- "-${pids[number]}" 2>/dev/null || true; done' EXIT
  for number in 1 2; do
    # shellcheck disable=SC2086
    setsid ${!number} >"$folder/$number" 2>"$folder/$number.log" &
    pids[number]=$!
  done
  while ((${#running[@]})); do
    sleep 1
    for number in "${!running[@]}"; do
      kill -0 "${pids[running[number]]}" 2>/dev/null && continue
      wait "${pids[running[number]]}" || { progress_output "$folder/${running[number]}.log" >&2; return 1; }
      unset "running[number]"
    done
    for number in "${running[@]}"; do progress_lines "$folder/$number.log" | tail -n 1; done | paste -sd '|' | tr '\n' '\r' >&2
  done
}
