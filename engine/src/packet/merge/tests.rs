//! Properties: what is merged and then segmented is what came, octet by octet; frames of a flow keep their order, and
//! nothing passes a fragment; whatever is done to one frame of a stream.

use proptest::prelude::*;

use super::*;
use crate::packet::segmentation::segment;
use crate::packet::test_frames::{IP, Spec, Transport, make_partial, refill};
use crate::verdict::Verdict;

const BOTH: Kinds = Kinds { tcp: true, udp: true };
const PARTIAL: Offload =
    Offload { partial_checksum: true, gso: GsoKind::None, gso_size: 0, gso_ecn: false, vlan_tci: None };

/// Frames as a back end hands them over.
#[derive(Default)]
struct Batch {
    memory: Vec<u8>,
    slots: Vec<Slot>,
}

impl Batch {
    fn push(&mut self, frame: &[u8], offload: Offload) {
        let slot = Slot { offset: self.memory.len(), len: frame.len(), offload, verdict: Verdict::Consumed };
        self.slots.push(slot);
        self.memory.extend_from_slice(frame);
    }

    fn of(frames: &[(Vec<u8>, Offload)]) -> Batch {
        let mut batch = Batch::default();
        frames.iter().for_each(|(frame, offload)| batch.push(frame, *offload));
        batch
    }

    /// What is sent for it: the whole frame, what is left to finish, and how many it stands for.
    fn merged(&self, merger: &mut Merger, kinds: Kinds) -> Vec<(Vec<u8>, Offload, usize)> {
        let indices: Vec<u16> = (0..self.slots.len() as u16).collect();
        match merger.merge(&self.memory, &self.slots, &indices, kinds) {
            Some(merged) => merged
                .frames()
                .map(|frame| {
                    let mut whole = frame.start().to_vec();
                    frame.rest().for_each(|piece| whole.extend_from_slice(piece));
                    (whole, *frame.offload(), frame.count())
                })
                .collect(),
            None => {
                let frame = |slot: &Slot| (octets(&self.memory, slot).to_vec(), slot.offload, 1);
                self.slots.iter().map(frame).collect()
            }
        }
    }

    /// How many of its frames each of those stands for that are sent.
    fn counts(&self) -> Vec<usize> {
        self.merged(&mut Merger::new(), BOTH).iter().map(|(.., count)| *count).collect()
    }
}

/// The finished frames that a frame stands for; itself when it is of no kind that can be finished.
fn finished(frame: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    if segment(frame, offload, &mut Vec::new(), |part| out.push(part.to_vec())).is_err() {
        out.push(frame.to_vec());
    }
    out
}

/// A host's stream: sequence numbers and identifications run on.
struct Stream {
    spec: Spec,
    sequence: u32,
}

impl Stream {
    fn tcp(port: u16) -> Stream {
        let mut spec = Spec::tcp(0x10, &[]);
        spec.transport = Transport::Tcp { flags: 0x10, options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] };
        spec.source_port = port;
        Stream { spec, sequence: 0xffff_f000 }
    }

    fn udp(port: u16) -> Stream {
        let mut spec = Spec::udp(&[]);
        spec.source_port = port;
        Stream { spec, sequence: 0 }
    }

    fn is_tcp(&self) -> bool {
        matches!(self.spec.transport, Transport::Tcp { .. })
    }

    /// The next frame, of so many octets of payload, with a finished checksum.
    fn next(&mut self, octets: usize) -> Vec<u8> {
        self.spec.payload = (0..octets).map(|i| (i * 7 + usize::from(self.spec.id)) as u8).collect();
        let mut frame = self.spec.frame();
        if self.is_tcp() {
            frame[IP + 24..IP + 28].copy_from_slice(&self.sequence.to_be_bytes());
            refill(&mut frame);
        }
        self.sequence = self.sequence.wrapping_add(octets as u32);
        self.spec.id = self.spec.id.wrapping_add(1);
        frame
    }

    /// A super-frame.
    fn next_super(&mut self, octets: usize, gso_size: u16) -> (Vec<u8>, Offload) {
        let mut frame = self.next(octets);
        self.spec.id = self.spec.id.wrapping_add(octets.div_ceil(usize::from(gso_size)) as u16 - 1);
        make_partial(&mut frame);
        let gso = if self.is_tcp() { GsoKind::TcpV4 } else { GsoKind::UdpL4 };
        (frame, Offload { gso, gso_size, ..PARTIAL })
    }
}

