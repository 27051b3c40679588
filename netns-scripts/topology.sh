#!/bin/sh
# topology.sh: a small internet, a router and two home networks, as network namespaces.
#
#   remote 198.51.100.7 .8 .9           a host far away
#     |
#   isp    198.51.100.1 / 203.0.113.2   the next router on the way
#     |
#   router wan0                         (203.0.113.1 belongs to the router under test, not to the kernel)
#          lan0   lan1
#     |      |      `-- guest 192.168.1.10          with --lans 2
#   switch  (a bridge)
#     |-- nas     192.168.0.10
#     |-- laptop  192.168.0.20                      from --hosts 2 on
#     `-- console 192.168.0.50                      with --hosts 3
#
#   topology.sh up PREFIX [options]     build it; every namespace is called PREFIX-...
#   topology.sh down PREFIX             take it down again
#   topology.sh names PREFIX            print what is where, as KEY=VALUE lines
#   topology.sh run PREFIX [options] -- COMMAND...
#                                       build it in private namespaces, run COMMAND there, and leave nothing behind,
#                                       whatever happens to COMMAND or to this script; needs no root where user
#                                       namespaces are allowed
# Options:
#   --hosts N        hosts on the first lan, 1 to 3 (3); with 1 it hangs on the router's lan0 directly, without a bridge
#   --lans N         1 or 2 (1)
#   --remote-mtu N   IP MTU of the link between isp and remote, for path MTU discovery (1500)
#
# The router's namespace gets devices without any address: addresses are the business of the router under test.
# Several of these run side by side under different prefixes. A prefix is at most 16 letters, digits and dashes.
#
# `up` wants root. Inside `unshare -Urnm` that is there already; a private /run is mounted when /run/netns cannot be
# written, as `ip netns` keeps its names there.
set -eu

usage() {
    sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0" >&2 2>/dev/null || true
    exit 2
}

fail() {
    echo "topology.sh: $*" >&2
    exit 1
}

roles='remote isp router switch nas laptop console guest'

# Every name and address of the lab. Programs learn them from `names`.
set_names() {
    wan_device=wan0
    lan_device=lan0
    lan2_device=lan1
    wan_address=203.0.113.1
    wan_prefix=24
    wan_spare_address=203.0.113.5
    isp_address=203.0.113.2
    isp_far_address=198.51.100.1
    remote_address=198.51.100.7
    remote_second_address=198.51.100.8
    remote_third_address=198.51.100.9
    remote_prefix=24
    lan_address=192.168.0.1
    lan_prefix=24
    nas_address=192.168.0.10
    laptop_address=192.168.0.20
    console_address=192.168.0.50
    lan2_address=192.168.1.1
    lan2_prefix=24
    guest_address=192.168.1.10
}

names() {
    for role in $roles; do echo "$role=$prefix-$role"; done
    for name in wan_device lan_device lan2_device wan_address wan_prefix wan_spare_address isp_address isp_far_address \
        remote_address remote_second_address remote_third_address remote_prefix lan_address lan_prefix nas_address \
        laptop_address console_address lan2_address lan2_prefix guest_address; do
        eval "echo \"$name=\$$name\""
    done
}

# A role exists while its name under /run/netns does.
down() {
    for role in $roles; do
        [ -e "/run/netns/$prefix-$role" ] || continue
        ip netns delete "$prefix-$role" || status=$?
    done
    return "${status:-0}"
}

# add ROLE: one namespace with its loopback up.
add() {
    ip netns add "$prefix-$1"
    ip -n "$prefix-$1" link set lo up
}

# cable ROLE DEVICE ROLE DEVICE: a veth pair, born inside both namespaces so that no name exists outside of them.
# No IPv6 link-local addresses at hosts: the wire stays quiet unless somebody means to speak.
cable() {
    ip -n "$prefix-$1" link add name "$2" type veth peer name "$4" netns "$prefix-$3"
    for end in "$1 $2" "$3 $4"; do
        set -- $end
        [ "$1" = router ] || ip -n "$prefix-$1" link set "$2" addrgenmode none
        ip -n "$prefix-$1" link set "$2" up
    done
}

# address ROLE DEVICE ADDRESS/PREFIX [GATEWAY]
address() {
    ip -n "$prefix-$1" address add "$3" dev "$2"
    [ -z "${4:-}" ] || ip -n "$prefix-$1" route add default via "$4"
}

# `ip netns exec` would mount a new /sys, which is refused in some containers; a network sysctl needs only the namespace.
in_namespace() {
    role=$1
    shift
    if command -v nsenter >/dev/null; then
        nsenter --net="/run/netns/$prefix-$role" "$@"
    else
        ip netns exec "$prefix-$role" "$@"
    fi
}

