//! Who looks at the packets of a worker: a capture, and those who follow packets. Nobody does most of the time.

use genkan_control::capture::Tap;
use genkan_engine::frame::{FrameBatch, PortId};
use genkan_engine::{Router, Stage, Timestamp};

use super::following::{Follower, Followers, judge_plainly};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Onlookers {
    tap: Option<Box<Tap>>,
    followers: Option<Followers>,
}

impl Onlookers {
    /// Lets a tap see all packets, in place of any other.
    pub(super) fn set_tap(&mut self, tap: Box<Tap>) {
        self.tap = Some(tap);
    }

    /// Lets one more follow packets.
    pub(super) fn add_follower(&mut self, follower: Follower) {
        self.followers.get_or_insert_default().add(follower);
    }

    /// Forgets those whom nobody listens to any more. Whether some are left.
    pub(super) fn tend(&mut self) -> bool {
        if self.tap.as_ref().is_some_and(|tap| tap.is_over()) {
            self.tap = None;
        }
        if self.followers.as_mut().is_some_and(|followers| !followers.tend()) {
            self.followers = None;
        }
        self.tap.is_some() || self.followers.is_some()
    }

    /// The tap, for frames that the router made.
    pub(super) fn tap(&mut self) -> Option<&mut Tap> {
        self.tap.as_deref_mut()
    }

    /// [`Router::handle_batch`], or with a stage [`Router::handle_handed_over`], looked at.
    pub(super) fn judge(
        &mut self,
        router: &mut Router,
        now: Timestamp,
        port: PortId,
        stage: Option<Stage>,
        batch: FrameBatch<'_>,
    ) {
        let FrameBatch { memory, slots } = batch;
        if let Some(tap) = &mut self.tap {
            tap.before(port, stage, memory, slots);
        }
        let batch = FrameBatch { memory: &mut *memory, slots: &mut *slots };
        match &mut self.followers {
            Some(followers) => followers.judge(router, now, port, stage, batch),
            None => judge_plainly(router, now, port, stage, batch),
        }
        if let Some(tap) = &mut self.tap {
            tap.after(now, port, router, memory, slots);
        }
    }
}
