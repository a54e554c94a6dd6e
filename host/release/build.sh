#!/usr/bin/env bash
# Makes all artefacts of a release in target/dist/, and tries the archive as its user would. For Linux on x86_64, on
# Debian 12 or what is as old: the programs need the C library of the machine that they are built on.
#
#   MINISIGN_SECRET_KEY=FILE  signs the checksums; without it nothing is signed
#   SOURCE_DATE_EPOCH         the time of all files [default: the commit's]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The oldest C library that the programs work with. A build that needs a newer one fails.
readonly GLIBC=2.34
readonly TARGET=x86_64-unknown-linux-gnu
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
readonly version
readonly name=ticket-host-$version-$TARGET
readonly out=$PWD/target/dist
# Where cargo puts what it builds: a directory of its own, so that other flags than everyday's rebuild nothing there.
readonly build=$PWD/target/release-build
readonly built=$build/$TARGET/dist
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

say() { printf '== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Programs that come from Debian, not from crates.io.
require() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || fail "$program is not installed: apt-get install binutils debhelper groff-base minisign python3-venv"
  done
}

# The program and the plugins, with the list of their crates inside, and without the names of this machine's directories.
compile() {
  local cargo_home=${CARGO_HOME:-$HOME/.cargo} flags=
  flags+=" --remap-path-prefix=$cargo_home/registry/src=/crates --remap-path-prefix=$PWD=/ticket-host"
  RUSTFLAGS=$flags CFLAGS="-ffile-prefix-map=$cargo_home/registry/src=/crates -ffile-prefix-map=$PWD=/ticket-host" \
    cargo auditable build --quiet --locked --profile dist --target "$TARGET" --target-dir "$build"
}

artefacts() { printf '%s\n' "$built/ticket-host" "$built"/libticket_plugin_{github,gitlab,jira,local,rt}.so; }

# What must hold of each program and library before it is packed.
inspect() {
  local file newest
  while read -r file; do
    newest=$(objdump -T "$file" | grep -o 'GLIBC_[0-9.]*' | cut -d _ -f 2 | sort -Vu | tail -1)
    [ "$(printf '%s\n' "$newest" "$GLIBC" | sort -V | tail -1)" = "$GLIBC" ] ||
      fail "$file needs glibc $newest, and $GLIBC is what the release promises"
    ! grep -qF -e "$HOME/" -e "$PWD/" "$file" || fail "$file has names of this machine's directories in it"
    rust-audit-info "$file" | python3 -c 'import json, sys; sys.exit(not json.load(sys.stdin)["packages"])' ||
      fail "$file doesn't say which crates are in it"
    say "$(basename "$file"): $(stat -c %s "$file") bytes, glibc $newest"
  done < <(artefacts)
}

