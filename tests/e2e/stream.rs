//! A long stream of bytes that both ends can make up, so that a transfer is compared byte by byte.

use std::io::{self, Read, Write};

const CHUNK: usize = 64 * 1024;

/// The stream of a seed (xorshift64*).
pub(crate) struct Stream(u64);

impl Stream {
    /// Starts it.
    pub(crate) fn new(seed: u64) -> Stream {
        Stream(seed | 1)
    }

    fn fill(&mut self, chunk: &mut [u8]) {
        for word in chunk.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let bytes = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }
}

/// Sends the first `total` octets of the stream of `seed`.
pub(crate) fn send(to: &mut impl Write, seed: u64, total: u64) -> io::Result<()> {
    let mut stream = Stream::new(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = total;
    while left > 0 {
        let length = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
        stream.fill(&mut chunk[..length]);
        to.write_all(&chunk[..length])?;
        left -= length as u64;
    }
    Ok(())
}

/// Reads until the end and compares with the stream of `seed`.
///
/// # Errors
/// When reading fails, at the first octet that differs, and when the stream is too short or too long.
pub(crate) fn compare(from: &mut impl Read, seed: u64, total: u64) -> io::Result<()> {
    let mut stream = Stream::new(seed);
    let (mut got, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut position = 0;
    loop {
        let length = read_full(from, &mut got)?;
        stream.fill(&mut expected);
        if got[..length] != expected[..length] {
            return Err(io::Error::other(format!("other octets after {position}")));
        }
        position += length as u64;
        if length < CHUNK {
            break;
        }
    }
    match position == total {
        true => Ok(()),
        false => Err(io::Error::other(format!("{position} octets instead of {total}"))),
    }
}

fn read_full(from: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match from.read(&mut chunk[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}
