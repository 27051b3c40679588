//! A client's message, checked before it is believed (RFC 2131 §2, RFC 2132, RFC 3396).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{MAGIC, MessageType, Opcode, borrowed};

use super::lease::HardwareAddress;

/// Octets of everything before the options, magic cookie included.
pub(crate) const FIXED_LEN: usize = 240;
/// No message of an Ethernet client is longer.
const MAX_LEN: usize = 1500;

/// Codes of the options that are looked at or made here (RFC 2132 unless told otherwise).
pub(crate) mod code {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN_NAME: u8 = 15;
    pub(crate) const MTU: u8 = 26;
    pub(crate) const BROADCAST: u8 = 28;
    pub(crate) const NTP: u8 = 42;
    pub(crate) const VENDOR: u8 = 43;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_IDENTIFIER: u8 = 54;
    pub(crate) const PARAMETER_REQUEST_LIST: u8 = 55;
    pub(crate) const MESSAGE: u8 = 56;
    pub(crate) const MAX_MESSAGE_SIZE: u8 = 57;
    pub(crate) const T1: u8 = 58;
    pub(crate) const T2: u8 = 59;
    pub(crate) const CLIENT_IDENTIFIER: u8 = 61;
    /// RFC 4702.
    pub(crate) const CLIENT_FQDN: u8 = 81;
    /// RFC 3046.
    pub(crate) const RELAY_AGENT: u8 = 82;
    /// RFC 3442.
    pub(crate) const CLASSLESS_ROUTES: u8 = 121;
    /// The same as 121, under the number that Windows used before it.
    pub(crate) const CLASSLESS_ROUTES_MICROSOFT: u8 = 249;
    pub(crate) const END: u8 = 255;
}

/// Why a message is not a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Shorter than the fixed fields, or longer than an Ethernet frame.
    #[error("length is not that of a DHCP message")]
    Length,
    /// Not a BOOTREQUEST with the magic cookie, or hlen above 16, or no possible link-layer address.
    #[error("fixed fields are not those of a request")]
    Header,
    /// An option runs over the end of its field, or has a length it cannot have.
    #[error("option {0} is malformed")]
    Option(u8),
    /// No option 53, so BOOTP, or one that no client sends.
    #[error("message type is missing or not a client's")]
    MessageType,
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    header: borrowed::Message<'a>,
    pub(crate) kind: MessageType,
    pub(crate) hardware: HardwareAddress,
    options: BTreeMap<u8, Cow<'a, [u8]>>,
}

impl<'a> Request<'a> {
    /// Checks a datagram's payload.
    ///
    /// # Errors
    /// When it is no well-formed message of a client; see [`MessageError`].
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Request<'a>, MessageError> {
        if !(FIXED_LEN..=MAX_LEN).contains(&payload.len()) {
            return Err(MessageError::Length);
        }
        let header = borrowed::Message::new(payload).map_err(|_| MessageError::Length)?;
        // The codec takes any hlen and any cookie.
        if header.opcode() != Opcode::BootRequest || header.hlen() > 16 || payload[236..FIXED_LEN] != MAGIC {
            return Err(MessageError::Header);
        }
        let hardware =
            HardwareAddress::new(header.htype().into(), header.chaddr()).ok_or(MessageError::Header)?;
        if hardware.mac().is_some_and(|mac| !mac.is_unicast()) {
            return Err(MessageError::Header);
        }

        let mut options = BTreeMap::new();
        walk(&payload[FIXED_LEN..], &mut options)?;
        let overload = options.get(&code::OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
        if overload & 1 != 0 {
            walk(&payload[108..236], &mut options)?;
        }
        if overload & 2 != 0 {
            walk(&payload[44..108], &mut options)?;
        }
        check_lengths(&options)?;

        let kind = options.get(&code::MESSAGE_TYPE).ok_or(MessageError::MessageType)?[0];
        Ok(Request { header, kind: MessageType::from(kind), hardware, options })
    }

    pub(crate) fn xid(&self) -> u32 {
        self.header.xid()
    }
    /// The flags field as it came: what is not the broadcast bit is echoed too.
    pub(crate) fn flags(&self) -> u16 {
        self.header.flags().into()
    }
    pub(crate) fn broadcast(&self) -> bool {
        self.header.flags().broadcast()
    }
    pub(crate) fn ciaddr(&self) -> Ipv4Addr {
        self.header.ciaddr()
    }
    pub(crate) fn giaddr(&self) -> Ipv4Addr {
        self.header.giaddr()
    }

