//! Queries of the lans and the replies to them (RFC 1035 section 4, RFC 6891).
//!
//! A query is read strictly: what is not exactly one question gets an error or nothing. A reply is a [`Body`], kept in
//! the wire's own form, of which identifier, flags, the case of the question and the TTLs are patched; nothing is decoded
//! or encoded on the way out of the cache.

use std::sync::Arc;

use super::name;

/// Octets of the header.
pub(crate) const HEADER: usize = 12;
/// The largest UDP payload in octets that is sent or asked for: fits an Ethernet and most tunnels unfragmented.
pub(crate) const MAX_UDP: u16 = 1232;
/// The smallest that every client takes (RFC 1035 section 4.2.1, RFC 6891 section 6.2.3).
const MIN_UDP: u16 = 512;
/// A query has an OPT and perhaps a signature; more is no query of a stub resolver.
const MAX_ADDITIONAL: u16 = 4;

pub(crate) const RCODE_NO_ERROR: u8 = 0;
pub(crate) const RCODE_FORMAT_ERROR: u8 = 1;
pub(crate) const RCODE_SERVER_FAILURE: u8 = 2;
pub(crate) const RCODE_NAME_ERROR: u8 = 3;
pub(crate) const RCODE_NOT_IMPLEMENTED: u8 = 4;
pub(crate) const RCODE_REFUSED: u8 = 5;

/// Whether an answer with this code is about the name that was asked for, not about the upstream.
pub(crate) fn is_about_the_name(rcode: u16) -> bool {
    [RCODE_NO_ERROR, RCODE_NAME_ERROR, RCODE_SERVER_FAILURE].map(u16::from).contains(&rcode)
}
/// The high octet of BADVERS, 16.
const EXTENDED_BAD_VERSION: u8 = 1;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_SOA: u16 = 6;
pub(crate) const TYPE_PTR: u16 = 12;
pub(crate) const TYPE_AAAA: u16 = 28;
pub(crate) const TYPE_OPT: u16 = 41;
pub(crate) const TYPE_SVCB: u16 = 64;
pub(crate) const TYPE_HTTPS: u16 = 65;
pub(crate) const TYPE_ANY: u16 = 255;
pub(crate) const CLASS_IN: u16 = 1;

/// Flags of the header's third and fourth octet.
pub(crate) const QR: u8 = 0x80;
pub(crate) const AA: u8 = 0x04;
pub(crate) const TC: u8 = 0x02;
pub(crate) const RD: u8 = 0x01;
pub(crate) const RA: u8 = 0x80;
pub(crate) const AD: u8 = 0x20;
pub(crate) const CD: u8 = 0x10;

/// What decides that two queries may have one answer: the question in lower case, the DO and the CD bit.
pub(crate) type Key = Arc<[u8]>;

/// How a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientTransport {
    /// A datagram: the reply is cut to what the client takes.
    Udp,
    /// A connection: octets are messages without the two octets of length.
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The UDP payload in octets that the client takes.
    size: u16,
    pub(crate) dnssec_ok: bool,
}

/// A question that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) id: u16,
    pub(crate) recursion_desired: bool,
    authentic_data: bool,
    pub(crate) checking_disabled: bool,
    /// Name as the client wrote it, type, class.
    pub(crate) question: Box<[u8]>,
    pub(crate) edns: Option<Edns>,
}

/// Why there is nothing to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing goes back: too short for a header, or itself an answer.
    Ignore,
    /// This goes back.
    Reply(Vec<u8>),
}

/// An answer without OPT: header, question of one form or another of case, records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) octets: Box<[u8]>,
    /// Where the TTLs are.
    pub(crate) ttls: Box<[u16]>,
}

pub(crate) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

pub(crate) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..at + 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

/// Where the record that begins at `at` has its type: behind its owner's name, compressed or not.
pub(crate) fn skip_owner(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            label @ 1..=63 => at += 1 + usize::from(label),
            192.. => return (at + 2 <= octets.len()).then_some(at + 2),
            _ => return None,
        }
    }
}

