//! What became of a frame.

use crate::frame::PortId;
use crate::team::{Stage, WorkerId};

/// The engine's decision about one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Send the (rewritten) frame out of this port.
    Transmit(PortId),
    /// Answered, learnt from, or held for later; nothing to send now.
    #[default]
    Consumed,
    /// Not forwarded, and why.
    Drop(DropReason),
    /// The frame belongs to this worker, which takes it by `Router::handle_handed_over`. Only in a team of
    /// several.
    HandOver(WorkerId, Stage),
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame was not forwarded. Each has a counter of the same name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of the packet's walk.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The name in counters, listings and logs.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)+ }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame is shorter than an Ethernet header.
    FrameTruncated = "frame_truncated",
    /// The frame carries a VLAN tag (VID 0 passes).
    VlanTagged = "vlan_tagged",
    /// The destination MAC address is not this port's.
    NotOurMac = "not_our_mac",
    /// The frame is IPv6, which this version does not route.
    Ipv6NotSupported = "ipv6_not_supported",
    /// The EtherType is neither IPv4 nor ARP.
    UnknownEthertype = "unknown_ethertype",
    /// The ARP packet is malformed or not Ethernet/IPv4.
    ArpMalformed = "arp_malformed",
    /// The ARP packet concerns addresses that are not of this link.
    ArpNotForUs = "arp_not_for_us",
    /// The IP version field is not 4.
    IpVersion = "ip_version",
    /// The IPv4 header length is under 20 octets or longer than the packet.
    IpHeaderLength = "ip_header_length",
    /// The IPv4 total length is longer than the frame or shorter than the header.
    IpTotalLength = "ip_total_length",
    /// The IPv4 header checksum is wrong.
    IpHeaderChecksum = "ip_header_checksum",
    /// An IPv4 option is malformed.
    IpOptionMalformed = "ip_option_malformed",
    /// The packet asks for source routing or route recording.
    SourceRoute = "source_route",
    /// The transport header is cut short or its lengths contradict each other.
    TransportTruncated = "transport_truncated",
    /// The destination port is 0, or the TCP source port is 0.
    PortZero = "port_zero",
    /// TCP flags that no stack sends: none at all, SYN+FIN, SYN+RST.
    TcpFlags = "tcp_flags",
    /// Source and destination are the same (LAND).
    Land = "land",
    /// The source address is 0.0.0.0/8.
    SourceZero = "source_zero",
    /// The source address is 127.0.0.0/8.
    SourceLoopback = "source_loopback",
    /// The source address is multicast.
    SourceMulticast = "source_multicast",
    /// The source address is in 240.0.0.0/4, or the link's broadcast address.
    SourceBroadcast = "source_broadcast",
    /// The source address is one of the router's own.
    SourceOurs = "source_ours",
    /// An address of a lan, or of what lies behind a route of one, arrived as source from the wan.
    SourceLanFromWan = "source_lan_from_wan",
    /// The source is neither of the lan's prefix nor behind a route of it.
    SourceNotOfLan = "source_not_of_lan",
    /// The destination is broadcast or multicast and not for the router.
    DestinationNotUnicast = "destination_not_unicast",
    /// From outside, and the destination is no external address of the router.
    NotOurs = "not_ours",
    /// The first fragment is too small to hold the transport header, or a fragment's length is no multiple of 8.
    FragmentTiny = "fragment_tiny",
    /// Fragments of one packet overlap, or reach past 65,535 octets.
    FragmentOverlap = "fragment_overlap",
    /// The first fragment did not come in time, or its packet was refused.
    FragmentUnmatched = "fragment_unmatched",
    /// The store of fragments is full.
    FragmentLimit = "fragment_limit",
    /// The TTL ran out; the sender is told where allowed.
    TtlExceeded = "ttl_exceeded",
    /// Larger than the next link's MTU and not to be fragmented; the sender is told.
    FragmentationNeeded = "fragmentation_needed",
    /// No route to the destination.
    NoRoute = "no_route",
    /// The lan's `reaches` does not admit the other lan.
    NotReachable = "not_reachable",
    /// The next hop does not answer ARP.
    HostUnreachable = "host_unreachable",
    /// The packet was held, or is a fragment of one judged before, and the plan has changed against it since.
    PlanChanged = "plan_changed",
    /// Too many frames wait for this next hop's ARP answer.
    NeighborQueueFull = "neighbor_queue_full",
    /// The ARP cache is full of live entries.
    NeighborTableFull = "neighbor_table_full",
    /// The port that the frame would leave by is down or absent, or it came by one that cannot be.
    PortDown = "port_down",
    /// Too many frames of the router's own wait to be fetched.
    TransmitQueueFull = "transmit_queue_full",
    /// The worker that owns the packet takes no more from the one that it arrived at.
    HandOverFull = "hand_over_full",
    /// TCP that belongs to no session and is no SYN.
    TcpNoSession = "tcp_no_session",
    /// A mapping owns this external port, and its filtering does not admit the source.
    Filtered = "filtered",
    /// A forward owns this external port, and its `from` does not admit the source.
    ForwardSource = "forward_source",
    /// The forward of this external port is disabled, has expired, or is out of its hours.
    ForwardClosed = "forward_closed",
    /// The forward has as many sessions as its `max_sessions` allows.
    ForwardSessionLimit = "forward_session_limit",
    /// The source opens sessions through the forward faster than its `max_new_per_source` allows.
    ForwardSourceRate = "forward_source_rate",
    /// The external address is one host's alone, and that is nowhere at the moment.
    HostAbsent = "host_absent",
    /// The external port rests after its forward was closed.
    PortResting = "port_resting",
    /// Hairpin is switched off.
    HairpinOff = "hairpin_off",
    /// Nothing takes this packet from outside: no session, forward, mapping or DMZ.
    NoMapping = "no_mapping",
    /// A packet to the router itself that no service of it takes.
    NoService = "no_service",
    /// A fragment of a datagram to a service of the router itself, which takes whole ones only.
    LocalFragment = "local_fragment",
    /// The UDP checksum of a datagram to a service of the router itself is wrong.
    LocalChecksum = "local_checksum",
    /// Too many datagrams wait for this service of the router itself.
    LocalQueueFull = "local_queue_full",
    /// An echo request from outside, and `ping` is off.
    PingOff = "ping_off",
    /// An ICMP type that a router does not forward.
    IcmpType = "icmp_type",
    /// An ICMP query reply that answers no request.
    IcmpNoSession = "icmp_no_session",
    /// An ICMP error about no known session.
    IcmpErrorNoSession = "icmp_error_no_session",
    /// An ICMP error whose quoted packet is cut too short or malformed.
    IcmpErrorMalformed = "icmp_error_malformed",
    /// The ICMP header checksum is wrong where it had to be checked.
    IcmpChecksum = "icmp_checksum",
    /// All sessions are in use.
    SessionLimit = "session_limit",
    /// This host has as many sessions as it may have.
    HostSessionLimit = "host_session_limit",
    /// No external port is left.
    PortsExhausted = "ports_exhausted",
    /// This host has as many external ports as it may have.
    HostPortLimit = "host_port_limit",
    /// A live session already connects these two endpoints through another external port.
    SessionConflict = "session_conflict",
    /// Another inside host already speaks this protocol with this remote.
    ProtocolInUse = "protocol_in_use",
}

impl DropReason {
    /// Number of reasons: counter arrays have this length.
    pub const COUNT: usize = Self::ALL.len();
}
