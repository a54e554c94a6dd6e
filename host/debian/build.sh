#!/usr/bin/env bash
# Packs what `cargo build --release` has built into the Debian packages ticket-host and ticket-host-dev. Needs Debian's
# package debhelper; where it runs is the oldest Debian that the packages can be installed on.
#
#   host/debian/build.sh [OUT [BUILT]]
#
# OUT          the directory for the packages; target/debian if none is named
# BUILT        the directory with the program and its plugins; target/release if none is named
# THIRD_PARTY  (environment) the file with the notices of all linked crates; target/THIRD-PARTY.txt if none is named
# DEB_VERSION  (environment) another version than the changelog's, such as 0.1.0-1~bpo12+1
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$(realpath -m "${1:-$root/target/debian}")
built=$(realpath -m "${2:-$root/target/release}")
third_party=$(realpath -m "${THIRD_PARTY:-$root/target/THIRD-PARTY.txt}")
cd "$root"

fail() {
  echo "no package was made: $*" >&2
  exit 1
}
[ -x "$built/ticket-host" ] || fail "$built has no ticket-host; \`cargo build --release\` makes it"
[ -s "$third_party" ] || fail "there are no notices of the linked crates in $third_party; \`host/release/notices.sh >target/THIRD-PARTY.txt\` makes them"
type dh >/dev/null 2>&1 || fail "there is no dh; \`apt-get install debhelper\` brings it"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Debian wants its own directory at the top, which it isn't in the project.
tree=$work/ticket-host
mkdir -p "$tree/built"
cp -r --parents README.md CHANGELOG.md host/*.md host/docs host/mixin host/argus/README.md tests/bench/{README.md,results.{md,svg}} plugins plugin-api "$tree"
cp -r host/debian "$tree/debian"
cp "$third_party" "$tree/THIRD-PARTY.txt"
cp "$built/ticket-host" "$built"/libticket_plugin_*.so "$tree/built"

changelog=$tree/debian/changelog
[ -z "${DEB_VERSION:-}" ] || sed -i "1s/(.*)/($DEB_VERSION)/" "$changelog"
packaged=$(dpkg-parsechangelog --file "$changelog" --show-field Version)
# Debian takes 0.2.0-rc.1 for a revision of 0.2.0, and 0.2.0~rc.1 for what comes before it.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
[ "${packaged%-*}" = "${version/-/\~}" ] ||
  fail "Cargo.toml has the version $version, host/debian/changelog has $packaged; begin a new entry there"

(cd "$tree" && dpkg-buildpackage --build=binary --no-sign) >"$work/log" 2>&1 || { cat "$work/log"; fail "see above"; } >&2
mkdir -p "$out"
mv "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$out"
echo "$out"/ticket-host*_"$packaged"_*.deb
