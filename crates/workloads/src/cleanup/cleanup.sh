# What follows works in any POSIX shell. Arguments: KIND SUBSCRIPTION TOPIC EXPRESSION REGEX, once for each target.
#   subscription  the subscription of a topic
#   batch         the same, and the topic, when that is done
#   pattern       the subscription of each topic of the namespace TOPIC that REGEX (Java's) matches, which is EXPRESSION
#                 in POSIX's dialect, or empty where that cannot say it
#   keep          a topic that a pattern leaves alone, since another component reads it
# Done is what the program ends well at and the broker no longer lists. No text counts as success.
newline='
'
export LC_ALL=C.UTF-8
unset IFS
set -f

# Says what is left, where Kubernetes reads a container's last message from.
note() { printf '%s' "$left" | head -c 3500 > /dev/termination-log; } 2> /dev/null

is_program() {
  case $1 in
    /*) test -f "$1" && test -x "$1"; return ;;
  esac
  IFS=:
  for folder in $PATH; do
    if test -f "$folder/$1" && test -x "$folder/$1"; then unset IFS; return 0; fi
  done
  unset IFS
  return 1
}

# A program that cannot be started will not be at the next try either.
run() {
  out=$("$tool" "$@" 2>&1)
  code=$?
  case $code in
    126 | 127)
      printf '%s\n' "$out"
      left="image $image: $tool cannot be started (exit status $code)"
      note
      exit "$code" ;;
  esac
  return "$code"
}

# The program's own form of "HTTP 404", which differs between releases: Pulsar 4.0 has the broker's reason alone, and the
# code in its log. It is no proof of anything; the broker's lists are asked next.
is_missing() {
  case $tool in
    ctl) printf '%s\n' "$out" | LC_ALL=C grep -Eq '^(\[[^]]*\] *)?code: 404 reason: ' ;;
    *) printf '%s\n' "$out" | LC_ALL=C grep -Eq '^Reason: HTTP 404|NotFoundException: HTTP 404|^Reason: .*(not found|does not exist)' ;;
  esac
}

explain() {
  printf '%s\n' "$out"
  why=$(printf '%s\n' "$out" | LC_ALL=C grep -E '^(\[[^]]*\] *)?(Reason:|code: [0-9]+ reason:)' | head -n 1)
  test -n "$why" || why=$(printf '%s\n' "$out" | LC_ALL=C sed '/^[[:space:]]*$/d' | tail -n 1)
  why="exit status $code: $(printf '%s' "$why" | cut -c 1-200)"
  return 1
}

# Letters that a table may fold, or a locale may spoil: of such a name absence proves nothing.
is_plain() { ! printf '%s' "$1" | LC_ALL=C tr '\n' ' ' | LC_ALL=C grep -q '[^!-{}~]'; }

unsubscribe() {
  case $tool in
    ctl) run subscriptions delete "$2" "$1" ;;
    *) run topics unsubscribe -s "$1" "$2" ;;
  esac
}

list_subscriptions() {
  case $tool in
    ctl) run subscriptions list "$1" ;;
    *) run topics subscriptions "$1" ;;
  esac
}

# The cells of a table, or the lines of a list, one a line.
cells() {
  case $tool in
    ctl) printf '%s\n' "$out" | LC_ALL=C tr '|' '\n' | LC_ALL=C sed 's/^ *//; s/ *$//' ;;
    *) printf '%s\n' "$out" | LC_ALL=C sed 's/^"\(.*\)"$/\1/' ;;
  esac
}

# Of two lines grep would make two patterns.
has_line() {
  case $1 in *"$newline"*) return 1 ;; esac
  LC_ALL=C grep -Fxq -e "$1"
}

# Whether the listing of subscriptions holds this one; one that cannot be read does.
is_listed() {
  if cells | has_line "$1"; then return 0; fi
  case $tool in
    ctl) printf '%s\n' "$out" | LC_ALL=C grep -qi subscriptions || return 0 ;;
  esac
  is_plain "$1" && return 1
  folded=$(printf '%s' "$1" | LC_ALL=C tr -d '| \n')
  # A name of blanks alone looks like an empty row.
  if test -z "$folded"; then
    printf '%s' "$out" | LC_ALL=C grep -q '^[| ]*$'
    return
  fi
  case $(printf '%s' "$out" | LC_ALL=C tr -d '| \n') in
    *"$folded"*) return 0 ;;
  esac
  return 1
}

