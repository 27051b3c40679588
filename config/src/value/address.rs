//! IPv4 addresses and networks, MAC addresses.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use genkan_engine::wire::ethernet::MacAddr;
use ipnet::Ipv4Net;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Bad, Text, quoted};
use crate::later;

/// An address that a single machine can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) Ipv4Addr);

/// The router's address on a network, with the length of the network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceAddress(pub(crate) Ipv4Net);

/// Where the primary external address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WanAddress {
    /// It is written.
    Fixed(Ipv4Net),
    /// A DHCP server gives it.
    Dhcp,
}

impl WanAddress {
    /// The one that is written.
    pub(crate) fn fixed(self) -> Option<Ipv4Net> {
        match self {
            WanAddress::Fixed(net) => Some(net),
            WanAddress::Dhcp => None,
        }
    }
}

/// A network: no bit is set behind the prefix. A lone address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) Ipv4Net);

/// A network of machines, none of which stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet(pub(crate) Ipv4Net);

/// The MAC address of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mac(pub(crate) MacAddr);

/// The word for an address that a DHCP server gives.
const DHCP: &str = "dhcp";

const ADDRESS: &str = "an address such as 192.168.0.10 is accepted";
const WITH_PREFIX: &str = "an address with its prefix length is accepted, such as \"192.168.0.1/24\"";
const NETWORK: &str = "a network such as \"198.51.100.0/24\" or one address is accepted";

impl Text for Address {
    const TAKES: &'static str = "an IPv4 address";
    const MANY: &'static str = "IPv4 addresses";

    fn parse(text: &str) -> Result<Address, Bad> {
        let (address, prefix) = split(text, ADDRESS)?;
        if prefix.is_some() {
            return Err(
                Bad::new("a prefix length does not belong here", ADDRESS).fix(quoted(&address.to_string()))
            );
        }
        single(address)?;
        Ok(Address(address))
    }
}

impl Text for InterfaceAddress {
    const TAKES: &'static str = "an IPv4 address with its prefix length";
    const MANY: &'static str = "IPv4 addresses with their prefix lengths";

    fn parse(text: &str) -> Result<InterfaceAddress, Bad> {
        let (address, prefix) = split(text, WITH_PREFIX)?;
        single(address)?;
        let Some(prefix) = prefix else {
            return Err(Bad::new("the prefix length is missing", WITH_PREFIX)
                .fix(quoted(&format!("{address}/24")))
                .note("a home network usually is a /24, which is the netmask 255.255.255.0"));
        };
        let net = net(address, prefix);
        if prefix == 0 {
            return Err(
                Bad::new("a /0 is the whole internet", WITH_PREFIX).fix(quoted(&format!("{address}/24")))
            );
        }
        if let Some(end) = end_of(net, address) {
            let (first, last) = (u32::from(net.network()) + 1, u32::from(net.broadcast()) - 1);
            return Err(Bad::new(
                format!("it is the {end} of {}", net.trunc()),
                format!("{} to {} is accepted in this network", Ipv4Addr::from(first), Ipv4Addr::from(last)),
            )
            .fix(quoted(&format!("{}/{prefix}", Ipv4Addr::from(first)))));
        }
        Ok(InterfaceAddress(net))
    }
}

impl Text for WanAddress {
    const TAKES: &'static str = "an IPv4 address with its prefix length, or \"dhcp\"";
    const MANY: &'static str = "IPv4 addresses with their prefix lengths";

    fn parse(text: &str) -> Result<WanAddress, Bad> {
        const ACCEPTED: &str =
            "\"dhcp\" is accepted, or a fixed address with its prefix length, such as \"203.0.113.1/24\"";
        if text == DHCP {
            return Ok(WanAddress::Dhcp);
        }
        if let Some(what) = later::word(text) {
            return Err(Bad::not_yet(what, ACCEPTED));
        }
        let flat = text.trim().to_lowercase();
        if ["dhcp", "dhcpv4", "dhcp4", "auto", "automatic", "dynamic"].contains(&flat.as_str()) {
            return Err(
                Bad::new("an address that the provider gives has one name here", ACCEPTED).fix(quoted(DHCP))
            );
        }
        if !flat.is_empty() && flat.chars().all(|c| c.is_alphabetic() || c == '-') {
            return Err(Bad::new("it is not an IPv4 address", ACCEPTED));
        }
        InterfaceAddress::parse(text).map(|InterfaceAddress(net)| WanAddress::Fixed(net))
    }
}

