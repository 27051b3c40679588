//! Whether upstreams answer now: each is asked the same question, for nobody.
//!
//! Who is not asked cannot be seen to die. A check is an exchange of one upstream, so that how it goes is judged as with
//! any other; its key is longer than that of a client's question, so that nobody joins it, and its answer is not kept.

use std::time::Duration;

use genkan_engine::Timestamp;

use super::exchange::{Exchange, Turns};
use super::forwarder::{Action, Forwarder};
use super::message::{Key, Query, is_about_the_name};
use super::upstream::{Protocol, UpstreamId};

/// What is asked: the name servers of the root, which every resolver has.
const QUESTION: [u8; 17] = [
    0, 0, // identifier
    1, 0, // recursion desired
    0, 1, 0, 0, 0, 0, 0, 0, // one question
    0, 0, 2, 0, 1, // . NS IN
];
const HEADER: usize = 12;
/// How often one is asked: a datagram may be lost.
const TRIES: usize = 2;
/// How long that may take: for a datagram twice its time-out, for a connection once.
const PLAIN: Duration = Duration::from_secs(2);
const STREAM: Duration = Duration::from_secs(3);

fn key(upstream: UpstreamId) -> Key {
    QUESTION[HEADER..].iter().copied().chain([0, upstream.0]).collect()
}

/// Whether an exchange is a check.
pub(super) fn is_of_check(key: &Key) -> bool {
    let question = &QUESTION[HEADER..];
    key.len() == question.len() + 2 && key.starts_with(question)
}

impl Forwarder {
    /// Asks each upstream a question; [`Forwarder::is_checking`] until all have answered, or had time for it.
    pub fn check_upstreams(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        actions: &mut Vec<Action>,
    ) {
        let query = Query::parse(&QUESTION).expect("it is a question");
        for upstream in self.upstreams.ids() {
            let key = key(upstream);
            if self.exchanges.is_asked(&key) {
                continue;
            }
            let time = match self.upstreams.protocol(upstream) {
                Protocol::Plain => PLAIN,
                Protocol::Tls => STREAM,
            };
            let exchange =
                Exchange::new(query.clone(), Vec::new(), Turns::new(&[upstream], 1, TRIES), now + time);
            self.exchanges.insert(&key, exchange);
            self.advance(now, random, &key, actions);
        }
    }

    /// Whether an upstream has still to answer a check.
    pub fn is_checking(&self) -> bool {
        self.upstreams.ids().any(|upstream| self.exchanges.is_asked(&key(upstream)))
    }

    /// Nothing more of it is waited for.
    pub(super) fn end_check(&mut self, key: &Key, actions: &mut Vec<Action>) {
        self.exchanges.drop_all_attempts(key, actions);
        self.exchanges.end(key, actions);
    }

    /// An upstream has answered a check. One that refuses this question is there, which says nothing of other questions.
    pub(super) fn checked(
        &mut self,
        now: Timestamp,
        upstream: UpstreamId,
        rcode: u16,
        after: Duration,
        actions: &mut Vec<Action>,
    ) {
        if is_about_the_name(rcode) {
            self.upstream_succeeded(upstream, now, actions);
            self.upstreams.answered(upstream, now, after);
        } else {
            self.upstreams.heard(upstream, now, after);
        }
    }
}
