//! Which ring of which worker the kernel puts a frame into: one classic BPF program per device.
//!
//! Read first: packet(7) on PACKET_FANOUT, Documentation/networking/filter.rst. The sockets of a device form one
//! group, all rings of the first worker first, then those of the next one. The program returns a number in this
//! order. The ring goes by the frame's length; the worker is a guess at the packet's owner, and the engine corrects
//! a wrong one.

use std::io;
use std::os::fd::BorrowedFd;

use crate::classic_bpf::{jump, statement};
use crate::sys::packet_socket;

/// Rings that each worker has for a device.
pub(super) const RINGS: usize = 3;

/// By what the frames of a device are spread over the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// By the IPv4 source address `s`, as the engine does: worker `((s * multiplier + addend) mod 2^32 >> 16) mod n`.
    Source {
        /// Odd, secret.
        multiplier: u32,
        /// Secret.
        addend: u32,
    },
    /// By the destination port, modulo n: what the owner of an external port is, no program of this kind can know.
    DestinationPort,
}

/// Offset of the source address in an IPv4 header.
const SOURCE: u32 = 12;
/// Offset of the destination port behind an IPv4 header.
const DESTINATION_PORT: u32 = 2;
const RETURN_A: u32 = libc::BPF_RET | libc::BPF_A;

/// The program for a device with `workers` workers: `longest` are the longest frames, in octets without the Ethernet
/// header, of all rings but the last. It sees a frame from behind its Ethernet header on; where it reads past the end of
/// a frame it returns 0, the ring for short frames.
pub(super) fn program(longest: [u32; RINGS - 1], workers: u8, spread: Spread) -> Vec<libc::sock_filter> {
    const ALU: u32 = libc::BPF_ALU | libc::BPF_K;
    let load_worker: &[libc::sock_filter] = match spread {
        _ if workers <= 1 => &[statement(libc::BPF_LD | libc::BPF_IMM, 0)],
        Spread::Source { multiplier, addend } => &[
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, SOURCE),
            statement(ALU | libc::BPF_MUL, multiplier),
            statement(ALU | libc::BPF_ADD, addend),
            statement(ALU | libc::BPF_RSH, 16),
        ],
        Spread::DestinationPort => &[
            statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0),
            statement(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, DESTINATION_PORT),
        ],
    };
    let mut program = load_worker.to_vec();
    program.extend([
        statement(ALU | libc::BPF_MOD, u32::from(workers.max(1))),
        statement(ALU | libc::BPF_MUL, RINGS as u32),
        statement(libc::BPF_MISC | libc::BPF_TAX, 0),
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0),
        jump(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, longest[0], 0, 7),
        jump(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, longest[1], 0, 3),
        statement(libc::BPF_MISC | libc::BPF_TXA, 0),
        statement(ALU | libc::BPF_ADD, 2),
        statement(RETURN_A, 0),
        statement(libc::BPF_MISC | libc::BPF_TXA, 0),
        statement(ALU | libc::BPF_ADD, 1),
        statement(RETURN_A, 0),
        statement(libc::BPF_MISC | libc::BPF_TXA, 0),
        statement(RETURN_A, 0),
    ]);
    program
}

/// Joins a bound socket to the fanout group of this number, or makes a group when there is none yet; its number.
pub(super) fn join_group(socket: BorrowedFd<'_>, group: Option<i32>) -> io::Result<i32> {
    let set = |flags: u32| {
        let unique = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
        let kind = (libc::PACKET_FANOUT_CBPF | unique | flags) << 16;
        let value = kind as i32 | group.unwrap_or(0);
        packet_socket::set_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, value)
    };
    set(libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING).or_else(|error| match error.raw_os_error() {
        // A kernel that does not know the flag: outgoing frames are left out one by one.
        Some(libc::EINVAL) => set(0),
        _ => Err(error),
    })?;
    Ok(packet_socket::option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)? & 0xffff)
}
