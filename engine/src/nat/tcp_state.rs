//! What the NAT knows of a TCP connection, from nothing but the flags that pass.
//!
//! Read first: RFC 6146 §3.5.2 (the machine), RFC 5382 §5 (which idle timeout holds in which phase), RFC 7857 §2
//! (RST).
//!
//! ```text
//!  outbound SYN                                 inbound SYN
//!       v                                            v
//!  OutboundSyn --inbound SYN--> Established <--outbound SYN-- InboundSyn
//!                               |   ^    |
//!               outbound FIN    |   |    |   inbound FIN
//!                      v--------+   |    +--------v
//!                 OutboundFin       |         InboundFin
//!                      |            |             |
//!          inbound FIN +--> BothFin | <-----------+ outbound FIN
//!                                   |
//!        any --RST--> Reset --other than SYN and RST, outbound
//! ```
//!
//! Sequence numbers are not followed: a RST that the receiver would not accept must not end anything. So a RST
//! only shortens the timeout, and the next packet from inside takes that back (RFC 7857 §2.2). A SYN on a session
//! that is closing starts a new connection; whether it may is for the session's owner to judge, and leaves the
//! state alone here.

/// State of a TCP session; see the drawing above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// Only the inside has sent a SYN.
    OutboundSyn,
    /// Only the outside has sent a SYN.
    InboundSyn,
    /// Both sides have sent a SYN.
    Established,
    /// The inside has sent a FIN: half closed, for as long as the other half likes.
    OutboundFin,
    /// The outside has sent a FIN.
    InboundFin,
    /// Both sides have sent a FIN: what remains is retransmission and TIME-WAIT.
    BothFin,
    /// A RST has passed, either way.
    Reset,
}

impl TcpState {
    /// Every state.
    pub const ALL: &'static [TcpState] = &[
        TcpState::OutboundSyn,
        TcpState::InboundSyn,
        TcpState::Established,
        TcpState::OutboundFin,
        TcpState::InboundFin,
        TcpState::BothFin,
        TcpState::Reset,
    ];

    /// Opening or closing: the short timeout holds (RFC 5382 REQ-5). A half-closed connection is neither, it may
    /// carry data for hours (RFC 6146 §3.5.2.2).
    #[inline]
    pub const fn is_transitory(self) -> bool {
        matches!(self, TcpState::OutboundSyn | TcpState::InboundSyn | TcpState::BothFin | TcpState::Reset)
    }

    /// Closed by both FINs or by a RST: a SYN may start a new connection in this session.
    pub const fn is_closing(self) -> bool {
        matches!(self, TcpState::BothFin | TcpState::Reset)
    }

    /// Only one side has spoken so far.
    pub const fn is_unanswered(self) -> bool {
        matches!(self, TcpState::OutboundSyn | TcpState::InboundSyn)
    }

    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            TcpState::OutboundSyn => "outbound-syn",
            TcpState::InboundSyn => "inbound-syn",
            TcpState::Established => "established",
            TcpState::OutboundFin => "outbound-fin",
            TcpState::InboundFin => "inbound-fin",
            TcpState::BothFin => "both-fin",
            TcpState::Reset => "reset",
        }
    }
}
