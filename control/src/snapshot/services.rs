//! How the services stand: the lease of the wan, DNS, and names outside. Those of the DHCP service are
//! [`Leases`](crate::leases::Leases).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Snapshot;
use crate::api::{DdnsRow, DnsReport, WanLease};

/// How long the DNS service may take to say how it does, and how long to ask its resolvers first.
const DNS_PATIENCE: Duration = Duration::from_secs(2);
const CHECK_PATIENCE: Duration = Duration::from_secs(6);

/// A question to the DNS service: how it does.
#[derive(Debug)]
pub struct DnsQuestion {
    /// Whether it is to ask its resolvers first.
    pub checks: bool,
    /// Where the answer goes.
    pub reply: oneshot::Sender<DnsReport>,
}

impl Snapshot {
    /// Remembers what a DHCP server has given to the wan, and when that ends; `None` when none is asked.
    pub fn set_wan_lease(&self, lease: Option<(WanLease, Option<Instant>)>) {
        self.wan_lease.store(lease.map(Arc::new));
    }

    /// What a DHCP server has given to the wan.
    pub fn wan_lease(&self) -> Option<WanLease> {
        let held = self.wan_lease.load_full()?;
        let (lease, ends) = &*held;
        let left = ends.map(|ends| ends.saturating_duration_since(Instant::now()).as_secs());
        Some(WanLease { ends_in_seconds: left, ..lease.clone() })
    }

    /// Remembers whom to ask about the DNS service.
    pub fn set_dns(&self, asks: mpsc::Sender<DnsQuestion>) {
        // There is one in a process.
        let _ = self.dns.set(asks);
    }

    /// How the DNS service does; as if it were off when it does not say so in time.
    pub async fn dns(&self) -> DnsReport {
        self.ask_dns(false, DNS_PATIENCE).await.unwrap_or_default()
    }

    /// The same after each of its resolvers was asked whether it answers.
    pub async fn check_dns(&self) -> DnsReport {
        match self.ask_dns(true, CHECK_PATIENCE).await {
            Some(report) => report,
            None => self.dns().await,
        }
    }

    async fn ask_dns(&self, checks: bool, patience: Duration) -> Option<DnsReport> {
        let asks = self.dns.get()?;
        let (reply, answer) = oneshot::channel();
        let asked = async {
            asks.send(DnsQuestion { checks, reply }).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(patience, asked).await.ok().flatten()
    }

    /// Replaces what is known about the names of an entry, which `entry` tells from others; an empty list forgets it.
    pub fn set_ddns(&self, entry: &str, rows: Vec<DdnsRow>) {
        if rows.is_empty() {
            self.ddns.remove(entry);
        } else {
            self.ddns.insert(entry.to_owned(), rows);
        }
    }

    /// All names outside that follow the wan address, in alphabetical order.
    pub fn ddns(&self) -> Vec<DdnsRow> {
        let mut rows: Vec<DdnsRow> = self.ddns.iter().flat_map(|entry| entry.value().clone()).collect();
        rows.sort_by(|a, b| (&a.name, a.family).cmp(&(&b.name, b.family)));
        rows
    }
}
