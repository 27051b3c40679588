#!/usr/bin/env bash
# dhcp-load.sh GENKAN [RATE [SECONDS [ROUNDS]]]: four-way exchanges of DHCP per second by perfdhcp (Kea), of Genkan and of
# dnsmasq in turn, in a private lab.
#
# Both have a pool of 130,000 addresses, leases of an hour, and their leases on the disk of TMPDIR. Genkan acknowledges
# what is synced there; dnsmasq does not sync its file, and the third contender, "in memory", is dnsmasq without one.
# dnsmasq probes no address (--no-ping), Genkan each. RATE (6000) is what is asked for each second, SECONDS (8) for how
# long, ROUNDS (3) how often each of them. Clients are new ones all the time; answers count that come within half a second
# after the last of them. Printed are exchanges/s, DISCOVERs and REQUESTs without an answer, how many answers came and found
# no room in perfdhcp's own socket (it reads too slowly then, and nobody else is to blame), Genkan's own counters, and
# medians; what perfdhcp says lies in the folder that is told at the end.
#
# `dhcp-load.sh GENKAN most [SECONDS [ROUNDS]]` asks each of them for more and more instead, SECONDS (4) long: printed is
# the highest rate at which 99 in 100 messages were answered, in time or not for perfdhcp to read, and the exchanges that were
# completed then and at the next rate.
#
# `dhcp-load.sh GENKAN duplicates` has Genkan give out 100,000 leases, and looks whether an address is there twice.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
GENKAN=$(realpath "$1")
export GENKAN
lab_options='--hosts 1'
. "$(dirname "$0")/lib.sh"
private "$@"
need perfdhcp dnsmasq python3 curl ss
wide_lan

pool_from=10.1.0.0 pool_to=10.2.251.207

start_genkan() {
    rm -rf "$files/state"
    mkdir "$files/state"
    router "dhcp = { pool = \"$pool_from-$pool_to\", lease = \"1h\" }"
    server=$router_pid
}

start_dnsmasq() { serve_dnsmasq; }
start_dnsmasq_in_memory() { serve_dnsmasq --leasefile-ro; }

serve_dnsmasq() {
    rm -f "$files/leases"
    ip -n "$router" address add "$lan_address/$lan_prefix" dev "$lan_device"
    # Not through `at`, as in lib.sh.
    nsenter --net="/run/netns/$router" dnsmasq --keep-in-foreground --no-ping --port=0 --interface="$lan_device" \
        --bind-interfaces --dhcp-authoritative --dhcp-range="$pool_from,$pool_to,1h" --dhcp-lease-max=200000 \
        --dhcp-leasefile="$files/leases" --user=root --quiet-dhcp --conf-file=/dev/null --log-facility="$files/dnsmasq.log" \
        --pid-file= "$@" &
    server=$!
    until at router ss -Hlun 'sport = :67' | grep -q .; do
        kill -0 "$server" 2>/dev/null || fail 'dnsmasq does not start'
        sleep 0.1
    done
}

stop() {
    kill "$server"
    wait "$server" 2>/dev/null || true
    router_pid=
    ip -n "$router" address flush dev "$lan_device"
}

# ask RATE SECONDS FILE [OPTION...]: perfdhcp, of new clients all the time.
ask() {
    local rate=$1 seconds=$2 file=$3
    shift 3
    # A hundred clients that come again: tables and stocks of addresses are as in the middle of a day.
    at nas perfdhcp -4 -l eth0 -r 500 -R 100 -p 1 -W 500000 >/dev/null 2>&1 || true
    unread "$file.before"
    at nas perfdhcp -4 -l eth0 -r "$rate" -R 4000000 -p "$seconds" -s 7 -W 500000 "$@" >"$file" 2>&1 || true
    unread "$file.after"
}

# exchanges FILE SECONDS: completed ones by the second. perfdhcp's own rate has the half second in it.
exchanges() { awk -v seconds="$2" '/^received packets: / { got = $3 } END { printf "%.0f\n", got / seconds }' "$1"; }
# unread FILE: UdpRcvbufErrors of the client, by now.
unread() { at nas awk '$1 == "Udp:" && $6 + 0 == $6 { print $6 }' /proc/net/snmp >"$1"; }
# drops FILE: of DISCOVER-OFFER, of REQUEST-ACK, and how many answers to them perfdhcp did not read.
drops() {
    awk '/^drops: / { print $2 }' "$1" | paste -sd ' ' | tr '\n' ' '
    echo "of which came and were not read: $(($(cat "$1.after") - $(cat "$1.before")))"
}
# answered FILE: whether 99 in 100 messages were.
answered() {
    awk -v unread="$(($(cat "$1.after") - $(cat "$1.before")))" '
        /^sent packets: / { sent += $3 }
        /^drops: / { drops += $2 }
        END { exit !(drops - unread <= sent / 100) }' "$1"
}

