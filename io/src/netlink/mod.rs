//! A small synchronous netlink client, enough for links, addresses, routes and nf_tables.
//!
//! The kernel answers while the request is being sent, so there is nothing to wait for and no runtime to have.
//! Attributes that nobody asks for are never looked at: a newer kernel with new ones does not break a listing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

mod message;

pub use message::{Message, Request, as_text, as_u32, attribute, attributes};

/// Guard against a kernel that never answers, in seconds.
const TIMEOUT: i64 = 10;
/// Datagrams of a listing have up to 32 KiB.
const BUFFER: usize = 64 << 10;
/// How often a listing is begun anew when the kernel's tables changed meanwhile.
const DUMP_TRIES: u32 = 20;
/// NLMSGERR_ATTR_MSG of an extended acknowledgement: the kernel's own words.
const ERROR_MESSAGE: u16 = 1;

/// What talking to the kernel can end in.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened or used.
    #[error("{operation}: {source}")]
    Socket {
        /// What was tried, in words.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error("{}{}", io::Error::from(*errno), if message.is_empty() { String::new() } else { format!(" ({message})") })]
    Refused {
        /// Its error number.
        errno: Errno,
        /// Its own words, where it has some.
        message: String,
    },
    /// Notifications were lost, or a listing changed too often to be read: ask again.
    #[error("the kernel's tables change faster than they can be read")]
    Overrun,
}

impl NetlinkError {
    /// The kernel's error number, if it refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> NetlinkError {
    move |errno| NetlinkError::Socket { operation, source: errno.into() }
}

