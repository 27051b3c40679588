//! The host TUN: the Linux box itself as one more internal host.
//!
//! What the box's kernel routes to this device comes to the router, and back. A TUN device carries IP packets, so this
//! back end puts a made-up Ethernet header before each and takes it off again. The device is made by the `tun-tap`
//! crate, without packet information and without offloads, and ends when its last descriptor is closed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use genkan_engine::wire::ethernet::MacAddr;
use tun_tap::{Iface, Mode};

use crate::error::IoError;
use crate::frame_arena::{FrameArena, MAX_FRAME};
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, PollFds};
use crate::sys::{ioctl, tun_descriptor};
use crate::tap::judge;

/// The router's MAC address on the made-up link: what [`genkan_engine::Router::set_link`] is to be told.
pub const ROUTER_MAC: MacAddr = MacAddr([0x02, 0x67, 0x65, 0x6e, 0x6b, 0x01]);
/// The box's MAC address on the made-up link.
pub const HOST_MAC: MacAddr = MacAddr([0x02, 0x67, 0x65, 0x6e, 0x6b, 0x02]);

const ETHERNET_LEN: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ARENA: usize = 256 << 10;

/// Makes the TUN device, or attaches to one that was made for us. It is down and has no address:
/// [`crate::host_network`] sees to that.
///
/// # Errors
/// When the name is none (the kernel would cut it), the device is of another kind or in use, or without
/// CAP_NET_ADMIN.
pub fn open(device: &str) -> Result<FrameIo, IoError> {
    let (receiver, transmitter) = open_halves(device)?;
    Ok(FrameIo::new(receiver, transmitter))
}

/// As [`open`]; clones of the transmitter send into the same device.
///
/// # Errors
/// As [`open`].
pub fn open_halves(device: &str) -> Result<(HostTunReceiver, HostTunTransmitter), IoError> {
    ioctl::check_name(device)?;
    let failed = |operation| {
        let device = device.to_owned();
        move |source| IoError::Open { device, operation, source }
    };
    let interface = Iface::without_packet_info(device, Mode::Tun).map_err(failed("make the TUN device"))?;
    if interface.name() != device {
        // A "%d" in the name is filled in by the kernel; nobody would find the device.
        return Err(IoError::DeviceName(device.to_owned()));
    }
    interface.set_non_blocking().map_err(failed("make it non-blocking"))?;
    // Offloads outlive whoever set them: a persistent device would go on handing out unfinished super-frames.
    ioctl::tun_set_offload(tun_descriptor(&interface), 0).map_err(failed("switch off its offloads"))?;
    let descriptor =
        tun_descriptor(&interface).try_clone_to_owned().map_err(failed("share its descriptor"))?;
    Ok(adopt(descriptor))
}

/// Both halves of a TUN device that another process has made, by a duplicate of its descriptor.
pub fn adopt(descriptor: OwnedFd) -> (HostTunReceiver, HostTunTransmitter) {
    let device = Arc::new(File::from(descriptor));
    let receiver = HostTunReceiver { device: Arc::clone(&device), arena: FrameArena::new(ARENA, 0) };
    (receiver, HostTunTransmitter { device })
}

/// What the box sends.
pub struct HostTunReceiver {
    device: Arc<File>,
    arena: FrameArena,
}

impl FrameReceiver for HostTunReceiver {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        self.arena.clear();
        while let Some(spare) = self.arena.spare(MAX_FRAME) {
            let (ethernet, packet) = spare.split_at_mut(ETHERNET_LEN);
            let length = match (&*self.device).read(packet) {
                Ok(length) => length,
                Err(error) => {
                    if let Err(error) = judge(error, "read from the TUN device")
                        && self.arena.is_empty()
                    {
                        return Err(error);
                    }
                    break;
                }
            };
            let version = packet[..length].first().map_or(0, |octet| octet >> 4);
            ethernet[..6].copy_from_slice(&ROUTER_MAC.0);
            ethernet[6..12].copy_from_slice(&HOST_MAC.0);
            ethernet[12..].copy_from_slice(if version == 6 { &ETHERTYPE_IPV6 } else { &ETHERTYPE_IPV4 });
            self.arena.commit(0, ETHERNET_LEN + length, Offload::default());
        }
        Ok(self.arena.batch())
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        Some(self.device.as_fd().into())
    }
}

/// What the box receives. Frames of other protocols than IP (ARP) go nowhere: there is no link to ask on.
#[derive(Clone)]
pub struct HostTunTransmitter {
    device: Arc<File>,
}

impl FrameTransmitter for HostTunTransmitter {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let mut taken = 0;
        for slot in indices.iter().map(|index| &slots[usize::from(*index)]) {
            let frame = &memory[slot.offset..slot.offset + slot.len];
            let Some((ethernet, packet)) = frame.split_first_chunk::<ETHERNET_LEN>() else { continue };
            if ethernet[12..] != ETHERTYPE_IPV4 && ethernet[12..] != ETHERTYPE_IPV6 {
                continue;
            }
            match (&*self.device).write(packet) {
                Ok(_) => taken += 1,
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(error) => judge(error, "write to the TUN device")?,
            }
        }
        Ok(taken)
    }

    /// Finished packets only: wrap it in `SoftwareOffload`.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_before_the_kernel_cuts_them() {
        for name in ["", "gkabcdefghijklmno", "a/b"] {
            assert!(matches!(open(name), Err(IoError::DeviceName(_))), "{name:?}");
        }
    }

    #[test]
    fn the_made_up_addresses_are_locally_administered() {
        for mac in [ROUTER_MAC, HOST_MAC] {
            assert_eq!(mac.0[0] & 3, 2);
        }
        assert_ne!(ROUTER_MAC, HOST_MAC);
    }
}