impl Text for Network {
    const TAKES: &'static str = "an IPv4 network";
    const MANY: &'static str = "IPv4 networks";

    fn parse(text: &str) -> Result<Network, Bad> {
        if ["*", "any", "all", "everybody"].contains(&text) {
            return Err(Bad::new("it is not a network", NETWORK)
                .help("leave the key out to mean everybody, or write \"0.0.0.0/0\""));
        }
        let (address, prefix) = split(text, NETWORK)?;
        let net = net(address, prefix.unwrap_or(32));
        if net.network() != address {
            return Err(Bad::new(
                format!("bits are set behind the /{}", net.prefix_len()),
                format!("the network is {}", net.trunc()),
            )
            .fix(quoted(&net.trunc().to_string()))
            .help(format!("or, for that one machine, `{}`", quoted(&address.to_string()))));
        }
        Ok(Network(net))
    }
}

impl Text for Subnet {
    const TAKES: &'static str = "an IPv4 network";
    const MANY: &'static str = "IPv4 networks";

    fn parse(text: &str) -> Result<Subnet, Bad> {
        // What is said of single machines, and of everybody, is no help here.
        Network::parse(text).map(|Network(net)| Subnet(net)).map_err(|bad| Bad { help: Vec::new(), ..bad })
    }
}

impl Text for Mac {
    const TAKES: &'static str = "a MAC address";
    const MANY: &'static str = "MAC addresses";

    fn parse(text: &str) -> Result<Mac, Bad> {
        let accepted = "six octets such as \"52:54:00:12:34:56\" are accepted";
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
        if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Bad::new("it is not a MAC address", accepted));
        }
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            *octet =
                u8::from_str_radix(pair, 16).map_err(|_| Bad::new("it is not a MAC address", accepted))?;
        }
        let mac = MacAddr(octets);
        // One way to write it: two digits per octet and colons, as `ip link` prints it. Case is free.
        if !text.eq_ignore_ascii_case(&mac.to_string()) {
            return Err(Bad::new("it is not written the way this file takes it", accepted)
                .fix(quoted(&mac.to_string())));
        }
        if mac.is_multicast() {
            return Err(Bad::new("it is a group address, no device has it", accepted));
        }
        if octets == [0; 6] {
            return Err(Bad::new("no device has it", accepted));
        }
        Ok(Mac(mac))
    }
}

/// Whether an address is one of the two of a network that no machine has: its first and its last.
/// Networks of one or two addresses (RFC 3021) have none.
pub(crate) fn end_of(net: Ipv4Net, address: Ipv4Addr) -> Option<&'static str> {
    if net.prefix_len() >= 31 {
        None
    } else if address == net.network() {
        Some("network address")
    } else if address == net.broadcast() {
        Some("broadcast address")
    } else {
        None
    }
}

/// Refuses addresses that no single machine can have.
pub(crate) fn single(address: Ipv4Addr) -> Result<(), Bad> {
    let octets = address.octets();
    let what = match octets[0] {
        0 => "0.0.0.0/8 means \"this network\", no machine has such an address",
        127 => "it is a loopback address, which is a different machine for everybody",
        224..=239 => "it is a multicast address, not that of one machine",
        255 if address.is_broadcast() => "it is the broadcast address, not that of one machine",
        240..=255 => "240.0.0.0/4 is reserved, no machine has such an address",
        _ => return Ok(()),
    };
    let bad = Bad::new(what, "the address of one machine is accepted");
    Err(if address.is_loopback() {
        bad.help("for the box that runs Genkan take its lan address, with `tun` in `[router]`")
    } else {
        bad
    })
}

