//! The DNS service: [`genkan_services::dns::Forwarder`] with its sockets, files and clock.
//!
//! One thread of its own does all of it but what packet workers can answer at once ([`Desk`]): datagrams of the lans come
//! and go in batches by the [`Door`], those of the resolvers through `ports`, connections to resolvers are `streams`,
//! those of clients `clients`. Block lists are read beside it (`lists`) and put in place whole.

mod clients;
mod desk;
mod lists;
mod ports;
mod server;
mod streams;
mod tls;
mod told;
mod wanted;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use genkan_config::Loaded;
use genkan_control::snapshot::{DnsQuestion, Snapshot};
use genkan_engine::wire::ethernet::MacAddr;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

pub(in crate::daemon) use self::desk::Desk;
use self::server::Server;
use self::wanted::Wanted;
use super::{Context, HostSeen};
use crate::daemon::local::Door;

/// What the service is told.
#[derive(Debug)]
enum Command {
    /// Do that; `None`: nothing.
    Follow(Option<Box<Wanted>>),
    /// A client of DHCP has this address and name, or has it no longer.
    Lease(Ipv4Addr, MacAddr, Option<String>),
    /// Do nothing until further notice, and say when that is so.
    Pause(oneshot::Sender<()>),
}

/// The service. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Dns {
    commands: mpsc::UnboundedSender<Command>,
    /// What it was told last.
    wanted: Option<Wanted>,
}

impl Dns {
    /// Starts it, on or off as the configuration says.
    pub(super) fn start(door: Door, desk: Arc<Desk>, context: &Context, loaded: &Loaded) -> Dns {
        let (commands, orders) = mpsc::unbounded_channel();
        let (asks, questions) = mpsc::channel(8);
        context.snapshot.set_dns(asks);
        let snapshot = context.snapshot.clone();
        let thread = std::thread::Builder::new().name("dns".to_owned());
        if let Err(error) = thread.spawn(move || run(door, desk, orders, questions, &snapshot)) {
            failed(&context.snapshot, &error);
        }
        let mut dns = Dns { commands, wanted: None };
        dns.follow(loaded);
        dns
    }

    /// Another configuration is in force, or something was found out that changes what is. Block lists are read again where
    /// their files have changed.
    pub(super) fn follow(&mut self, loaded: &Loaded) {
        let wanted = Wanted::of(loaded);
        if wanted == self.wanted && wanted.as_ref().is_none_or(|wanted| wanted.block.is_empty()) {
            return;
        }
        self.wanted.clone_from(&wanted);
        self.tell(Command::Follow(wanted.map(Box::new)));
    }

    /// Who has got or lost an address by DHCP.
    pub(super) fn seen(&mut self, hosts: &[HostSeen]) {
        for host in hosts {
            self.tell(Command::Lease(host.address, host.mac, host.name.clone().filter(|_| host.holds)));
        }
    }

    /// Answers nothing more, so that another process may.
    pub(super) async fn stop(&mut self) {
        let (reply, paused) = oneshot::channel();
        self.tell(Command::Pause(reply));
        // A thread that has ended answers nothing either.
        let _ = paused.await;
    }

    /// Goes on after [`Dns::stop`].
    pub(super) fn resume(&mut self) {
        self.tell(Command::Follow(self.wanted.clone().map(Box::new)));
    }

    fn tell(&self, command: Command) {
        // It has ended only when it could not begin, which is a problem that is shown.
        let _ = self.commands.send(command);
    }
}

fn failed(snapshot: &Snapshot, error: &io::Error) {
    let problem = format!("the DNS service cannot begin: {error}");
    warn!("{problem}");
    snapshot.set_problem("dns", Some(problem));
}

fn run(
    door: Door,
    desk: Arc<Desk>,
    orders: mpsc::UnboundedReceiver<Command>,
    questions: mpsc::Receiver<DnsQuestion>,
    snapshot: &Arc<Snapshot>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let server = Server::new(snapshot.clone(), door.speaker.clone(), desk)?;
            server.run(door.incoming, orders, questions).await;
            Ok(())
        })
    });
    if let Err(error) = outcome {
        failed(snapshot, &error);
    }
}
