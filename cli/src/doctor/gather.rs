//! Gathers the facts: from the configuration, the running router and the kernel.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::SystemTime;

use genkan_config::facts::ABSENT;
use genkan_config::openings::State;
use genkan_config::{Facts as Known, Loaded, WanFacts};
use genkan_control::api::{
    AddressConflict, ClosedBy, DdnsRow, DhcpRow, DnsReport, EventKind, EventQuery, EventRow, ForwardRow,
    NeighborRow, NewProbe, ProbeKind, ProbeSource, Status,
};
use genkan_control::client::{Client, ClientError};
use genkan_engine::plan::{self, ForwardRule, Lan};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{PortId, UnixTime};

use super::asked::{self, target_facts};
use super::facts::{Conflict, Counts, Facts, Forward, Loading, Ruling, Running, Wan};
use super::ports::{self, Port};
use super::rules::{Judged, Rules, join};
use super::services::services;
use super::{boxed, evidence};

/// What happened in this time before now still counts.
const LATELY: i64 = 10 * 60;
/// Most walks of one call: more is nothing that a person reads.
pub(crate) const MOST_WALKS: usize = 64;
/// Most ports of a forward that are looked at, when one forward is asked about, and when all are.
const MOST_PORTS: usize = 12;
const MOST_PORTS_OF_MANY: usize = 3;
/// Most ports at which the forwards of others begin or end that are looked at.
const MOST_EDGES: usize = 64;

/// What is asked for.
pub(crate) struct Question {
    /// Only this forward.
    pub(crate) forward: Option<String>,
    /// From there.
    pub(crate) from: Option<Ipv4Addr>,
    /// To this external address.
    pub(crate) to: Option<Ipv4Addr>,
}

/// What the running router told.
pub(crate) struct Live {
    pub(super) client: Client,
    pub(super) status: Status,
    forwards: Vec<ForwardRow>,
    events: Vec<EventRow>,
    pub(super) neighbors: Vec<NeighborRow>,
    hairpins_refused: u64,
    pub(super) ddns: Vec<DdnsRow>,
    pub(super) dns: DnsReport,
    pub(super) dhcp: Vec<DhcpRow>,
}

impl Live {
    /// Asks it; `None` where no router answers.
    ///
    /// # Errors
    /// It is there and may not be asked, or does not answer as it should.
    pub(crate) async fn ask(client: Client) -> Result<Option<Live>, ClientError> {
        let status = match client.status().await {
            Err(ClientError::NotRunning { .. }) => return Ok(None),
            status => status?,
        };
        let events = EventQuery { since: None, limit: Some(10_000) };
        let counters = client.counters().await?;
        let hairpins = counters.drops.iter().find(|row| row.name == "hairpin_off");
        Ok(Some(Live {
            forwards: client.forwards().await?,
            events: client.events(&events).await?.rows,
            neighbors: client.neighbors().await?,
            ddns: client.ddns().await?,
            dns: client.dns().await?,
            dhcp: client.dhcp().await?,
            hairpins_refused: hairpins.map_or(0, |row| row.value),
            status,
            client,
        }))
    }

    /// What it has found out beyond its file, as far as forwards are concerned.
    pub(crate) fn known(&self) -> Known {
        let place = |row: &ForwardRow| {
            let address = row.to.split(':').next().and_then(|address| address.parse().ok());
            Some((row.device.as_ref()?.host.clone(), address.unwrap_or(ABSENT)))
        };
        Known { wan: self.wan(), hosts: self.forwards.iter().filter_map(place).collect() }
    }

    /// What a DHCP server has given to its wan, as far as it is used.
    fn wan(&self) -> Option<WanFacts> {
        let lease = self.status.wan_lease.as_ref().filter(|lease| lease.refused.is_none())?;
        Some(WanFacts {
            address: lease.address.as_ref()?.parse().ok()?,
            gateway: lease.gateway,
            // What is outside is one side here, whichever way leads there.
            routes: Vec::new(),
            mtu: lease.mtu,
            dns: lease.dns.clone(),
            ntp: Vec::new(),
            domain: lease.domain.clone(),
        })
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        PathBuf::from(&self.status.config)
    }

    /// The last event of this kind about this address, that was lately.
    pub(super) fn lately(&self, kind: EventKind, address: Option<Ipv4Addr>) -> Option<String> {
        let now = seconds_since_1970();
        let is_it = |event: &&EventRow| {
            let time = event.time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
            event.kind == kind
                && (address.is_none() || event.address == address.map(IpAddr::V4))
                && now - time < LATELY
        };
        self.events.iter().rev().find(is_it).map(|event| event.message.clone())
    }
}

