#!/usr/bin/env bash
# Makes what builds for Windows and runs it, in $1: Debian's packages, a standard library, a wine prefix.
# Prints the environment to build with. Everything but the packages stays in $1.
set -euo pipefail
cache=$(mkdir -p "$1" && cd "$1" && pwd)
target=x86_64-pc-windows-gnu

# Debian's own compiler: the source of its standard library is a package, too. The win32 threads
# variant: programs need no DLL of the compiler's beside them.
if ! { [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -e /usr/lib/rustlib/src/rust/library/Cargo.lock ] &&
  command -v x86_64-w64-mingw32-gcc >/dev/null && [ -x /usr/lib/wine/wine64 ]; }; then
  "$(dirname "${BASH_SOURCE[0]}")/../../apt.sh" rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64-win32 wine64
fi
# What rustup's cargo may have left around this script.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER RUSTC_BOOTSTRAP RUSTUP_TOOLCHAIN CARGO LD_LIBRARY_PATH
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc PATH=/usr/bin:$PATH

# The standard library for Windows, once for each version of the compiler.
version=$(/usr/bin/rustc -vV | sed -n 's/^commit-hash: //p;s/^release: //p' | paste -sd-)
sysroot=$cache/sysroot-$version
if [ ! -e "$sysroot/done" ]; then
  rm -rf "$sysroot" "$cache/std"
  mkdir -p "$cache/std/src"
  printf '[workspace]\n[package]\nname = "std-for-windows"\nversion = "0.0.0"\nedition = "2021"\n' >"$cache/std/Cargo.toml"
  echo '#![no_std]' >"$cache/std/src/lib.rs"
  (cd "$cache/std" && CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc RUSTC_BOOTSTRAP=1 \
    CARGO_TARGET_DIR=$cache/std/target /usr/bin/cargo build -q --release \
    -Z build-std=std,panic_unwind,panic_abort --target "$target" >&2)
  libraries=$sysroot/lib/rustlib/$target/lib
  mkdir -p "$libraries"
  cp "$cache/std/target/$target/release/deps/"*.rlib "$libraries"/
  rm -rf "$libraries"/libstd_for_windows-*.rlib "$cache/std"
  touch "$sysroot/done"
fi

# The prefix, and the one DLL that Rust's standard library imports and wine 8 lacks.
export WINEPREFIX=$cache/prefix WINEDEBUG=-all WINEARCH=win64 WINEDLLOVERRIDES='mscoree,mshtml=;winemenubuilder.exe,winedbg.exe=d'
unset DISPLAY WAYLAND_DISPLAY
if [ ! -e "$WINEPREFIX/ready" ]; then
  timeout 120 /usr/lib/wine/wine64 wineboot -i </dev/null >"$cache/wineboot.log" 2>&1
  timeout 60 /usr/lib/wine/wineserver64 -w || true
  cat >"$cache/bcryptprimitives.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG); /* RtlGenRandom, in advapi32 */
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) {
   while (count > 0) {
      ULONG some = count > 0x40000000 ? 0x40000000 : (ULONG)count;
      if (!SystemFunction036(bytes, some)) return FALSE;
      bytes += some;
      count -= some;
   }
   return TRUE;
}
C
  x86_64-w64-mingw32-gcc -O2 -s -shared -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
    "$cache/bcryptprimitives.c" -ladvapi32
  touch "$WINEPREFIX/ready"
fi

cat <<ENV
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS='--sysroot=$sysroot'
export WINEPREFIX='$WINEPREFIX' WINEDEBUG=-all WINEARCH=win64 LC_ALL=C.UTF-8
export WINEDLLOVERRIDES='$WINEDLLOVERRIDES'
ENV
