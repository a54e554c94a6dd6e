#!/bin/bash
# Makes the README's pictures anew from the built program, from nothing, on Debian as root: a ticket in a real Request
# Tracker, and a recording of the first minute in a terminal.
#
#   tests/real/pictures.sh                                      those of the README, in host/docs, of target/debug
#   BUILT=target/release tests/real/pictures.sh /tmp/pictures   another program's, elsewhere
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
built=${BUILT:-target/debug}
out=${1:-host/docs}
pictures=$PWD/tests/real/pictures
venv=${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/pictures

fail() {
  echo "pictures.sh: $*" >&2
  exit 1
}

[ "$(id -u)" = 0 ] || fail 'needs root: it installs packages and mounts a /home of its own'
[ -x "$built/ticket-host" ] || fail "there is no $built/ticket-host: run \`cargo build\` first, or set BUILT"
bash tests/real/rt/install.sh
bash "$pictures/install.sh" "$venv"

state=$(mktemp -d)
stop() {
  # The server is the leader of its own process group.
  [ -z "${RT_PID:-}" ] || kill -- "-$RT_PID" 2>/dev/null || true
  rm -rf "$state"
}
trap stop EXIT
mkdir -p "$out"
began=$(date -u -d '5 minutes ago' +%FT%T+00:00)
sed "s/START/$began/" "$pictures/incident.json" >"$state/incident.json"

# Fails if a picture is too big for a README.
at_most() {
  local bytes
  bytes=$(stat --format=%s "$2")
  [ "$bytes" -le $(($1 * 1000)) ] || fail "$2 has $bytes bytes, and may have $1 kB"
  echo "$2: $bytes bytes"
}

ticket() {
  STATE=$state/rt RT_WORKERS=2 bash tests/real/rt/up.sh
  # shellcheck source=/dev/null
  . "$state/rt/rt.env"
  RT_SITE_CONFIG=$state/rt/RT_SiteConfig.pm HOME=$state \
    rt-setup-database-5 --action insert --datafile "$pictures/initialdata.pl" >"$state/setup.log" 2>&1 ||
    fail "no data in RT: $(tail -n 20 "$state/setup.log")"
  sed "s|RT_URL|$RT_URL|" "$pictures/rt.toml" >"$state/rt.toml"
  local url
  url=$(RT_TOKEN_ARGUS=$RT_TOKEN_ARGUS "$built/ticket-host" --config "$state/rt.toml" create "$state/incident.json")
  "$venv/bin/python" "$pictures/ticket.py" "$url" "$state/ticket.png"
  pngquant --force --strip --output "$out/ticket.png" 64 "$state/ticket.png"
  at_most 150 "$out/ticket.png"
}

first_minute() {
  mkdir -p "$state/home/noc/ticket-host"
  cp "$built"/ticket-host "$built"/libticket_plugin_*.so "$state/home/noc/ticket-host/"
  cp "$state/incident.json" "$state/home/noc/"
  cp "$pictures/first-minute.sh" "$state/home/noc/.first-minute.sh"
  chown -R 1000:1000 "$state/home/noc"
  # A home, a host name, a network and a user that name nobody.
  cat >"$state/newcomer.sh" <<'NEWCOMER'
set -eu
mount --bind "$1/home" /home
hostname noc
ip link set lo up
cd /home/noc
exec setpriv --reuid 1000 --regid 1000 --clear-groups \
  env -i HOME=/home/noc PATH=/home/noc/ticket-host:/usr/bin:/bin LANG=C.UTF-8 TERM=xterm-256color bash .first-minute.sh
NEWCOMER
  "$venv/bin/asciinema" rec --quiet --cols 100 --rows 32 "$state/first-minute.cast" \
    --command "unshare --mount --uts --net bash $state/newcomer.sh $state"
  # The last picture stays for six seconds. Shorter frames than 60 ms only make the file bigger.
  "$venv/bin/termtosvg" render "$state/first-minute.cast" "$state/first-minute.svg" \
    --template window_frame --theme base16_default_dark --min-frame-duration 60 --loop-delay 6000 2>"$state/render.log" ||
    fail "no recording: $(cat "$state/render.log")"
  # SVG 2 needs no prefix for links, of which there are thousands.
  sed 's/xlink:href/href/g' "$state/first-minute.svg" >"$out/first-minute.svg"
  grep -qF 'https-argus-example-incidents-42' "$out/first-minute.svg" || fail 'the recording shows no ticket'
  grep -qF 'no plugin "locla" was found' "$out/first-minute.svg" || fail 'the recording shows no error'
  at_most 120 "$out/first-minute.svg"
}

ticket
first_minute
