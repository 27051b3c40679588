//! The counters in OpenMetrics text, for Prometheus. What each means is in docs/metrics.md and docs/counters.md.
//!
//! Nothing is counted here: a scrape reads what the workers have counted, as the listings do.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use genkan_engine::verdict::DropReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::api::{
    CountersReport, DdnsRow, DdnsState, DhcpRow, DnsReport, ForwardRow, PortCountersRow, Status, Totals,
};
use crate::leases::Pool;
use crate::request::{CounterSet, WorkerError, WorkerHandle, WorkerRequest};
use crate::snapshot::Snapshot;

/// What [`text`] gives is of this kind.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One metric: its rows differ in their labels.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    rows: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// A moment's counters.
#[derive(Debug, Default)]
struct Scrape {
    families: Vec<Family>,
}

/// All metrics of the router as text.
///
/// # Errors
/// [`WorkerError`] when a worker gives no answer.
pub async fn text(snapshot: &Arc<Snapshot>, worker: &WorkerHandle) -> Result<String, WorkerError> {
    let totals = worker.ask_all(|reply| WorkerRequest::Totals { reply }).await?;
    let sets = worker.ask_all(|reply| WorkerRequest::Counters { reply }).await?;
    let set = CounterSet::sum(sets.iter().map(Box::as_ref));
    let report = CountersReport::new(&set.engine, &set.io, &snapshot.port_names());
    let status = snapshot.status(totals.iter().copied().fold(Totals::default(), Totals::plus));
    let mut forwards = snapshot.forwards().1;
    let mut counts = crate::forwards::counts(worker).await?;
    for row in &mut forwards {
        row.counts = counts.remove(&row.name).unwrap_or_default();
    }
    let mut scrape = Scrape::default();
    scrape.status(&status);
    scrape.workers(&totals, &sets);
    scrape.ports(&report.ports);
    scrape.decisions(&report);
    scrape.forwards(&forwards);
    scrape.dns(&snapshot.dns().await);
    scrape.leases(&snapshot.leases.pools());
    scrape.dhcp(&snapshot.leases.services());
    scrape.ddns(&snapshot.ddns());
    Ok(scrape.text())
}

