#!/usr/bin/env bash
# Prints the README's lines for a shell that have some words in them: tests/readme-block.sh WORDS
# Fails if there is not just one such block.
set -euo pipefail
page=$(dirname "${BASH_SOURCE[0]}")/../README.md
awk -v words="$1" '
  /^```/ && open { if (index(block, words)) { found = found block; count++ } open = 0; next }
  /^```sh$/ { open = 1; block = ""; next }
  open { block = block $0 "\n" }
  END {
    if (count != 1) { print "the README has " (count + 0) " blocks with \"" words "\"" >"/dev/stderr"; exit 1 }
    printf "%s", found
  }' "$page"
