#!/usr/bin/env bash
# All tests: units, simulated internet, golden cases, and the real router between everyday programs in network
# namespaces. Arguments go to `cargo test`.
#
# The last kind needs programs; missing ones are named, and the tests that want them say that they are skipped.
# With CI=true they are installed (Debian, root) and nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin:${HOME:-/root}/.cargo/bin"

# Programs and the packages that bring them.
declare -A packages=(
    [ip]=iproute2 [tc]=iproute2 [nft]=nftables [ethtool]=ethtool [ping]=iputils-ping [traceroute]=traceroute
    [dhcpd]=isc-dhcp-server [kea-dhcp4]=kea-dhcp4-server [dnsmasq]=dnsmasq-base
    [curl]=curl [nc]=netcat-openbsd [iperf3]=iperf3 [dig]=dnsutils [tcpdump]=tcpdump [python3]=python3
    [cc]='gcc libc6-dev' [unbound]=unbound [named]=bind9 [openssl]=openssl [turnserver]=coturn
    [udhcpc]=udhcpc [dhclient]=isc-dhcp-client [dhcpcd]=dhcpcd-base
    [dhcrelay]=isc-dhcp-relay [/lib/systemd/systemd-networkd]=systemd
)
missing=()
for program in "${!packages[@]}"; do
    # shellcheck disable=SC2206
    command -v "$program" >/dev/null || missing+=(${packages[$program]})
done
if ((${#missing[@]})); then
    if [[ ${CI:-} == true && $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "some tests will be skipped; for all of them: apt-get install ${missing[*]}"
    fi
fi

cargo test --workspace --no-fail-fast "$@"
