//! Capture files as back ends: a receiver that reads pcap or pcapng, a transmitter that writes pcap.
//!
//! Read first: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Only Ethernet (link type 1) is taken, since
//! every port speaks Ethernet. The `pcap-file` crate parses the blocks; the units of pcapng timestamps and the
//! packets cut by a snap length are handled here, because it takes all timestamps for nanoseconds and refuses
//! whole files over one cut packet.

use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Write};
use std::path::Path;
use std::time::Duration;

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use pcap_file::pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError, TsResolution};

use crate::error::IoError;
use crate::frame_arena::{FrameArena, MAX_FRAME};
use crate::frame_io::{Capabilities, FrameReceiver, FrameTransmitter, MAX_BATCH, PollFds};

/// First four octets of a pcapng file (block type of the section header, the same in both byte orders).
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Snap length that the writer announces: what tcpdump does, above any frame of ours.
const SNAP_LENGTH: u32 = 262_144;

/// One frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// When it was captured: time since 1970-01-01T00:00:00Z. Zero where the file does not say (simple blocks).
    pub timestamp: Duration,
    /// The captured octets, from the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Octets the frame had on the wire; more than `bytes` holds if the capture cut it.
    pub original_len: u32,
    /// Whether it was received, as opposed to sent, at the interface; `None` where the file says nothing about it.
    pub is_received: Option<bool>,
}

impl CapturedFrame {
    /// Whether octets are missing at the end.
    pub fn is_cut(&self) -> bool {
        self.original_len as usize > self.bytes.len()
    }
}

type Source = Box<dyn Read + Send>;

enum Format {
    Pcap(PcapReader<Source>),
    PcapNg(PcapNgReader<Source>),
}

/// Reads the frames of a pcap or pcapng file, in file order.
///
/// As a [`FrameReceiver`] it hands out batches of frames with one and the same timestamp, and after the last one
/// [`IoError::EndOfInput`]; [`PcapFileReceiver::next_frame`] gives them one by one with their times.
pub struct PcapFileReceiver {
    format: Format,
    /// Read ahead, belongs to the next batch.
    pending: Option<CapturedFrame>,
    /// The interface whose frames are read; all of them without it.
    interface: Option<String>,
    arena: FrameArena,
    timestamp: Duration,
}

impl PcapFileReceiver {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, is neither pcap nor pcapng, or a pcap of another link type than Ethernet.
    pub fn open(path: &Path) -> Result<PcapFileReceiver, IoError> {
        let file = File::open(path).map_err(IoError::system("open a capture file"))?;
        PcapFileReceiver::from_reader(file)
    }

    /// Reads from anything; the format is told by the first octets.
    ///
    /// # Errors
    /// As [`PcapFileReceiver::open`].
    pub fn from_reader(mut reader: impl Read + Send + 'static) -> Result<PcapFileReceiver, IoError> {
        let mut magic = [0; 4];
        reader.read_exact(&mut magic).map_err(IoError::system("read a capture file"))?;
        let whole: Source = Box::new(Cursor::new(magic).chain(reader));
        let format = if magic == PCAPNG_MAGIC {
            Format::PcapNg(PcapNgReader::new(whole)?)
        } else {
            let reader = PcapReader::new(whole)?;
            check_link_type(reader.header().datalink)?;
            Format::Pcap(reader)
        };
        Ok(PcapFileReceiver {
            format,
            pending: None,
            interface: None,
            arena: FrameArena::new(512 << 10, 0),
            timestamp: Duration::ZERO,
        })
    }

