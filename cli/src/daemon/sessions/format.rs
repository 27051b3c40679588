//! The file of sessions, `sessions.snap`.
//!
//! ```text
//!  8 octets  "genkan\r\n"                     (a transfer as text would spoil it visibly)
//!  1         version of the format, 1
//!  4 + n     header, in postcard, behind its length
//!  4 + n     a block of sessions, likewise; any number of them
//!  4         0: no more blocks
//!  8         how many sessions
//!  4         CRC-32 (IEEE 802.3) of all before
//! ```
//! Numbers outside of postcard are little-endian. The file is written and read block by block: a million sessions need
//! no second copy of them in memory. A reader goes through it twice, first for the checksum alone.

use std::io::{self, Read, Write};
use std::time::Duration;

use crc32fast::Hasher;
use genkan_engine::nat::saved::SavedSession;
use serde::{Deserialize, Serialize};

use super::age::Moment;
use super::record::Record;

const MAGIC: &[u8; 8] = b"genkan\r\n";
/// The format that is written, and the only one that is read.
pub(crate) const VERSION: u8 = 1;
/// No header or block is longer.
const LONGEST: u32 = 1 << 20;
/// Sessions of one block: below [`LONGEST`] octets.
const BLOCK: usize = 4_096;

/// Who wrote the file, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Version of the program.
    pub(crate) software: String,
    /// When the writing began.
    pub(crate) written: Moment,
    /// Numbers and names of the ports, for sessions name only numbers.
    pub(crate) ports: Vec<(u8, String)>,
}

#[derive(Serialize, Deserialize)]
struct Block {
    /// When its sessions were read out, since the writing began.
    after_millis: u64,
    records: Vec<Record>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    #[error("it is no file of sessions")]
    Foreign,
    #[error("its format is version {0}, and this program reads version {VERSION}")]
    Version(u8),
    #[error("it is damaged or incomplete")]
    Damaged,
    #[error("this program cannot put them back, which is a defect of it")]
    Defect,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Unreadable {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Unreadable::Damaged,
            _ => Unreadable::Io(error),
        }
    }
}

/// Counts and sums what passes.
struct Summed<T> {
    inner: T,
    sum: Hasher,
    octets: u64,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Summed<T> {
        Summed { inner, sum: Hasher::new(), octets: 0 }
    }

    fn pass(&mut self, octets: &[u8]) {
        self.sum.update(octets);
        self.octets += octets.len() as u64;
    }
}

impl<W: Write> Summed<W> {
    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.pass(octets);
        self.inner.write_all(octets)
    }

    fn put_message(&mut self, message: &impl Serialize, scratch: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut octets = postcard::to_extend(message, scratch).map_err(io::Error::other)?;
        self.put(&(octets.len() as u32).to_le_bytes())?;
        self.put(&octets)?;
        octets.clear();
        Ok(octets)
    }
}

impl<R: Read> Summed<R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut octets = [0; N];
        self.inner.read_exact(&mut octets)?;
        self.pass(&octets);
        Ok(octets)
    }

    /// The next message behind its length; false when the length is 0.
    fn take_message(&mut self, into: &mut Vec<u8>) -> Result<bool, Unreadable> {
        let length = u32::from_le_bytes(self.take()?);
        if length > LONGEST {
            return Err(Unreadable::Damaged);
        }
        into.resize(length as usize, 0);
        self.inner.read_exact(into)?;
        self.pass(into);
        Ok(length > 0)
    }

    /// Everything up to the header, included.
    fn take_header(&mut self, scratch: &mut Vec<u8>) -> Result<Header, Unreadable> {
        if self.take()? != *MAGIC {
            return Err(Unreadable::Foreign);
        }
        let [version] = self.take()?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        self.take_message(scratch)?;
        postcard::from_bytes(scratch).map_err(|_| Unreadable::Damaged)
    }
}

/// Writes a file of sessions, block by block.
pub(crate) struct Writer<W> {
    out: Summed<W>,
    began: Duration,
    after: Duration,
    block: Vec<Record>,
    scratch: Vec<u8>,
    sessions: u64,
}

