//! Packets that a router has really had.

use genkan_control::api::{TraceAnswer, TraceLeft};
use genkan_engine::trail::Step;
use genkan_engine::{PortId, Verdict};

use super::{Scene, drop_line, fate};
use crate::output;
use crate::simulation::Packet;
use crate::words::Words;

/// What is known of one.
pub(crate) struct Real<'a> {
    /// Where it came in.
    pub(crate) port: PortId,
    /// What it was, if that is an IPv4 packet.
    pub(crate) packet: Option<Packet>,
    /// The beginning of its frame.
    pub(crate) head: &'a [u8],
    /// What was asked on its way.
    pub(crate) steps: &'a [Step],
    pub(crate) verdict: Verdict,
    /// Where it leaves, and as what.
    pub(crate) left: Option<(PortId, Option<Packet>, &'a [u8])>,
}

impl Scene<'_> {
    /// What became of it, in words.
    pub(crate) fn tell_real(&self, real: &Real<'_>, words: &Words) -> TraceAnswer {
        let Real { port, packet, head, steps, verdict, left } = real;
        let reason = match verdict {
            Verdict::Drop(reason) => Some(*reason),
            _ => None,
        };
        let remedies = reason.map(|reason| self.remedies(reason, *port, packet.as_ref(), steps, words));
        let left = left.as_ref().map(|(port, packet, head)| TraceLeft {
            port: self.port_name(*port).to_owned(),
            packet: described(*packet, head),
        });
        TraceAnswer {
            packet: described(*packet, head),
            port: self.port_name(*port).to_owned(),
            now: Vec::new(),
            steps: steps.iter().filter_map(|step| self.line(step, words)).collect(),
            fate: fate(*verdict, steps, left.is_some()),
            reason: reason.map(|reason| drop_line(reason, words)),
            left: left.into_iter().collect(),
            remedies: remedies.unwrap_or_default(),
            answer: None,
        }
    }
}

/// A packet, or whatever is in a frame, on one line.
fn described(packet: Option<Packet>, head: &[u8]) -> String {
    packet.map_or_else(|| output::headers(head), |packet| packet.to_string())
}