    /// Reads only frames of the interface of this name (`if_name`) from now on; of a pcap, which knows no names, none.
    pub fn only(&mut self, interface: &str) {
        self.interface = Some(interface.to_owned());
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// When the rest of the file is malformed.
    pub fn next_frame(&mut self) -> Result<Option<CapturedFrame>, IoError> {
        if let Some(frame) = self.pending.take() {
            return Ok(Some(frame));
        }
        match &mut self.format {
            Format::Pcap(_) if self.interface.is_some() => Ok(None),
            Format::Pcap(reader) => next_pcap(reader),
            Format::PcapNg(reader) => next_pcapng(reader, self.interface.as_deref()),
        }
    }

    /// The time of the last batch: time since 1970-01-01T00:00:00Z.
    pub fn timestamp(&self) -> Duration {
        self.timestamp
    }
}

fn check_link_type(link_type: DataLink) -> Result<(), IoError> {
    match link_type {
        DataLink::ETHERNET => Ok(()),
        other => Err(IoError::CaptureLinkType(other.into())),
    }
}

fn next_pcap(reader: &mut PcapReader<Source>) -> Result<Option<CapturedFrame>, IoError> {
    let resolution = reader.header().ts_resolution;
    let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
    let packet = packet?;
    let fraction = u64::from(packet.ts_frac);
    let fraction = match resolution {
        TsResolution::MicroSecond => Duration::from_micros(fraction),
        TsResolution::NanoSecond => Duration::from_nanos(fraction),
    };
    Ok(Some(CapturedFrame {
        timestamp: Duration::from_secs(packet.ts_sec.into()) + fraction,
        original_len: packet.orig_len,
        bytes: packet.data.into_owned(),
        is_received: None,
    }))
}

fn next_pcapng(
    reader: &mut PcapNgReader<Source>,
    only: Option<&str>,
) -> Result<Option<CapturedFrame>, IoError> {
    loop {
        let little_endian = reader.section().endianness.is_little();
        let Some(block) = reader.next_block() else { return Ok(None) };
        let mut is_received = None;
        let (interface, raw_time, original_len, bytes) = match block? {
            Block::EnhancedPacket(packet) => {
                // The crate calls the raw counter nanoseconds, whatever the interface's resolution.
                let raw = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX);
                is_received = packet.options.iter().find_map(|option| match option {
                    // The two lowest bits: 1 is inbound, 2 is outbound.
                    EnhancedPacketOption::Flags(flags) => Some(flags & 3 == 1),
                    _ => None,
                });
                (packet.interface_id, Some(raw), packet.original_len, packet.data.into_owned())
            }
            Block::SimplePacket(packet) => (0, None, packet.original_len, packet.data.into_owned()),
            Block::Packet(packet) => (
                u32::from(packet.interface_id),
                // Two 32-bit halves, the upper one first: in a little-endian file the crate leaves them swapped.
                Some(if little_endian { packet.timestamp.rotate_left(32) } else { packet.timestamp }),
                packet.original_len,
                packet.data.into_owned(),
            ),
            _ => continue,
        };
        let Some(interface) = reader.interfaces().get(interface as usize) else {
            return Err(PcapError::InvalidInterfaceId(interface).into());
        };
        let is_named = |name: &str| {
            let mut options = interface.options.iter();
            options.any(|option| matches!(option, InterfaceDescriptionOption::IfName(own) if own == name))
        };
        if !only.is_none_or(is_named) {
            continue;
        }
        check_link_type(interface.linktype)?;
        let mut frame = CapturedFrame {
            timestamp: raw_time.map_or(Duration::ZERO, |raw| pcapng_time(raw, interface)),
            original_len,
            bytes,
            is_received,
        };
        if raw_time.is_none() {
            // A simple block says only the length on the wire; its data may end in padding.
            let limit =
                if interface.snaplen == 0 { original_len } else { original_len.min(interface.snaplen) };
            frame.bytes.truncate(limit as usize);
        }
        return Ok(Some(frame));
    }
}

/// Applies the interface's `if_tsresol` (default: microseconds) and `if_tsoffset` to a raw timestamp.
fn pcapng_time(raw: u64, interface: &InterfaceDescriptionBlock<'_>) -> Duration {
    let (mut resolution, mut offset) = (6u8, 0u64);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(value) => offset = *value,
            _ => {}
        }
    }
    // The top bit tells a power of 2 from one of 10. Exponents past 63 and 19 leave less than a second in 64 bits.
    let exponent = u32::from(resolution & 0x7f);
    let units: u128 =
        if resolution & 0x80 != 0 { 1 << exponent.min(64) } else { 10u128.pow(exponent.min(20)) };
    let raw = u128::from(raw);
    let seconds = u64::try_from(raw / units).unwrap_or(u64::MAX);
    let nanos = u32::try_from(raw % units * 1_000_000_000 / units).unwrap_or(0);
    // A time in 1970 at the worst: an offset may be negative (two's complement).
    Duration::new(seconds.wrapping_add(offset), nanos)
}

impl FrameReceiver for PcapFileReceiver {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        self.arena.clear();
        while self.arena.len() < MAX_BATCH {
            let Some(mut frame) = self.next_frame()? else { break };
            if !self.arena.is_empty() && frame.timestamp != self.timestamp {
                self.pending = Some(frame);
                break;
            }
            // Longer than any frame on a real wire: cut, so that the engine names it.
            frame.bytes.truncate(MAX_FRAME);
            if !self.arena.push(&frame.bytes, Offload::default()) {
                self.pending = Some(frame);
                break;
            }
            self.timestamp = frame.timestamp;
        }
        if self.arena.is_empty() { Err(IoError::EndOfInput) } else { Ok(self.arena.batch()) }
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        None
    }
}

/// Writes frames to a pcap file with nanosecond timestamps.
///
/// The time of the frames is what [`PcapFileTransmitter::set_timestamp`] said last.
pub struct PcapFileTransmitter {
    writer: PcapWriter<BufWriter<Box<dyn Write + Send>>>,
    timestamp: Duration,
}

