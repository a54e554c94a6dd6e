#!/usr/bin/env bash
# Installs Debian's PostgreSQL, and tries the store on one, and several hosts; each test of these starts a server of its own.
#
#   tests/real/postgres.sh                            all of it
#   tests/real/postgres.sh real::postgres::create     the tests of hosts whose names begin so
#   POSTGRES_INCIDENTS=5000 tests/real/postgres.sh    with so many incidents instead of a thousand
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

find_programs() { find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n1; }
if [ -z "$(find_programs)" ] || [ ! -x /usr/sbin/pgbouncer ]; then
  # No server of the system's is started, nor one made.
  sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
  $sudo mkdir -p /etc/postgresql-common
  printf "create_main_cluster = false\nstart_conf = 'manual'\n" | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
  tests/apt.sh postgresql pgbouncer
  # Debian starts it.
  $sudo service pgbouncer stop >/dev/null 2>&1 || true
fi
programs=$(find_programs)

if [ $# -eq 0 ]; then
  state=$(mktemp -d)
  # It refuses root.
  as=()
  if [ "$(id -u)" -eq 0 ]; then
    chown postgres "$state"
    as=(runuser -u postgres --)
  fi
  stop() {
    (cd / && "${as[@]}" "$programs/pg_ctl" -D "$state/data" -m immediate stop >/dev/null) || true
    rm -rf "$state"
  }
  trap stop EXIT
  (
    cd /
    "${as[@]}" "$programs/initdb" -D "$state/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    # It listens nowhere but on a socket there.
    "${as[@]}" "$programs/pg_ctl" -D "$state/data" -l "$state/log" -w start \
      -o "-k $state -c listen_addresses= -c fsync=off -c max_connections=200" >/dev/null
  )
  TEST_POSTGRES="postgres://postgres@localhost/postgres?host=$state" \
    cargo test -p ticket-host --lib -- --ignored store::
fi
cargo test -p ticket-host-tests --test e2e -- --ignored --nocapture "${@:-real::postgres}"