fn plain(frames: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::default();
    frames.iter().for_each(|frame| batch.push(frame, Offload::default()));
    batch
}

#[test]
fn segments_become_a_super_frame() {
    let mut stream = Stream::tcp(40_000);
    let mut frames: Vec<_> = (0..4).map(|_| stream.next(1448)).collect();
    frames.push(stream.next(100));
    frames.push(stream.next(100));
    let batch = plain(&frames);
    assert_eq!(batch.counts(), [5, 1], "a short one is the last");
    let merged = batch.merged(&mut Merger::new(), BOTH);
    let (frame, offload, _) = &merged[0];
    assert_eq!(*offload, Offload { gso: GsoKind::TcpV4, gso_size: 1448, ..PARTIAL });
    assert_eq!(frame.len(), 14 + 20 + 32 + 4 * 1448 + 100);
    assert_eq!(finished(frame, offload), frames[..5]);
}

#[test]
fn datagrams_become_a_super_frame() {
    let mut stream = Stream::udp(40_000);
    let frames: Vec<_> = (0..32).map(|_| stream.next(18)).collect();
    let merged = plain(&frames).merged(&mut Merger::new(), BOTH);
    assert_eq!(merged.len(), 1);
    let (frame, offload, count) = &merged[0];
    assert_eq!((*count, offload.gso, offload.gso_size), (32, GsoKind::UdpL4, 18));
    assert_eq!(finished(frame, offload), frames);
    assert_eq!(plain(&frames).merged(&mut Merger::new(), Kinds { tcp: true, udp: false }).len(), 32);
}

#[test]
fn interleaved_flows_are_told_apart_and_keep_their_order() {
    let mut streams = [Stream::tcp(1000), Stream::udp(1001), Stream::tcp(1002), Stream::udp(1003)];
    let frames: Vec<_> = (0..64).map(|i| streams[i % 4].next(200)).collect();
    assert_eq!(plain(&frames).counts(), [16; 4]);
}

#[test]
fn an_own_push_ends_a_super_frame() {
    let mut stream = Stream::tcp(40_000);
    let mut frames: Vec<_> = (0..6).map(|_| stream.next(500)).collect();
    frames[2][IP + 33] |= 0x08;
    refill(&mut frames[2]);
    let batch = plain(&frames);
    assert_eq!(batch.counts(), [3, 3]);
    let merged = batch.merged(&mut Merger::new(), BOTH);
    assert_eq!(merged[0].0[IP + 33], 0x18);
    assert_eq!(merged[1].0[IP + 33], 0x10);
}

#[test]
fn other_flags_are_sent_alone_and_in_their_place() {
    // FIN, SYN, RST, URG, ECE, CWR.
    for flag in [0x01, 0x02, 0x04, 0x20, 0x40, 0x80] {
        let mut stream = Stream::tcp(40_000);
        let mut frames: Vec<_> = (0..6).map(|_| stream.next(500)).collect();
        frames[3][IP + 33] |= flag;
        refill(&mut frames[3]);
        assert_eq!(plain(&frames).counts(), [3, 1, 2], "{flag:#x}");
    }
}

#[test]
fn a_difference_in_any_other_field_is_kept() {
    for (field, at, xor) in [
        ("destination MAC", 5, 1),
        ("source MAC", 11, 1),
        ("ECN", IP + 1, 0x03),
        ("DF", IP + 6, 0x40),
        ("TTL", IP + 8, 1),
        ("acknowledgment number", IP + 31, 1),
        ("reserved bits", IP + 32, 1),
        ("window", IP + 35, 1),
        ("urgent pointer", IP + 39, 1),
        ("timestamp", IP + 47, 1),
    ] {
        let mut stream = Stream::tcp(40_000);
        let mut frames: Vec<_> = (0..5).map(|_| stream.next(500)).collect();
        frames[2][at] ^= xor;
        refill(&mut frames[2]);
        let batch = plain(&frames);
        assert_eq!(batch.counts(), [2, 1, 2], "{field}");
        assert_eq!(batch.merged(&mut Merger::new(), BOTH)[1].0, frames[2], "{field}");
    }
}