# What Genkan counted, where it is not zero.
counted() {
    curl -s --unix-socket "$files/control.sock" http://genkan/metrics |
        awk '/^genkan_dhcp_(received|sent|dropped)|local_queue_full/ && $NF > 0 {
            sub("genkan_", ""); sub("lan=\"home\",?", ""); printf "%s %s  ", $1, $NF } END { print "" }'
}

median() { sort -g | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }

rates() { # RATE SECONDS ROUNDS
    for round in $(seq "$3"); do
        for who in genkan dnsmasq dnsmasq_in_memory; do
            "start_$who"
            ask "$1" "$2" "$files/$who-$round.perfdhcp"
            echo "$who round $round: $(exchanges "$files/$who-$round.perfdhcp" "$2") exchanges/s," \
                "without an answer: $(drops "$files/$who-$round.perfdhcp")"
            exchanges "$files/$who-$round.perfdhcp" "$2" >>"$files/$who"
            if [ $who = genkan ]; then
                echo "  $(counted)"
                awk '{print "  CPU seconds: " ($14+$15)/100}' "/proc/$server/stat"
            fi
            stop
        done
    done
    echo "medians: genkan $(median <"$files/genkan"), dnsmasq $(median <"$files/dnsmasq")," \
        "dnsmasq in memory $(median <"$files/dnsmasq_in_memory"); details in $files"
}

# most WHO SECONDS RATE...: the last rate that was served, and what came at the first that was not.
most() {
    local who=$1 seconds=$2 best=0 completed=0 got=
    shift 2
    for rate; do
        "start_$who"
        ask "$rate" "$seconds" "$files/$who-$rate.perfdhcp"
        got=$(exchanges "$files/$who-$rate.perfdhcp" "$seconds")
        echo "$who asked for $rate: $got exchanges/s, without an answer: $(drops "$files/$who-$rate.perfdhcp")"
        [ "$who" != genkan ] || echo "  $(counted)"
        stop
        answered "$files/$who-$rate.perfdhcp" || break
        best=$rate completed=$got
    done
    echo "$best" >>"$files/$who.most"
    echo "$completed" >>"$files/$who.completed"
    echo "$got" >>"$files/$who.beyond"
}

duplicates() {
    start_genkan
    leases=0
    while [ "$leases" -lt 100000 ]; do
        at nas perfdhcp -4 -l eth0 -r 5000 -R 4000000 -p 24 -W 2000000 >>"$files/perfdhcp" 2>&1 || true
        genkan leases --format json --limit 0 >"$files/leases.json"
        leases=$(python3 -c 'import json,sys; print(len(json.load(open(sys.argv[1]))))' "$files/leases.json")
        echo "leases: $leases"
    done
    python3 - "$files/leases.json" <<'PY'
import json, sys
rows = [row for row in json.load(open(sys.argv[1])) if row["state"] == "leased"]
addresses, machines = {row["address"] for row in rows}, {row["mac"] for row in rows}
print(f"{len(rows)} leases, {len(addresses)} addresses, {len(machines)} machines")
sys.exit(len(addresses) != len(rows) or len(machines) != len(rows))
PY
    stop
}

case ${2:-} in
duplicates) duplicates ;;
most)
    for _ in $(seq "${4:-3}"); do
        most genkan "${3:-4}" 6000 8000 10000 12000 14000 16000
        most dnsmasq "${3:-4}" 200 400 600 800 1200
    done
    for who in genkan dnsmasq; do
        echo "$who: medians of the highest rate $(median <"$files/$who.most"), completed then" \
            "$(median <"$files/$who.completed"), beyond $(median <"$files/$who.beyond");" \
            "each: $(paste -sd ' ' "$files/$who.most")"
    done
    echo "details in $files"
    ;;
*) rates "${2:-6000}" "${3:-8}" "${4:-3}" ;;
esac
