#!/usr/bin/env bash
# Builds the test program TEST of the crate PACKAGE and prints its path: tests/test-program.sh PACKAGE TEST
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo test --quiet --no-run --message-format=json -p "$1" --test "$2" |
  sed -n 's/.*"executable":"\([^"]*\/'"$2"'-[^"]*\)".*/\1/p'
