#!/usr/bin/env bash
# Tests on other kernels, under qemu: that the sandbox holds there, or that the host says why it can't; and that the
# service is confined and its workers have control groups under the systemd of Debian 12 and 13.
#
#   tests/real/kernels.sh              all rows of the table below: 6 minutes
#   tests/real/kernels.sh off old      some of them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo build --quiet --workspace --exclude ticket-host-tests
program=$(tests/test-program.sh ticket-host-tests e2e)
# The tests find plugins and incidents where they were when they were compiled, and the host its certificates.
files=("$program" target/debug/ticket-host target/debug/*.so target/debug/build/ticket-host-tests-*/out tests/incidents
  host/debian /etc/ssl/certs/ca-certificates.crt /etc/ld.so.cache)
script=$(mktemp)
trap 'rm -f "$script"' EXIT

# Runs tests in a machine that is made with the arguments of qemu.sh in $1; the others are for the test program.
tests() {
  cat >"$script" <<IN_THE_MACHINE
export TICKET_HOST_BUILT=yes
cd tests
'$program' --include-ignored ${*:2} || exit
# Again as a user: the host loads only plugins that belong to root or to the user that it runs as.
chown -R user:user "\$OLDPWD"
su user -c "'$program' --include-ignored ${*:2}"
IN_THE_MACHINE
  # shellcheck disable=SC2086 # words
  tests/real/qemu.sh --seconds 600 $1 "$script" "${files[@]}"
}
# Runs tests in a machine whose services are started by the systemd of the suite $1.
systemd() {
  echo "program='$program'" | cat - tests/real/kernels/systemd.sh >"$script"
  tests/real/qemu.sh --seconds 300 --kernel "$1" --package systemd "$script" "${files[@]}"
}

row() {
  case $1 in
    # Linux 6.1, whose Landlock is the second version
    bookworm) tests "--kernel bookworm" sandbox:: policy:: real::kernels::the_sandbox_is_whole ;;
    # Linux 6.12, whose Landlock is the sixth
    trixie) tests "--kernel trixie" sandbox:: policy:: real::kernels::the_sandbox_is_whole ;;
    # Without Landlock among its security modules
    off) tests "--kernel bookworm --append lsm=yama" real::kernels::landlock_is_switched_off_at_boot ;;
    # Linux 5.10
    old) tests "--kernel bullseye" real::kernels::the_kernel_is_too_old_for_landlock ;;
    # systemd 252
    systemd-bookworm) systemd bookworm ;;
    # systemd 257
    systemd-trixie) systemd trixie ;;
    *) echo "there is no row $1" >&2; return 2 ;;
  esac
}
failed=()
for name in "${@:-bookworm trixie off old systemd-bookworm systemd-trixie}"; do
  for row in $name; do
    echo "== $row"
    start=$SECONDS
    row "$row" || failed+=("$row")
    echo "== $row: $((SECONDS - start)) s"
  done
done
[ ${#failed[@]} -eq 0 ] || { echo "FAILED: ${failed[*]}"; exit 1; }