pub(super) fn seconds_since_1970() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// All facts about the forwards that are asked for.
///
/// # Errors
/// When the router stops answering.
pub(crate) async fn gather(
    loaded: &Loaded,
    live: Option<&Live>,
    socket: String,
    question: &Question,
) -> Result<Facts, ClientError> {
    let rules = Rules::new(loaded, UnixTime(seconds_since_1970()));
    let wanted = |rule: &ForwardRule| question.forward.as_ref().is_none_or(|name| *name == rule.name);
    let walks = async {
        let mut forwards = Vec::new();
        for (index, rule) in loaded.plan.forwards.iter().enumerate().filter(|(_, rule)| wanted(rule)) {
            for &protocol in &rule.protocols {
                if forwards.len() < MOST_WALKS {
                    forwards.push(walk(&rules, live, question, (index, protocol)).await?);
                }
            }
        }
        Ok::<_, ClientError>(forwards)
    };
    let wan = &loaded.plan.wan;
    let is_of_one = question.forward.is_some();
    let services = async { Ok::<_, ClientError>(services(loaded, live, is_of_one).await) };
    let (forwards, gateway_answers, services) =
        tokio::try_join!(walks, gateway_answers(wan, live), services)?;
    let router = match live {
        Some(live) => Running::Yes { sessions: live.status.sessions, max_sessions: live.status.max_sessions },
        None => Running::No { socket },
    };
    Ok(Facts {
        router,
        config: loaded.places.file.name().to_owned(),
        devices: boxed::devices(&loaded.config, live.map(|live| live.status.pid)),
        wan: Wan {
            address: question.to.filter(|to| wan.addresses.contains(to)).unwrap_or(wan.address.addr()),
            gateway: wan.gateway,
            gateway_answers,
            refused: live.and_then(|live| live.status.wan_lease.as_ref()?.refused.clone()),
            taken: live.and_then(|live| live.status.wan_lease.as_ref()?.taken),
        },
        conflicts: live.map_or_else(Vec::new, |live| conflicts(loaded, &live.status.conflicts)),
        forwards,
        services,
    })
}

/// Of what the router has told, the addresses that the file has, too.
fn conflicts(loaded: &Loaded, told: &[AddressConflict]) -> Vec<Conflict> {
    let plan = &loaded.plan;
    let conflict = |row: &AddressConflict| {
        let is_it = |lan: &&Lan| lan.name == row.port && lan.address.addr() == row.address;
        let lan = plan.lans.iter().enumerate().find(|(_, lan)| is_it(lan));
        let lan = lan.map(|(index, lan)| (index, lan.name.clone()));
        let is_ours = lan.is_some() || plan.wan.external_addresses().any(|own| own == row.address);
        is_ours.then(|| Conflict { lan, address: row.address, mac: row.mac.clone() })
    };
    told.iter().filter_map(conflict).collect()
}

/// Whether the gateway answers ARP, where there is one to be asked.
async fn gateway_answers(wan: &plan::Wan, live: Option<&Live>) -> Result<Option<bool>, ClientError> {
    let Some((live, gateway)) = live.zip(wan.gateway) else { return Ok(None) };
    if wan.external_addresses().any(|own| own == gateway) {
        return Ok(None);
    }
    let question = NewProbe { target: gateway, kind: ProbeKind::Arp, port: None, from: ProbeSource::Router };
    Ok(Some(!live.client.probe(&question).await?.macs.is_empty()))
}

/// One protocol of a forward.
async fn walk(
    rules: &Rules<'_>,
    live: Option<&Live>,
    question: &Question,
    (index, protocol): (usize, Protocol),
) -> Result<Forward, ClientError> {
    let loaded = rules.loaded;
    let rule = &loaded.plan.forwards[index];
    let address = question.to.or(rule.address).unwrap_or(loaded.plan.wan.address.addr());
    let source = question.from.unwrap_or_else(|| rules.stranger(&rule.from));
    let row = live.and_then(|live| live.forwards.iter().find(|row| row.name == rule.name));
    let state = match row.map(|row| row.closed_by) {
        Some(closed) => closed.map_or(State::Open, state_of),
        None => rules.judgement.states[index],
    };
    let opens = row.and_then(|row| row.opens).map(UnixTime).or(rules.judgement.opens[index]);
    let most_ports = if question.forward.is_some() { MOST_PORTS } else { MOST_PORTS_OF_MANY };
    let sampled = ports::sample(&rule.ports, most_ports);
    let follow = |port| rules.follow(index, protocol, source, SocketAddrV4::new(address, port));
    let (mut ports, judged, shadowed) = judged_ports(rules.loaded, index, &sampled, follow);
    let hop = rules.routes.lookup(rule.to);
    let to_box = hop.is_some_and(|hop| hop.port == PortId::HOST);
    let before = match live {
        Some(live) => evidence::read(&live.client, &rule.name, protocol).await?,
        None => Vec::new(),
    };
    let (target_facts, best) = match (live, hop) {
        (Some(live), Some(hop)) if judged.ruling == Ruling::Takes && hop.port.lan_index().is_some() => {
            let way = (hop.port, hop.next_hop);
            let (facts, best) = target_facts(loaded, live, way, (rule.to, protocol), &mut ports).await?;
            (Some(facts), best)
        }
        _ => (None, 0),
    };
    let to_box = to_box.then(|| boxed::itself(&loaded.config, protocol, rule.to, &mut ports));
    let best = if to_box.is_some() { asked::best(protocol, &ports) } else { best };
    // Whoever has come before the target was asked has had the time that the target took.
    let after = match live {
        Some(live) if before.iter().any(evidence::is_unanswered) => {
            evidence::read(&live.client, &rule.name, protocol).await?
        }
        _ => before.clone(),
    };
    let (external, internal) = ports.get(best).map_or((0, 0), |port| (port.external, port.internal));
    Ok(Forward {
        index,
        name: rule.name.clone(),
        protocol,
        external: SocketAddrV4::new(address, external),
        source,
        admits: join(rule.from.iter()),
        target: SocketAddrV4::new(rule.to, internal),
        loading: match (live, row) {
            (Some(_), None) => Loading::Absent,
            (Some(_), Some(row)) if !is_same(rule, loaded.config.targets[index].as_ref(), row) => {
                Loading::Differs
            }
            _ => Loading::Same,
        },
        state,
        opens: opens.map(genkan_config::rfc3339),
        host: loaded.config.targets[index].clone(),
        device: row.and_then(|row| row.device.clone()),
        ruling: judged.ruling,
        answer: judged.answer,
        to_box,
        counts: live.zip(row).map(|(live, row)| counts(live, row, question, rules)),
        target_facts,
        ports,
        shadowed,
        evidence: live.map(|_| evidence::weigh(&before, &after, question.from)),
    })
}

