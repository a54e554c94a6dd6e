#!/usr/bin/env bash
# Starts a plugin in each language that `ticket-host plugins new` knows, and runs the commands of its README as they are
# printed: they build it, and run its tests and the validator. What is to be shipped exports one symbol and tells nothing
# of this machine. Rust's is built by another compiler than the host, too: Debian's. Installs compilers (Debian, as root).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v go >/dev/null && [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && python3 -c "import venv, ensurepip" || {
  tests/apt.sh golang-go g++ make rustc-web cargo-web python3-venv
}

type nm readelf strings >/dev/null || { echo "binutils is missing"; exit 1; }

cargo build --quiet -p ticket-host
root=$PWD
host=$root/target/debug/ticket-host
export PATH="$root/target/debug:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Runs the README's commands before its first heading: those that build, test and validate.
as_printed() {
  sed '/^## /q' README.md | sed -n 's/^    //p' | sh -eux | grep -v -e '^ok ' -e ^pass
}

# Fails if a library exports more than its one symbol, may run its stack, or has a path of this machine in it.
ships_clean() {
  local exported place
  exported=$(nm -D --defined-only --format=posix "$1" | cut -d ' ' -f 1)
  if [ "$exported" != ticket_plugin_entry ]; then
    echo "$1 exports more than ticket_plugin_entry:" $exported
    return 1
  fi
  if readelf -lW "$1" | grep 'GNU_STACK.*E'; then
    echo "$1 has an executable stack"
    return 1
  fi
  for place in "$HOME" "$root" "$work" "$(go env GOPATH)" "$(go env GOROOT)" "$(realpath "$(go env GOROOT)/src")"; do
    if strings -a "$1" | grep -F -m 3 -e "$place"; then
      echo "$1 has a path of this machine in it: $place"
      return 1
    fi
  done
}

# Fails if a file that was written states no licence. READMEs say it in words.
licensed() {
  local without
  without=$(grep -rL 'SPDX-License-Identifier: MIT-0' --exclude=README.md --exclude=LICENSE-TEMPLATE --exclude=.gitignore "$@" . || true)
  if [ -n "$without" ]; then
    echo "without a licence:" $without
    return 1
  fi
}

# A plugin that makes a request before its search: test.c takes it where its cases have two exchanges, and says what is
# wrong where they have one.
two_requests() {
  sed -i 's|^   const ticket_exchange done = ask(self, call, "GET", "/tickets?key="|   ask(self, call, "GET", "/archive?key=", ticket_view(\&key), none, none);\n&|' ./*_c.c
  if make --silent test >failed.txt; then
    echo "test.c doesn't see a request that no case has"
    return 1
  fi
  grep -q 'request 1: expected GET .*/tickets?key=.* got GET .*/archive?key=' failed.txt
  sed -i 's|{SEARCH|{.method = "GET", .url = ENDPOINT "/archive?key=" KEY_IN_URL, .status = 200}, &|' test.c
  make --silent test >passed.txt
  grep -qx "all as expected" passed.txt
}

# Builds the Rust plugin with Debian's compiler. rustup's variables would make cargo take rustup's.
debian_build() {
  env -u CARGO -u RUSTUP_TOOLCHAIN -u LD_LIBRARY_PATH RUSTC=/usr/bin/rustc CARGO_TARGET_DIR=debian \
    /usr/bin/cargo build --quiet "$@"
}

for lang in c cpp go zig rust; do
  "$host" plugins new "new-in-$lang" --lang "$lang" >/dev/null
  cd "new-in-$lang"
  library=libticket_plugin_new_in_$lang.so
  echo "== $lang"
  case $lang in
    zig)
      licensed
      as_printed
      .zig/bin/zig build --release=safe -Dcpu=baseline
      ships_clean "zig-out/lib/$library"
      "$host" plugins validate "zig-out/lib/$library" --settings validate.toml | grep -v ^pass
      # The oldest that its README names.
      .zig/bin/pip install --quiet ziglang==0.16.0
      .zig/bin/zig build test --cache-dir .zig-cache-of-0.16 | grep -v '^ok '
      ;;
    rust)
      licensed --exclude-dir=sdk
      cargo test --quiet
      # All that it needs is there now, and nobody's lints look at the SDK.
      cargo clippy --quiet --offline --all-targets -- -D warnings
      cargo fmt --all --check
      release=$(sed -n 's/^    \(cargo build --release --config.*\)/\1/p' README.md)
      sh -euc "$release --quiet --offline"
      ships_clean "target/release/$library"
      "$host" plugins validate "target/release/$library" --settings validate.toml | grep -v ^pass
      debian_build
      /usr/bin/rustc --version
      crates=$(cargo tree --quiet --edges normal,build --prefix none)
      if grep abi_stable <<<"$crates"; then
        echo "a new plugin needs abi_stable, though it didn't ask for the feature layout"
        exit 1
      fi
      shown() { "$host" --plugin-dir debian/debug plugins show new-in-rust | grep -F "$1"; }
      shown "(layout not compared)"
      "$host" plugins validate "debian/debug/$library" --settings validate.toml | grep -v ^pass
      # The proof holds between two compilers.
      debian_build --features ticket-plugin-api/layout
      shown "(layout compared)"
      "$host" plugins validate "debian/debug/$library" --settings validate.toml | grep -v ^pass
      ;;
    *)
      licensed
      as_printed
      ships_clean "$library"
      ;;
  esac
  [ "$lang" != c ] || two_requests
  cd ..
done
echo "all languages: built, tested, valid"