# Topics of a namespace as $topics, those with partitions as $partitioned, each in full and one a line.
list_topics() {
  run topics list "$1" || return 1
  case $tool in
    ctl)
      printf '%s\n' "$out" | LC_ALL=C grep -qi 'topic name' || { why='the list of topics has an unknown form'; return 2; }
      row='s/^| *\(non-persistent:\/\/[^|]*[^ |]\) *| *[YN] *|* *$/\1/p; s/^| *\(persistent:\/\/[^|]*[^ |]\) *| *[YN] *|* *$/\1/p'
      topics=$(printf '%s\n' "$out" | LC_ALL=C sed -n "$row")
      partitioned=$(printf '%s\n' "$out" | LC_ALL=C grep '| *Y *|* *$' | LC_ALL=C sed -n "$row") ;;
    *)
      topics=$(cells | LC_ALL=C grep -E '^(non-)?persistent://')
      partitioned= ;;
  esac
  return 0
}

list_partitioned() {
  test "$tool" = ctl && return 0
  run topics list-partitioned-topics "$1" || return 1
  partitioned=$(cells | LC_ALL=C grep -E '^(non-)?persistent://')
  return 0
}

namespace_of() {
  namespace=${1#*://}
  namespace=${namespace%%/*}/$(printf '%s' "${namespace#*/}" | cut -d / -f 1)
}

# After a 404 for a namespace: whether its tenant has no such one, by the tenant's list.
is_no_namespace() {
  is_missing || return 1
  run namespaces list "${1%%/*}" || return 1
  case $tool in
    ctl) printf '%s\n' "$out" | LC_ALL=C grep -qi namespace || return 1 ;;
  esac
  ! cells | has_line "$1"
}

# After a 404 for a topic: whether there is no such one, by the list of its namespace.
is_no_topic() {
  namespace_of "$1"
  if list_topics "$namespace"; then
    if ! is_plain "$1"; then why='HTTP 404, and its name cannot be compared'; return 1; fi
    if printf '%s\n' "$topics" | LC_ALL=C sed 's/-partition-[0-9]*$//' | has_line "$1" \
      || printf '%s\n' "$topics" | has_line "$1"; then
      why='HTTP 404, and yet the topic is listed'
      return 1
    fi
    return 0
  fi
  test "$?" = 2 && return 1
  is_no_namespace "$namespace" && return 0
  explain
}

# Whether the broker lists a subscription no more.
is_gone() {
  if list_subscriptions "$2"; then
    is_listed "$1" || return 0
    why='the broker still lists it'
    return 1
  fi
  if is_missing; then is_no_topic "$2"; else explain; fi
}

remove_subscription() {
  if unsubscribe "$1" "$2" || is_missing; then is_gone "$1" "$2"; else explain; fi
}

# Never by force: that would end whoever still uses the topic.
delete_topic() {
  namespace_of "$1"
  list_topics "$namespace" || { test "$?" = 2 && return 1; is_no_namespace "$namespace" && return 0; explain; return 1; }
  list_partitioned "$namespace" || { explain; return 1; }
  if printf '%s\n' "$partitioned" | has_line "$1"; then
    case $tool in
      ctl) run topics delete "$1" ;;
      *) run topics delete-partitioned-topic "$1" ;;
    esac
  else
    case $tool in
      ctl) run topics delete --non-partitioned "$1" ;;
      *) run topics delete "$1" ;;
    esac
  fi || is_missing || { explain; return 1; }
  list_topics "$namespace" && list_partitioned "$namespace" || { explain; return 1; }
  if printf '%s\n%s\n' "$topics" "$partitioned" | has_line "$1"; then
    why='the broker still lists the topic'
    return 1
  fi
}

is_kept() {
  printf '%s\n' "$kept" | has_line "$1 $2" && return 0
  printf '%s\n' "$kept" | has_line "$1 $(printf '%s' "$2" | LC_ALL=C sed 's/-partition-[0-9]*$//')"
}