    /// The value of an option, its parts joined (RFC 3396).
    pub(crate) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Cow::as_ref)
    }
    /// The value of an option that is an address.
    pub(crate) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(self.option(code)?).ok()?))
    }
    /// The lease time that the client asks for, in seconds.
    pub(crate) fn lease_time(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.option(code::LEASE_TIME)?.try_into().ok()?))
    }
    /// Octets of the largest UDP payload that the client takes. Option 57 counts the IP and UDP headers.
    pub(crate) fn max_reply(&self) -> usize {
        let told = self
            .option(code::MAX_MESSAGE_SIZE)
            .and_then(|value| Some(u16::from_be_bytes(value.try_into().ok()?)));
        usize::from(told.unwrap_or(0)).clamp(576, MAX_LEN) - 28
    }
    /// Option 61 where it has the two octets that it must have.
    pub(crate) fn client_identifier(&self) -> Option<&[u8]> {
        self.option(code::CLIENT_IDENTIFIER).filter(|id| (2..=255).contains(&id.len()))
    }
    /// A sub-option of the relay agent's information (RFC 3046 §2.0).
    pub(crate) fn relay_suboption(&self, wanted: u8) -> Option<&[u8]> {
        let mut rest = self.option(code::RELAY_AGENT)?;
        while let [code, len, behind @ ..] = rest {
            let (value, behind) = behind.split_at_checked(usize::from(*len))?;
            if *code == wanted {
                return Some(value);
            }
            rest = behind;
        }
        None
    }
}

/// Collects the options of one field; a missing end option is forgiven, a cut option is not.
fn walk<'a>(field: &'a [u8], options: &mut BTreeMap<u8, Cow<'a, [u8]>>) -> Result<(), MessageError> {
    let mut rest = field;
    while let [code, behind @ ..] = rest {
        match *code {
            code::PAD => rest = behind,
            code::END => return Ok(()),
            code => {
                let cut = MessageError::Option(code);
                let (&len, behind) = behind.split_first().ok_or(cut)?;
                let (value, behind) = behind.split_at_checked(usize::from(len)).ok_or(cut)?;
                options
                    .entry(code)
                    .and_modify(|joined| joined.to_mut().extend_from_slice(value))
                    .or_insert(Cow::Borrowed(value));
                rest = behind;
            }
        }
    }
    Ok(())
}

fn check_lengths(options: &BTreeMap<u8, Cow<'_, [u8]>>) -> Result<(), MessageError> {
    let fixed = [
        (code::MESSAGE_TYPE, 1),
        (code::OVERLOAD, 1),
        (code::REQUESTED_ADDRESS, 4),
        (code::SERVER_IDENTIFIER, 4),
        (code::LEASE_TIME, 4),
        (code::MAX_MESSAGE_SIZE, 2),
    ];
    match fixed.iter().find(|(code, len)| options.get(code).is_some_and(|value| value.len() != *len)) {
        Some((code, _)) => Err(MessageError::Option(*code)),
        None => Ok(()),
    }
}

/// The fixed fields of a reply; sname and file are left empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyHeader {
    pub(crate) xid: u32,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) hardware: HardwareAddress,
}

/// A BOOTREPLY. Written here because the codec sorts options by number, which would lose the client's order.
#[derive(Debug)]
pub(crate) struct ReplyWriter {
    octets: Vec<u8>,
    /// Octets of the longest payload.
    limit: usize,
}

impl ReplyWriter {
    /// `limit`: octets of the longest payload; at least 300 are always used (RFC 951).
    pub(crate) fn new(header: &ReplyHeader, limit: usize) -> ReplyWriter {
        let mut octets = Vec::with_capacity(limit);
        octets.extend_from_slice(&[2, header.hardware.htype, header.hardware.octets().len() as u8, 0]);
        octets.extend_from_slice(&header.xid.to_be_bytes());
        octets.extend_from_slice(&[0, 0]);
        octets.extend_from_slice(&header.flags.to_be_bytes());
        for address in [header.ciaddr, header.yiaddr, Ipv4Addr::UNSPECIFIED, header.giaddr] {
            octets.extend_from_slice(&address.octets());
        }
        octets.extend_from_slice(&header.hardware.chaddr());
        octets.resize(236, 0);
        octets.extend_from_slice(&MAGIC);
        ReplyWriter { octets, limit }
    }

