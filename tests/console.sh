#!/usr/bin/env bash
# The console in a real browser (Chromium), with axe for accessibility. Installs what it needs (Debian, as root).
# PICTURES=DIRECTORY makes the pictures of the documentation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

type chromium npm python3 >/dev/null 2>&1 || {
  if [ "$(id -u)" -ne 0 ]; then
    echo "this needs Chromium, npm and Python: apt-get install chromium npm python3"
    exit 1
  fi
  tests/apt.sh chromium npm python3
}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/console
cmp -s tests/console/package.json "$tools/package.json" || {
  rm -rf "$tools"
  mkdir -p "$tools"
  cp tests/console/package.json "$tools"
  npm install --silent --no-fund --no-audit --prefix "$tools"
}
# Modules are looked for beside who imports them.
cp tests/console/*.mjs tests/console/fill.py "$tools"

cargo build --quiet -p ticket-host -p ticket-plugin-gitlab
export TICKET_HOST=$PWD/target/debug/ticket-host PLUGINS=$PWD/target/debug CHROMIUM
CHROMIUM=$(command -v chromium)
[ -z "${PICTURES:-}" ] || PICTURES=$(realpath -m "$PICTURES")
export PICTURES=${PICTURES:-}
cd "$tools"
node --test --test-reporter=spec console.test.mjs
