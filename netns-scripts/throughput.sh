#!/bin/sh
# throughput.sh: Genkan beside the kernel's own NAT (nftables) in the same lab, taking turns: A B A B ...
#
#   lan host --veth-- router --veth-- wan host        offloads as the kernel sets them, congestion control cubic
#
# Measured are TCP with one stream and with eight, out through the NAT and in through a forward (iperf3), and 64-octet
# UDP frames per second of one thousand flows, interleaved and in bursts of 32 per flow. They come from one packet socket
# on the first CPU and are counted at the receiving device from octets, so that a merged frame counts as what it holds.
# Printed are medians, the range, and the ratio of the medians. What a ratio says depends on free cores: on veth the
# kernel works on the sender's core, Genkan on another one.
#
# Usage: throughput.sh [--rounds N] [--seconds N] [--af-xdp] [--kernel-gro]
#   --rounds N      turns of each (3)
#   --seconds N     length of each measurement (3)
#   --af-xdp        a further contender: Genkan with `backend = "af-xdp"`; wants root
#   --kernel-gro    a further contender: the kernel with GRO switched on at the router's devices
set -eu
. "$(dirname "$0")/lib.sh"
lab_options='--hosts 1'
private "$@"
need iperf3 nft awk taskset

rounds=3
seconds=3
contenders='genkan kernel'
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --af-xdp) contenders="$contenders genkan-xdp" ;;
    --kernel-gro)
        need ethtool
        contenders="$contenders kernel-gro"
        ;;
    *) fail "unknown option $1" ;;
    esac
    shift
done

for blast in "${BLAST:-}" "$here/../target/release/examples/blast"; do [ ! -x "$blast" ] || break; done
[ -x "$blast" ] || fail 'build the sender first: cargo build --release --package genkan-lab --example blast'
[ "${genkan#*/release/}" != "$genkan" ] || echo "note: $genkan does not look like a release build"

nsenter --net="/run/netns/$isp" iperf3 --server >/dev/null 2>&1 &
nsenter --net="/run/netns/$nas" iperf3 --server >/dev/null 2>&1 &
# Small packets end at the device: the receiving host's own work is not what is measured.
at isp nft -f - <<'RULES'
table netdev sink {
    chain ingress {
        type filter hook ingress device eth0 priority 0
        udp dport 9 drop
    }
}
RULES

forward="[[forward]]
name = \"iperf3\"
protocol = \"tcp\"
port = 5201
to = \"$nas_address\""

begin() {
    case $1 in
    genkan) router "$forward" ;;
    genkan-xdp)
        backend=af-xdp
        router "$forward"
        backend=
        ;;
    kernel*)
        "$here/kernel-nat.sh" up "$GENKAN_LAB" --forward "tcp:5201:$nas_address:5201"
        if [ "$1" = kernel-gro ]; then gro on; fi
        ;;
    esac
}

end() {
    case $1 in
    genkan*) stop_router ;;
    kernel*)
        if [ "$1" = kernel-gro ]; then gro off; fi
        "$here/kernel-nat.sh" down "$GENKAN_LAB"
        ;;
    esac
}

gro() {
    for device in "$wan_device" "$lan_device"; do
        at router ethtool -K "$device" gro "$1" rx-udp-gro-forwarding "$1"
    done
}

# tcp HOST TO OPTIONS...: Gbit/s at the receiver. iperf3 servers take one client at a time: try again for a while.
tcp() {
    host=$1 to=$2
    shift 2
    for attempt in 1 2 3 4 5; do
        rate=$(at "$host" iperf3 --client "$to" --time "$seconds" --omit 1 --congestion cubic --format m "$@" 2>/dev/null |
            awk '/receiver/ { for (i = 2; i <= NF; i++) if ($i == "Mbits/sec") rate = $(i - 1) } END { print rate / 1000 }')
        [ "$rate" = 0 ] || break
        sleep "$attempt"
    done
    echo "$rate"
}

# packets OPTIONS...: Mpps at the receiving device. A merged frame carries one header (42 octets) and many payloads (18
# octets each).
packets() {
    mac=$(at router ip -br link show "$lan_device" | awk '{ print $3 }')
    before=$(received)
    at nas taskset --cpu-list 0 "$blast" eth0 "$mac" "$nas_address" "$isp_address:9" "$seconds" "$@" >/dev/null
    after=$(received)
    echo "$before $after" | awk -v seconds="$seconds" '{ print (($3 - $1) - 42 * ($4 - $2)) / 18 / seconds / 1e6 }'
}
received() { at isp ip -s link show eth0 | awk '/RX:/ { getline; print $1, $2 }'; }

results=$files/results
: >"$results"
round=0
while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    for contender in $contenders; do
        echo "round $round of $rounds: $contender" >&2
        begin "$contender"
        {
            echo "$contender tcp_1_stream_Gbit/s $(tcp nas "$isp_address")"
            echo "$contender tcp_8_streams_Gbit/s $(tcp nas "$isp_address" --parallel 8)"
            echo "$contender tcp_forward_Gbit/s $(tcp isp "$wan_address")"
            echo "$contender tcp_forward_8_streams_Gbit/s $(tcp isp "$wan_address" --parallel 8)"
            echo "$contender udp_64_octets_Mpps $(packets)"
            echo "$contender udp_in_bursts_Mpps $(packets --burst 32)"
        } >>"$results"
        end "$contender"
    done
done

sort -k2,2 -k1,1 -k3,3g "$results" | awk '
    { key = $2 " " $1; if (!($2 in seen)) { seen[$2] = 1; order[++metrics] = $2 }
      values[key, ++count[key]] = $3 }
    function median(key,  n) {
        n = count[key]
        return n % 2 ? values[key, (n + 1) / 2] : (values[key, n / 2] + values[key, n / 2 + 1]) / 2
    }
    END {
        printf "%-26s %-12s %8s   %-15s %s\n", "", "", "median", "range", "genkan / it"
        for (m = 1; m <= metrics; m++) {
            name = order[m]; gsub("_", " ", name)
            for (i = split("genkan genkan-xdp kernel kernel-gro", who, " "); i > 0; i--) rank[i] = who[i]
            for (i = 1; i <= 4; i++) {
                key = order[m] " " rank[i]
                if (!count[key]) continue
                ratio = rank[i] == "genkan" ? "" : sprintf("%.2f", median(order[m] " genkan") / median(key))
                printf "%-26s %-12s %8.3f   %-15s %s\n", name, rank[i], median(key),
                    sprintf("%.3f-%.3f", values[key, 1], values[key, count[key]]), ratio
                name = ""
            }
        }
    }'
