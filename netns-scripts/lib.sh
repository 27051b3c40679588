# lib.sh: what the demonstration scripts share; sourced, not run.
#
# private "$@"      runs the script again in a private lab (unless it runs there already)
# router RULES      starts Genkan in the lab with [wan], one [[lan]] and these rules; again: with other rules
# at ROLE COMMAND   runs a command at a host of the lab
# wide_lan          makes the lan 10.0.0.0/14, for hundreds of thousands of clients at the host `nas`, and has the files of
#                   the router in a new folder on a disk, $files; before `router`, with lab_options='--hosts 1'
# need PROGRAM...   ends the script when a program is missing
#
# GENKAN=PATH names the program; default: target/release/genkan, target/debug/genkan, or the one in PATH.

here=$(cd "$(dirname "$0")" && pwd)
title() { printf '\n== %s\n' "$*"; }

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

need() {
    for program; do
        command -v "$program" >/dev/null || fail "the program '$program' is missing"
    done
}

find_genkan() {
    for genkan in "${GENKAN:-}" "$here/../target/release/genkan" "$here/../target/debug/genkan" "$(command -v genkan)"; do
        [ ! -x "$genkan" ] || return 0
    done
    fail "no genkan found: build it (cargo build --release) or set GENKAN=PATH"
}

private() {
    PATH=$PATH:/usr/sbin:/sbin
    export PATH
    need ip unshare nsenter
    find_genkan
    if [ -z "${GENKAN_LAB:-}" ]; then
        GENKAN_LAB=lab-$$
        export GENKAN_LAB
        # shellcheck disable=SC2086
        exec "$here/topology.sh" run "$GENKAN_LAB" ${lab_options:-} -- "$0" "$@"
    fi
    eval "$("$here/topology.sh" names "$GENKAN_LAB")"
    files=/run/genkan-lab
    mkdir -p "$files/state"
}

at() {
    eval "lab_namespace=\$$1"
    shift
    nsenter --net="/run/netns/$lab_namespace" "$@"
}

wide_lan() {
    lan_address=10.0.0.1 lan_prefix=14
    ip -n "$nas" address flush dev eth0
    ip -n "$nas" address add "10.0.0.2/$lan_prefix" dev eth0
    files=$(mktemp -d)
    mkdir "$files/state"
}

genkan() { "$genkan" "$@" --socket "$files/control.sock"; }

router_pid=
stop_router() {
    [ -z "$router_pid" ] || { kill "$router_pid" && wait "$router_pid" || true; }
    router_pid=
}

router() {
    stop_router
    cat >"$files/genkan.toml" <<CONFIG
[wan]
device  = "$wan_device"
address = "$wan_address/$wan_prefix"
gateway = "$isp_address"
backend = "${backend:-auto}"

[[lan]]
name    = "home"
device  = "$lan_device"
address = "$lan_address/$lan_prefix"
backend = "${backend:-auto}"

$1
CONFIG
    # Not through `at`: a background function would be a shell, and the signal would end that alone.
    STATE_DIRECTORY=$files/state nsenter --net="/run/netns/$router" \
        "$genkan" run --config "$files/genkan.toml" --socket "$files/control.sock" >"$files/log" 2>&1 &
    router_pid=$!
    attempts=0
    until genkan status >/dev/null 2>&1; do
        attempts=$((attempts + 1))
        if [ $attempts -gt 100 ] || ! kill -0 "$router_pid" 2>/dev/null; then
            cat "$files/log" >&2
            fail "the router does not start"
        fi
        sleep 0.1
    done
}

# expect WHAT COMMAND...: says whether the command succeeded, and remembers a failure.
failures=0
expect() {
    what=$1
    shift
    if "$@"; then echo "  ok      $what"; else
        echo "  FAILED  $what"
        failures=$((failures + 1))
    fi
}

# refused WHAT COMMAND...: the command is to fail.
refused() {
    what=$1
    shift
    if "$@"; then
        echo "  FAILED  $what"
        failures=$((failures + 1))
    else echo "  ok      $what"; fi
}

finish() {
    stop_router
    [ "$failures" = 0 ] || fail "$failures of the above failed"
}
