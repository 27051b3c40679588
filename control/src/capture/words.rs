//! What is said about a packet: the comments in the file.

use std::fmt::Write as _;

use genkan_engine::frame::{GsoKind, PortId};
use genkan_engine::plan::Plan;
use genkan_engine::team::Stage;
use genkan_engine::verdict::{DropReason, Verdict};

use super::filter::Facts;
use super::ring::{Cut, Fate, Packet};

/// What names and rules are told by.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// The plan in force.
    pub plan: &'a Plan,
    /// Names of the ports.
    pub ports: &'a [(PortId, String)],
}

impl Words<'_> {
    /// The name of a port.
    pub fn port(&self, port: PortId) -> String {
        let known = self.ports.iter().find(|(id, _)| *id == port);
        known.map_or_else(|| format!("port-{}", port.index()), |(_, name)| name.clone())
    }

    /// About the frame that came in.
    pub fn before(&self, packet: &Packet) -> String {
        let (verdict, begun) = match packet.label.fate {
            Fate::Judged(verdict) => (verdict, None),
            Fate::GoneOn(stage, verdict) => (verdict, Some(stage)),
            // No frame came in.
            Fate::Made(_) => return String::new(),
        };
        let mut text = match begun {
            Some(Stage::TurnedRound) => "second half of a hairpin, at another worker: ".to_owned(),
            Some(_) => "begun by another worker: ".to_owned(),
            None => String::new(),
        };
        match verdict {
            Verdict::Transmit(out) => text += &format!("sent out of {}", self.port(out)),
            Verdict::Consumed => text += "answered, learnt from, or held until its next hop is known",
            Verdict::Drop(reason) => {
                let _ = write!(text, "dropped, {}: {}", reason.name(), reason.description().trim());
                text += &self.closed_forwards(reason, packet);
            }
            Verdict::HandOver(worker, _) => text += &format!("handed over to worker {}", worker.0),
        }
        text += &rule(packet);
        text + &unfinished(&packet.label.before)
    }

    /// About the frame that was sent.
    pub fn after(&self, packet: &Packet) -> String {
        let text = match packet.label.fate {
            Fate::Made(_) => "made by the router, or held by it until now".to_owned(),
            _ => format!("came in by {}", self.port(packet.label.port)),
        };
        text + &rule(packet) + &unfinished(&packet.label.after)
    }

    /// The forwards that own the port of a packet which none of them takes.
    fn closed_forwards(&self, reason: DropReason, packet: &Packet) -> String {
        if !matches!(reason, DropReason::ForwardSource | DropReason::ForwardClosed) {
            return String::new();
        }
        let facts = Facts::of(&packet.before);
        let (Some(protocol), Some((_, address)), Some((_, port))) =
            (facts.protocol, facts.addresses, facts.ports)
        else {
            return String::new();
        };
        let owners = self.plan.forwards.iter().filter(|rule| {
            rule.protocols.contains(&protocol)
                && rule.address.is_none_or(|own| own.to_bits() == address)
                && rule.ports.iter().any(|ports| (ports.external_first..=ports.external_last).contains(&port))
        });
        let names: Vec<&str> = owners.map(|rule| rule.name.as_str()).collect();
        match names[..] {
            [] => String::new(),
            [name] => format!("; forward {name}"),
            _ => format!("; forwards {}", names.join(", ")),
        }
    }
}

/// What let it pass, with a semicolon before.
fn rule(packet: &Packet) -> String {
    let rule = match (&packet.forward, packet.label.origin) {
        (Some(name), _) => format!("forward {name}"),
        (None, None) => return String::new(),
        (None, Some("outbound")) => "session opened from inside".to_owned(),
        (None, Some("inbound")) => "admitted by the filtering of a mapping".to_owned(),
        (None, Some("routed")) => "routed without translation".to_owned(),
        (None, Some("dmz")) => "DMZ".to_owned(),
        (None, Some(origin)) => origin.to_owned(),
    };
    format!("; {rule}{}", if packet.label.is_answer { ", answer" } else { "" })
}

/// What a reader of the octets would take for damage.
fn unfinished(cut: &Cut) -> String {
    let mut text = String::new();
    if cut.offload.gso != GsoKind::None {
        let _ = write!(text, "; super-frame, {} octets per segment", cut.offload.gso_size);
    }
    if cut.offload.partial_checksum {
        text += "; checksum left to the device";
    }
    text
}

#[cfg(test)]
mod tests {
    use genkan_engine::Offload;
    use genkan_engine::plan::{ForwardRule, PortRange};
    use genkan_engine::wire::ipv4::Protocol;

    use super::super::ring::tests::label;
    use super::*;
    use crate::snapshot::tests::plan;

    fn packet(fate: Fate, origin: Option<&'static str>, forward: Option<&str>) -> Packet {
        let mut label = label(0, 0);
        (label.fate, label.origin) = (fate, origin);
        let mut before = vec![0; 38];
        before[12..14].copy_from_slice(&[8, 0]);
        before[14] = 0x45;
        before[23] = 6;
        before[30..34].copy_from_slice(&[203, 0, 113, 1]);
        before[36..38].copy_from_slice(&[0, 80]);
        Packet { label, before, after: Vec::new(), forward: forward.map(str::to_owned) }
    }

    #[test]
    fn the_deciding_rule_is_named() {
        let mut plan = plan();
        plan.forwards.push(ForwardRule {
            name: "web".to_owned(),
            protocols: vec![Protocol::TCP],
            ports: vec![PortRange { external_first: 80, external_last: 80, internal_first: 80 }],
            to: "192.168.0.10".parse().expect("an address"),
            address: None,
            from: Vec::new(),
            enabled: false,
            expires: None,
            log: false,
            max_sessions: None,
            max_new_per_source: None,
        });
        let ports = [(PortId::WAN, "wan".to_owned()), (PortId::lan(0), "home".to_owned())];
        let words = Words { plan: &plan, ports: &ports };
        let sent = Fate::Judged(Verdict::Transmit(PortId::lan(0)));
        let mut passed = packet(sent, Some("forward"), Some("web"));
        assert_eq!(words.before(&passed), "sent out of home; forward web");
        passed.label.is_answer = true;
        assert_eq!(words.after(&passed), "came in by wan; forward web, answer");
        let outbound = packet(sent, Some("outbound"), None);
        assert_eq!(words.before(&outbound), "sent out of home; session opened from inside");

        let dropped = |reason| words.before(&packet(Fate::Judged(Verdict::Drop(reason)), None, None));
        assert_eq!(
            dropped(DropReason::ForwardClosed),
            "dropped, forward_closed: The forward of this external port is disabled, has expired, or is out of its hours.; forward web"
        );
        assert!(dropped(DropReason::NoMapping).starts_with("dropped, no_mapping: Nothing takes this packet"));
        let made = packet(Fate::Made(PortId::WAN), None, None);
        assert_eq!(words.after(&made), "made by the router, or held by it until now");
    }

    #[test]
    fn what_looks_damaged_is_explained() {
        let mut large = packet(Fate::Judged(Verdict::Transmit(PortId::WAN)), None, None);
        let offload =
            Offload { partial_checksum: true, gso: GsoKind::TcpV4, gso_size: 1448, ..Offload::default() };
        large.label.before.offload = offload;
        let words = Words { plan: &plan(), ports: &[] };
        let said = words.before(&large);
        assert_eq!(
            said,
            "sent out of port-0; super-frame, 1448 octets per segment; checksum left to the device"
        );
    }
}
