#!/usr/bin/env bash
# Checks all dependencies against deny.toml: licenses, versions twice, where they come from, and, where RustSec's database
# is or can be fetched, known weaknesses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

host/release/tools.sh deny
deny=(cargo deny --locked --config host/release/deny.toml)
"${deny[@]}" check --hide-inclusion-graph --deny warnings bans licenses sources
if timeout 60 "${deny[@]}" fetch db 2>/dev/null; then
  "${deny[@]}" --offline check --hide-inclusion-graph --deny warnings advisories
else
  echo "advisories: not checked, since RustSec's database can't be fetched here"
fi
