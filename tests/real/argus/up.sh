#!/bin/bash
# Starts a fresh Argus on a free loopback port, with a PostgreSQL of its own and all its state in $STATE, and describes it
# in $STATE/argus.env.
#
#   STATE=/tmp/argus-a TICKET_ENDPOINT=http://127.0.0.1:8620/ ./up.sh && . /tmp/argus-a/argus.env
#   curl -H "Authorization: Token $ARGUS_TOKEN" "$ARGUS_URL/api/v2/incidents/"
#   kill "$ARGUS_PID"; kill -INT "$PG_PID"
#
# STATE must be empty, missing, or left by an earlier run: what still runs from there is stopped, its data is removed.
# Run by root, PostgreSQL runs as the user postgres, who must be able to enter STATE: mktemp's folders need a chmod 711.
# TICKET_ENDPOINT, TICKET_AUTHENTICATION_SECRET={"token": "..."} and TICKET_INFORMATION={"backend": "..."} are Argus's
# settings for the plugin, the latter two in JSON. ARGUS_FRONTEND_URL is the base of its argus_urls: ARGUS_URL/ if unset.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${STATE:?a folder for the state of this Argus}"
: "${TICKET_ENDPOINT:?the base URL of the ticket-host service}"
venv=${VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/argus-venv}
admin_password=password

fail() {
  echo "up.sh: $*" >&2
  exit 1
}

# The newest that is installed; Debian has them not in the PATH.
postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$postgres/initdb" ] || fail 'PostgreSQL is not installed: run install.sh'
[ -x "$venv/bin/gunicorn" ] || fail "there is no Argus in $venv: run install.sh"
for setting in TICKET_AUTHENTICATION_SECRET TICKET_INFORMATION; do
  "$venv/bin/python" -c 'import json, sys; json.loads(sys.argv[1] or "{}")' "${!setting:-}" 2>/dev/null || fail "$setting is no JSON"
done

STATE=$(realpath --canonicalize-missing "$STATE")
# The name stands in PostgreSQL's config; a socket's name has 107 bytes at most.
[[ $STATE =~ ^[A-Za-z0-9._/+-]{1,85}$ ]] || fail "$STATE is too long a name, or has more than plain letters in it"

# STATE is emptied, so a folder that holds anything but an Argus is refused.
mkdir -p "$STATE"
if [ -n "$(ls -A "$STATE")" ] && [ ! -e "$STATE/.argus-state" ]; then
  fail "$STATE is not empty and was not made by up.sh"
fi

