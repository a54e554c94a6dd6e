#!/usr/bin/env bash
# How many planted mistakes the validator finds, and whether it is silent about honest plugins: prints the score, and fails
# below the goals (tests/mutants/score.py). With names or classes, only those plugins are validated.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --quiet -p ticket-host -p ticket-plugin-rt -p ticket-plugin-jira -p ticket-plugin-github -p ticket-plugin-gitlab
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests/mutants/score.py "$PWD" "$PWD/target/debug/ticket-host" "$work" "$@"
