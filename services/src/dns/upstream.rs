//! The resolvers that questions are passed to, and whether they answer.

use std::net::SocketAddr;
use std::time::Duration;

use genkan_engine::Timestamp;

/// How many there may be.
pub const MAX_UPSTREAMS: usize = 16;
/// Failures in a row after which one is asked only now and then.
const TOLERATED: u32 = 3;
/// The first pause of one that does not answer; every further failure doubles it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Who has answered another question within this time may refuse some: resolvers do that with names that are none of theirs.
const REFUSES: Duration = Duration::from_secs(60);
/// How long one that does not know EDNS is asked without.
const WITHOUT_EDNS: Duration = Duration::from_secs(3600);

/// An upstream, by its place in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub u8);

/// How an upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP, and TCP for what does not fit.
    Plain,
    /// DNS over TLS (RFC 7858). Whose certificate counts is known to who makes the connection.
    Tls,
}

/// A resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens; answers from elsewhere are none.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub protocol: Protocol,
}

/// In what order upstreams are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The first that is well; the next when it does not answer.
    #[default]
    Ordered,
    /// All that are well at once; the first answer counts.
    Parallel,
}

/// What a message to or from an upstream travels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A datagram from this port of ours, which is used for one question.
    Udp {
        /// The source port.
        port: u16,
    },
    /// A TCP connection; the two octets of length are not part of the octets.
    Tcp,
    /// A TLS connection, with lengths as in TCP.
    Tls,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    failures: u32,
    /// The last of them was a refusal.
    refuses: bool,
    /// Not before then it is asked again, when it has failed too often.
    retry_at: Timestamp,
}

/// How an upstream does, for who watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamReport {
    /// It failed several times in a row; it is asked now and then.
    pub is_down: bool,
    /// What it did last then was to refuse a question.
    pub refuses: bool,
    /// Messages that it was sent.
    pub asked: u64,
    /// Answers of its that counted.
    pub answered: u64,
    /// Time-outs, failed connections and errors of its own.
    pub failed: u64,
    /// How long its answers take: an average in which the last weighs an eighth; nothing before the first.
    pub round_trip: Option<Duration>,
    /// When it answered last, and how long that took.
    pub last_answer: Option<(Timestamp, Duration)>,
    /// When it last failed to.
    pub last_failure: Option<Timestamp>,
}

#[derive(Debug)]
struct State {
    upstream: Upstream,
    health: Health,
    /// When it last gave an answer, or said SERVFAIL.
    succeeded_at: Option<Timestamp>,
    /// Until then it is asked without EDNS.
    without_edns: Timestamp,
    report: UpstreamReport,
}

impl Health {
    fn is_down(self) -> bool {
        self.failures >= TOLERATED
    }

    fn pause(self) -> Duration {
        let doublings = self.failures.saturating_sub(TOLERATED).min(6);
        (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
    }
}

#[derive(Debug)]
pub(crate) struct Upstreams {
    list: Vec<State>,
    pub(crate) strategy: Strategy,
}

impl Upstreams {
    /// All taken to be well. At most [`MAX_UPSTREAMS`].
    pub(crate) fn new(list: &[Upstream], strategy: Strategy) -> Upstreams {
        let state = |upstream: &Upstream| State {
            upstream: *upstream,
            health: Health::default(),
            succeeded_at: None,
            without_edns: Timestamp::ZERO,
            report: UpstreamReport::default(),
        };
        Upstreams { list: list.iter().map(state).collect(), strategy }
    }

    /// Whether these are they, in this order.
    pub(crate) fn are(&self, list: &[Upstream]) -> bool {
        self.list.iter().map(|state| &state.upstream).eq(list)
    }

    /// Puts others in their place; what is known of those that stay is kept.
    pub(crate) fn replace(&mut self, list: &[Upstream]) {
        let mut known = std::mem::replace(self, Upstreams::new(list, self.strategy)).list;
        for state in &mut self.list {
            if let Some(at) = known.iter().position(|old| old.upstream == state.upstream) {
                *state = known.swap_remove(at);
            }
        }
    }

    pub(crate) fn reports(&self) -> impl Iterator<Item = UpstreamReport> + '_ {
        self.list.iter().map(|state| UpstreamReport {
            is_down: state.health.is_down(),
            refuses: state.health.refuses,
            ..state.report
        })
    }

    fn state(&mut self, id: UpstreamId) -> &mut State {
        &mut self.list[usize::from(id.0)]
    }

    /// It is sent a message.
    pub(crate) fn asked(&mut self, id: UpstreamId) {
        self.state(id).report.asked += 1;
    }

    /// It said anything at all, after this time.
    pub(crate) fn heard(&mut self, id: UpstreamId, now: Timestamp, after: Duration) {
        self.state(id).report.last_answer = Some((now, after));
    }

    /// It gave an answer that counts, after this time.
    pub(crate) fn answered(&mut self, id: UpstreamId, now: Timestamp, after: Duration) {
        self.heard(id, now, after);
        let report = &mut self.state(id).report;
        report.answered += 1;
        report.round_trip = Some(report.round_trip.map_or(after, |average| (average * 7 + after) / 8));
    }

