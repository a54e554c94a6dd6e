#!/bin/bash
# Installs Request Tracker 5 from Debian's packages, with no question asked, no mail daemon and no database made.
set -euo pipefail

packages=(
  request-tracker5
  rt5-db-sqlite
  rt5-standalone
  # Answers RT's wish for a mail transport agent without any daemon.
  msmtp-mta
  # Keeps the package from making a database of its own: up.sh makes one in its state folder.
  dbconfig-no-thanks
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = 'install ok installed' ] || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  echo "install.sh: needs root to install ${missing[*]}" >&2
  exit 1
fi

# The answers only keep the package from asking: up.sh brings a configuration of its own.
answers=$(mktemp)
trap 'rm "$answers"' EXIT
cat >"$answers" <<'ANSWERS'
request-tracker5 request-tracker5/rtname string rt.example.org
request-tracker5 request-tracker5/organization string rt.example.org
request-tracker5 request-tracker5/webbaseurl string http://127.0.0.1
request-tracker5 request-tracker5/webpath string
request-tracker5 request-tracker5/initial-root-password password unused
request-tracker5 request-tracker5/dbconfig-install boolean false
request-tracker5 request-tracker5/install-cronjobs boolean false
request-tracker5 request-tracker5/handle-siteconfig-permissions boolean false
ANSWERS

"$(dirname "${BASH_SOURCE[0]}")/../../apt.sh" --answers "$answers" "${packages[@]}"
