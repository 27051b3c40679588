//! What the services do: a line for each that there is.

use genkan_control::api::{DdnsRow, DdnsState, DhcpRow, DnsReport, WanLease, WanLeaseState};
use serde::Serialize;

use super::rates::Span;
use super::sample::Sample;
use super::sheet::scaled;
use crate::commands::ddns::called;
use crate::output;

/// How the services do at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Services {
    /// The lease of the wan; `null` when its address is written.
    pub(super) wan: Option<WanLeft>,
    pub(super) dhcp: Vec<DhcpUse>,
    /// `null` without a DNS service.
    pub(super) dns: Option<DnsRates>,
    pub(super) ddns: Vec<DdnsStanding>,
}

/// The lease of the wan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct WanLeft {
    state: WanLeaseState,
    address: Option<String>,
    ends_in_seconds: Option<u64>,
    /// It is not used.
    is_refused: bool,
}

/// The DHCP service of a lan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct DhcpUse {
    lan: String,
    leases: u64,
    pool: u32,
    free: u32,
    exhausted: bool,
    /// Nobody gets an address.
    fails: bool,
}

/// The DNS service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct DnsRates {
    queries_per_second: Option<f64>,
    /// Of these, the part that was answered from the cache.
    cached_share: Option<f64>,
    resolvers: usize,
    resolvers_up: usize,
}

/// A name outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct DdnsStanding {
    name: String,
    state: DdnsState,
}

/// A line, and whether something is wrong about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceLine {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

impl Services {
    pub(super) fn new(span: Span, before: Option<&Sample>, now: &Sample) -> Services {
        let dns = |report: &DnsReport| {
            let counts = |report: &DnsReport| {
                let queries = &report.queries;
                (queries.queries, queries.cached + queries.stale)
            };
            let (queries, cached) = counts(report);
            let before = before.map(|sample| &sample.dns).filter(|before| before.enabled).map(counts);
            let queries_per_second = span.rate(before.map(|(queries, _)| queries), queries);
            let cached_per_second = span.rate(before.map(|(_, cached)| cached), cached);
            let share = queries_per_second.zip(cached_per_second).filter(|(all, _)| *all > 0.0);
            DnsRates {
                queries_per_second,
                cached_share: share.map(|(all, cached)| cached / all),
                resolvers: report.upstreams.len(),
                resolvers_up: report.upstreams.iter().filter(|row| row.up).count(),
            }
        };
        let wan = |lease: &WanLease| WanLeft {
            state: lease.state,
            address: lease.address.clone(),
            ends_in_seconds: lease.ends_in_seconds,
            is_refused: lease.refused.is_some(),
        };
        let dhcp = |row: &DhcpRow| DhcpUse {
            lan: row.lan.clone(),
            leases: row.leases,
            pool: row.pool,
            free: row.free,
            exhausted: !row.exhausted.is_empty(),
            fails: row.fault.is_some(),
        };
        let mut ddns: Vec<&DdnsRow> = now.ddns.iter().collect();
        // What is wrong goes first: a narrow terminal cuts the end off.
        ddns.sort_by_key(|row| !is_bad(row.state));
        let standing = |row: &DdnsRow| DdnsStanding { name: called(row), state: row.state };
        Services {
            wan: now.status.wan_lease.as_ref().map(wan),
            dhcp: now.dhcp.iter().map(dhcp).collect(),
            dns: Some(&now.dns).filter(|report| report.enabled).map(dns),
            ddns: ddns.into_iter().map(standing).collect(),
        }
    }

