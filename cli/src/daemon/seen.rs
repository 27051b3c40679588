//! What the engine tells, as events that people can look up, and in the log: limited, so that a wire can fill neither.

use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use genkan_control::api::EventKind;
use genkan_control::events::NewEvent;
use genkan_control::snapshot::Snapshot;
use genkan_engine::Event;

use super::limiter::Limiter;
use super::log;
use crate::events::Describe;

/// Limits of the engine's events.
#[derive(Debug)]
pub(super) struct Seen {
    /// Of the event log: for each kind and what it is about.
    events: Limiter<(Discriminant<Event>, About)>,
    /// Of the log: for each kind.
    log: Limiter<Discriminant<Event>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct About {
    forward: Option<String>,
    address: Option<Ipv4Addr>,
}

impl Seen {
    /// Everything may be told.
    pub(super) fn new() -> Seen {
        Seen { events: Limiter::new(), log: Limiter::new() }
    }

    /// Puts an event of the engine in the event log and in the log, unless too many like it came lately.
    pub(super) fn note(&mut self, event: &Event, snapshot: &Snapshot) {
        let now = Instant::now();
        let (kind, forward, port, address) = parts(event);
        // Sources are many, and anybody's: all of them are one to the limit.
        let limited = if forward.is_some() { None } else { address };
        let about = About { forward: forward.clone(), address: limited };
        let to_events = self.events.admit((discriminant(event), about), now);
        let to_log = self.log.admit(discriminant(event), now);
        if to_events.is_none() && to_log.is_none() {
            return;
        }
        let ports = snapshot.port_names();
        let message = Describe { event, ports: &ports }.to_string();
        let port = port.map(|port| snapshot.port_name(port));
        let mut told =
            NewEvent { kind, message, forward, port, address: address.map(IpAddr::V4), suppressed: 0 };
        if let Some(suppressed) = to_log {
            log::tell_event(&told, suppressed);
        }
        if let Some(suppressed) = to_events {
            told.suppressed = suppressed;
            snapshot.events.push(told);
        }
    }
}

/// Kind of an event, and the forward, port and address that it is about.
fn parts(
    event: &Event,
) -> (EventKind, Option<String>, Option<genkan_engine::frame::PortId>, Option<Ipv4Addr>) {
    match event {
        Event::AddressConflict { port, address, .. } => {
            (EventKind::AddressConflict, None, Some(*port), Some(*address))
        }
        Event::NeighborMoved { port, address, .. } => {
            (EventKind::NeighborMoved, None, Some(*port), Some(*address))
        }
        Event::NeighborUnreachable { port, address } => {
            (EventKind::NeighborUnreachable, None, Some(*port), Some(*address))
        }
        Event::PortsExhausted { external, .. } => (EventKind::Limit, None, None, Some(*external)),
        Event::SessionTableFull => (EventKind::Limit, None, None, None),
        Event::HostLimit { host } => (EventKind::Limit, None, None, Some(*host)),
        Event::ForwardHit { forward, source, .. } => {
            (EventKind::ForwardHit, Some(forward.clone()), None, Some(*source))
        }
        Event::ForwardOpened { forward } => (EventKind::ForwardOpened, Some(forward.clone()), None, None),
        Event::ForwardClosed { forward } => (EventKind::ForwardClosed, Some(forward.clone()), None, None),
        Event::ForwardExpired { forward } => (EventKind::ForwardExpired, Some(forward.clone()), None, None),
        _ => (EventKind::Other, None, None, None),
    }
}
