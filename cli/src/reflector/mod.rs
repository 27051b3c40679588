//! A small server far away, and what can be learned from it about the way in between: which of one's own ports are open
//! as seen from outside, and how the NAT in front of one behaves (RFC 5780).
//!
//! * [`stun`] is the one format of messages, RFC 8489 with two additions.
//! * [`server`] decides what the server does, on any clock and without a socket; [`service`] is its sockets, [`confine`]
//!   what it gives up before the first message.
//! * [`client`] asks; [`behavior`] is the order of questions of RFC 5780 and the judgement; [`consoles`] says the same in
//!   the words of games consoles; [`outside`] is all of it for `genkan doctor`, with forwards and remedies.
//!
//! `docs/reflector.md` is the protocol in words.

pub(crate) mod behavior;
pub(crate) mod client;
mod confine;
pub(crate) mod consoles;
mod limits;
pub(crate) mod outside;
mod path;
pub(crate) mod server;
pub(crate) mod service;
mod share;
pub(crate) mod stun;
mod token;

use std::fs::File;
use std::io::{self, Read};

/// Where a reflector listens unless told otherwise: the port of STUN.
pub(crate) const PORT: u16 = 3478;

/// Octets that nobody can foresee.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    Ok(octets)
}
