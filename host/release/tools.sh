#!/usr/bin/env bash
# Installs programs that make and check releases, each in the version that is known to work: `tools.sh deny about`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Nothing is asked of a registry if it is there already. They share what they build.
install() {
  local crate=$1 version=$2
  shift 2
  cargo install --list | grep -q "^$crate v$version:" ||
    CARGO_TARGET_DIR=target/tools cargo install --quiet --locked "$crate@$version" "$@"
}

# Most run for seconds, and build three times as fast when they are not optimized.
for tool in "$@"; do
  case $tool in
    deny) install cargo-deny 0.20.2 --debug ;;
    # This one compares every file of every crate with all licenses: for two minutes, else for many.
    about) install cargo-about 0.9.3 --features cli ;;
    auditable)
      install cargo-auditable 0.7.7 --debug
      install rust-audit-info 0.5.4 --no-default-features --debug
      ;;
    cyclonedx) install cargo-cyclonedx 0.5.9 --debug ;;
    *) echo "$tool is none of deny, about, auditable, cyclonedx" && exit 2 ;;
  esac
done
