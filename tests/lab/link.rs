//! The wire between a router port and its hosts: delay and loss by seed, and frames under way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use genkan_engine::rng::Rng;
use genkan_engine::{Offload, PortId, Timestamp};

/// How a link treats frames, the same in both directions.
#[derive(Clone, Debug)]
pub struct Link {
    /// Time that every frame needs.
    pub latency: Duration,
    /// A frame in so many is lost at random; 0: none.
    pub loss_one_in: u32,
    random: Rng,
}

impl Link {
    /// A link without delay or loss; `seed` decides which frames are lost once loss is set.
    pub fn new(seed: u64) -> Link {
        Link { latency: Duration::ZERO, loss_one_in: 0, random: Rng::new(seed) }
    }

    /// When a frame that sets out at `now` arrives, unless it is lost.
    pub fn carry(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.loss_one_in > 0 && self.random.below(self.loss_one_in) == 0 {
            return None;
        }
        Some(now + self.latency)
    }
}

/// Who a frame under way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Toward {
    /// The router, by this port.
    Router(PortId),
    /// The hosts of this port.
    Hosts(PortId),
}

/// A frame on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Where it goes.
    pub toward: Toward,
    /// Its octets.
    pub bytes: Vec<u8>,
    /// What is left to finish.
    pub offload: Offload,
}

/// Frames under way in order of arrival; equal times keep the order of sending.
#[derive(Debug, Default)]
pub struct InFlight {
    order: BinaryHeap<Reverse<(Timestamp, u64)>>,
    frames: std::collections::HashMap<u64, UnderWay>,
    sent: u64,
}

impl InFlight {
    /// Adds a frame that arrives at `at`.
    pub fn push(&mut self, at: Timestamp, frame: UnderWay) {
        self.order.push(Reverse((at, self.sent)));
        self.frames.insert(self.sent, frame);
        self.sent += 1;
    }

    /// When the next frame arrives.
    pub fn next_arrival(&self) -> Option<Timestamp> {
        self.order.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next frame that has arrived by `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<UnderWay> {
        if self.next_arrival()? > now {
            return None;
        }
        let Reverse((_, number)) = self.order.pop()?;
        self.frames.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrival_order() {
        let mut flight = InFlight::default();
        let frame = |octet| UnderWay {
            toward: Toward::Router(PortId::WAN),
            bytes: vec![octet],
            offload: Offload::default(),
        };
        flight.push(Timestamp::from_secs(2), frame(1));
        flight.push(Timestamp::from_secs(1), frame(2));
        flight.push(Timestamp::from_secs(1), frame(3));
        assert_eq!(flight.pop(Timestamp::from_millis(999)), None);
        let mut order = Vec::new();
        while let Some(frame) = flight.pop(Timestamp::from_secs(2)) {
            order.push(frame.bytes[0]);
        }
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn loss_is_by_seed() {
        let run = |seed| {
            let mut link = Link::new(seed);
            link.loss_one_in = 3;
            (0..64).map(|_| link.carry(Timestamp::ZERO).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).contains(&true) && run(1).contains(&false));
    }
}
