//! Frames as one line of text, both ways: what golden cases hold and failed assertions print.
//!
//! ```text
//! @192.168.0.100 > router udp 192.168.0.100:5000 > 198.51.100.7:53 ttl=63 "hello"
//! ```
//! Values that are usual (TTL 64, id 0, right checksums) are left out. Data is a quoted text, `hex=...`
//! and `zero=LENGTH`, one after the other; an ICMP error quotes with `quote={...}`. `router` is the router's MAC address at the
//! port, `@ADDRESS` that of the lab machine with this address.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::PortId;
use genkan_engine::wire::ethernet::MacAddr;

use super::craft::{icmp, raw, tcp, udp};
use super::frame::{Arp, Body, Frame};
use super::host::{mac_of, router_mac};
use super::packet::{Checksum, Flags, Packet, Payload};

/// Hex digits without separators.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Reads what [`hex`] writes.
///
/// # Errors
/// Says what is wrong.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(format!("{text:?} is not an even number of hex digits"));
    }
    (0..text.len() / 2).map(|index| number_in(&text[2 * index..2 * index + 2], 16)).collect()
}

fn number_in<T: TryFrom<u64>>(text: &str, radix: u32) -> Result<T, String> {
    let value = u64::from_str_radix(text, radix).map_err(|error| format!("{text:?}: {error}"))?;
    T::try_from(value).map_err(|_| format!("{text:?} is too large"))
}

fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    number_in(text, 10)
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IPv4 address"))
}

fn mac_text(mac: MacAddr, port: PortId) -> String {
    if mac == router_mac(port) {
        return "router".into();
    }
    match mac.0 {
        [0x02, 0x00, a, b, c, d] => format!("@{}", Ipv4Addr::new(a, b, c, d)),
        _ if mac == MacAddr::BROADCAST => "broadcast".into(),
        _ => mac.to_string(),
    }
}

fn parse_mac(text: &str, port: PortId) -> Result<MacAddr, String> {
    match text {
        "router" => Ok(router_mac(port)),
        "broadcast" => Ok(MacAddr::BROADCAST),
        _ => match text.strip_prefix('@') {
            Some(rest) => Ok(mac_of(address(rest)?)),
            None => {
                let octets = unhex(&text.replace(':', ""))?;
                let octets = octets.try_into().map_err(|_| format!("{text:?} is no MAC address"))?;
                Ok(MacAddr(octets))
            }
        },
    }
}

/// The line for a frame at `port`.
pub fn frame(frame: &Frame, port: PortId) -> String {
    let mut text = format!("{} > {} ", mac_text(frame.source, port), mac_text(frame.destination, port));
    match &frame.body {
        Body::Ipv4(packet) => text.push_str(&self::packet(packet)),
        Body::Arp(arp) => {
            let kind = if arp.request { "request" } else { "reply" };
            let _ = write!(
                text,
                "arp {kind} sender={}/{} target={}/{}",
                arp.sender,
                mac_text(arp.sender_mac, port),
                arp.target,
                mac_text(arp.target_mac, port)
            );
        }
        Body::Other { ethertype, bytes } => {
            let _ = write!(text, "eth type={ethertype:04x} hex={}", hex(bytes));
        }
    }
    if frame.padding > 0 {
        let _ = write!(text, " pad={}", frame.padding);
    }
    text
}

/// The line for octets that may not even be a frame.
pub fn bytes(bytes: &[u8], port: PortId) -> String {
    Frame::parse(bytes).map_or_else(|| format!("raw {}", hex(bytes)), |decoded| frame(&decoded, port))
}

