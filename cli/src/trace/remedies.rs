//! What would have to be otherwise for a packet that was dropped to pass.

use genkan_config::openings::State;
use genkan_engine::trail::{ForwardSays, Step};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, PortId};

use super::telling::Said;
use super::{Line, Scene};
use crate::simulation::{Packet, Transport};
use crate::words::Words;

impl Scene<'_> {
    /// Each of them would do.
    pub(super) fn remedies(
        &self,
        reason: DropReason,
        port: PortId,
        packet: Option<&Packet>,
        steps: &[Step],
        words: &Words,
    ) -> Vec<Line> {
        let said = match reason {
            DropReason::ForwardSource | DropReason::ForwardClosed => self.of_forwards(steps),
            DropReason::NoMapping => packet.map(forward_command).unwrap_or_default(),
            DropReason::Filtered => steps.iter().filter_map(of_mapping).collect(),
            DropReason::NotOurs => {
                let ours: Vec<String> =
                    self.plan.wan.external_addresses().map(|address| address.to_string()).collect();
                vec![Said::with("remedy-not-ours", [("addresses", ours.join(", "))]).at("wan", 0, "address")]
            }
            DropReason::SourceNotOfLan => self.of_lan(port),
            DropReason::NotReachable => steps.iter().filter_map(of_reaches).collect(),
            DropReason::PingOff => vec![Said::plain("remedy-ping").at("wan", 0, "ping")],
            DropReason::HairpinOff => vec![Said::plain("remedy-hairpin").at("nat", 0, "hairpin")],
            DropReason::NoRoute => {
                let said = |packet: &Packet| {
                    Said::with("remedy-route", [("destination", packet.destination.to_string())])
                };
                packet.map(said).into_iter().collect()
            }
            DropReason::NoService => vec![Said::plain("remedy-tun").at("router", 0, "tun")],
            DropReason::TcpNoSession => vec![Said::plain("remedy-syn")],
            DropReason::ForwardSessionLimit | DropReason::ForwardSourceRate => {
                vec![Said::plain("remedy-wait")]
            }
            DropReason::SessionLimit => vec![Said::plain("remedy-sessions").at("nat", 0, "max_sessions")],
            DropReason::HostSessionLimit => {
                vec![Said::plain("remedy-host-sessions").at("nat", 0, "max_sessions_per_host")]
            }
            DropReason::HostPortLimit => {
                vec![Said::plain("remedy-host-ports").at("nat", 0, "max_ports_per_host")]
            }
            DropReason::PortsExhausted => vec![Said::plain("remedy-ports").at("nat", 0, "ports")],
            DropReason::PortResting => {
                let said = Said::plain("remedy-resting").at("nat.timeouts", 0, "udp");
                std::iter::once(said).chain(packet.map(forward_command).unwrap_or_default()).collect()
            }
            DropReason::HostUnreachable => steps.iter().rev().find_map(of_next_hop).into_iter().collect(),
            reason => always(reason).map(Said::plain).into_iter().collect(),
        };
        said.into_iter().map(|said| self.spoken(said, words)).collect()
    }

    fn of_forwards(&self, steps: &[Step]) -> Vec<Said> {
        let refusing = steps.iter().filter_map(|step| match step {
            Step::Forward { rule, says: says @ (ForwardSays::Closed | ForwardSays::NotFromThere) } => {
                Some((rule.0 as usize, *says))
            }
            _ => None,
        });
        let said = refusing.map(|(at, says)| {
            let name = self.plan.forwards.get(at).map(|forward| forward.name.clone()).unwrap_or_default();
            if says == ForwardSays::NotFromThere {
                let arguments = [("forward", name), ("from", self.sources_of(at))];
                return Said::with("remedy-forward-source", arguments).at("forward", at, "from");
            }
            match self.states.get(at) {
                Some(State::Disabled) => {
                    Said::with("remedy-forward-enable", [("forward", name)]).at("forward", at, "enabled")
                }
                Some(State::OutOfHours | State::ClockUnknown) => {
                    match self.opens.get(at).copied().flatten() {
                        Some(opens) => {
                            let at_time = genkan_config::rfc3339(opens);
                            Said::with("remedy-forward-opens", [("forward", name), ("time", at_time)])
                        }
                        None => Said::with("remedy-forward-schedule", [("forward", name)]),
                    }
                    .at("forward", at, "schedule")
                }
                Some(State::Absent) => {
                    Said::with("remedy-forward-absent", [("forward", name)]).at("forward", at, "to")
                }
                _ => Said::with("remedy-forward-expires", [("forward", name)]).at("forward", at, "expires"),
            }
        });
        said.collect()
    }

    fn of_lan(&self, port: PortId) -> Vec<Said> {
        let Some(index) = port.lan_index() else { return vec![Said::plain("remedy-source-of-host")] };
        let Some(lan) = self.plan.lans.get(index) else { return Vec::new() };
        let arguments = [("lan", lan.name.clone()), ("prefix", lan.address.trunc().to_string())];
        vec![Said::with("remedy-source-of-lan", arguments).at("lan", index, "address")]
    }
}

