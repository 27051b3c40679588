#!/usr/bin/env bash
# Counts the instructions of the packet core's paths and fails when any needs over 5 % more than instructions.txt
# says. `gate.sh --bless` writes the counts of today there.
set -euo pipefail
cd "$(dirname "$0")"
export PATH="$PATH:${HOME:-/root}/.cargo/bin" CARGO_TERM_COLOR=never

if ! command -v valgrind >/dev/null; then
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends valgrind libc6-dbg >/dev/null
    else
        echo 'the counts need valgrind' >&2
        exit 1
    fi
fi
# The runner must be of the library's version.
version=$(sed -n 's/^gungraun = "\(.*\)"$/\1/p' ../Cargo.toml)
if [[ "$(gungraun-runner --version 2>/dev/null || true)" != *"$version"* ]]; then
    # Unoptimised: it only starts what is counted.
    cargo install --quiet --locked --debug "gungraun-runner@$version"
fi

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
cargo bench --quiet --workspace --bench instructions |
    awk '/^instructions::/ { name = $1 " " $2; sub(/:\(.*/, "", name); sub(/^instructions::[^:]*::/, "", name); sub(/:$/, "", name) }
         $1 == "Instructions:" { split($2, part, "|"); print part[1], name }' >"$counts"
[[ -s $counts ]] || { echo 'no counts came out' >&2; exit 1; }
if [[ ${1:-} == --bless ]]; then
    cp "$counts" instructions.txt
    cat instructions.txt
    exit
fi
awk 'NR == FNR { before[$2 " " $3] = $1; next }
     { name = $2 " " $3
       if (!(name in before)) { printf "%-40s %10d  new: bless it\n", name, $1; bad = 1; next }
       change = ($1 / before[name] - 1) * 100
       printf "%-40s %10d  %+.1f %%\n", name, $1, change
       if (change > 5) bad = 1
       seen[name] = 1 }
     END { for (name in before) if (!(name in seen)) { print name " is gone"; bad = 1 }
           if (bad) { print "more than 5 % above benches/instructions.txt, or another set of paths"; exit 1 } }' instructions.txt "$counts"
