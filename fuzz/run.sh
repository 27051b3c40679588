#!/usr/bin/env bash
# usage: fuzz/run.sh [SECONDS [TARGET...]]
#
# Fuzzes each target (parse, router, lab, dns, dhcp, ddns, config) for SECONDS (default 60), on the stable toolchain and without
# cargo-fuzz: the flags are the ones that `cargo fuzz -s none` passes. Seeds are in fuzz/corpus/TARGET; what
# is found on the way is kept in the target directory for the next run. A crash is written to
# fuzz/artifacts/TARGET and ends the script with status 1: give the file to the target's program to see it
# again, and keep it in the seeds once it is mended (tests/replay.rs runs them all).
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(parse router lab dns dhcp ddns config)

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 ${RUSTFLAGS:-}"

# With --target, build scripts and procedural macros stay without instrumentation.
cargo build --release --target "$triple" --bins
# Every input makes a router. Its large tables are hardly touched: fresh from the system they need no clearing.
# Smaller memory is kept for the next one. Ten times as many inputs as without.
export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=200000:glibc.malloc.trim_threshold=1000000000
status=0
for target in "${targets[@]}"; do
  found="$CARGO_TARGET_DIR/corpus/$target"
  mkdir -p "$found" "artifacts/$target"
  echo "== $target, $seconds s"
  "$CARGO_TARGET_DIR/$triple/release/$target" "$found" "corpus/$target" \
    -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" -len_control=0 -max_len=4096 -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 || status=1
done
exit $status
