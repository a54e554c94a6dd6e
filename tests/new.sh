#!/usr/bin/env bash
# Starts a plugin in each language that `ticket-host plugins new` knows, builds it, and runs its tests and the validator.
# Rust's is built by another compiler than the host, too: Debian's. Installs compilers (Debian, as root).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v go >/dev/null && [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] || {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go g++ make rustc-web cargo-web \
    </dev/null >/dev/null
}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host
zig=$cache/zig/bin/python
[ -x "$zig" ] && "$zig" -m ziglang version >/dev/null 2>&1 || {
  python3 -m venv "$cache/zig"
  "$cache/zig/bin/pip" install --quiet ziglang==0.17.1
}

cargo build --quiet -p ticket-host
host=$PWD/target/debug/ticket-host
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# The command of the plugin's README that begins with $1, as it is printed there.
printed() { sed -n "s/^    \($1.*\)/\1/p" README.md; }

# Whether the library $1 has the name of a directory of this machine in it.
names_directories() { grep -aoF -e "$HOME/" -e "$PWD" "$1" | sort -u; }

# Builds the Rust plugin with Debian's compiler. rustup's variables would make cargo take rustup's.
debian_build() {
  env -u CARGO -u RUSTUP_TOOLCHAIN -u LD_LIBRARY_PATH RUSTC=/usr/bin/rustc CARGO_TARGET_DIR=debian \
    /usr/bin/cargo build --quiet "$@"
}

for lang in c cpp go zig rust; do
  "$host" plugins new "new-in-$lang" --lang "$lang" >/dev/null
  cd "new-in-$lang"
  library=libticket_plugin_new_in_$lang.so
  case $lang in
    zig)
      "$zig" -m ziglang build test
      "$zig" -m ziglang build --release=safe -Dcpu=baseline
      library=zig-out/lib/$library
      ;;
    rust)
      cargo test --quiet
      # All that it needs is there now, and nobody's lints look at the SDK.
      cargo clippy --quiet --offline --all-targets -- -D warnings
      cargo fmt --all --check
      release=$(printed "cargo build --release --config")
      sh -euc "$release --quiet --offline"
      if names_directories "target/release/$library" | grep .; then
        echo "the release's library has the names above in it"
        exit 1
      fi
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
      library=debian/debug/$library
      ;;
    *) make --silent test ;;
  esac
  echo "== $lang"
  "$host" plugins validate "$library" --settings validate.toml | grep -v ^pass
  cd ..
done
echo "all languages: built, tested, valid"
