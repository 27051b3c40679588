//! Whom a forward admits besides what its `from` says: how many, and how fast.

use std::net::SocketAddrV4;

use super::Nat;
use super::translate::Admission;
use crate::forward::rules::Inbound;
use crate::time::Timestamp;
use crate::trail::Step;
use crate::verdict::DropReason;
use crate::wire::ipv4::Protocol;

impl Nat {
    /// Whether the limits of the forward that takes a packet allow a session from `source`, which counts as opened then.
    /// `takes_place`: it will be one more than there are. Inside hosts are not braked: as turned round they all have
    /// the same source, and `from` is not for them either.
    pub(crate) fn within_limits(
        &mut self,
        now: Timestamp,
        admission: &Admission,
        source: SocketAddrV4,
        from_inside: bool,
        takes_place: bool,
    ) -> Result<(), DropReason> {
        let Some(rule) = admission.rule else { return Ok(()) };
        // First the one that costs the source nothing.
        let sessions = self.tally.sessions(rule);
        let has_place = !takes_place || self.limits.has_place(rule, sessions);
        self.note(|| Step::SessionsOfForward { rule, sessions, has_place });
        if !has_place {
            self.tally.limit(rule);
            return Err(DropReason::ForwardSessionLimit);
        }
        let admits = from_inside || self.limits.admit(now, rule, *source.ip());
        self.note(|| {
            let left = if from_inside { None } else { self.limits.tokens(now, rule, *source.ip()) };
            Step::Brake { rule, admits, left }
        });
        if !admits {
            self.tally.brake(rule, *source.ip());
            return Err(DropReason::ForwardSourceRate);
        }
        Ok(())
    }

    /// Counts a source that the forwards of a port do not admit, for the first of them.
    #[cold]
    pub(crate) fn tally_refusal(
        &mut self,
        now: Timestamp,
        protocol: Protocol,
        source: SocketAddrV4,
        external: SocketAddrV4,
    ) {
        let source = *source.ip();
        let judged = self.forwards.inbound(now, protocol, *external.ip(), external.port(), source, false);
        if let Inbound::Refused(rule) = judged {
            self.tally.refuse(rule, source);
        }
    }
}