/// The part of the line that describes an IP packet.
pub fn packet(packet: &Packet) -> String {
    let (source, destination) = (packet.source, packet.destination);
    let mut text = match &packet.payload {
        Payload::Udp { source: from, destination: to, .. } => {
            format!("udp {source}:{from} > {destination}:{to}")
        }
        Payload::Tcp { source: from, destination: to, flags, .. } => {
            format!("tcp {source}:{from} > {destination}:{to} flags={flags}")
        }
        Payload::Icmp { kind: kind @ (0 | 8), code: 0, rest: [a, b, c, d], .. } => {
            let name = if *kind == 8 { "echo-request" } else { "echo-reply" };
            let (id, seq) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            format!("icmp {source} > {destination} {name} id={id} seq={seq}")
        }
        Payload::Icmp { kind, code, rest, .. } => {
            let mut text = format!("icmp {source} > {destination} type={kind} code={code}");
            if *rest != [0; 4] {
                let _ = write!(text, " rest={}", hex(rest));
            }
            text
        }
        Payload::Raw { protocol, .. } => format!("ip {source} > {destination} proto={protocol}"),
    };
    if let Payload::Tcp { seq, ack, window, .. } = packet.payload {
        let _ = write!(text, " seq={seq} ack={ack} win={window}");
    }
    if let Payload::Tcp { options, .. } = &packet.payload
        && !options.is_empty()
    {
        let _ = match options[..] {
            [2, 4, high, low] => write!(text, " mss={}", u16::from_be_bytes([high, low])),
            _ => write!(text, " tcpopt={}", hex(options)),
        };
    }
    attribute(&mut text, "ttl", u32::from(packet.ttl), 64);
    attribute(&mut text, "tos", u32::from(packet.tos), 0);
    attribute(&mut text, "ipid", u32::from(packet.id), 0);
    attribute(&mut text, "off", u32::from(packet.fragment_offset), 0);
    for (set, flag) in [(packet.dont_fragment, " df"), (packet.more_fragments, " mf")] {
        if set {
            text.push_str(flag);
        }
    }
    if !packet.options.is_empty() {
        let _ = write!(text, " ipopt={}", hex(&packet.options));
    }
    match packet.checksum() {
        Checksum::Right => {}
        Checksum::None => text.push_str(" sum=none"),
        Checksum::Partial => text.push_str(" sum=partial"),
        Checksum::Off(by) => {
            let _ = write!(text, " sum=off:{by:04x}");
        }
    }
    text.push_str(&data_text(packet));
    text
}

fn attribute(text: &mut String, name: &str, value: u32, usual: u32) {
    if value != usual {
        let _ = write!(text, " {name}={value}");
    }
}

fn data_text(packet: &Packet) -> String {
    let data = packet.payload_data();
    if let Some((3..=5 | 11 | 12, _)) = packet.icmp_kind()
        && let Ok(quoted) = Packet::parse(data)
    {
        return format!(" quote={{{}}}", self::packet(&quoted));
    }
    let plain =
        |octet: &u8| (octet.is_ascii_graphic() || *octet == b' ') && *octet != b'"' && *octet != b'\\';
    if !data.is_empty() && data.len() <= 80 && data.iter().all(plain) {
        return format!(" \"{}\"", String::from_utf8_lossy(data));
    }
    // A long run of zeros at the end is told by its length.
    let zeros = data.iter().rev().take_while(|&&octet| octet == 0).count();
    let zeros = if zeros >= 16 || zeros == data.len() { zeros } else { 0 };
    let (head, tail) = data.split_at(data.len() - zeros);
    let mut text = String::new();
    if !head.is_empty() {
        let _ = write!(text, " hex={}", hex(head));
    }
    if !tail.is_empty() {
        let _ = write!(text, " zero={}", tail.len());
    }
    text
}

/// Splits at spaces, but not within quotes or braces.
fn tokens(line: &str) -> Vec<&str> {
    let (mut tokens, mut start, mut depth, mut quoted) = (Vec::new(), None, 0usize, false);
    for (at, letter) in line.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if letter.is_whitespace() && !quoted && depth == 0 {
            if let Some(start) = start.take() {
                tokens.push(&line[start..at]);
            }
        } else if start.is_none() {
            start = Some(at);
        }
    }
    tokens.extend(start.map(|start| &line[start..]));
    tokens
}

