//! STUN messages. Read RFC 8489 §5 (header) and §14 (attributes) first, then RFC 5780 §7.
//!
//! Written here because a reflector wants a hundred lines of it: the crates for STUN bring message integrity with MD5 and
//! SHA-1, and parse attributes that are never looked at here. To the binding method comes one of ours, [`PROBE`].
//!
//! ```text
//!  0                   1                   2                   3
//! |0 0|  class and method         |  length of what follows (4n)  |
//! |                   magic cookie 0x2112A442                     |
//! |                   transaction id, 96 bits                     |
//! |  attribute type               |  length of its value          |  the value, padded to 4n octets, and so on
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

/// Octets of the header.
pub(crate) const HEADER: usize = 20;

/// Longer messages are not read: what fits the MTU of Ethernet (1,500), less IP and UDP headers.
pub(crate) const LONGEST: usize = 1_472;

const MAGIC: u32 = 0x2112_A442;

/// Binding (RFC 8489 §18.2).
pub(crate) const BINDING: u16 = 0x001;
/// Ours, unregistered: try a port at the asker's own address.
pub(crate) const PROBE: u16 = 0x0E5;

/// What an attribute is (RFC 8489 §18.3, RFC 5780 §9.1). Those below 0x8000 must be understood.
pub(crate) mod attribute {
    /// CHANGE-REQUEST: answer from another address (4) or port (2).
    pub(crate) const CHANGE_REQUEST: u16 = 0x0003;
    /// ERROR-CODE.
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    /// NONCE: here the token.
    pub(crate) const NONCE: u16 = 0x0015;
    /// XOR-MAPPED-ADDRESS: the asker as seen.
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// PADDING: makes a message longer.
    pub(crate) const PADDING: u16 = 0x0026;
    /// Ours: protocol number, zero, port.
    pub(crate) const PROBE_TARGET: u16 = 0x7E01;
    /// RESPONSE-ORIGIN: where the answer comes from.
    pub(crate) const RESPONSE_ORIGIN: u16 = 0x802B;
    /// OTHER-ADDRESS: the other address and the other port.
    pub(crate) const OTHER_ADDRESS: u16 = 0x802C;
    /// Ours: outcome, three zeroes, round trip in microseconds.
    pub(crate) const PROBE_RESULT: u16 = 0xFE01;
    /// Ours: the other port of a reflector without another address, for which RFC 5780 has no word.
    pub(crate) const OTHER_PORT: u16 = 0xFE02;
}

/// Bit of CHANGE-REQUEST: another address.
pub(crate) const CHANGE_ADDRESS: u32 = 4;
/// Bit of CHANGE-REQUEST: another port.
pub(crate) const CHANGE_PORT: u32 = 2;

/// The asker's token is old, wrong or not there; another one comes along (RFC 8489 §14.8).
pub(crate) const STALE_NONCE: u16 = 438;
/// The request cannot be understood.
pub(crate) const BAD_REQUEST: u16 = 400;

/// What kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Asks for an answer.
    Request,
    /// Asks for none.
    Indication,
    /// The answer.
    Success,
    /// The answer is no.
    Error,
}

/// Which question an answer belongs to.
pub(crate) type Transaction = [u8; 12];

/// A message whose lengths have been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Its kind.
    pub(crate) class: Class,
    /// What it is about.
    pub(crate) method: u16,
    /// Which question it belongs to.
    pub(crate) transaction: Transaction,
    attributes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message; `None` unless it is one from the first octet to the last, of at most [`LONGEST`] octets.
    pub(crate) fn parse(octets: &'a [u8]) -> Option<Message<'a>> {
        let (header, attributes) = octets.split_first_chunk::<HEADER>()?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let magic = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if kind >> 14 != 0 || magic != MAGIC || length != attributes.len() || octets.len() > LONGEST {
            return None;
        }
        let mut rest = attributes;
        while !rest.is_empty() {
            rest = split_attribute(rest)?.2;
        }
        // RFC 8489 §5, figure 3: the bits of the class lie between those of the method.
        let class = match (kind >> 7 & 2) | (kind >> 4 & 1) {
            0 => Class::Request,
            1 => Class::Indication,
            2 => Class::Success,
            _ => Class::Error,
        };
        let method = (kind & 0xF) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80);
        let transaction = header[8..].try_into().ok()?;
        Some(Message { class, method, transaction, attributes })
    }

    /// The attributes in their order: type and value.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let (kind, value, after) = split_attribute(rest)?;
            rest = after;
            Some((kind, value))
        })
    }

    /// The value of the first attribute of this type (RFC 8489 §14: later ones are ignored).
    pub(crate) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(it, _)| *it == kind).map(|(_, value)| value)
    }

    /// An attribute of four octets, as a number.
    pub(crate) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(kind)?.try_into().ok()?))
    }

    /// An endpoint of IPv4 that is written plainly (RFC 8489 §14.1).
    pub(crate) fn endpoint(&self, kind: u16) -> Option<SocketAddrV4> {
        let [_, 1, p, q, a, b, c, d] = *self.attribute(kind)? else { return None };
        Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q])))
    }

    /// The asker as the server saw it (RFC 8489 §14.2).
    pub(crate) fn mapped(&self) -> Option<SocketAddrV4> {
        self.endpoint(attribute::XOR_MAPPED_ADDRESS).map(xor)
    }

    /// The number in ERROR-CODE (RFC 8489 §14.8).
    pub(crate) fn error_code(&self) -> Option<u16> {
        match *self.attribute(attribute::ERROR_CODE)? {
            [_, _, class, number, ..] => Some(u16::from(class & 7) * 100 + u16::from(number)),
            _ => None,
        }
    }
}

