//! Network namespaces, veth pairs and waiting, for the tests with real kernel back ends.
//!
//! Every test makes its own namespaces, which end with the test's process or threads: nothing is left behind, and
//! nothing outside is touched. Without root the test runs again in a child process inside a user namespace; where
//! that is forbidden it is skipped with a printed reason. `GENKAN_TEST_UNPRIVILEGED=1` makes root go that way, too.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use genkan_engine::frame::{Offload, Slot};
use genkan_io::device::{self, Link};
use genkan_io::netlink::{Netlink, Request};
use genkan_io::{FrameIo, FrameReceiver, IoError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

/// How long a condition may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const INSIDE: &str = "GENKAN_TEST_INSIDE";
const UNPRIVILEGED: &str = "GENKAN_TEST_UNPRIVILEGED";

/// Defines tests whose body runs in a network namespace of its own.
#[macro_export]
macro_rules! namespace_tests {
    ($($(#[$attribute:meta])* fn $name:ident() $body:block)+) => {
        $($(#[$attribute])* #[test] fn $name() {
            $crate::common::in_namespace(stringify!($name), false, || $body);
        })+
    };
}

/// Runs `body` in a new network namespace: in this process as root, else (or if `unprivileged`) in a child process in
/// a new user namespace. `name` is the full name of the calling test.
pub(crate) fn in_namespace(name: &str, unprivileged: bool, body: impl FnOnce() + Send + 'static) {
    let inside = std::env::var_os(INSIDE).is_some();
    let forced = unprivileged || std::env::var_os(UNPRIVILEGED).is_some();
    if inside || !forced {
        let try_here = move || match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => {
                set_up("lo");
                body();
                None
            }
            Err(errno) => Some(errno),
        };
        match thread::spawn(try_here).join() {
            Ok(None) => return,
            Ok(Some(errno)) if inside => panic!("no network namespace inside the user namespace: {errno}"),
            Ok(Some(_)) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    let usable = Command::new("unshare").args(["-Urn", "true"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED {name}: needs root, or user namespaces and unshare(1)");
        return;
    }
    let status = Command::new("unshare")
        .arg("-Urn")
        .arg(std::env::current_exe().expect("a running test has a file"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare(1) was there a moment ago");
    assert!(status.success(), "{name} failed in a user namespace");
}

/// A further network namespace, a host on the other end of a wire. Lives while this value lives.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    pub(crate) fn new() -> Namespace {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("we are privileged here");
            set_up("lo");
            File::open("/proc/thread-self/ns/net").expect("/proc is mounted")
        };
        Namespace { file: thread::spawn(make).join().expect("the thread above does not panic") }
    }

    /// Runs something there; sockets opened meanwhile stay there.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let enter_and_run = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).expect("we are privileged here");
            body()
        };
        thread::scope(|scope| {
            scope.spawn(enter_and_run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn route() -> Netlink {
    Netlink::route().expect("netlink is always there")
}

fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &change.to_ne_bytes()].concat()
}

/// A veth pair: `name` here, `peer_name` in another namespace. Both are down.
pub(crate) fn add_veth(name: &str, peer: &Namespace, peer_name: &str) {
    const VETH_INFO_PEER: u16 = 1;
    let mut request =
        Request::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &link_header(0, 0, 0));
    request.text(libc::IFLA_IFNAME, name).nest(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |other| {
                other
                    .octets(&link_header(0, 0, 0))
                    .text(libc::IFLA_IFNAME, peer_name)
                    .attribute(libc::IFLA_NET_NS_FD, &peer.file.as_raw_fd().to_ne_bytes());
            });
        });
    });
    route().request(request).expect("a veth pair can be made");
}

/// A veth pair with both ends up and carrying; no IPv6 on either.
pub(crate) fn wire(name: &str, peer: &Namespace, peer_name: &str) {
    add_veth(name, peer, peer_name);
    no_ipv6(name);
    set_up(name);
    peer.run(|| {
        no_ipv6(peer_name);
        set_up(peer_name);
        until("carrier", || link(peer_name).carrier.then_some(()));
    });
    until("carrier", || link(name).carrier.then_some(()));
}

pub(crate) fn link(name: &str) -> Link {
    device::link(name).expect("the device exists")
}

fn change_link(name: &str, flags: u32, change: u32, fill: impl FnOnce(&mut Request)) {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &link_header(link(name).index, flags, change));
    fill(&mut request);
    route().request(request).expect("the device can be changed");
}

pub(crate) fn set_up(name: &str) {
    change_link(name, libc::IFF_UP as u32, libc::IFF_UP as u32, |_| {});
}

pub(crate) fn set_down(name: &str) {
    change_link(name, 0, libc::IFF_UP as u32, |_| {});
}

pub(crate) fn set_mtu(name: &str, mtu: u32) {
    change_link(name, 0, 0, |request| {
        request.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
    });
}

