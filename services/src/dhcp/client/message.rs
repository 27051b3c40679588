//! The octets of a DHCP message (RFC 2131 section 2): fixed fields here, options by the codec after their lengths were
//! checked, because the codec reads past, underflows on or stops at options of wrong lengths.
//!
//! ```text
//! op 1 | htype 1 | hlen 1 | hops 1 | xid 4 | secs 2 | flags 2 | ciaddr 4 | yiaddr 4 | siaddr 4 | giaddr 4
//! chaddr 16 | sname 64 | file 128 | magic cookie 4 | options
//! ```

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use dhcproto::v4::{
    Decodable, Decoder, DhcpOption, DhcpOptions, Encodable, Encoder, MessageType, OptionCode,
};

use super::Ignored;
use super::config::Identity;
use super::configuration::is_unicast;

const XID: Range<usize> = 4..8;
const SECS: Range<usize> = 8..10;
const FLAGS: usize = 10;
const CIADDR: Range<usize> = 12..16;
const YIADDR: Range<usize> = 16..20;
const CHADDR: Range<usize> = 28..34;
const CHADDR_PADDING: Range<usize> = 34..44;
const SNAME: Range<usize> = 44..108;
const FILE: Range<usize> = 108..236;
const COOKIE: Range<usize> = 236..240;
const OPTIONS: usize = 240;

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const BROADCAST: u8 = 0x80;

/// Relays and servers of BOOTP's days drop shorter messages (RFC 1542 section 2.1).
const MINIMUM_LENGTH: usize = 300;
/// The longest message that we take, in octets with the IP and UDP headers (option 57).
pub(super) const MAXIMUM_MESSAGE: u16 = 1500;
const MAXIMUM_LENGTH: usize = MAXIMUM_MESSAGE as usize - 28;

const OPTION_OVERLOAD: u8 = 52;
const CLIENT_IDENTIFIER: u8 = 61;
const CLASSLESS_STATIC_ROUTE: u8 = 121;
const DOMAIN_NAME: u8 = 15;

/// What we ask for (option 55). 121 comes before 33 and 3 (RFC 3442).
const PARAMETERS: [OptionCode; 10] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::StaticRoutingTable,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::InterfaceMtu,
    OptionCode::NtpServers,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// A message of ours.
pub(super) struct Request {
    pub(super) kind: MessageType,
    pub(super) xid: u32,
    pub(super) secs: u16,
    /// Asks the server to broadcast its answer (RFC 2131 section 4.1).
    pub(super) broadcast: bool,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
}

impl Request {
    pub(super) fn encode(&self, identity: &Identity) -> Vec<u8> {
        let mut octets = vec![0; OPTIONS];
        octets[0] = BOOTREQUEST;
        octets[1] = ETHERNET;
        octets[2] = CHADDR.len() as u8;
        octets[XID].copy_from_slice(&self.xid.to_be_bytes());
        octets[SECS].copy_from_slice(&self.secs.to_be_bytes());
        octets[FLAGS] = if self.broadcast { BROADCAST } else { 0 };
        octets[CIADDR].copy_from_slice(&self.ciaddr.octets());
        octets[CHADDR].copy_from_slice(&identity.hardware_address);
        octets[COOKIE].copy_from_slice(&MAGIC);

        let mut options = DhcpOptions::new();
        options.insert(DhcpOption::MessageType(self.kind));
        options.insert(DhcpOption::ClientIdentifier(identity.client_identifier.clone()));
        if let Some(address) = self.requested {
            options.insert(DhcpOption::RequestedIpAddress(address));
        }
        if let Some(server) = self.server {
            options.insert(DhcpOption::ServerIdentifier(server));
        }
        // RFC 2131 table 5: neither belongs into DHCPDECLINE and DHCPRELEASE.
        if matches!(self.kind, MessageType::Discover | MessageType::Request) {
            options.insert(DhcpOption::MaxMessageSize(MAXIMUM_MESSAGE));
            options.insert(DhcpOption::ParameterRequestList(PARAMETERS.to_vec()));
            if let Some(name) = &identity.host_name {
                options.insert(DhcpOption::Hostname(name.clone()));
            }
            if let Some(class) = &identity.vendor_class {
                options.insert(DhcpOption::ClassIdentifier(class.clone()));
            }
        }
        let mut encoded = Vec::new();
        options.encode(&mut Encoder::new(&mut encoded)).expect("options of bounded lengths are encodable");
        octets.extend_from_slice(&encoded);
        octets.resize(octets.len().max(MINIMUM_LENGTH), 0);
        octets
    }
}

/// A server's answer to us, its options well formed.
pub(super) struct Reply {
    pub(super) kind: MessageType,
    /// The field `yiaddr`.
    pub(super) address: Ipv4Addr,
    /// Option 54.
    pub(super) server: Ipv4Addr,
    pub(super) options: DhcpOptions,
}