/// What the rules do with packets to several ports of a forward: the ports that it takes (else the first one), what
/// becomes of a packet to these, and the ports that other forwards take.
fn judged_ports(
    loaded: &Loaded,
    index: usize,
    sampled: &[Port],
    follow: impl Fn(u16) -> Judged,
) -> (Vec<Port>, Judged, Vec<(u16, usize, String)>) {
    let forwards = &loaded.plan.forwards;
    let mut shadowed = Vec::new();
    let mut taken: Option<(Vec<Port>, Judged)> = None;
    let mut first = None;
    for port in sampled {
        let judged = follow(port.external);
        match (&judged.ruling, &mut taken) {
            (Ruling::Takes, Some((ports, _))) => ports.push(*port),
            (Ruling::Takes, None) => taken = Some((vec![*port], judged)),
            (Ruling::Other(other, by), _) => {
                shadowed.push((port.external, *other, by.clone()));
                first.get_or_insert((vec![*port], judged));
            }
            _ => {
                first.get_or_insert((vec![*port], judged));
            }
        }
    }
    let others = forwards.iter().enumerate().filter(|(other, _)| *other != index);
    let others = others.flat_map(|(_, other)| &other.ports);
    for port in ports::edges(&forwards[index].ports, others).take(MOST_EDGES) {
        if let Ruling::Other(other, by) = follow(port).ruling
            && shadowed.iter().all(|(known, ..)| *known != port)
        {
            shadowed.push((port, other, by));
        }
    }
    let none = || (Vec::new(), Judged { ruling: Ruling::Closed, answer: None });
    let (ports, judged) = taken.or(first).unwrap_or_else(none);
    (ports, judged, shadowed)
}

fn counts(live: &Live, row: &ForwardRow, question: &Question, rules: &Rules<'_>) -> Counts {
    let counts = &row.counts;
    let lately = |source: &Ipv4Addr| live.lately(EventKind::SourceRefused, Some(*source)).is_some();
    let asked = |source: &Ipv4Addr| question.from.is_none_or(|from| from == *source);
    Counts {
        sessions: counts.sessions,
        max_sessions: row.max_sessions,
        hits: counts.hits,
        answers: counts.packets_out,
        last_source: counts.last_source,
        refused: counts.refused,
        last_refused: counts.last_refused,
        braked: counts.last_braked.filter(asked).filter(lately),
        hairpins_refused: if rules.loaded.plan.nat.hairpin { 0 } else { live.hairpins_refused },
    }
}

fn state_of(closed: ClosedBy) -> State {
    match closed {
        ClosedBy::Disabled => State::Disabled,
        ClosedBy::Expired => State::Expired,
        ClosedBy::Schedule => State::OutOfHours,
        ClosedBy::Clock => State::ClockUnknown,
        ClosedBy::Absent => State::Absent,
    }
}

/// Whether what is in force is what the file says, as far as packets are concerned. `target`: the `[[host]]` that it leads
/// to.
fn is_same(rule: &ForwardRule, target: Option<&String>, row: &ForwardRow) -> bool {
    let written = ForwardRow::new(rule, false, UnixTime(0), None).naming(rule, target);
    (&written.protocols, &written.ports, &written.to, written.address)
        == (&row.protocols, &row.ports, &row.to, row.address)
        && (&written.from, written.enabled) == (&row.from, row.enabled)
        && (written.expires, written.max_sessions, &written.max_new_per_source)
            == (row.expires, row.max_sessions, &row.max_new_per_source)
}
