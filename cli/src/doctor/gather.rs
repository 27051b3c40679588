//! Gathers the facts: from the configuration, the running router and the kernel.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::SystemTime;

use genkan_config::Loaded;
use genkan_config::openings::State;
use genkan_control::api::{
    ClosedBy, EventKind, EventQuery, EventRow, ForwardRow, NeighborRow, NewProbe, ProbeAnswer, ProbeKind,
    ProbeReport, ProbeSource, SessionQuery, SessionRow, Status,
};
use genkan_control::client::{Client, ClientError};
use genkan_engine::plan::{self, ForwardRule};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{PortId, UnixTime};

use super::boxed;
use super::facts::{Answer, Counts, Facts, Forward, Loading, Ruling, Running, Target, Wan};
use super::rules::{Judged, Rules, join};

/// What happened in this time before now still counts.
const LATELY: i64 = 10 * 60;
/// Most walks of one call: more is nothing that a person reads.
pub(crate) const MOST_WALKS: usize = 64;

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
    client: Client,
    status: Status,
    forwards: Vec<ForwardRow>,
    events: Vec<EventRow>,
    neighbors: Vec<NeighborRow>,
    hairpins_refused: u64,
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
            hairpins_refused: hairpins.map_or(0, |row| row.value),
            status,
            client,
        }))
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        PathBuf::from(&self.status.config)
    }

    /// The last event of this kind about this address, that was lately.
    fn lately(&self, kind: EventKind, address: Option<Ipv4Addr>) -> Option<String> {
        let now = seconds_since_1970();
        let is_it = |event: &&EventRow| {
            let time = event.time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
            event.kind == kind && (address.is_none() || event.address == address) && now - time < LATELY
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
    let (forwards, gateway_answers) = tokio::try_join!(walks, gateway_answers(wan, live))?;
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
            conflict: live.and_then(|live| live.lately(EventKind::AddressConflict, None)),
        },
        forwards,
    })
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

/// One protocol of a forward, by its first port.
async fn walk(
    rules: &Rules<'_>,
    live: Option<&Live>,
    question: &Question,
    (index, protocol): (usize, Protocol),
) -> Result<Forward, ClientError> {
    let loaded = rules.loaded;
    let rule = &loaded.plan.forwards[index];
    let (port, inside) =
        rule.ports.first().map_or((0, 0), |range| (range.external_first, range.internal_first));
    let address = question.to.or(rule.address).unwrap_or(loaded.plan.wan.address.addr());
    let external = SocketAddrV4::new(address, port);
    let source = question.from.unwrap_or_else(|| rules.stranger(&rule.from));
    let row = live.and_then(|live| live.forwards.iter().find(|row| row.name == rule.name));
    let state = match row.map(|row| row.closed_by) {
        Some(closed) => closed.map_or(State::Open, state_of),
        None => rules.judgement.states[index],
    };
    let opens = row.and_then(|row| row.opens).map(UnixTime).or(rules.judgement.opens[index]);
    let Judged { ruling, answer } = rules.follow(index, protocol, source, external);
    let target = SocketAddrV4::new(rule.to, inside);
    let hop = rules.routes.lookup(rule.to);
    let to_box = hop.is_some_and(|hop| hop.port == PortId::HOST);
    let target_facts = match (live, hop) {
        (Some(live), Some(hop)) if ruling == Ruling::Takes && hop.port.lan_index().is_some() => {
            Some(target_facts(loaded, live, (hop.port, hop.next_hop), target, protocol).await?)
        }
        _ => None,
    };
    Ok(Forward {
        index,
        name: rule.name.clone(),
        protocol,
        external,
        source,
        admits: join(rule.from.iter()),
        target,
        loading: match (live, row) {
            (Some(_), None) => Loading::Absent,
            (Some(_), Some(row)) if !is_same(rule, row) => Loading::Differs,
            _ => Loading::Same,
        },
        state,
        opens: opens.map(genkan_config::rfc3339),
        ruling,
        answer,
        to_box: to_box.then(|| boxed::itself(&loaded.config, protocol, target)),
        counts: live.zip(row).map(|(live, row)| counts(live, row, question, rules)),
        target_facts,
    })
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
    }
}

/// Whether what is in force is what the file says, as far as packets are concerned.
fn is_same(rule: &ForwardRule, row: &ForwardRow) -> bool {
    let written = ForwardRow::new(rule, false, UnixTime(0), None);
    (&written.protocols, &written.ports, &written.to, written.address)
        == (&row.protocols, &row.ports, &row.to, row.address)
        && (&written.from, written.enabled) == (&row.from, row.enabled)
        && (written.expires, written.max_sessions, &written.max_new_per_source)
            == (row.expires, row.max_sessions, &row.max_new_per_source)
}

