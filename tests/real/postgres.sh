#!/usr/bin/env bash
# Installs Debian's PostgreSQL, and tries several hosts on one; each test starts a server of its own.
#
#   tests/real/postgres.sh                            all of them
#   tests/real/postgres.sh real::postgres::create     those whose names begin so
#   POSTGRES_INCIDENTS=5000 tests/real/postgres.sh    with so many incidents instead of a thousand
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

find_programs() { find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n1; }
if [ -z "$(find_programs)" ]; then
  # No server of the system's is started, nor one made.
  sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
  $sudo mkdir -p /etc/postgresql-common
  printf "create_main_cluster = false\nstart_conf = 'manual'\n" | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends postgresql </dev/null
fi
POSTGRES_BIN=$(find_programs)
export POSTGRES_BIN
cargo test -p ticket-host-tests --test e2e -- --ignored --nocapture "${@:-real::postgres}"
