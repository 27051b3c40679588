//! The blocks of a capture file, as far as the router writes them; and what reads those again.
//!
//! Read first: draft-ietf-opsawg-pcapng. One section, little-endian, an interface for each port, times in nanoseconds.
//! A packet that was rewritten is two packets with one `epb_packetid`: inbound at one interface, outbound at the
//! other, which is what the format has that option for.

use std::time::Duration;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const EPB_PACKETID: u16 = 5;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Times are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Ethernet.
const LINK_TYPE: u16 = 1;
/// Longest block that is taken; ours hold one frame, and comments.
const LONGEST: usize = 1 << 20;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// It is said nothing about (a packet on its way from worker to worker).
    #[default]
    Unknown,
    /// Received.
    In,
    /// Sent.
    Out,
}

/// An Enhanced Packet Block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketBlock {
    /// Number of its interface, in the order of their blocks.
    pub interface: u32,
    /// When, since 1970-01-01T00:00:00Z.
    pub time: Duration,
    /// Octets kept, from the Ethernet header on.
    pub octets: Vec<u8>,
    /// Octets that there were.
    pub len: u32,
    /// Which way it went.
    pub way: Way,
    /// The packet's number, the same before and after.
    pub id: u64,
    /// Packets lost since the one before.
    pub lost: u64,
    /// What there is to say about it.
    pub comment: String,
}

/// What is in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The beginning of the file.
    Section,
    /// An interface, by its name.
    Interface(String),
    /// A frame.
    Packet(PacketBlock),
    /// What an interface has counted at the end.
    Statistics {
        /// Its number.
        interface: u32,
        /// Frames that were wanted.
        received: u64,
        /// Those of them that are not in the file.
        lost: u64,
    },
}

/// The octets are not what the router writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the capture is damaged")]
pub struct Damaged;

/// Appends a block: its length stands before and behind what `body` writes.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() + 4 - start) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend(std::iter::repeat_n(0, len.next_multiple_of(4) - len));
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Upper half first, each half in the byte order of the file.
fn time_octets(time: Duration) -> [u8; 8] {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&((nanos >> 32) as u32).to_le_bytes());
    octets[4..].copy_from_slice(&(nanos as u32).to_le_bytes());
    octets
}

/// Appends the beginning of a file, made by `program`.
pub fn write_section(out: &mut Vec<u8>, program: &str, comment: &str) {
    block(out, SECTION, |out| {
        out.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        // Version 1.0, of unknown length.
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&[0xff; 8]);
        option(out, OPTION_COMMENT, comment.as_bytes());
        option(out, SHB_USERAPPL, program.as_bytes());
        option(out, OPTION_END, &[]);
    });
}

/// Appends an interface.
pub fn write_interface(out: &mut Vec<u8>, name: &str, snaplen: u32) {
    block(out, INTERFACE, |out| {
        out.extend_from_slice(&LINK_TYPE.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&snaplen.to_le_bytes());
        option(out, IF_NAME, name.as_bytes());
        option(out, IF_TSRESOL, &[NANOSECONDS]);
        option(out, OPTION_END, &[]);
    });
}

/// Appends a frame.
pub fn write_packet(out: &mut Vec<u8>, packet: &PacketBlock) {
    block(out, PACKET, |out| {
        out.extend_from_slice(&packet.interface.to_le_bytes());
        out.extend_from_slice(&time_octets(packet.time));
        out.extend_from_slice(&(packet.octets.len() as u32).to_le_bytes());
        out.extend_from_slice(&packet.len.to_le_bytes());
        out.extend_from_slice(&packet.octets);
        pad(out, packet.octets.len());
        if !packet.comment.is_empty() {
            option(out, OPTION_COMMENT, packet.comment.as_bytes());
        }
        option(out, EPB_FLAGS, &(packet.way as u32).to_le_bytes());
        if packet.lost > 0 {
            option(out, EPB_DROPCOUNT, &packet.lost.to_le_bytes());
        }
        option(out, EPB_PACKETID, &packet.id.to_le_bytes());
        option(out, OPTION_END, &[]);
    });
}

/// Appends what an interface has counted.
pub fn write_statistics(out: &mut Vec<u8>, interface: u32, time: Duration, received: u64, lost: u64) {
    block(out, STATISTICS, |out| {
        out.extend_from_slice(&interface.to_le_bytes());
        out.extend_from_slice(&time_octets(time));
        option(out, ISB_IFRECV, &received.to_le_bytes());
        option(out, ISB_IFDROP, &lost.to_le_bytes());
        option(out, OPTION_END, &[]);
    });
}

/// Puts blocks together that come in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    begun: Vec<u8>,
    taken: usize,
}

impl Reader {
    /// Takes a piece.
    pub fn push(&mut self, octets: &[u8]) {
        self.begun.drain(..std::mem::take(&mut self.taken));
        self.begun.extend_from_slice(octets);
    }

