//! The default host for packets from outside that no session, forward, lease or mapping takes.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::plan::Plan;
use crate::wire::ipv4::Protocol;

/// The DMZ of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dmz {
    to: Option<Ipv4Addr>,
}

impl Dmz {
    /// What `[dmz]` says.
    pub fn from_plan(plan: &Plan) -> Dmz {
        Dmz { to: plan.dmz }
    }

    /// Where a packet to the external `port` goes: TCP, UDP and protocols without ports (whose port is 0) keep
    /// it. ICMP is not taken: the router answers pings itself or a 1:1 host does, replies and errors belong to
    /// sessions.
    pub fn inbound(&self, protocol: Protocol, port: u16) -> Option<SocketAddrV4> {
        if protocol == Protocol::ICMP {
            return None;
        }
        self.to.map(|to| SocketAddrV4::new(to, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_everything_but_icmp() {
        let host = Ipv4Addr::new(192, 168, 0, 50);
        let dmz = Dmz { to: Some(host) };
        assert_eq!(dmz.inbound(Protocol::TCP, 81), Some(SocketAddrV4::new(host, 81)));
        assert_eq!(dmz.inbound(Protocol::UDP, 82), Some(SocketAddrV4::new(host, 82)));
        assert_eq!(dmz.inbound(Protocol::ESP, 0), Some(SocketAddrV4::new(host, 0)));
        assert_eq!(dmz.inbound(Protocol::ICMP, 0), None);
        assert_eq!(Dmz::default().inbound(Protocol::TCP, 81), None);
    }
}
