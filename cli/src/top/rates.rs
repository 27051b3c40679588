//! Two readings become rates.
//!
//! A counter that went down began anew meanwhile (a restart, a forward removed and added): it has no rate until the
//! next reading, rather than a wrong one.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;

use genkan_control::api::{ForwardRow, HostRow, PortCountersRow, Status};
use serde::Serialize;

use super::sample::Sample;
use super::services::Services;

/// What the router does at a moment. Rates are absent (`null`) where there is nothing yet to compare with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Snapshot {
    /// Seconds between the two readings.
    pub(super) seconds: Option<f64>,
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    pub(super) forwarding: bool,
    pub(super) problems: Vec<String>,
    pub(super) sessions: u32,
    pub(super) max_sessions: u32,
    pub(super) mappings: u32,
    pub(super) new_sessions_per_second: Option<f64>,
    pub(super) drops_per_second: Option<f64>,
    pub(super) ports: Vec<PortRates>,
    pub(super) drops: Vec<DropRates>,
    pub(super) hosts: Vec<HostRates>,
    pub(super) forwards: Vec<ForwardRates>,
    pub(super) services: Services,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PortRates {
    pub(super) port: String,
    pub(super) up: bool,
    pub(super) rx_bits_per_second: Option<f64>,
    pub(super) tx_bits_per_second: Option<f64>,
    /// Frames; a super-frame counts once.
    pub(super) rx_frames_per_second: Option<f64>,
    pub(super) tx_frames_per_second: Option<f64>,
    /// Frames lost before the router saw them, and those that the device did not take.
    pub(super) lost_per_second: Option<f64>,
}

/// One reason why frames were dropped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct DropRates {
    pub(super) reason: String,
    pub(super) per_second: Option<f64>,
    pub(super) total: u64,
    pub(super) description: String,
}

/// One inside host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct HostRates {
    pub(super) address: Ipv4Addr,
    pub(super) name: Option<String>,
    pub(super) port: Option<String>,
    pub(super) sessions: u64,
    /// Sessions opened less sessions ended.
    pub(super) growth_per_second: Option<f64>,
    pub(super) external_ports: u64,
    /// By the wan, as the router estimates it.
    pub(super) in_bits_per_second: f64,
    pub(super) out_bits_per_second: f64,
}

/// One forward.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ForwardRates {
    pub(super) name: String,
    pub(super) port: String,
    pub(super) to: String,
    pub(super) open: bool,
    pub(super) sessions: u64,
    pub(super) hits_per_second: Option<f64>,
    /// Towards its target, from the IP header on.
    pub(super) in_bits_per_second: Option<f64>,
    /// From its target.
    pub(super) out_bits_per_second: Option<f64>,
    /// Both ways.
    pub(super) packets_per_second: Option<f64>,
    pub(super) refused_per_second: Option<f64>,
}

/// The time between two readings of one run; `None` without an earlier one.
#[derive(Clone, Copy)]
pub(super) struct Span(Option<f64>);

impl Span {
    /// How much a counter went up, per second.
    pub(super) fn rate(self, before: Option<u64>, now: u64) -> Option<f64> {
        Some(now.checked_sub(before?)? as f64 / self.0?)
    }

    /// How a level moved, per second.
    fn growth(self, before: u64, now: u64) -> Option<f64> {
        Some((now as f64 - before as f64) / self.0?)
    }
}

impl Snapshot {
    /// What happened between `before` and `now`.
    pub(super) fn new(before: Option<&Sample>, now: &Sample) -> Snapshot {
        let before = before.filter(|before| now.is_of_the_run_of(before) && now.at > before.at);
        let seconds = before.map(|before| (now.at - before.at).as_secs_f64());
        let span = Span(seconds);
        let Status {
            version, uptime_seconds, forwarding, problems, sessions, max_sessions, mappings, ..
        } = now.status.clone();
        let opened = |sample: &Sample| sum(&sample.counters.stages, is_opening);
        let dropped = |sample: &Sample| sum(&sample.counters.drops, |_| true);
        Snapshot {
            seconds,
            version,
            uptime_seconds,
            forwarding,
            problems,
            sessions,
            max_sessions,
            mappings,
            new_sessions_per_second: span.rate(before.map(opened), opened(now)),
            drops_per_second: span.rate(before.map(dropped), dropped(now)),
            ports: ports(span, before, now),
            drops: drops(span, before, now),
            hosts: hosts(span, before, now),
            forwards: forwards(span, before, now),
            services: Services::new(span, before, now),
        }
    }
}

