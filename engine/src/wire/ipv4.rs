//! IPv4 (RFC 791).

use std::fmt;

/// An IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// GRE.
    pub const GRE: Protocol = Protocol(47);
    /// ESP.
    pub const ESP: Protocol = Protocol(50);
    /// AH.
    pub const AH: Protocol = Protocol(51);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Protocol::ICMP => f.write_str("icmp"),
            Protocol::TCP => f.write_str("tcp"),
            Protocol::UDP => f.write_str("udp"),
            Protocol::GRE => f.write_str("gre"),
            Protocol::ESP => f.write_str("esp"),
            Protocol::AH => f.write_str("ah"),
            Protocol::SCTP => f.write_str("sctp"),
            Protocol(number) => write!(f, "{number}"),
        }
    }
}