# True while the process that an earlier run recorded is that server and not another process with a reused id.
is_of_state() {
  # Its arguments, as everybody may see them, name its folder.
  { tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null | grep -xF -e "$STATE" -e "$STATE/pg/data" >/dev/null
}

stop() {
  local name=$1 signal=$2 old
  [ -s "$STATE/$name.pid" ] || return 0
  old=$(cat "$STATE/$name.pid")
  is_of_state "$old" || return 0
  kill "-$signal" "$old" 2>/dev/null || true
  for _ in $(seq 100); do
    is_of_state "$old" || return 0
    sleep 0.1
  done
  fail "the $name with process id $old does not stop"
}

stop argus TERM
# PostgreSQL would wait for its clients after a TERM.
stop pg INT
find "$STATE" -mindepth 1 -delete
touch "$STATE/.argus-state"

# The process ids of servers that are not yet known to work; they are not left behind.
starting=()
trap 'for id in "${starting[@]}"; do kill -INT "$id" 2>/dev/null || true; done' EXIT

# PostgreSQL refuses to be run by root. The process stays the same one, unlike with su.
as_postgres=()
if [ "$(id -u)" = 0 ]; then
  as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
mkdir "$STATE/pg" "$STATE/static"
if [ "$(id -u)" = 0 ]; then
  chown postgres: "$STATE/pg"
fi
"${as_postgres[@]}" test -w "$STATE/pg" || fail "the user postgres can't enter $STATE: chmod o+x it and the folders above it"

# No port: a socket in STATE can't be taken by another process, and nobody else's can be mistaken for it.
make_database() {
  "${as_postgres[@]}" "$postgres/initdb" --pgdata="$STATE/pg/data" --username=argus --auth=trust \
    --encoding=UTF8 --locale=C.UTF-8 --no-sync
}
cd "$STATE"
make_database >"$STATE/setup.log" 2>&1 </dev/null || fail "no database: $(tail -n 20 "$STATE/setup.log")"
cat >>"$STATE/pg/data/postgresql.conf" <<CONFIG
listen_addresses = ''
unix_socket_directories = '$STATE/pg'
port = 5432
shared_buffers = 32MB
# The data lives no longer than the tests.
fsync = off
synchronous_commit = off
full_page_writes = off
CONFIG
setsid "${as_postgres[@]}" "$postgres/postgres" -D "$STATE/pg/data" >"$STATE/pg.log" 2>&1 </dev/null &
pg=$!
starting+=("$pg")
echo "$pg" >"$STATE/pg.pid"
for _ in $(seq 300); do
  "$postgres/pg_isready" --quiet --host="$STATE/pg" --port=5432 && break
  kill -0 "$pg" 2>/dev/null || break
  sleep 0.1
done
"$postgres/createdb" --host="$STATE/pg" --port=5432 --username=argus argus >>"$STATE/setup.log" 2>&1 </dev/null ||
  fail "PostgreSQL does not start: $(tail -n 20 "$STATE/pg.log" "$STATE/setup.log")"

# Argus's settings; nothing of them is compiled into the source tree.
export ARGUS_STATE=$STATE PYTHONPATH=$here DJANGO_SETTINGS_MODULE=settings PYTHONDONTWRITEBYTECODE=1 HOME=$STATE TMPDIR=$STATE
export TICKET_ENDPOINT TICKET_AUTHENTICATION_SECRET=${TICKET_AUTHENTICATION_SECRET:-} TICKET_INFORMATION=${TICKET_INFORMATION:-}
unset DATABASE_URL GUNICORN_CMD_ARGS "${!PG@}"

"$venv/bin/django-admin" migrate --verbosity 0 >>"$STATE/setup.log" 2>&1 </dev/null ||
  fail "no tables: $(tail -n 20 "$STATE/setup.log")"
tokens=$("$venv/bin/python" - "$admin_password" 2>>"$STATE/setup.log" <<'PYTHON'
import sys

import django

django.setup()
from argus.auth.models import User
from argus.incident.models import SourceSystem, SourceSystemType
from rest_framework.authtoken.models import Token

admin = User.objects.create_superuser("admin", "admin@example.org", sys.argv[1], first_name="Ada", last_name="Lovelåce")
# Argus takes incidents from the users of source systems only.
source = User.objects.create_user("nav.example.org")
kind, _ = SourceSystemType.objects.get_or_create(name="nav")
SourceSystem.objects.create(name="nav.example.org", type=kind, user=source, base_url="https://nav.example.org/")
# Another source: what says that ticketing itself fails.
alarm = User.objects.create_user("ticket-host")
kind, _ = SourceSystemType.objects.get_or_create(name="ticket-host")
SourceSystem.objects.create(name="ticket-host", type=kind, user=alarm)
# Somebody without any right of their own.
user = User.objects.create_user("operator")
for name, owner in (("TOKEN", admin), ("SOURCE_TOKEN", source), ("ALARM_TOKEN", alarm), ("USER_TOKEN", user)):
    print(f"ARGUS_{name}={Token.objects.create(user=owner).key}")
PYTHON
) || fail "no users: $(tail -n 20 "$STATE/setup.log")"
admin_token=$(sed -n 's/^ARGUS_TOKEN=//p' <<<"$tokens")

# The port is bound before the server runs, so no other process can be quicker to it, and Argus knows its own URL.
# Threads, since a request lasts as long as its ticket does: gunicorn ends other workers after 30 seconds.
setsid "$venv/bin/python" - "$venv/bin/gunicorn" "$STATE" >"$STATE/argus.log" 2>&1 <<'PYTHON' &
import os
import shlex
import socket
import sys

gunicorn, state = sys.argv[1:]
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
listener.set_inheritable(True)
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
os.environ.setdefault("ARGUS_FRONTEND_URL", f"{url}/")
with open("url.new", "w") as file:
    print(f"ARGUS_URL={url}", f"ARGUS_FRONTEND_URL={shlex.quote(os.environ['ARGUS_FRONTEND_URL'])}", sep="\n", file=file)
os.rename("url.new", "url")
program = [gunicorn, "--chdir", state, "--bind", f"fd://{listener.fileno()}", "--workers", "1", "--threads", "4"]
os.execv(gunicorn, [*program, "--log-level", "warning", "argus.site.wsgi:application"])
PYTHON
argus=$!
starting+=("$argus")
echo "$argus" >"$STATE/argus.pid"
answers() {
  [ -s "$STATE/url" ] && kill -0 "$argus" 2>/dev/null || return 1
  # Only this Argus knows the token.
  [ "$(curl --noproxy '*' --silent --max-time 30 --output /dev/null --write-out '%{http_code}' \
    --header "Authorization: Token $admin_token" "$(sed -n 's/^ARGUS_URL=//p' "$STATE/url")/api/v2/incidents/")" = 200 ]
}
for _ in $(seq 300); do
  answers && break
  kill -0 "$argus" 2>/dev/null || break
  sleep 0.1
done
answers || fail "Argus does not answer: $(tail -n 20 "$STATE/argus.log")"

# Written under another name first: whoever sees argus.env sees all of it.
cat >"$STATE/argus.env.new" <<ENV
$(cat "$STATE/url")
ARGUS_ADMIN_PASSWORD=$admin_password
$tokens
ARGUS_PID=$argus
PG_PID=$pg
ENV
mv "$STATE/argus.env.new" "$STATE/argus.env"
starting=()
echo "Argus answers on $(sed -n 's/^ARGUS_URL=//p' "$STATE/url"), see $STATE/argus.env"
