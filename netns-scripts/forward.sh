#!/bin/sh
# forward.sh: what comes in and what does not. Shows, with curl:
#   1. without a rule nobody outside reaches anybody inside
#   2. a forward opens one port, and the server sees the visitor's own address
#   3. `from` narrows it to some visitors
#   4. a DMZ host takes what no rule takes; a disabled forward keeps its port closed all the same
# Usage: forward.sh   (no root needed where user namespaces are allowed)
set -eu
. "$(dirname "$0")/lib.sh"
private "$@"
need curl python3

serve() {
    mkdir -p "$files/$1"
    echo "page of $1" >"$files/$1/index.html"
    nsenter --net="/run/netns/$2" python3 -u -m http.server --directory "$files/$1" "$3" >"$files/$1.log" 2>&1 &
    until at "$1" curl -so /dev/null "http://127.0.0.1:$3/"; do sleep 0.1; done
}
serve nas "$nas" 8080
serve console "$console" 8080

# page HOST FROM PORT: the page that HOST gets at the external address.
page() { at "$1" curl -s --max-time 1 --interface "$2" "http://$wan_address:$3/"; }
shows() { [ "$(page "$1" "$2" "$3")" = "$4" ]; }

title '1. No rule: nobody comes in'
router ''
refused 'remote gets nothing at port 80' page remote "$remote_address" 80
refused 'remote gets nothing at port 8080' page remote "$remote_address" 8080

web="[[forward]]
name = \"web\"
protocol = \"tcp\"
port = 80
to = \"$nas_address:8080\""

title '2. A forward'
router "$web"
expect 'remote reads the page of the nas at port 80' shows remote "$remote_address" 80 'page of nas'
expect "the nas saw $remote_address" grep -q "^$remote_address " "$files/nas.log"
refused 'port 8080 is still closed' page remote "$remote_address" 8080

title "3. Only from $remote_second_address"
router "$web
from = [\"$remote_second_address/32\"]"
expect "$remote_second_address gets in" shows remote "$remote_second_address" 80 'page of nas'
refused "$remote_address does not" page remote "$remote_address" 80

title '4. A DMZ host'
router "$web

[[forward]]
name = \"closed\"
protocol = \"tcp\"
port = 9000
to = \"$nas_address:8080\"
enabled = false

[dmz]
to = \"$console_address\""
expect 'port 80 belongs to the forward' shows remote "$remote_address" 80 'page of nas'
expect 'port 8080 goes to the console' shows remote "$remote_address" 8080 'page of console'
refused 'port 9000 is closed, not the console' page remote "$remote_address" 9000

title 'What the router counted'
genkan counters
finish
