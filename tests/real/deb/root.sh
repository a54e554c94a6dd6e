# A Debian of its own, booted by systemd in a container (systemd-nspawn). deb.sh reads this.
#
#   make_root SUITE          once, into the cache
#   boot SUITE DIRECTORY     a copy of it in the directory, which is $root from then on
#   in_root COMMAND...       in the one that is booted
#   down                     ends it, if one is booted
# shellcheck shell=bash

# Another name whenever another package is in the roots, so that those made before aren't taken.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/deb-with-sudo
root='' outer='' inner=''

# The compilers are there for plugins, and sudo for the README's lines.
make_root() {
  local new
  mkdir -p "$cache"
  (
    # Others may run this at the same time.
    flock 9
    [ ! -d "$cache/$1" ] || exit 0
    new=$(mktemp -d "$cache/new.XXXXXX")
    debootstrap --variant=minbase --include=systemd,systemd-sysv,ca-certificates,curl,gcc,libc6-dev,pkg-config,cmake,make,sudo \
      "$1" "$new" http://deb.debian.org/debian >"$new.log" 2>&1 || { tail "$new.log" >&2; exit 1; }
    rm "$new.log"
    chmod 755 "$new"
    # It has its name when it is whole.
    mv "$new" "$cache/$1"
  ) 9>"$cache/$1.lock"
}

# Waits until a command succeeds, for 30 s.
eventually() {
  local end=$((SECONDS + 30))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

boot() {
  root=$2
  cp -a "$cache/$1" "$root"
  # The container's own filter of system calls must let through what workers confine themselves with. It gets cgroups of
  # the second version, whatever the machine around it has.
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid systemd-nspawn --quiet --register=no --keep-unit --private-network \
    --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp" \
    --directory "$root" --boot </dev/null >"$root.log" 2>&1 &
  outer=$!
  eventually has_booted >/dev/null 2>&1 || { tail "$root.log" >&2; return 1; }
}
has_booted() {
  inner=$(pgrep --parent "$outer") && in_root systemctl is-system-running | grep -qE 'running|degraded'
}

in_root() {
  nsenter --target "$inner" --mount --uts --ipc --net --pid --cgroup --root \
    env --chdir=/ --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb "$@"
}

# SIGRTMIN+4 asks systemd to power off.
down() {
  [ -n "$outer" ] || return 0
  [ -z "$inner" ] || kill -s SIGRTMIN+4 "$inner" 2>/dev/null || true
  timeout 30 tail --pid="$outer" -f /dev/null || kill -s KILL "$inner" || true
  wait "$outer" 2>/dev/null || true
  outer='' inner=''
  rm -rf "$root"
}
