#!/usr/bin/env bash
# Runs the end-to-end tests as a user without privileges (Linux, started by root): many permissions don't bind root, and
# the host must need none of root's rights. Arguments go to the test program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
checkout=$(pwd -P)
user=ticket-host-tests

id "$user" &>/dev/null || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$user"
as_user() { setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"; }

cargo build --quiet --workspace --exclude ticket-host-tests
program=$(tests/test-program.sh ticket-host-tests e2e)
program=${program#"$checkout/"}

# The user's own copy of the checkout and of what is built. The tests make hard links to the program, for which it must
# be the user's; and the host loads only plugins that belong to root or to the user that it runs as.
copy=$(mktemp -d /tmp/ticket-host-tests.XXXXXX)
trap 'rm -rf "$copy"' EXIT
tar -c --exclude ./target --exclude ./.git . | tar -x --no-same-permissions -C "$copy"
cp --parents -r "$program" target/debug/ticket-host target/debug/*.so target/debug/build/ticket-host-tests-*/out "$copy"
chown -R "$user:$user" "$copy"
chmod 755 "$copy"

# The copy must stand at the path of the checkout, which is compiled into the tests and the host. The user may be unable
# to enter a directory on the way there, like /root: the uppermost of these is then covered by an empty one.
closed=
directory=$checkout
while [ "$directory" != / ]; do
  as_user test -x "$directory" || closed=$directory
  directory=$(dirname "$directory")
done

export -f as_user
export checkout user copy closed program TICKET_HOST_BUILT=yes HOME=/nonexistent TMPDIR=/tmp
unshare --mount bash -euc '
  if [ -n "$closed" ]; then
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$checkout"
  fi
  mount --bind "$copy" "$checkout"
  # Where cargo starts them, too.
  cd "$checkout/tests"
  as_user "$checkout/$program" "$@"
' bash "$@"
