//! Interface ioctls (netdevice(7), linux/if_tun.h, linux/ethtool.h).
//!
//! Each wrapper passes a pointer to one live, exclusively borrowed object of the type that the request's kernel
//! code reads and writes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::error::IoError;

/// `struct ifreq` with the name filled in.
fn request_for(name: &str) -> Result<libc::ifreq, IoError> {
    check_name(name)?;
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Refuses what the kernel would refuse (`dev_valid_name`) or cut to 15 octets without a word.
pub(crate) fn check_name(name: &str) -> Result<(), IoError> {
    let bad = |octet: u8| octet == b'/' || octet == b':' || octet == 0 || octet.is_ascii_whitespace();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name == "." || name == ".." || name.bytes().any(bad)
    {
        return Err(IoError::DeviceName(name.to_owned()));
    }
    Ok(())
}

fn ioctl<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: `argument` is live and exclusively ours during the call; the callers below pair each request with
    // the type that the kernel expects for it.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(argument)) })?;
    Ok(())
}

/// TUNSETIFF: attaches a descriptor of /dev/net/tun to the device of this name, which is made if need be.
/// `flags` are `IFF_TAP`, `IFF_VNET_HDR`, ...
///
/// # Errors
/// What the kernel says: EBUSY, another descriptor is attached to its only queue; EINVAL, it is of another kind, or has
/// one queue and many are asked for, or the other way round; EPERM, it is another user's, or there is none and this
/// process may not make it.
pub(crate) fn tun_attach(tun: BorrowedFd<'_>, device: &str, flags: i32) -> Result<io::Result<()>, IoError> {
    let mut request = request_for(device)?;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    Ok(ioctl(tun, libc::TUNSETIFF, &mut request))
}

/// TUNGETIFF: the flags in force, which may differ from those asked for where another queue was first.
pub(crate) fn tun_flags(tun: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ioctl(tun, libc::TUNGETIFF, &mut request)?;
    // SAFETY: TUNGETIFF filled in this member of the union, and every bit pattern is an integer.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags } as u16))
}

/// TUNSETVNETHDRSZ: octets of the virtio header, for all queues of the device.
pub(crate) fn tun_set_header_len(tun: BorrowedFd<'_>, octets: usize) -> io::Result<()> {
    ioctl(tun, libc::TUNSETVNETHDRSZ, &mut (octets as libc::c_int))
}

/// TUNSETOFFLOAD: what the kernel may leave to us, `TUN_F_*`. For all queues, and for whoever attaches later.
pub(crate) fn tun_set_offload(tun: BorrowedFd<'_>, features: u32) -> io::Result<()> {
    // SAFETY: this request takes its argument by value.
    Errno::result(unsafe {
        libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features))
    })?;
    Ok(())
}

/// Runs a request that answers in the `ifreq` itself.
fn ask(
    socket: BorrowedFd<'_>,
    device: &str,
    number: libc::Ioctl,
    operation: &'static str,
) -> Result<libc::ifreq, IoError> {
    let mut request = request_for(device)?;
    ioctl(socket, number, &mut request).map_err(|source| IoError::Open {
        device: device.to_owned(),
        operation,
        source,
    })?;
    Ok(request)
}

/// SIOCGIFMTU: the IP MTU in octets. `socket` may be any socket of the device's network namespace.
pub(crate) fn mtu(socket: BorrowedFd<'_>, device: &str) -> Result<u32, IoError> {
    let request = ask(socket, device, libc::SIOCGIFMTU, "ask for the MTU")?;
    // SAFETY: SIOCGIFMTU filled in this member of the union, and every bit pattern is an integer.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// SIOCSIFTXQLEN: frames that may wait on their way out of the device. `socket` may be any socket of the device's
/// network namespace.
pub(crate) fn set_queue_len(socket: BorrowedFd<'_>, device: &str, frames: i32) -> Result<(), IoError> {
    let mut request = request_for(device)?;
    // The kernel reads it from the place of the metric: all integers of the union lie at its start.
    request.ifr_ifru.ifru_metric = frames;
    ioctl(socket, libc::SIOCSIFTXQLEN, &mut request).map_err(|source| IoError::Open {
        device: device.to_owned(),
        operation: "set the length of its queue",
        source,
    })
}

/// SIOCGIFHWADDR: the device's `ARPHRD_*` type.
pub(crate) fn hardware_type(socket: BorrowedFd<'_>, device: &str) -> Result<u16, IoError> {
    let request = ask(socket, device, libc::SIOCGIFHWADDR, "ask for the hardware type")?;
    // SAFETY: SIOCGIFHWADDR filled in this member of the union, and every bit pattern is a value.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

/// SIOCETHTOOL: a command and its data as native words; the kernel writes its answer over them.
///
/// # Safety
/// `words` must be as long as the command in its first word, with the counts in it, makes the kernel write.
pub(super) unsafe fn ethtool(socket: BorrowedFd<'_>, device: &str, words: &mut [u32]) -> Result<(), IoError> {
    let mut request = request_for(device)?;
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    ioctl(socket, libc::SIOCETHTOOL, &mut request).map_err(IoError::system("SIOCETHTOOL"))
}

/// SIOCGIFNAME: the name of the device with this index in the network namespace of `socket`.
pub(crate) fn device_name(socket: BorrowedFd<'_>, index: u32) -> io::Result<String> {
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = i32::try_from(index).map_err(|_| io::Error::from(Errno::ENODEV))?;
    ioctl(socket, libc::SIOCGIFNAME, &mut request)?;
    let octets = request.ifr_name.map(|octet| octet as u8);
    Ok(crate::netlink::as_text(&octets))
}
