//! The few DNS messages that a dynamic update needs (RFC 1035, RFC 2136), octet by octet.

use super::dns_name::DnsName;
use super::entry::Family;
use std::net::IpAddr;
use thiserror::Error;

pub(super) const TYPE_A: u16 = 1;
pub(super) const TYPE_SOA: u16 = 6;
pub(super) const TYPE_AAAA: u16 = 28;
pub(super) const TYPE_TSIG: u16 = 250;
const CLASS_IN: u16 = 1;
pub(super) const CLASS_ANY: u16 = 255;
const HEADER: usize = 12;
const OPCODE_UPDATE: u16 = 5;
/// More records than this are not read.
const MAX_RECORDS: usize = 256;

/// Why octets are no reply to the message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum DnsMessageError {
    /// Cut, or not of the form of RFC 1035 §4.
    #[error("a malformed DNS message")]
    Malformed,
    /// Another ID, opcode or question, or no response.
    #[error("no reply to the message that was sent")]
    OtherMessage,
    /// The TC bit: the rest is to be had over TCP.
    #[error("a truncated DNS message")]
    Truncated,
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(512);
    for word in [id, flags, counts[0], counts[1], counts[2], counts[3]] {
        octets.extend_from_slice(&word.to_be_bytes());
    }
    octets
}

fn question(octets: &mut Vec<u8>, name: &DnsName, kind: u16) {
    octets.extend_from_slice(name.wire());
    octets.extend_from_slice(&kind.to_be_bytes());
    octets.extend_from_slice(&CLASS_IN.to_be_bytes());
}

/// A query to an authoritative server: no recursion wanted unless `recursion`.
pub(super) fn query(id: u16, name: &DnsName, kind: u16, recursion: bool) -> Vec<u8> {
    let mut octets = header(id, u16::from(recursion) << 8, [1, 0, 0, 0]);
    question(&mut octets, name, kind);
    octets
}

/// The type of record that holds addresses of a family.
pub(super) fn address_type(family: Family) -> u16 {
    match family {
        Family::V4 => TYPE_A,
        Family::V6 => TYPE_AAAA,
    }
}

/// An update that makes `address` the only one of its family of every name: the old RRset is deleted (RFC 2136 §2.5.2)
/// and the new record added (§2.5.1). `ttl` in seconds.
pub(super) fn update(id: u16, zone: &DnsName, names: &[&DnsName], address: IpAddr, ttl: u32) -> Vec<u8> {
    let mut octets = header(id, OPCODE_UPDATE << 11, [1, 0, 2 * names.len() as u16, 0]);
    question(&mut octets, zone, TYPE_SOA);
    let kind = address_type(Family::of(address));
    let rdata = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    for name in names {
        record(&mut octets, name, kind, CLASS_ANY, 0, &[]);
        record(&mut octets, name, kind, CLASS_IN, ttl, &rdata);
    }
    octets
}

/// Appends a record.
pub(super) fn record(octets: &mut Vec<u8>, name: &DnsName, kind: u16, class: u16, ttl: u32, rdata: &[u8]) {
    octets.extend_from_slice(name.wire());
    octets.extend_from_slice(&kind.to_be_bytes());
    octets.extend_from_slice(&class.to_be_bytes());
    octets.extend_from_slice(&ttl.to_be_bytes());
    octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    octets.extend_from_slice(rdata);
}

/// A TSIG record (RFC 8945 §4.2), which stands last in its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TsigRecord<'a> {
    /// Where it begins in the message.
    pub(super) start: usize,
    pub(super) key: DnsName,
    pub(super) algorithm: DnsName,
    /// Seconds since 1970.
    pub(super) time: u64,
    /// Seconds.
    pub(super) fudge: u16,
    pub(super) mac: &'a [u8],
    pub(super) original_id: u16,
    pub(super) error: u16,
    pub(super) other: &'a [u8],
}

/// What is used of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    pub(super) octets: &'a [u8],
    pub(super) authoritative: bool,
    pub(super) rcode: u16,
    /// Addresses of the queried name, of the queried type.
    pub(super) addresses: Vec<IpAddr>,
    /// The owner of the first SOA record.
    pub(super) zone: Option<DnsName>,
    pub(super) tsig: Option<TsigRecord<'a>>,
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

