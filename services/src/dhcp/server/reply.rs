//! What a reply says and how it travels (RFC 2131 §4.1, §4.3.1, table 3).

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use ipnet::Ipv4Net;

use super::{Delivery, Options, Server, Subnet, Transmit, names};
use crate::dhcp::message::{ReplyHeader, ReplyWriter, Request, code};

/// What a client that is refused shows or logs (RFC 2132 §9.9).
const REFUSED: &[u8] = b"this address is not for you here";

const FLAG_BROADCAST: u16 = 0x8000;

/// What a client without a parameter request list is told.
const UNASKED: [u8; 7] = [
    code::CLASSLESS_ROUTES,
    code::ROUTER,
    code::DNS,
    code::DOMAIN_NAME,
    code::BROADCAST,
    code::NTP,
    code::MTU,
];

impl Server {
    /// OFFER, ACK (to INFORM without `seconds`) or NAK. `yiaddr` is 0.0.0.0 for the latter two.
    pub(super) fn reply(
        &mut self,
        request: &Request<'_>,
        subnet: usize,
        kind: MessageType,
        yiaddr: Ipv4Addr,
        seconds: Option<u32>,
        name: Option<&str>,
    ) -> Transmit {
        self.counters.send(kind);
        let nak = kind == MessageType::Nak;
        let relayed = !request.giaddr().is_unspecified();
        let header = ReplyHeader {
            xid: request.xid(),
            // A relay agent must broadcast a NAK: the client's address is what is wrong.
            flags: request.flags() | if nak && relayed { FLAG_BROADCAST } else { 0 },
            ciaddr: if kind == MessageType::Ack { request.ciaddr() } else { Ipv4Addr::UNSPECIFIED },
            yiaddr,
            giaddr: request.giaddr(),
            hardware: request.hardware,
        };
        let mut writer = ReplyWriter::new(&header, request.max_reply());
        writer.option(code::MESSAGE_TYPE, &[kind.into()], 0);
        writer.option(code::SERVER_IDENTIFIER, &self.config.address.octets(), 0);
        if let Some(seconds) = seconds {
            writer.option(code::LEASE_TIME, &seconds.to_be_bytes(), 0);
            writer.option(code::T1, &(seconds / 2).to_be_bytes(), 0);
            writer.option(code::T2, &(seconds / 8 * 7 + seconds % 8 * 7 / 8).to_be_bytes(), 0);
        }

        // What must be echoed comes before what is wished for, and stands at the end (RFC 3046 §2.1).
        let room = |value: Option<&[u8]>| value.map_or(0, |value| ReplyWriter::size_of(value.len()));
        let (agent, client) = (request.option(code::RELAY_AGENT), request.client_identifier());
        let after_client = room(agent.filter(|_| relayed));
        let echoed = after_client + room(client);
        if !nak {
            let subnet = self.config.subnet(subnet);
            writer.option(code::SUBNET_MASK, &subnet.prefix.netmask().octets(), echoed);
            self.write_asked(&mut writer, request, subnet, name, echoed);
        } else {
            writer.option(code::MESSAGE, REFUSED, echoed);
        }
        if let Some(client) = client {
            writer.option(code::CLIENT_IDENTIFIER, client, after_client);
        }
        if let Some(agent) = agent.filter(|_| relayed) {
            writer.option(code::RELAY_AGENT, agent, 0);
        }
        Transmit { delivery: self.delivery(request, nak, yiaddr), payload: writer.finish() }
    }

    /// RFC 2131 §4.1; a ciaddr in none of the networks is not believed, else a client could have replies sent anywhere.
    fn delivery(&self, request: &Request<'_>, nak: bool, yiaddr: Ipv4Addr) -> Delivery {
        if !request.giaddr().is_unspecified() {
            return Delivery::Relay(request.giaddr());
        }
        if nak {
            return Delivery::Broadcast;
        }
        if self.table.subnet_of(request.ciaddr()).is_some() {
            return Delivery::Unicast(request.ciaddr());
        }
        match request.hardware.mac() {
            Some(mac) if !request.broadcast() => Delivery::Hardware(mac, yiaddr),
            _ => Delivery::Broadcast,
        }
    }

    /// The parameters in the order in which the client asks for them (RFC 2132 §9.8); what does not fit is left out.
    fn write_asked(
        &self,
        writer: &mut ReplyWriter,
        request: &Request<'_>,
        subnet: &Subnet,
        name: Option<&str>,
        echoed: usize,
    ) {
        let domain = subnet.options.domain.as_deref();
        if let Some(value) = name.and_then(|name| names::fqdn_reply(request, name, domain)) {
            writer.option(code::CLIENT_FQDN, &value, echoed);
        }
        let asked = request.option(code::PARAMETER_REQUEST_LIST).unwrap_or(&UNASKED);
        let mut done = [false; 256];
        for code in asked {
            if std::mem::replace(&mut done[usize::from(*code)], true) {
                continue;
            }
            let value = match *code {
                code::HOST_NAME => name.map(|name| name.as_bytes().to_vec()),
                code::BROADCAST => Some(subnet.prefix.broadcast().octets().to_vec()),
                code => value_of(&subnet.options, code),
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                writer.option(*code, &value, echoed);
            }
        }
    }
}

/// The value of a configured option. What the server itself decides cannot be configured.
fn value_of(options: &Options, wanted: u8) -> Option<Vec<u8>> {
    let addresses = |list: &[Ipv4Addr]| Some(list.iter().flat_map(|address| address.octets()).collect());
    match wanted {
        code::ROUTER => addresses(&options.routers),
        code::DNS => addresses(&options.dns),
        code::NTP => addresses(&options.ntp),
        code::DOMAIN_NAME => options.domain.as_ref().map(|domain| domain.as_bytes().to_vec()),
        code::MTU => options.mtu.map(|mtu| mtu.to_be_bytes().to_vec()),
        code::VENDOR => Some(options.vendor.clone()),
        code::CLASSLESS_ROUTES | code::CLASSLESS_ROUTES_MICROSOFT => Some(classless_routes(options)),
        code::PAD | code::END | code::SUBNET_MASK | code::REQUESTED_ADDRESS..=code::T2 => None,
        code::CLIENT_IDENTIFIER | code::CLIENT_FQDN | code::RELAY_AGENT => None,
        other => options.others.iter().find(|(code, _)| *code == other).map(|(_, value)| value.clone()),
    }
}

/// RFC 3442: prefix length, the octets of the prefix that count, router.
fn classless_routes(options: &Options) -> Vec<u8> {
    let mut value = Vec::new();
    if options.routes.is_empty() {
        return value;
    }
    let write = |value: &mut Vec<u8>, prefix: Ipv4Net, router: Ipv4Addr| {
        let octets = usize::from(prefix.prefix_len().div_ceil(8));
        value.push(prefix.prefix_len());
        value.extend_from_slice(&prefix.network().octets()[..octets]);
        value.extend_from_slice(&router.octets());
    };
    let has_default = options.routes.iter().any(|(prefix, _)| prefix.prefix_len() == 0);
    if let Some(router) = options.routers.first().filter(|_| !has_default) {
        write(&mut value, Ipv4Net::default(), *router);
    }
    options.routes.iter().for_each(|(prefix, router)| write(&mut value, *prefix, *router));
    value
}
