#!/usr/bin/env bash
# What schemathesis makes of docs/openapi.json, sent to a running router: no 5xx, no panic, every answer as described.
#
#   pip install schemathesis          # in a virtual environment; 4.32 is what this was made with
#   tests/api-fuzz.sh [ARGUMENTS]     # go to `schemathesis run`; --max-examples 20 for a minute, 200 for thoroughness
#
# GENKAN_BIN is the program (target/debug/genkan unless given, for its overflow checks), SCHEMATHESIS the tester. The
# router runs in a network namespace of its own, as root or where user namespaces are allowed; nothing stays.
set -euo pipefail
cd "$(dirname "$0")/.."
self=$PWD/tests/api-fuzz.sh
genkan=$(realpath "${GENKAN_BIN:-target/debug/genkan}")
schemathesis=${SCHEMATHESIS:-schemathesis}
if [[ ${1:-} != --inside ]]; then
    command -v "$schemathesis" >/dev/null || { echo "no $schemathesis: pip install schemathesis"; exit 2; }
    [[ -x $genkan ]] || cargo build --package genkan
    map=()
    if (($(id -u))); then map=(--user --map-root-user); fi
    exec unshare "${map[@]}" --net --mount "$self" --inside "$@"
fi
shift

folder=$(mktemp -d)
end() {
    status=$?
    trap - EXIT
    # shellcheck disable=SC2046
    kill $(jobs -p) 2>/dev/null || true
    wait
    if ((status)) || [[ $(cat "$folder/router.log" 2>/dev/null) == *panick* ]]; then
        grep -A5 panick "$folder/router.log" || true
        rm -rf "$folder"
        exit 1
    fi
    rm -rf "$folder"
}
trap end EXIT

ip link set lo up
ip link add wan0 type veth peer name wan1
ip link add lan0 type veth peer name lan1
ip link set wan1 up
ip link set lan1 up
mkdir "$folder/etc" "$folder/state"
cat >"$folder/etc/genkan.toml" <<END
[wan]
device  = "wan0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"

[[lan]]
name    = "home"
device  = "lan0"
address = "192.168.0.1/24"

[[forward]]
name     = "web"
protocol = "tcp"
port     = 80
to       = "192.168.0.10:8080"

[services]
state = "$folder/state"
END
"$genkan" run --config "$folder/etc/genkan.toml" --socket "$folder/control.sock" >"$folder/router.log" 2>&1 &
router=$!

# schemathesis speaks TCP.
python3 - "$folder/control.sock" <<'END' &
import asyncio, sys

async def carry(reader, writer):
    try:
        while octets := await reader.read(65536):
            writer.write(octets)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()

async def connected(reader, writer):
    there, back = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(carry(reader, back), carry(there, writer))
    back.close()
    writer.close()

async def main():
    async with await asyncio.start_server(connected, "127.0.0.1", 8080) as server:
        await server.serve_forever()

asyncio.run(main())
END

for _ in {1..100}; do
    "$genkan" status --socket "$folder/control.sock" >/dev/null 2>&1 && break
    kill -0 "$router" || { cat "$folder/router.log"; exit 1; }
    sleep 0.1
done
# A word that the description admits may still be no address, and a good one may make a configuration that is refused:
# that is what 422 is for, hence one check less.
cd "$folder"
# A name by chance is no forward's, and a capture ends by itself only where it is told when.
cat >schemathesis.toml <<END
[[operations]]
include-name = "PATCH /v1/forwards/{name}"
parameters = { "path.name" = "web" }

[[operations]]
include-name = "GET /v1/capture"
parameters = { "query.seconds" = 1 }
END
# What comes after an upgrade by a connection to the old program is refused with 503, so that it is asked again: by
# design, and nothing that a tester knows.
"$schemathesis" run http://127.0.0.1:8080/v1/openapi.json --url http://127.0.0.1:8080 \
    --request-timeout 10 --generation-database none \
    --exclude-path /v1/upgrade --exclude-checks positive_data_acceptance "$@"
kill -0 "$router"
echo "The router still runs: $("$genkan" status --socket "$folder/control.sock" | head -1)"
