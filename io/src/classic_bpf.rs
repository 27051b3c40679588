//! Classic BPF: the small programs that the kernel runs for a packet socket, on each frame.
//!
//! Read first: Documentation/networking/filter.rst.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::packet_socket;

/// A statement of a program.
pub(crate) const fn statement(code: u32, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

/// A statement that goes on elsewhere: so many statements further on, if it holds and if it does not.
pub(crate) const fn jump(code: u32, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k }
}

/// Returns a constant: as a socket's filter, how many octets of a frame it takes.
pub(crate) const fn return_value(value: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

/// Has a packet socket with Ethernet headers take nothing but ARP and frames whose destination is some other MAC
/// address than the device's. What the box itself sends and receives then takes no room in the socket's buffer, however
/// much it is.
///
/// # Errors
/// When it is no socket.
pub fn take_only_frames_for_others(socket: BorrowedFd<'_>) -> io::Result<()> {
    const ETHERTYPE: u32 = 12;
    const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let program = [
        statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, ETHERTYPE),
        jump(EQUAL, libc::ETH_P_ARP as u32, 2, 0),
        statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, PACKET_TYPE),
        jump(EQUAL, u32::from(libc::PACKET_OTHERHOST), 0, 1),
        return_value(u32::MAX),
        return_value(0),
    ];
    packet_socket::set_program(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}