#[test]
fn super_frames_are_extended() {
    let mut stream = Stream::tcp(40_000);
    let mut batch = Batch::default();
    let mut expected = Vec::new();
    for (octets, size) in [(2000, 1000), (3000, 1000), (1500, 1000), (1000, 1000)] {
        let (frame, offload) = stream.next_super(octets, size);
        expected.extend(finished(&frame, &offload));
        batch.push(&frame, offload);
    }
    let merged = batch.merged(&mut Merger::new(), BOTH);
    assert_eq!(merged.iter().map(|(.., count)| *count).collect::<Vec<_>>(), [3, 1]);
    let segments: Vec<_> = merged.iter().flat_map(|(frame, offload, _)| finished(frame, offload)).collect();
    assert_eq!(segments, expected);

    // One segment, and a super-frame of the same size behind it; then one that is smaller.
    let mut batch = Batch::default();
    let mut first = stream.next(1000);
    make_partial(&mut first);
    batch.push(&first, PARTIAL);
    for (octets, size) in [(3000, 1000), (1600, 800)] {
        let (frame, offload) = stream.next_super(octets, size);
        batch.push(&frame, offload);
    }
    assert_eq!(batch.counts(), [2, 1]);
}

#[test]
fn lengths_and_numbers_are_bounded() {
    let mut stream = Stream::tcp(40_000);
    let frames: Vec<_> = (0..64).map(|_| stream.next(1448)).collect();
    let merged = plain(&frames).merged(&mut Merger::new(), BOTH);
    // 66 octets of headers, and 45 times 1448.
    assert_eq!(merged.iter().map(|(.., count)| *count).collect::<Vec<_>>(), [45, 19]);
    assert!(merged.iter().all(|(frame, ..)| frame.len() < 65_536));

    // 64 datagrams, also when some come as super-frames already.
    let mut stream = Stream::udp(40_000);
    let mut batch = Batch::default();
    for _ in 0..5 {
        let (frame, offload) = stream.next_super(40 * 20, 20);
        batch.push(&frame, offload);
    }
    assert_eq!(batch.counts(), [1; 5]);
    let mut batch = Batch::default();
    for _ in 0..5 {
        let (frame, offload) = stream.next_super(30 * 20, 20);
        batch.push(&frame, offload);
    }
    assert_eq!(batch.counts(), [2, 2, 1]);
}

#[test]
fn a_datagram_without_checksum_gets_none() {
    let mut stream = Stream::udp(40_000);
    stream.spec.transport = Transport::Udp { checksum: false };
    let frames: Vec<_> = (0..4).map(|_| stream.next(100)).collect();
    assert_eq!(plain(&frames).counts(), [1; 4]);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    for stream in [Stream::tcp, Stream::udp] {
        // In the payload, the transport header, the IP header.
        for at in [IP + 60, IP + 25, IP + 12] {
            for place in 0..4 {
                let mut stream = stream(40_000);
                let mut frames: Vec<_> = (0..4).map(|_| stream.next(100)).collect();
                frames[place][at] ^= 0x10;
                let sent = plain(&frames).merged(&mut Merger::new(), BOTH);
                assert!(sent.iter().any(|(frame, _, count)| *count == 1 && *frame == frames[place]));
            }
        }
    }
}

#[test]
fn a_partial_checksum_over_another_pseudo_header_stays_so() {
    let mut stream = Stream::tcp(40_000);
    let mut frames: Vec<_> = (0..4).map(|_| stream.next(100)).collect();
    frames.iter_mut().for_each(|frame| make_partial(frame));
    let batch = |frames: &[Vec<u8>]| {
        let mut batch = Batch::default();
        frames.iter().for_each(|frame| batch.push(frame, PARTIAL));
        batch
    };
    assert_eq!(batch(&frames).counts(), [4]);
    frames[1][IP + 37] ^= 1;
    assert_eq!(batch(&frames).counts(), [1, 1, 2]);
}

