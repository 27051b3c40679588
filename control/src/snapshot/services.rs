//! How the services stand: the lease of the wan, DNS, and names outside. Those of the DHCP service are
//! [`Leases`](crate::leases::Leases).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Snapshot;
use crate::api::{DdnsRow, DnsReport, WanLease};

/// How long the DNS service may take to say how it does.
const DNS_PATIENCE: Duration = Duration::from_secs(2);

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
    pub fn set_dns(&self, asks: mpsc::Sender<oneshot::Sender<DnsReport>>) {
        // There is one in a process.
        let _ = self.dns.set(asks);
    }

    /// How the DNS service does; as if it were off when it does not say so in time.
    pub async fn dns(&self) -> DnsReport {
        let Some(asks) = self.dns.get() else { return DnsReport::default() };
        let (reply, answer) = oneshot::channel();
        let asked = async {
            asks.send(reply).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(DNS_PATIENCE, asked).await.ok().flatten().unwrap_or_default()
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
