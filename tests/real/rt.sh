#!/bin/bash
# Installs Request Tracker 5, starts one on a free loopback port in a temporary directory, and runs the tests against it.
#
#   tests/real/rt.sh                 all of them
#   tests/real/rt.sh rt::queue       those whose names begin with "queue"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash tests/real/rt/install.sh
state=$(mktemp -d)
stop() {
  # The server is the leader of its own process group.
  [ -z "${RT_PID:-}" ] || kill -- "-$RT_PID" 2>/dev/null || true
  rm -rf "$state"
}
trap stop EXIT
STATE=$state/rt RT_WORKERS=4 bash tests/real/rt/up.sh
set -a
# shellcheck source=/dev/null
. "$state/rt/rt.env"
set +a
cargo test -p ticket-host-tests --test e2e -- --ignored "${@:-real::rt}"
