#!/usr/bin/env bash
# Runs the commands of plugin-api/docs/debugging.md as they are printed, in `sh`: as root, if this is root, and as a user.
# Debuggers must stop where the page has them stop. Installs them (Debian, as root).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in gdb valgrind make gcc curl pgrep; do
  command -v "$tool" >/dev/null || {
    tests/apt.sh gdb valgrind make gcc libc6-dev curl procps
    break
  }
done
if ! gdb -q -batch -ex run --args true >/dev/null 2>&1; then
  echo "skipped: debugging: no program can be traced here (a container without CAP_SYS_PTRACE)"
  exit 0
fi

cargo build --quiet -p ticket-host
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -D -t "$work/bin" target/debug/ticket-host
export PATH="$work/bin:$PATH"
# A port that is free now, in the place of the page's.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
commands() { sed -n '/^```sh$/,/^```$/p' | sed -e '/^```/d' -e "s/8620/$port/"; }
commands <plugin-api/docs/debugging.md >"$work/as-root.sh"
sed '/^<!-- as root -->$/,/^```$/d' plugin-api/docs/debugging.md | commands >"$work/as-user.sh"

# Runs the page in a directory of its own: the user's name, which commands, how often gdb must stop, and by what
# another user is become.
page() {
  local name=$1 commands=$2 expected=$3
  shift 3
  mkdir "$work/$name"
  [ "$name" = root ] || chown nobody "$work/$name"
  echo "== as $name"
  (cd "$work/$name" && HOME=$work/$name "$@" timeout 300 sh -eu "../$commands.sh") >"$work/$name.txt" 2>&1 || {
    # What the validator found wrong, which may stand far above the end.
    grep -i -A 3 '^fail' "$work/$name.txt" || true
    tail -30 "$work/$name.txt"
    exit 1
  }
  # In the tests' process, in the validator's (as root), and in the worker, each with the source's line.
  local stops
  stops=$(grep -c '^#0 .* at ./acme_desk.c:' "$work/$name.txt")
  if [ "$stops" -ne "$expected" ] || ! grep -q '^././acme_desk.c:[0-9]' "$work/$name.txt"; then
    grep -e '^#0' -e acme_desk.c: "$work/$name.txt"
    echo "$expected stops with their line and a line of addr2line were to come"
    exit 1
  fi
}
if [ "$(id -u)" -eq 0 ]; then
  chmod 755 "$work"
  page root as-root 3 env
  page nobody as-user 2 setpriv --reuid nobody --regid nogroup --clear-groups --
else
  page "$(id -un)" as-user 2 env
fi
echo "the page's commands do what it says"
