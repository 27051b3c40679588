//! TCP headers (RFC 9293 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |          source port          |       destination port        |  0
//! +-------------------------------+-------------------------------+
//! |                        sequence number                        |  4
//! +---------------------------------------------------------------+
//! |                    acknowledgment number                      |  8
//! +-------+-------+---------------+-------------------------------+
//! | words | rsrvd |     flags     |            window             | 12
//! +-------+-------+---------------+-------------------------------+
//! |           checksum            |        urgent pointer         | 16
//! +-------------------------------+-------------------------------+
//! |                   options (MSS: 2, 4, value)                  | 20
//! +---------------------------------------------------------------+
//! ```

use std::fmt;
use std::ops::BitOr;

use super::{ParseError, be16, be32};

/// Octets of the header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Offset of the source port.
pub const FIELD_SOURCE_PORT: usize = 0;
/// Offset of the destination port.
pub const FIELD_DESTINATION_PORT: usize = 2;
/// Offset of the sequence number.
pub const FIELD_SEQUENCE: usize = 4;
/// Offset of the acknowledgment number.
pub const FIELD_ACKNOWLEDGMENT: usize = 8;
/// Offset of the octet whose upper half is the header length in 32-bit words.
pub const FIELD_DATA_OFFSET: usize = 12;
/// Offset of the flags.
pub const FIELD_FLAGS: usize = 13;
/// Offset of the window.
pub const FIELD_WINDOW: usize = 14;
/// Offset of the checksum.
pub const FIELD_CHECKSUM: usize = 16;

/// Option kind: end of the list.
const OPTION_END: u8 = 0;
/// Option kind: padding.
const OPTION_NOP: u8 = 1;
/// Option kind: maximum segment size.
const OPTION_MSS: u8 = 2;

/// The flags octet of a TCP header.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No flag.
    pub const NONE: TcpFlags = TcpFlags(0);
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgment field counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer counts.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: TcpFlags = TcpFlags(0x80);

    /// All of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// At least one of `flags` is set.
    #[inline]
    pub const fn intersects(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 != 0
    }

    /// No flag is set.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These flags without `flags`.
    #[inline]
    pub const fn without(self, flags: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 & !flags.0)
    }

    /// What no stack sends and scanners do: none of the six classic flags (ECE and CWR only accompany
    /// others), SYN with FIN, SYN with RST.
    #[inline]
    pub const fn is_nonsense(self) -> bool {
        self.0 & 0x3f == 0 || (self.contains(Self::SYN) && self.intersects(TcpFlags(0x05)))
    }
}

impl BitOr for TcpFlags {
    type Output = TcpFlags;
    #[inline]
    fn bitor(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// `SYN|ACK`, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpFlags({self})")
    }
}

/// A TCP header in place.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; MIN_HEADER_LEN],
    /// Header, options and payload; at least `header_len` octets.
    segment: &'a [u8],
}

impl<'a> View<'a> {
    /// Looks at a segment that holds its whole header.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] under 20 octets; [`ParseError::HeaderLength`] when the data offset is
    /// under 5 words or past the segment.
    #[inline]
    pub fn new_checked(segment: &'a [u8]) -> Result<View<'a>, ParseError> {
        let header: &[u8; MIN_HEADER_LEN] = segment.first_chunk().ok_or(ParseError::Truncated)?;
        let view = View { header, segment };
        if view.header_len() < MIN_HEADER_LEN || view.header_len() > segment.len() {
            return Err(ParseError::HeaderLength);
        }
        Ok(view)
    }

    /// Source port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        be16!(self.header, FIELD_SOURCE_PORT)
    }

    /// Destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        be16!(self.header, FIELD_DESTINATION_PORT)
    }

    /// Sequence number.
    #[inline]
    pub fn sequence(&self) -> u32 {
        be32!(self.header, FIELD_SEQUENCE)
    }

    /// Acknowledgment number; without meaning unless ACK is set.
    #[inline]
    pub fn acknowledgment(&self) -> u32 {
        be32!(self.header, FIELD_ACKNOWLEDGMENT)
    }

    /// Octets of the header with its options.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.header[FIELD_DATA_OFFSET] >> 4) * 4
    }

    /// Flags.
    #[inline]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.header[FIELD_FLAGS])
    }

    /// Window, unscaled.
    #[inline]
    pub fn window(&self) -> u16 {
        be16!(self.header, FIELD_WINDOW)
    }

    /// Checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        be16!(self.header, FIELD_CHECKSUM)
    }

    /// The options with their padding.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        &self.segment[MIN_HEADER_LEN..self.header_len()]
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.segment[self.header_len()..]
    }
}

