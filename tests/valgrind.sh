#!/usr/bin/env bash
# Runs both halves of the ABI, in Rust and with the plugin in C, and the worker's loop under valgrind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/install-valgrind.sh
# Only lost memory is a fault: what lives until the end (statics, libraries that are never unloaded) isn't.
check=(valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)

# The tests of a test program, or those whose names begin with the rest of the arguments.
under_valgrind() {
  local package=$1 test=$2 program
  shift 2
  program=$(tests/test-program.sh "$package" "$test")
  "${check[@]}" "$program" --test-threads=1 "$@"
  echo "$test${*:+ $*}: no invalid access, nothing lost"
}
under_valgrind ticket-plugin-api sdk
under_valgrind ticket-host-worker in_memory
under_valgrind ticket-host-tests e2e c_plugin::