impl Scrape {
    /// Adds a metric. `rows` are its labels and values.
    fn add(
        &mut self,
        (name, help, is_counter): (&'static str, &'static str, bool),
        rows: impl Iterator<Item = (Vec<(&'static str, String)>, u64)>,
    ) {
        self.families.push(Family { name, help, is_counter, rows: rows.collect() });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.add((name, help, false), std::iter::once((Vec::new(), value)));
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.add((name, help, true), std::iter::once((Vec::new(), value)));
    }

    fn status(&mut self, status: &Status) {
        let build = vec![("version", status.version.clone())];
        self.add(("genkan_build", "Version of the running binary", false), std::iter::once((build, 1)));
        self.gauge("genkan_uptime_seconds", "Seconds since the router started", status.uptime_seconds);
        self.gauge("genkan_forwarding", "Whether packets can flow", u64::from(status.forwarding));
        self.gauge("genkan_problems", "What is not as it should be", status.problems.len() as u64);
        self.gauge("genkan_max_sessions", "Most sessions at once", u64::from(status.max_sessions));
        self.gauge("genkan_config_revision", "Revision of the configuration in force", status.revision);
        self.counter("genkan_reloads", "Changes and reloads that are in force", status.reloads.into());
        self.counter(
            "genkan_upgrades",
            "Programs that have taken over from another one",
            status.upgrades.into(),
        );
        if let Some(lease) = &status.wan_lease {
            let left = lease.address.as_ref().and(lease.ends_in_seconds);
            let help = "Seconds until the wan loses its address unless the lease is renewed";
            self.add(
                ("genkan_wan_lease_seconds", help, false),
                left.into_iter().map(|left| (Vec::new(), left)),
            );
            let has = u64::from(lease.address.is_some() && lease.refused.is_none());
            self.gauge("genkan_wan_address", "Whether the wan has an address by DHCP", has);
        }
        let up = status.ports.iter().map(|port| (vec![("port", port.name.clone())], u64::from(port.up)));
        self.add(("genkan_port_up", "Whether the device is there and has a carrier", false), up);
    }

    fn workers(&mut self, totals: &[Totals], sets: &[Box<CounterSet>]) {
        let label = |index: usize| vec![("worker", index.to_string())];
        let numbered = || totals.iter().enumerate();
        let sessions = numbered().map(|(index, totals)| (label(index), u64::from(totals.sessions)));
        self.add(("genkan_sessions", "Live sessions", false), sessions);
        let mappings = numbered().map(|(index, totals)| (label(index), u64::from(totals.mappings)));
        self.add(("genkan_mappings", "Live dynamic mappings", false), mappings);
        let received = sets.iter().enumerate().map(|(index, set)| {
            (label(index), set.engine.ports.iter().map(|port| port.rx_frames).sum::<u64>())
        });
        self.add(("genkan_worker_receive_frames", "Frames that a worker has judged", true), received);
        let dropped =
            sets.iter().enumerate().map(|(index, set)| (label(index), set.engine.drops.iter().sum::<u64>()));
        self.add(("genkan_worker_drops", "Frames that a worker has not forwarded", true), dropped);
    }

    fn ports(&mut self, ports: &[PortCountersRow]) {
        type Value = fn(&PortCountersRow) -> u64;
        let metrics: [(&str, &str, Value); 9] = [
            ("genkan_port_receive_frames", "Frames received, a super-frame once", |row| row.rx_frames),
            ("genkan_port_receive_bytes", "Octets received, Ethernet header included", |row| row.rx_octets),
            ("genkan_port_transmit_frames", "Frames sent", |row| row.tx_frames),
            ("genkan_port_transmit_bytes", "Octets sent, Ethernet header included", |row| row.tx_octets),
            ("genkan_port_receive_lost", "Frames lost before the router saw them", |row| row.rx_lost),
            ("genkan_port_transmit_refused", "Frames that the device did not take", |row| row.tx_refused),
            ("genkan_port_transmit_merged", "Frames that left in another's super-frame", |row| row.tx_merged),
            ("genkan_port_receive_errors", "Failed calls to receive", |row| row.rx_errors),
            ("genkan_port_transmit_errors", "Failed calls to send", |row| row.tx_errors),
        ];
        for (name, help, value) in metrics {
            let rows = ports.iter().map(|row| (vec![("port", row.port.clone())], value(row)));
            self.add((name, help, true), rows);
        }
    }

    fn decisions(&mut self, report: &CountersReport) {
        let stages = report.stages.iter().map(|row| (vec![("stage", row.name.clone())], row.value));
        self.add(("genkan_decisions", "What was decided, by stage", true), stages);
        debug_assert_eq!(report.drops.len(), DropReason::COUNT);
        let drops = report.drops.iter().map(|row| (vec![("reason", row.name.clone())], row.value));
        self.add(("genkan_drops", "Frames not forwarded, by reason", true), drops);
    }

    fn forwards(&mut self, forwards: &[ForwardRow]) {
        type Value = fn(&ForwardRow) -> u64;
        let metrics: [(&str, &str, bool, Value); 10] = [
            ("genkan_forward_open", "Whether it is open", false, |row| u64::from(row.open)),
            ("genkan_forward_sessions", "Live sessions that it has admitted", false, |row| {
                row.counts.sessions
            }),
            ("genkan_forward_hits", "Sessions that it has admitted", true, |row| row.counts.hits),
            ("genkan_forward_refused", "Packets of sources not admitted", true, |row| row.counts.refused),
            ("genkan_forward_limited", "Packets refused by max_sessions", true, |row| row.counts.limited),
            ("genkan_forward_braked", "Packets refused by max_new_per_source", true, |row| row.counts.braked),
            ("genkan_forward_receive_packets", "Packets to its target", true, |row| row.counts.packets_in),
            ("genkan_forward_receive_bytes", "Octets to its target, from IP on", true, |row| {
                row.counts.octets_in
            }),
            ("genkan_forward_transmit_packets", "Packets from its target", true, |row| {
                row.counts.packets_out
            }),
            ("genkan_forward_transmit_bytes", "Octets from its target, from IP on", true, |row| {
                row.counts.octets_out
            }),
        ];
        for (name, help, is_counter, value) in metrics {
            let rows = forwards.iter().map(|row| (vec![("forward", row.name.clone())], value(row)));
            self.add((name, help, is_counter), rows);
        }
        type Time = fn(&ForwardRow) -> Option<i64>;
        let times: [(&str, &str, Time); 2] = [
            ("genkan_forward_first_hit_timestamp_seconds", "When the first hit was", |row| {
                row.counts.first_hit
            }),
            ("genkan_forward_last_hit_timestamp_seconds", "When the last hit was", |row| row.counts.last_hit),
        ];
        for (name, help, time) in times {
            let hit = |row: &ForwardRow| {
                let at = u64::try_from(time(row)?).ok()?;
                Some((vec![("forward", row.name.clone())], at))
            };
            self.add((name, help, false), forwards.iter().filter_map(hit));
        }
    }

    fn dns(&mut self, report: &DnsReport) {
        if !report.enabled {
            return;
        }
        let queries = &report.queries;
        let outcomes = [
            ("local", queries.local),
            ("blocked", queries.blocked),
            ("cached", queries.cached),
            ("stale", queries.stale),
            ("forwarded", queries.forwarded),
            ("failed", queries.failed),
            ("refused", queries.refused),
            ("repeated", queries.repeated),
            ("malformed", report.malformed),
        ];
        let rows =
            outcomes.into_iter().map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count));
        self.add(("genkan_dns_queries", "DNS queries of the lans, by what became of them", true), rows);
        // Problems of one kind are one row: labels tell rows apart.
        let faults: BTreeSet<_> = report.problems.iter().map(|problem| problem.fault).collect();
        let faults = faults.into_iter().map(|fault| (vec![("fault", fault.name().to_owned())], 1));
        self.add(("genkan_dns_fault", "What is not as it should be about DNS", false), faults);
        self.gauge("genkan_dns_waiting", "DNS questions that resolvers are being asked", report.waiting);
        self.gauge("genkan_dns_cache_answers", "DNS answers that are kept", report.cache.answers);
        self.gauge("genkan_dns_cache_bytes", "Octets that they are charged with", report.cache.octets);
        self.gauge("genkan_dns_blocked_names", "Names that the block lists have", report.blocked_names);
        self.counter(
            "genkan_dns_rebinding",
            "DNS answers withheld, since they pointed inside",
            report.rebinding,
        );
        self.counter(
            "genkan_dns_ignored_answers",
            "Messages of resolvers that answered no question",
            report.ignored_answers,
        );
        type Value = fn(&crate::api::DnsUpstreamRow) -> u64;
        let metrics: [(&str, &str, bool, Value); 4] = [
            ("genkan_dns_resolver_up", "Whether it answers", false, |row| u64::from(row.up)),
            ("genkan_dns_resolver_asked", "Messages that it was sent", true, |row| row.asked),
            ("genkan_dns_resolver_answered", "Answers of its that counted", true, |row| row.answered),
            ("genkan_dns_resolver_failed", "Time-outs, failed connections, errors of its own", true, |row| {
                row.failed
            }),
        ];
        for (name, help, is_counter, value) in metrics {
            let rows =
                report.upstreams.iter().map(|row| (vec![("resolver", row.resolver.clone())], value(row)));
            self.add((name, help, is_counter), rows);
        }
    }

