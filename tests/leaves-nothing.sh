#!/usr/bin/env bash
# Runs a command, such as `cargo test --workspace`, in a home and with temporary files of its own, and fails also if
# anything is left of it: files there, beside target/ in the checkout, and where all temporary files of the machine are;
# processes, shared memory, message queues, control groups and mounts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in git ps find sort comm; do
  command -v "$tool" >/dev/null || { echo "what is left can't be seen without $tool"; exit 1; }
done

# As root, in a PID namespace: all processes in it are the command's.
if [ "$(id -u)" -eq 0 ] && [ -z "${ALONE:-}" ]; then
  ALONE=yes exec unshare --mount --pid --fork --mount-proc --kill-child tests/leaves-nothing.sh "$@"
fi

export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
mkdir "$room"/{home,tmp,seen}
# The checkout may be another user's.
export HOME=$room/home TMPDIR=$room/tmp GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
unset ALONE XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME
# A `create` without a service keeps the locks of keys there, as it is meant to: that is not what is looked for.
export XDG_STATE_HOME=$room/state

# Writes to a file what there is that could be left, a line for each thing.
me=$(id -u)
look() {
  {
    find "$HOME" "$TMPDIR" -mindepth 1
    find /tmp /var/tmp /dev/shm /dev/mqueue -mindepth 1 -maxdepth 1 -user "$me" -name '*ticket-host*'
    find target -maxdepth 2 -name '.tmp*'
    git status --porcelain --ignored
    find /sys/fs/cgroup -type d -name '*ticket-host*'
    sed 's/^/mounted: /' /proc/self/mounts
    # While no other command of this script runs.
    ps -u "$me" -o pid=,args=
  } >"$room/seen/all" 2>/dev/null || :
  grep -v ' ps -u ' "$room/seen/all" | sort >"$1"
}
look "$room/seen/before"

status=0
"$@" || status=$?

# The hostile plugin tries to make files there, also where nothing confines it, and removes them at once, unless the host kills it in
# between. That is left by the plugin, not by the host.
find /tmp /var/tmp /dev/shm -mindepth 1 -maxdepth 1 -user "$me" -name 'ticket-host-hostile-*' -exec rm -rf {} + || :

# What was killed may need a moment to end.
for _ in $(seq 50); do
  look "$room/seen/after"
  left=$(comm -13 "$room/seen/before" "$room/seen/after")
  [ -n "$left" ] || exit "$status"
  sleep 0.1
done
printf '=== left behind:\n%s\n' "$left"
exit 1
