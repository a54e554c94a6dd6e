#!/usr/bin/env bash
# Whether the service's API is what its OpenAPI document says: the document and the page that shows it are valid, and
# schemathesis finds no answer that the document doesn't promise, with tokens and without. Installs what it needs
# (Debian, as root). SEED=NUMBER tries other requests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seed=${SEED:-8620}

python3 -c 'import ensurepip' 2>/dev/null && type npm curl >/dev/null 2>&1 || {
  if [ "$(id -u)" -ne 0 ]; then
    echo "this needs npm, curl and Python's venv: apt-get install npm curl python3-venv"
    exit 1
  fi
  tests/apt.sh npm curl python3-venv
}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/openapi
versions='openapi-spec-validator==0.9.0 schemathesis==4.32.5 html5lib==1.1 @stoplight/spectral-cli@6.16.3'
[ "$(cat "$tools/versions" 2>/dev/null)" = "$versions" ] || {
  rm -rf "$tools"
  python3 -m venv "$tools"
  # shellcheck disable=SC2086
  "$tools/bin/pip" install --quiet --disable-pip-version-check ${versions% *}
  npm install --silent --no-fund --no-audit --prefix "$tools" "${versions##* }"
  echo "$versions" >"$tools/versions"
}

cargo build --quiet -p ticket-host -p ticket-plugin-local
host=$PWD/target/debug/ticket-host
work=$(mktemp -d)
service=
trap '[ -z "$service" ] || kill "$service"; rm -rf "$work"' EXIT
mkdir "$work/plugins" "$work/tickets"
cp target/debug/libticket_plugin_local.so "$work/plugins"
cd "$work"

# Starts the service with more settings, and sets `url` once it listens. Twenty jobs wait for a backend whose
# settings are wrong: they can be retried and cancelled.
serve() {
  if [ -n "$service" ]; then
    kill "$service"
    wait "$service" || true
  fi
  rm -rf queue.db*
  {
    printf "plugin_dirs = ['plugins']\ndefault_backend = 'b'\n[queue]\npath = 'queue.db'\n"
    printf "[backends.unready]\nplugin = 'local'\nendpoint = 'https://x.example.org'\n"
    printf "[backends.b]\nplugin = 'local'\nendpoint = 'file://%s/tickets/'\n" "$work"
    printf "permissions = { write = ['%s/tickets'] }\n%s\n" "$work" "$1"
  } >config.toml
  exec 3< <(exec "$host" --config config.toml serve --listen 127.0.0.1:0 2>>log)
  service=$!
  read -r _ _ url <&3 || {
    service=
    cat log
    exit 1
  }
  for key in $(seq 20); do
    curl -sS -o kept.json -H "Authorization: Bearer secret" -H "Content-Type: application/json" "$url/v1/tickets" -d \
      "{\"incident\": {\"description\": \"d\"}, \"backend\": \"unready\", \"key\": \"$key\"}"
    grep -q "is kept" kept.json || {
      cat kept.json
      exit 1
    }
  done
}

# Asks for whatever the document promises and forbids, and checks what is answered. Every check there is.
ask() {
  timeout 150 "$tools/bin/schemathesis" --config-file schemathesis.toml run --seed "$seed" --max-examples 200 \
    --checks all --continue-on-failure --url "$url" "$@"
}
cat >schemathesis.toml <<'END'
[[operations]]
include-name = "POST /v1/tickets"
# A request can be as the schema wants it and still be refused (400): the schema doesn't know which backends the config
# has, nor that an incident without a key must have something else that tells its ticket from another's, nor all of what
# a key may be.
checks.positive_data_acceptance.expected-statuses = [200, 201, 202, 400, 409]
[[operations]]
include-name = "POST /v1/incidents"
# As for the tickets.
checks.positive_data_acceptance.expected-statuses = [200, 201, 202, 400]
[[operations]]
include-name = "POST /v1/hooks/{backend}"
# Only the backend's plugin knows which webhooks are its ticket system's.
checks.positive_data_acceptance.expected-statuses = [200, 202, 401, 404, 429]
checks.negative_data_rejection.expected-statuses = [202, 400, 401, 404, 413, 429]
END

echo secret >token
serve "[serve.tokens.all]
token = { file = 'token' }
scopes = ['create', 'read', 'admin']"
curl -fsS "$url/openapi.json" -o openapi.json
curl -fsS "$url/docs" -o docs.html
echo "== openapi-spec-validator"
"$tools/bin/openapi-spec-validator" openapi.json
echo "== spectral"
echo 'extends: ["spectral:oas"]' >spectral.yaml
"$tools/node_modules/.bin/spectral" lint --ruleset spectral.yaml --fail-severity hint openapi.json
echo "== the page: valid HTML, and its examples can be done"
URL=$url TOKEN=secret "$tools/bin/python" - <<'END'
import html5lib, subprocess
parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
examples = parser.parse(open("docs.html", encoding="utf-8").read()).findall(".//article/pre")
for example in examples:
    # Only a ticket system can sign what this takes, and only its plugin read it.
    if "/v1/hooks/" in example.text:
        continue
    subprocess.run(["sh", "-c", 'curl() { command curl -fsS -o answer "$@"; }\n' + example.text], check=True)
print(len(examples), "examples")
assert examples
END
echo "== schemathesis, with tokens, seed $seed"
ask --header "Authorization: Bearer secret" openapi.json

# Without tokens in the config, no operation needs one: that is the only thing that is not as the document says.
"$tools/bin/python" - <<'END'
import json
document = json.load(open("openapi.json"))
for operation in (one for path in document["paths"].values() for one in path.values()):
    operation.pop("security", None)
json.dump(document, open("open.json", "w"))
END
serve ""
echo "== schemathesis, without tokens, seed $seed"
ask open.json
if grep -E "panicked|broke the service's own code" log; then
  exit 1
fi
echo "the API is what its document says"
