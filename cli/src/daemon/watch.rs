//! The kernel's notifications about devices, as a channel.

use genkan_io::link_monitor::LinkMonitor;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;
use tracing::warn;

use crate::output::{self, Failure};

/// Tells, from now on, that something about some device may have changed. What, is for the listener to look at: looking
/// is cheap, and right also after notifications were lost.
///
/// A thread waits for them and ends with the process.
///
/// # Errors
/// When the kernel gives no netlink socket, or no thread.
pub(crate) fn devices() -> Result<mpsc::Receiver<()>, Failure> {
    let monitor = LinkMonitor::new()?;
    // One is enough: nobody has to be told twice to look.
    let (sender, receiver) = mpsc::channel(1);
    let thread = std::thread::Builder::new().name("devices".to_owned());
    let spawned = thread.spawn(move || wait(monitor, &sender));
    spawned.map_err(|error| Failure::new("cannot start the thread that watches devices", &error))?;
    Ok(receiver)
}

fn wait(mut monitor: LinkMonitor, sender: &mpsc::Sender<()>) {
    while !sender.is_closed() {
        // An interrupted wait is a short one.
        let _ = poll(&mut [PollFd::new(monitor.poll_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        match monitor.events() {
            Ok(events) if events.is_empty() => {}
            Ok(_) => {
                // When it is full, the listener has not looked yet.
                let _ = sender.try_send(());
            }
            Err(error) => {
                warn!(error = output::chain(&error), "devices are only looked at now and then");
                return;
            }
        }
    }
}
