//! What passes on the wires between the router and the machines around it, at the machines' ends: whatever the router
//! makes of its devices, this is what came and went.
//!
//! Packet sockets of the machines' namespaces hold the frames, in order and with the kernel's time, until somebody reads
//! them; no thread listens.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::time::Duration;

use genkan_control::capture::pcapng::{PacketBlock, Way};
use genkan_engine::PortId;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::site::Site;
use crate::output::Failure;

/// Octets of a frame that are kept.
const SNAPLEN: usize = 2_048;

/// Frames that are kept, the first ones of a test.
const MOST_FRAMES: usize = 65_536;

/// What a socket may hold until it is read, in octets; the kernel gives less where its limit is lower.
const BUFFER: usize = 4 << 20;

/// All wires.
pub(super) struct Wires {
    wires: Vec<Wire>,
    frames: Vec<PacketBlock>,
}

struct Wire {
    port: PortId,
    socket: Socket,
    /// No frame is older than the one before.
    last: Duration,
}

impl Wires {
    /// Begins to listen on all of them.
    ///
    /// # Errors
    /// When packet sockets are not allowed.
    pub(super) fn listen(site: &Site) -> Result<Wires, Failure> {
        let mut wires = Vec::new();
        for port in site.ports() {
            let Some(namespace) = site.namespace(port) else { continue };
            let protocol = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
            // Not bound: the machine has one device, and its loopback is told apart.
            let socket = namespace.run(|| Socket::new(Domain::PACKET, Type::RAW, Some(protocol)))?;
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(BUFFER)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).map_err(std::io::Error::from)?;
            wires.push(Wire { port, socket, last: Duration::ZERO });
        }
        Ok(Wires { wires, frames: Vec::new() })
    }

    /// Takes over what has passed until now.
    ///
    /// # Errors
    /// When a socket fails.
    pub(super) fn read(&mut self) -> Result<(), Failure> {
        for (interface, wire) in self.wires.iter_mut().enumerate() {
            while let Some(frame) = wire.frame(interface as u32)? {
                if self.frames.len() < MOST_FRAMES {
                    self.frames.push(frame);
                }
            }
        }
        Ok(())
    }

    /// The ports that the wires are at, and all frames with the number of their wire, in the order of time.
    pub(super) fn into_frames(mut self) -> (Vec<PortId>, Vec<PacketBlock>) {
        self.frames.sort_by_key(|frame| frame.time);
        (self.wires.iter().map(|wire| wire.port).collect(), self.frames)
    }
}

impl Wire {
    /// The next frame that was not read yet, without those of the machine's loopback.
    fn frame(&mut self, interface: u32) -> Result<Option<PacketBlock>, Failure> {
        let mut octets = vec![0; SNAPLEN];
        let mut room = cmsg_space!(TimeSpec);
        loop {
            let mut pieces = [IoSliceMut::new(&mut octets)];
            let flags = MsgFlags::MSG_TRUNC;
            let message =
                match recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut pieces, Some(&mut room), flags) {
                    Ok(message) => message,
                    Err(Errno::EAGAIN) => return Ok(None),
                    Err(Errno::EINTR) => continue,
                    Err(error) => return Err(std::io::Error::from(error).into()),
                };
            let Some(from) = message.address.filter(|from| from.hatype() == libc::ARPHRD_ETHER) else {
                continue;
            };
            let stamp = message.cmsgs().map_err(std::io::Error::from)?.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
                _ => None,
            });
            let way = if from.pkttype() == libc::PACKET_OUTGOING { Way::In } else { Way::Out };
            let len = message.bytes;
            self.last = self.last.max(stamp.unwrap_or_default());
            octets.truncate(len);
            let (time, len) = (self.last, len as u32);
            return Ok(Some(PacketBlock { interface, time, len, octets, way, ..PacketBlock::default() }));
        }
    }
}