#[test]
fn partial_and_finished_checksums_are_not_mixed() {
    let mut stream = Stream::tcp(40_000);
    let mut batch = Batch::default();
    for i in 0..4 {
        let mut frame = stream.next(100);
        if i % 2 == 1 {
            make_partial(&mut frame);
        }
        batch.push(&frame, if i % 2 == 1 { PARTIAL } else { Offload::default() });
    }
    assert_eq!(batch.counts(), [1; 4]);
}

#[test]
fn ones_for_zero_in_a_tcp_checksum_is_left_alone() {
    // As right as zero, but segmentation would write zero.
    let mut stream = Stream::tcp(40_000);
    let mut frames: Vec<_> = (0..2).map(|_| stream.next(100)).collect();
    let field = IP + 20 + 16;
    let checksum = be16!(frames[1], field);
    // The payload's first word takes what makes the checksum zero.
    let word = be16!(frames[1], IP + 52);
    let sum = u32::from(word) + u32::from(checksum);
    let word = (sum & 0xffff) + (sum >> 16);
    frames[1][IP + 52..IP + 54].copy_from_slice(&(word as u16).to_be_bytes());
    refill(&mut frames[1]);
    assert_eq!(frames[1][field..field + 2], [0, 0]);
    assert_eq!(plain(&frames).counts(), [2]);
    frames[1][field..field + 2].fill(0xff);
    assert_eq!(plain(&frames).counts(), [1, 1]);
}

#[test]
fn identifications_count_up_or_mean_nothing() {
    let ids = |ids: [u16; 4], dont_fragment: bool| {
        let mut stream = Stream::udp(40_000);
        stream.spec.dont_fragment = dont_fragment;
        let frame = |id| {
            stream.spec.id = id;
            stream.next(100)
        };
        plain(&ids.map(frame)).counts()
    };
    assert_eq!(ids([0xfffe, 0xffff, 0, 1], false), [4]);
    assert_eq!(ids([0; 4], true), [4]);
    assert_eq!(ids([7; 4], false), [1; 4]);
    assert_eq!(ids([7, 8, 8, 9], true), [2, 2]);
    assert_eq!(ids([7, 7, 8, 9], true), [2, 2]);
    assert_eq!(ids([4, 3, 2, 1], true), [1; 4]);
}

#[test]
fn a_fragment_ends_every_super_frame() {
    let mut stream = Stream::udp(40_000);
    let mut frames: Vec<_> = (0..5).map(|_| stream.next(100)).collect();
    frames[2][IP + 6] |= 0x20;
    refill(&mut frames[2]);
    assert_eq!(plain(&frames).counts(), [2, 1, 2]);
}

#[test]
fn nothing_joins_what_another_batch_left_open() {
    let mut stream = Stream::tcp(40_000);
    let mut merger = Merger::new();
    for _ in 0..3 {
        let frames = [stream.next(100), stream.next(100)];
        let merged = plain(&frames).merged(&mut merger, BOTH);
        assert_eq!(merged.len(), 1);
    }
    assert_eq!(plain(&[stream.next(100)]).merged(&mut merger, BOTH).len(), 1);
    // The stamp comes round to where it was.
    merger.stamp = u32::MAX;
    assert_eq!(plain(&[stream.next(100), stream.next(100)]).merged(&mut merger, BOTH).len(), 1);
}

#[test]
fn more_flows_than_places_are_only_not_merged() {
    let mut streams: Vec<_> = (0..32).map(|port| Stream::udp(2000 + port)).collect();
    let frames: Vec<_> = (0..64).map(|i| streams[i % 32].next(18)).collect();
    let counts = plain(&frames).counts();
    assert_eq!(counts.iter().sum::<usize>(), 64);
    assert!(counts.len() < 50, "{counts:?}");
}

/// What is done to a frame of a stream.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    /// XORs an octet and leaves checksums as they are.
    Damage(usize, u8),
    /// XORs an octet and makes all checksums right again.
    Other(usize, u8),
    Padding(usize),
    Vlan,
    /// A hole before it.
    Hole(u32),
    SuperFrame(u16),
    Repeated,
}

