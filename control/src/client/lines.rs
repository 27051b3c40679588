//! Streams that are read line by line.

use super::ClientError;

/// Longest line that is taken: an event has a few hundred octets, an explained packet a few thousand.
pub(super) const LONGEST_LINE: usize = 1 << 20;

/// Puts the lines of a stream together, which comes in pieces of whatever length.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// The lines that are whole now, each with its end.
    ///
    /// # Errors
    /// When one is longer than [`LONGEST_LINE`].
    pub(super) fn take(&mut self, octets: &[u8]) -> Result<Vec<Vec<u8>>, ClientError> {
        self.begun.extend_from_slice(octets);
        let mut lines = Vec::new();
        while let Some(end) = self.begun.iter().position(|octet| *octet == b'\n') {
            lines.push(self.begun.drain(..=end).collect());
        }
        if self.begun.len() > LONGEST_LINE {
            return Err(ClientError::Answer("a line without end".to_owned()));
        }
        Ok(lines)
    }
}
