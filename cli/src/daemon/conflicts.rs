//! Other machines that use addresses of the router's own (RFC 5227 section 2.4): who they are, and whether they still do.
//!
//! A machine speaks of its address only when it needs another one. So each that was not heard of for a while is asked, by
//! an ARP probe for the address (RFC 5227 section 2.1.1), which every machine answers that has it.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use genkan_control::api::AddressConflict;
use genkan_control::request::{WorkerHandle, WorkerRequest};
use genkan_control::snapshot::Snapshot;
use genkan_engine::frame::PortId;
use genkan_engine::probe::{Probe, ProbeKind};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Event, Plan};
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::events::Describe;

/// Who was not heard of for this long is asked at every look.
const ASK_AFTER: Duration = Duration::from_secs(5);
/// And is gone after this time: three questions, as radio cards that sleep miss some.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// What the status knows the problem as.
const PROBLEM: &str = "the router's own addresses";

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    known: BTreeMap<(PortId, Ipv4Addr), Known>,
}

#[derive(Debug)]
struct Known {
    mac: MacAddr,
    heard: Instant,
    asked: Option<Instant>,
}

impl Known {
    fn is_silent_for(&self, time: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= time
    }
}

impl Conflicts {
    /// A machine has used an address of ours. False where it was asked whether it does, so that it claims nothing anew.
    pub(super) fn heard(&mut self, port: PortId, address: Ipv4Addr, mac: MacAddr, now: Instant) -> bool {
        let fresh = Known { mac, heard: now, asked: None };
        let known = self.known.entry((port, address)).or_insert(fresh);
        // Of several machines the first one is told of while it is heard, so that a flood of claims is one problem.
        if known.mac == mac || known.is_silent_for(ASK_AFTER, now) {
            (known.mac, known.heard) = (mac, now);
        }
        known.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ANSWER)
    }

    /// Forgets those that are over. Which addresses are to be asked for.
    pub(super) fn look(&mut self, plan: &Plan, now: Instant) -> Vec<(PortId, Ipv4Addr)> {
        self.known.retain(|&(port, address), known| {
            is_ours(plan, port, address) && !known.is_silent_for(GONE_AFTER, now)
        });
        let silent = self.known.iter_mut().filter(|(_, known)| known.is_silent_for(ASK_AFTER, now));
        let ask = |(place, known): (&(PortId, Ipv4Addr), &mut Known)| {
            known.asked = Some(now);
            *place
        };
        silent.map(ask).collect()
    }

    /// Tells the status of them.
    pub(super) fn tell(&self, snapshot: &Snapshot) {
        let row = |(&(port, address), known): (&(PortId, Ipv4Addr), &Known)| AddressConflict {
            port: snapshot.port_name(port),
            address,
            mac: known.mac.to_string(),
        };
        snapshot.set_conflicts(self.known.iter().map(row).collect());
        let ports = snapshot.port_names();
        let say = |(&(port, address), known): (&(PortId, Ipv4Addr), &Known)| {
            let event = Event::AddressConflict { port, address, mac: known.mac };
            Describe { event: &event, ports: &ports }.to_string()
        };
        let problems: Vec<String> = self.known.iter().map(say).collect();
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        if snapshot.set_problem(PROBLEM, problem.clone()) && problem.is_none() {
            info!("{PROBLEM}: well again");
        }
    }
}

fn is_ours(plan: &Plan, port: PortId, address: Ipv4Addr) -> bool {
    match port.lan_index() {
        Some(index) => plan.lans.get(index).is_some_and(|lan| lan.address.addr() == address),
        None => plan.wan.external_addresses().any(|own| own == address),
    }
}

/// Asks whether somebody has the address. An answer is a conflict like any other to the engine, which tells it.
pub(super) fn ask(worker: &WorkerHandle, (port, address): (PortId, Ipv4Addr)) {
    let probe = Probe {
        id: RandomState::new().build_hasher().finish(),
        port,
        kind: ProbeKind::Arp,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        target: SocketAddrV4::new(address, 0),
        to: MacAddr::BROADCAST,
    };
    let (answers, _) = mpsc::channel(1);
    let worker = worker.clone();
    tokio::spawn(async move {
        let request = |reply| WorkerRequest::Probe { probe, send: true, answers: answers.clone(), reply };
        if let Err(error) = worker.ask_first(request).await {
            debug!(%error, %address, "it is not asked for");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::tests::plan;

    const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
    const LAN: PortId = PortId::lan(0);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn told(conflicts: &Conflicts) -> Vec<MacAddr> {
        conflicts.known.values().map(|known| known.mac).collect()
    }

    #[test]
    fn who_is_silent_is_asked_and_gone_without_an_answer() {
        let (mut conflicts, plan, start) = (Conflicts::default(), plan(), Instant::now());
        let (one, other) = (MacAddr([2, 0, 0, 0, 0, 9]), MacAddr([2, 0, 0, 0, 0, 10]));
        assert!(conflicts.heard(LAN, OURS, one, start));
        assert!(conflicts.heard(LAN, OURS, other, start + secs(1)));
        assert_eq!(conflicts.look(&plan, start + secs(4)), []);
        assert_eq!(told(&conflicts), [one], "the first one");
        assert_eq!(conflicts.look(&plan, start + secs(6)), [(LAN, OURS)]);
        assert!(!conflicts.heard(LAN, OURS, one, start + secs(6)), "that is the answer");
        assert!(conflicts.heard(LAN, OURS, one, start + secs(8)), "that is none");
        // The other one alone is left.
        assert_eq!(conflicts.look(&plan, start + secs(13)), [(LAN, OURS)]);
        conflicts.heard(LAN, OURS, other, start + secs(13));
        assert_eq!(told(&conflicts), [other]);
        // And leaves.
        for second in [18, 23, 28] {
            assert_eq!(conflicts.look(&plan, start + secs(second)), [(LAN, OURS)]);
        }
        assert_eq!(conflicts.look(&plan, start + secs(32)), [(LAN, OURS)]);
        assert_eq!(conflicts.look(&plan, start + secs(33)), []);
        assert_eq!(told(&conflicts), []);
    }

    #[test]
    fn an_address_that_is_not_ours_any_more_is_anybody_s() {
        let (mut conflicts, plan, now) = (Conflicts::default(), plan(), Instant::now());
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        for (port, address) in [(LAN, OURS), (LAN, [192, 168, 0, 2].into()), (PortId::WAN, OURS)] {
            conflicts.heard(port, address, mac, now);
        }
        conflicts.look(&plan, now);
        assert_eq!(conflicts.known.into_keys().collect::<Vec<_>>(), [(LAN, OURS)]);
    }
}