# Fills a directory with what is installed, as it lies below /usr/local.
stage() {
  local root=$1 doc file shell
  doc=$root/share/doc/ticket-host
  mkdir -p "$root"/{bin,include,lib/{ticket-host/plugins,systemd/system,sysusers.d},share/bash-completion/completions} \
    "$root"/share/{zsh/site-functions,fish/vendor_completions.d} "$doc"
  install -m 755 "$built/ticket-host" "$root/bin/"
  artefacts | tail -n +2 | xargs install -m 644 -t "$root/lib/ticket-host/plugins/"
  install -m 644 plugin-api/include/*.h "$root/include/"
  sed 's|/usr/bin/ticket-host|/usr/local/bin/ticket-host|' host/debian/ticket-host.service \
    >"$root/lib/systemd/system/ticket-host.service"
  install -m 644 host/debian/ticket-host.sysusers "$root/lib/sysusers.d/ticket-host.conf"
  "$built/ticket-host" man "$root/share/man/man1"
  for shell in bash-completion/completions/ticket-host:bash zsh/site-functions/_ticket-host:zsh \
    fish/vendor_completions.d/ticket-host.fish:fish; do
    "$built/ticket-host" completions "${shell#*:}" >"$root/share/${shell%:*}"
  done
  # As in the sources, so that the links from one to another hold.
  for file in README.md CHANGELOG.md LICENSE-* host/*.md host/docs/*.* host/docs/console/* host/mixin/* host/debian/config.toml host/argus/README.md \
    plugins/*/README.md plugins/webhook-c/webhook.c plugins/local/src/lib.rs plugin-api/README.md plugin-api/docs/* plugin-api/include/*.h \
    plugin-api/examples/acme.rs tests/bench/{README.md,results.md,results.svg}; do
    install -D -m 644 "$file" "$doc/$file"
  done
  install -m 644 "$out/THIRD-PARTY.txt" "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$doc/"
  tests/links.py "$doc" || fail "see above"
  sed -e "s/{{glibc}}/$GLIBC/" -e "s/{{archive}}/$name/" host/release/INSTALL.md >"$root/INSTALL.md"
}

# Every man page must be without a complaint of groff.
check_pages() {
  local page said
  for page in "$1"/*; do
    said=$(groff -ww -man -Tutf8 "$page" 2>&1 >/dev/null)
    [ -z "$said" ] || fail "$page: $said"
  done
}

pack() {
  local root=$1
  tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu \
    --directory "$(dirname "$root")" "$(basename "$root")" | gzip --no-name --best >"$out/$name.tar.gz"
}

# Argus's plugin, which nobody has to look for in a registry.
wheel() {
  python3 -m venv "$build/python"
  "$build/python/bin/pip" wheel --quiet --no-deps --wheel-dir "$out" host/argus
}

# What is in the program, for tools that read CycloneDX. cargo-cyclonedx writes a file beside each manifest of the workspace.
bill_of_materials() {
  cargo cyclonedx --quiet --manifest-path host/Cargo.toml --format json --spec-version 1.5 --target "$TARGET" \
    --override-filename release-bom
  sed "s|path+file://$PWD|path+file:///ticket-host|g" host/release-bom.json >"$out/ticket-host-$version.cdx.json"
  remove_boms
}
remove_boms() { find host plugin-api plugins tests -name release-bom.json -delete; }

sign() {
  (cd "$out" && find . -maxdepth 1 -type f ! -name 'SHA256SUMS*' -printf '%f\n' | sort | xargs sha256sum >SHA256SUMS)
  if [ -n "${MINISIGN_SECRET_KEY:-}" ]; then
    minisign -S -s "$MINISIGN_SECRET_KEY" -m "$out/SHA256SUMS" -t "ticket-host $version" </dev/null
  else
    say "nothing is signed: MINISIGN_SECRET_KEY names no key"
  fi
}

# Unpacks the archive in another place and makes a ticket with what is in it.
try_archive() {
  local place=$1 url plugin listed
  tar --extract --gzip --file "$out/$name.tar.gz" --directory "$place" --strip-components 1
  local host=("$place/bin/ticket-host" --config "$place/config.toml" --plugin-dir "$place/lib/ticket-host/plugins")
  HOME=$place "${host[@]}" init >/dev/null
  listed=$(HOME=$place "${host[@]}" plugins list)
  for plugin in github gitlab jira local rt; do
    grep -q "^$plugin " <<<"$listed" || fail "the archive's program doesn't find $plugin: $listed"
  done
  url=$(HOME=$place "${host[@]}" create --key release tests/incidents/plugin-closed.json)
  [ -s "${url#file://}" ] || fail "the archive's program made no ticket"
  say "the archive works: $url"
}

require dh git objdump groff python3 gzip
[ -z "${MINISIGN_SECRET_KEY:-}" ] || require minisign
host/release/tools.sh auditable cyclonedx
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"; remove_boms' EXIT
rm -rf "$out"
mkdir -p "$out" "$scratch/$name" "$scratch/tried"
compile
inspect
host/release/notices.sh >"$out/THIRD-PARTY.txt"
stage "$scratch/$name"
check_pages "$scratch/$name/share/man/man1"
pack "$scratch/$name"
THIRD_PARTY=$out/THIRD-PARTY.txt host/debian/build.sh "$out" "$built" >/dev/null
wheel
bill_of_materials
sign
try_archive "$scratch/tried"
say "$out:"
ls -l "$out"
