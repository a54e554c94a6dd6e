#!/bin/bash
# The metrics of a real service, the alerts and the dashboard (host/mixin), as Prometheus's own tool sees them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v promtool >/dev/null || tests/apt.sh prometheus
promtool check rules host/mixin/alerts.yaml
promtool test rules host/mixin/tests.yaml

state=$(mktemp -d)
service=
trap '[ -z "$service" ] || kill "$service" 2>/dev/null; wait; rm -rf "$state"' EXIT
# What the dashboard asks, as rules, which are checked like those of the alerts.
python3 - "$state/dashboard.yaml" <<'PYTHON'
import json
import sys

dashboard = json.load(open("host/mixin/dashboard.json"))
asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
rules = [{"record": f"panel:{n}", "expr": expr.replace("$backend", ".*")} for n, expr in enumerate(asked)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, open(sys.argv[1], "w"))
PYTHON
promtool check rules "$state/dashboard.yaml"

cargo build --quiet -p ticket-host -p ticket-plugin-local
cat >"$state/config.toml" <<CONFIG
plugin_dirs = ["$PWD/target/debug"]
sandbox = "best-effort"
[backends.local]
plugin = "local"
endpoint = "file://$state/tickets"
permissions = { write = ["$state/tickets"] }
[serve]
listen = "127.0.0.1:0"
[argus]
url = "http://127.0.0.1:1/"
token = "x"
[alarm]
ping = "http://127.0.0.1:1/"
CONFIG
mkdir "$state/tickets"
target/debug/ticket-host --config "$state/config.toml" serve >"$state/out" 2>"$state/log" &
service=$!
url() { grep -oh 'http://127\.0\.0\.1:[1-9][0-9]*' "$state/out" "$state/log" | head -n 1; }
until [ -n "$(url)" ] && curl --silent --fail --output /dev/null "$(url)/readyz"; do
  kill -0 "$service" || { cat "$state/log"; exit 1; }
  sleep 0.1
done
curl --silent --fail --output /dev/null --header 'Content-Type: application/json' "$(url)/v1/tickets" \
  --data '{"incident": {"description": "x", "pk": 1, "source": "nav", "start_time": "2026-11-23T07:00:00Z"}, "key": "k", "wait_ms": 30000}'
curl --silent --fail "$(url)/metrics" >"$state/metrics"
promtool check metrics <"$state/metrics"
echo "the mixin is in order"