/// Reads the reply to `sent`, which this side has built.
///
/// # Errors
///
/// See [`DnsMessageError`].
pub(super) fn reply<'a>(octets: &'a [u8], sent: &[u8]) -> Result<Reply<'a>, DnsMessageError> {
    const RESPONSE: u16 = 0x8000;
    const OPCODE: u16 = 0x7800;
    const TRUNCATED: u16 = 0x0200;
    let word = |i: usize| be16(octets, 2 * i).ok_or(DnsMessageError::Malformed);
    let flags = word(1)?;
    let sent_flags = be16(sent, 2).unwrap_or(0);
    if word(0)? != be16(sent, 0).unwrap_or(0) || flags & (RESPONSE | OPCODE) != RESPONSE | sent_flags & OPCODE
    {
        return Err(DnsMessageError::OtherMessage);
    }
    let counts = [word(2)?, word(3)?, word(4)?, word(5)?].map(usize::from);
    let asked = DnsName::read(sent, HEADER).map(|(name, at)| (name, be16(sent, at)));
    let (name, kind) = asked.ok_or(DnsMessageError::Malformed)?;
    let mut at = HEADER;
    match counts[0] {
        // An error may come without the question (RFC 2136 §3.8).
        0 => {}
        1 => {
            let (other, end) = DnsName::read(octets, at).ok_or(DnsMessageError::Malformed)?;
            if other != name || be16(octets, end) != kind || be16(octets, end + 2) != Some(CLASS_IN) {
                return Err(DnsMessageError::OtherMessage);
            }
            at = end + 4;
        }
        _ => return Err(DnsMessageError::Malformed),
    }
    if flags & TRUNCATED != 0 {
        return Err(DnsMessageError::Truncated);
    }
    let mut reply = Reply {
        octets,
        authoritative: flags & 0x0400 != 0,
        rcode: flags & 15,
        addresses: Vec::new(),
        zone: None,
        tsig: None,
    };
    let records = counts[1] + counts[2] + counts[3];
    if records > MAX_RECORDS {
        return Err(DnsMessageError::Malformed);
    }
    for i in 0..records {
        let last = i + 1 == records;
        at = read_record(&mut reply, at, (&name, kind), i < counts[1], last && counts[3] > 0)
            .ok_or(DnsMessageError::Malformed)?;
    }
    if at == octets.len() { Ok(reply) } else { Err(DnsMessageError::Malformed) }
}

/// Reads the record at `start`; gives the offset behind it.
fn read_record(
    reply: &mut Reply<'_>,
    start: usize,
    (name, kind): (&DnsName, Option<u16>),
    answer: bool,
    may_be_tsig: bool,
) -> Option<usize> {
    let octets = reply.octets;
    let (owner, at) = DnsName::read(octets, start)?;
    let (of_kind, class) = (be16(octets, at)?, be16(octets, at + 2)?);
    let data = at + 10;
    let end = data + usize::from(be16(octets, at + 8)?);
    let rdata = octets.get(data..end)?;
    match of_kind {
        TYPE_TSIG if may_be_tsig && class == CLASS_ANY => {
            reply.tsig = Some(read_tsig(octets, start, owner, data, end)?);
        }
        TYPE_TSIG => return None,
        TYPE_SOA if reply.zone.is_none() => reply.zone = Some(owner),
        _ if answer && Some(of_kind) == kind && owner == *name && class == CLASS_IN => match of_kind {
            TYPE_A => reply.addresses.push(IpAddr::from(<[u8; 4]>::try_from(rdata).ok()?)),
            TYPE_AAAA => reply.addresses.push(IpAddr::from(<[u8; 16]>::try_from(rdata).ok()?)),
            _ => {}
        },
        _ => {}
    }
    Some(end)
}

fn read_tsig(octets: &[u8], start: usize, key: DnsName, data: usize, end: usize) -> Option<TsigRecord<'_>> {
    let (algorithm, at) = DnsName::read(octets, data)?;
    let time = octets.get(at..at + 6)?.iter().fold(0, |time, &o| time << 8 | u64::from(o));
    let fudge = be16(octets, at + 6)?;
    let mac_end = at + 10 + usize::from(be16(octets, at + 8)?);
    let mac = octets.get(at + 10..mac_end)?;
    let (original_id, error) = (be16(octets, mac_end)?, be16(octets, mac_end + 2)?);
    let other_end = mac_end + 6 + usize::from(be16(octets, mac_end + 4)?);
    let other = octets.get(mac_end + 6..other_end)?;
    (other_end == end).then_some(TsigRecord {
        start,
        key,
        algorithm,
        time,
        fudge,
        mac,
        original_id,
        error,
        other,
    })
}
