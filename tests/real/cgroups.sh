#!/usr/bin/env bash
# Tests that Linux itself bounds what workers take, where the host's cgroup is delegated to it: in a machine under qemu (see
# qemu.sh), since few machines on which tests run delegate anything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo build --quiet --workspace --exclude ticket-host-tests
program=$(tests/test-program.sh ticket-host-tests e2e)
files=("$program" target/debug/ticket-host target/debug/*.so target/debug/build/ticket-host-tests-*/out tests/incidents
  /etc/ssl/certs/ca-certificates.crt /etc/ld.so.cache)
script=$(mktemp)
trap 'rm -f "$script"' EXIT
cat >"$script" <<IN_THE_MACHINE
export TICKET_HOST_BUILT=yes
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /sys/fs/cgroup
echo '+memory +pids +cpu' >cgroup.subtree_control
# As systemd does it for a unit with Delegate= and DelegateSubgroup=: the tests, and so the hosts, are in the subgroup.
mkdir -p delegated/host
setfattr -n user.delegate -v 1 delegated || exit
chown -R user:user delegated
echo \$\$ >delegated/host/cgroup.procs
cd "\$OLDPWD"
chown -R user:user .
cd tests
# Apart from each other: hosts that share a cgroup with other limits set the limit of all workers for each other.
su user -c "'$program' --include-ignored --test-threads=2 real::cgroups::" || exit
su user -c "'$program' --include-ignored --test-threads=2 resources::an_idle resources::nothing_outlives"
IN_THE_MACHINE
tests/real/qemu.sh --seconds 400 --package attr "$script" "${files[@]}"
