#!/usr/bin/env bash
# dhcp-fuzz.sh GENKAN [SECONDS [SEED]]: made-up and bent DHCP messages to a running Genkan, in a private lab.
#
# For SECONDS (600) a host of the lan sends messages of made-up clients of every kind, with options, addresses and lengths
# that are right, bent or nonsense, from several thousand MAC addresses. Memory of the process is told before, every half
# minute and after; at the end the process has to be the same one, its log without a panic, and an honest client served.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
GENKAN=$(realpath "$1") seconds=${2:-600} seed=${3:-1}
export GENKAN
lab_options='--hosts 1'
. "$(dirname "$0")/lib.sh"
private "$@"
need python3
wide_lan
trap 'rm -rf "$files"' EXIT
router 'dhcp = { pool = "10.0.1.0-10.0.8.255", lease = "2m" }'
cat >"$files/fuzz.py" <<'PY'
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
mac=$(ip -n "$router" -o link show "$lan_device" | sed 's/.*ether \([0-9a-f:]*\).*/\1/')
at nas python3 "$files/fuzz.py" "$router_pid" "$seconds" "$seed" "$mac"
kill -0 "$router_pid" || { tail -20 "$files/log"; fail 'the router has ended'; }
! grep -i panicked "$files/log" || exit 1
genkan status | head -8
genkan leases --limit 0 | tail -1
stop_router
echo 'no panic, the same process'
