#!/bin/bash
# Installs a PostgreSQL that is not started, and Argus with ticket-host's plugin in a Python environment of its own.
#
# VENV says where that is; it is made once. The plugin is installed anew each time, from this source tree.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/argus-venv}
requirements=(argus-server==2.10.2 gunicorn==23.0.0 hatchling==1.27.0)

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

# Two runs at once would make the same environment.
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9

is_whole() {
  [ "$(cat "$venv/.whole" 2>/dev/null)" = "${requirements[*]}" ] &&
    "$venv/bin/python" -c 'import argus, gunicorn, hatchling, psycopg.pq' 2>/dev/null
}

packages=(postgresql curl)
if ! is_whole; then
  # Argus wants the PostgreSQL driver that is compiled on the spot.
  packages+=(gcc libc6-dev libpq-dev python3-dev python3-venv)
fi
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = 'install ok installed' ] || missing+=("$package")
done
if [ ${#missing[@]} != 0 ]; then
  [ "$(id -u)" = 0 ] || fail "needs root to install ${missing[*]}"
  # Keeps the package from making and starting a database of its own: up.sh makes one in its state folder.
  clusters=/etc/postgresql-common/createcluster.conf
  if [ ! -e "$clusters" ]; then
    mkdir -p "$(dirname "$clusters")"
    echo 'create_main_cluster = false' >"$clusters"
  fi
  "$here/../../apt.sh" "${missing[@]}"
fi

if ! is_whole; then
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Argus needs Python 3.10, $(command -v python3) is older"
  # The environment is emptied, so a folder that is none is refused.
  if [ -n "$(ls -A "$venv" 2>/dev/null)" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
    fail "$venv is not empty and not a Python environment"
  fi
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${requirements[@]}"
  echo "${requirements[*]}" >"$venv/.whole"
fi
# Without isolation the build needs nothing from the network.
"$venv/bin/pip" install --quiet --disable-pip-version-check --root-user-action=ignore \
  --no-deps --no-build-isolation --force-reinstall "$here/../../../host/argus"