    /// Whether it is to be asked with EDNS.
    pub(crate) fn knows_edns(&self, id: UpstreamId, now: Timestamp) -> bool {
        self.list[usize::from(id.0)].without_edns <= now
    }

    /// It does not know EDNS.
    pub(crate) fn refused_edns(&mut self, id: UpstreamId, now: Timestamp) {
        self.state(id).without_edns = now + WITHOUT_EDNS;
    }

    /// Whom to ask now, in order. Those that are well come first; of those that are not, one whose pause is over, so that
    /// it can show that it is back. With the parallel strategy only these, unless nobody is well.
    pub(crate) fn order(&mut self, now: Timestamp) -> Vec<UpstreamId> {
        let mut well = Vec::with_capacity(self.list.len());
        let mut down = Vec::new();
        for (index, State { health, .. }) in self.list.iter_mut().enumerate() {
            let id = UpstreamId(index as u8);
            if !health.is_down() {
                well.push(id);
            } else if health.retry_at <= now {
                health.retry_at = now + health.pause();
                well.push(id);
            } else {
                down.push(id);
            }
        }
        if self.strategy == Strategy::Ordered || well.is_empty() {
            well.append(&mut down);
        }
        well
    }

    /// Which one it is that sent from `source` by `transport`.
    pub(crate) fn by_source(&self, source: SocketAddr, transport: Transport) -> Option<UpstreamId> {
        let protocol = if transport == Transport::Tls { Protocol::Tls } else { Protocol::Plain };
        let wanted = Upstream { address: source, protocol };
        self.list.iter().position(|state| state.upstream == wanted).map(|index| UpstreamId(index as u8))
    }

    pub(crate) fn protocol(&self, id: UpstreamId) -> Protocol {
        self.list[usize::from(id.0)].upstream.protocol
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = UpstreamId> + use<> {
        (0..self.list.len()).map(|index| UpstreamId(index as u8))
    }

    pub(crate) fn is_known(&self, id: UpstreamId) -> bool {
        usize::from(id.0) < self.list.len()
    }

    /// It answered. Whether it was taken to be down.
    pub(crate) fn succeeded(&mut self, id: UpstreamId, now: Timestamp) -> bool {
        let state = self.state(id);
        state.succeeded_at = Some(now);
        let was_down = state.health.is_down();
        state.health = Health::default();
        was_down
    }

    /// It did not answer. Whether it is taken to be down from now on.
    pub(crate) fn failed(&mut self, id: UpstreamId, now: Timestamp) -> bool {
        self.state(id).failed(now, false)
    }

    /// It answered with an error of its own. Whether it is taken to be down from now on.
    pub(crate) fn refused(&mut self, id: UpstreamId, now: Timestamp) -> bool {
        self.state(id).failed(now, true)
    }
}

impl State {
    /// Whether it is taken to be down from now on.
    fn failed(&mut self, now: Timestamp, refuses: bool) -> bool {
        self.report.failed += 1;
        self.report.last_failure = Some(now);
        if refuses && self.succeeded_at.is_some_and(|at| now.saturating_since(at) < REFUSES) {
            return false;
        }
        let health = &mut self.health;
        health.refuses = refuses;
        let was_down = health.is_down();
        health.failures = health.failures.saturating_add(1);
        health.retry_at = now + health.pause();
        health.is_down() && !was_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(strategy: Strategy) -> Upstreams {
        let upstream =
            |last: u8| Upstream { address: ([203, 0, 113, last], 53).into(), protocol: Protocol::Plain };
        Upstreams::new(&[upstream(1), upstream(2)], strategy)
    }

    const FIRST: UpstreamId = UpstreamId(0);
    const SECOND: UpstreamId = UpstreamId(1);

    #[test]
    fn who_fails_goes_to_the_end_and_is_tried_now_and_then() {
        let mut upstreams = two(Strategy::Ordered);
        let at = Timestamp::from_millis;
        assert_eq!([0, 0, 0, 0].map(|_| upstreams.failed(FIRST, at(0))), [false, false, true, false]);
        // The fourth failure made the pause two seconds.
        assert_eq!(upstreams.order(at(1999)), [SECOND, FIRST]);
        assert_eq!(upstreams.order(at(2000)), [FIRST, SECOND]);
        assert_eq!(upstreams.order(at(2000)), [SECOND, FIRST], "one question finds out");
        assert!(upstreams.succeeded(FIRST, at(2000)));
        assert!(!upstreams.succeeded(FIRST, at(2000)));
        assert_eq!(upstreams.order(at(2000)), [FIRST, SECOND]);
    }

    #[test]
    fn the_pause_has_an_end() {
        let mut upstreams = two(Strategy::Parallel);
        assert_eq!((0..1000).filter(|_| upstreams.failed(FIRST, Timestamp::ZERO)).count(), 1);
        assert_eq!(upstreams.order(Timestamp::from_secs(59)), [SECOND]);
        assert_eq!(upstreams.order(Timestamp::from_secs(60)), [FIRST, SECOND]);
        assert_eq!((0..9).filter(|_| upstreams.failed(SECOND, Timestamp::from_secs(60))).count(), 1);
        assert_eq!(upstreams.order(Timestamp::from_secs(61)), [FIRST, SECOND], "nobody is well");
    }
}
