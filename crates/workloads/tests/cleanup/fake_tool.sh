#!/bin/sh
cd "$BROKER" || exit 9
echo "$*" >> calls
name=${0##*/}
shift 2
reply() {
  case $name in
    pulsarctl) echo "[✖]  code: $1 reason: $2" ;;
    *)
      # The format before Pulsar 4.0, and since.
      if test -f old; then printf '%s\n\nReason: HTTP %s {"reason":"%s"}\n' "$2" "$1" "$2"
      else printf 'WARN - Failed to perform http request: Exception: HTTP %s\n%s\n\nReason: %s\n' "$1" "$2" "$2"; fi ;;
  esac >&2
  exit 1
}
test ! -f html || { if test "$name" = pulsarctl; then echo '[✖]  404 page not found'; else echo 'HTTP 404 Not Found: 404 page not found'; fi; exit 1; }
test ! -f lies || exit 0
rows() {
  if test "$name" = pulsarctl; then
    echo '+----+'; echo "| $1 | PARTITIONED ? |"; echo '+----+'
    sed "s/^\(.*\)\$/| \1 $2/"
  else cat; fi
}
has_topic() { grep -Eq "^$1(-partition-[0-9]+)?\$" topics; }
unsubscribe() {
  has_topic "$2" || reply 404 "Topic $2 not found"
  grep -Fxq "$2 $1" subscriptions || reply 404 'Subscription not found'
  if test -s busy; then sed -i 1d busy; reply 412 'Subscription has active connected consumers'; fi
  if grep -Fxq "$2" locked 2>/dev/null; then reply 401 'not allowed'; fi
  test -f keeps || { grep -Fxv "$2 $1" subscriptions > new; mv new subscriptions; }
}
subscriptions() {
  has_topic "$1" || reply 404 "Topic $1 not found"
  grep "^$1 " subscriptions | cut -d ' ' -f 2- | rows SUBSCRIPTIONS '|'
}
remove_topic() {
  grep -q "^$1 " subscriptions && reply 412 'Topic has active producers/subscriptions'
  grep -Fxv "$1" topics > new; mv new topics
}
case "$*" in
  'topics unsubscribe -s '*) unsubscribe "$4" "$5" ;;
  'subscriptions delete '*) unsubscribe "$4" "$3" ;;
  'topics subscriptions '* | 'subscriptions list '*) subscriptions "$3" ;;
  "topics list t/n" | "topics list public/default")
    test ! -f gone || reply 404 'Namespace does not exist'
    { grep "://$3/" topics; test "$name" != pulsarctl || cat partitioned; } | rows 'TOPIC NAME' '| N |' ;;
  "topics list-partitioned-topics "*) cat partitioned ;;
  "namespaces list "*) echo "$3/other" | rows NAMESPACE '|' ;;
  "topics delete --non-partitioned "*) remove_topic "$4" ;;
  "topics delete "*) remove_topic "$3" ;;
  *) echo "unknown: $*" >&2; exit 2 ;;
esac
