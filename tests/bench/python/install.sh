#!/bin/bash
# Installs Argus's own ticket plugins from PyPI, with Argus, in a Python environment of their own.
#
# VENV says where that is; it is made once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export VENV=${VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/python-plugins-venv}
plugins=(argus-ticket-rt==1.3.2 argus-ticket-jira==1.2.1 argus-ticket-github==1.2.1 argus-ticket-gitlab==1.2.1)
# What they import. Not what their packages ask for beside it: a certifi that PyPI may not have yet.
libraries=(rt jira PyGithub python-gitlab markdownify)

"$here/../../real/argus/install.sh" >&2
if [ "$(cat "$VENV/.plugins" 2>/dev/null)" != "${plugins[*]}" ]; then
  pip=("$VENV/bin/pip" install --quiet --disable-pip-version-check --root-user-action=ignore)
  "${pip[@]}" "${libraries[@]}" >&2
  "${pip[@]}" --no-deps "${plugins[@]}" >&2
  echo "${plugins[*]}" >"$VENV/.plugins"
fi
echo "$VENV"