impl<W: Write> Writer<W> {
    /// Begins it.
    ///
    /// # Errors
    /// When writing fails; so everywhere here.
    pub(crate) fn new(inner: W, header: &Header) -> io::Result<Writer<W>> {
        let mut out = Summed::new(inner);
        out.put(MAGIC)?;
        out.put(&[VERSION])?;
        let scratch = out.put_message(header, Vec::new())?;
        let block = Vec::with_capacity(BLOCK);
        let began = header.written.since_boot;
        Ok(Writer { out, began, after: Duration::ZERO, block, scratch, sessions: 0 })
    }

    /// Adds sessions that were read out at `now`.
    pub(crate) fn add(&mut self, now: &Moment, sessions: &[SavedSession]) -> io::Result<()> {
        let after = now.since_boot.saturating_sub(self.began);
        if self.block.len() + sessions.len() > BLOCK || after > self.after + Duration::from_millis(500) {
            self.end_block()?;
        }
        if self.block.is_empty() {
            self.after = after;
        }
        self.sessions += sessions.len() as u64;
        for session in sessions {
            if self.block.len() == BLOCK {
                self.end_block()?;
            }
            self.block.push(Record::new(session));
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let after_millis = self.after.as_millis() as u64;
        let mut block = Block { after_millis, records: std::mem::take(&mut self.block) };
        self.scratch = self.out.put_message(&block, std::mem::take(&mut self.scratch))?;
        block.records.clear();
        self.block = block.records;
        Ok(())
    }

    /// Ends it. Returns what it was written to, the sessions and the octets.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64, u64)> {
        self.end_block()?;
        self.out.put(&0u32.to_le_bytes())?;
        self.out.put(&self.sessions.to_le_bytes())?;
        let sum = self.out.sum.clone().finalize();
        self.out.put(&sum.to_le_bytes())?;
        self.out.inner.flush()?;
        Ok((self.out.inner, self.sessions, self.out.octets))
    }
}

/// Goes through a whole file, for its frame and its checksum.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn verify(file: impl Read) -> Result<Header, Unreadable> {
    let mut file = Summed::new(file);
    let mut scratch = Vec::new();
    let header = file.take_header(&mut scratch)?;
    while file.take_message(&mut scratch)? {}
    let _sessions: [u8; 8] = file.take()?;
    let expected = file.sum.clone().finalize();
    let mut rest = [0];
    if u32::from_le_bytes(file.take()?) != expected || file.inner.read(&mut rest)? != 0 {
        return Err(Unreadable::Damaged);
    }
    Ok(header)
}

/// Reads a file of sessions that has been verified.
pub(crate) struct Blocks<R> {
    file: Summed<R>,
    scratch: Vec<u8>,
}

impl<R: Read> Blocks<R> {
    /// Begins after the header.
    ///
    /// # Errors
    /// As [`verify`].
    pub(crate) fn new(file: R) -> Result<Blocks<R>, Unreadable> {
        let (mut file, mut scratch) = (Summed::new(file), Vec::new());
        file.take_header(&mut scratch)?;
        Ok(Blocks { file, scratch })
    }

    /// The next sessions, what is left of their time reckoned from the moment in the header; `None` at the end.
    ///
    /// # Errors
    /// As [`verify`], and when a checksum that is right covers what no program of this version writes.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<SavedSession>>, Unreadable> {
        if !self.file.take_message(&mut self.scratch)? {
            return Ok(None);
        }
        let block: Block = postcard::from_bytes(&self.scratch).map_err(|_| Unreadable::Damaged)?;
        let after = Duration::from_millis(block.after_millis);
        let session = |record: &Record| {
            let session = record.session()?;
            Some(SavedSession { left: session.left.saturating_add(after), ..session })
        };
        let sessions = block.records.iter().map(session).collect::<Option<Vec<_>>>();
        sessions.map(Some).ok_or(Unreadable::Damaged)
    }
}
