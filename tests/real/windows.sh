#!/usr/bin/env bash
# Builds the host and plugins for Windows and tries them under wine (Debian, as root): .dll plugins in Rust and C, in
# workers and in-process; plugins that crash, hang and panic; the service, killed and started again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cache=${WINDOWS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/windows}
environment=$(bash tests/real/windows/install.sh "$cache")
target=x86_64-pc-windows-gnu
# In a shell of its own: what follows is rustup's again.
(
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER RUSTUP_TOOLCHAIN CARGO LD_LIBRARY_PATH
  eval "$environment"
  # Never shared with rustup's: the compilers differ.
  CARGO_TARGET_DIR=$cache/target CARGO_PROFILE_DEV_DEBUG=0 /usr/bin/cargo build --quiet --locked --target "$target" \
    -p ticket-host -p ticket-plugin-local -p ticket-plugin-rt -p ticket-plugin-panics
)
built=$cache/target/$target/debug
c_plugin() {
  x86_64-w64-mingw32-gcc -shared -O1 -std=c99 -Iplugin-api/include -o "$built/$1" "${@:2}"
}
c_plugin ticket_plugin_webhook.dll plugins/webhook-c/webhook.c
for variant in misbehaves constructor_segfault; do
  c_plugin "ticket_plugin_$variant.dll" "-DFAULT_${variant^^}" "-DPLUGIN_NAME=\"$variant\"" tests/faulty/faulty.c
done

eval "$(grep WINE <<<"$environment")"
export LC_ALL=C.UTF-8 WINDOWS_BUILD=$built
# This prefix's server, and no other.
trap '/usr/lib/wine/wineserver64 -k >/dev/null 2>&1 || true' EXIT
cargo test -p ticket-host-tests --test e2e -- --ignored --test-threads=2 "${@:-real::windows}"
