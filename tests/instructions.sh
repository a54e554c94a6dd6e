#!/usr/bin/env bash
# Compares the instructions of what happens for every ticket with the stored figures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/install-valgrind.sh
# Counts of a build without LTO stand for those with it, and build in half the time. With several units they would
# depend on which function lies in which.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
# All that is counted, but for the host's program itself.
cargo build --quiet --release -p ticket-plugin-panics
TICKET_HOST_BUILT=yes cargo bench --quiet -p ticket-host-bench --bench instructions