/// The header and, if there is one, the question of a reply without records.
fn bare_reply(octets: &[u8], question: &[u8], rcode: u8) -> Vec<u8> {
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(&octets[..2]);
    reply[2] = QR | octets[2] & 0x79;
    reply[3] = RA | octets[3] & CD | rcode;
    reply[5] = u8::from(!question.is_empty());
    reply.extend_from_slice(question);
    reply
}

impl Query {
    /// Reads what a client sent.
    ///
    /// # Errors
    /// What to send back instead of an answer: NOTIMP for another opcode, FORMERR for what is not one well-formed question,
    /// REFUSED for zone transfers and other classes than IN, BADVERS for another EDNS.
    pub(crate) fn parse(octets: &[u8]) -> Result<Query, Refusal> {
        if octets.len() < HEADER || octets[2] & QR != 0 {
            return Err(Refusal::Ignore);
        }
        let refuse = |rcode| Err(Refusal::Reply(bare_reply(octets, &[], rcode)));
        if octets[2] & 0x78 != 0 {
            return refuse(RCODE_NOT_IMPLEMENTED);
        }
        let count = |at| u16_at(octets, at).unwrap_or(0);
        let Some(name_length) = name::length(&octets[HEADER..]) else { return refuse(RCODE_FORMAT_ERROR) };
        let end = HEADER + name_length + 4;
        let counts = [count(4), count(6), count(8)];
        if counts != [1, 0, 0] || count(10) > MAX_ADDITIONAL || end > octets.len() {
            return refuse(RCODE_FORMAT_ERROR);
        }
        let question = &octets[HEADER..end];
        match (count(end - 4), count(end - 2)) {
            // No type of a question: reserved, OPT, and what signs messages.
            (0 | TYPE_OPT | 249 | 250, _) => return refuse(RCODE_FORMAT_ERROR),
            // IXFR, AXFR, MAILB, MAILA
            (251..=254, _) => return Err(Refusal::Reply(bare_reply(octets, question, RCODE_REFUSED))),
            (_, CLASS_IN) => {}
            _ => return Err(Refusal::Reply(bare_reply(octets, question, RCODE_REFUSED))),
        }
        let Some(opt) = additional(octets, end, count(10)) else { return refuse(RCODE_FORMAT_ERROR) };
        let query = Query {
            id: count(0),
            recursion_desired: octets[2] & RD != 0,
            authentic_data: octets[3] & AD != 0,
            checking_disabled: octets[3] & CD != 0,
            question: question.into(),
            edns: opt.map(|opt| Edns { size: opt.size, dnssec_ok: opt.dnssec_ok }),
        };
        if opt.is_some_and(|opt| opt.version != 0) {
            let mut reply = bare_reply(octets, question, RCODE_NO_ERROR);
            query.append_opt(&mut reply, EXTENDED_BAD_VERSION);
            return Err(Refusal::Reply(reply));
        }
        Ok(query)
    }

    /// The name in the case in which it was asked.
    pub(crate) fn name(&self) -> &[u8] {
        &self.question[..self.question.len() - 4]
    }

    pub(crate) fn kind(&self) -> u16 {
        u16_at(&self.question, self.question.len() - 4).unwrap_or(0)
    }

    pub(crate) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    pub(crate) fn key(&self) -> Key {
        let mut key = Vec::with_capacity(self.question.len() + 1);
        key.extend_from_slice(&self.question);
        key[..self.question.len() - 4].make_ascii_lowercase();
        key.push(u8::from(self.dnssec_ok()) | u8::from(self.checking_disabled) << 1);
        key.into()
    }

