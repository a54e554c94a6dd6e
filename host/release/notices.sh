#!/usr/bin/env bash
# Prints the notices of all that is linked into the program and its plugins. Fails where a crate's license isn't known.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

host/release/tools.sh about
# What is linked into a package's artefact, a crate and its version a line; the workspace's own left out.
linked() {
  cargo tree --quiet --locked --edges normal --target x86_64-unknown-linux-gnu --prefix none -p "$1" |
    cut -d ' ' -f 1,2 | grep -v '^ticket-' | sort -u
}

# One list is enough, since the plugins link nothing that the program doesn't.
program=$(linked ticket-host)
for manifest in plugins/*/Cargo.toml; do
  name=ticket-plugin-$(basename "$(dirname "$manifest")")
  plugin=$(linked "$name")
  others=$(comm -23 <(echo "$plugin") <(echo "$program"))
  [ -z "$others" ] || { echo "$name links what the program doesn't, and whose notices would be missing: $others" >&2; exit 1; }
done
cargo about generate --locked --fail --manifest-path host/Cargo.toml --config host/release/about.toml host/release/about.hbs
