#!/usr/bin/env bash
# dhcp-load.sh GENKAN [RATE [SECONDS [ROUNDS]]]: four-way exchanges of DHCP per second by perfdhcp (Kea), of Genkan and of
# dnsmasq in turn, in namespaces of their own.
#
# Both have a pool of 130,000 addresses, leases of an hour, and their leases on the disk of TMPDIR. Genkan acknowledges
# what is synced there; dnsmasq does not sync its file, and the third contender, "in memory", is dnsmasq without one. dnsmasq probes no address (--no-ping), Genkan each. RATE (6000) is
# what is asked for each second, SECONDS (8) for how long, ROUNDS (3) how often each of them. Clients are new ones all the
# time. What perfdhcp says lies in the folder that is told at the end; medians are printed.
#
# `dhcp-load.sh GENKAN duplicates` has Genkan give out 100,000 leases instead, and looks whether an address is there twice.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
genkan=$(realpath "$1")
export PATH="$PATH:/usr/sbin:/sbin"
if [ "${DHCP_LOAD_INSIDE:-}" != 1 ]; then
    DHCP_LOAD_INSIDE=1 exec unshare --net --mount --ipc -- "$0" "$@"
fi
mode=rate
[ "${2:-}" != duplicates ] || mode=duplicates
rate=6000 seconds=8 rounds=3
[ $mode = duplicates ] || { rate=${2:-6000}; seconds=${3:-8}; rounds=${4:-3}; }

folder=$(mktemp -d)
mount -t tmpfs none /run
mkdir -p /run/netns
children=()
end() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns del client 2>/dev/null || true
}
trap end EXIT

ip link set lo up
ip netns add client
ip link add lan0 type veth peer name eth0 netns client
ip link add wan0 type veth peer name wan1
ip link set wan0 up; ip link set wan1 up; ip link set lan0 up
ip netns exec client ip addr add 10.0.0.2/14 dev eth0
ip netns exec client ip link set eth0 up
# Otherwise the kernel answers for addresses that perfdhcp only pretends to have.
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 || true

start_genkan() {
    local place=$folder/genkan-$1
    mkdir -p "$place"
    cat >"$place/genkan.toml" <<TOML
[wan]
device = "wan0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"
[[lan]]
name = "home"
device = "lan0"
address = "10.0.0.1/14"
dhcp = { pool = "10.1.0.0-10.2.251.207", lease = "1h" }
[services]
socket = "$place/socket"
state = "$place/state"
TOML
    "$genkan" run --config "$place/genkan.toml" >"$place/log" 2>&1 &
    children+=($!)
    server=$!
    until "$genkan" status --socket "$place/socket" >/dev/null 2>&1; do sleep 0.1; done
    socket=$place/socket
}

start_dnsmasq() { serve_dnsmasq "$1"; }
start_dnsmasq_in_memory() { serve_dnsmasq "$1" --leasefile-ro; }

serve_dnsmasq() {
    local place=$folder/dnsmasq-$1
    shift
    mkdir -p "$place"
    ip addr add 10.0.0.1/14 dev lan0
    dnsmasq --keep-in-foreground --no-ping --port=0 --interface=lan0 --bind-interfaces --dhcp-authoritative \
        --dhcp-range=10.1.0.0,10.2.251.207,1h --dhcp-lease-max=200000 --dhcp-leasefile="$place/leases" --user=root \
        --quiet-dhcp --conf-file=/dev/null --log-facility="$place/log" "$@" &
    children+=($!)
    server=$!
    sleep 1
}

stop() {
    kill "$server"
    wait "$server" 2>/dev/null || true
    ip addr flush dev lan0 2>/dev/null || true
}

load() {
    # Warm-up fills no table: these clients come again.
    ip netns exec client perfdhcp -4 -l eth0 -r 500 -R 100 -p 2 >/dev/null 2>&1 || true
    ip netns exec client perfdhcp -4 -l eth0 -r "$rate" -R 4000000 -p "$seconds" -s 7 -W 1 >"$1" 2>&1 || true
    # "Rate: N 4-way exchanges/second, expected rate: M"
    sed -n 's/^Rate: \([0-9.]*\) .*/\1/p' "$1" | head -1
}

median() { sort -g | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }

if [ $mode = duplicates ]; then
    start_genkan one
    leases=0
    while [ "$leases" -lt 100000 ]; do
        ip netns exec client perfdhcp -4 -l eth0 -r 5000 -R 4000000 -p 24 >>"$folder/perfdhcp" 2>&1 || true
        "$genkan" leases --format json --limit 0 --socket "$socket" >"$folder/leases.json"
        leases=$(python3 -c 'import json,sys; print(len(json.load(open(sys.argv[1]))))' "$folder/leases.json")
        echo "leases: $leases"
    done
    python3 - "$folder/leases.json" <<'PY'
import json, sys
rows = [row for row in json.load(open(sys.argv[1])) if row["state"] == "leased"]
addresses, machines = {row["address"] for row in rows}, {row["mac"] for row in rows}
print(f"{len(rows)} leases, {len(addresses)} addresses, {len(machines)} machines")
sys.exit(len(addresses) != len(rows) or len(machines) != len(rows))
PY
    stop
    exit
fi

for round in $(seq "$rounds"); do
    for who in genkan dnsmasq dnsmasq_in_memory; do
        "start_$who" "$round"
        got=$(load "$folder/$who-$round.perfdhcp")
        if [ $who = genkan ]; then
            # CPU of the process, seconds.
            awk -v who=$who '{print who " cpu seconds " ($14+$15)/100}' "/proc/$server/stat"
        fi
        stop
        echo "$who round $round: $got exchanges/s"
        echo "$got" >>"$folder/$who"
    done
done
echo "median genkan: $(median <"$folder/genkan"), dnsmasq: $(median <"$folder/dnsmasq"), dnsmasq in memory: $(median <"$folder/dnsmasq_in_memory"); details in $folder"
