# What `genkan doctor --reflector` says. The other languages have the same messages with the same arguments.

outside-from = Seen from outside, by the reflector { $reflector }:
outside-translated = { $internal } is seen as { $external }
outside-not-translated = { $internal } is seen as it is: no NAT on the way
outside-no-udp = seen as { $seen }; datagrams (UDP) do not get through, so the behaviour of the NAT cannot be tested
outside-mapping = mapping: { $kinds }
outside-filtering = filtering: { $kinds }
outside-or = {" "}or{" "}
outside-mapping-endpoint-independent = one external port for all outside
outside-mapping-address-dependent = another external port for each address outside
outside-mapping-address-and-port-dependent = another external port for each address and port outside
outside-filtering-endpoint-independent = everybody outside may answer
outside-filtering-address-dependent = only addresses that were spoken to may answer
outside-filtering-address-and-port-dependent = only addresses and ports that were spoken to may answer
outside-ports-kept = the external port is the internal one
outside-ports-step = the external port is another one, and can be foreseen: { $step } further each time
outside-ports-other = the external port is another one
outside-hairpin-yes = hairpin: inside hosts reach each other by the external address
outside-hairpin-no = hairpin: no, inside hosts do not reach each other by the external address
outside-path = packets of { $mtu } octets get out in one piece
outside-consoles = a console in this place, without UPnP and forwards: PlayStation type { $playstation }, Nintendo Switch { $switch }, Xbox { $xbox }
outside-open = open
outside-closed = closed: the connection was refused
outside-filtered-tcp = filtered: no answer
outside-filtered-udp = no answer: filtered, or open to a program that does not answer strangers
outside-unsaid = the reflector did not say
outside-not-tried = not tried, being of another external address or too many: { $forwards }

outside-remedy-nat-in-front = The router's external address is { $external }, but outside it is { $seen }: another NAT translates as well (a provider's, or another router). Forwards work only if that one forwards to { $external }, too, or is put into bridge mode; ask the provider for a public address.
outside-remedy-share = { $seen } seems to be shared (MAP-E, RFC 7597, or alike): the NAT in front has some of its ports only, such as { $blocks }. No other port can lead here (of those that were looked at: { $outside }); forward one of these there, to the port of a forward here, and tell people that one.
outside-remedy-path = The way out takes packets of { $mtu } octets only, and the router's wan is set to { $wan }: large packets are sent in vain before they are sent smaller. In Genkan: [wan] mtu = { $mtu }, by which the MSS of TCP is lowered, too.
outside-remedy-path-silent = Packets of more than some { $mtu } octets vanish on the way out, and nobody says so: connections open and then hang. In Genkan: [wan] mtu = { $mtu }, by which the MSS of TCP is lowered, too.
outside-remedy-udp = UDP is blocked on the way out. Games, calls and VPNs need it: look for a firewall rule for outgoing UDP.
outside-remedy-somebody-else = { $protocol } { $port } of { $seen } answers although forward "{ $forward }" is closed or does not admit { $source }: another rule, the DMZ or another device takes it.
outside-remedy-closed = { $protocol } { $port } is refused: it gets to a machine, but no program listens there.
outside-remedy-not-forwarded = { $protocol } { $port } is silent: no open forward takes it, or the target's firewall drops it. Ask: genkan trace --in wan --protocol { $protocol } --from { $source }:40000 --to { $seen }:{ $port } --config FILE
outside-remedy-inside = { $protocol } { $port } is silent, as was to be expected by what was found about forward "{ $forward }" from inside.
outside-remedy-before = { $protocol } { $port } is silent although nothing is wrong with forward "{ $forward }" as seen from inside: a filter before the router (the provider's, or another router's), or the target's firewall that admits only its own network.
outside-remedy-open-after-all = Forward "{ $forward }" is open as seen from outside ({ $protocol } { $port }): what was found about it from inside does not stop these packets.
outside-remedy-mapping = Peers outside cannot use each other's view of this host: a router with endpoint-independent mapping helps; in Genkan: [nat] mapping = "endpoint-independent"
outside-remedy-filtering = Peers who have not been spoken to are kept out. For a console, open it to them; in Genkan: [[host]] with filtering = "endpoint-independent" for that device, or a forward of its ports.
outside-remedy-hairpin = Players behind this NAT do not meet by the external address; in Genkan: [nat] hairpin = true
outside-remedy-one-address = The reflector has one address, so that some kinds cannot be told apart: genkan reflector --second-address