    /// One for each service that there is.
    pub(super) fn lines(&self) -> Vec<ServiceLine> {
        let wan = self.wan.as_ref().map(|wan| {
            let address = wan.address.as_deref().unwrap_or("no address");
            let left = match (wan.ends_in_seconds, &wan.address) {
                (Some(left), _) => format!("  {} left", output::duration(left)),
                (None, Some(_)) => "  for ever".to_owned(),
                (None, None) => String::new(),
            };
            let refused = if wan.is_refused { "  NOT used" } else { "" };
            let text = format!("wan   {address}  {}{left}{refused}", wan.state.name());
            ServiceLine { text, is_bad: wan.is_refused || wan.address.is_none() }
        });
        let dhcp = |row: &DhcpUse| {
            let state = match row {
                DhcpUse { fails: true, .. } => " FAILS",
                DhcpUse { exhausted: true, .. } => " USED UP",
                _ => "",
            };
            let (leases, free) = (output::grouped(row.leases), output::grouped(row.free.into()));
            format!("{} {leases} leased, {free} of {} free{state}", row.lan, output::grouped(row.pool.into()))
        };
        let dhcp = (!self.dhcp.is_empty()).then(|| ServiceLine {
            text: format!("dhcp  {}", join(self.dhcp.iter().map(dhcp))),
            is_bad: self.dhcp.iter().any(|row| row.fails || row.exhausted),
        });
        let dns = self.dns.as_ref().map(|dns| {
            let share =
                dns.cached_share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
            let rate = scaled(dns.queries_per_second);
            let DnsRates { resolvers, resolvers_up, .. } = dns;
            ServiceLine {
                text: format!(
                    "dns   {rate} queries/s  {share} cached  {resolvers_up} of {resolvers} resolvers up"
                ),
                is_bad: *resolvers_up == 0,
            }
        });
        let ddns = |row: &DdnsStanding| match is_bad(row.state) {
            true => format!("{} {}", row.name, row.state.name().to_uppercase()),
            false => format!("{} {}", row.name, row.state.name()),
        };
        let ddns = (!self.ddns.is_empty()).then(|| ServiceLine {
            text: format!("ddns  {}", join(self.ddns.iter().map(ddns))),
            is_bad: self.ddns.iter().any(|row| is_bad(row.state)),
        });
        wan.into_iter().chain(dhcp).chain(dns).chain(ddns).collect()
    }
}

fn is_bad(state: DdnsState) -> bool {
    matches!(state, DdnsState::Failed | DdnsState::Stopped)
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::rates::Snapshot;
    use super::*;

    fn lines(before: Option<&Sample>, now: &Sample) -> Vec<String> {
        Snapshot::new(before, now).services.lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn each_service_that_there_is_has_a_line() {
        let (before, mut after) = fixture::with_services();
        let expected = [
            "wan   203.0.113.7/24  bound  59m left",
            "dhcp  guests 50 leased, 0 of 50 free USED UP  home 12 leased, 1,988 of 2,000 free",
            "dns   200 queries/s  75 % cached  1 of 2 resolvers up",
            "ddns  www.example.net FAILED  home.example.net good  home.example.net (IPv6) good",
        ];
        assert_eq!(lines(Some(&before), &after), expected);
        let bad = |sample: &Sample| -> Vec<bool> {
            Snapshot::new(None, sample).services.lines().iter().map(|line| line.is_bad).collect()
        };
        assert_eq!(bad(&after), [false, true, false, true]);
        // Nothing to compare with; nobody answers; no lease.
        after.dns.upstreams[0].up = false;
        let lease = after.status.wan_lease.as_mut().expect("there is one");
        (lease.state, lease.address, lease.ends_in_seconds) = (WanLeaseState::Selecting, None, None);
        let alone = lines(None, &after);
        assert_eq!(alone[0], "wan   no address  selecting");
        assert_eq!(alone[2], "dns   - queries/s  - cached  0 of 2 resolvers up");
        assert_eq!(bad(&after), [true, true, true, true]);
        let (before, after) = fixture::samples();
        assert!(lines(Some(&before), &after).is_empty(), "a router without services");
    }

    #[test]
    fn nobody_asked_means_no_share() {
        let (before, mut after) = fixture::with_services();
        after.dns.queries = before.dns.queries;
        let dns = Snapshot::new(Some(&before), &after).services.dns.expect("it is on");
        assert_eq!((dns.queries_per_second, dns.cached_share), (Some(0.0), None));
    }
}