# Topics, without their scheme, that an expression matches: by Java itself where there is one.
match() {
  java=java
  test -n "$JAVA_HOME" && test -x "$JAVA_HOME/bin/java" && java=$JAVA_HOME/bin/java
  if is_program "$java" && folder=$(mktemp -d) && printf '%s' "$matcher" | base64 -d > "$folder/TopicMatcher.class"; then
    matched=$(printf '%s\n%s\n' "$2" "$3" | "$java" -Xmx64m -XX:TieredStopAtLevel=1 -cp "$folder" TopicMatcher)
    code=$?
    rm -rf "$folder"
    test "$code" = 0 && return 0
  fi
  why='no Java in the image can match the pattern'
  test -n "$1" || return 1
  if ! printf '%s' "$3" | LC_ALL=C tr -d '\n' | LC_ALL=C grep -q '[^!-~]'; then
    matched=$(printf '%s\n' "$3" | LC_ALL=C grep -Ex -e "$1")
    test "$?" -le 1 && return 0
  fi
  return 1
}

remove_from_pattern() {
  list_topics "$2" || { test "$?" = 2 && return 1; is_no_namespace "$2" && return 0; explain; return 1; }
  all=$topics
  list_partitioned "$2" || { explain; return 1; }
  partitions=$partitioned
  bases=$(printf '%s\n' "$all" | LC_ALL=C sed -n 's/^persistent:\/\///p' \
    | LC_ALL=C sed -E 's/-partition-(0|[1-9][0-9]*)$//' | LC_ALL=C sort -u)
  match "$3" "$4" "$bases" || return 1
  missed= count=0 first=
  IFS=$newline
  for base in $matched; do
    topic=persistent://$base
    if printf '%s\n%s\n' "$all" "$partitions" | has_line "$topic"; then
      names=$topic
    else
      # Named like partitions, and yet each a topic of its own.
      names=$(printf '%s\n' "$all" | while IFS= read -r name; do
        case $name in "$topic"-partition-*) printf '%s\n' "$name" ;; esac
      done)
    fi
    for name in $names; do
      unset IFS
      if ! is_kept "$1" "$name" && ! remove_subscription "$1" "$name"; then
        count=$((count + 1))
        test "$count" -gt 5 || missed="$missed${missed:+, }$name"
        test -n "$first" || first=$why
      fi
      IFS=$newline
    done
  done
  unset IFS
  test "$count" -gt 0 || return 0
  why="$count topics ($missed): $first"
  return 1
}

target() {
  case $1 in
    subscription) remove_subscription "$2" "$3" ;;
    batch) remove_subscription "$2" "$3" && delete_topic "$3" ;;
    pattern) remove_from_pattern "$2" "$3" "$4" "$5" ;;
    *) why="unknown kind $1"; return 1 ;;
  esac
}

round() {
  left= number=0
  while test "$#" -gt 0; do
    number=$((number + 1))
    case " $finished " in
      *" $number "*) ;;
      *)
        of=$3 why=
        test "$1" = pattern && of="all topics that match $5"
        if test "$1" = keep; then
          kept=$kept$newline"$2 $3"
          finished="$finished $number"
        elif target "$1" "$2" "$3" "$4" "$5"; then
          printf '%s\n' "removed: subscription $2 of $of"
          finished="$finished $number"
        else
          left="$left${left:+; }subscription $2 of $of: $why"
        fi ;;
    esac
    shift 5
  done
}

tool=
for program in $programs; do
  case $program in
    pulsarctl) is_program pulsarctl && tool=ctl ;;
    pulsar-admin) is_program /pulsar/bin/pulsar-admin && tool=admin ;;
  esac
  test -z "$tool" || break
done
if test -z "$tool"; then
  left="image $image has neither pulsarctl nor /pulsar/bin/pulsar-admin; set cleanupImage to one that has"
  printf '%s\n' "$left"
  note
  exit 127
fi
kept= finished= tries=0
code=0
test "$tool" != ctl || out=$(login 2>&1) || code=$?
if test "$code" != 0; then
  explain
  left="cannot log in: $why"
  printf '%s\n' "$left"
  note
  exit 1
fi
while :; do
  round "$@"
  test -n "$left" || exit 0
  printf '%s\n' "left: $left"
  note
  tries=$((tries + 1))
  test "$tries" -lt 6 || exit 1
  sleep 10
done