/// The first attribute: its type, its value, and what follows it.
fn split_attribute(octets: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = octets.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (value, _) = rest.split_at_checked(length)?;
    let (_, after) = rest.split_at_checked(length.next_multiple_of(4))?;
    Some((u16::from_be_bytes([head[0], head[1]]), value, after))
}

/// Hides an endpoint from NATs that rewrite whatever looks like one, and uncovers it (RFC 8489 §14.2).
fn xor(endpoint: SocketAddrV4) -> SocketAddrV4 {
    let address = Ipv4Addr::from_bits(endpoint.ip().to_bits() ^ MAGIC);
    SocketAddrV4::new(address, endpoint.port() ^ (MAGIC >> 16) as u16)
}

/// A message that is being written.
#[derive(Clone, Debug)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// One without attributes.
    pub(crate) fn new(class: Class, method: u16, transaction: &Transaction) -> Writer {
        let class = match class {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
        let kind = class | (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2;
        let mut octets = Vec::with_capacity(HEADER + 64);
        octets.extend(kind.to_be_bytes());
        octets.extend([0; 2]);
        octets.extend(MAGIC.to_be_bytes());
        octets.extend(transaction);
        Writer(octets)
    }

    /// Adds an attribute. Its value has to be shorter than 64 KiB.
    #[must_use]
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Writer {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an endpoint, written plainly.
    #[must_use]
    pub(crate) fn with_endpoint(self, kind: u16, endpoint: SocketAddrV4) -> Writer {
        let [a, b, c, d] = endpoint.ip().octets();
        let [p, q] = endpoint.port().to_be_bytes();
        self.with(kind, &[0, 1, p, q, a, b, c, d])
    }

    /// Adds the asker as seen.
    #[must_use]
    pub(crate) fn with_mapped(self, endpoint: SocketAddrV4) -> Writer {
        self.with_endpoint(attribute::XOR_MAPPED_ADDRESS, xor(endpoint))
    }

    /// Adds an error, without a phrase for people: every octet of an answer has to be one of the request, too.
    #[must_use]
    pub(crate) fn with_error(self, code: u16) -> Writer {
        self.with(attribute::ERROR_CODE, &[0, 0, (code / 100) as u8, (code % 100) as u8])
    }

    /// Makes the message at least so long.
    #[must_use]
    pub(crate) fn padded(self, length: usize) -> Writer {
        let missing = length.saturating_sub(self.0.len());
        if missing == 0 { self } else { self.with(attribute::PADDING, &vec![0; missing.saturating_sub(4)]) }
    }

    /// The octets.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - HEADER) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let asker = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 40_000);
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            for method in [BINDING, PROBE, 0xFFF] {
                let octets = Writer::new(class, method, &[7; 12])
                    .with(attribute::NONCE, b"abcde")
                    .with_mapped(asker)
                    .with_error(STALE_NONCE)
                    .padded(100)
                    .finish();
                assert_eq!(octets.len(), 100);
                let message = Message::parse(&octets).expect("it was written here");
                assert_eq!((message.class, message.method, message.transaction), (class, method, [7; 12]));
                assert_eq!(message.attribute(attribute::NONCE), Some(&b"abcde"[..]));
                assert_eq!((message.mapped(), message.error_code()), (Some(asker), Some(STALE_NONCE)));
            }
        }
    }

    #[test]
    fn the_rfc_s_own_message_is_read() {
        // RFC 5769 §2.2, sample IPv4 response, without its two last attributes (integrity and fingerprint).
        let octets = [
            0x01, 0x01, 0x00, 0x1C, // success response to a binding request, 28 octets
            0x21, 0x12, 0xA4, 0x42, // magic cookie
            0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE, // transaction id
            0x80, 0x22, 0x00, 0x0B, // SOFTWARE, 11 octets
            b't', b'e', b's', b't', b' ', b'v', b'e', b'c', b't', b'o', b'r',
            b' ', // and one of padding
            0x00, 0x20, 0x00, 0x08, // XOR-MAPPED-ADDRESS, 8 octets
            0x00, 0x01, 0xA1, 0x47, // IPv4, the port
            0xE1, 0x12, 0xA6, 0x43, // the address
        ];
        let message = Message::parse(&octets).expect("the RFC is right");
        assert_eq!((message.class, message.method), (Class::Success, BINDING));
        assert_eq!(message.mapped(), Some("192.0.2.1:32853".parse().expect("it is an endpoint")));
        assert_eq!(message.attributes().count(), 2);
        for length in 0..octets.len() {
            assert!(Message::parse(&octets[..length]).is_none(), "cut to {length}");
        }
    }
}
