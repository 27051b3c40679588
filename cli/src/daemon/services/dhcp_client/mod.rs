//! DHCP on the wan, `address = "dhcp"`: the rules are those of [`genkan_services::dhcp::client`].
//!
//! - [`task`]: the client with its clock, its datagrams and its link; [`probe`]: does somebody else have the address?
//! - [`record`]: the lease over a restart; [`offered`]: what of a lease the router can use.
//!
//! The lease is never given back: an address that a server keeps for us is the one that forwards and names outside
//! count on, over restarts and changes of the configuration.

use std::net::Ipv4Addr;

use genkan_config::Loaded;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::Context;
use crate::daemon::local::Door;

mod offered;
mod probe;
mod record;
mod task;

pub(in crate::daemon) use record::known;
use task::{Inputs, Task};

/// Conflicts that wait for the client; it hears of those that go on again.
const CONFLICTS: usize = 4;

/// What the client goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    /// Off without it.
    dhcp: Option<genkan_config::WanDhcp>,
    /// The wan's device, for messages.
    device: String,
    ours: offered::Ours,
}

impl Settings {
    fn of(loaded: &Loaded) -> Settings {
        Settings {
            dhcp: loaded.config.wan_dhcp.clone(),
            device: loaded.config.wan.device.clone(),
            ours: offered::Ours::of(&loaded.plan),
        }
    }
}

/// The client of the wan.
#[derive(Debug)]
pub(super) struct DhcpClient {
    context: Context,
    settings: watch::Sender<Settings>,
    conflicts: mpsc::Sender<Ipv4Addr>,
    running: Option<Running>,
    /// While it does not run.
    inputs: Option<Inputs>,
}

#[derive(Debug)]
struct Running {
    /// Dropped, it ends the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<Inputs>,
}

impl DhcpClient {
    pub(super) fn start(door: Door, context: &Context, loaded: &Loaded) -> DhcpClient {
        let (settings, _) = watch::channel(Settings::of(loaded));
        let (conflicts, reported) = mpsc::channel(CONFLICTS);
        let mut client = DhcpClient {
            context: context.clone(),
            settings,
            conflicts,
            running: None,
            inputs: Some(Inputs { door, conflicts: reported }),
        };
        client.resume();
        client
    }

    /// Another configuration is in force.
    pub(super) fn follow(&mut self, loaded: &Loaded) {
        let settings = Settings::of(loaded);
        self.settings.send_if_modified(|known| {
            let is_news = *known != settings;
            *known = settings;
            is_news
        });
    }

    /// Another machine on the wan uses this address.
    pub(super) fn conflict(&self, address: Ipv4Addr) {
        // One that has so many waiting hears of it again, as long as it lasts.
        let _ = self.conflicts.try_send(address);
    }

    /// Ends. The lease is on the disk since it was granted.
    pub(super) async fn stop(&mut self) {
        let Some(Running { stop, task }) = self.running.take() else { return };
        drop(stop);
        // Without its inputs nothing can go on; that it has panicked was told.
        self.inputs = task.await.ok();
    }

    /// Goes on with the lease on the disk.
    pub(super) fn resume(&mut self) {
        let Some(inputs) = self.inputs.take() else { return };
        let (stop, stopped) = oneshot::channel();
        let task = Task::new(self.context.clone(), self.settings.subscribe(), inputs);
        self.running = Some(Running { stop, task: tokio::spawn(task.run(stopped)) });
    }
}
