#!/bin/sh
# kernel-nat.sh: the kernel's own NAT (nftables) in the place of Genkan, in a lab of topology.sh.
# For comparison: `genkan bench` measures against it, and the end-to-end tests can be run against it to see
# whether it is a test that is wrong (GENKAN_E2E_ROUTER=kernel).
#
#   kernel-nat.sh up PREFIX [--forward PROTOCOL:PORT:ADDRESS:PORT]... [--dmz ADDRESS]
#   kernel-nat.sh down PREFIX
#
# Source NAT to the wan address, the forwards and the DMZ host as destination NAT (hairpin included), connection
# tracking as the filter: what comes from outside passes when it belongs to a known connection or to a forward.
set -eu

here=$(dirname "$0")
usage() {
    sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

[ $# -ge 2 ] || usage
action=$1
prefix=$2
shift 2
eval "$("$here/topology.sh" names "$prefix")"

inside() {
    nsenter --net="/run/netns/$router" "$@"
}

down() {
    inside nft delete table ip nat_lab 2>/dev/null || true
    for device in "$wan_device" "$lan_device" "$lan2_device"; do
        ip -n "$router" address flush dev "$device" 2>/dev/null || true
    done
    inside sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
}

up() {
    forwards=
    dmz=
    while [ $# -gt 0 ]; do
        case $1 in
        --forward)
            [ $# -ge 2 ] || usage
            rest=${2#*:}
            forwards="$forwards
                ip daddr $wan_address ${2%%:*} dport ${rest%%:*} dnat to ${rest#*:}"
            ;;
        --dmz)
            [ $# -ge 2 ] || usage
            dmz="iifname $wan_device ip daddr $wan_address meta l4proto { tcp, udp } dnat to $2"
            ;;
        *) usage ;;
        esac
        shift 2
    done

    ip -n "$router" address add "$wan_address/$wan_prefix" dev "$wan_device"
    ip -n "$router" route add default via "$isp_address"
    ip -n "$router" address add "$lan_address/$lan_prefix" dev "$lan_device"
    if ip -n "$router" link show "$lan2_device" >/dev/null 2>&1; then
        ip -n "$router" address add "$lan2_address/$lan2_prefix" dev "$lan2_device"
    fi
    inside sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
    inside nft -f - <<RULES
        table ip nat_lab {
            chain prerouting {
                type nat hook prerouting priority dstnat
                $forwards
                $dmz
            }
            chain postrouting {
                type nat hook postrouting priority srcnat
                oifname $wan_device masquerade
                ct status dnat iifname != $wan_device snat to $wan_address
            }
            chain forward {
                type filter hook forward priority filter; policy drop
                oifname $wan_device tcp flags syn tcp option maxseg size set rt mtu
                ct state established,related accept
                ct status dnat accept
                iifname != $wan_device oifname $wan_device accept
            }
            chain input {
                type filter hook input priority filter; policy drop
                ct state established,related accept
                iifname != $wan_device accept
                icmp type echo-request accept
            }
        }
RULES
}

case $action in
up) up "$@" ;;
down) down ;;
*) usage ;;
esac
