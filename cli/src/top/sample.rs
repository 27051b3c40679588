//! One reading of the router: what the control API says at a moment.

use std::time::Instant;

use genkan_control::api::{
    CountersReport, DdnsRow, DhcpRow, DnsReport, ForwardRow, HostQuery, HostRow, HostSort, Status,
};
use genkan_control::client::{Client, ClientError};

/// Hosts that are read: those that use most of the line.
const MOST_HOSTS: u32 = 10_000;

/// What was read at a moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When the counters were there.
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) counters: CountersReport,
    pub(super) hosts: Vec<HostRow>,
    pub(super) forwards: Vec<ForwardRow>,
    pub(super) dns: DnsReport,
    pub(super) dhcp: Vec<DhcpRow>,
    pub(super) ddns: Vec<DdnsRow>,
}

impl Sample {
    /// Reads everything. The router gives its tables in pieces, so no packet waits for it; the table of sessions,
    /// which may have a million rows, is not read.
    pub(super) async fn take(client: &Client) -> Result<Sample, ClientError> {
        let status = client.status().await?;
        let (counters, dns) = tokio::try_join!(client.counters(), client.dns())?;
        let at = Instant::now();
        let busiest = HostQuery { cursor: None, limit: Some(MOST_HOSTS), sort: Some(HostSort::TrafficMost) };
        let hosts = client.hosts(&busiest).await?.rows;
        let (forwards, dhcp, ddns) = tokio::try_join!(client.forwards(), client.dhcp(), client.ddns())?;
        Ok(Sample { at, status, counters, hosts, forwards, dns, dhcp, ddns })
    }

    /// Whether both are of one run of the router, so that their counters can be compared.
    pub(super) fn is_of_the_run_of(&self, before: &Sample) -> bool {
        self.status.pid == before.status.pid && self.status.uptime_seconds >= before.status.uptime_seconds
    }
}
