//! UDP headers (RFC 768).
//!
//! ```text
//!  0             2                  4        6          8
//! +-------------+------------------+--------+----------+---------
//! | source port | destination port | length | checksum | payload
//! +-------------+------------------+--------+----------+---------
//! ```
//!
//! A checksum of 0 says that there is none; a computed 0 is sent as 0xffff. The length field counts header
//! and payload; in a super-frame it counts all datagrams behind the one header.

use super::{ParseError, be16};

/// Octets of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the source port.
pub const FIELD_SOURCE_PORT: usize = 0;
/// Offset of the destination port.
pub const FIELD_DESTINATION_PORT: usize = 2;
/// Offset of the length.
pub const FIELD_LENGTH: usize = 4;
/// Offset of the checksum.
pub const FIELD_CHECKSUM: usize = 6;

/// A UDP header in place.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Looks at a datagram that holds its whole header. The length field is not judged: a fragment or a
    /// quoted packet may be shorter.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] under 8 octets.
    #[inline]
    pub fn new_checked(datagram: &'a [u8]) -> Result<View<'a>, ParseError> {
        let (header, payload) = datagram.split_first_chunk().ok_or(ParseError::Truncated)?;
        Ok(View { header, payload })
    }

    /// Source port; 0 when the sender wants no answer.
    #[inline]
    pub fn source_port(&self) -> u16 {
        be16!(self.header, FIELD_SOURCE_PORT)
    }

    /// Destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        be16!(self.header, FIELD_DESTINATION_PORT)
    }

    /// Octets of header and payload, as the field says.
    #[inline]
    pub fn length(&self) -> u16 {
        be16!(self.header, FIELD_LENGTH)
    }

    /// Checksum field; 0: none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16!(self.header, FIELD_CHECKSUM)
    }

    /// Everything behind the header.
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
        let datagram = [
            0x9c, 0x40, // source port 40000
            0x00, 0x35, // destination port 53
            0x00, 0x09, // length 9
            0x12, 0x34, // checksum
            0x78,       // payload
        ];
        let udp = View::new_checked(&datagram).unwrap();
        assert_eq!((udp.source_port(), udp.destination_port()), (40_000, 53));
        assert_eq!((udp.length(), udp.checksum(), udp.payload()), (9, 0x1234, &b"x"[..]));
        assert_eq!(View::new_checked(&datagram[..7]).unwrap_err(), ParseError::Truncated);
    }
}