/// Reads the line of a frame at `port`; the MAC addresses may be left out when `default_macs` (source,
/// destination) of the packet's source address says what they are.
///
/// # Errors
/// Says what is wrong.
pub fn parse_frame(
    line: &str,
    port: PortId,
    default_macs: impl Fn(Option<Ipv4Addr>) -> (MacAddr, MacAddr),
) -> Result<Frame, String> {
    let tokens = tokens(line);
    let (macs, tokens) = match tokens[..] {
        // An address pair without a port only follows a protocol word, so this is a MAC address pair.
        [source, ">", destination, ..] => {
            (Some((parse_mac(source, port)?, parse_mac(destination, port)?)), &tokens[3..])
        }
        _ => (None, &tokens[..]),
    };
    let (tokens, padding) = match tokens {
        [rest @ .., last] if last.starts_with("pad=") => (rest, number(&last[4..])?),
        _ => (tokens, 0),
    };
    let body = match tokens {
        ["arp", kind, sender, target] => Body::Arp(parse_arp(kind, sender, target, port)?),
        ["eth", ethertype, data] => Body::Other {
            ethertype: number_in(strip(ethertype, "type=")?, 16)?,
            bytes: unhex(strip(data, "hex=")?)?,
        },
        _ => Body::Ipv4(parse_packet_tokens(tokens)?),
    };
    let address = match &body {
        Body::Ipv4(packet) => Some(packet.source),
        Body::Arp(arp) => Some(arp.sender),
        Body::Other { .. } => None,
    };
    let (source, destination) = macs.unwrap_or_else(|| default_macs(address));
    Ok(Frame { source, destination, body, padding })
}

fn strip<'a>(token: &'a str, prefix: &str) -> Result<&'a str, String> {
    token.strip_prefix(prefix).ok_or_else(|| format!("{token:?} where {prefix}... should stand"))
}

fn parse_arp(kind: &str, sender: &str, target: &str, port: PortId) -> Result<Arp, String> {
    let pair = |text: &str| {
        let (ip, mac) = text.split_once('/').ok_or_else(|| format!("{text:?} is not ADDRESS/MAC"))?;
        Ok::<_, String>((address(ip)?, parse_mac(mac, port)?))
    };
    let (sender, sender_mac) = pair(strip(sender, "sender=")?)?;
    let (target, target_mac) = pair(strip(target, "target=")?)?;
    let request = match kind {
        "request" => true,
        "reply" => false,
        other => return Err(format!("{other:?} is neither request nor reply")),
    };
    Ok(Arp { request, sender_mac, sender, target_mac, target })
}

/// Reads what [`packet`] writes.
///
/// # Errors
/// Says what is wrong.
pub fn parse_packet(line: &str) -> Result<Packet, String> {
    parse_packet_tokens(&tokens(line))
}

fn parse_packet_tokens(tokens: &[&str]) -> Result<Packet, String> {
    let [word, source, ">", destination, attributes @ ..] = tokens else {
        return Err(format!("{:?} is no packet: PROTOCOL SOURCE > DESTINATION", tokens.join(" ")));
    };
    let mut packet = match *word {
        "udp" | "tcp" => {
            let endpoint =
                |text: &str| text.parse::<SocketAddrV4>().map_err(|_| format!("{text:?} is no endpoint"));
            let (source, destination) = (endpoint(source)?, endpoint(destination)?);
            if *word == "udp" {
                udp(source, destination)
            } else {
                tcp(source, destination, Flags(0)).numbers(0, 0)
            }
        }
        "icmp" => icmp(address(source)?, address(destination)?, 0, 0),
        "ip" => raw(address(source)?, address(destination)?, 0, &[]),
        other => return Err(format!("{other:?} is none of udp, tcp, icmp, ip, arp, eth, raw")),
    };
    packet = packet.data(&[]);
    for attribute in attributes {
        apply(&mut packet, attribute).map_err(|error| format!("{attribute:?}: {error}"))?;
    }
    Ok(packet)
}

