#!/usr/bin/env bash
# shellcheck disable=SC2016 # what stands in single quotes is for a shell in the root
# Tests the Debian packages. They are built and looked at by lintian; then each Debian is booted by systemd in a root of its
# own (systemd-nspawn), where they are installed, used, upgraded and removed.
#
#   tests/real/deb.sh              Debian 12 and 13
#   tests/real/deb.sh bookworm     one of them
#   BUILT=DIR tests/real/deb.sh    packs what cargo has built in DIR; without it this builds the release
#
# Runs as root on Debian 12 or newer, and installs what it needs. The first time, a root of each Debian is made in the
# cache: 620 MB and about two minutes each. Then a Debian takes 25 s.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/real/deb/root.sh

type dh lintian debootstrap systemd-nspawn >/dev/null 2>&1 || {
  tests/apt.sh debhelper lintian debootstrap systemd-container
}
[ $# -gt 0 ] || set -- bookworm trixie
roots=()
for suite in "$@"; do
  make_root "$suite" &
  roots+=($!)
done
[ -n "${BUILT:-}" ] || cargo build --quiet --release
built=$(realpath "${BUILT:-target/release}")
work=$(mktemp -d)
trap 'down; rm -rf "$work"' EXIT

failed=()
# Runs a command, and prints whether it succeeded after what that shows. What it printed is shown if it didn't.
check() {
  local shows=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    echo "ok    $shows"
  else
    echo "FAIL  $shows"
    tail -n 20 "$work/said" | sed 's/^/      /'
    failed+=("$shows")
  fi
}
refused() { ! "$@"; }
# Whether what a command prints is $1.
prints() {
  local expected=$1 printed
  shift
  printed=$("$@" 2>&1) || true
  [ "$printed" = "$expected" ] || { printf 'expected: %s\nprinted:  %s\n' "$expected" "$printed"; return 1; }
}
# Whether what a command prints, however it ends, has the text $1 in it.
says() {
  local text=$1 printed
  shift
  printed=$("$@" 2>&1) || true
  grep -qF -- "$text" <<<"$printed" || { echo "nothing of \"$text\" in:"; echo "$printed"; return 1; }
}
says_nothing_of() {
  local text=$1 printed
  shift
  printed=$("$@" 2>&1) || true
  ! grep -F -- "$text" <<<"$printed"
}

version=$(dpkg-parsechangelog --file host/debian/changelog --show-field Version)
higher=$version+test1
# Builds the packages of the version $1 into $work/$1.
packages() { DEB_VERSION=$1 THIRD_PARTY=$work/notices host/debian/build.sh "$work/$1" "$built"; }

echo "== the packages"
# .ci/run makes them before this; it takes minutes.
cp target/THIRD-PARTY.txt "$work/notices" 2>/dev/null ||
  echo "notices of the linked crates, as far as this test is concerned" >"$work/notices"
check "no package is made without the notices of the linked crates" \
  says "there are no notices of the linked crates" env THIRD_PARTY=/dev/null host/debian/build.sh "$work/none" "$built"
check "no package is made of a version that isn't Cargo.toml's" \
  says "host/debian/changelog has 99.0-1" packages 99.0-1
check "the packages are made" packages "$version"
check "the packages of a higher version are made" packages "$higher"
check "lintian is content" \
  lintian --fail-on error,warning --display-info --pedantic --allow-root "$work/$version"/*.changes

has() { dpkg-deb --contents "$work/$version"/ticket-host_*.deb | grep -F " ./usr/share/ticket-host/$1"; }
check "the package has the alerts" has mixin/alerts.yaml
check "the package has the dashboard" has mixin/dashboard.json

# The properties of the service, by name.
show() { in_root systemctl show --property="$1" --value ticket-host; }
file() {
  in_root curl -s http://127.0.0.1:8620/v1/tickets -H 'Content-Type: application/json' -d '{"backend": "local",
    "incident": {"description": "gw1 is down", "pk": 17, "source": {"name": "nav"}}}'
}
# What the service has written since it was started.
log() { in_root journalctl --output cat --no-pager "_SYSTEMD_INVOCATION_ID=$(show InvocationID)"; }
status_of() { in_root sed -n "s/^$2:\s*\(\S*\).*/\1/p" "/proc/$1/status"; }
# The processes of the service that aren't the host: its workers.
workers() {
  local host
  host=$(show MainPID)
  in_root sh -c 'cat $(find /sys/fs/cgroup/system.slice/ticket-host.service -name cgroup.procs)' |
    grep -vx "$host"
}
# Whether each worker's status has the value $2 in the field $1. There is one at least.
each_worker_has() {
  local all worker
  all=$(workers) || { echo "there is no worker"; return 1; }
  for worker in $all; do prints "$2" status_of "$worker" "$1" || return 1; done
}
# The unit's own filters are on the host, too.
each_worker_has_more_filters_than_the_host() {
  local all worker hosts
  all=$(workers) || { echo "there is no worker"; return 1; }
  hosts=$(status_of "$(show MainPID)" Seccomp_filters)
  for worker in $all; do [ "$(status_of "$worker" Seccomp_filters)" -gt "$hosts" ] || return 1; done
}
each_worker_has_a_cgroup_or_the_log_says_why_not() {
  in_root find /sys/fs/cgroup/system.slice/ticket-host.service/workers -mindepth 1 -type d 2>/dev/null | grep . ||
    log | grep -i 'cgroup'
}
state_and_config() {
  in_root sh -c 'stat --format "%a %U:%G %n" /etc/ticket-host/config.toml /var/lib/ticket-host/queue.db &&
    sha256sum /etc/ticket-host/config.toml'
}

installs() {
  in_root mkdir -p /packages /clone/target/debian
  cp "$work/$version"/ticket-host-dev_*.deb "$root/packages"
  cp "$work/$version"/ticket-host_*.deb "$root/clone/target/debian"
  mkdir "$root/packages/higher"
  cp "$work/$higher"/*.deb "$root/packages/higher"
  local lines
  lines=$(tests/readme-block.sh "apt-get install")
  check "the package is installed by the README's line" in_root sh -euc "cd /clone; $lines"
  check "the package for developers can be installed" in_root sh -c 'dpkg -i /packages/*.deb'
  local doc
  for doc in ticket-host ticket-host-dev; do
    check "the links of $doc's pages lead somewhere" tests/links.py "$root/usr/share/doc/$doc"
  done
  check "the service is enabled" in_root systemctl is-enabled ticket-host
  check "the service isn't started, since it has no backend yet" prints inactive in_root systemctl is-active ticket-host
  check "the config can be read by root and the service alone" \
    prints "640 root:ticket-host" in_root stat --format '%a %U:%G' /etc/ticket-host/config.toml
  check "what lies beside the config can be seen by root and the service alone" \
    prints "750 root:ticket-host" in_root stat --format '%a %U:%G' /etc/ticket-host
  local file
  for file in /usr/share/man/man1/ticket-host{,-create}.1.gz /usr/share/doc/ticket-host/{README.md,THIRD-PARTY.txt} \
    /usr/share/bash-completion/completions/ticket-host /usr/share/zsh/vendor-completions/_ticket-host \
    /usr/share/fish/vendor_completions.d/ticket-host.fish; do
    check "$file is there" in_root test -s "$file"
  done
}

makes_tickets() {
  in_root install -d -o ticket-host -g ticket-host /srv/tickets
  cat >>"$root/etc/ticket-host/config.toml" <<'TOML'

[backends.local]
plugin = "local"
endpoint = "file:///srv/tickets/"
permissions = { write = ["/srv/tickets"] }
TOML
  in_root install -m 640 -g ticket-host /dev/null /etc/ticket-host/rt-token
  mkdir -p "$root/etc/systemd/system/ticket-host.service.d"
  printf '[Service]\nReadWritePaths=/srv/tickets\n' >"$root/etc/systemd/system/ticket-host.service.d/local.conf"
  in_root systemctl daemon-reload
  check "the service starts" in_root systemctl start ticket-host
  check "an incident gets its ticket" says '"state":"created"' file
  ticket=$(file | sed -n 's/.*"url":"file:\/\/\([^"]*\)".*/\1/p') || true
  check "the ticket is there" in_root test -s "$ticket"
  check "what the service says is in the journal" says "listening on" log
  check "nothing runs unconfined" says_nothing_of sandbox log
  check "the service runs as its own user" prints "$(in_root id -u ticket-host)" status_of "$(show MainPID)" Uid
  check "workers run as the service's user" each_worker_has Uid "$(in_root id -u ticket-host)"
  check "workers' system calls are filtered" each_worker_has Seccomp 2
  check "workers have a filter of their own" each_worker_has_more_filters_than_the_host
  check "workers get no new privileges" each_worker_has NoNewPrivs 1
  check "workers have cgroups, or the log says why not" each_worker_has_a_cgroup_or_the_log_says_why_not
  check "the service's memory is bounded" refused prints infinity show MemoryMax
  check "the service's tasks are bounded" prints 10000 show TasksMax
  check "the service may be started as often as it takes" prints 0 show StartLimitIntervalUSec
}

reloads() {
  local host
  # The package that has it isn't on every machine.
  in_root rm -f /usr/bin/kill
  host=$(show MainPID)
  check "the service can be reloaded" in_root systemctl reload ticket-host
  check "the service goes on after it was reloaded" prints "$host" show MainPID
  check "the service has read its config again" eventually says "config and plugins were read again" log
}

ends_for_good() {
  in_root cp -a /etc/ticket-host/config.toml /root/config.toml
  echo 'nonsense = 1' | cat - "$root/root/config.toml" >"$root/etc/ticket-host/config.toml"
  check "the service doesn't start with wrong settings" refused in_root systemctl restart ticket-host
  check "the service isn't started again with wrong settings" prints "failed 0" \
    sh -c 'echo "$1" "$2"' sh "$(show SubState)" "$(show NRestarts)"
  check "systemctl status says why" says nonsense in_root systemctl status --no-pager --full --lines 50 ticket-host
  in_root cp -a /root/config.toml /etc/ticket-host/config.toml
  check "the service starts with the settings mended" in_root systemctl restart ticket-host
}

is_started_again() {
  in_root systemctl stop ticket-host
  check "another program takes the service's address" in_root systemd-run --quiet --unit taker --property Type=notify \
    --setenv XDG_STATE_HOME=/root/taker ticket-host --config /root/config.toml serve
  check "the service doesn't start while another program has its address" refused in_root systemctl start ticket-host
  in_root systemctl stop taker || true
  check "the service is started again when its address is free" \
    eventually prints active in_root systemctl is-active ticket-host
}

# ticket-host-dev.
makes_plugins() {
  sed 's/{{path}}/unused/' tests/validate/webhook.toml >"$root/root/validate.toml"
  in_root cp -r /usr/share/doc/ticket-host-dev/examples/webhook-c /root/webhook
  check "a plugin is built with pkg-config" in_root sh -ec 'cd /root/webhook &&
    cc -std=c99 -shared -fPIC $(pkg-config --cflags ticket-plugin) -o libticket_plugin_webhook.so webhook.c'
  check "a plugin is built with CMake" in_root sh -ec 'cd /root/webhook && cmake -B build && cmake --build build'
  local library
  for library in libticket_plugin_webhook.so build/libticket_plugin_webhook.so; do
    check "$library is valid" in_root ticket-host plugins validate "/root/webhook/$library" --settings /root/validate.toml
  done
  # That such a plugin builds is tests/new.sh's to show.
  check "plugins in Rust are begun with the SDK that the program carries" in_root sh -ec 'cd /root &&
    ticket-host plugins new acme --lang rust && grep "path = \"sdk\"" acme/Cargo.toml && test -s acme/sdk/src/lib.rs'
}

is_upgraded() {
  local before host url
  before=$(state_and_config) || before=none
  host=$(show MainPID)
  url=$(file | grep -o '"url":"[^"]*"') || url="a ticket"
  check "the package can be upgraded" in_root sh -c 'dpkg -i /packages/higher/*.deb </dev/null'
  check "an upgrade keeps config and state" prints "$before" state_and_config
  check "an upgrade starts the service anew" refused prints "$host" show MainPID
  check "the service runs after an upgrade" prints active in_root systemctl is-active ticket-host
  check "the same incident has the same ticket after an upgrade" says "$url" file
}

is_removed() {
  local before
  before=$(state_and_config) || before=none
  check "the packages can be removed" in_root dpkg --remove ticket-host ticket-host-dev
  check "the service is stopped when it is removed" prints inactive in_root systemctl is-active ticket-host
  check "removing keeps config and state" prints "$before" state_and_config
  check "the packages can be purged" in_root dpkg --purge ticket-host ticket-host-dev
  check "purging removes the config and what was beside it" refused in_root test -e /etc/ticket-host
  check "purging removes the state" refused in_root test -e /var/lib/ticket-host
  check "purging leaves the user" in_root id ticket-host
  check "purging leaves what the user owns elsewhere" in_root test -s "$ticket"
}

for made in "${roots[@]}"; do wait "$made"; done
for suite in "$@"; do
  start=$SECONDS
  echo "== $suite"
  boot "$suite" "$work/$suite"
  installs
  makes_tickets
  reloads
  ends_for_good
  is_started_again
  makes_plugins
  is_upgraded
  is_removed
  down
  echo "== $suite: $((SECONDS - start)) s"
done
[ ${#failed[@]} -eq 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
