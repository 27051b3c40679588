//! A flood of made-up packets, straight to the device, as an attacker sends them.

use std::io;
use std::net::Ipv4Addr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use genkan_lab::{Namespace, capture};

/// What to send. Protocol and whatever is not fixed here are random: half TCP SYNs, half UDP datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    /// MAC address of the next hop.
    pub(crate) next_hop: [u8; 6],
    /// The one source address; `None`: a random one for every packet.
    pub(crate) source: Option<Ipv4Addr>,
    /// The one destination address; `None`: a random one for every packet.
    pub(crate) destination: Option<Ipv4Addr>,
    /// Packets in all.
    pub(crate) packets: u32,
    /// Packets/s.
    pub(crate) rate: u32,
}

impl Flood {
    /// Starts to send from `device` of a host; the thread returns how many packets were sent.
    pub(crate) fn start(self, host: &Namespace, device: &'static str) -> JoinHandle<io::Result<u32>> {
        host.spawn(move || self.send(device))
    }

    fn send(self, device: &str) -> io::Result<u32> {
        /// Packets between two looks at the clock.
        const BURST: u32 = 64;
        let our_mac = mac(device)?;
        let (mut sender, _) = capture::open(device)?;
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(self.packets));
        let start = Instant::now();
        let mut sent = 0;
        for number in 0..self.packets {
            if number % BURST == 0 {
                let due = start + Duration::from_secs_f64(f64::from(number) / f64::from(self.rate));
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let frame = self.frame(our_mac, &mut random);
            match sender.send_to(&frame, None) {
                Some(Ok(())) => sent += 1,
                // A full queue of the device is the attacker's problem.
                Some(Err(error)) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::other("nothing can be sent from here")),
            }
        }
        Ok(sent)
    }

    fn frame(&self, our_mac: [u8; 6], random: &mut Random) -> Vec<u8> {
        let source = self.source.unwrap_or_else(|| random.address());
        let destination = self.destination.unwrap_or_else(|| random.address());
        let tcp = random.next() & 1 == 0;
        let (protocol, transport) = if tcp { (6, random.syn()) } else { (17, random.datagram()) };
        let mut frame = [&self.next_hop[..], &our_mac, &[0x08, 0x00]].concat();
        let length = u16::try_from(20 + transport.len()).expect("it is short");
        let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&random.port().to_be_bytes());
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&destination.octets());
        let checksum = !sum(&header, 0);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
        let pseudo = sum(&header[12..20], u32::from(protocol) + u32::from(length - 20));
        let checksum = !sum(&transport, u32::from(pseudo));
        let at = frame.len() + if tcp { 16 } else { 6 };
        frame.extend(transport);
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        frame
    }
}

/// The MAC address of a device of this thread's namespace.
pub(crate) fn mac(device: &str) -> io::Result<[u8; 6]> {
    let mac = capture::interface(device)?.mac.ok_or(io::ErrorKind::NotFound)?;
    Ok(mac.octets())
}

/// RFC 1071, over an even number of octets.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn port(&mut self) -> u16 {
        (self.next() as u16).max(1)
    }

    /// A unicast address outside of the lab and of the special ranges.
    fn address(&mut self) -> Ipv4Addr {
        let [_, b, c, d] = (self.next() as u32).to_be_bytes();
        Ipv4Addr::new(20 + (self.next() % 80) as u8, b, c, d)
    }

    fn syn(&mut self) -> Vec<u8> {
        let (source, destination) = (self.port().to_be_bytes(), self.port().to_be_bytes());
        let sequence = (self.next() as u32).to_be_bytes();
        let rest = [0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]; // no ack, 20 octets, SYN, window, checksum, urgent
        [&source[..], &destination, &sequence, &rest].concat()
    }

    fn datagram(&mut self) -> Vec<u8> {
        let (source, destination) = (self.port().to_be_bytes(), self.port().to_be_bytes());
        [&source[..], &destination, &[0, 16, 0, 0], &self.next().to_be_bytes()].concat()
    }
}