impl PcapFileTransmitter {
    /// Creates (or empties) a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<PcapFileTransmitter, IoError> {
        let file = File::create(path).map_err(IoError::system("create a capture file"))?;
        PcapFileTransmitter::from_writer(file)
    }

    /// Writes to anything.
    ///
    /// # Errors
    /// When the file header cannot be written.
    pub fn from_writer(writer: impl Write + Send + 'static) -> Result<PcapFileTransmitter, IoError> {
        let header = PcapHeader {
            snaplen: SNAP_LENGTH,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            ..PcapHeader::default()
        };
        let writer: Box<dyn Write + Send> = Box::new(writer);
        let writer = PcapWriter::with_header(BufWriter::new(writer), header)?;
        Ok(PcapFileTransmitter { writer, timestamp: Duration::ZERO })
    }

    /// The time of the frames that follow: time since 1970-01-01T00:00:00Z.
    pub fn set_timestamp(&mut self, timestamp: Duration) {
        self.timestamp = timestamp;
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_frame(&mut self, timestamp: Duration, frame: &[u8]) -> Result<(), IoError> {
        let kept = &frame[..frame.len().min(SNAP_LENGTH as usize)];
        self.writer.write_raw_packet(&RawPcapPacket {
            // The format's seconds end in 2106.
            ts_sec: u32::try_from(timestamp.as_secs()).unwrap_or(u32::MAX),
            ts_frac: timestamp.subsec_nanos(),
            incl_len: kept.len() as u32,
            orig_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: kept.into(),
        })?;
        Ok(())
    }

    /// Writes what is still buffered and ends. (Dropping does so too, but cannot tell of an error.)
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<(), IoError> {
        self.writer.into_writer().flush().map_err(IoError::system("write a capture file"))
    }
}