/// Where the value of the MSS option lies in `options`, and the value in octets. `None` when there is no
/// such option, or the options are malformed before it (they are left to the receiver to judge).
pub fn find_mss(options: &[u8]) -> Option<(usize, u16)> {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        match kind {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            _ => {
                let len = usize::from(*options.get(at + 1)?);
                if len < 2 {
                    return None;
                }
                if kind == OPTION_MSS && len == 4 {
                    let value = options.get(at + 2..at + 4)?;
                    return Some((at + 2, be16!(value, 0)));
                }
                at += len;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const SYN: [u8; 29] = [
        0x9c, 0x40,             // source port 40000
        0x00, 0x50,             // destination port 80
        0x01, 0x02, 0x03, 0x04, // sequence
        0x00, 0x00, 0x00, 0x00, // acknowledgment
        0x70, 0x02,             // 7 words; SYN
        0xfa, 0xf0,             // window 64240
        0xab, 0xcd,             // checksum
        0x00, 0x00,             // urgent pointer
        1, 1,                   // padding
        2, 4, 0x05, 0xb4,       // MSS 1460
        0, 0,                   // end
        0x78,                   // payload
    ];

    #[test]
    fn view_reads_every_field() {
        let tcp = View::new_checked(&SYN).unwrap();
        assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 80));
        assert_eq!((tcp.sequence(), tcp.acknowledgment()), (0x0102_0304, 0));
        assert_eq!((tcp.header_len(), tcp.flags(), tcp.window()), (28, TcpFlags::SYN, 64_240));
        assert_eq!(tcp.checksum(), 0xabcd);
        assert_eq!(tcp.payload(), b"x");
        assert_eq!(find_mss(tcp.options()), Some((4, 1460)));
    }

    #[test]
    fn view_refuses_lengths_out_of_bounds() {
        assert_eq!(View::new_checked(&SYN[..19]).unwrap_err(), ParseError::Truncated);
        assert_eq!(View::new_checked(&SYN[..27]).unwrap_err(), ParseError::HeaderLength);
        let mut four_words = SYN;
        four_words[12] = 0x40;
        assert_eq!(View::new_checked(&four_words).unwrap_err(), ParseError::HeaderLength);
    }

    #[test]
    fn mss_walk_survives_malformed_options() {
        assert_eq!(find_mss(&[]), None);
        assert_eq!(find_mss(&[2]), None);
        assert_eq!(find_mss(&[2, 4, 5]), None);
        assert_eq!(find_mss(&[3, 0, 2, 4, 5, 0xb4]), None, "length 0 must not loop");
        assert_eq!(find_mss(&[2, 3, 5, 0xb4]), None);
        assert_eq!(find_mss(&[0, 2, 4, 5, 0xb4]), None, "behind the end of the list");
        assert_eq!(find_mss(&[8, 200, 2, 4]), None);
        assert_eq!(find_mss(&[3, 3, 7, 2, 4, 5, 0xb4]), Some((5, 1460)));
    }

    #[test]
    fn flags() {
        let syn_ack = TcpFlags::SYN | TcpFlags::ACK;
        assert_eq!(syn_ack.to_string(), "SYN|ACK");
        assert_eq!(TcpFlags::NONE.to_string(), "none");
        assert!(syn_ack.contains(TcpFlags::SYN) && !TcpFlags::SYN.contains(syn_ack));
        assert_eq!(syn_ack.without(TcpFlags::ACK), TcpFlags::SYN);
    }

    #[test]
    fn nonsense_flags() {
        let nonsense = [
            TcpFlags::NONE,
            TcpFlags::ECE,
            TcpFlags::CWR | TcpFlags::ECE,
            TcpFlags::SYN | TcpFlags::FIN,
            TcpFlags::SYN | TcpFlags::RST,
            TcpFlags(0xff),
        ];
        for flags in nonsense {
            assert!(flags.is_nonsense(), "{flags}");
        }
        let sane = [
            TcpFlags::SYN,
            TcpFlags::SYN | TcpFlags::ACK,
            TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR,
            TcpFlags::ACK,
            TcpFlags::RST,
            TcpFlags::RST | TcpFlags::ACK,
            TcpFlags::FIN | TcpFlags::ACK | TcpFlags::PSH | TcpFlags::URG,
            TcpFlags::FIN,
        ];
        for flags in sane {
            assert!(!flags.is_nonsense(), "{flags}");
        }
    }
}
