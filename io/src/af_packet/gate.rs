//! A device that is opened but lets nothing in yet.

use std::os::fd::{AsFd, OwnedFd};

use super::{AfPacketReceiver, opening};
use crate::error::IoError;
use crate::sys::packet_socket;

/// Keeps frames out of the rings of one device: from when this is opened on they come in, and wait there.
///
/// Opening rings takes tenths of a second, as the kernel waits for its other CPUs more than once; opening the gate takes
/// microseconds. So a router that is to go on where another one stops has everything ready beforehand.
#[derive(Debug)]
pub struct Gate {
    device: String,
    sockets: Vec<OwnedFd>,
}

impl Gate {
    /// Of all receivers of a device.
    pub(super) fn of(device: &str, receivers: &[AfPacketReceiver]) -> Result<Gate, IoError> {
        let sockets = receivers.iter().flat_map(|receiver| &receiver.sockets);
        let sockets = sockets.map(OwnedFd::try_clone).collect::<Result<_, _>>();
        let sockets = sockets.map_err(opening(device, "share packet sockets"))?;
        Ok(Gate { device: device.to_owned(), sockets })
    }

    /// Lets frames in.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(self) -> Result<(), IoError> {
        for socket in &self.sockets {
            // The filter that kept everything out.
            packet_socket::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
                .map_err(opening(&self.device, "let frames pass"))?;
        }
        Ok(())
    }
}
