#!/usr/bin/env bash
# Queries per second and latency of Genkan's DNS service beside dnsmasq, in network namespaces, by turns.
#
#   sudo netns-scripts/dns.sh [GENKAN] [ROUNDS] [SECONDS]
#
# GENKAN is the program (target/release/genkan). Needs dnsperf, dnsmasq and unbound. One client machine is on a lan of
# each, one resolver behind each. Names under `warm.` may be cached, those under `cold.` not (TTL 0). Rounds go
# Genkan, dnsmasq, Genkan, ..., each as fast as it can (`full`, 100 queries under way) and at 5,000 queries/s (`light`);
# printed are medians, and the ratio.
set -euo pipefail
GENKAN=${1:-target/release/genkan} ROUNDS=${2:-5} SECONDS_EACH=${3:-5}
PATH=$PATH:/usr/sbin:/sbin
P=dnsbench-$$
# In memory: a disk is no part of this.
DIR=$(mktemp -d /dev/shm/$P-XXXX)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    for ns in client genkan dnsmasq resolver; do ip netns del "$P-$ns" 2>/dev/null || true; done
    rm -rf "$DIR"
}
trap cleanup EXIT
for ns in client genkan dnsmasq resolver; do
    ip netns add "$P-$ns"
    ip -n "$P-$ns" link set lo up
done
# wire NS DEVICE [ADDRESS] NS DEVICE [ADDRESS]
wire() {
    ip link add "$2" netns "$P-$1" type veth peer name "$5" netns "$P-$4"
    for end in "$1 $2 $3" "$4 $5 $6"; do
        read -r ns device address <<<"$end"
        [[ $address == - ]] || ip -n "$P-$ns" addr add "$address" dev "$device"
        ip -n "$P-$ns" link set "$device" up
    done
}
wire client eth0 192.168.0.2/24 genkan lan0 -
wire client eth1 192.168.1.2/24 dnsmasq lan0 192.168.1.1/24
wire genkan wan0 - resolver eth0 203.0.113.2/24
wire dnsmasq wan0 203.0.112.1/24 resolver eth1 203.0.112.2/24

cat >"$DIR/unbound.conf" <<END
server:
    interface: 203.0.113.2
    interface: 203.0.112.2
    access-control: 0.0.0.0/0 allow
    do-daemonize: no
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
    num-threads: 1
    local-zone: "warm." redirect
    local-data: "warm. 3600 A 198.51.100.9"
    local-zone: "cold." redirect
    local-data: "cold. 0 A 198.51.100.9"
END
cat >"$DIR/genkan.toml" <<END
[wan]
device = "wan0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"
[[lan]]
device = "lan0"
address = "192.168.0.1/24"
[router]
tun = "genkan0"
[dns]
upstreams = ["203.0.113.2"]
[services]
socket = "$DIR/control.sock"
state = "$DIR/state"
END
ip netns exec "$P-resolver" unbound -d -c "$DIR/unbound.conf" >/dev/null 2>&1 & pids+=($!)
ip netns exec "$P-genkan" "$GENKAN" run --config "$DIR/genkan.toml" >"$DIR/genkan.log" 2>&1 & pids+=($!)
ip netns exec "$P-dnsmasq" dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --server=203.0.112.2 \
    --cache-size=10000 --dns-forward-max=1000 --listen-address=192.168.1.1 --bind-interfaces --user=root --pid-file= \
    >/dev/null 2>&1 & pids+=($!)

for number in $(seq 1000); do echo "n$number.warm A"; done >"$DIR/warm"
for number in $(seq 100000); do echo "n$number.cold A"; done >"$DIR/cold"
declare -A at=([genkan]=192.168.0.1 [dnsmasq]=192.168.1.1)
client() { ip netns exec "$P-client" "$@"; }
for who in genkan dnsmasq; do
    attempts=0
    until client dig +tries=1 +time=1 "@${at[$who]}" first.warm 2>/dev/null | grep -q 198.51.100.9; do
        attempts=$((attempts + 1))
        [ $attempts -lt 100 ] || { echo "dns.sh: $who does not answer" >&2; exit 1; }
        sleep 0.1
    done
    # All names are known from now on.
    client dnsperf -s "${at[$who]}" -d "$DIR/warm" -n 3 -q 50 >/dev/null 2>&1
done

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# WHO NAMES LOAD SECONDS OPTIONS: queries/s, lost, p50 and p99 in microseconds, each into a file.
load() {
    local who=$1 names=$2 load=$3 seconds=$4
    shift 4
    # Into a file: who reads a pipe is woken for each line, on one of the CPUs that are being measured.
    client dnsperf -v -s "${at[$who]}" -d "$DIR/$names" -l "$seconds" -q 100 -c 4 "$@" >"$DIR/answers" 2>/dev/null
    awk '/Queries per second/ { print $4 }' "$DIR/answers" >>"$DIR/$who.$names.$load.qps"
    awk '/Queries lost/ { print $3 }' "$DIR/answers" >>"$DIR/$who.$names.$load.lost"
    awk '$1 == ">" { print $NF * 1e6 }' "$DIR/answers" | sort -g >"$DIR/latency"
    awk '{ v[NR] = $1 } END { print v[int(NR * 0.5)] }' "$DIR/latency" >>"$DIR/$who.$names.$load.p50"
    awk '{ v[NR] = $1 } END { print v[int(NR * 0.99)] }' "$DIR/latency" >>"$DIR/$who.$names.$load.p99"
}
for _ in $(seq "$ROUNDS"); do
    for names in warm cold; do
        for who in genkan dnsmasq; do load "$who" "$names" full "$SECONDS_EACH"; done
        # A rate that neither minds.
        for who in genkan dnsmasq; do load "$who" "$names" light "$SECONDS_EACH" -Q 5000; done
    done
done
printf '%-6s %-6s %-8s %10s %8s %8s %6s   %s\n' names load who 'queries/s' 'p50 us' 'p99 us' lost 'p99 us of each round'
for names in warm cold; do
    for load in full light; do
        for who in genkan dnsmasq; do
            f=$DIR/$who.$names.$load
            printf '%-6s %-6s %-8s %10.0f %8.0f %8.0f %6.0f   %s\n' "$names" "$load" "$who" "$(median <"$f.qps")" \
                "$(median <"$f.p50")" "$(median <"$f.p99")" "$(median <"$f.lost")" \
                "$(awk '{ printf "%.0f ", $1 }' "$f.p99")"
        done
    done
    awk -v a="$(median <"$DIR/genkan.$names.full.qps")" -v b="$(median <"$DIR/dnsmasq.$names.full.qps")" \
        -v n="$names" 'BEGIN { printf "%-6s Genkan answers %.2f times as many queries/s as dnsmasq\n", n, a / b }'
done
"$GENKAN" dns --socket "$DIR/control.sock" || true
