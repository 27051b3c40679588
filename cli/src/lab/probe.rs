//! Ping and traceroute, with ordinary sockets.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use genkan_lab::Namespace;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, connect,
    recvmsg, send, setsockopt, socket, sockopt,
};

use super::hosts::PATIENCE;

/// First port that traceroute programs use.
const FIRST_PORT: u16 = 33434;

/// Longest way that is followed.
const MOST_HOPS: u8 = 8;

/// One echo request and its reply: the round trip.
///
/// # Errors
/// When no reply comes in time.
pub(crate) fn ping(host: &Namespace, to: Ipv4Addr) -> io::Result<Duration> {
    const ECHO_REQUEST: [u8; 16] = [8, 0, 0, 0, 0, 0, 0, 1, b'g', b'e', b'n', b'k', b'a', b'n', 0, 0];
    let socket = host.run(|| open(SockType::Datagram, SockProtocol::Icmp, SocketAddrV4::new(to, 0)))?;
    let start = Instant::now();
    // The kernel fills in the identifier and the checksum, and hands over replies to it only.
    send(socket.as_raw_fd(), &ECHO_REQUEST, MsgFlags::empty())?;
    wait(&socket, PollFlags::POLLIN)?;
    let mut reply = [0; 64];
    let length = nix::sys::socket::recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    match reply[..length].first() {
        Some(0) => Ok(start.elapsed()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The routers on the way to `to`, and `to` itself: datagrams with a rising TTL, and who complains about each.
/// A hop that keeps silent ends the list.
///
/// # Errors
/// When nothing can be sent.
pub(crate) fn hops(host: &Namespace, to: Ipv4Addr) -> io::Result<Vec<Ipv4Addr>> {
    let mut way = Vec::new();
    for ttl in 1..=MOST_HOPS {
        let endpoint = SocketAddrV4::new(to, FIRST_PORT + u16::from(ttl));
        let socket = host.run(|| open(SockType::Datagram, SockProtocol::Udp, endpoint))?;
        setsockopt(&socket, sockopt::Ipv4Ttl, &i32::from(ttl))?;
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        send(socket.as_raw_fd(), b"who is there?", MsgFlags::empty())?;
        let Some(hop) = complaint(&socket)? else { break };
        way.push(hop);
        if hop == to {
            break;
        }
    }
    Ok(way)
}

/// The sender of the ICMP error that a socket got.
fn complaint(socket: &OwnedFd) -> io::Result<Option<Ipv4Addr>> {
    match wait(socket, PollFlags::POLLERR) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(None),
        other => other?,
    }
    let mut payload = [0; 64];
    let mut parts = [IoSliceMut::new(&mut payload)];
    let mut space = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in);
    let message =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_ERRQUEUE)?;
    let offender = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(_, Some(offender)) => {
            Some(Ipv4Addr::from(u32::from_be(offender.sin_addr.s_addr)))
        }
        _ => None,
    });
    Ok(offender)
}

fn open(kind: SockType, protocol: SockProtocol, to: SocketAddrV4) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(socket)
}

fn wait(socket: &OwnedFd, what: PollFlags) -> io::Result<()> {
    let limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(socket), what)];
    match poll(&mut polled, limit) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
