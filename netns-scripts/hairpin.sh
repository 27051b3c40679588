#!/bin/sh
# hairpin.sh: inside hosts reach inside hosts by the external address (RFC 4787 section 6). Shows, with curl:
#   1. another host of the lan reaches the forward, and so does the server itself
#   2. the server sees the external address, not the lan address of the client: its answers take the same way back
#   3. with `hairpin = false` this is closed
# Usage: hairpin.sh   (no root needed where user namespaces are allowed)
set -eu
. "$(dirname "$0")/lib.sh"
private "$@"
need curl python3

mkdir -p "$files/page"
echo 'page of nas' >"$files/page/index.html"
nsenter --net="/run/netns/$nas" python3 -u -m http.server --directory "$files/page" 8080 >"$files/web.log" 2>&1 &
until at nas curl -so /dev/null http://127.0.0.1:8080/; do sleep 0.1; done

shows() { [ "$(at "$1" curl -s --max-time 1 "http://$wan_address/")" = 'page of nas' ]; }
web="[[forward]]
name = \"web\"
protocol = \"tcp\"
port = 80
to = \"$nas_address:8080\""

title '1. By the external address, from inside'
router "$web"
expect 'laptop reads the page of the nas' shows laptop
expect 'the nas reads its own page' shows nas

title '2. What the nas saw'
sed 's/^/  /' "$files/web.log"
expect "it saw $wan_address" grep -q "^$wan_address " "$files/web.log"
refused "it never saw $laptop_address" grep -q "^$laptop_address " "$files/web.log"

title '3. hairpin = false'
router "[nat]
hairpin = false

$web"
refused 'laptop gets nothing' shows laptop
finish
