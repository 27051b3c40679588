//! Datagrams of one socket, numbered, to another: how many arrive, which was the last, and how long each was under way.
//!
//! What is found out is the router's doing alone. When a datagram arrives is noted by the kernel, and one that it could
//! not keep for a reader without a CPU has arrived all the same.

use std::fs;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use genkan_lab::Namespace;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::fixture::{PATIENCE, SILENCE, wait_for};

/// How long to listen for datagrams that may be lost.
pub(crate) const MISSING: Duration = Duration::from_secs(1);

/// A sender and a receiver at work.
pub(crate) struct Counted {
    sent: Arc<AtomicU64>,
    sending: Sending,
    sender: JoinHandle<()>,
    receiver: JoinHandle<Flow>,
}

/// True until it is dropped, be it by a panic.
struct Sending(Arc<AtomicBool>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) sent: u64,
    /// Each once.
    pub(crate) arrived: u64,
    /// Those that arrived again.
    pub(crate) twice: u64,
    /// The number of the newest that arrived; they are counted from 0.
    pub(crate) newest: u64,
    /// The longest time that one of them was under way.
    pub(crate) longest: Duration,
}

impl Flow {
    /// Whether all arrived, each once.
    pub(crate) fn is_whole(&self) -> bool {
        (self.sent, 0) == (self.arrived, self.twice) && self.sent > 0
    }
}

impl Counted {
    /// Sends one after each `pause`, to the socket `at` of a host.
    pub(crate) fn start(
        pause: Duration,
        from: UdpSocket,
        to: SocketAddrV4,
        host: Namespace,
        at: UdpSocket,
    ) -> Counted {
        // The first one finds the way: until ARP is answered no more than a few frames wait.
        at.set_read_timeout(Some(PATIENCE)).expect("not zero");
        from.send_to(b"first", to).expect("there is a route");
        at.recv(&mut [0; 16]).expect("it arrives");
        setsockopt(&at, sockopt::ReceiveTimestampns, &true).expect("every kernel can");
        // Cut to what is allowed.
        setsockopt(&at, sockopt::RcvBuf, &(1 << 20)).expect("every kernel can");
        let (sent, sending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let (number, go_on) = (sent.clone(), sending.clone());
        let sender = thread::spawn(move || {
            while go_on.load(Ordering::Acquire) {
                let number = number.fetch_add(1, Ordering::AcqRel).to_be_bytes();
                let datagram = [number, since_1970().to_be_bytes()].concat();
                from.send_to(&datagram, to).expect("there is a route");
                thread::sleep(pause);
            }
        });
        let (total, go_on) = (sent.clone(), sending.clone());
        let receiver = thread::spawn(move || {
            let is_over = || (!go_on.load(Ordering::Acquire)).then(|| total.load(Ordering::Acquire));
            receive(&host, &at, &is_over)
        });
        Counted { sent, sending: Sending(sending), sender, receiver }
    }

    /// How many were sent so far. The one that will have this number is sent later than now.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until so many more have been sent.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, more: u64) {
        let goal = self.sent() + more;
        wait_for("datagrams are sent", || self.sent() >= goal);
    }

    /// Ends it, once those that are under way have come.
    pub(crate) fn end(self) -> Flow {
        drop(self.sending);
        self.sender.join().expect("no panic");
        self.receiver.join().expect("no panic")
    }
}

/// Nanoseconds.
fn since_1970() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(time.as_nanos()).expect("a few centuries")
}

/// `is_over` says how many were sent, once no more are.
fn receive(host: &Namespace, socket: &UdpSocket, is_over: &dyn Fn() -> Option<u64>) -> Flow {
    let (mut numbers, mut longest) = (Vec::new(), 0);
    let port = socket.local_addr().expect("it is bound").port();
    loop {
        let over = is_over();
        let is_whole = over.is_some_and(|sent| numbers.len() as u64 >= sent);
        let limit = if is_whole || over.is_none() { SILENCE } else { MISSING };
        socket.set_read_timeout(Some(limit)).expect("not zero");
        match next(socket) {
            Ok((number, sent, arrived)) => {
                numbers.push(number);
                longest = longest.max(arrived.saturating_sub(sent));
            }
            // Nothing has come in all this time, and the kernel would have had it ready.
            Err(_) => {
                let Some(sent) = over else { continue };
                let newest = numbers.iter().copied().max().unwrap_or(0);
                let all = numbers.len() as u64;
                numbers.sort_unstable();
                numbers.dedup();
                let once = numbers.len() as u64;
                let arrived = once + dropped(host, port);
                return Flow {
                    sent,
                    arrived,
                    twice: all - once,
                    newest,
                    longest: Duration::from_nanos(longest),
                };
            }
        }
    }
}

/// The number of a datagram, when it was sent and when it arrived.
fn next(socket: &UdpSocket) -> io::Result<(u64, u64, u64)> {
    let (mut octets, mut room) = ([0; 16], cmsg_space!(TimeSpec));
    let mut into = [IoSliceMut::new(&mut octets)];
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut into, Some(&mut room), MsgFlags::empty())?;
    let arrived = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    });
    let arrived = arrived.expect("the kernel was asked for it").as_nanos() as u64;
    let half = |at| u64::from_be_bytes(octets[at..at + 8].try_into().expect("8 octets"));
    Ok((half(0), half(8), arrived))
}

/// Datagrams that the kernel had no room for at this port of a host.
fn dropped(host: &Namespace, port: u16) -> u64 {
    let text = host.run(|| fs::read_to_string("/proc/thread-self/net/udp")).expect("every namespace has one");
    let end = format!(":{port:04X}");
    let mut rows = text.lines().map(|line| line.split_ascii_whitespace());
    let row = rows.find(|row| row.clone().nth(1).is_some_and(|local| local.ends_with(&end)));
    row.and_then(|row| row.last()?.parse().ok()).expect("the socket is there")
}