/// What the target says, and what is known about it.
async fn target_facts(
    loaded: &Loaded,
    live: &Live,
    (port, next_hop): (PortId, Ipv4Addr),
    to: SocketAddrV4,
    protocol: Protocol,
) -> Result<Target, ClientError> {
    let lan = port.lan_index().and_then(|lan| loaded.plan.lans.get(lan));
    let hosts = &loaded.plan.hosts;
    let configured = hosts.iter().position(|host| host.address == next_hop);
    let configured = configured.and_then(|host| Some((host, hosts[host].mac?.to_string())));
    let has_its_mac = |row: &&NeighborRow| {
        row.address != next_hop && row.mac.is_some() && row.mac == configured.clone().map(|(_, mac)| mac)
    };
    let sessions = SessionQuery { address: Some(*to.ip()), limit: Some(1_000), ..SessionQuery::default() };
    let sessions = live.client.sessions(&sessions).await?.rows;
    let goes_out = |row: &SessionRow| {
        row.internal.ip() == to.ip() && matches!(row.origin.as_str(), "outbound" | "one-to-one")
    };
    let mut facts = Target {
        next_hop: Some(next_hop),
        lan: lan.map(|lan| lan.name.clone()).unwrap_or_default(),
        gateway: lan.map(|lan| lan.address.addr()),
        now_at: live.neighbors.iter().find(has_its_mac).map(|row| row.address),
        moved: live.lately(EventKind::NeighborMoved, Some(next_hop)),
        goes_out: sessions.iter().any(goes_out),
        configured,
        ..Target::default()
    };
    let asked = |kind, from| {
        let port = matches!(kind, ProbeKind::Tcp | ProbeKind::Udp).then_some(to.port());
        NewProbe { target: *to.ip(), kind, port, from }
    };
    let (router, outside) = (ProbeSource::Router, ProbeSource::Outside);
    facts.macs = live.client.probe(&asked(ProbeKind::Arp, router)).await?.macs;
    // What the router knew until just now.
    let known = live.neighbors.iter().find(|row| row.address == next_hop).and_then(|row| row.mac.clone());
    facts.moved = facts.moved.or(known.filter(|known| !facts.macs.contains(known)));
    if facts.macs.is_empty() {
        facts.moved = None;
        return Ok(facts);
    }
    let (kind, other) = match protocol {
        Protocol::UDP => (ProbeKind::Udp, ProbeKind::Tcp),
        _ => (ProbeKind::Tcp, ProbeKind::Udp),
    };
    let questions = [
        asked(kind, router),
        asked(kind, outside),
        asked(ProbeKind::Echo, router),
        asked(ProbeKind::Echo, outside),
    ];
    let [near, far, near_echo, far_echo] = questions.each_ref().map(|question| live.client.probe(question));
    let reports = tokio::try_join!(near, far, near_echo, far_echo)?;
    let (near, far, near_echo, far_echo) = reports;
    for report in [&far, &far_echo] {
        // The router of a route asks for many.
        let on_link = next_hop == *to.ip();
        facts.asked_for.extend(report.asked_for.iter().filter(|_| on_link));
    }
    [facts.near, facts.far, facts.near_echo, facts.far_echo] =
        [&near, &far, &near_echo, &far_echo].map(answer_of);
    if facts.near == Answer::Closed {
        facts.other = answer_of(&live.client.probe(&asked(other, router)).await?);
    }
    Ok(facts)
}

fn answer_of(report: &ProbeReport) -> Answer {
    // RFC 792: nothing at this port, or no such protocol.
    const CLOSED: [[u8; 2]; 2] = [[3, 2], [3, 3]];
    match report.answer {
        None => Answer::Unasked,
        Some(ProbeAnswer::SynAck | ProbeAnswer::Datagram | ProbeAnswer::EchoReply) => Answer::Open,
        Some(ProbeAnswer::Reset) => Answer::Closed,
        Some(ProbeAnswer::IcmpError) if report.icmp.is_some_and(|icmp| CLOSED.contains(&icmp)) => {
            Answer::Closed
        }
        Some(ProbeAnswer::IcmpError) => Answer::Prohibited,
        Some(ProbeAnswer::Silence) => Answer::Silence,
    }
}
