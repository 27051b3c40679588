//! What the router asked itself about a packet, and what it found: for explaining it to a person.
//!
//! The stages note a [`Step`] where they decide; what is noted are facts, and words are made of them elsewhere. Nothing
//! is noted unless [`crate::Router::explain`] has a packet in hand: other packets meet no more than a look at an empty
//! option, and established ones not even that.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::forward::rules::RuleId;
use crate::frame::PortId;
use crate::local_datagram::Service;
use crate::nat::policy::{Direction, FilteringBehavior};
use crate::packet::rewrite::Side;
use crate::verdict::Verdict;
use crate::wire::ethernet::MacAddr;

/// One question of a packet's walk, answered. The last word is the verdict's: a packet that is dropped has its reason
/// there, and a step only where more is to be told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet belongs to a live session.
    Known {
        /// Which way it goes.
        direction: Direction,
        /// What opened the session, as in [`crate::view::SessionView::origin`].
        origin: &'static str,
        /// The session's inside endpoint.
        internal: SocketAddrV4,
        /// Its external endpoint; equals `internal` where there is no NAT.
        external: SocketAddrV4,
        /// The far endpoint.
        remote: SocketAddrV4,
    },
    /// A forward has let that session pass.
    AdmittedBy {
        /// Which.
        rule: RuleId,
    },
    /// An ICMP error about a packet of a live session, to whoever sent that (RFC 5508 §4).
    ErrorAbout {
        /// The session's inside endpoint.
        internal: SocketAddrV4,
        /// Its external endpoint; equals `internal` where there is no NAT.
        external: SocketAddrV4,
        /// The far endpoint.
        remote: SocketAddrV4,
    },
    /// A later fragment, which goes where its first went.
    FollowsFirst,
    /// A later fragment, which waits for its first.
    WaitsForFirst,
    /// The answer to a question of the router's own ([`crate::probe`]).
    AnswersProbe,
    /// What held this packet up is over, and another worker goes on with it although the verdict does not say so. Not
    /// for people.
    HandedOver {
        /// To whom, and how far it had come.
        verdict: Verdict,
    },
    /// No session has these endpoints.
    Unknown,
    /// Its session is one that the plan in force does not allow: judged as if there were none.
    SessionRevoked,
    /// A SYN on a session that is closing asks for a new connection.
    Reopening,
    /// Source and destination can be true on this port (RFC 2827, RFC 3704).
    AddressesPlausible,
    /// The destination is an external address of ours.
    ForExternal {
        /// Which.
        address: Ipv4Addr,
    },
    /// From inside to an external address of ours: out, and in again (RFC 4787 §6).
    Hairpin,
    /// A service of the router itself hears it.
    TakenByService {
        /// Which.
        service: Service,
    },
    /// The destination is the router's own address on the inside.
    ForRouter {
        /// Which.
        address: Ipv4Addr,
    },
    /// A forward has this external port.
    Forward {
        /// Which.
        rule: RuleId,
        /// What it says.
        says: ForwardSays,
    },
    /// No forward has this external port.
    NoForward,
    /// All ports of the external address lead to one host.
    OneToOne {
        /// The external address.
        external: Ipv4Addr,
        /// Where the host is; 0.0.0.0: nowhere at the moment.
        host: Ipv4Addr,
    },
    /// A mapping has this external endpoint.
    Mapping {
        /// Whose it is.
        internal: SocketAddrV4,
        /// Whom it admits (RFC 4787 §5).
        filtering: FilteringBehavior,
        /// Whether that includes the source.
        admits: bool,
    },
    /// No mapping has this external endpoint.
    NoMapping,
    /// The DMZ host takes the packet.
    Dmz {
        /// Where it goes.
        internal: SocketAddrV4,
    },
    /// There is no DMZ, or not for such packets.
    NoDmz,
    /// The forward has a limit of sessions.
    SessionsOfForward {
        /// Which.
        rule: RuleId,
        /// Sessions that it has.
        sessions: u32,
        /// Whether there may be one more.
        has_place: bool,
    },
    /// The forward has a limit of new sessions per source.
    Brake {
        /// Which.
        rule: RuleId,
        /// Whether the source may open one now.
        admits: bool,
        /// How many more it may open at once; `None`: there is no such limit, or it does not hold for the source.
        left: Option<u32>,
    },
    /// Where the packet has to leave, before it is rewritten for packets from inside.
    Route {
        /// For this destination.
        destination: Ipv4Addr,
        /// Out of this port, to be handed to this neighbor; `None`: there is no route.
        to: Option<(PortId, Ipv4Addr)>,
    },
    /// Whether one lan may open sessions to another.
    Reaches {
        /// From.
        from: PortId,
        /// To.
        to: PortId,
        /// Whether.
        may: bool,
    },
    /// Which external endpoint a session from inside has.
    Leaves {
        /// Of this internal endpoint.
        internal: SocketAddrV4,
        /// The external endpoint.
        external: SocketAddrV4,
        /// Why this one.
        by: Leaving,
    },
    /// A session is opened, so that the next packets find it.
    Opened {
        /// What opens it, as in [`crate::view::SessionView::origin`].
        origin: &'static str,
        /// Its inside endpoint.
        internal: SocketAddrV4,
        /// Its external endpoint.
        external: SocketAddrV4,
        /// The far endpoint.
        remote: SocketAddrV4,
    },
    /// One side gets another address and port.
    Rewritten {
        /// Which side.
        side: Side,
        /// What it was.
        before: SocketAddrV4,
        /// What it is now.
        after: SocketAddrV4,
    },
    /// It now stands before our external address, as if it came from outside.
    TurnedRound,
    /// Larger than the MTU of the port that it leaves by.
    TooLarge {
        /// Octets of the largest IPv4 packet that it makes.
        octets: usize,
        /// What the port takes.
        mtu: u16,
    },
    /// The TCP MSS option was lowered.
    MssLowered {
        /// To this, in octets.
        mss: u16,
    },
    /// The link address of the next hop.
    NextHop {
        /// On which port.
        port: PortId,
        /// `None`: it has to be asked for, and the packet waits.
        mac: Option<MacAddr>,
    },
    /// The sender is told by an ICMP error.
    IcmpErrorSent {
        /// Type and code (RFC 792).
        kind: (u8, u8),
        /// To whom.
        to: Ipv4Addr,
    },
    /// The sender is told by a TCP reset.
    ResetSent {
        /// To whom.
        to: Ipv4Addr,
    },
}

/// What a forward says about a packet to its external port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardSays {
    /// It is disabled, out of its schedule, or has expired.
    Closed,
    /// Its `from` does not admit the source.
    NotFromThere,
    /// It takes the packet.
    To(SocketAddrV4),
}

/// Why a session from inside has the external endpoint that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The host has an external address of its own.
    OneToOne,
    /// A forward points at its internal endpoint.
    Forward(RuleId),
    /// Its internal endpoint has a mapping that holds for this remote.
    KnownMapping,
    /// A mapping is made.
    NewMapping,
    /// The protocol has no ports.
    AddressOnly,
}

/// The steps of one packet, in the order in which they were taken.
#[derive(Debug)]
pub(crate) struct Trail(RefCell<Vec<Step>>);

impl Trail {
    /// Notes a step. By shared reference: most questions are asked by one.
    pub(crate) fn note(&self, step: Step) {
        self.0.borrow_mut().push(step);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn truncate(&self, len: usize) {
        self.0.borrow_mut().truncate(len);
    }

    /// Goes on in the memory of `steps`.
    pub(crate) fn over(steps: Vec<Step>) -> Trail {
        Trail(RefCell::new(steps))
    }

    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.0.into_inner()
    }
}
