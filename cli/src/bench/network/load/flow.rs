//! The flows of a UDP load, and their frames.
//!
//! Flow number n belongs to internal endpoint n modulo 60,000 and to remote n / 60,000, so that a thousand flows are
//! a thousand endpoints of 200 hosts that speak to one remote, and a million flows have 17 remotes.

use std::net::Ipv4Addr;

use genkan_engine::wire::checksum;

/// Hosts that the flows come from.
const HOSTS: u64 = 200;
/// Internal endpoints: what one external address has ports for.
pub(crate) const ENDPOINTS: u64 = 60_000;
/// The first host's number in the lan.
const FIRST_HOST: u32 = 20;
/// The first port of each host.
const FIRST_PORT: u16 = 10_000;
/// The first remote, of the range for benchmarks (RFC 2544 appendix C.2.2).
const FIRST_REMOTE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Where all datagrams go: discard (RFC 863).
pub(crate) const REMOTE_PORT: u16 = 9;

/// Octets of Ethernet, IPv4 and UDP header.
pub(crate) const HEADERS: usize = 14 + 20 + 8;
/// Octets of the frame check sequence, which counts for the size of a frame but is not handed to the kernel.
const FCS: usize = 4;

/// Octets of payload in a frame of `size` octets on the wire (FCS included).
pub(crate) fn payload_len(size: usize) -> usize {
    size.saturating_sub(HEADERS + FCS)
}

/// Addresses and source port of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    source: u32,
    source_port: u16,
    remote: u32,
}

impl Flow {
    fn numbered(number: u64, network: Ipv4Addr) -> Flow {
        let (endpoint, remote) = (number % ENDPOINTS, number / ENDPOINTS);
        Flow {
            source: u32::from(network) + FIRST_HOST + (endpoint % HOSTS) as u32,
            source_port: FIRST_PORT + (endpoint / HOSTS) as u16,
            remote: u32::from(FIRST_REMOTE).wrapping_add(remote as u32),
        }
    }
}

/// Writes the frames of flows.
#[derive(Clone, Debug)]
pub(crate) struct FlowFrames {
    template: Vec<u8>,
    network: Ipv4Addr,
    /// Octets of payload of each datagram.
    payload: usize,
    /// Datagrams of one frame: more than one in a super-frame.
    datagrams: usize,
    /// Sum of the IPv4 header without addresses and checksum.
    ip_sum: u32,
    /// Sum of pseudo-header, UDP header and payload without addresses, source port and checksum; of super-frames the
    /// pseudo-header's alone.
    udp_sum: u32,
}

impl FlowFrames {
    /// Frames of `size` octets on the wire, FCS included, of hosts in the /24 of `network`.
    ///
    /// # Panics
    /// When `size` is not 64 to 1518.
    pub(crate) fn new(size: usize, network: Ipv4Addr, source: [u8; 6], gateway: [u8; 6]) -> FlowFrames {
        FlowFrames::of_datagrams(1, size, network, source, gateway)
    }

    /// Super-frames that the kernel cuts into so many frames of `size` octets on the wire.
    ///
    /// # Panics
    /// As [`FlowFrames::new`], and when the super-frame would be longer than an IPv4 packet can be.
    pub(crate) fn of_datagrams(
        datagrams: usize,
        size: usize,
        network: Ipv4Addr,
        source: [u8; 6],
        gateway: [u8; 6],
    ) -> FlowFrames {
        assert!((64..=1518).contains(&size), "an Ethernet frame has 64 to 1518 octets");
        let payload = payload_len(size);
        let udp_len = 8 + datagrams * payload;
        assert!(datagrams > 0 && 20 + udp_len <= 0xffff, "an IPv4 packet has up to 65,535 octets");
        let mut frame = vec![0; HEADERS + datagrams * payload];
        frame[..6].copy_from_slice(&gateway);
        frame[6..12].copy_from_slice(&source);
        frame[12..14].copy_from_slice(&[0x08, 0x00]); // IPv4
        frame[14] = 0x45; // version 4, five words of header
        frame[16..18].copy_from_slice(&((20 + udp_len) as u16).to_be_bytes());
        frame[20] = 0x40; // don't fragment
        frame[22] = 64; // TTL
        frame[23] = 17; // UDP
        frame[36..38].copy_from_slice(&REMOTE_PORT.to_be_bytes());
        frame[38..40].copy_from_slice(&(udp_len as u16).to_be_bytes());
        frame[HEADERS..].fill(0x55);
        let network = Ipv4Addr::from(u32::from(network) & 0xffff_ff00);
        let ip_sum = checksum::sum(&frame[14..34]);
        // The pseudo-header (RFC 768) has the protocol and once more the length.
        let pseudo_sum = 17 + udp_len as u32;
        let udp_sum = if datagrams > 1 { pseudo_sum } else { checksum::sum(&frame[34..]) + pseudo_sum };
        FlowFrames { template: frame, network, payload, datagrams, ip_sum, udp_sum }
    }

    /// Octets of payload of each datagram.
    pub(crate) fn payload(&self) -> usize {
        self.payload
    }

    /// Datagrams of one frame.
    pub(crate) fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// Octets of a frame as it is handed to the kernel.
    pub(crate) fn frame_len(&self) -> usize {
        self.template.len()
    }