impl Reply {
    /// From the payload of a UDP datagram to port 68.
    pub(super) fn decode(octets: &[u8], xid: u32, identity: &Identity) -> Result<Reply, Ignored> {
        if !(OPTIONS..=MAXIMUM_LENGTH).contains(&octets.len()) {
            return Err(Ignored::Length(octets.len()));
        }
        if octets[0] != BOOTREPLY {
            return Err(Ignored::NotAReply);
        }
        if octets[XID] != xid.to_be_bytes() {
            return Err(Ignored::WrongXid);
        }
        if octets[1] != ETHERNET
            || usize::from(octets[2]) != CHADDR.len()
            || octets[CHADDR] != identity.hardware_address
            || octets[CHADDR_PADDING].iter().any(|octet| *octet != 0)
        {
            return Err(Ignored::WrongHardwareAddress);
        }
        if octets[COOKIE] != MAGIC {
            return Err(Ignored::Cookie);
        }
        let gathered = gather(octets)?;
        // RFC 6842: a server that returns the identifier returns ours.
        if gathered.get(&CLIENT_IDENTIFIER).is_some_and(|value| *value != identity.client_identifier) {
            return Err(Ignored::WrongClientIdentifier);
        }
        let options = decode_options(&gathered)?;
        let kind = options.msg_type().ok_or(Ignored::MessageType)?;
        let Some(DhcpOption::ServerIdentifier(server)) = options.get(OptionCode::ServerIdentifier) else {
            return Err(Ignored::NoServerIdentifier);
        };
        let server = *server;
        if !is_unicast(server) {
            return Err(Ignored::NoServerIdentifier);
        }
        let yiaddr: [u8; 4] = octets[YIADDR].try_into().expect("four octets");
        Ok(Reply { kind, address: yiaddr.into(), server, options })
    }
}

/// The values of all options by code, the parts of long ones joined (RFC 3396) over the options field and the fields
/// that option 52 opens, in the order of RFC 3396 section 5.
fn gather(octets: &[u8]) -> Result<BTreeMap<u8, Vec<u8>>, Ignored> {
    let mut gathered = BTreeMap::new();
    gather_field(&octets[OPTIONS..], &mut gathered)?;
    let overload = match gathered.get(&OPTION_OVERLOAD).map(Vec::as_slice) {
        None => 0,
        Some([overload @ 1..=3]) => *overload,
        Some(_) => return Err(Ignored::OptionLength(OPTION_OVERLOAD)),
    };
    if overload & 1 != 0 {
        gather_field(&octets[FILE], &mut gathered)?;
    }
    if overload & 2 != 0 {
        gather_field(&octets[SNAME], &mut gathered)?;
    }
    Ok(gathered)
}

fn gather_field(mut field: &[u8], gathered: &mut BTreeMap<u8, Vec<u8>>) -> Result<(), Ignored> {
    loop {
        match field {
            [] | [255, ..] => return Ok(()),
            [0, rest @ ..] => field = rest,
            [code, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked((*length).into()).ok_or(Ignored::Truncated)?;
                gathered.entry(*code).or_default().extend_from_slice(value);
                field = rest;
            }
            [_] => return Err(Ignored::Truncated),
        }
    }
}

/// The options that the client reads, each of a length that the codec decodes whole. What an address cannot do without has
/// the right one, or the message is no use; the others are as good as not there then (RFC 2132 has no word on that).
fn decode_options(gathered: &BTreeMap<u8, Vec<u8>>) -> Result<DhcpOptions, Ignored> {
    let mut checked = Vec::new();
    let mut count = 0;
    for (code, value) in gathered {
        let right = match code {
            1 | 51 | 54 | 58 | 59 => value.len() == 4,
            3 | 6 | 42 => !value.is_empty() && value.len().is_multiple_of(4),
            33 => !value.is_empty() && value.len().is_multiple_of(8),
            26 => value.len() == 2,
            53 => value.len() == 1,
            &DOMAIN_NAME => !value.is_empty(),
            &CLASSLESS_STATIC_ROUTE => are_classless_routes(value),
            _ => continue,
        };
        if !right {
            match code {
                1 | 51 | 53 | 54 => return Err(Ignored::OptionLength(*code)),
                _ => continue,
            }
        }
        // The codec refuses a whole message for one string that is not UTF-8.
        if *code == DOMAIN_NAME && !value.is_ascii() {
            continue;
        }
        count += 1;
        for part in value.chunks(255) {
            checked.extend_from_slice(&[*code, part.len() as u8]);
            checked.extend_from_slice(part);
        }
    }
    checked.push(OptionCode::End.into());
    // The codec ends without an error at an option that it does not take.
    DhcpOptions::decode(&mut Decoder::new(&checked))
        .ok()
        .filter(|options| options.len() == count)
        .ok_or(Ignored::Codec)
}

/// Whether a value is a list of prefix length, significant octets and router (RFC 3442).
fn are_classless_routes(mut value: &[u8]) -> bool {
    if value.is_empty() {
        return false;
    }
    while let [prefix_len, rest @ ..] = value {
        let octets = usize::from(*prefix_len).div_ceil(8) + 4;
        match rest.get(octets..) {
            Some(rest) if *prefix_len <= 32 => value = rest,
            _ => return false,
        }
    }
    true
}