#[derive(Clone, Debug)]
struct Step {
    stream: usize,
    octets: usize,
    partial: bool,
    change: Change,
}

fn any_step() -> impl Strategy<Value = Step> {
    // Up to the end of the TCP options and a little further.
    let at = 0..IP + 70;
    let change = prop_oneof![
        16 => Just(Change::Nothing),
        2 => (at.clone(), 1..=u8::MAX).prop_map(|(at, xor)| Change::Damage(at, xor)),
        4 => (at, prop_oneof![1..=u8::MAX, (0..8_u8).prop_map(|bit| 1 << bit)])
            .prop_map(|(at, xor)| Change::Other(at, xor)),
        1 => (1..20_usize).prop_map(Change::Padding),
        1 => Just(Change::Vlan),
        1 => (1..2000_u32).prop_map(Change::Hole),
        2 => prop_oneof![Just(50_u16), Just(100), Just(200), 1..300_u16].prop_map(Change::SuperFrame),
        1 => Just(Change::Repeated),
    ];
    let octets = prop_oneof![8 => Just(100_usize), 2 => Just(200), 1 => 0..300_usize];
    (0..5_usize, octets, prop_oneof![8 => Just(true), 1 => Just(false)], change)
        .prop_map(|(stream, octets, partial, change)| Step { stream, octets, partial, change })
}

/// Plays the steps. `atomic`: all identifications of a stream are equal, with DF.
fn play(steps: &[Step], whole_partial: bool, atomic: bool) -> Vec<(Vec<u8>, Offload)> {
    let mut streams =
        [Stream::tcp(1000), Stream::tcp(1001), Stream::udp(1000), Stream::udp(1001), Stream::udp(1002)];
    streams[4].spec.transport = Transport::Udp { checksum: false };
    let mut frames: Vec<(Vec<u8>, Offload)> = Vec::new();
    for step in steps {
        let stream = &mut streams[step.stream];
        if let Change::Hole(octets) = step.change {
            stream.sequence = stream.sequence.wrapping_add(octets);
        }
        let before = stream.spec.id;
        let (mut frame, mut offload) = match step.change {
            Change::SuperFrame(size) if step.stream != 4 && step.octets > 0 => {
                stream.next_super(step.octets * 3, size)
            }
            _ => (stream.next(step.octets), Offload::default()),
        };
        if atomic {
            stream.spec.id = before;
        }
        if let Change::Other(at, xor) = step.change
            && let Some(octet) = frame.get_mut(at)
        {
            *octet ^= xor;
            // Not if it became something else; then only its checksums are wrong.
            if frame[IP] == 0x45 && frame[IP + 2..IP + 4] == ((frame.len() - IP) as u16).to_be_bytes() {
                refill_if_possible(&mut frame);
            }
        }
        let is_whole = frame[12..15] == [8, 0, 0x45] && [6, 17].contains(&frame[IP + 9]);
        if offload.gso == GsoKind::None && (whole_partial == step.partial) && step.stream != 4 && is_whole {
            make_partial(&mut frame);
            offload = PARTIAL;
        }
        match step.change {
            Change::Damage(at, xor) if at < frame.len() => frame[at] ^= xor,
            Change::Padding(octets) => frame.extend(vec![0; octets]),
            Change::Vlan => offload.vlan_tci = Some(7),
            Change::Repeated => frames.push((frame.clone(), offload)),
            _ => {}
        }
        frames.push((frame, offload));
    }
    frames.truncate(MAX_FRAMES);
    frames
}

/// As `refill`, for frames that etherparse may not be able to read.
fn refill_if_possible(frame: &mut [u8]) {
    let is_readable =
        etherparse::SlicedPacket::from_ethernet(frame).is_ok_and(|packet| match packet.transport {
            // A length of 0, which stands for the rest of a packet in IPv6 only, is taken there as well.
            Some(etherparse::TransportSlice::Udp(udp)) => udp.length() >= 8,
            other => other.is_some(),
        });
    if is_readable {
        refill(frame);
    }
}