    /// Octets that an option of `len` octets takes, split where it is long (RFC 3396).
    pub(crate) fn size_of(len: usize) -> usize {
        len + 2 * len.div_ceil(255).max(1)
    }

    /// Appends an option unless it, `reserved` octets and the end option do not fit any more.
    pub(crate) fn option(&mut self, code: u8, value: &[u8], reserved: usize) -> bool {
        if self.octets.len() + Self::size_of(value.len()) + reserved + 1 > self.limit {
            return false;
        }
        let mut rest = value;
        loop {
            let (part, behind) = rest.split_at(rest.len().min(255));
            self.octets.extend_from_slice(&[code, part.len() as u8]);
            self.octets.extend_from_slice(part);
            rest = behind;
            if rest.is_empty() {
                return true;
            }
        }
    }

    /// The payload, padded to the 300 octets that old clients and relay agents expect.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.octets.push(code::END);
        self.octets.resize(self.octets.len().max(dhcproto::v4::MIN_PACKET_SIZE), 0);
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(options: &[u8]) -> Vec<u8> {
        let mut payload = vec![1, 1, 6, 0];
        payload.resize(28, 0);
        payload.extend([2, 0, 0, 0, 0, 1]);
        payload.resize(236, 0);
        payload.extend(MAGIC);
        payload.extend(options);
        payload
    }

    #[test]
    fn parts_of_an_option_are_joined() {
        let payload = request(&[53, 1, 1, 12, 2, b'a', b'b', 0, 50, 4, 1, 2, 3, 4, 12, 1, b'c', 255, 12, 1]);
        let request = Request::parse(&payload).unwrap();
        assert_eq!(request.option(code::HOST_NAME), Some(&b"abc"[..]));
        assert_eq!(request.address(code::REQUESTED_ADDRESS), Some(Ipv4Addr::new(1, 2, 3, 4)));
    }

    #[test]
    fn options_may_stand_in_file_and_sname() {
        let mut payload = request(&[53, 1, 1, 52, 1, 3, 12, 1, b'a']);
        payload[108..112].copy_from_slice(&[12, 1, b'b', 255]);
        payload[44..48].copy_from_slice(&[12, 1, b'c', 255]);
        assert_eq!(Request::parse(&payload).unwrap().option(code::HOST_NAME), Some(&b"abc"[..]));
        let unsaid = request(&[53, 1, 1, 12, 1, b'a']);
        assert_eq!(Request::parse(&unsaid).unwrap().option(code::HOST_NAME), Some(&b"a"[..]));
        payload[106..108].copy_from_slice(&[12, 9]);
        payload[44..106].fill(0);
        assert_eq!(Request::parse(&payload).unwrap_err(), MessageError::Option(12));
    }

    #[test]
    fn the_largest_message_is_kept_within_bounds() {
        let size =
            |told: &[u8]| Request::parse(&request(&[&[53, 1, 1][..], told].concat())).unwrap().max_reply();
        assert_eq!(size(&[]), 548);
        assert_eq!(size(&[57, 2, 0, 9]), 548);
        assert_eq!(size(&[57, 2, 4, 0]), 996);
        assert_eq!(size(&[57, 2, 255, 255]), 1472);
    }

    #[test]
    fn a_relay_agents_suboptions_are_found_unless_cut() {
        let payload = request(&[53, 1, 1, 82, 9, 1, 2, 7, 7, 5, 3, 1, 2, 3]);
        let request = Request::parse(&payload).unwrap();
        assert_eq!(request.relay_suboption(5), Some(&[1, 2, 3][..]));
        assert_eq!(request.relay_suboption(9), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(options in prop::collection::vec(any::<u8>(), 0..300), hlen: u8, overload in 0u8..4) {
            let mut payload = request(&[53, 1, 1, 52, 1, overload]);
            payload.extend(&options);
            payload[2] = hlen;
            payload[44..44 + options.len().min(192)].copy_from_slice(&options[..options.len().min(192)]);
            if let Ok(request) = Request::parse(&payload) {
                for suboption in 0..=255 {
                    request.relay_suboption(suboption);
                }
                prop_assert!(request.hardware.octets().len() <= 16);
            }
            let _ = Request::parse(&options);
        }
    }
}