pub(crate) fn set_mac(name: &str, mac: [u8; 6]) {
    change_link(name, 0, 0, |request| {
        request.attribute(libc::IFLA_ADDRESS, &mac);
    });
}

/// Keeps the kernel from chattering (router solicitations, multicast reports) on a test's wire.
pub(crate) fn no_ipv6(name: &str) {
    const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    change_link(name, 0, 0, |request| {
        request.nest(libc::IFLA_AF_SPEC, |families| {
            families.nest(libc::AF_INET6 as u16, |inet6| {
                inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[1]);
            });
        });
    });
}

pub(crate) fn delete_link(name: &str) {
    let request = Request::new(libc::RTM_DELLINK, 0, &link_header(link(name).index, 0, 0));
    route().request(request).expect("the device can be deleted");
}

pub(crate) fn add_address(name: &str, address: impl Into<IpAddr>, prefix_len: u8) {
    const IFA_F_NODAD: u8 = 2;
    let (family, octets) = match address.into() {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut header = vec![family as u8, prefix_len, IFA_F_NODAD, 0];
    header.extend_from_slice(&link(name).index.to_ne_bytes());
    let mut request = Request::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE, &header);
    request.attribute(libc::IFA_LOCAL, &octets).attribute(libc::IFA_ADDRESS, &octets);
    route().request(request).expect("the address can be added");
}

/// A permanent neighbour, so that nobody has to answer ARP.
pub(crate) fn add_neighbor(name: &str, address: Ipv4Addr, mac: [u8; 6]) {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    const NUD_PERMANENT: u16 = 0x80;
    // struct ndmsg: family, padding, index, state, flags, type.
    let mut header = vec![libc::AF_INET as u8, 0, 0, 0];
    header.extend_from_slice(&link(name).index.to_ne_bytes());
    header.extend_from_slice(&NUD_PERMANENT.to_ne_bytes());
    header.extend_from_slice(&[0, 0]);
    let mut request = Request::new(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &header);
    request.attribute(NDA_DST, &address.octets()).attribute(NDA_LLADDR, &mac);
    route().request(request).expect("the neighbour can be added");
}

/// Tries until there is something, without a fixed sleep: fails after [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A received frame, copied.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

/// Waits up to `time` until a receiver has something to say.
pub(crate) fn wait(receiver: &dyn FrameReceiver, time: Duration) -> bool {
    let fds = receiver.poll_fds().expect("kernel back ends can be waited for");
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(time).expect("a short time");
    poll(&mut fds, timeout).expect("poll works") > 0
}

fn copy(memory: &[u8], slots: &[Slot], frames: &mut Vec<Frame>) {
    frames.extend(slots.iter().map(|slot| Frame {
        bytes: memory[slot.offset..slot.offset + slot.len].to_vec(),
        offload: slot.offload,
    }));
}

/// Receives until `enough` says so of all frames so far.
pub(crate) fn receive_until(
    receiver: &mut dyn FrameReceiver,
    what: &str,
    mut enough: impl FnMut(&[Frame]) -> bool,
) -> Vec<Frame> {
    let end = Instant::now() + PATIENCE;
    let mut frames = Vec::new();
    while !enough(&frames) {
        assert!(Instant::now() < end, "waited too long for {what}; {} frames came", frames.len());
        let batch = receiver.receive().expect("the device is there");
        if batch.slots.is_empty() {
            wait(receiver, Duration::from_millis(100));
        } else {
            copy(batch.memory, batch.slots, &mut frames);
        }
    }
    frames
}

/// What waits right now.
pub(crate) fn receive_waiting(receiver: &mut dyn FrameReceiver) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let batch = receiver.receive().expect("the device is there");
        if batch.slots.is_empty() {
            return frames;
        }
        copy(batch.memory, batch.slots, &mut frames);
    }
}

/// Moves what waits at one port out of another, unchanged; what was seen goes to `look`.
pub(crate) fn pump(
    from: &mut FrameIo,
    to: &mut FrameIo,
    mut look: impl FnMut(&[u8], &Offload),
) -> Result<usize, IoError> {
    let batch = from.receiver.receive()?;
    for slot in batch.slots.iter() {
        look(&batch.memory[slot.offset..slot.offset + slot.len], &slot.offload);
    }
    let indices: Vec<u16> = (0..batch.slots.len() as u16).collect();
    to.transmitter.transmit(batch.memory, batch.slots, &indices)
}

/// A default route by a gateway on a device.
pub(crate) fn add_default_route(device: &str, gateway: Ipv4Addr) {
    // struct rtmsg: family, prefix lengths, TOS, table, protocol, scope, type, flags.
    let header = [
        libc::AF_INET as u8,
        0,
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_BOOT,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut request = Request::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE, &header);
    request
        .attribute(libc::RTA_GATEWAY, &gateway.octets())
        .attribute(libc::RTA_OIF, &link(device).index.to_ne_bytes());
    route().request(request).expect("the route can be added");
}