    fn leases(&mut self, pools: &[(String, Pool, usize)]) {
        let of = |value: fn(&Pool, usize) -> u64| {
            pools.iter().map(move |(lan, pool, count)| (vec![("lan", lan.clone())], value(pool, *count)))
        };
        self.add(
            ("genkan_dhcp_pool_addresses", "Addresses that any client may get", false),
            of(|p, _| p.size.into()),
        );
        self.add(
            ("genkan_dhcp_pool_free", "Those that nobody has or was promised", false),
            of(|p, _| p.free.into()),
        );
        self.add(
            ("genkan_dhcp_leases", "Leases in force, reserved ones included", false),
            of(|_, n| n as u64),
        );
        self.add(
            ("genkan_dhcp_conflicts", "Addresses found in use by strangers", true),
            of(|pool, _| pool.conflicts),
        );
        type Counts = fn(&Pool) -> &[(&'static str, u64)];
        let metrics: [(&str, &str, &str, Counts); 3] = [
            ("genkan_dhcp_received", "Messages of DHCP clients", "kind", |pool| &pool.received),
            ("genkan_dhcp_sent", "Replies to DHCP clients", "kind", |pool| &pool.sent),
            (
                "genkan_dhcp_dropped",
                "DHCP messages that got no answer, or not the one they asked for",
                "reason",
                |pool| &pool.dropped,
            ),
        ];
        for (name, help, label, counts) in metrics {
            let rows = pools.iter().flat_map(|(lan, pool, _)| {
                counts(pool).iter().map(move |(word, count)| {
                    (vec![("lan", lan.clone()), (label, (*word).to_owned())], *count)
                })
            });
            self.add((name, help, true), rows);
        }
    }

    fn dhcp(&mut self, services: &[DhcpRow]) {
        let label = |row: &DhcpRow| vec![("lan", row.lan.clone())];
        let exhausted = services.iter().map(|row| (label(row), row.exhausted.len() as u64));
        let help = "Networks of which a DHCP client was given no address, since the pool is used up";
        self.add(("genkan_dhcp_exhausted", help, false), exhausted);
        let other = services.iter().map(|row| (label(row), u64::from(row.other_server.is_some())));
        let help = "Whether a client has lately taken the offer of another DHCP server";
        self.add(("genkan_dhcp_other_server", help, false), other);
        let faults = services.iter().filter_map(|row| {
            let labels = vec![("lan", row.lan.clone()), ("fault", row.fault?.name().to_owned())];
            Some((labels, 1))
        });
        self.add(("genkan_dhcp_fault", "Why the DHCP service gives nothing", false), faults);
    }

    fn ddns(&mut self, names: &[DdnsRow]) {
        let label =
            |row: &DdnsRow| vec![("name", row.name.clone()), ("family", row.family.name().to_owned())];
        let good = names.iter().map(|row| (label(row), u64::from(row.state == DdnsState::Good)));
        self.add(
            ("genkan_ddns_good", "Whether a name outside has the address that it ought to have", false),
            good,
        );
        let faults = names.iter().filter_map(|row| {
            let fault = ("fault", row.fault?.name().to_owned());
            Some((label(row).into_iter().chain([fault]).collect(), 1))
        });
        self.add(("genkan_ddns_fault", "Why a name outside could not be updated", false), faults);
        let updates = names.iter().map(|row| (label(row), row.updates));
        self.add(("genkan_ddns_updates", "Updates that the service has acknowledged", true), updates);
        let failures = names.iter().map(|row| (label(row), row.failures));
        self.add(("genkan_ddns_failures", "Updates that failed", true), failures);
        let since = names.iter().filter_map(|row| Some((label(row), u64::try_from(row.since?).ok()?)));
        let help = "When the service last acknowledged the address";
        self.add(("genkan_ddns_acknowledged_timestamp_seconds", help, false), since);
    }

    fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.families.iter().filter(|family| !family.rows.is_empty()) {
            let kind = if family.is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.rows {
                let row = metric.encode_family(labels)?;
                if family.is_counter {
                    ConstCounter::new(*value).encode(row)?;
                } else {
                    ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX)).encode(row)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use genkan_engine::UnixTime;
    use genkan_engine::plan::ForwardRule;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;
    use crate::api::{CounterRow, DhcpFault, DnsFault, DnsProblem, ForwardCounts};

    fn lines(scrape: Scrape) -> Vec<String> {
        scrape.text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn names_follow_the_practice_and_labels_are_escaped() {
        let mut scrape = Scrape::default();
        let drops = DropReason::ALL.iter().map(|reason| CounterRow {
            name: reason.name().to_owned(),
            value: 3,
            description: None,
        });
        scrape.decisions(&CountersReport { ports: Vec::new(), stages: Vec::new(), drops: drops.collect() });
        scrape.ports(&[PortCountersRow { port: "a\"b".to_owned(), rx_octets: 7, ..Default::default() }]);
        let text = lines(scrape);
        assert!(text.contains(&"# TYPE genkan_drops counter".to_owned()), "{text:?}");
        assert!(text.contains(&"genkan_drops_total{reason=\"filtered\"} 3".to_owned()), "{text:?}");
        let port = r#"genkan_port_receive_bytes_total{port="a\"b"} 7"#.to_owned();
        assert!(text.contains(&port), "{text:?}");
        assert_eq!(text.last().map(String::as_str), Some("# EOF"));
        // Nothing without rows.
        assert!(!text.iter().any(|line| line.contains("genkan_decisions")), "{text:?}");
    }

    /// What a type of the API counts, each with another value, and these values.
    fn counted<T: Serialize + DeserializeOwned>(of: &T, first: u64) -> (T, Vec<u64>) {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(of) else { panic!("an object of JSON") };
        let times = ["first_hit", "last_hit"];
        let counts = fields.iter_mut().filter(|(name, it)| it.is_u64() || times.contains(&name.as_str()));
        let mut values = Vec::new();
        for (number, (_, count)) in (first..).zip(counts) {
            *count = number.into();
            values.push(number);
        }
        (serde_json::from_value(fields.into()).expect("the same fields"), values)
    }

    #[test]
    fn all_that_the_api_counts_is_here() {
        let (port, mut values) = counted(&PortCountersRow::default(), 1_000);
        let (counts, more) = counted(&ForwardCounts::default(), 2_000);
        assert_eq!((values.len(), more.len()), (9, 11));
        values.extend(more);
        let rule = ForwardRule {
            name: "web".to_owned(),
            protocols: Vec::new(),
            ports: Vec::new(),
            to: Ipv4Addr::LOCALHOST,
            address: None,
            from: Vec::new(),
            enabled: true,
            expires: None,
            log: false,
            max_sessions: None,
            max_new_per_source: None,
        };
        let mut scrape = Scrape::default();
        scrape.ports(&[port]);
        scrape.forwards(&[ForwardRow { counts, ..ForwardRow::new(&rule, false, UnixTime(0), None) }]);
        let text = lines(scrape);
        for value in values {
            assert!(
                text.iter().any(|line| line.ends_with(&format!(" {value}"))),
                "{value} is in none of {text:?}"
            );
        }
    }

    #[test]
    fn what_ails_a_service_is_a_label() {
        let problem = |fault| DnsProblem { fault, text: "in words".to_owned() };
        let lists = [DnsFault::BlockList, DnsFault::BlockList, DnsFault::Tcp].map(problem);
        let mut scrape = Scrape::default();
        scrape.dns(&DnsReport { enabled: true, problems: lists.into(), ..DnsReport::default() });
        let row = DhcpRow {
            lan: "home".to_owned(),
            pool: 9,
            free: 0,
            leases: 9,
            exhausted: vec!["192.168.0.0/24".to_owned()],
            conflicts: 0,
            other_server: None,
            fault: Some(DhcpFault::Disk),
            reason: None,
        };
        scrape.dhcp(&[DhcpRow { lan: "guests".to_owned(), fault: None, ..row.clone() }, row]);
        let text = lines(scrape);
        let faults: Vec<&String> = text.iter().filter(|line| line.contains("_fault{")).collect();
        let expected = [
            r#"genkan_dns_fault{fault="tcp"} 1"#,
            r#"genkan_dns_fault{fault="block-list"} 1"#,
            r#"genkan_dhcp_fault{lan="home",fault="disk"} 1"#,
        ];
        assert_eq!(faults, expected);
        assert!(text.contains(&r#"genkan_dhcp_exhausted{lan="guests"} 1"#.to_owned()), "{text:?}");
    }

    #[test]
    fn gauges_are_plain_and_workers_apart() {
        let mut scrape = Scrape::default();
        scrape.workers(&[Totals { sessions: 5, mappings: 2 }, Totals { sessions: 1, mappings: 1 }], &[]);
        let text = lines(scrape);
        assert!(text.contains(&"genkan_sessions{worker=\"1\"} 1".to_owned()), "{text:?}");
        assert!(text.contains(&"# TYPE genkan_mappings gauge".to_owned()), "{text:?}");
    }
}
