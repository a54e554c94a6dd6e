#!/usr/bin/env bash
# Installs valgrind where it is missing.
set -euo pipefail
command -v valgrind >/dev/null || {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind </dev/null
}
