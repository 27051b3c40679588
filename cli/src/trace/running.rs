//! A router that was made for one packet, of what a running one has at a moment.

use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Offload, PortId, Router, Timestamp, Verdict};

use crate::simulation::{Outcome, Packet};

/// It, and the time there. Its neighbours are those that the running router knows: nobody answers for the others.
pub(crate) struct Moment {
    pub(crate) router: Router,
    pub(crate) now: Timestamp,
    /// Sessions of the whole router that runs.
    pub(crate) sessions: u32,
}

impl Moment {
    /// A packet comes in by `port`.
    pub(super) fn send(&mut self, port: PortId, packet: &Packet) -> Outcome {
        let mac = self.router.link(port).map_or(MacAddr::ZERO, |link| link.mac);
        let mut bytes = packet.to_frame(mac);
        let mut frame = bytes.as_mut_slice();
        let (verdict, steps) = self.router.explain(self.now, port, &mut frame, Offload::default());
        let mut left = Vec::new();
        if let Verdict::Transmit(out) = verdict {
            left.extend(Packet::from_frame(frame).map(|packet| (out, packet)));
        }
        while let Some(made) = self.router.poll_transmit() {
            left.extend(Packet::from_frame(&made.bytes).map(|packet| (made.port, packet)));
        }
        Outcome { steps, verdict, left }
    }
}
