//! What the servers say about leases, for everybody else: the view of leases, events, and where hosts are.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, Ipv4Addr};

use genkan_control::api::{EventKind, LeaseState};
use genkan_control::events::NewEvent;
use genkan_control::leases::{Lease, Pool};
use genkan_control::snapshot::Snapshot;
use genkan_engine::frame::PortId;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_services::dhcp::server::{Event, Now};

use tokio::sync::mpsc;
use tracing::warn;

use super::lan::LanServer;
use crate::daemon::limiter::Limiter;
use crate::daemon::log;
use crate::daemon::services::{HostSeen, Learned};

/// Limits of what is told: of each kind in each lan.
#[derive(Debug)]
pub(super) struct Telling {
    events: Limiter<(PortId, Discriminant<Event>)>,
    log: Limiter<(PortId, Discriminant<Event>)>,
    /// For those who follow devices.
    seen: Vec<HostSeen>,
}

/// The key of the problem that a lan's pool is used up.
fn pool_key(lan: &str) -> String {
    format!("dhcp pool:{lan}")
}

/// The key of the problem that a lan has another server.
fn other_key(lan: &str) -> String {
    format!("dhcp other:{lan}")
}

/// Tells what a lan's server has counted, and what is wrong about that.
pub(super) fn count(snapshot: &Snapshot, lan: &str, pool: Pool) {
    let exhausted = (!pool.exhausted.is_empty()).then(|| {
        format!("{lan}: every address of the DHCP pool is given out ({})", pool.exhausted.join(", "))
    });
    let other = pool.other_server.map(|server| {
        format!(
            "{lan}: another DHCP server, {server}, gives addresses as well: a machine has taken its offer"
        )
    });
    for (key, problem) in [(pool_key(lan), exhausted), (other_key(lan), other)] {
        if snapshot.set_problem(&key, problem.clone())
            && let Some(problem) = problem
        {
            warn!("{problem}");
        }
    }
    snapshot.leases.set_pool(lan, pool);
}

/// Forgets a lan that is not served any more.
pub(super) fn forget(snapshot: &Snapshot, lan: &str) {
    snapshot.leases.forget(lan);
    snapshot.set_problem(&pool_key(lan), None);
    snapshot.set_problem(&other_key(lan), None);
}

impl Telling {
    pub(super) fn new() -> Telling {
        Telling { events: Limiter::new(), log: Limiter::new(), seen: Vec::new() }
    }

    /// Tells what has happened at a lan.
    pub(super) fn tell(&mut self, lan: &mut LanServer, snapshot: &Snapshot, now: Now) {
        let mut changes = Vec::new();
        while let Some(event) = lan.server.poll_event() {
            match &event {
                Event::Leased { address, .. } => {
                    let view = lan.server.lease(*address).map(|lease| lan.view(&lease, now));
                    if let Some(view) = &view {
                        let asked = host(*address, view, true).map(|seen| HostSeen { asked: true, ..seen });
                        self.seen.extend(asked);
                    }
                    changes.push((*address, view));
                }
                Event::Released { address }
                | Event::Expired { address }
                | Event::Declined { address, .. }
                | Event::Conflict { address, .. } => {
                    // As it was before this event.
                    snapshot.leases.change(changes.drain(..));
                    if let Some(lease) = snapshot.leases.last(*address) {
                        self.ended(*address, &lease);
                    }
                    let view = match &event {
                        Event::Declined { .. } => rests(lan, *address, None, now),
                        Event::Conflict { mac, .. } => rests(lan, *address, *mac, now),
                        _ => None,
                    };
                    changes.push((*address, view));
                }
                Event::Exhausted { subnet } => lan.exhausted(*subnet),
                Event::OtherServer { server, .. } => lan.other_server(*server),
                _ => {}
            }
            self.put_into_words(&event, lan, snapshot);
        }
        if !changes.is_empty() {
            snapshot.leases.change(changes);
        }
    }

    /// Tells that the holder of a lease has it no longer.
    fn ended(&mut self, address: Ipv4Addr, lease: &Lease) {
        if lease.state == LeaseState::Leased {
            self.seen.extend(host(address, lease, false));
        }
    }