fn apply(packet: &mut Packet, attribute: &str) -> Result<(), String> {
    if let Some(text) = attribute.strip_prefix('"') {
        append_data(packet, text.strip_suffix('"').ok_or("the quote does not end")?.as_bytes());
        return Ok(());
    }
    let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
    match (name, &mut packet.payload) {
        ("ttl", _) => packet.ttl = number(value)?,
        ("tos", _) => packet.tos = number(value)?,
        ("ipid", _) => packet.id = number(value)?,
        ("off", _) => packet.fragment_offset = number(value)?,
        ("df", _) => packet.dont_fragment = true,
        ("mf", _) => packet.more_fragments = true,
        ("ipopt", _) => packet.options = unhex(value)?,
        ("hex", _) => append_data(packet, &unhex(value)?),
        ("zero", _) => append_data(packet, &vec![0; number(value)?]),
        ("quote", _) => {
            let inner = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            append_data(packet, &parse_packet(inner.ok_or("a quoted packet stands in braces")?)?.to_ip());
        }
        ("sum", _) => {
            let state = match value {
                "none" => Checksum::None,
                "partial" => Checksum::Partial,
                _ => Checksum::Off(number_in(strip(value, "off:")?, 16)?),
            };
            *packet = packet.clone().with_checksum(state);
        }
        ("proto", Payload::Raw { protocol, .. }) => *protocol = number(value)?,
        ("flags", Payload::Tcp { flags, .. }) => *flags = Flags::parse(value).ok_or("no TCP flags")?,
        ("seq", Payload::Tcp { seq, .. }) => *seq = number(value)?,
        ("ack", Payload::Tcp { ack, .. }) => *ack = number(value)?,
        ("win", Payload::Tcp { window, .. }) => *window = number(value)?,
        ("tcpopt", Payload::Tcp { options, .. }) => *options = unhex(value)?,
        ("mss", Payload::Tcp { options, .. }) => {
            *options = [&[2, 4][..], &number::<u16>(value)?.to_be_bytes()].concat();
        }
        ("echo-request", Payload::Icmp { kind, .. }) => *kind = 8,
        ("echo-reply", Payload::Icmp { kind, .. }) => *kind = 0,
        ("type", Payload::Icmp { kind, .. }) => *kind = number(value)?,
        ("code", Payload::Icmp { code, .. }) => *code = number(value)?,
        ("id", Payload::Icmp { rest, .. }) => {
            rest[..2].copy_from_slice(&number::<u16>(value)?.to_be_bytes());
        }
        ("seq", Payload::Icmp { rest, .. }) => {
            rest[2..].copy_from_slice(&number::<u16>(value)?.to_be_bytes());
        }
        ("rest", Payload::Icmp { rest, .. }) => {
            *rest = unhex(value)?.try_into().map_err(|_| "four octets".to_owned())?;
        }
        _ => return Err("no such attribute here".into()),
    }
    Ok(())
}

fn append_data(packet: &mut Packet, bytes: &[u8]) {
    match &mut packet.payload {
        Payload::Udp { data, .. }
        | Payload::Tcp { data, .. }
        | Payload::Icmp { data, .. }
        | Payload::Raw { data, .. } => data.extend_from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_back() {
        let lines = [
            "@192.168.0.100 > router udp 192.168.0.100:5000 > 198.51.100.7:53 ttl=63 df \"hello you\"",
            "router > broadcast arp request sender=192.168.0.1/router target=192.168.0.9/00:00:00:00:00:00",
            "router > @192.168.0.9 tcp 192.0.2.1:80 > 192.168.0.9:4000 flags=SA seq=7 ack=9 win=100 mss=1460",
            "router > @192.168.0.9 icmp 192.0.2.1 > 192.168.0.9 echo-reply id=7 seq=1 zero=12 pad=2",
            "router > @192.168.0.9 icmp 192.0.2.1 > 192.168.0.9 type=3 code=4 rest=000005dc \
             quote={udp 1.2.3.4:1 > 5.6.7.8:9 ttl=3 hex=010203}",
            "router > @192.168.0.9 ip 192.0.2.1 > 192.168.0.9 proto=17 ipid=77 off=1480 mf ipopt=01010101 hex=ff00",
            "router > @192.168.0.9 udp 192.0.2.1:1 > 192.168.0.9:2 sum=off:1234",
            "router > @192.168.0.9 udp 192.0.2.1:1 > 192.168.0.9:2 hex=00ff zero=100",
            "router > @192.168.0.9 eth type=86dd hex=6000",
        ];
        for line in lines {
            let parsed = parse_frame(line, PortId::lan(0), |_| unreachable!("the line has them"));
            assert_eq!(parsed.map(|parsed| frame(&parsed, PortId::lan(0))), Ok(line.to_owned()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |line| parse_packet(line).expect_err(line);
        assert!(error("udp 1.2.3.4 > 5.6.7.8:9").contains("endpoint"));
        assert!(error("udp 1.2.3.4:5 > 5.6.7.8:9 flags=S").contains("no such attribute"));
        assert!(error("gopher 1.2.3.4:5 > 5.6.7.8:9").contains("gopher"));
    }
}
