#!/usr/bin/env bash
# Installs valgrind where it is missing.
set -euo pipefail
command -v valgrind >/dev/null || "$(dirname "${BASH_SOURCE[0]}")/apt.sh" valgrind
