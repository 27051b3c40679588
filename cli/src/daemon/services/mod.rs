//! What the router does for its lans beside forwarding. The rules are in the services crate; here are the sockets, files
//! and clocks.
//!
//! A service lives as long as the process: another configuration switches it on and off. Datagrams come to it and leave
//! by its [`Door`](super::local::Door). What it finds out about the world goes to the event loop as [`Learned`].

pub(super) mod ddns;
pub(super) mod dhcp_client;
mod dhcp_server;
pub(super) mod dns;
mod hosts;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use genkan_config::{Loaded, WanFacts};
use genkan_control::request::WorkerHandle;
use genkan_control::snapshot::Snapshot;
use genkan_engine::wire::ethernet::MacAddr;
use tokio::sync::mpsc;

use self::ddns::Ddns;
use self::dhcp_client::DhcpClient;
use self::dhcp_server::DhcpServer;
use self::dns::Dns;
use self::hosts::Hosts;
pub(super) use self::hosts::{Moved, known as known_hosts, tell as tell_moved};
use super::local::Doors;

/// Findings that may wait for the event loop.
const LEARNED: usize = 256;

/// What a service has found out.
#[derive(Debug)]
pub(super) enum Learned {
    /// What the network outside has given to the wan; `None`: nothing any longer.
    Wan(Option<WanFacts>),
    /// Devices on lans that hold an address, or no longer do: at the start all of them, then each that is different.
    Hosts(Vec<HostSeen>),
    /// Where the devices of `[[host]]`s are, and which of them have moved.
    Places {
        /// For [`genkan_config::Facts`].
        places: BTreeMap<String, Ipv4Addr>,
        /// To be told once everybody follows.
        moved: Vec<Moved>,
    },
}

/// A device on a lan and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostSeen {
    /// Its hardware address.
    pub(super) mac: MacAddr,
    /// What it calls itself to the DHCP server (RFC 2132 section 9.14), the type octet included.
    pub(super) client_id: Option<Vec<u8>>,
    /// The address.
    pub(super) address: Ipv4Addr,
    /// The host name that it has told (RFC 2132 section 3.14), unless it goes by that of its reservation.
    pub(super) name: Option<String>,
    /// Whether it holds that address: false when its lease was released, has expired, or went to another address.
    pub(super) holds: bool,
    /// Whether it has just asked for it: not when a lease is told that was known before.
    pub(super) asked: bool,
}

/// What all services have of the rest of the router.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The folder for what outlives the process.
    pub(super) state: PathBuf,
    pub(super) snapshot: Arc<Snapshot>,
    /// For questions to the packet workers.
    pub(super) worker: WorkerHandle,
    pub(super) learned: mpsc::Sender<Learned>,
}

impl Context {
    /// The context, and what the event loop hears.
    pub(super) fn new(
        state: &Path,
        snapshot: &Arc<Snapshot>,
        worker: &WorkerHandle,
    ) -> (Context, mpsc::Receiver<Learned>) {
        let (learned, heard) = mpsc::channel(LEARNED);
        let context =
            Context { state: state.to_owned(), snapshot: snapshot.clone(), worker: worker.clone(), learned };
        (context, heard)
    }
}

/// All services.
#[derive(Debug)]
pub(super) struct Services {
    dhcp_client: DhcpClient,
    dhcp_server: DhcpServer,
    dns: Dns,
    pub(super) ddns: Ddns,
    hosts: Hosts,
}

impl Services {
    /// Starts those that the configuration asks for.
    pub(super) fn start(doors: Doors, context: &Context, loaded: &Loaded) -> Services {
        let Doors { dhcp_client, dhcp_server, dns, desk } = doors;
        Services {
            dhcp_client: DhcpClient::start(dhcp_client, context, loaded),
            dhcp_server: DhcpServer::start(dhcp_server, context, loaded),
            dns: Dns::start(dns, desk, context, loaded),
            ddns: Ddns::start(context, loaded),
            hosts: Hosts::start(context, loaded),
        }
    }

    /// Another configuration is in force, or something was found out that changes what is.
    pub(super) fn follow(&mut self, loaded: &Loaded) {
        self.dhcp_client.follow(loaded);
        self.dhcp_server.follow(loaded);
        self.dns.follow(loaded);
        self.ddns.follow(loaded);
        self.hosts.follow(loaded);
    }

    /// Devices have got or lost addresses of lans.
    pub(super) fn seen(&mut self, hosts: Vec<HostSeen>) {
        self.dns.seen(&hosts);
        self.hosts.leases(hosts);
    }

    /// Another machine on the wan uses this address of ours.
    pub(super) fn wan_conflict(&self, address: Ipv4Addr) {
        self.dhcp_client.conflict(address);
    }

    /// Ends all. Nothing is written to the state folder after that: another process may have it.
    pub(super) async fn stop(&mut self) {
        self.stop_asking().await;
        self.stop_answering().await;
    }

    /// Ends those that nobody on a lan waits for. One with a request under way takes two seconds.
    pub(super) async fn stop_asking(&mut self) {
        self.dhcp_client.stop().await;
        self.ddns.stop().await;
        self.hosts.stop().await;
    }

    /// Ends those that machines of the lans ask: at once, but for leases that are on their way to the disk.
    pub(super) async fn stop_answering(&mut self) {
        self.dhcp_server.stop().await;
        self.dns.stop().await;
    }

    /// Goes on after that: nobody has taken over.
    pub(super) fn resume(&mut self) {
        self.dhcp_client.resume();
        self.dhcp_server.resume();
        self.dns.resume();
        self.ddns.resume();
        self.hosts.resume();
    }
}
