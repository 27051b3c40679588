//! Packet sockets (packet(7)): creation, options, filters.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// A raw packet socket that receives nothing until it is bound (its protocol is 0), close-on-exec, non-blocking.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers are passed.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds to one device. `protocol` is an `ETH_P_*` number in host order; 0 receives nothing.
pub(crate) fn bind(socket: BorrowedFd<'_>, interface: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(interface).map_err(|_| io::Error::from(Errno::ENODEV))?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is live and `length` is its size.
    Errno::result(unsafe {
        libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast::<libc::sockaddr>(), length)
    })?;
    Ok(())
}

fn set_raw<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is live and `length` is its size; the kernel only reads it.
    Errno::result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast::<libc::c_void>(),
            length,
        )
    })?;
    Ok(())
}

/// Sets an integer option.
pub(crate) fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_raw(socket, level, option, &value)
}

/// PACKET_RX_RING. Version, virtio header and reserve must have been set before.
pub(crate) fn set_rx_ring(socket: BorrowedFd<'_>, request: &libc::tpacket_req) -> io::Result<()> {
    set_raw(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, request)
}

/// PACKET_STATISTICS: frames lost for want of room since the last call.
pub(crate) fn take_lost_frames(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: `statistics` is live, exclusively ours, and `length` is its size.
    Errno::result(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            std::ptr::from_mut(&mut statistics).cast::<libc::c_void>(),
            std::ptr::from_mut(&mut length),
        )
    })?;
    Ok(statistics.tp_drops)
}

/// Asks for an integer option.
pub(crate) fn option(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<i32> {
    let mut value = 0i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is live, exclusively ours, and `length` is its size.
    Errno::result(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_mut(&mut value).cast::<libc::c_void>(),
            std::ptr::from_mut(&mut length),
        )
    })?;
    Ok(value)
}

/// Sets an option that takes a classic BPF program: SO_ATTACH_FILTER, PACKET_FANOUT_DATA.
pub(crate) fn set_program(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(Errno::EINVAL))?;
    // The kernel copies the program during the call, and does not write to it.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set_raw(socket, level, option, &program)
}