/// What holds wherever a reason comes up: what would help, or that nothing does, by design.
fn always(reason: DropReason) -> Option<&'static str> {
    Some(match reason {
        DropReason::VlanTagged => "remedy-vlan",
        DropReason::FragmentUnmatched => "remedy-fragments",
        DropReason::TtlExceeded => "remedy-ttl",
        DropReason::FragmentationNeeded => "remedy-mtu",
        DropReason::PlanChanged => "remedy-again",
        DropReason::FragmentLimit
        | DropReason::NeighborQueueFull
        | DropReason::NeighborTableFull
        | DropReason::TransmitQueueFull
        | DropReason::HandOverFull
        | DropReason::LocalQueueFull => "remedy-later",
        DropReason::HostAbsent => "remedy-host-absent",
        DropReason::PortDown => "remedy-link",
        DropReason::IcmpNoSession => "remedy-icmp-request",
        DropReason::IcmpErrorNoSession => "remedy-icmp-error",
        DropReason::SessionConflict => "remedy-conflict",
        DropReason::ProtocolInUse => "remedy-protocol",
        DropReason::FrameTruncated
        | DropReason::ArpMalformed
        | DropReason::IpVersion
        | DropReason::IpHeaderLength
        | DropReason::IpTotalLength
        | DropReason::IpHeaderChecksum
        | DropReason::IpOptionMalformed
        | DropReason::TransportTruncated
        | DropReason::PortZero
        | DropReason::TcpFlags
        | DropReason::Land
        | DropReason::FragmentTiny
        | DropReason::FragmentOverlap
        | DropReason::IcmpErrorMalformed
        | DropReason::IcmpChecksum
        | DropReason::LocalChecksum => "design-malformed",
        DropReason::LocalFragment => "design-local-fragment",
        DropReason::SourceZero
        | DropReason::SourceLoopback
        | DropReason::SourceMulticast
        | DropReason::SourceBroadcast
        | DropReason::SourceOurs
        | DropReason::SourceLanFromWan => "design-source",
        DropReason::SourceRoute => "design-source-route",
        DropReason::NotOurMac | DropReason::ArpNotForUs => "design-other-machine",
        DropReason::Ipv6NotSupported | DropReason::UnknownEthertype => "design-ipv4-only",
        DropReason::DestinationNotUnicast => "design-unicast-only",
        DropReason::IcmpType => "design-icmp-type",
        _ => return None,
    })
}

fn of_next_hop(step: &Step) -> Option<Said> {
    let Step::Route { to: Some((_, next)), .. } = step else { return None };
    Some(Said::with("remedy-next-hop", [("next", next.to_string())]))
}

/// How the port would be opened.
fn forward_command(packet: &Packet) -> Vec<Said> {
    let (protocol, port) = match packet.transport {
        Transport::Tcp(_, to, _) => (Protocol::TCP, to),
        Transport::Udp(_, to) => (Protocol::UDP, to),
        _ => return vec![Said::plain("remedy-dmz")],
    };
    let command = format!("genkan forward add NAME --protocol {protocol} --port {port} --to ADDRESS:{port}");
    vec![Said::with("remedy-forward-add", [("command", command)])]
}

fn of_mapping(step: &Step) -> Option<Said> {
    let Step::Mapping { internal, admits: false, .. } = step else { return None };
    Some(Said::with("remedy-filtered", [("internal", internal.to_string())]).at("nat", 0, "filtering"))
}

fn of_reaches(step: &Step) -> Option<Said> {
    let Step::Reaches { from, may: false, .. } = step else { return None };
    let said = Said::plain("remedy-reaches");
    Some(match from.lan_index() {
        Some(lan) => said.at("lan", lan, "reaches"),
        None => said,
    })
}
