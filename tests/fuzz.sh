#!/usr/bin/env bash
# Writes frames as a hostile worker could into the host's end of its pipe: tests/fuzz.sh SECONDS
# It prints its seed; FUZZ_SEED=N does the same again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Ten times as fast as the debug build, which does the same for a second with all other tests. As tests/instructions.sh
# builds, so that nothing is built twice.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 FUZZ_SECONDS=$1
cargo test --quiet --release -p ticket-host --lib backend::fuzz -- --nocapture