/// What a receiver that must not look at the identification of an atomic datagram sees.
fn without_atomic_id(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame.len() > IP + 20 && frame[12..14] == [8, 0] && frame[IP + 6] & 0x40 != 0 {
        frame[IP + 4..IP + 6].fill(0);
        frame[IP + 10..IP + 12].fill(0);
    }
    frame
}

/// Finished frames by flow; those of no flow are one, all together.
fn by_flow(frames: impl Iterator<Item = Vec<u8>>) -> std::collections::BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut flows = std::collections::BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
    for frame in frames {
        let key = match look_at(&frame) {
            Seen::Flow(key) => format!("{key:?}").into_bytes(),
            Seen::Unknown | Seen::Other => Vec::new(),
        };
        flows.entry(key).or_default().push(frame);
    }
    flows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_undone_by_segmentation(
        steps in proptest::collection::vec(any_step(), 1..64),
        partial: bool,
        atomic: bool,
        tcp in prop_oneof![9 => Just(true), 1 => Just(false)],
        udp in prop_oneof![9 => Just(true), 1 => Just(false)],
    ) {
        let frames = play(&steps, partial, atomic);
        let sent = Batch::of(&frames).merged(&mut Merger::new(), Kinds { tcp, udp });
        prop_assert_eq!(sent.iter().map(|(.., count)| count).sum::<usize>(), frames.len());

        let came = by_flow(frames.iter().flat_map(|(frame, offload)| finished(frame, offload)));
        let left = by_flow(sent.iter().flat_map(|(frame, offload, _)| finished(frame, offload)));
        let keys = |flows: &std::collections::BTreeMap<Vec<u8>, _>| flows.keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(keys(&came), keys(&left));
        for (key, came) in &came {
            let left = &left[key];
            let id = |frame: &Vec<u8>| frame.get(IP + 4..IP + 6).map(<[u8]>::to_vec);
            let mut ids: Vec<_> = came.iter().map(id).collect();
            ids.sort();
            ids.dedup();
            if ids.len() == came.len() {
                prop_assert_eq!(came, left);
            } else {
                let seen = |frames: &[Vec<u8>]| frames.iter().map(|it| without_atomic_id(it)).collect::<Vec<_>>();
                prop_assert_eq!(seen(came), seen(left));
            }
        }
        for (frame, offload, count) in &sent {
            if *count > 1 {
                prop_assert!(frame.len() < 65_536);
                let allowed = if frame[IP + 9] == 6 { tcp } else { udp };
                prop_assert!(allowed);
                prop_assert!(offload.partial_checksum && offload.gso != GsoKind::None);
            }
        }
    }

    #[test]
    fn nothing_passes_a_fragment(
        steps in proptest::collection::vec(any_step(), 1..60),
        fragment in 0..60_usize,
    ) {
        let mut frames = play(&steps, true, false);
        let fragment = fragment % frames.len();
        if frames[fragment].0.len() < IP + 20 || frames[fragment].0[12..14] != [8, 0] {
            return Ok(());
        }
        frames[fragment].0[IP + 6] |= 0x20;
        let sent = Batch::of(&frames).merged(&mut Merger::new(), BOTH);
        let mut before = 0;
        for (frame, _, count) in &sent {
            if *count == 1 && *frame == frames[fragment].0 && before == fragment {
                return Ok(());
            }
            before += count;
        }
        prop_assert!(false, "not in its place");
    }

    #[test]
    fn any_octets_are_survived(
        frames in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..90), any::<bool>(), 0..3_usize, 0..50_u16),
            0..64,
        ),
    ) {
        let mut batch = Batch::default();
        for (mut frame, partial_checksum, gso, gso_size) in frames {
            if frame.len() > IP {
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
            }
            let gso = [GsoKind::None, GsoKind::TcpV4, GsoKind::UdpL4][gso];
            batch.push(&frame, Offload { partial_checksum, gso, gso_size, ..Offload::default() });
        }
        let sent = batch.merged(&mut Merger::new(), BOTH);
        prop_assert_eq!(sent.iter().map(|(.., count)| count).sum::<usize>(), batch.slots.len());
    }
}
