//! Netlink messages: built from and taken apart into attributes.
//!
//! Read first: netlink(7), Documentation/userspace-api/netlink/intro.rst. All numbers are in host byte order, except
//! where an attribute's description says otherwise (nf_tables uses network order).

/// Octets of `struct nlmsghdr`.
pub(super) const HEADER_LEN: usize = 16;
const ALIGNMENT: usize = 4;
/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that name it.
const TYPE_MASK: u16 = 0x3fff;

/// A message to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    octets: Vec<u8>,
}

impl Request {
    /// A message of type `kind` with `NLM_F_*` flags (`NLM_F_REQUEST` is added) and the fixed header of its family.
    pub fn new(kind: u16, flags: i32, family_header: &[u8]) -> Request {
        let mut octets = vec![0; HEADER_LEN];
        octets[4..6].copy_from_slice(&kind.to_ne_bytes());
        octets[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        octets.extend_from_slice(family_header);
        let mut request = Request { octets };
        request.align();
        request
    }

    fn align(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// Appends an attribute.
    ///
    /// # Panics
    /// When the value does not fit an attribute's 16-bit length.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Request {
        let length = u16::try_from(4 + value.len()).expect("an attribute holds less than 64 KiB");
        self.octets.extend_from_slice(&length.to_ne_bytes());
        self.octets.extend_from_slice(&kind.to_ne_bytes());
        self.octets.extend_from_slice(value);
        self.align();
        self
    }

    /// Appends octets as they are: the fixed header that some nests begin with.
    pub fn octets(&mut self, octets: &[u8]) -> &mut Request {
        self.octets.extend_from_slice(octets);
        self.align();
        self
    }

    /// Appends a text that ends with a zero octet.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Request {
        let mut octets = value.as_bytes().to_vec();
        octets.push(0);
        self.attribute(kind, &octets)
    }

    /// Appends an attribute that holds what `fill` appends.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Request)) -> &mut Request {
        let start = self.octets.len();
        self.attribute(kind | NESTED, &[]);
        fill(self);
        let length = u16::try_from(self.octets.len() - start).expect("an attribute holds less than 64 KiB");
        self.octets[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The flags.
    pub(super) fn flags(&self) -> i32 {
        i32::from(u16::from_ne_bytes([self.octets[6], self.octets[7]]))
    }

    pub(super) fn set_flags(&mut self, flags: i32) {
        self.octets[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    }

    /// The message with its length and a sequence number.
    pub(super) fn finish(&mut self, sequence: u32) -> &[u8] {
        let length = self.octets.len() as u32;
        self.octets[0..4].copy_from_slice(&length.to_ne_bytes());
        self.octets[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.octets
    }
}

/// A message from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u16,
    /// `NLM_F_*` flags.
    pub flags: u16,
    /// The sequence number of the request that it answers.
    pub sequence: u32,
    /// What follows the netlink header.
    pub body: Vec<u8>,
}

/// Takes a datagram apart; stops at the first message that contradicts its length.
pub(super) fn messages(mut datagram: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some((header, rest)) = datagram.split_first_chunk::<HEADER_LEN>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = length.checked_sub(HEADER_LEN).and_then(|length| rest.get(..length)) else { break };
        messages.push(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body: body.to_vec(),
        });
        datagram = rest.get(body.len().next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    messages
}

/// The attributes in `octets`: type (without flag bits) and value. Ends at the first malformed one.
pub fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = octets.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = octets.get(4..length)?;
        octets = octets.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn attribute(octets: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(octets).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A 32-bit value in host byte order.
pub fn as_u32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

/// A text up to its zero octet.
pub fn as_text(value: &[u8]) -> String {
    let end = value.iter().position(|octet| *octet == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_comes_apart_again() {
        let mut request = Request::new(16, libc::NLM_F_ACK, &[1, 2, 3, 4, 5]);
        request.text(3, "lan0").nest(18, |link_info| {
            link_info.text(1, "veth").attribute(7, &7u32.to_ne_bytes());
        });
        request.attribute(9, &[]);
        let parsed = messages(request.finish(42));
        assert_eq!(parsed.len(), 1);
        let message = &parsed[0];
        assert_eq!((message.kind, message.sequence), (16, 42));
        assert_eq!(i32::from(message.flags), libc::NLM_F_ACK | libc::NLM_F_REQUEST);
        assert_eq!(message.body[..5], [1, 2, 3, 4, 5]);
        let body = &message.body[8..];
        assert_eq!(as_text(attribute(body, 3).expect("a name")), "lan0");
        let nested = attribute(body, 18).expect("a nest");
        assert_eq!(as_text(attribute(nested, 1).expect("a kind")), "veth");
        assert_eq!(attribute(nested, 7).and_then(as_u32), Some(7));
        assert_eq!(attribute(body, 9), Some(&[][..]));
        assert_eq!(attribute(body, 10), None);
    }

    #[test]
    fn malformed_octets_end_the_walk() {
        // Shorter than its own header, longer than what is there, cut header.
        for octets in [&[3, 0, 1, 0][..], &[9, 0, 1, 0, 5][..], &[4, 0][..], &[][..]] {
            assert_eq!(attributes(octets).count(), 0);
        }
        let mut request = Request::new(16, 0, &[]);
        let mut octets = request.finish(1).to_vec();
        octets.extend_from_slice(&[200, 0, 0, 0, 1]);
        assert_eq!(messages(&octets).len(), 1);
        octets[0] = 15;
        assert_eq!(messages(&octets).len(), 0);
    }
}