/// `prefix` is at most 32.
fn net(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, prefix)
}

/// An address and the length of its prefix, if there is one.
fn split(text: &str, accepted: &'static str) -> Result<(Ipv4Addr, Option<u8>), Bad> {
    let Some((address, prefix)) = text.split_once('/') else { return Ok((plain(text, accepted)?, None)) };
    let address = plain(address, accepted)?;
    match prefix.parse::<u8>() {
        Ok(length) if length <= 32 && !prefix.starts_with('+') => Ok((address, Some(length))),
        _ => {
            let bad = Bad::new(
                format!("`/{}` is no prefix length", super::shorten(prefix)),
                "/1 to /32 is accepted",
            );
            let mask = prefix.parse().ok().and_then(|mask| Ipv4Net::with_netmask(address, mask).ok());
            Err(match mask {
                Some(net) => bad.fix(quoted(&net.to_string())),
                None => bad,
            })
        }
    }
}

/// An address without a prefix.
pub(crate) fn plain(text: &str, accepted: &'static str) -> Result<Ipv4Addr, Bad> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let trimmed = text.trim();
    if trimmed.parse::<Ipv4Addr>().is_ok() {
        return Err(Bad::new("a blank stands beside the address", accepted).fix(quoted(trimmed)));
    }
    if trimmed.parse::<Ipv6Addr>().is_ok() {
        return Err(Bad::new("it is an IPv6 address, this version forwards IPv4", accepted));
    }
    let parts: Vec<&str> = trimmed.split('.').collect();
    let numeric = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if !numeric {
        return Err(Bad::new("it is not an IPv4 address", accepted));
    }
    if parts.len() != 4 {
        return Err(Bad::new(
            format!("it has {} of the 4 numbers of an IPv4 address", parts.len()),
            accepted,
        ));
    }
    let octets: Option<Vec<u8>> = parts.iter().map(|part| part.parse().ok()).collect();
    match octets.as_deref() {
        // The standard parser refuses leading zeros: some programs take such numbers as octal.
        Some(&[a, b, c, d]) => Err(Bad::new("a number has a leading zero", accepted)
            .fix(quoted(&Ipv4Addr::new(a, b, c, d).to_string()))),
        _ => {
            let big = parts.iter().find(|part| part.parse::<u8>().is_err()).copied().unwrap_or_default();
            Err(Bad::new(format!("{} is more than 255", super::shorten(big)), accepted))
        }
    }
}

/// Strings with a pattern.
macro_rules! pattern_schema {
    ($type:ty, $name:literal, $description:literal, $pattern:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $description, "type": "string", "pattern": $pattern })
            }
        }
    };
}

