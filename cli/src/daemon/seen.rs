//! What the engine tells, as events that people can look up: limited, so that a wire cannot fill the log.

use std::mem::{Discriminant, discriminant};
use std::net::Ipv4Addr;
use std::time::Instant;

use genkan_control::api::EventKind;
use genkan_control::events::NewEvent;
use genkan_control::snapshot::Snapshot;
use genkan_engine::Event;

use super::limiter::Limiter;
use crate::events::Describe;

/// Limits of the engine's events: for each kind and what it is about.
#[derive(Debug)]
pub(super) struct Seen(Limiter<(Discriminant<Event>, About)>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct About {
    forward: Option<String>,
    address: Option<Ipv4Addr>,
}

impl Seen {
    /// Everything may be told.
    pub(super) fn new() -> Seen {
        Seen(Limiter::new())
    }

    /// Puts an event of the engine in the event log, unless too many like it came lately.
    pub(super) fn note(&mut self, event: &Event, snapshot: &Snapshot) {
        let (kind, forward, port, address) = parts(event);
        // Sources are many, and anybody's: all of them are one to the limit.
        let limited = if forward.is_some() { None } else { address };
        let about = About { forward: forward.clone(), address: limited };
        let Some(suppressed) = self.0.admit((discriminant(event), about), Instant::now()) else { return };
        let ports = snapshot.port_names();
        let message = Describe { event, ports: &ports }.to_string();
        let port = port.map(|port| snapshot.port_name(port));
        snapshot.events.push(NewEvent { kind, message, forward, port, address, suppressed });
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
