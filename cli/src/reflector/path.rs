//! How large packets get through to the reflector. Read RFC 1191 first.
//!
//! Datagrams leave with "don't fragment" as long as the kernel knows of no smaller MTU on the way, which is what it does for
//! every program. So a request of full size is answered when packets of that size get through; if a router on the way says that
//! it is too large, the kernel knows the smaller MTU afterwards; and if nothing is said, smaller ones are tried. Answers are
//! short: only the way out is measured.

use std::io;
use std::net::SocketAddrV4;

use nix::sys::socket::{getsockopt, sockopt};
use serde::Serialize;

use super::client::{AskError, Client, Question, socket};

/// IP MTUs to be tried where larger packets vanish: PPPoE, tunnels (of MAP-E and DS-Lite: 1460), lines of NTT (1454), the
/// smallest of IPv6. STUN messages have a multiple of four octets.
const TRIED: [u16; 7] = [1_492, 1_480, 1_460, 1_452, 1_400, 1_340, 1_280];

/// The largest packets that are tried.
const LARGEST: u16 = 1_500;

/// Octets of the headers of IP and UDP.
const HEADERS: u16 = 28;

/// The IP MTU of the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Path {
    /// Packets of so many octets get through.
    pub(crate) mtu: u16,
    /// Larger ones vanish, and nobody says so.
    pub(crate) is_silent: bool,
}

/// Measures it; `None` when not even the smallest get through.
///
/// # Errors
/// When there are no sockets.
pub(crate) fn measure(client: &mut Client) -> Result<Option<Path>, AskError> {
    let known = known_mtu(client.server)?;
    if gets_through(client, known)? {
        return Ok(Some(Path { mtu: known_mtu(client.server)?.min(known), is_silent: false }));
    }
    // Somebody has said something, and was not the last on the way to do so.
    let told = known_mtu(client.server)?;
    if told < known && gets_through(client, told)? {
        return Ok(Some(Path { mtu: known_mtu(client.server)?.min(told), is_silent: false }));
    }
    for mtu in TRIED.into_iter().filter(|mtu| *mtu < told) {
        if gets_through(client, mtu)? {
            return Ok(Some(Path { mtu, is_silent: true }));
        }
    }
    Ok(None)
}

fn gets_through(client: &mut Client, mtu: u16) -> Result<bool, AskError> {
    let length = (mtu - HEADERS) / 4 * 4;
    let question = Question::who_am_i(client.server).of_length(length.into());
    Ok(client.ask(&socket()?, &[question])?[0].is_some())
}

/// The largest packet that the kernel would send there in one piece, and that is tried.
fn known_mtu(to: SocketAddrV4) -> io::Result<u16> {
    let socket = socket()?;
    socket.connect(to)?;
    let mtu = getsockopt(&socket, sockopt::IpMtu)?;
    // RFC 791: no link takes less than 68.
    Ok(u16::try_from(mtu).unwrap_or(LARGEST).clamp(68, LARGEST))
}
