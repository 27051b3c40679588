//! Packets of protocols without ports.

use std::io::{self, ErrorKind, Read};
use std::net::Ipv4Addr;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Ipv4HeaderSlice};
use genkan_engine::wire::ipv4::Protocol;
use socket2::Socket;

/// What goes behind the IP header.
pub(super) fn packet(protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    if protocol != Protocol::ICMP {
        return payload.to_vec();
    }
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 1 });
    let mut packet = Icmpv4Header::with_checksum(echo, payload).to_bytes().to_vec();
    packet.extend_from_slice(payload);
    packet
}

/// Source and destination of a packet that a raw socket has, with this payload at its end.
pub(super) fn received(socket: &mut Socket, payload: &[u8]) -> io::Result<Option<(Ipv4Addr, Ipv4Addr)>> {
    let mut buffer = [0; 256];
    loop {
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let packet = &buffer[..length];
        if packet.ends_with(payload)
            && let Ok(header) = Ipv4HeaderSlice::from_slice(packet)
        {
            return Ok(Some((header.source_addr(), header.destination_addr())));
        }
    }
}
