#!/usr/bin/env bash
# Installs programs that make and check releases, each in the version that is known to work: `tools.sh deny about`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Nothing is asked of a registry if it is there already. They share what they build. Optimized they would take three times
# as long to build, and they run for seconds.
install() {
  local crate=$1 version=$2
  shift 2
  cargo install --list | grep -q "^$crate v$version:" ||
    CARGO_TARGET_DIR=target/tools cargo install --quiet --locked --debug "$crate@$version" "$@"
}

for tool in "$@"; do
  case $tool in
    deny) install cargo-deny 0.20.2 ;;
    # It compares texts for minutes unless that is optimized.
    about) install cargo-about 0.9.3 --features cli --config profile.dev.package.spdx.opt-level=3 ;;
    auditable)
      install cargo-auditable 0.7.7
      install rust-audit-info 0.5.4 --no-default-features
      ;;
    cyclonedx) install cargo-cyclonedx 0.5.9 ;;
    *) echo "$tool is none of deny, about, auditable, cyclonedx" && exit 2 ;;
  esac
done
