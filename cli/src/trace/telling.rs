//! Words for the steps of the engine.

use std::net::SocketAddrV4;

use genkan_config::openings::State;
use genkan_engine::nat::policy::{Direction, FilteringBehavior};
use genkan_engine::packet::rewrite::Side;
use genkan_engine::trail::{ForwardSays, Leaving, Step};

use super::{Line, Scene};
use crate::words::Words;

/// A message, its arguments, and where in the file its cause is written: table, index, key.
pub(super) struct Said {
    pub(super) id: &'static str,
    pub(super) arguments: Vec<(&'static str, String)>,
    pub(super) place: Option<(&'static str, usize, &'static str)>,
}

impl Said {
    pub(super) fn plain(id: &'static str) -> Said {
        Said { id, arguments: Vec::new(), place: None }
    }

    pub(super) fn with<const N: usize>(id: &'static str, arguments: [(&'static str, String); N]) -> Said {
        Said { id, arguments: arguments.into(), place: None }
    }

    pub(super) fn at(self, table: &'static str, index: usize, key: &'static str) -> Said {
        Said { place: Some((table, index, key)), ..self }
    }
}

impl Scene<'_> {
    /// `None` where there is nothing to be told: a limit that the file does not set.
    pub(super) fn line(&self, step: &Step, words: &Words) -> Option<Line> {
        Some(self.spoken(self.said(step)?, words))
    }

    pub(super) fn spoken(&self, said: Said, words: &Words) -> Line {
        let place = said.place.and_then(|(table, index, key)| {
            let span = self.loaded.places.key(table, index, key)?;
            let position = self.loaded.places.position(&span);
            Some(format!("{}:{}:{}", self.loaded.places.file.name(), position.line, position.column))
        });
        Line { id: said.id.to_owned(), text: words.say(said.id, &said.arguments), place }
    }

    fn said(&self, step: &Step) -> Option<Said> {
        Some(match step {
            Step::Known { direction, internal, external, remote, .. } => {
                let id = match direction {
                    Direction::Outbound => "step-known-outbound",
                    Direction::Inbound => "step-known-inbound",
                };
                Said::with(id, endpoints(*internal, *external, *remote))
            }
            Step::AdmittedBy { rule } => {
                let name = self.forward(rule.0).map(|forward| forward.name.clone()).unwrap_or_default();
                let at = rule.0 as usize;
                Said::with("step-admitted-by", [("forward", name)]).at("forward", at, "name")
            }
            Step::ErrorAbout { internal, external, remote } => {
                Said::with("step-error-about", endpoints(*internal, *external, *remote))
            }
            Step::FollowsFirst => Said::plain("step-follows-first"),
            Step::WaitsForFirst => Said::plain("step-waits-for-first"),
            Step::AnswersProbe => Said::plain("step-answers-probe"),
            Step::HandedOver { .. } => return None,
            Step::Unknown => Said::plain("step-unknown"),
            Step::SessionRevoked => Said::plain("step-session-revoked"),
            Step::Reopening => Said::plain("step-reopening"),
            Step::AddressesPlausible => Said::plain("step-addresses-plausible"),
            Step::ForExternal { address } => {
                Said::with("step-for-external", [("address", address.to_string())]).at("wan", 0, "address")
            }
            Step::Hairpin => Said::plain("step-hairpin"),
            Step::TakenByService { service } => {
                Said::with("step-taken-by-service", [("service", service.name().to_owned())])
            }
            Step::ForRouter { address } => Said::with("step-for-router", [("address", address.to_string())]),
            Step::Forward { rule, says } => self.forward_said(rule.0, *says),
            Step::NoForward => Said::plain("step-no-forward"),
            Step::OneToOne { external, host } => {
                let hosts = &self.loaded.config.hosts;
                let index = hosts.iter().position(|known| known.external == Some(*external)).unwrap_or(0);
                let said = if host.is_unspecified() {
                    let name = hosts.get(index).map(|host| host.name.clone()).unwrap_or_default();
                    Said::with("step-one-to-one-absent", [("host", name)])
                } else {
                    Said::with("step-one-to-one", [("host", host.to_string())])
                };
                said.at("host", index, "external")
            }
            Step::Mapping { internal, filtering, admits } => {
                let id = if *admits { "step-mapping-admits" } else { "step-mapping-filters" };
                let filtering = filtering_name(*filtering).to_owned();
                Said::with(id, [("internal", internal.to_string()), ("filtering", filtering)]).at(
                    "nat",
                    0,
                    "filtering",
                )
            }
            Step::NoMapping => Said::plain("step-no-mapping"),
            Step::Dmz { internal } => {
                Said::with("step-dmz", [("internal", internal.to_string())]).at("dmz", 0, "to")
            }
            Step::NoDmz => Said::plain("step-no-dmz"),
            Step::SessionsOfForward { rule, sessions, has_place } => {
                let most = self.forward(rule.0)?.max_sessions?;
                let id = if *has_place { "step-forward-has-place" } else { "step-forward-full" };
                Said::with(id, [("sessions", sessions.to_string()), ("most", most.to_string())]).at(
                    "forward",
                    rule.0 as usize,
                    "max_sessions",
                )
            }
            Step::Brake { rule, admits, left } => {
                let rate = self.forward(rule.0)?.max_new_per_source?;
                let said = match (admits, left) {
                    (true, None) => Said::plain("step-brake-free"),
                    (true, Some(left)) => {
                        let arguments = [("left", left.to_string()), ("most", rate.count.to_string())];
                        Said::with("step-brake-admits", arguments)
                    }
                    (false, _) => Said::plain("step-brake-refuses"),
                };
                said.at("forward", rule.0 as usize, "max_new_per_source")
            }
            Step::Route { destination, to } => match to {
                Some((port, next)) => {
                    let port = self.port_name(*port).to_owned();
                    let (destination, next) = (destination.to_string(), next.to_string());
                    if next == destination {
                        Said::with("step-route-direct", [("destination", destination), ("port", port)])
                    } else {
                        let arguments = [("destination", destination), ("port", port), ("next", next)];
                        Said::with("step-route-via", arguments)
                    }
                }
                None => Said::with("step-route-none", [("destination", destination.to_string())]),
            },
            Step::Reaches { from, to, may } => {
                let id = if *may { "step-reaches" } else { "step-reaches-not" };
                let arguments =
                    [("from", self.port_name(*from).to_owned()), ("to", self.port_name(*to).to_owned())];
                let said = Said::with(id, arguments);
                match from.lan_index() {
                    Some(lan) => said.at("lan", lan, "reaches"),
                    None => said,
                }
            }
            Step::Leaves { internal, external, by } => self.leaves_said(*internal, *external, *by),
            Step::Opened { internal, external, remote, .. } => {
                let arguments = endpoints(*internal, *external, *remote);
                let id = if internal == external { "step-opened-routed" } else { "step-opened" };
                Said::with(id, arguments)
            }
            Step::Rewritten { side, before, after } => {
                let id = match side {
                    Side::Source => "step-rewritten-source",
                    Side::Destination => "step-rewritten-destination",
                };
                Said::with(id, [("before", before.to_string()), ("after", after.to_string())])
            }
            Step::TurnedRound => Said::plain("step-turned-round"),
            Step::TooLarge { octets, mtu } => {
                Said::with("step-too-large", [("octets", octets.to_string()), ("mtu", mtu.to_string())])
            }
            Step::MssLowered { mss } => Said::with("step-mss-lowered", [("mss", mss.to_string())]),
            Step::NextHop { port, mac } => {
                let port = self.port_name(*port).to_owned();
                match mac {
                    Some(mac) => Said::with("step-next-hop", [("port", port), ("mac", mac.to_string())]),
                    None => Said::with("step-next-hop-asked", [("port", port)]),
                }
            }
            Step::IcmpErrorSent { kind: (kind, code), to } => {
                let arguments =
                    [("type", kind.to_string()), ("code", code.to_string()), ("to", to.to_string())];
                Said::with("step-icmp-error-sent", arguments)
            }
            Step::ResetSent { to } => Said::with("step-reset-sent", [("to", to.to_string())]),
        })
    }

    fn forward_said(&self, index: u32, says: ForwardSays) -> Said {
        let name = self.forward(index).map(|forward| forward.name.clone()).unwrap_or_default();
        let at = index as usize;
        match says {
            ForwardSays::To(to) => {
                Said::with("step-forward-takes", [("forward", name), ("to", to.to_string())])
                    .at("forward", at, "to")
            }
            ForwardSays::NotFromThere => {
                let arguments = [("forward", name), ("from", self.sources_of(at))];
                Said::with("step-forward-source", arguments).at("forward", at, "from")
            }
            ForwardSays::Closed => {
                let (id, key) = match self.states.get(at) {
                    Some(State::Disabled) => ("step-forward-disabled", "enabled"),
                    Some(State::OutOfHours) => ("step-forward-out-of-hours", "schedule"),
                    Some(State::ClockUnknown) => ("step-forward-clock-unknown", "schedule"),
                    Some(State::Absent) => ("step-forward-absent", "to"),
                    Some(State::Expired | State::Open) | None => ("step-forward-expired", "expires"),
                };
                Said::with(id, [("forward", name)]).at("forward", at, key)
            }
        }
    }

    /// The `from` of a forward, as it is written.
    pub(super) fn sources_of(&self, index: usize) -> String {
        let sources = self.plan.forwards.get(index).map_or(&[][..], |forward| &forward.from);
        sources.iter().map(|network| network.to_string()).collect::<Vec<_>>().join(", ")
    }

    fn leaves_said(&self, internal: SocketAddrV4, external: SocketAddrV4, by: Leaving) -> Said {
        let (internal, external) = (internal.to_string(), external.to_string());
        match by {
            Leaving::Forward(rule) => {
                let name = self.forward(rule.0).map(|forward| forward.name.clone()).unwrap_or_default();
                let arguments = [("internal", internal), ("external", external), ("forward", name)];
                Said::with("step-leaves-forward", arguments).at("forward", rule.0 as usize, "to")
            }
            by => {
                let id = match by {
                    Leaving::OneToOne => "step-leaves-one-to-one",
                    Leaving::KnownMapping => "step-leaves-known-mapping",
                    Leaving::AddressOnly => "step-leaves-address-only",
                    Leaving::NewMapping | Leaving::Forward(_) => "step-leaves-new-mapping",
                };
                Said::with(id, [("internal", internal), ("external", external)])
            }
        }
    }
}

/// How the file calls it.
pub(super) fn filtering_name(filtering: FilteringBehavior) -> &'static str {
    match filtering {
        FilteringBehavior::EndpointIndependent => "endpoint-independent",
        FilteringBehavior::AddressDependent => "address-dependent",
        FilteringBehavior::AddressAndPortDependent => "address-and-port-dependent",
    }
}

fn endpoints(
    internal: SocketAddrV4,
    external: SocketAddrV4,
    remote: SocketAddrV4,
) -> [(&'static str, String); 3] {
    [("internal", internal.to_string()), ("external", external.to_string()), ("remote", remote.to_string())]
}
