//! `blast`: sends 64-octet UDP frames (on the wire, FCS included) of many flows from a packet socket, whole batches
//! with one sendmmsg(2), so that the sender's own work does not hide the router's. The counterpart counts; see
//! netns-scripts/throughput.sh.
//!
//! Flow number n comes from port 1024 + n modulo 60,000, and every further 60,000 flows go to the next address.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};

const USAGE: &str = "usage: blast DEVICE ROUTER-MAC FROM-ADDRESS TO-ADDRESS:PORT SECONDS \
    [--flows N] [--burst FRAMES-PER-FLOW] [--rate FRAMES-PER-SECOND]";

/// Octets of a frame without its FCS: Ethernet (14), IPv4 (20), UDP (8), payload (18).
const FRAME: usize = 60;
/// Frames per system call.
const BATCH: usize = 32;
/// Source ports used with one destination address.
const PORTS: usize = 60_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((fixed, options)) = arguments.split_at_checked(5) else { return Err(USAGE.into()) };
    let [device, mac, from, to, seconds] = fixed else { return Err(USAGE.into()) };
    let (mut flows, mut burst, mut rate) = (1000, 1, None);
    for option in options.chunks(2) {
        match option {
            [name, value] if name == "--flows" => flows = value.parse()?,
            [name, value] if name == "--burst" => burst = value.parse()?,
            [name, value] if name == "--rate" => rate = Some(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let link = link_address(device)?;
    bind(socket.as_raw_fd(), &link)?;
    let addressed = Ethernet { to: parse_mac(mac)?, from: link.addr().ok_or("no Ethernet device")? };
    let frames = frames(&addressed, from.parse()?, to.parse()?, flows);
    let length = Duration::from_secs_f64(seconds.parse()?);
    let (sent, took) = blast(&socket, &frames, burst, rate, length)?;
    println!("{sent} frames, {:.3} Mpps", sent as f64 / took.as_secs_f64() / 1e6);
    Ok(())
}

struct Ethernet {
    to: [u8; 6],
    from: [u8; 6],
}

fn parse_mac(text: &str) -> Result<[u8; 6], Box<dyn Error>> {
    let octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<Vec<_>, _>>()?;
    octets.try_into().map_err(|_| "a MAC address has six octets".into())
}

fn link_address(device: &str) -> Result<LinkAddr, Box<dyn Error>> {
    let all = nix::ifaddrs::getifaddrs()?.filter(|found| found.interface_name == device);
    let mut links = all.filter_map(|found| found.address?.as_link_addr().copied());
    links.next().ok_or_else(|| format!("no device {device}").into())
}

/// The Internet checksum (RFC 1071) of octets after a sum of others.
fn checksum(sum: u32, octets: &[u8]) -> u16 {
    let words = octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum = sum + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// One frame per flow.
fn frames(ethernet: &Ethernet, from: Ipv4Addr, to: SocketAddrV4, flows: usize) -> Vec<[u8; FRAME]> {
    let make = |flow: usize| {
        let mut frame = [0; FRAME];
        frame[..6].copy_from_slice(&ethernet.to);
        frame[6..12].copy_from_slice(&ethernet.from);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        // Version and header length; total length; don't fragment; TTL; UDP.
        let length = (FRAME - 14) as u8;
        frame[14..24].copy_from_slice(&[0x45, 0, 0, length, 0, 0, 0x40, 0, 64, 17]);
        frame[26..30].copy_from_slice(&from.octets());
        let destination = u32::from(*to.ip()).wrapping_add((flow / PORTS) as u32);
        frame[30..34].copy_from_slice(&destination.to_be_bytes());
        let sum = checksum(0, &frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame[34..36].copy_from_slice(&(1024 + (flow % PORTS) as u16).to_be_bytes());
        frame[36..38].copy_from_slice(&to.port().to_be_bytes());
        frame[38..40].copy_from_slice(&u16::from(length - 20).to_be_bytes());
        // The pseudo header: addresses, which are summed with the datagram, protocol and length.
        let sum = checksum(17 + u32::from(length - 20), &frame[26..]);
        frame[40..42].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
        frame
    };
    (0..flows).map(make).collect()
}

/// Sends `burst` frames of each flow in turn until `length` is over; how many, and how long it took.
fn blast(
    socket: &OwnedFd,
    frames: &[[u8; FRAME]],
    burst: usize,
    rate: Option<f64>,
    length: Duration,
) -> nix::Result<(u64, Duration)> {
    let mut order = frames.iter().flat_map(|frame| std::iter::repeat_n(frame, burst)).cycle();
    let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
    let (start, mut sent) = (Instant::now(), 0_u64);
    loop {
        let parts: Vec<[IoSlice<'_>; 1]> =
            order.by_ref().take(BATCH).map(|frame| [IoSlice::new(frame)]).collect();
        if let Some(rate) = rate {
            while start.elapsed().as_secs_f64() * rate < sent as f64 && start.elapsed() < length {
                std::hint::spin_loop();
            }
        }
        let mut rest = &parts[..];
        while !rest.is_empty() {
            if start.elapsed() >= length {
                return Ok((sent, start.elapsed()));
            }
            let flags = MsgFlags::empty();
            match sendmmsg(socket.as_raw_fd(), &mut headers, rest, [None; BATCH], [], flags) {
                Ok(results) => {
                    let taken = results.count();
                    sent += taken as u64;
                    rest = &rest[taken..];
                }
                // The way is congested: that belongs to the measurement.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