/// Stages that count sessions as they begin; the others count their ends.
fn is_opening(stage: &str) -> bool {
    matches!(
        stage,
        "sessions_outbound" | "sessions_forward" | "sessions_inbound" | "sessions_dmz" | "sessions_routed"
    )
}

fn sum(rows: &[genkan_control::api::CounterRow], wanted: impl Fn(&str) -> bool) -> u64 {
    rows.iter().filter(|row| wanted(&row.name)).map(|row| row.value).sum()
}

/// The rows of the earlier reading by their key.
fn keyed<'s, T, K: Eq + Hash>(
    before: Option<&'s Sample>,
    rows: impl Fn(&'s Sample) -> &'s [T],
    key: impl Fn(&'s T) -> K,
) -> HashMap<K, &'s T> {
    let rows = before.map_or(&[][..], rows);
    rows.iter().map(|row| (key(row), row)).collect()
}

fn ports(span: Span, before: Option<&Sample>, now: &Sample) -> Vec<PortRates> {
    let old = keyed(before, |sample| &sample.counters.ports, |row| row.port.as_str());
    let row = |row: &PortCountersRow| {
        let old = old.get(row.port.as_str()).copied();
        let rate = |value: fn(&PortCountersRow) -> u64| span.rate(old.map(value), value(row));
        let up = now.status.ports.iter().any(|port| port.name == row.port && port.up);
        PortRates {
            port: row.port.clone(),
            up,
            rx_bits_per_second: rate(|row| row.rx_octets).map(bits),
            tx_bits_per_second: rate(|row| row.tx_octets).map(bits),
            rx_frames_per_second: rate(|row| row.rx_frames),
            tx_frames_per_second: rate(|row| row.tx_frames),
            lost_per_second: rate(|row| row.rx_lost + row.tx_refused),
        }
    };
    now.counters.ports.iter().map(row).collect()
}

fn drops(span: Span, before: Option<&Sample>, now: &Sample) -> Vec<DropRates> {
    let old = keyed(before, |sample| &sample.counters.drops, |row| row.name.as_str());
    let counted = now.counters.drops.iter().filter(|row| row.value > 0);
    let row = |row: &genkan_control::api::CounterRow| DropRates {
        reason: row.name.clone(),
        per_second: span.rate(old.get(row.name.as_str()).map(|old| old.value), row.value),
        total: row.value,
        description: row.description.clone().unwrap_or_default(),
    };
    counted.map(row).collect()
}

fn hosts(span: Span, before: Option<&Sample>, now: &Sample) -> Vec<HostRates> {
    let old = keyed(before, |sample| &sample.hosts, |row| row.address);
    let row = |row: &HostRow| HostRates {
        address: row.address,
        name: row.name.clone(),
        port: row.port.clone(),
        sessions: row.sessions,
        // Who was not there had none.
        growth_per_second: span.growth(old.get(&row.address).map_or(0, |old| old.sessions), row.sessions),
        external_ports: row.external_ports,
        in_bits_per_second: bits(row.octets_per_second_in as f64),
        out_bits_per_second: bits(row.octets_per_second_out as f64),
    };
    now.hosts.iter().map(row).collect()
}

