#!/bin/bash
# Makes the Debian package in target/debian. Needs cargo-deb. `PROFILE=dev` packs the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
folder=$profile
[ "$profile" = dev ] && folder=debug
cargo build -p genkan --profile "$profile"
rm -rf target/help
"target/$folder/genkan" help-files target/help
cargo deb -p genkan --no-build --profile "$profile" "$@"
