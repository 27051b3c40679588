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
    /// Not before then it is asked again, when it has failed too often.
    retry_at: Timestamp,
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
    list: Vec<(Upstream, Health)>,
    pub(crate) strategy: Strategy,
}

impl Upstreams {
    /// All taken to be well. At most [`MAX_UPSTREAMS`].
    pub(crate) fn new(list: &[Upstream], strategy: Strategy) -> Upstreams {
        Upstreams { list: list.iter().map(|upstream| (*upstream, Health::default())).collect(), strategy }
    }

    /// Whom to ask now, in order. Those that are well come first; of those that are not, one whose pause is over, so that
    /// it can show that it is back. With the parallel strategy only these, unless nobody is well.
    pub(crate) fn order(&mut self, now: Timestamp) -> Vec<UpstreamId> {
        let mut well = Vec::with_capacity(self.list.len());
        let mut down = Vec::new();
        for (index, (_, health)) in self.list.iter_mut().enumerate() {
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
        self.list.iter().position(|(upstream, _)| *upstream == wanted).map(|index| UpstreamId(index as u8))
    }

    pub(crate) fn protocol(&self, id: UpstreamId) -> Protocol {
        self.list[usize::from(id.0)].0.protocol
    }

    pub(crate) fn is_known(&self, id: UpstreamId) -> bool {
        usize::from(id.0) < self.list.len()
    }

    /// It answered. Whether it was taken to be down.
    pub(crate) fn succeeded(&mut self, id: UpstreamId) -> bool {
        let health = &mut self.list[usize::from(id.0)].1;
        let was_down = health.is_down();
        *health = Health::default();
        was_down
    }

    /// It did not answer, or with an error of its own. Whether it is taken to be down from now on.
    pub(crate) fn failed(&mut self, id: UpstreamId, now: Timestamp) -> bool {
        let health = &mut self.list[usize::from(id.0)].1;
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
        assert!(upstreams.succeeded(FIRST));
        assert!(!upstreams.succeeded(FIRST));
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
