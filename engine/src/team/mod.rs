//! What the workers of one router have in common.
//!
//! A router is one [`Router`](crate::Router) per worker thread, which share nothing on the fast path. Every packet
//! has one owner among them (`router::ownership` says which), who has its session; what arrives at another worker
//! is handed over ([`Verdict::HandOver`](crate::Verdict::HandOver) and [`HandOver`]). With one worker nothing of
//! this is ever looked at.

mod hand_over;
mod host_spread;

use std::sync::Arc;

use crate::rng::Rng;

pub use self::hand_over::{HandOver, Stage};
pub use self::host_spread::HostSpread;

/// The number of a worker, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// The one that speaks for all: it announces our addresses and tells of forwards that have expired.
    pub const FIRST: WorkerId = WorkerId(0);
    /// Most workers of a team.
    pub const MAX: u8 = 64;

    /// For arrays with an element per worker.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the workers of one router share: made once, given to each of them.
#[derive(Debug)]
pub struct Team {
    workers: u8,
    hosts_spread: HostSpread,
}

impl Team {
    /// A team of `workers`, 1 to [`WorkerId::MAX`] (what is more or less is brought there). `seed` is secret
    /// randomness, 128 bits, like [`RouterConfig::seed`](crate::RouterConfig::seed).
    pub fn new(workers: u8, seed: [u64; 2]) -> Arc<Team> {
        let (key, mut rng) = (seed[0].rotate_left(41), Rng::new(seed[1]));
        Arc::new(Team {
            workers: workers.clamp(1, WorkerId::MAX),
            hosts_spread: HostSpread::from_secret(key ^ rng.next_u64()),
        })
    }

    /// The team of a router with one worker.
    pub fn alone() -> Arc<Team> {
        Team::new(1, [0; 2])
    }

    /// Which worker an internal host belongs to.
    pub fn host_spread(&self) -> HostSpread {
        self.hosts_spread
    }

    /// How many workers it has.
    pub fn workers(&self) -> u8 {
        self.workers
    }
}
