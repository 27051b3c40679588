//! ICMP for IPv4: read RFC 792 (messages), RFC 1122 §3.2.2 (errors and queries), RFC 1191 (next-hop MTU),
//! RFC 4884 (length of the quoted packet), RFC 5508 (what a NAT does with them).
//!
//! ```text
//!  0      1      2          4             6              8
//! +------+------+----------+-------------+--------------+------
//! | type | code | checksum | identifier  | sequence     | data              queries
//! | type | code | checksum | 0 | length* | next-hop MTU | quoted packet     errors (* in 32-bit words)
//! +------+------+----------+-------------+--------------+------
//! ```
//!
//! The checksum covers the message alone: there is no pseudo header.

use super::{ParseError, be16};

/// Octets of the header: type, code, checksum and the 4 octets whose meaning depends on the type.
pub const HEADER_LEN: usize = 8;
/// Offset of the type.
pub const FIELD_TYPE: usize = 0;
/// Offset of the code.
pub const FIELD_CODE: usize = 1;
/// Offset of the checksum.
pub const FIELD_CHECKSUM: usize = 2;
/// Offset of a query's identifier.
pub const FIELD_IDENTIFIER: usize = 4;
/// Offset of an error's quoted length in 32-bit words (RFC 4884 §4); 0: unknown.
pub const FIELD_QUOTED_WORDS: usize = 5;
/// Offset of the next-hop MTU of "fragmentation needed" (RFC 1191 §4), an IP MTU in octets.
pub const FIELD_MTU: usize = 6;

/// Type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const DESTINATION_UNREACHABLE: u8 = 3;
/// Type: source quench; deprecated, not to be forwarded blindly (RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Type: redirect; concerns one link only.
pub const REDIRECT: u8 = 5;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Type: timestamp request.
pub const TIMESTAMP_REQUEST: u8 = 13;
/// Type: timestamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;
/// Type: information request; deprecated by RFC 6918, still a query.
pub const INFORMATION_REQUEST: u8 = 15;
/// Type: information reply; deprecated by RFC 6918.
pub const INFORMATION_REPLY: u8 = 16;
/// Type: address mask request; deprecated by RFC 6918, still a query.
pub const ADDRESS_MASK_REQUEST: u8 = 17;
/// Type: address mask reply; deprecated by RFC 6918.
pub const ADDRESS_MASK_REPLY: u8 = 18;

/// Code of "destination unreachable": the network.
pub const CODE_NETWORK_UNREACHABLE: u8 = 0;
/// Code of "destination unreachable": the host.
pub const CODE_HOST_UNREACHABLE: u8 = 1;
/// Code of "destination unreachable": the protocol.
pub const CODE_PROTOCOL_UNREACHABLE: u8 = 2;
/// Code of "destination unreachable": the port.
pub const CODE_PORT_UNREACHABLE: u8 = 3;
/// Code of "destination unreachable": fragmentation needed and DF set.
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;
/// Code of "destination unreachable": administratively prohibited (RFC 1812 §5.2.7.1).
pub const CODE_PROHIBITED: u8 = 13;
/// Code of "time exceeded": the TTL ran out on the way.
pub const CODE_TTL_EXCEEDED: u8 = 0;
/// Code of "time exceeded": fragments did not arrive in time.
pub const CODE_REASSEMBLY_TIME_EXCEEDED: u8 = 1;

/// What a NAT sees in an ICMP type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Asks, with an identifier.
    Request,
    /// Answers, with the identifier of the request.
    Reply,
    /// An error that quotes a packet and is translated together with it (RFC 5508 §4).
    Error,
    /// Everything else, redirect and source quench included.
    Other,
}

/// Sorts a type by what a NAT does with it (RFC 5508 §1, §3 and §4).
#[inline]
pub const fn classify(icmp_type: u8) -> Class {
    match icmp_type {
        ECHO_REQUEST | TIMESTAMP_REQUEST | INFORMATION_REQUEST | ADDRESS_MASK_REQUEST => Class::Request,
        ECHO_REPLY | TIMESTAMP_REPLY | INFORMATION_REPLY | ADDRESS_MASK_REPLY => Class::Reply,
        DESTINATION_UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM => Class::Error,
        _ => Class::Other,
    }
}

