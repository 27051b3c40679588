//! Frames as text: `lab::text`, and what a golden case needs besides.
//!
//! Input lines may end in changes, done in this order whatever the order of writing:
//! * `frag=FROM:TO`: only this part of the IP payload, as a fragment; `TO` at the end makes it the last one;
//! * `patch=AT:HEX`: octets from `AT` on (the Ethernet header counts) replaced;
//! * `cut=LENGTH`: the frame ends there;
//! * `vlan=TCI`: a tag in the frame.
//!
//! `offload=...` stands behind all of it, in both directions: `partial`, `tcp:SIZE`, `udp:SIZE`, `ecn`, `vlan:TCI`
//! with commas between them. What is no frame at all is `raw HEX`.

use std::net::Ipv4Addr;

use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{GsoKind, Offload, PortId};
use genkan_tests::lab::{Body, Frame, Packet, Payload, text};

use super::clauses::number;

/// A frame as the device hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

/// Reads the frame of an `in` line.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn parse(
    line: &str,
    port: PortId,
    default_macs: impl Fn(Option<Ipv4Addr>) -> (MacAddr, MacAddr),
) -> Result<Handed, String> {
    let mut rest = line.trim();
    let mut changes = Vec::new();
    while let Some((before, last)) = rest.rsplit_once(' ') {
        match last.split_once('=') {
            Some((name @ ("frag" | "patch" | "cut" | "vlan" | "offload"), value)) => {
                changes.push((name, value));
                rest = before.trim_end();
            }
            _ => break,
        }
    }
    let values = |wanted: &'static str| {
        changes.iter().rev().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value)
    };
    let mut bytes = match rest.strip_prefix("raw ") {
        Some(digits) => text::unhex(digits)?,
        None => {
            let mut frame = text::parse_frame(rest, port, default_macs)?;
            for range in values("frag") {
                let Body::Ipv4(packet) = frame.body else { return Err("only IPv4 has fragments".into()) };
                frame.body = Body::Ipv4(fragment(&packet, range)?);
            }
            frame.to_bytes()
        }
    };
    for change in values("patch") {
        let (at, digits) = change.split_once(':').ok_or("patch=AT:HEX")?;
        let (at, new): (usize, _) = (number(at)?, text::unhex(digits)?);
        bytes.get_mut(at..at + new.len()).ok_or("the patch lies behind the frame")?.copy_from_slice(&new);
    }
    for length in values("cut") {
        bytes.truncate(number(length)?);
    }
    for tci in values("vlan") {
        let [high, low] = number::<u16>(tci)?.to_be_bytes();
        bytes.splice(12..12, [0x81, 0x00, high, low]);
    }
    let mut offload = Offload::default();
    for facts in values("offload") {
        facts.split(',').try_for_each(|fact| set_offload(&mut offload, fact))?;
    }
    Ok(Handed { bytes, offload })
}

/// The line for a frame that left.
pub(crate) fn print(handed: &Handed, port: PortId) -> String {
    let mut line = match Frame::parse(&handed.bytes) {
        Some(frame) => text::frame(&frame, port),
        None => format!("raw {}", text::hex(&handed.bytes)),
    };
    let facts = offload_facts(&handed.offload);
    if !facts.is_empty() {
        line.push_str(&format!(" offload={}", facts.join(",")));
    }
    line
}

fn fragment(packet: &Packet, range: &str) -> Result<Packet, String> {
    let (from, to) = range.split_once(':').ok_or("frag=FROM:TO")?;
    let (from, to): (usize, usize) = (number(from)?, number(to)?);
    let whole = packet.to_ip();
    let body = &whole[20 + packet.options.len()..];
    let part = body.get(from..to).ok_or_else(|| format!("the IP payload has {} octets", body.len()))?;
    Ok(Packet {
        more_fragments: to < body.len(),
        fragment_offset: u16::try_from(from).map_err(|_| "no such offset")?,
        payload: Payload::Raw { protocol: packet.protocol(), data: part.to_vec() },
        ..packet.clone()
    })
}

fn set_offload(offload: &mut Offload, fact: &str) -> Result<(), String> {
    match fact.split_once(':').unwrap_or((fact, "")) {
        ("partial", "") => offload.partial_checksum = true,
        ("ecn", "") => offload.gso_ecn = true,
        ("tcp", size) => (offload.gso, offload.gso_size) = (GsoKind::TcpV4, number(size)?),
        ("udp", size) => (offload.gso, offload.gso_size) = (GsoKind::UdpL4, number(size)?),
        ("vlan", tci) => offload.vlan_tci = Some(number(tci)?),
        _ => return Err(format!("{fact:?} is none of partial, ecn, tcp:SIZE, udp:SIZE, vlan:TCI")),
    }
    Ok(())
}

fn offload_facts(offload: &Offload) -> Vec<String> {
    let Offload { partial_checksum, gso, gso_size, gso_ecn, vlan_tci } = *offload;
    let gso = match gso {
        GsoKind::None => None,
        GsoKind::TcpV4 => Some(format!("tcp:{gso_size}")),
        GsoKind::TcpV6 => Some(format!("tcp6:{gso_size}")),
        GsoKind::UdpL4 => Some(format!("udp:{gso_size}")),
    };
    let partial = partial_checksum.then(|| "partial".to_owned());
    let ecn = gso_ecn.then(|| "ecn".to_owned());
    let vlan = vlan_tci.map(|tci| format!("vlan:{tci}"));
    [partial, gso, ecn, vlan].into_iter().flatten().collect()
}
