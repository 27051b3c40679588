#!/bin/sh
# behavior.sh: which kind of NAT is this? Finds out mapping and filtering behaviour (RFC 4787 sections 4.1 and 5) from
# outside, the way RFC 5780 does it, under every setting of [nat], and says whether it is what was configured:
#   mapping    laptop sends from one port to two ports and two addresses of remote; do they see the same endpoint?
#   filtering  laptop has sent to one endpoint of remote; whose answers get through to it?
# Usage: behavior.sh   (no root needed where user namespaces are allowed)
set -eu
. "$(dirname "$0")/lib.sh"
private "$@"
need python3

# The far end: every socket answers with the endpoint that it sees; "SEND-FROM address port to endpoint" makes another
# socket send. The near end asks, and prints `mapping filtering`.
cat >"$files/far.py" <<'PYTHON'
import select, socket, sys
sockets = {}
for address in sys.argv[1:3]:
    for port in (3478, 3479):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((address, port))
        sockets[address, port] = s
print("ready", flush=True)
while True:
    for s in select.select(list(sockets.values()), [], [])[0]:
        text, sender = s.recvfrom(100)
        words = text.decode().split()
        if words[:1] == ["send-from"]:
            sockets[words[1], int(words[2])].sendto(b"unasked", (words[3], int(words[4])))
        else:
            s.sendto(("%s %d" % sender).encode(), sender)
PYTHON
cat >"$files/near.py" <<'PYTHON'
import socket, sys
one, two = sys.argv[1:3]

def ask(s, to):
    for _ in range(3):
        s.sendto(b"who am I", to)
        try:
            while True:
                text, sender = s.recvfrom(100)
                if sender == to:
                    return tuple(text.decode().split())
        except TimeoutError:
            pass
    sys.exit("no answer from %s port %d" % to)

def new():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(0.4)
    return s

s = new()
first, port, address = (ask(s, to) for to in ((one, 3478), (one, 3479), (two, 3478)))
mapping = "endpoint-independent" if first == address else "address-dependent" if first == port else "address-and-port-dependent"

def hears(sender):
    s, other = new(), new()
    mine = ask(s, (one, 3478))
    other.sendto(("send-from %s %d %s %s" % (*sender, *mine)).encode(), (one, 3478))
    try:
        return s.recvfrom(100) == (b"unasked", sender)
    except TimeoutError:
        return False

filtering = "endpoint-independent" if hears((two, 3479)) else "address-dependent" if hears((one, 3479)) else "address-and-port-dependent"
print(mapping, filtering)
PYTHON
nsenter --net="/run/netns/$remote" python3 "$files/far.py" "$remote_address" "$remote_second_address" >"$files/far.log" 2>&1 &
until grep -q ready "$files/far.log"; do sleep 0.1; done

is() { [ "$found" = "$1" ]; }
for mapping in endpoint-independent address-dependent address-and-port-dependent; do
    for filtering in endpoint-independent address-dependent address-and-port-dependent; do
        # Without what another kind has admitted.
        stop_router
        rm -rf "$files/state"/*
        router "[nat]
mapping = \"$mapping\"
filtering = \"$filtering\""
        found=$(at laptop python3 "$files/near.py" "$remote_address" "$remote_second_address")
        expect "mapping $mapping, filtering $filtering: found ${found:-nothing}" is "$mapping $filtering"
    done
done
finish