/// A query that asks.
#[inline]
pub const fn is_query_request(icmp_type: u8) -> bool {
    matches!(classify(icmp_type), Class::Request)
}

/// A query's answer.
#[inline]
pub const fn is_query_reply(icmp_type: u8) -> bool {
    matches!(classify(icmp_type), Class::Reply)
}

/// An error message by RFC 1122 §3.2.2: about such no error may be sent. Wider than [`Class::Error`]:
/// redirect and source quench too.
#[inline]
pub const fn is_error(icmp_type: u8) -> bool {
    matches!(
        icmp_type,
        DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}

/// An ICMP header in place.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Looks at a message.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] under 8 octets.
    #[inline]
    pub fn new_checked(message: &'a [u8]) -> Result<View<'a>, ParseError> {
        let (header, payload) = message.split_first_chunk().ok_or(ParseError::Truncated)?;
        Ok(View { header, payload })
    }

    /// Type.
    #[inline]
    pub fn icmp_type(&self) -> u8 {
        self.header[FIELD_TYPE]
    }

    /// Code.
    #[inline]
    pub fn code(&self) -> u8 {
        self.header[FIELD_CODE]
    }

    /// Checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16!(self.header, FIELD_CHECKSUM)
    }

    /// Identifier; of queries only.
    #[inline]
    pub fn identifier(&self) -> u16 {
        be16!(self.header, FIELD_IDENTIFIER)
    }

    /// Sequence number; of queries only.
    #[inline]
    pub fn sequence(&self) -> u16 {
        be16!(self.header, FIELD_MTU)
    }

    /// Next-hop IP MTU in octets; of "fragmentation needed" only. 0 from routers older than RFC 1191.
    #[inline]
    pub fn mtu(&self) -> u16 {
        be16!(self.header, FIELD_MTU)
    }

    /// Octets of the quoted packet before RFC 4884 extensions, of errors only; 0: not told.
    #[inline]
    pub fn quoted_len(&self) -> usize {
        usize::from(self.header[FIELD_QUOTED_WORDS]) * 4
    }

    /// What follows the header: data of a query, quoted packet and extensions of an error.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn view_reads_every_field() {
        #[rustfmt::skip]
        let message = [
            8, 0,       // echo request
            0x12, 0x34, // checksum
            0xab, 0xcd, // identifier
            0x00, 0x07, // sequence
            0x78,       // data
        ];
        let icmp = View::new_checked(&message).unwrap();
        assert_eq!((icmp.icmp_type(), icmp.code(), icmp.checksum()), (ECHO_REQUEST, 0, 0x1234));
        assert_eq!((icmp.identifier(), icmp.sequence(), icmp.payload()), (0xabcd, 7, &b"x"[..]));
        assert_eq!(View::new_checked(&message[..7]).unwrap_err(), ParseError::Truncated);

        #[rustfmt::skip]
        let too_big = [
            3, 4,       // fragmentation needed
            0x00, 0x00, // checksum
            0, 32,      // unused; 32 words are quoted
            0x05, 0xa0, // next-hop MTU 1440
        ];
        let icmp = View::new_checked(&too_big).unwrap();
        assert_eq!((icmp.quoted_len(), icmp.mtu()), (128, 1440));
    }

    #[test]
    fn classes_of_types() {
        for (request, reply) in [(8, 0), (13, 14), (15, 16), (17, 18)] {
            assert!(is_query_request(request) && !is_query_reply(request) && !is_error(request));
            assert!(is_query_reply(reply) && !is_query_request(reply) && !is_error(reply));
        }
        for error in [3, 11, 12] {
            assert_eq!(classify(error), Class::Error);
            assert!(is_error(error));
        }
        for other in [SOURCE_QUENCH, REDIRECT] {
            assert_eq!(classify(other), Class::Other);
            assert!(is_error(other));
        }
        for other in [9, 10, 30, 42, 255] {
            assert_eq!(classify(other), Class::Other);
            assert!(!is_error(other));
        }
    }
}
