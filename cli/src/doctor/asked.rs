//! Asks the target of a forward, by the router.

use std::net::Ipv4Addr;

use genkan_config::Loaded;
use genkan_control::api::{
    EventKind, NeighborRow, NewProbe, PortRole, PortStatus, ProbeAnswer, ProbeKind, ProbeReport, ProbeSource,
    SessionQuery, SessionRow,
};
use genkan_control::client::{Client, ClientError};
use genkan_engine::PortId;
use genkan_engine::wire::ipv4::Protocol;
use tokio::task::JoinSet;

use super::facts::{Answer, Target};
use super::gather::Live;
use super::ports::Port;
use crate::events::moved_from;

/// Most places at which a machine that has moved is looked for.
const MOST_PLACES: usize = 4;

/// What the target says, and what is known about it.
///
/// Writes down what each of the `ports` said to the router; the rest is about one of them, the best, whose position is
/// returned too.
///
/// # Errors
/// When the router stops answering.
pub(super) async fn target_facts(
    loaded: &Loaded,
    live: &Live,
    (port, next_hop): (PortId, Ipv4Addr),
    (to, protocol): (Ipv4Addr, Protocol),
    ports: &mut [Port],
) -> Result<(Target, usize), ClientError> {
    let lan = port.lan_index().and_then(|lan| loaded.plan.lans.get(lan));
    let configured = loaded.plan.hosts.iter().find(|host| host.address == next_hop);
    let configured =
        configured.and_then(|host| Some((loaded.config.host_at(&host.name)?, host.mac?.to_string())));
    let sessions = SessionQuery { address: Some(to), limit: Some(1_000), ..SessionQuery::default() };
    let sessions = live.client.sessions(&sessions).await?.rows;
    let goes_out = |row: &SessionRow| {
        *row.internal.ip() == to && matches!(row.origin.as_str(), "outbound" | "one-to-one")
    };
    let mut facts = Target {
        next_hop: Some(next_hop),
        lan: lan.map(|lan| lan.name.clone()).unwrap_or_default(),
        gateway: lan.map(|lan| lan.address.addr()),
        goes_out: sessions.iter().any(goes_out),
        configured,
        ..Target::default()
    };
    let (router, outside) = (ProbeSource::Router, ProbeSource::Outside);
    let question = |kind, port, from| NewProbe { target: to, kind, port, from };
    facts.macs = live.client.probe(&question(ProbeKind::Arp, None, router)).await?.macs;
    if !facts.macs.is_empty() {
        let event = live.lately(EventKind::NeighborMoved, Some(next_hop));
        let before = event.and_then(|message| moved_from(&message)).map(|mac| mac.to_string());
        // What the router knew until just now.
        let row = live.neighbors.iter().find(|row| row.address == next_hop);
        let mut known = before.into_iter().chain(row.and_then(|row| row.mac.clone()));
        facts.moved = known.find(|mac| !facts.macs.contains(mac));
    }
    if let Some(mac) = facts.expected() {
        facts.now_at = place_of(live, mac, next_hop).await?;
    }
    if facts.macs.is_empty() {
        return Ok((facts, 0));
    }
    let (kind, other) = match protocol {
        Protocol::UDP => (ProbeKind::Udp, ProbeKind::Tcp),
        _ => (ProbeKind::Tcp, ProbeKind::Udp),
    };
    ask_ports(&live.client, (to, kind), ports).await?;
    let best = best(protocol, ports);
    let Some(port) = ports.get(best).copied() else { return Ok((facts, best)) };
    let questions = [
        question(kind, Some(port.internal), outside),
        question(ProbeKind::Echo, None, router),
        question(ProbeKind::Echo, None, outside),
    ];
    let [far, near_echo, far_echo] = questions.each_ref().map(|question| live.client.probe(question));
    let (far, near_echo, far_echo) = tokio::try_join!(far, near_echo, far_echo)?;
    for report in [&far, &far_echo] {
        // The router of a route asks for many.
        let on_link = next_hop == to;
        facts.asked_for.extend(report.asked_for.iter().filter(|_| on_link));
    }
    facts.near = port.answer;
    [facts.far, facts.near_echo, facts.far_echo] = [&far, &near_echo, &far_echo].map(answer_of);
    if facts.near == Answer::Closed {
        facts.other = answer_of(&live.client.probe(&question(other, Some(port.internal), router)).await?);
    }
    Ok((facts, best))
}

/// Where else on the lans a machine is, which is no longer `here`: at the address where ARP finds it now, as the router
/// knows a place for a while after the machine has left it.
async fn place_of(live: &Live, mac: &str, here: Ipv4Addr) -> Result<Option<Ipv4Addr>, ClientError> {
    let is_on_lan = |row: &NeighborRow| live.status.ports.iter().any(|port| is_lan(port, &row.port));
    let is_it = |row: &&NeighborRow| row.address != here && row.mac.as_deref() == Some(mac) && is_on_lan(row);
    let mut places: Vec<&NeighborRow> = live.neighbors.iter().filter(is_it).collect();
    // Where it is most likely, for a machine that has several addresses, and as silence takes its time.
    places.sort_by_key(|row| (row.state != "reachable", row.seen_for_seconds));
    for row in places.into_iter().take(MOST_PLACES) {
        let (kind, from) = (ProbeKind::Arp, ProbeSource::Router);
        let report = live.client.probe(&NewProbe { target: row.address, kind, port: None, from }).await?;
        if report.macs.iter().any(|answered| answered == mac) {
            return Ok(Some(row.address));
        }
    }
    Ok(None)
}

fn is_lan(port: &PortStatus, name: &str) -> bool {
    port.role == PortRole::Lan && port.name == name
}

/// Asks ports from the router's own address, all at once: the router makes them wait where they are many.
async fn ask_ports(
    client: &Client,
    (target, kind): (Ipv4Addr, ProbeKind),
    ports: &mut [Port],
) -> Result<(), ClientError> {
    let mut answers: JoinSet<Result<_, ClientError>> = JoinSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (client, port) = (client.clone(), Some(port.internal));
        let question = NewProbe { target, kind, port, from: ProbeSource::Router };
        answers.spawn(async move { Ok((index, answer_of(&client.probe(&question).await?))) });
    }
    for answer in answers.join_all().await {
        let (index, answer) = answer?;
        ports[index].answer = answer;
    }
    Ok(())
}

/// The port to look into: the first that answers, or may be open without answering.
pub(super) fn best(protocol: Protocol, ports: &[Port]) -> usize {
    let mut ranks = vec![Answer::Open];
    if protocol == Protocol::UDP {
        ranks.push(Answer::Silence);
    }
    ranks.iter().find_map(|rank| ports.iter().position(|port| port.answer == *rank)).unwrap_or(0)
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
