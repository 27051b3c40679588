//! How the service does, for listings.

use std::collections::BTreeMap;
use std::time::Duration;

use genkan_control::api::{
    DnsCache, DnsClientRow, DnsFault, DnsProblem, DnsQueries, DnsReport, DnsUpstreamRow,
};
use genkan_engine::Timestamp;
use genkan_services::dns::{Forwarder, QueryCounters, UpstreamReport};

use super::wanted::Wanted;

/// The answer of `GET /v1/dns`.
pub(super) fn report(
    forwarder: &Forwarder,
    now: Timestamp,
    wanted: Option<&Wanted>,
    problems: &BTreeMap<DnsFault, Vec<String>>,
) -> DnsReport {
    let Some(wanted) = wanted else { return DnsReport::default() };
    let statistics = forwarder.statistics();
    let (octets, answers) = forwarder.cache_use();
    let milliseconds = |time: Duration| time.as_micros() as f64 / 1000.0;
    let ago = |at| milliseconds(now.saturating_since(at)) / 1000.0;
    let row = |(upstream, report): (&genkan_config::DnsUpstream, UpstreamReport)| DnsUpstreamRow {
        resolver: upstream.to_string(),
        up: !report.is_down,
        asked: report.asked,
        answered: report.answered,
        failed: report.failed,
        round_trip_ms: report.round_trip.map(milliseconds),
        answered_seconds_ago: report.last_answer.map(|(at, _)| ago(at)),
        answered_in_ms: report.last_answer.map(|(_, after)| milliseconds(after)),
        failed_seconds_ago: report.last_failure.map(ago),
    };
    let clients = statistics
        .clients
        .iter()
        .map(|(address, counters)| DnsClientRow { address: address.to_string(), queries: queries(counters) });
    let problem = |(fault, texts): (&DnsFault, &Vec<String>)| {
        let fault = *fault;
        texts.iter().map(move |text| DnsProblem { fault, text: text.clone() }).collect::<Vec<_>>()
    };
    DnsReport {
        enabled: true,
        domain: wanted.domain.clone(),
        upstreams: wanted.upstreams.iter().zip(forwarder.upstream_reports()).map(row).collect(),
        cache: DnsCache { answers: answers as u64, octets: octets as u64, limit: wanted.cache as u64 },
        queries: queries(&statistics.total),
        waiting: forwarder.outstanding() as u64,
        malformed: statistics.malformed,
        ignored_answers: statistics.ignored_answers,
        rebinding: statistics.rebinding,
        blocked_names: forwarder.blocked_names() as u64,
        public_names: wanted.split.iter().map(|(name, address)| format!("{name} {address}")).collect(),
        clients: clients.collect(),
        problems: problems.iter().flat_map(problem).collect(),
    }
}

fn queries(counters: &QueryCounters) -> DnsQueries {
    let QueryCounters { queries, local, blocked, cached, stale, forwarded, failed, refused, repeated } =
        *counters;
    DnsQueries { queries, local, blocked, cached, stale, forwarded, failed, refused, repeated }
}
