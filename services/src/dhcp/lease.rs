//! Who holds an address, and for how long (RFC 2131 §4.2).

use std::fmt;
use std::net::Ipv4Addr;

use genkan_engine::wire::ethernet::MacAddr;
use serde::{Deserialize, Serialize};

/// htype of Ethernet (RFC 1700).
pub const HTYPE_ETHERNET: u8 = 1;

/// A client's link-layer address: htype, and the first hlen octets of chaddr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HardwareAddress {
    /// Kind of link; 1 is Ethernet.
    pub htype: u8,
    /// Octets that count, at most 16.
    len: u8,
    octets: [u8; 16],
}

impl HardwareAddress {
    /// `None` when `octets` are more than 16.
    pub fn new(htype: u8, octets: &[u8]) -> Option<HardwareAddress> {
        let mut padded = [0; 16];
        padded.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(HardwareAddress { htype, len: octets.len() as u8, octets: padded })
    }

    /// The octets that count.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.len).min(16)]
    }

    /// The chaddr field, padded with zeros.
    pub fn chaddr(&self) -> [u8; 16] {
        self.octets
    }

    /// The MAC address, if this is Ethernet.
    pub fn mac(&self) -> Option<MacAddr> {
        if self.htype != HTYPE_ETHERNET {
            return None;
        }
        Some(MacAddr(self.octets().try_into().ok()?))
    }
}

impl From<MacAddr> for HardwareAddress {
    fn from(mac: MacAddr) -> HardwareAddress {
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&mac.0);
        HardwareAddress { htype: HTYPE_ETHERNET, len: 6, octets }
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.octets().iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02x}")?;
        }
        Ok(())
    }
}

/// What tells clients apart (RFC 2131 §4.2): the client identifier if there is one, else the link-layer address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientKey {
    /// Option 61, 2 to 255 octets.
    Identifier(Box<[u8]>),
    /// htype and chaddr.
    Hardware(HardwareAddress),
}

/// A binding as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The client's address.
    pub address: Ipv4Addr,
    /// Whose it is.
    pub client: ClientKey,
    /// The client's link-layer address.
    pub hardware: HardwareAddress,
    /// The name that the client has told, one label. That of a reservation is not kept.
    pub name: Option<String>,
    /// Unix time in seconds at which the client asked.
    pub granted: i64,
    /// Lease time in seconds; 0 when the lease has ended and only the memory of it is kept.
    pub seconds: u32,
}

impl Lease {
    /// Seconds left at the unix time `wall`. A clock that was set back never makes it longer than it was.
    pub fn remaining(&self, wall: i64) -> u32 {
        let elapsed = wall.saturating_sub(self.granted).max(0);
        let left = i64::from(self.seconds).saturating_sub(elapsed).max(0);
        left as u32
    }
}
