#!/bin/bash
# Installs Request Tracker, Argus and PostgreSQL, and has the host make a real Argus's tickets in a real RT: those of the
# button in Argus's pages, through the Python package host/argus, and those of the watcher. Also runs the package's tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash tests/real/rt/install.sh
bash tests/real/argus/install.sh
state=$(mktemp -d)
# PostgreSQL's user must be able to enter.
chmod 711 "$state"
stop() {
  # The server is the leader of its own process group.
  [ -z "${RT_PID:-}" ] || kill -- "-$RT_PID" 2>/dev/null || true
  # What a test that broke off left running.
  for name in argus pg; do
    [ ! -s "$state/argus/$name.pid" ] || kill -INT "$(cat "$state/argus/$name.pid")" 2>/dev/null || true
  done
  rm -rf "$state" || true
}
trap stop EXIT

venv=${VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/argus-venv}
"$venv/bin/python" -m unittest discover -s host/argus/tests

STATE=$state/rt RT_WORKERS=4 bash tests/real/rt/up.sh
set -a
# shellcheck source=/dev/null
. "$state/rt/rt.env"
ARGUS_STATE=$state/argus RT_STATE=$state/rt
set +a
cargo test -p ticket-host-tests --test e2e -- --ignored "${@:-real::argus}"
