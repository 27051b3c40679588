//! What goes into the server and what comes out of it.

use std::net::Ipv4Addr;

use genkan_engine::time::{Timestamp, UnixTime};
use genkan_engine::wire::ethernet::MacAddr;

use crate::dhcp::lease::{ClientKey, HardwareAddress};
use crate::dhcp::message::MessageError;

/// Both clocks at one moment. Leases run by the monotonic one; the wall clock is only for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the start of the process.
    pub monotonic: Timestamp,
    /// May be set at any time.
    pub wall: UnixTime,
}

/// A datagram that came to port 67.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// IP source.
    pub source: Ipv4Addr,
    /// IP destination: the router's address or a broadcast address.
    pub destination: Ipv4Addr,
    /// UDP payload.
    pub payload: &'a [u8],
}

/// How a reply gets to its receiver (RFC 2131 §4.1). All leave from the server's address, port 67.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// By the ordinary way to a relay agent's port 67.
    Relay(Ipv4Addr),
    /// By the ordinary way to a client's port 68.
    Unicast(Ipv4Addr),
    /// In a frame to this MAC address, without ARP: the client does not have its address yet. Port 68.
    Hardware(MacAddr, Ipv4Addr),
    /// To 255.255.255.255 port 68 in a broadcast frame on the lan.
    Broadcast,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub delivery: Delivery,
    /// UDP payload.
    pub payload: Vec<u8>,
}

/// Records for the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// As the file has them.
    pub octets: Vec<u8>,
    /// Of the last record.
    pub sequence: u64,
}

/// An address to find out about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which.
    pub address: Ipv4Addr,
    /// Behind a relay agent: ARP does not get there, an ICMP echo request does.
    pub relayed: bool,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Nobody answered.
    Free,
    /// Somebody did, from this MAC address if it is known.
    InUse(Option<MacAddr>),
}

/// A lease in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseView<'a> {
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it.
    pub client: &'a ClientKey,
    /// The client's link-layer address.
    pub hardware: HardwareAddress,
    /// One label.
    pub name: Option<&'a str>,
    /// Whether a reservation keeps the address for this client.
    pub reserved: bool,
    /// When it ends.
    pub expires: Timestamp,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lease is on disk and acknowledged.
    Leased {
        /// The address.
        address: Ipv4Addr,
        /// The client's link-layer address.
        hardware: HardwareAddress,
        /// One label.
        name: Option<String>,
        /// When it ends.
        expires: Timestamp,
        /// The same client had it already.
        renewed: bool,
    },
    /// The client gave it back.
    Released {
        /// The address.
        address: Ipv4Addr,
    },
    /// The lease ended.
    Expired {
        /// The address.
        address: Ipv4Addr,
    },
    /// The client found its address in use by somebody else; it rests.
    Declined {
        /// The address.
        address: Ipv4Addr,
        /// Who found out.
        hardware: HardwareAddress,
    },
    /// A probe was answered; the address rests.
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// Who answered.
        mac: Option<MacAddr>,
    },
    /// A client was told that it cannot have this address.
    Refused {
        /// The address.
        address: Ipv4Addr,
        /// Who.
        hardware: HardwareAddress,
    },
    /// A client has taken the offer of another server.
    OtherServer {
        /// The other one, as it calls itself (option 54).
        server: Ipv4Addr,
        /// Who.
        hardware: HardwareAddress,
    },
    /// No address is left in a network.
    Exhausted {
        /// 0 is the lan itself, then the relayed ones in the order of the configuration.
        subnet: usize,
    },
    /// Its address or client stands in an earlier reservation, or the address is in none of the networks.
    ReservationIgnored {
        /// Its place in the configuration.
        index: usize,
        /// Its address.
        address: Ipv4Addr,
    },
    /// There is a lease of an address that is in none of the networks any more; it is forgotten.
    LeaseOutside {
        /// The address.
        address: Ipv4Addr,
    },
    /// A message got no answer, or not the one it asked for.
    Dropped(Reason),
}

/// Why a message got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not well-formed.
    Malformed(MessageError),
    /// The client sends too many.
    RateLimited,
    /// No network is configured for its relay agent.
    UnknownNetwork,
    /// It chose another server.
    OtherServer,
    /// It names an address that this server knows nothing of (RFC 2131 §4.3.2).
    UnknownClient,
    /// More clients ask at once than records are written for, or addresses probed.
    Overloaded,
    /// Its acknowledgement waited for the disk, and the lease was given back, declined or over before it could leave.
    Outlived,
    /// Answered, but under another name than it asked for, or without one.
    NameTaken,
}