impl FrameTransmitter for PcapFileTransmitter {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        for slot in indices.iter().map(|index| &slots[usize::from(*index)]) {
            self.write_frame(self.timestamp, &memory[slot.offset..slot.offset + slot.len])?;
        }
        Ok(indices.len())
    }

    /// Finished frames only, so that a reader of the file sees right checksums: wrap it in
    /// `SoftwareOffload` where the engine's frames are not finished.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer whose octets can be read while it is owned by a transmitter.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no test thread panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn frames_of(file: &[u8]) -> Vec<CapturedFrame> {
        let mut reader = PcapFileReceiver::from_reader(Cursor::new(file.to_vec())).expect("a capture file");
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame().expect("well formed") {
            frames.push(frame);
        }
        frames
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = Shared::default();
        let mut writer = PcapFileTransmitter::from_writer(file.clone()).expect("memory takes all");
        for i in 0..3u8 {
            writer.set_timestamp(Duration::new(1_000_000_000, 5 * u32::from(i)));
            assert!(writer.transmit_frame(&[i; 70], Offload::default()).expect("memory takes all"));
        }
        assert!(writer.transmit_frame(&vec![9; 65_226], Offload::default()).expect("memory takes all"));
        writer.finish().expect("memory takes all");
        let file = file.0.lock().expect("no test thread panicked").clone();

        let frames = frames_of(&file);
        assert_eq!(frames.len(), 4);
        for (i, frame) in frames[..3].iter().enumerate() {
            assert_eq!(frame.timestamp, Duration::new(1_000_000_000, 5 * i as u32));
            assert_eq!(frame.bytes, [i as u8; 70]);
            assert!(!frame.is_cut());
        }
        assert_eq!(frames[3].bytes.len(), 65_226);

        // Batches hold frames of one time; the last two have the same.
        let mut reader = PcapFileReceiver::from_reader(Cursor::new(file)).expect("a capture file");
        let mut lengths = Vec::new();
        loop {
            match reader.receive() {
                Ok(batch) => lengths.push(batch.slots.len()),
                Err(IoError::EndOfInput) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(lengths, [1, 1, 2]);
        assert_eq!(reader.timestamp(), Duration::new(1_000_000_000, 10));
    }

    #[rustfmt::skip]
    const BIG_ENDIAN_MICROSECONDS: &[u8] = &[
        0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, // magic, version 2.4, zone, accuracy
        0, 0, 0, 4, 0, 0, 0, 1,                                     // snap length 4, Ethernet
        0, 0, 0, 2, 0, 0, 0, 3,                                     // 2.000003 s
        0, 0, 0, 4, 0, 0, 0, 60,                                    // 4 of 60 octets captured
        1, 2, 3, 4,
    ];

    #[test]
    fn a_cut_packet_does_not_end_the_file() {
        let frames = frames_of(BIG_ENDIAN_MICROSECONDS);
        assert_eq!(frames.len(), 1);
        assert!(frames[0].is_cut());
        assert_eq!(frames[0].timestamp, Duration::new(2, 3000));
        assert_eq!(frames[0].bytes, [1, 2, 3, 4]);
    }

    #[test]
    fn other_link_types_and_garbage_are_refused() {
        let mut raw_ip = BIG_ENDIAN_MICROSECONDS.to_vec();
        raw_ip[23] = 101;
        let error = PcapFileReceiver::from_reader(Cursor::new(raw_ip)).err().expect("raw IP has no Ethernet");
        assert!(matches!(error, IoError::CaptureLinkType(101)));
        assert!(PcapFileReceiver::from_reader(Cursor::new(b"PK\x03\x04nonsense".to_vec())).is_err());
        assert!(PcapFileReceiver::from_reader(Cursor::new(Vec::new())).is_err());
    }

    #[test]
    fn a_file_that_ends_within_a_packet_is_an_error() {
        let cut = BIG_ENDIAN_MICROSECONDS[..BIG_ENDIAN_MICROSECONDS.len() - 1].to_vec();
        let mut reader = PcapFileReceiver::from_reader(Cursor::new(cut)).expect("the header is whole");
        assert!(matches!(reader.next_frame(), Err(IoError::Capture(_))));
    }

    /// A little-endian pcapng file with one interface of the given options and one enhanced packet.
    fn pcapng(options: &[u8], raw_time: u64) -> Vec<u8> {
        pcapng_with(options, raw_time, &[])
    }

    /// [`pcapng`], with options of the packet.
    fn pcapng_with(options: &[u8], raw_time: u64, packet_options: &[u8]) -> Vec<u8> {
        let block = |kind: u32, body: &[u8]| {
            let length = (12 + body.len()) as u32;
            [&kind.to_le_bytes(), &length.to_le_bytes(), body, &length.to_le_bytes()].concat()
        };
        let section = [&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat();
        let interface = [&[1, 0, 0, 0, 0, 0, 0, 0][..], options].concat();
        let mut packet = vec![0; 4];
        packet.extend_from_slice(&((raw_time >> 32) as u32).to_le_bytes());
        packet.extend_from_slice(&(raw_time as u32).to_le_bytes());
        packet.extend_from_slice(&5u32.to_le_bytes());
        packet.extend_from_slice(&5u32.to_le_bytes());
        packet.extend_from_slice(&[1, 2, 3, 4, 5, 0, 0, 0]);
        packet.extend_from_slice(packet_options);
        [block(0x0a0d_0d0a, &section), block(1, &interface), block(6, &packet)].concat()
    }

    #[test]
    fn a_file_may_have_frames_of_several_ports_both_ways() {
        // if_name (2); epb_flags (2).
        const WAN: &[u8] = &[2, 0, 3, 0, b'w', b'a', b'n', 0, 0, 0, 0, 0];
        let flags = |value| [2, 0, 4, 0, value, 0, 0, 0, 0, 0, 0, 0];
        let read = |file: Vec<u8>, interface: Option<&str>| {
            let mut reader = PcapFileReceiver::from_reader(Cursor::new(file)).expect("a capture file");
            if let Some(interface) = interface {
                reader.only(interface);
            }
            reader.next_frame().expect("well formed").map(|frame| frame.is_received)
        };
        assert_eq!(read(pcapng(WAN, 1), None), Some(None));
        assert_eq!(read(pcapng_with(WAN, 1, &flags(1)), Some("wan")), Some(Some(true)));
        assert_eq!(read(pcapng_with(WAN, 1, &flags(2)), Some("wan")), Some(Some(false)));
        assert_eq!(read(pcapng(WAN, 1), Some("home")), None);
        assert_eq!(read(BIG_ENDIAN_MICROSECONDS.to_vec(), Some("wan")), None);
    }

    #[test]
    fn pcapng_times_obey_the_interface() {
        let time = |options: &[u8], raw| {
            let frames = frames_of(&pcapng(options, raw));
            assert_eq!(frames[0].bytes, [1, 2, 3, 4, 5]);
            frames[0].timestamp
        };
        // Microseconds unless the interface says otherwise.
        assert_eq!(time(&[], 1_700_000_000_000_001), Duration::new(1_700_000_000, 1_000));
        // if_tsresol (9), length 1: 10^-9 s; end of options.
        assert_eq!(
            time(&[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0], 1_700_000_000_000_000_001),
            Duration::new(1_700_000_000, 1)
        );
        // 2^-1 s, and an offset of 10 s in if_tsoffset (14).
        let options = [9, 0, 1, 0, 0x81, 0, 0, 0, 14, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(time(&options, 5), Duration::new(12, 500_000_000));
    }
}