/// A netlink socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// For links, addresses and routes (rtnetlink(7)).
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn route() -> Result<Netlink, NetlinkError> {
        Netlink::open(SockProtocol::NetlinkRoute, 0, SockFlag::SOCK_CLOEXEC)
    }

    /// For nf_tables.
    ///
    /// # Errors
    /// When no socket can be had, or the kernel has no netfilter.
    pub fn netfilter() -> Result<Netlink, NetlinkError> {
        Netlink::open(SockProtocol::NetlinkNetFilter, 0, SockFlag::SOCK_CLOEXEC)
    }

    /// For generic netlink (linux/genetlink.h).
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn generic() -> Result<Netlink, NetlinkError> {
        Netlink::open(SockProtocol::NetlinkGeneric, 0, SockFlag::SOCK_CLOEXEC)
    }

    /// For notifications of the rtnetlink groups in the mask `groups` (`RTMGRP_*`); reading does not block.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn route_notifications(groups: u32) -> Result<Netlink, NetlinkError> {
        Netlink::open(SockProtocol::NetlinkRoute, groups, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
    }

    /// Goes on with a socket that another process has opened.
    pub(crate) fn adopt(socket: OwnedFd) -> Netlink {
        // Answers that nobody has read have other numbers.
        Netlink { socket, sequence: 1 << 30, buffer: vec![0; BUFFER] }
    }

    fn open(protocol: SockProtocol, groups: u32, flags: SockFlag) -> Result<Netlink, NetlinkError> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
            .map_err(failed("open a netlink socket"))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(failed("bind a netlink socket"))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(TIMEOUT))
            .map_err(failed("set a netlink socket's timeout"))?;
        // Only for better messages: a kernel before 4.12 does without.
        let _ = crate::sys::packet_socket::set_option(
            socket.as_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_EXT_ACK,
            1,
        );
        Ok(Netlink { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// The socket, to wait for notifications.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a request that changes something, and waits until it is done.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn request(&mut self, mut request: Request) -> Result<(), NetlinkError> {
        request.set_flags(request.flags() | libc::NLM_F_ACK);
        let first = self.send(&mut [request])?;
        self.collect(first, 1).map(drop)
    }

    /// Sends requests that take effect together (nf_tables' transactions), and waits until they are done.
    ///
    /// # Errors
    /// The first refusal; then none of them took effect, if their family has transactions.
    pub fn batch(&mut self, requests: &mut [Request]) -> Result<(), NetlinkError> {
        let first = self.send(requests)?;
        let answers = requests.iter().filter(|request| request.flags() & libc::NLM_F_ACK != 0).count();
        self.collect(first, answers).map(drop)
    }

    /// Asks for one thing, or, with `NLM_F_DUMP`, for all things of a kind.
    ///
    /// # Errors
    /// When the kernel refuses, or the things change all the time while they are listed.
    pub fn query(&mut self, mut request: Request) -> Result<Vec<Message>, NetlinkError> {
        for _ in 0..DUMP_TRIES {
            if request.flags() & libc::NLM_F_DUMP == 0 {
                request.set_flags(request.flags() | libc::NLM_F_ACK);
            }
            let first = self.send(std::slice::from_mut(&mut request))?;
            let answers = self.collect(first, 1)?;
            let interrupted = |answer: &Message| i32::from(answer.flags) & libc::NLM_F_DUMP_INTR != 0;
            if !answers.iter().any(interrupted) {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Overrun)
    }

    /// The notifications that wait; none is no error.
    ///
    /// # Errors
    /// [`NetlinkError::Overrun`] when some were lost: then ask for the whole state.
    pub fn notifications(&mut self) -> Result<Vec<Message>, NetlinkError> {
        match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(message::messages(&self.buffer[..length])),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
            Err(Errno::ENOBUFS) => Err(NetlinkError::Overrun),
            Err(errno) => Err(failed("read from a netlink socket")(errno)),
        }
    }

    /// Sends requests in one datagram; the sequence number of the first.
    fn send(&mut self, requests: &mut [Request]) -> Result<u32, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            datagram.extend_from_slice(request.finish(self.sequence));
        }
        send(self.socket.as_raw_fd(), &datagram, MsgFlags::empty())
            .map_err(failed("write to a netlink socket"))?;
        Ok(first)
    }

    /// Reads answers to the requests from number `first` on, until `endings` acknowledgements or ends of listings
    /// have come.
    fn collect(&mut self, first: u32, endings: usize) -> Result<Vec<Message>, NetlinkError> {
        let mut answers = Vec::new();
        let mut ended = 0;
        let mut refusal = None;
        while ended < endings {
            let length = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => return Err(NetlinkError::Overrun),
                result => result.map_err(failed("read from a netlink socket"))?,
            };
            for answer in message::messages(&self.buffer[..length]) {
                // An answer to a request given up earlier.
                if answer.sequence.wrapping_sub(first) > self.sequence.wrapping_sub(first) {
                    continue;
                }
                match i32::from(answer.kind) {
                    libc::NLMSG_ERROR => {
                        ended += 1;
                        refusal = refusal.or(refusal_in(&answer));
                    }
                    libc::NLMSG_DONE => ended += 1,
                    libc::NLMSG_NOOP => {}
                    _ => answers.push(answer),
                }
            }
            // A refused transaction is not carried on: further acknowledgements may not come.
            if refusal.is_some() && ended < endings && !self.has_more() {
                break;
            }
        }
        refusal.map_or(Ok(answers), Err)
    }

    fn has_more(&mut self) -> bool {
        recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).is_ok()
    }
}

/// What an acknowledgement says: nothing when all went well.
fn refusal_in(answer: &Message) -> Option<NetlinkError> {
    let number = answer.body.first_chunk().map(|octets| i32::from_ne_bytes(*octets))?;
    if number == 0 {
        return None;
    }
    // The refused message follows (its header only, with NLM_F_CAPPED), then attributes.
    let refused = answer.body.get(4..)?;
    let length = refused.first_chunk().map_or(0, |octets| u32::from_ne_bytes(*octets)) as usize;
    let capped = i32::from(answer.flags) & libc::NLM_F_CAPPED != 0;
    let skip = if capped { message::HEADER_LEN } else { length.next_multiple_of(4) };
    let message = refused.get(skip..).and_then(|rest| attribute(rest, ERROR_MESSAGE)).map(as_text);
    Some(NetlinkError::Refused { errno: Errno::from_raw(-number), message: message.unwrap_or_default() })
}
