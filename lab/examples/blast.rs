//! `blast ADDRESS:PORT SECONDS`: sends 64-octet UDP frames (on the wire, FCS included) of a thousand flows, one after
//! the other, as fast as one core can. The counterpart counts; see netns-scripts/throughput.sh.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

/// Sockets, each a flow of its own.
const FLOWS: usize = 1000;

/// Octets of payload: 64 less Ethernet header (14), FCS (4), IPv4 (20) and UDP (8).
const PAYLOAD: usize = 18;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(to), Some(seconds)) = (arguments.next(), arguments.next()) else {
        return Err("usage: blast ADDRESS:PORT SECONDS".into());
    };
    let to: SocketAddrV4 = to.parse()?;
    let length = Duration::from_secs(seconds.parse()?);
    let flows = (0..FLOWS).map(|_| flow(to)).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < length {
        for socket in &flows {
            match send(socket.as_raw_fd(), &[0; PAYLOAD], MsgFlags::MSG_DONTWAIT) {
                Ok(_) => sent += 1,
                // The way is congested, or the last datagram was refused: both belong to the measurement.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ECONNREFUSED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    println!("{sent} datagrams, {:.3} Mpps", sent as f64 / start.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

fn flow(to: SocketAddrV4) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    Ok(socket)
}
