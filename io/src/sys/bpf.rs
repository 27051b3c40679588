//! The one eBPF program of the AF_XDP back end, put together here and loaded through bpf(2).
//!
//! Read first: bpf(2), Documentation/bpf/standardization/instruction-set.rst, linux/bpf.h (`union bpf_attr`). The
//! program hands each frame to the AF_XDP socket of the queue that it arrived on, and to the kernel's stack where there
//! is none. It is attached by a link (Linux 5.9): the kernel takes it off when the link's descriptor is closed, also
//! after `kill -9`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;

const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
/// The attach type of programs that a device runs on arrival.
const BPF_XDP: u32 = 37;
const BPF_ANY: u64 = 0;

const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The program uses no helper that asks for a GPL-compatible one; this is one of the words that the kernel knows.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";

/// Where a device runs an XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// In the driver, before the kernel makes a socket buffer of the frame.
    Driver,
    /// In the kernel's common receive path, on the socket buffer.
    Generic,
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    /// Destination and source register, four bits each.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// An instruction without a source register.
const fn instruction(code: u8, destination: u8, immediate: i32) -> Instruction {
    with_source(code, destination, 0, 0, immediate)
}

const fn with_source(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    // A bit field of the C structure: its first member is in the low bits on little-endian machines only.
    let registers =
        if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    Instruction { code, registers, offset, immediate }
}

/// Redirects to the socket in `map` at the number of the receive queue.
fn redirect_by_queue(map: BorrowedFd<'_>) -> [Instruction; 6] {
    const LOAD_WORD: u8 = 0x61;
    const LOAD_IMMEDIATE_64: u8 = 0x18;
    const PSEUDO_MAP_FD: u8 = 1;
    const MOVE_IMMEDIATE: u8 = 0xb7;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    /// Offset of `rx_queue_index` in `struct xdp_md`.
    const RX_QUEUE_INDEX: i16 = 16;
    const XDP_PASS: i32 = 2;
    const REDIRECT_MAP: i32 = 51;
    [
        // r2 = context->rx_queue_index
        with_source(LOAD_WORD, 2, 1, RX_QUEUE_INDEX, 0),
        // r1 = map, in two slots
        with_source(LOAD_IMMEDIATE_64, 1, PSEUDO_MAP_FD, 0, map.as_raw_fd()),
        instruction(0, 0, 0),
        // r3 = what to do where the map has no socket
        instruction(MOVE_IMMEDIATE, 3, XDP_PASS),
        // r0 = bpf_redirect_map(r1, r2, r3)
        instruction(CALL, 0, REDIRECT_MAP),
        instruction(EXIT, 0, 0),
    ]
}

/// The part of `union bpf_attr` for BPF_MAP_CREATE; what is left out is zero.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The part of `union bpf_attr` for BPF_MAP_UPDATE_ELEM.
#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for BPF_PROG_LOAD, up to the attach type.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The part of `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// bpf(2).
///
/// # Safety
/// `T` is the part of `union bpf_attr` for `command`, and the pointers in it are to what the kernel takes them for.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads `size_of::<T>()` octets of a live value; the rest is the caller's promise.
    let result = Errno::result(unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    })?;
    Ok(result as i32)
}

/// # Safety
/// As [`bpf`], and `command` is one that answers with a new descriptor.
unsafe fn bpf_descriptor<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel just gave us this descriptor (close-on-exec, as all of bpf(2)), and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// A map from receive queues to AF_XDP sockets.
pub(crate) struct SocketMap(OwnedFd);

impl SocketMap {
    /// For queues from 0 to `queues` - 1; without sockets.
    pub(crate) fn new(queues: u32) -> io::Result<SocketMap> {
        let create = MapCreate {
            map_type: BPF_MAP_TYPE_XSKMAP,
            key_size: size_of::<u32>() as u32,
            value_size: size_of::<i32>() as u32,
            max_entries: queues,
        };
        // SAFETY: there are no pointers in it, and the answer is a new descriptor.
        unsafe { bpf_descriptor(BPF_MAP_CREATE, &create) }.map(SocketMap)
    }

    /// Gives frames of a queue to a socket, which the map then holds until the socket is closed.
    pub(crate) fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value = socket.as_raw_fd();
        let update = MapUpdate {
            map: number(self.0.as_fd()),
            padding: 0,
            key: std::ptr::from_ref(&queue) as u64,
            value: std::ptr::from_ref(&value) as u64,
            flags: BPF_ANY,
        };
        // SAFETY: key and value are live and of the sizes that the map was made with; the kernel only reads them.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &update) }?;
        Ok(())
    }

    /// Loads the program and has a device run it, until the returned descriptor is closed.
    pub(crate) fn attach(&self, interface: u32, hook: Hook) -> io::Result<OwnedFd> {
        let program = self.load()?;
        let create = LinkCreate {
            program: number(program.as_fd()),
            interface,
            attach_type: BPF_XDP,
            flags: match hook {
                Hook::Driver => XDP_FLAGS_DRV_MODE,
                Hook::Generic => XDP_FLAGS_SKB_MODE,
            },
        };
        // SAFETY: there are no pointers in it, and the answer is a new descriptor.
        unsafe { bpf_descriptor(BPF_LINK_CREATE, &create) }
    }

    fn load(&self) -> io::Result<OwnedFd> {
        let instructions = redirect_by_queue(self.0.as_fd());
        let mut name = [0; 16];
        name[..6].copy_from_slice(b"genkan");
        let load = ProgramLoad {
            program_type: BPF_PROG_TYPE_XDP,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name,
            interface: 0,
            expected_attach_type: BPF_XDP,
        };
        loop {
            // SAFETY: the instructions are live and as many as said, the license ends with a zero octet, there is no
            // log; the kernel only reads. The answer is a new descriptor.
            match unsafe { bpf_descriptor(BPF_PROG_LOAD, &load) } {
                // The verifier was interrupted by a signal.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_program_is_what_its_comments_say() {
        let map = std::fs::File::open("/dev/null").expect("it is always there");
        let code: Vec<u64> = redirect_by_queue(map.as_fd())
            .iter()
            .map(|it| {
                let immediate = u64::from(it.immediate as u32) << 32;
                u64::from(it.code)
                    | u64::from(it.registers) << 8
                    | u64::from(it.offset as u16) << 16
                    | immediate
            })
            .collect();
        let fd = u64::from(number(map.as_fd())) << 32;
        // As an assembler prints them: r2 = *(u32 *)(r1 + 16); r1 = map ll; r3 = 2; call 51; exit.
        assert_eq!(code, [0x10_1261, fd | 0x1118, 0, 0x2_0000_03b7, 0x33_0000_0085, 0x95]);
    }

    #[test]
    fn attributes_lie_where_the_kernel_reads_them() {
        assert_eq!(std::mem::offset_of!(MapUpdate, key), 8);
        assert_eq!(std::mem::offset_of!(ProgramLoad, license), 16);
        assert_eq!(std::mem::offset_of!(ProgramLoad, name), 48);
        assert_eq!(std::mem::offset_of!(ProgramLoad, expected_attach_type), 68);
        assert_eq!(size_of::<ProgramLoad>(), 72);
        assert_eq!(size_of::<Instruction>(), 8);
    }
}
