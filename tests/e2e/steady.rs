//! Datagrams of many flows at an even rate, straight to a device, and counted where they arrive.
//!
//! Flow number n comes from the (n modulo 60,000)th internal endpoint and goes to one destination, at a port that rises
//! by one every 60,000 flows. All datagrams are 64 octets on the wire.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use genkan_engine::wire::checksum;
use genkan_io::sys::frame_burst::FrameBurst;
use genkan_lab::Namespace;
use nix::sys::socket::{setsockopt, sockopt};

use crate::counted::MISSING;
use crate::fixture::wait_for;
use crate::flood::mac;
use crate::servers::udp;

/// Octets of Ethernet, IPv4 and UDP header.
const HEADERS: usize = 14 + 20 + 8;
/// Octets of payload: the least that an Ethernet frame has room for.
const PAYLOAD: usize = 18;
/// Internal endpoints: fewer than one external address has ports for.
const ENDPOINTS: u64 = 60_000;
/// Addresses that they are spread over.
const HOSTS: u64 = 150;
/// The first port of each address.
const FIRST_PORT: u16 = 10_000;
/// Sessions that are opened before it is waited for them: fewer than any queue on the way has room for.
const STEP: u64 = 512;
/// Frames of one system call.
const BURST: usize = 32;
/// Bursts by which a sender that was held up catches up.
const CATCH_UP: u32 = 4;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady {
    /// MAC address of the next hop.
    pub(crate) next_hop: [u8; 6],
    /// The first source address.
    pub(crate) source: Ipv4Addr,
    /// Where to.
    pub(crate) destination: Ipv4Addr,
    /// Destination port of the first flows.
    pub(crate) port: u16,
    /// Flows that take turns.
    pub(crate) flows: u64,
    /// Datagrams/s.
    pub(crate) rate: u32,
}

/// A sender at work.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Running {
    /// Ends it; how many datagrams the kernel took from it.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no sender panics")
    }
}

impl Steady {
    /// The ports that its flows go to.
    pub(crate) fn ports(self) -> Range<u16> {
        self.port..self.port + self.flows.div_ceil(ENDPOINTS) as u16
    }

    /// One datagram of a socket, so that the way is known: until ARP is answered no more than a few frames wait.
    pub(crate) fn find_way(self, host: &Namespace, sink: &Sink) {
        let before = sink.count();
        udp(host, 0).send_to(b"first", (self.destination, self.port)).expect("there is a route");
        wait_for("the first datagram arrives", || sink.count() > before);
    }

    /// Opens a session for each of its flows.
    pub(crate) fn open(self, host: &Namespace, device: &str, sink: &Sink) {
        for first in (0..self.flows).step_by(STEP as usize) {
            let before = sink.count();
            let sent = self.once(host, device, first, STEP.min(self.flows - first));
            wait_for("all of them are open", || sink.count() >= before + sent);
        }
    }

    /// Starts to send from `device` of a host.
    pub(crate) fn start(self, host: &Namespace, device: &'static str) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = host.spawn(move || self.send(device, 0, &|_| stopped.load(Ordering::Relaxed)));
        Running { stop, thread }
    }

    /// One datagram of each of `count` flows from `first` on; returns when all are sent.
    pub(crate) fn once(self, host: &Namespace, device: &str, first: u64, count: u64) -> u64 {
        host.run(|| self.send(device, first, &|sent| sent >= count))
    }

    fn send(self, device: &str, first: u64, is_over: &dyn Fn(u64) -> bool) -> u64 {
        let mut burst = FrameBurst::open(device, HEADERS + PAYLOAD, BURST).expect("it can be opened");
        let source = mac(device).expect("there is the device");
        burst.frames_mut().for_each(|frame| self.begin(frame, source));
        let pause = Duration::from_secs_f64(BURST as f64 / f64::from(self.rate));
        let (mut sent, mut due) = (0, Instant::now());
        while !is_over(sent) {
            for (number, frame) in (first + sent..).zip(burst.frames_mut()) {
                self.write(frame, number % self.flows);
            }
            sent += burst.send(0, BURST).expect("the device is up") as u64;
            due = (due + pause).max(Instant::now() - CATCH_UP * pause);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        sent
    }

    /// What is the same in all frames.
    fn begin(&self, frame: &mut [u8], source: [u8; 6]) {
        frame.fill(0);
        frame[..6].copy_from_slice(&self.next_hop);
        frame[6..12].copy_from_slice(&source);
        frame[12..14].copy_from_slice(&[0x08, 0x00]); // IPv4
        frame[14] = 0x45; // version 4, five words of header
        frame[17] = (20 + 8 + PAYLOAD) as u8;
        frame[20] = 0x40; // don't fragment
        frame[22] = 64; // TTL
        frame[23] = 17; // UDP
        frame[30..34].copy_from_slice(&self.destination.octets());
        // No UDP checksum (RFC 768).
        frame[39] = (8 + PAYLOAD) as u8;
    }

    fn write(&self, frame: &mut [u8], number: u64) {
        let (endpoint, round) = (number % ENDPOINTS, number / ENDPOINTS);
        let source = u32::from(self.source) + (endpoint % HOSTS) as u32;
        frame[24..26].fill(0);
        frame[26..30].copy_from_slice(&source.to_be_bytes());
        frame[34..36].copy_from_slice(&(FIRST_PORT + (endpoint / HOSTS) as u16).to_be_bytes());
        frame[36..38].copy_from_slice(&(self.port + round as u16).to_be_bytes());
        let sum = checksum::finish(checksum::sum(&frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where datagrams end: sockets that nobody reads. Once one is full, the kernel counts each further datagram as it drops
/// it, so that all are counted and nobody has to keep up.
pub(crate) struct Sink {
    host: Namespace,
    _sockets: Vec<UdpSocket>,
}

impl Sink {
    /// At these ports of an address of the host.
    pub(crate) fn start(host: Namespace, address: Ipv4Addr, ports: Range<u16>) -> Sink {
        let sockets = ports.map(|port| udp(&host, port)).collect::<Vec<_>>();
        let sink = Sink { host, _sockets: sockets };
        for socket in &sink._sockets {
            setsockopt(socket, sockopt::RcvBuf, &0).expect("the kernel makes it its least");
            let (port, before) = (socket.local_addr().expect("it is bound").port(), sink.count());
            while sink.count() == before {
                socket.send_to(&[0; PAYLOAD], (address, port)).expect("it is the host's own");
            }
        }
        sink
    }

    /// Datagrams that have come so far, and some more from its beginning.
    pub(crate) fn count(&self) -> u64 {
        let text = self.host.run(|| fs::read_to_string("/proc/thread-self/net/snmp"));
        let text = text.expect("every namespace has one");
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let mut row = || rows.next().expect("two lines").split_ascii_whitespace();
        let (names, values) = (row(), row());
        let (_, dropped) =
            names.zip(values).find(|(name, _)| *name == "InErrors").expect("there is such a counter");
        dropped.parse().expect("it is a number")
    }

    /// Waits until so many have come since `before`, or nothing has come for a while; how many have.
    pub(crate) fn settled(&self, before: u64, expected: u64) -> u64 {
        let mut last = self.count();
        loop {
            if last - before >= expected {
                return last - before;
            }
            thread::sleep(MISSING);
            let now = self.count();
            if now == last {
                return now - before;
            }
            last = now;
        }
    }
}

/// Octets that a device of a host has received so far.
pub(crate) fn octets(host: &Namespace, device: &str) -> u64 {
    let text = host.run(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("every namespace has one");
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'));
    let octets = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    octets.expect("there is the device")
}
