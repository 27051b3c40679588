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
//!  OutboundSyn, InboundSyn --RST--> Refused
//!  Established, OutboundFin, InboundFin --RST--> Reset --other than SYN and RST, outbound--> Established, OutboundFin
//! ```
//!
//! Sequence numbers are not followed: a RST that the receiver would not accept must not end anything. So a RST
//! only shortens the timeout, and the next packet from inside takes that back (RFC 7857 §2.2), where there was a
//! connection to go on with: what one side alone has sent never counts as established. A SYN on a session that is
//! closing starts a new connection; whether it may is for the session's owner to judge, and leaves the
//! state alone here.

use crate::nat::policy::Direction;
use crate::wire::tcp::TcpFlags;

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
    /// A RST has passed before both sides had sent a SYN: there was no connection.
    Refused,
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
        TcpState::Refused,
    ];

    /// Opening or closing: the short timeout holds (RFC 5382 REQ-5). A half-closed connection is neither, it may
    /// carry data for hours (RFC 6146 §3.5.2.2).
    #[inline]
    pub const fn is_transitory(self) -> bool {
        self.is_unanswered() || self.is_closing()
    }

    /// Closed by both FINs or by a RST: a SYN may start a new connection in this session.
    #[inline]
    pub const fn is_closing(self) -> bool {
        matches!(self, TcpState::BothFin | TcpState::Reset | TcpState::Refused)
    }

    /// Only one side has spoken so far.
    #[inline]
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
            TcpState::Refused => "refused",
        }
    }
}

/// The state after a segment with `flags` has passed in `direction`.
pub const fn next_state(state: TcpState, direction: Direction, flags: TcpFlags) -> TcpState {
    use Direction::{Inbound, Outbound};
    use TcpState::{BothFin, Established, InboundFin, InboundSyn, OutboundFin, OutboundSyn, Refused, Reset};
    if flags.contains(TcpFlags::RST) {
        return match state {
            OutboundSyn | InboundSyn | Refused => Refused,
            // Nothing is left that it could shorten, and nothing that could go on.
            BothFin => BothFin,
            _ => Reset,
        };
    }
    let syn = flags.contains(TcpFlags::SYN);
    let fin = flags.contains(TcpFlags::FIN);
    match (state, direction) {
        // SYN-ACK, or the other SYN of a simultaneous open (RFC 5382 REQ-2).
        (OutboundSyn, Inbound) | (InboundSyn, Outbound) if syn => Established,
        // The inside goes on as if there had been no RST: it was forged or stale (RFC 7857 §2.2).
        (Reset, Outbound) if fin => OutboundFin,
        (Reset, Outbound) if !syn => Established,
        (Established, Outbound) if fin => OutboundFin,
        (Established, Inbound) if fin => InboundFin,
        (OutboundFin, Inbound) | (InboundFin, Outbound) if fin => BothFin,
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Inbound, Outbound};
    use TcpState::{BothFin, Established, InboundFin, InboundSyn, OutboundFin, OutboundSyn, Refused, Reset};

    const SYN: u8 = TcpFlags::SYN.0;
    const FIN: u8 = TcpFlags::FIN.0;
    const RST: u8 = TcpFlags::RST.0;

    /// (state, direction) -> the state after (a SYN, a FIN, neither, a RST).
    #[rustfmt::skip]
    const TABLE: [((TcpState, Direction), [TcpState; 4]); 16] = [
        ((OutboundSyn, Outbound), [OutboundSyn, OutboundSyn, OutboundSyn, Refused]),
        ((OutboundSyn, Inbound),  [Established, OutboundSyn, OutboundSyn, Refused]),
        ((InboundSyn,  Outbound), [Established, InboundSyn,  InboundSyn,  Refused]),
        ((InboundSyn,  Inbound),  [InboundSyn,  InboundSyn,  InboundSyn,  Refused]),
        ((Established, Outbound), [Established, OutboundFin, Established, Reset]),
        ((Established, Inbound),  [Established, InboundFin,  Established, Reset]),
        ((OutboundFin, Outbound), [OutboundFin, OutboundFin, OutboundFin, Reset]),
        ((OutboundFin, Inbound),  [OutboundFin, BothFin,     OutboundFin, Reset]),
        ((InboundFin,  Outbound), [InboundFin,  BothFin,     InboundFin,  Reset]),
        ((InboundFin,  Inbound),  [InboundFin,  InboundFin,  InboundFin,  Reset]),
        ((BothFin,     Outbound), [BothFin,     BothFin,     BothFin,     BothFin]),
        ((BothFin,     Inbound),  [BothFin,     BothFin,     BothFin,     BothFin]),
        ((Reset,       Outbound), [Reset,       OutboundFin, Established, Reset]),
        ((Reset,       Inbound),  [Reset,       Reset,       Reset,       Reset]),
        ((Refused,     Outbound), [Refused,     Refused,     Refused,     Refused]),
        ((Refused,     Inbound),  [Refused,     Refused,     Refused,     Refused]),
    ];

    #[test]
    fn every_state_direction_and_flag_octet() {
        for &state in TcpState::ALL {
            for direction in [Outbound, Inbound] {
                let rows = TABLE.iter().filter(|(key, _)| *key == (state, direction));
                let [syn, fin, neither, reset] = rows.map(|row| row.1).next().expect("a row for every pair");
                for flags in 0..=u8::MAX {
                    let expected = if flags & RST != 0 {
                        reset
                    } else if flags & (SYN | FIN) == SYN | FIN {
                        continue; // dropped as nonsense before it gets here; any state will do
                    } else if flags & SYN != 0 {
                        syn
                    } else if flags & FIN != 0 {
                        fin
                    } else {
                        neither
                    };
                    let got = next_state(state, direction, TcpFlags(flags));
                    assert_eq!(got, expected, "{state:?}, {direction:?}, flags {flags:#04x}");
                }
            }
        }
    }

    #[test]
    fn a_connection_from_first_syn_to_last_fin() {
        let mut state = OutboundSyn;
        let ack = TcpFlags::ACK.0;
        for (direction, flags, expected) in [
            (Inbound, SYN | ack, Established),
            (Outbound, ack, Established),
            (Inbound, FIN | ack, InboundFin),
            (Outbound, ack, InboundFin),
            (Outbound, FIN | ack, BothFin),
            (Inbound, ack, BothFin),
        ] {
            state = next_state(state, direction, TcpFlags(flags));
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn classes_and_names() {
        let of = |test: fn(TcpState) -> bool| -> Vec<TcpState> {
            TcpState::ALL.iter().copied().filter(|&state| test(state)).collect()
        };
        assert_eq!(of(TcpState::is_transitory), [OutboundSyn, InboundSyn, BothFin, Reset, Refused]);
        assert_eq!(of(TcpState::is_closing), [BothFin, Reset, Refused]);
        assert_eq!(of(TcpState::is_unanswered), [OutboundSyn, InboundSyn]);
        let mut names: Vec<_> = TcpState::ALL.iter().map(|state| state.name()).collect();
        names.dedup();
        assert_eq!(names.len(), TcpState::ALL.len());
        for (position, &state) in TcpState::ALL.iter().enumerate() {
            assert_eq!(state as usize, position);
        }
    }
}
