//! Why a datagram was no answer for us.

/// Why the client did nothing with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    /// Nothing is awaited: no exchange runs, or its answer has come already.
    #[error("no answer is awaited")]
    NotExpected,
    /// Shorter than the fixed fields and the magic cookie, or longer than the size that we announce (option 57).
    #[error("length of {0} octets")]
    Length(usize),
    /// The field `op` is not BOOTREPLY.
    #[error("not a reply")]
    NotAReply,
    /// The transaction is not ours.
    #[error("xid of somebody else")]
    WrongXid,
    /// `htype`, `hlen` or `chaddr` are not ours.
    #[error("hardware address of somebody else")]
    WrongHardwareAddress,
    /// BOOTP without DHCP options, or something else (RFC 2131 section 3).
    #[error("no magic cookie")]
    Cookie,
    /// An option reaches beyond its field.
    #[error("truncated option")]
    Truncated,
    /// The option with this code has a length that it cannot have.
    #[error("option {0} has a wrong length")]
    OptionLength(u8),
    /// The codec does not take what passed our own checks.
    #[error("not decodable")]
    Codec,
    /// Neither DHCPOFFER, DHCPACK nor DHCPNAK, or not the one that this state awaits.
    #[error("message type that is not awaited")]
    MessageType,
    /// The server returned another client's identifier (RFC 6842).
    #[error("client identifier of somebody else")]
    WrongClientIdentifier,
    /// Without option 54, or its address is not unicast.
    #[error("no server identifier")]
    NoServerIdentifier,
    /// From a server that was not asked.
    #[error("server that was not asked")]
    OtherServer,
    /// An offer of the server that left our last request without DHCPACK; taken when nobody else offers.
    #[error("server that did not keep its last offer")]
    BrokenPromise,
    /// Without option 51.
    #[error("no lease time")]
    NoLeaseTime,
    /// A lease below [`MINIMUM_LEASE`](super::MINIMUM_LEASE), 0 included, or one that is over by now.
    #[error("lease time too short")]
    LeaseTime,
    /// The address is not unicast, or it is the network's or the broadcast address of its prefix.
    #[error("not a unicast address")]
    Address,
    /// Another address than the requested one.
    #[error("address that was not requested")]
    OtherAddress,
    /// Option 1 is not contiguous, or zero.
    #[error("netmask is not contiguous")]
    Netmask,
    /// A router of a lease that was saved is not unicast, or our own address.
    #[error("router is not a unicast address")]
    Router,
}

impl Ignored {
    /// Whether a server has answered us, with what is no use.
    pub fn is_for_us(&self) -> bool {
        !matches!(
            self,
            Ignored::NotExpected
                | Ignored::Length(_)
                | Ignored::NotAReply
                | Ignored::WrongXid
                | Ignored::WrongHardwareAddress
                | Ignored::WrongClientIdentifier
                | Ignored::OtherServer
        )
    }
}
