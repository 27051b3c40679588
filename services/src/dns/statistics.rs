//! What was asked how often; by client only where that is wanted.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Bound of clients that are counted apart.
const MAX_CLIENTS: usize = 4096;

/// Queries by what became of them. Every query that was well-formed is in `queries` and in one of the others, or waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryCounters {
    /// Well-formed queries.
    pub queries: u64,
    /// Answered from names of the lans and private zones.
    pub local: u64,
    /// Answered as not existing, because a block list says so.
    pub blocked: u64,
    /// Answered from the cache within the TTL.
    pub cached: u64,
    /// Answered from the cache past the TTL.
    pub stale: u64,
    /// Answered by an upstream.
    pub forwarded: u64,
    /// Answered SERVFAIL: no upstream had an answer.
    pub failed: u64,
    /// Answered REFUSED: too many are waiting, or recursion was not wanted.
    pub refused: u64,
    /// Not answered: the client waits for this answer already.
    pub repeated: u64,
}

/// All counters of the forwarder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Of all clients together.
    pub total: QueryCounters,
    /// Octets from clients that were no well-formed query.
    pub malformed: u64,
    /// Answers of upstreams that were passed over: malformed, or nobody asked that of them from there in those letters.
    pub ignored_answers: u64,
    /// Answers that pointed inside and were withheld.
    pub rebinding: u64,
    /// By client; empty unless this was asked for.
    pub clients: BTreeMap<IpAddr, QueryCounters>,
}

impl Statistics {
    /// Counts for all, and for `client` when it is counted apart and there is room.
    pub(crate) fn count(&mut self, client: IpAddr, apart: bool, count: impl Fn(&mut QueryCounters)) {
        count(&mut self.total);
        if apart && (self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&client)) {
            count(self.clients.entry(client).or_default());
        }
    }
}