fn forwards(span: Span, before: Option<&Sample>, now: &Sample) -> Vec<ForwardRates> {
    let old = keyed(before, |sample| &sample.forwards, |row| row.name.as_str());
    let row = |row: &ForwardRow| {
        let old = old.get(row.name.as_str()).copied();
        let rate = |value: fn(&ForwardRow) -> u64| span.rate(old.map(value), value(row));
        ForwardRates {
            name: row.name.clone(),
            port: format!("{} {}", row.protocols.join("+"), row.ports.join(",")),
            to: row.to.clone(),
            open: row.open,
            sessions: row.counts.sessions,
            hits_per_second: rate(|row| row.counts.hits),
            in_bits_per_second: rate(|row| row.counts.octets_in).map(bits),
            out_bits_per_second: rate(|row| row.counts.octets_out).map(bits),
            packets_per_second: rate(|row| row.counts.packets_in + row.counts.packets_out),
            refused_per_second: rate(|row| row.counts.refused),
        }
    };
    now.forwards.iter().map(row).collect()
}

fn bits(octets: f64) -> f64 {
    octets * 8.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture;
    use super::*;

    #[test]
    fn two_readings_of_one_run_give_rates() {
        let snapshot = fixture::snapshot();
        assert_eq!((snapshot.seconds, snapshot.new_sessions_per_second), (Some(1.0), Some(20.0)));
        let wan = &snapshot.ports[0];
        assert_eq!((wan.rx_bits_per_second, wan.rx_frames_per_second), (Some(80_000_000.0), Some(10_000.0)));
        let [drop] = snapshot.drops.as_slice() else { panic!("what never happened is left out") };
        assert_eq!((drop.reason.as_str(), drop.per_second, drop.total), ("filtered", Some(5.0), 110));
        assert_eq!(snapshot.hosts[1].growth_per_second, Some(10.0));
        let web = &snapshot.forwards[1];
        assert_eq!((web.in_bits_per_second, web.out_bits_per_second), (Some(4e6), Some(4e7)));
        assert_eq!((web.packets_per_second, web.hits_per_second), (Some(6_000.0), Some(2.0)));
    }

    #[test]
    fn the_time_between_the_readings_counts() {
        let (before, mut after) = fixture::samples();
        after.at += Duration::from_secs(3);
        let snapshot = Snapshot::new(Some(&before), &after);
        assert_eq!((snapshot.seconds, snapshot.new_sessions_per_second), (Some(4.0), Some(5.0)));
        let same = Snapshot::new(Some(&before), &before);
        assert_eq!((same.seconds, same.drops_per_second), (None, None), "no time has passed");
    }

    #[test]
    fn a_restart_gives_no_rates_until_the_next_reading() {
        let (before, after) = fixture::samples();
        let without = |snapshot: Snapshot| {
            assert_eq!((snapshot.seconds, snapshot.new_sessions_per_second), (None, None));
            assert!(snapshot.ports.iter().all(|port| port.rx_bits_per_second.is_none()));
            assert!(snapshot.hosts.iter().all(|host| host.growth_per_second.is_none()));
        };
        without(Snapshot::new(None, &after));
        let mut other = after.clone();
        other.status.pid += 1;
        without(Snapshot::new(Some(&before), &other));
        // The same process number by chance.
        let mut younger = after.clone();
        younger.status.uptime_seconds = 0;
        without(Snapshot::new(Some(&before), &younger));
    }

    #[test]
    fn one_counter_that_began_anew_has_no_rate() {
        let (mut before, after) = fixture::samples();
        before.forwards[1].counts.octets_in = u64::MAX;
        before.forwards.remove(0);
        before.hosts.clear();
        let snapshot = Snapshot::new(Some(&before), &after);
        let web = &snapshot.forwards[1];
        assert_eq!((web.in_bits_per_second, web.out_bits_per_second), (None, Some(4e7)));
        assert_eq!(snapshot.forwards[0].hits_per_second, None, "it was not there before");
        assert_eq!(snapshot.hosts[0].growth_per_second, Some(3.0), "who was not there had no sessions");
    }

    #[test]
    fn what_is_not_known_is_null_in_json() {
        let (_, after) = fixture::samples();
        let json = serde_json::to_value(Snapshot::new(None, &after)).expect("json");
        assert!(json["seconds"].is_null() && json["ports"][0]["rx_bits_per_second"].is_null(), "{json}");
        assert_eq!(json["sessions"], 1_234);
    }
}