build() {
    for role in remote isp router nas; do add $role; done

    cable remote eth0 isp eth1
    address remote eth0 "$remote_address/$remote_prefix" "$isp_far_address"
    address remote eth0 "$remote_second_address/$remote_prefix"
    address remote eth0 "$remote_third_address/$remote_prefix"
    address isp eth1 "$isp_far_address/$remote_prefix"
    ip -n "$prefix-remote" link set eth0 mtu "$remote_mtu"
    ip -n "$prefix-isp" link set eth1 mtu "$remote_mtu"

    cable isp eth0 router "$wan_device"
    address isp eth0 "$isp_address/$wan_prefix"
    in_namespace isp sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'

    if [ "$hosts" = 1 ]; then
        cable router "$lan_device" nas eth0
    else
        add switch
        ip -n "$prefix-switch" link add name lan type bridge
        ip -n "$prefix-switch" link set lan addrgenmode none up
        cable switch router router "$lan_device"
        ip -n "$prefix-switch" link set router master lan
        for role in nas laptop console; do
            [ $role != console ] || [ "$hosts" = 3 ] || continue
            [ $role = nas ] || add $role
            cable switch $role $role eth0
            ip -n "$prefix-switch" link set $role master lan
        done
    fi
    address nas eth0 "$nas_address/$lan_prefix" "$lan_address"
    if [ "$hosts" -ge 2 ]; then address laptop eth0 "$laptop_address/$lan_prefix" "$lan_address"; fi
    if [ "$hosts" -ge 3 ]; then address console eth0 "$console_address/$lan_prefix" "$lan_address"; fi

    if [ "$lans" = 2 ]; then
        add guest
        cable router "$lan2_device" guest eth0
        address guest eth0 "$guest_address/$lan2_prefix" "$lan2_address"
    fi

    # Every host may ping without privileges, the way distributions set it up.
    for role in remote isp nas laptop console guest; do
        [ -e "/run/netns/$prefix-$role" ] || continue
        in_namespace $role sh -c 'echo "0 0" >/proc/sys/net/ipv4/ping_group_range' 2>/dev/null || true
    done
}

up() {
    [ "$(id -u)" = 0 ] || fail "up needs root; without it: topology.sh run $prefix -- COMMAND, or first unshare -Urnm"
    command -v ip >/dev/null || fail "the program 'ip' is missing (package iproute2)"
    if ! mkdir -p /run/netns 2>/dev/null || [ ! -w /run/netns ]; then
        mount -t tmpfs -o mode=0755 genkan-lab /run || fail "cannot write /run/netns and cannot mount a private /run"
        mkdir -p /run/netns
    fi
    for role in $roles; do
        [ ! -e "/run/netns/$prefix-$role" ] || fail "a lab called '$prefix' is up already (topology.sh down $prefix)"
    done
    trap 'down; fail "building the lab failed"' EXIT
    trap 'exit 1' HUP INT TERM
    build
    trap - EXIT HUP INT TERM
}

# Everything happens in namespaces that die with their first process, and that one dies with us.
run() {
    if [ "$(id -u)" = 0 ]; then private='--net --mount --pid'; else private='--user --map-root-user --net --mount --pid'; fi
    exec unshare $private --fork --kill-child --mount-proc sh -ec '
        script=$1
        shift
        mount -t tmpfs -o mode=0755 genkan-lab /run
        ip link set lo up
        sh "$script" up "$PREFIX" $OPTIONS
        "$@"' topology "$0" "$@"
}

[ $# -ge 2 ] || usage
action=$1
prefix=$2
shift 2
case $prefix in
'' | -* | *[!A-Za-z0-9-]*) fail "a prefix is letters, digits and dashes, not '$prefix'" ;;
esac
[ ${#prefix} -le 16 ] || fail "the prefix '$prefix' is longer than 16 characters"

hosts=3
lans=1
remote_mtu=1500
options=
while [ $# -gt 0 ]; do
    case $1 in
    --) shift && break ;;
    --hosts | --lans | --remote-mtu) [ $# -ge 2 ] || usage ;;
    *) usage ;;
    esac
    case $1=$2 in
    --hosts=[123]) hosts=$2 ;;
    --lans=[12]) lans=$2 ;;
    --remote-mtu=*[!0-9]* | --remote-mtu=) usage ;;
    --remote-mtu=*) remote_mtu=$2 ;;
    *) usage ;;
    esac
    options="$options $1 $2"
    shift 2
done

set_names
case $action in
up) up ;;
down) down ;;
names) names ;;
run)
    [ $# -ge 1 ] || usage
    PREFIX=$prefix OPTIONS=$options
    export PREFIX OPTIONS
    run "$@"
    ;;
*) usage ;;
esac
