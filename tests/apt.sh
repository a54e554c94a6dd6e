#!/usr/bin/env bash
# Installs Debian packages; who isn't root does that by sudo. Prints nothing unless it fails. It may be called by several at
# once: they take turns.
#
#   tests/apt.sh PACKAGE...
#   tests/apt.sh --answers FILE PACKAGE...    with answers to what packages ask (debconf-set-selections)
set -euo pipefail
exec 9<"$0"
flock 9
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
said=$(mktemp)
trap 'rm -f "$said"' EXIT
if [ "$1" = --answers ]; then
  "${sudo[@]}" debconf-set-selections "$2"
  shift 2
fi
{
  "${sudo[@]}" apt-get -o Acquire::Retries=5 update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=5 install -y -qq --no-install-recommends "$@"
} </dev/null >"$said" 2>&1 || { cat "$said" >&2; exit 1; }
