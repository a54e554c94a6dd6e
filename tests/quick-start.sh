#!/usr/bin/env bash
# The README's first minutes, as printed: from a clean clone to the first ticket, then the second one, which is the first
# again. What they fetch must be all that the tests need without a network. Prints how long they take.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lines=$(tests/readme-block.sh "cargo fetch")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet . "$work/clone"
cd "$work/clone"
# Nothing that others have fetched or built. What cargo is told of this machine's network it keeps.
home=${CARGO_HOME:-$HOME/.cargo}
mkdir "$work/cargo"
for file in "$home"/config*; do [ ! -f "$file" ] || cp "$file" "$work/cargo/"; done
export CARGO_HOME=$work/cargo
unset CARGO_TARGET_DIR

first=$SECONDS
sh -euc "$lines" >"$work/said" 2>"$work/log" || { cat "$work/log"; exit 1; }
echo "the first ticket after $((SECONDS - first)) s: $(tail -n 1 "$work/said")"
again=$(sh -euc "$(tail -n 1 <<<"$lines")")
[ "$again" = "$(tail -n 1 "$work/said")" ] || { echo "the second time it is another ticket: $again"; exit 1; }
cargo metadata --offline --locked --format-version 1 >/dev/null
echo "all that the tests need is there"
git status --porcelain | grep . && { echo "these files are new"; exit 1; }
echo "nothing is left that git doesn't ignore"
