//! Domain names as the wire has them.

use thiserror::Error;

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DnsNameError {
    /// An empty label, or one over 63 octets.
    #[error("a label has 1 to 63 characters")]
    Label,
    /// A character other than letters, digits, `-` and `_`.
    #[error("only letters, digits, - and _ are accepted (other scripts in their xn-- form)")]
    Character,
    /// Over 255 octets on the wire.
    #[error("the name is too long")]
    TooLong,
}

/// A domain name in lower case: labels with their lengths in front, the root last, at most 255 octets (RFC 1035 §3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsName(Vec<u8>);

impl DnsName {
    /// From text, with or without trailing dot.
    ///
    /// # Errors
    ///
    /// See [`DnsNameError`].
    pub fn parse(text: &str) -> Result<DnsName, DnsNameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            if !(1..=63).contains(&label.len()) {
                return Err(DnsNameError::Label);
            }
            if !label.bytes().all(|o| o.is_ascii_alphanumeric() || o == b'-' || o == b'_') {
                return Err(DnsNameError::Character);
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes().map(|o| o.to_ascii_lowercase()));
        }
        wire.push(0);
        if wire.len() > 255 {
            return Err(DnsNameError::TooLong);
        }
        Ok(DnsName(wire))
    }

    /// Reads the name at `start` of a message; gives also the offset behind it. Pointers must lead backwards (RFC 1035
    /// §4.1.4), so reading ends.
    pub(super) fn read(message: &[u8], start: usize) -> Option<(DnsName, usize)> {
        let mut wire = Vec::new();
        let (mut at, mut floor, mut end) = (start, start, None);
        loop {
            let length = *message.get(at)?;
            match length {
                0 => {
                    wire.push(0);
                    return Some((DnsName(wire), end.unwrap_or(at + 1)));
                }
                1..=63 => {
                    let label = message.get(at + 1..at + 1 + usize::from(length))?;
                    wire.push(length);
                    wire.extend(label.iter().map(u8::to_ascii_lowercase));
                    if wire.len() > 254 {
                        return None;
                    }
                    at += 1 + usize::from(length);
                }
                0xc0.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                    if target >= floor {
                        return None;
                    }
                    end.get_or_insert(at + 2);
                    (at, floor) = (target, target);
                }
                _ => return None,
            }
        }
    }

    /// The wire form without compression.
    pub(super) fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Number of labels besides the root.
    pub(super) fn labels(&self) -> usize {
        self.suffixes().count() - 1
    }

    /// Whether `self` is `zone` or below it.
    pub fn is_within(&self, zone: &DnsName) -> bool {
        self.suffixes().any(|suffix| suffix == zone.wire())
    }

    fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Some(&self.0[..]);
        std::iter::from_fn(move || {
            let suffix = rest?;
            rest = match suffix[0] {
                0 => None,
                length => Some(&suffix[1 + usize::from(length)..]),
            };
            Some(suffix)
        })
    }
}
