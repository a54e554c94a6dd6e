#!/usr/bin/env bash
# Writes frames as a hostile worker could into the host's end of its pipe: tests/fuzz.sh SECONDS
# It prints its seed; FUZZ_SEED=N does the same again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Ten times as fast as the debug build, with which .ci/run does the same.
FUZZ_SECONDS=$1 cargo test --quiet --release -p ticket-host --lib backend::fuzz -- --nocapture
