#!/bin/bash
# Installs what makes pictures: a browser, a recorder of terminals, and what makes an SVG of its recording. $1 is the Python
# environment for the latter two; it is made once.
set -euo pipefail

venv=$1
requirements=(asciinema==2.4.0 playwright==1.65.2 termtosvg-ng==1.4.1)

missing=()
for package in chromium fonts-dejavu-core iproute2 pngquant python3-venv; do
  status=$(dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = 'install ok installed' ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  "$(dirname "${BASH_SOURCE[0]}")/../../apt.sh" "${missing[@]}"
fi

# `.whole` says for which requirements it was made; one left half-made is made anew.
if [ "$(cat "$venv/.whole" 2>/dev/null)" != "${requirements[*]}" ]; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet "${requirements[@]}"
  echo "${requirements[*]}" >"$venv/.whole"
fi
