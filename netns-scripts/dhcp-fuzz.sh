#!/usr/bin/env bash
# dhcp-fuzz.sh GENKAN [SECONDS [SEED]]: made-up and bent DHCP messages to a running Genkan, in namespaces of their own.
#
# For SECONDS (600) a host of the lan sends messages of made-up clients of every kind, with options, addresses and lengths
# that are right, bent or nonsense, from several thousand MAC addresses. Memory of the process is told before, every half
# minute and after; at the end the process has to be the same one, its log without a panic, and an honest client served.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
genkan=$(realpath "$1") seconds=${2:-600} seed=${3:-1}
export PATH="$PATH:/usr/sbin:/sbin"
if [ "${DHCP_FUZZ_INSIDE:-}" != 1 ]; then
    DHCP_FUZZ_INSIDE=1 exec unshare --net --mount --ipc -- "$0" "$@"
fi
folder=$(mktemp -d)
mount -t tmpfs none /run
mkdir -p /run/netns
end() {
    kill "$server" 2>/dev/null || true
    wait 2>/dev/null || true
    ip netns del client 2>/dev/null || true
    rm -rf "$folder"
}
ip link set lo up
ip netns add client
ip link add lan0 type veth peer name eth0 netns client
ip link add wan0 type veth peer name wan1
ip link set wan0 up; ip link set wan1 up; ip link set lan0 up
ip netns exec client ip link set eth0 up
ip netns exec client ip addr add 10.0.0.2/16 dev eth0
cat >"$folder/genkan.toml" <<TOML
[wan]
device = "wan0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"
[[lan]]
name = "home"
device = "lan0"
address = "10.0.0.1/16"
dhcp = { pool = "10.0.1.0-10.0.8.255", lease = "2m" }
[services]
socket = "$folder/socket"
state = "$folder/state"
TOML
"$genkan" run --config "$folder/genkan.toml" >"$folder/log" 2>&1 &
server=$!
trap end EXIT
until "$genkan" status --socket "$folder/socket" >/dev/null 2>&1; do sleep 0.1; done
cat >"$folder/fuzz.py" <<'PY'
import random, socket, struct, sys, time
pid, seconds, seed = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
router = bytes.fromhex(sys.argv[4].replace(":", ""))
clients = [bytes([2, 0xdc]) + struct.pack(">I", n) for n in range(5000)]

def rss():
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])

def checksum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

def frame(mac, source, destination, payload):
    udp = struct.pack(">HHHH", 68, 67, 8 + len(payload), 0) + payload
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), random.getrandbits(16), 0, 64, 17, 0, source, destination)
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    to = b"\xff" * 6 if destination == b"\xff" * 4 else router
    return to + mac + b"\x08\x00" + header + udp

def some_address():
    return bytes([10, 0, random.randrange(1, 9), random.randrange(256)]) if random.random() < .9 else random.randbytes(4)

def options(kind):
    made = b"\x35\x01" + bytes([kind])
    if random.random() < .6:
        made += b"\x32\x04" + some_address()
    if random.random() < .5:
        made += b"\x36\x04\x0a\x00\x00\x01"
    for _ in range(random.randrange(6)):
        value = random.randbytes(random.choice([0, 1, 2, 4, 7, 30, 255]))
        made += bytes([random.choice([12, 51, 52, 55, 57, 61, 81, 82, 121, random.randrange(256)]), len(value)]) + value
    return made + (b"\xff" if random.random() < .9 else b"")

def message(mac):
    kind = random.choice([1, 1, 1, 3, 3, 3, 4, 7, 8, random.randrange(256)])
    nothing = bytes(4)
    ciaddr = some_address() if random.random() < .3 else nothing
    giaddr = random.choice([nothing] * 8 + [bytes([10, 0, 0, 2]), random.randbytes(4)])
    made = b"\x01\x01\x06\x00" + random.randbytes(4) + b"\0\0" + random.choice([b"\x80\0", b"\0\0"])
    made += ciaddr + nothing + nothing + giaddr + mac + bytes(10) + bytes(192) + b"\x63\x82\x53\x63" + options(kind)
    chance = random.random()
    if chance < .2:
        made = bytearray(made)
        for _ in range(random.randrange(1, 12)):
            made[random.randrange(len(made))] = random.randrange(256)
        made = bytes(made)
    elif chance < .25:
        made = made[: random.randrange(len(made))]
    elif chance < .3:
        made = random.randbytes(random.randrange(1400))
    return made[:1400]

start, sent, told = time.time(), 0, 0
print(f"before: {rss()} kB", flush=True)
while time.time() - start < seconds:
    for _ in range(100):
        mac = random.choice(clients)
        source = random.choice([bytes(4), bytes([10, 0, 0, 2]), some_address()])
        destination = random.choice([b"\xff" * 4, b"\xff" * 4, bytes([10, 0, 0, 1])])
        try:
            wire.send(frame(mac, source, destination, message(mac)))
            sent += 1
        except OSError:
            pass
    time.sleep(.02)
    if time.time() - start > told + 30:
        told += 30
        print(f"after {told} s: {rss()} kB, {sent} messages", flush=True)
print(f"at the end: {rss()} kB, {sent} messages", flush=True)
PY
mac=$(ip -o link show lan0 | sed 's/.*ether \([0-9a-f:]*\).*/\1/')
ip netns exec client python3 "$folder/fuzz.py" "$server" "$seconds" "$seed" "$mac"
kill -0 "$server" || { echo "the router has ended"; tail -20 "$folder/log"; exit 1; }
! grep -i panicked "$folder/log" || exit 1
"$genkan" status --socket "$folder/socket" | head -8
"$genkan" leases --socket "$folder/socket" --limit 0 | tail -1
echo "no panic, the same process"