    /// Tells where the holders of all leases of a lan are, and who had one before that nobody vouches for any more.
    pub(super) fn found(&mut self, lan: &str, leases: &BTreeMap<Ipv4Addr, Lease>, snapshot: &Snapshot) {
        let stays =
            |address: &Ipv4Addr, lease: &Lease| leases.get(address).is_some_and(|now| now.mac == lease.mac);
        let before = snapshot.leases.all().into_iter().filter(|(_, lease)| lease.lan == lan);
        let gone = before.filter(|(address, lease)| !stays(address, lease));
        self.seen.extend(gone.filter_map(|(address, lease)| host(address, &lease, false)));
        let held = leases.iter().filter(|(_, lease)| lease.state == LeaseState::Leased);
        self.seen.extend(held.filter_map(|(address, lease)| host(*address, lease, true)));
    }

    /// Whether there is something to pass on.
    pub(super) fn has_seen(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Passes on where devices are, unless those who follow them are busy: then later. Whether nothing is left.
    pub(super) fn pass_on(&mut self, learned: &mpsc::Sender<Learned>) -> bool {
        if !self.seen.is_empty()
            && let Ok(permit) = learned.try_reserve()
        {
            permit.send(Learned::Hosts(std::mem::take(&mut self.seen)));
        }
        self.seen.is_empty()
    }

    fn put_into_words(&mut self, event: &Event, lan: &LanServer, snapshot: &Snapshot) {
        let Some((kind, address, what)) = words(event, lan) else { return };
        let key = (lan.settings.port, discriminant(event));
        let at = std::time::Instant::now();
        let (to_events, to_log) = (self.events.admit(key, at), self.log.admit(key, at));
        let name = &lan.settings.name;
        let told = NewEvent {
            port: Some(name.clone()),
            address: address.map(IpAddr::V4),
            ..NewEvent::new(kind, format!("{name}: {what}"))
        };
        if let Some(suppressed) = to_log {
            log::tell_event(&told, suppressed);
        }
        if let Some(suppressed) = to_events {
            snapshot.events.push(NewEvent { suppressed, ..told });
        }
    }
}

/// The device that holds a lease, where it can be known again.
fn host(address: Ipv4Addr, lease: &Lease, holds: bool) -> Option<HostSeen> {
    let client_id = lease.client_id.as_ref().map(|id| id.to_vec());
    // Who follows devices has the names of reservations from the configuration in force.
    let name = lease.name.clone().filter(|_| !lease.reserved);
    Some(HostSeen { mac: lease.mac?, client_id, address, name, holds, asked: false })
}

fn rests(lan: &LanServer, address: Ipv4Addr, mac: Option<MacAddr>, now: Now) -> Option<Lease> {
    let (_, until) = lan.server.resting().find(|(resting, _)| *resting == address)?;
    Some(lan.resting(until, mac, now))
}

/// What is worth to be told; the rest is counted.
fn words(event: &Event, lan: &LanServer) -> Option<(EventKind, Option<Ipv4Addr>, String)> {
    Some(match event {
        Event::Leased { address, hardware, name, renewed: false, .. } => {
            let name = name.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
            (EventKind::Lease, Some(*address), format!("{address} is leased to {hardware}{name}"))
        }
        Event::Released { address } => {
            (EventKind::Lease, Some(*address), format!("the lease of {address} was given back"))
        }
        Event::Declined { address, hardware } => {
            let what = format!("{hardware} was given {address} and found that a stranger uses it");
            (EventKind::LeaseConflict, Some(*address), what)
        }
        Event::Conflict { address, mac } => {
            let by = mac.map(|mac| format!(", {mac}")).unwrap_or_default();
            let what = format!("{address} of the DHCP service is in use by a stranger{by}");
            (EventKind::LeaseConflict, Some(*address), what)
        }
        Event::Refused { address, hardware } => {
            (EventKind::LeaseRefused, Some(*address), format!("{hardware} is refused {address}"))
        }
        Event::Exhausted { .. } => {
            (EventKind::Limit, None, "every address of the DHCP pool is given out".to_owned())
        }
        Event::ReservationIgnored { index, address } => {
            let reservation = lan.settings.config.reservations.get(*index);
            let name = reservation.and_then(|reservation| reservation.name.as_deref()).unwrap_or_default();
            let what =
                format!("the reservation of {address} for {name} is left out: another one comes before it");
            (EventKind::Problem, Some(*address), what)
        }
        // The last one is a problem, which is told as such.
        Event::Leased { .. }
        | Event::Expired { .. }
        | Event::LeaseOutside { .. }
        | Event::Dropped(_)
        | Event::OtherServer { .. } => return None,
    })
}
