#!/usr/bin/env bash
# Runs all tests as a user without privileges (Linux, started by root): many permissions don't bind root, and the host must
# need none of root's rights. Arguments go to `cargo test --workspace`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
checkout=$(pwd -P)
user=ticket-host-tests
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
sysroot=$(rustc --print sysroot)

id "$user" &>/dev/null || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$user"
as_user() { setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"; }

# All that is built is built by who has the network and the compiler's cache.
cargo build --quiet --workspace --exclude ticket-host-tests
cargo test --quiet --workspace --no-run

# The user's own checkout and packages: what is there, with layers above it that take what changes. The files belong to the
# user, as in a clone of the user's own.
room=$(mktemp -d /var/tmp/ticket-host-as-user.XXXXXX)
trap 'rm -rf "$room"' EXIT
chmod 755 "$room"
for layered in checkout cargo; do
  mkdir -p "$room/$layered"/{all,above,work}
done
mkdir "$room/toolchain"

# They must stand at the paths that are compiled into the tests. The user may be unable to enter a directory on the way
# there, like /root: the uppermost of these is then covered by an empty one.
closed=
for path in "$checkout" "$cargo_home"; do
  uppermost=
  directory=$path
  while [ "$directory" != / ]; do
    as_user test -x "$directory" || uppermost=$directory
    directory=$(dirname "$directory")
  done
  closed+=" $uppermost"
done

export -f as_user
export checkout cargo_home sysroot room user closed
unshare --mount --pid --fork --mount-proc --kill-child bash -euc '
  layered() {
    mount -t overlay overlay -o "metacopy=on,lowerdir=$2,upperdir=$room/$1/above,workdir=$room/$1/work" "$room/$1/all"
    chown -R "$user:$user" "$room/$1/all"
  }
  layered checkout "$checkout"
  layered cargo "$cargo_home"
  mount --bind "$sysroot" "$room/toolchain"
  for directory in $closed; do
    mount -t tmpfs -o mode=755 tmpfs "$directory"
  done
  mkdir -p "$checkout" "$cargo_home"
  mount --bind "$room/checkout/all" "$checkout"
  mount --bind "$room/cargo/all" "$cargo_home"
  cd "$checkout"
  as_user env -i PATH="$room/toolchain/bin:/usr/local/bin:/usr/bin:/bin" HOME=/nonexistent CARGO_HOME="$cargo_home" \
    tests/leaves-nothing.sh cargo test --workspace --offline --no-fail-fast "$@"
' bash "$@"