const DOTTED: &str = "[0-9]{1,3}(\\.[0-9]{1,3}){3}";
pattern_schema!(Address, "Address", "An IPv4 address.", format!("^{DOTTED}$"));
pattern_schema!(
    InterfaceAddress,
    "InterfaceAddress",
    "An IPv4 address with the prefix length of its network.",
    format!("^{DOTTED}/[0-9]{{1,2}}$")
);
pattern_schema!(
    WanAddress,
    "WanAddress",
    "An IPv4 address with the prefix length of its network, or `dhcp`.",
    format!("^(dhcp|{DOTTED}/[0-9]{{1,2}})$")
);
pattern_schema!(
    Network,
    "Network",
    "An IPv4 network, or one address.",
    format!("^{DOTTED}(/[0-9]{{1,2}})?$")
);
pattern_schema!(Subnet, "Subnet", "An IPv4 network.", format!("^{DOTTED}(/[0-9]{{1,2}})?$"));
pattern_schema!(Mac, "Mac", "A MAC address.", "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$");

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong and the fix, of a refused text.
    fn refused<T: Text + std::fmt::Debug>(text: &str) -> (String, Option<String>) {
        let bad = T::parse(text).expect_err("refused");
        if let Some(fix) = &bad.fix {
            assert!(T::parse(fix.trim_matches('"')).is_ok(), "the fix {fix} does not work");
        }
        (bad.what, bad.fix)
    }

    #[test]
    fn addresses() {
        assert_eq!(Address::parse("192.0.2.1"), Ok(Address(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(refused::<Address>("192.0.2.256").0, "256 is more than 255");
        assert_eq!(refused::<Address>("192.0.2").0, "it has 3 of the 4 numbers of an IPv4 address");
        assert_eq!(refused::<Address>("192.0.02.001").1.as_deref(), Some("\"192.0.2.1\""));
        assert_eq!(refused::<Address>("192.0.2.1/24").1.as_deref(), Some("\"192.0.2.1\""));
        assert_eq!(refused::<Address>(" 192.0.2.1").1.as_deref(), Some("\"192.0.2.1\""));
        assert_eq!(refused::<Address>("2001:db8::1").0, "it is an IPv6 address, this version forwards IPv4");
        for nobody in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
            refused::<Address>(nobody);
        }
        for text in ["", "nas", "1.2.3.4.5", "1..2.3", "-1.2.3.4", "1.2.3.4:80"] {
            refused::<Address>(text);
        }
    }

    #[test]
    fn interface_addresses() {
        let net: Ipv4Net = "192.168.0.1/24".parse().expect("a net");
        assert_eq!(InterfaceAddress::parse("192.168.0.1/24"), Ok(InterfaceAddress(net)));
        assert!(InterfaceAddress::parse("203.0.113.1/32").is_ok());
        assert!(InterfaceAddress::parse("203.0.113.0/31").is_ok());
        let fix = |text| refused::<InterfaceAddress>(text).1;
        assert_eq!(fix("192.168.0.1").as_deref(), Some("\"192.168.0.1/24\""));
        assert_eq!(fix("192.168.0.0/24").as_deref(), Some("\"192.168.0.1/24\""));
        assert_eq!(fix("192.168.0.255/24").as_deref(), Some("\"192.168.0.1/24\""));
        assert_eq!(fix("192.168.0.1/255.255.255.0").as_deref(), Some("\"192.168.0.1/24\""));
        assert_eq!(fix("192.168.0.1/33"), None);
        assert_eq!(fix("192.168.0.1/+4"), None);
        assert_eq!(fix("192.168.0.1/0").as_deref(), Some("\"192.168.0.1/24\""));
    }

    #[test]
    fn wan_addresses() {
        let net: Ipv4Net = "203.0.113.1/24".parse().expect("a net");
        assert_eq!(WanAddress::parse("203.0.113.1/24"), Ok(WanAddress::Fixed(net)));
        assert_eq!(WanAddress::parse("dhcp"), Ok(WanAddress::Dhcp));
        for text in ["DHCP", "auto", " dhcp"] {
            assert_eq!(refused::<WanAddress>(text).1.as_deref(), Some("\"dhcp\""), "{text}");
        }
        assert_eq!(refused::<WanAddress>("slaac"), ("it is not an IPv4 address".to_owned(), None));
        refused::<WanAddress>("pppoe");
    }

    #[test]
    fn networks() {
        assert!(Network::parse("0.0.0.0/0").is_ok());
        assert_eq!(Network::parse("198.51.100.7").map(|n| n.0.prefix_len()), Ok(32));
        assert_eq!(refused::<Network>("198.51.100.7/24").1.as_deref(), Some("\"198.51.100.0/24\""));
    }

    #[test]
    fn macs() {
        assert_eq!(Mac::parse("52:54:00:12:34:aB"), Ok(Mac(MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0xab]))));
        assert_eq!(refused::<Mac>("52-54-00-12-34-56").1.as_deref(), Some("\"52:54:00:12:34:56\""));
        assert_eq!(refused::<Mac>("5254.0012.3456").1.as_deref(), Some("\"52:54:00:12:34:56\""));
        for text in
            ["", "52:54:00:12:34", "52:54:00:12:34:5g", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "日本日本"]
        {
            refused::<Mac>(text);
        }
    }
}
