//! Sessions that were put back early, from a router that went on with them: once that has stopped, they are made what
//! they are there by then.
//!
//! All its records are gone through once more. Most fit a session that is here already, and only move its idle timeout
//! on, which takes a tenth of the time that putting back takes. A session that no record fits, or whose record says
//! something else by now, is ended; then the records that fitted none are put back like any other.

use std::time::Duration;

use super::Nat;
use super::policy::Direction;
use super::saved::{Restored, SavedSession};
use super::session::{SessionId, SessionKey};
use crate::time::Timestamp;

/// How far it has come.
#[derive(Debug)]
pub struct CatchUp {
    /// Whether the session of this number is as its record says.
    fits: Vec<bool>,
    /// Records that fitted no session.
    others: Vec<SavedSession>,
}

impl Nat {
    /// To begin with: of no session it is known that it is still there.
    pub(crate) fn begin_catch_up(&self) -> CatchUp {
        CatchUp { fits: vec![false; self.sessions.end() as usize], others: Vec::new() }
    }

    /// Goes through some records that were read out `elapsed` ago. Those of other workers are passed over.
    pub(crate) fn compare(
        &mut self,
        now: Timestamp,
        elapsed: Duration,
        sessions: &[SavedSession],
        catch_up: &mut CatchUp,
    ) {
        for saved in sessions {
            match self.fitting(saved) {
                Some(id) => {
                    let session = &mut self.sessions[id];
                    // The wheel, which has the time from before, looks at this one before it ends the session.
                    session.expires = session.expires.max(now + saved.left.saturating_sub(elapsed));
                    catch_up.fits[id as usize] = true;
                }
                None if self.has_saved(saved) => catch_up.others.push(*saved),
                None => {}
            }
        }
    }

    /// Ends the sessions that no record fitted, and puts back the records that fitted none.
    pub(crate) fn catch_up(&mut self, now: Timestamp, elapsed: Duration, catch_up: CatchUp) -> Restored {
        let mut outcome = Restored::default();
        for (id, fits) in (0..).zip(catch_up.fits) {
            if fits {
                outcome.restored += 1;
            } else {
                self.end_session(now, id);
            }
        }
        for saved in &catch_up.others {
            outcome.count(self.restore(now, elapsed, saved));
        }
        outcome
    }

    /// The session that is as a record says, but for its time.
    fn fitting(&self, saved: &SavedSession) -> Option<SessionId> {
        let key = SessionKey::new(saved.inside, saved.protocol, saved.internal, saved.remote);
        let (id, direction) = self.sessions.find(key, self.sessions.hash(key))?;
        let session = &self.sessions[id];
        let fits = direction == Direction::Outbound
            && session.external() == saved.external
            && session.outside_port == saved.outside
            && session.origin == saved.origin
            && session.tcp == saved.tcp
            && session.flags.bits() == saved.flags
            && self.mappings.get(session.mapping).map(|mapping| mapping.scope) == saved.scope;
        fits.then_some(id)
    }
}