    /// The reply with `body`, whose question is this one up to case; every TTL goes through `ttl`. Over UDP what does not
    /// fit is left out whole, with TC set (RFC 2181 section 9).
    pub(crate) fn reply(&self, body: &Body, transport: ClientTransport, ttl: impl Fn(u32) -> u32) -> Vec<u8> {
        let limit = match (transport, self.edns) {
            (ClientTransport::Tcp, _) => usize::from(u16::MAX),
            (ClientTransport::Udp, Some(edns)) => usize::from(edns.size.clamp(MIN_UDP, MAX_UDP)),
            (ClientTransport::Udp, None) => usize::from(MIN_UDP),
        };
        let question_end = HEADER + self.question.len();
        let fits = body.octets.len() + self.edns.map_or(0, |_| OPT_LENGTH) <= limit;
        let kept = if fits { body.octets.len() } else { question_end };
        let mut reply = Vec::with_capacity(kept + OPT_LENGTH);
        reply.extend_from_slice(&body.octets[..kept]);
        reply[..2].copy_from_slice(&self.id.to_be_bytes());
        reply[2] = QR | reply[2] & AA | u8::from(self.recursion_desired);
        let authentic = self.authentic_data || self.dnssec_ok();
        let passed = if authentic { AD | 0x0f } else { 0x0f };
        reply[3] = RA | reply[3] & passed | if self.checking_disabled { CD } else { 0 };
        reply[HEADER..question_end].copy_from_slice(&self.question);
        if fits {
            for at in body.ttls.iter().map(|&at| usize::from(at)) {
                let old = u32_at(&reply, at).unwrap_or(0);
                reply[at..at + 4].copy_from_slice(&ttl(old).to_be_bytes());
            }
        } else {
            reply[2] |= TC;
            reply[6..HEADER].fill(0);
        }
        self.append_opt(&mut reply, 0);
        reply
    }

    /// A reply without records.
    pub(crate) fn error(&self, rcode: u8) -> Vec<u8> {
        let mut reply = vec![0; HEADER];
        reply[..2].copy_from_slice(&self.id.to_be_bytes());
        reply[2] = QR | u8::from(self.recursion_desired);
        reply[3] = RA | rcode | if self.checking_disabled { CD } else { 0 };
        reply[5] = 1;
        reply.extend_from_slice(&self.question);
        self.append_opt(&mut reply, 0);
        reply
    }

    /// Our OPT, for who sent one (RFC 6891 section 6.1.1).
    fn append_opt(&self, reply: &mut Vec<u8>, extended_rcode: u8) {
        let Some(edns) = self.edns else { return };
        let additional = u16_at(reply, 10).unwrap_or(0).saturating_add(1);
        reply[10..12].copy_from_slice(&additional.to_be_bytes());
        reply.extend_from_slice(&opt(extended_rcode, edns.dnssec_ok, 0));
    }
}

const OPT_LENGTH: usize = 11;

/// An OPT record with `data` octets of options to follow.
pub(crate) fn opt(extended_rcode: u8, dnssec_ok: bool, data: u16) -> [u8; OPT_LENGTH] {
    let [size, length] = [MAX_UDP.to_be_bytes(), data.to_be_bytes()];
    let flags = if dnssec_ok { 0x80 } else { 0 };
    [0, 0, TYPE_OPT as u8, size[0], size[1], extended_rcode, 0, flags, 0, length[0], length[1]]
}

#[derive(Clone, Copy)]
struct Opt {
    size: u16,
    version: u8,
    dnssec_ok: bool,
}

/// The OPT among `count` records from `at` to the end; nothing when these are not records, or two of them are OPTs.
fn additional(octets: &[u8], mut at: usize, count: u16) -> Option<Option<Opt>> {
    let mut found = None;
    for _ in 0..count {
        let fixed = skip_owner(octets, at)?;
        let length = u16_at(octets, fixed + 8)?;
        if u16_at(octets, fixed)? == TYPE_OPT {
            if found.is_some() || fixed != at + 1 {
                return None;
            }
            let size = u16_at(octets, fixed + 2)?;
            let [version, flags] = [octets[fixed + 5], octets[fixed + 6]];
            found = Some(Opt { size, version, dnssec_ok: flags & 0x80 != 0 });
        }
        at = fixed + 10 + usize::from(length);
    }
    (at == octets.len()).then_some(found)
}