    /// What is the same in all frames.
    pub(crate) fn begin(&self, frame: &mut [u8]) {
        frame.copy_from_slice(&self.template);
    }

    /// Makes a frame that was begun the next one of flow `number`.
    #[inline]
    pub(crate) fn write(&self, frame: &mut [u8], number: u64) {
        let flow = Flow::numbered(number, self.network);
        let addresses = halves(flow.source) + halves(flow.remote);
        frame[24..26].copy_from_slice(&checksum::finish(self.ip_sum + addresses).to_be_bytes());
        frame[26..30].copy_from_slice(&flow.source.to_be_bytes());
        frame[30..34].copy_from_slice(&flow.remote.to_be_bytes());
        frame[34..36].copy_from_slice(&flow.source_port.to_be_bytes());
        if self.datagrams > 1 {
            // What a card adds up from here on is left to whoever cuts the frame: no inversion.
            let partial = !checksum::finish(self.udp_sum + addresses);
            frame[40..42].copy_from_slice(&partial.to_be_bytes());
            return;
        }
        let udp = checksum::finish(self.udp_sum + addresses + u32::from(flow.source_port));
        // Zero would say that there is none (RFC 768).
        let udp = if udp == 0 { 0xffff } else { udp };
        frame[40..42].copy_from_slice(&udp.to_be_bytes());
    }
}

fn halves(address: u32) -> u32 {
    (address >> 16) + (address & 0xffff)
}

/// In which order the flows get their frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// One frame each, and again.
    Interleaved,
    /// So many frames of one flow, then as many of the next.
    Bursts(u32),
}

impl Order {
    /// The flow of the n-th frame when there are `flows` flows.
    #[inline]
    pub(crate) fn flow(self, n: u64, flows: u64) -> u64 {
        match self {
            Order::Interleaved => n % flows,
            Order::Bursts(length) => n / u64::from(length) % flows,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

    #[test]
    fn frames_are_what_another_implementation_reads() {
        for size in [64, 65, 512, 1518] {
            let frames = FlowFrames::new(size, LAN, [2; 6], [4; 6]);
            let mut frame = vec![0; frames.frame_len()];
            assert_eq!(frame.len(), size - 4);
            frames.begin(&mut frame);
            for number in [0, 1, 199, 200, 59_999, 60_000, 1_234_567] {
                frames.write(&mut frame, number);
                let packet = SlicedPacket::from_ethernet(&frame).expect("a whole packet");
                let ip = packet.net.as_ref().and_then(|net| net.ipv4_ref()).expect("IPv4").header();
                assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
                let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no UDP") };
                let expected = udp.to_header().calc_checksum_ipv4(&ip.to_header(), udp.payload());
                assert_eq!(udp.checksum(), expected.expect("it is short"), "flow {number} of {size} octets");
                assert_eq!(udp.payload().len(), payload_len(size));
                assert_eq!(udp.destination_port(), REMOTE_PORT);
                assert!(ip.source_addr().octets().starts_with(&[192, 168, 0]));
            }
        }
    }

    #[test]
    fn super_frames_leave_the_checksum_to_whoever_cuts_them() {
        let frames = FlowFrames::of_datagrams(32, 64, LAN, [2; 6], [4; 6]);
        assert_eq!((frames.frame_len(), frames.payload(), frames.datagrams()), (42 + 32 * 18, 18, 32));
        let mut frame = vec![0; frames.frame_len()];
        frames.begin(&mut frame);
        for number in [0, 199, 1_234_567] {
            frames.write(&mut frame, number);
            let packet = SlicedPacket::from_ethernet(&frame).expect("a whole packet");
            let ip = packet.net.as_ref().and_then(|net| net.ipv4_ref()).expect("IPv4").header();
            assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
            let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no UDP") };
            assert_eq!(usize::from(udp.length()), 8 + 32 * 18);
            // Another implementation's sum of the whole, without what lies behind the pseudo-header, is that sum.
            let whole =
                udp.to_header().calc_checksum_ipv4(&ip.to_header(), udp.payload()).expect("it is short");
            let mut behind = frame[34..].to_vec();
            behind[6..8].fill(0);
            let partial = u32::from(udp.checksum());
            assert_eq!(checksum::finish(partial + checksum::sum(&behind)), whole, "flow {number}");
        }
    }

    #[test]
    fn flows_differ_and_endpoints_are_bounded() {
        let flows: Vec<Flow> = (0..200_000).map(|number| Flow::numbered(number, LAN)).collect();
        let distinct: HashSet<_> = flows.iter().map(|f| (f.source, f.source_port, f.remote)).collect();
        assert_eq!(distinct.len(), flows.len());
        let endpoints: HashSet<_> = flows.iter().map(|f| (f.source, f.source_port)).collect();
        assert_eq!(endpoints.len() as u64, ENDPOINTS);
    }

    #[test]
    fn orders() {
        let in_order = |order: Order| (0..8).map(|n| order.flow(n, 3)).collect::<Vec<_>>();
        assert_eq!(in_order(Order::Interleaved), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(in_order(Order::Bursts(2)), [0, 0, 1, 1, 2, 2, 0, 0]);
    }
}