    /// The next whole block, as its octets and what they say.
    ///
    /// # Errors
    /// When it is none that the router writes.
    pub fn next_block(&mut self) -> Result<Option<(&[u8], Block)>, Damaged> {
        let rest = &self.begun[self.taken..];
        let Some(length) = rest.get(4..8) else { return Ok(None) };
        let length = word(length, 0)? as usize;
        if !(12..=LONGEST).contains(&length) || !length.is_multiple_of(4) {
            return Err(Damaged);
        }
        let Some(whole) = rest.get(..length) else { return Ok(None) };
        self.taken += length;
        Ok(Some((whole, decode(word(whole, 0)?, &whole[8..length - 4])?)))
    }
}

fn word(octets: &[u8], at: usize) -> Result<u32, Damaged> {
    let four = octets.get(at..at + 4).ok_or(Damaged)?;
    Ok(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

fn number(octets: &[u8]) -> Result<u64, Damaged> {
    octets.try_into().map(u64::from_le_bytes).map_err(|_| Damaged)
}

fn decode(kind: u32, body: &[u8]) -> Result<Block, Damaged> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    match kind {
        SECTION if word(body, 0)? == BYTE_ORDER => Ok(Block::Section),
        INTERFACE => {
            let mut name = String::new();
            for (code, value) in options(body.get(8..).ok_or(Damaged)?) {
                if code == IF_NAME {
                    name = text(value);
                }
            }
            Ok(Block::Interface(name))
        }
        PACKET => {
            let nanos = u64::from(word(body, 4)?) << 32 | u64::from(word(body, 8)?);
            let kept = word(body, 12)? as usize;
            let mut packet = PacketBlock {
                interface: word(body, 0)?,
                time: Duration::from_nanos(nanos),
                octets: body.get(20..20 + kept).ok_or(Damaged)?.to_vec(),
                len: word(body, 16)?,
                ..PacketBlock::default()
            };
            for (code, value) in options(body.get(20 + kept.next_multiple_of(4)..).unwrap_or_default()) {
                match code {
                    OPTION_COMMENT => packet.comment = text(value),
                    EPB_FLAGS => {
                        packet.way = match word(value, 0)? & 3 {
                            1 => Way::In,
                            2 => Way::Out,
                            _ => Way::Unknown,
                        }
                    }
                    EPB_DROPCOUNT => packet.lost = number(value)?,
                    EPB_PACKETID => packet.id = number(value)?,
                    _ => {}
                }
            }
            Ok(Block::Packet(packet))
        }
        STATISTICS => {
            let (mut received, mut lost) = (0, 0);
            for (code, value) in options(body.get(12..).ok_or(Damaged)?) {
                match code {
                    ISB_IFRECV => received = number(value)?,
                    ISB_IFDROP => lost = number(value)?,
                    _ => {}
                }
            }
            Ok(Block::Statistics { interface: word(body, 0)?, received, lost })
        }
        _ => Err(Damaged),
    }
}

/// The options in the octets, up to the end or to what is none.
fn options(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: &[u8; 4] = octets.first_chunk()?;
        let code = u16::from_le_bytes([header[0], header[1]]);
        let len = usize::from(u16::from_le_bytes([header[2], header[3]]));
        let value = octets.get(4..4 + len).filter(|_| code != OPTION_END)?;
        octets = octets.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> PacketBlock {
        PacketBlock {
            interface: 1,
            time: Duration::new(1_700_000_000, 123_456_789),
            octets: (0..61).collect(),
            len: 1514,
            way: Way::Out,
            id: 7,
            lost: 3,
            comment: "came in by wan; forward ウェブ".to_owned(),
        }
    }

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        write_section(&mut file, "genkan", "tcp port 80");
        write_interface(&mut file, "wan", 128);
        write_interface(&mut file, "home", 128);
        write_packet(&mut file, &packet());
        write_packet(&mut file, &PacketBlock::default());
        write_statistics(&mut file, 1, Duration::from_secs(1), 5, 3);
        file
    }

    #[test]
    fn what_is_written_is_read_again_in_whatever_pieces() {
        let file = file();
        for size in [1, 7, 64, file.len()] {
            let (mut reader, mut blocks, mut octets) = (Reader::default(), Vec::new(), Vec::new());
            for piece in file.chunks(size) {
                reader.push(piece);
                while let Some((whole, block)) = reader.next_block().expect("ours") {
                    octets.extend_from_slice(whole);
                    blocks.push(block);
                }
            }
            assert_eq!(octets, file);
            let interface = |name: &str| Block::Interface(name.to_owned());
            assert_eq!(
                blocks,
                [
                    Block::Section,
                    interface("wan"),
                    interface("home"),
                    Block::Packet(packet()),
                    Block::Packet(PacketBlock::default()),
                    Block::Statistics { interface: 1, received: 5, lost: 3 },
                ]
            );
        }
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let file = file();
        for at in 0..file.len() {
            for value in [0, 0xff, file[at] ^ 1] {
                let mut damaged = file.clone();
                damaged[at] = value;
                let mut reader = Reader::default();
                reader.push(&damaged);
                while let Ok(Some(_)) = reader.next_block() {}
            }
        }
    }
}
