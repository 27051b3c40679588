//! The hosts around a router that has only captures: they answer its ARP requests.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use genkan_engine::frame::PortId;
use genkan_engine::packet::build;
use genkan_engine::wire::arp;
use genkan_engine::wire::ethernet::{self, EtherType, MacAddr};

/// Which MAC addresses are known from captures; others are made up.
#[derive(Debug)]
pub(crate) struct Neighbors(pub(crate) HashMap<(PortId, Ipv4Addr), MacAddr>);

impl Neighbors {
    /// The answer of a neighbour to a frame that the router sends, if it asks for one.
    pub(crate) fn answer(&self, port: PortId, frame: &[u8]) -> Option<Vec<u8>> {
        let request = parse_arp(frame).filter(|arp| arp.operation == arp::Operation::Request)?;
        // The router announces its own addresses, or asks whether somebody else has them: nobody does.
        if request.sender_ip == request.target_ip || request.sender_ip.is_unspecified() {
            return None;
        }
        let known = self.0.get(&(port, request.target_ip)).copied();
        let reply = arp::Repr {
            operation: arp::Operation::Reply,
            sender_mac: known.unwrap_or_else(|| made_up_mac(request.target_ip)),
            sender_ip: request.target_ip,
            target_mac: request.sender_mac,
            target_ip: request.sender_ip,
        };
        Some(build::arp_frame(&reply, request.sender_mac))
    }
}

/// The ARP packet in a frame.
pub(super) fn parse_arp(frame: &[u8]) -> Option<arp::Repr> {
    let view = ethernet::View::new_checked(frame).ok()?;
    if view.ethertype() != EtherType::ARP {
        return None;
    }
    arp::Repr::parse(view.payload()).ok()
}

pub(super) fn made_up_mac(address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    MacAddr([2, 0, a, b, c, d])
}
