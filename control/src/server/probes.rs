//! Questions to machines on the router's links.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use genkan_engine::link::route::{NextHop, RouteTable};
use genkan_engine::probe::{self, Probe};
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Plan, PortId};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::openapi::{AsksWorker, TakesBody};
use super::{Control, Failure, Peer};
use crate::api::{ErrorBody, ErrorCode, NewProbe, ProbeAnswer, ProbeKind, ProbeReport, ProbeSource};
use crate::request::WorkerRequest;

/// How often a question is asked, and how long an answer may take each time.
const TRIES: u32 = 2;
const WAIT: Duration = Duration::from_millis(250);
/// For ARP: radio cards that sleep hear it late.
const WAIT_FOR_ARP: Duration = Duration::from_millis(450);
/// How long to listen for a second machine that has the same address.
const SECOND_MAC: Duration = Duration::from_millis(50);
/// Answers that may wait to be looked at.
const QUEUE: usize = 16;

/// Addresses of nobody (RFC 5737).
const STRANGERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(203, 0, 113, 254)];

/// Ask a machine inside
///
/// With one or two packets of the router's own, after ARP. No answer to them leaves the router. Sixteen a second are asked;
/// more have to wait.
#[utoipa::path(
    post, path = "/v1/probes",
    request_body = NewProbe,
    responses(
        (status = 200, description = "What came back", body = ProbeReport),
        (status = 400, description = "The machine is not behind a lan, or a port is missing", body = ErrorBody),
        (status = 422, description = "The body is not what it has to be", body = ErrorBody),
        TakesBody,
        AsksWorker,
    ),
)]
pub(super) async fn probe(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Result<Json<NewProbe>, JsonRejection>,
) -> Result<Json<ProbeReport>, Failure> {
    let Json(wanted) = body?;
    let refuse = |message: &str| Failure::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, message);
    let plan = control.snapshot.running().plan;
    let routes = RouteTable::from_plan(&plan);
    let hop = routes.lookup(wanted.target).filter(|_| routes.local(wanted.target).is_none());
    let hop = hop.ok_or_else(|| refuse("there is no way to this address"))?;
    let is_gateway = wanted.kind == ProbeKind::Arp && plan.wan.gateway == Some(wanted.target);
    if hop.port.lan_index().is_none() && !is_gateway {
        return Err(refuse("only machines behind a lan are asked, and the gateway by ARP"));
    }
    let needs_port = matches!(wanted.kind, ProbeKind::Tcp | ProbeKind::Udp);
    if wanted.port == Some(0) || needs_port && wanted.port.is_none() {
        return Err(refuse("`port`: tcp and udp have one, from 1 to 65535"));
    }
    let Some(_permit) = control.worker.begin_probe().await else {
        return Err(too_many());
    };
    tracing::info!(uid = peer.uid, pid = peer.pid, target = %wanted.target, kind = ?wanted.kind, "probe");
    let own = own_address(&plan, hop.port).ok_or_else(|| refuse("there is no such lan"))?;
    let mut report = ProbeReport {
        next_hop: hop.next_hop,
        port: control.snapshot.port_name(hop.port),
        macs: Vec::new(),
        answer: None,
        icmp: None,
        asked_for: Vec::new(),
    };
    let Some(mac) = ask_mac(&control, hop, own, wanted.kind == ProbeKind::Arp, &mut report).await? else {
        return Ok(Json(report));
    };
    let kind = match wanted.kind {
        ProbeKind::Arp => return Ok(Json(report)),
        ProbeKind::Tcp => probe::ProbeKind::Tcp,
        ProbeKind::Udp => probe::ProbeKind::Udp,
        ProbeKind::Echo => probe::ProbeKind::Echo,
    };
    let source = match wanted.from {
        ProbeSource::Router => own,
        ProbeSource::Outside => stranger(&routes, &plan),
    };
    // A port of the dynamic ones (RFC 6335), that nothing else uses just now.
    let id = random();
    let question = Probe {
        id,
        port: hop.port,
        kind,
        source: SocketAddrV4::new(source, 49_152 + (id >> 48) as u16 % 16_384),
        target: SocketAddrV4::new(wanted.target, wanted.port.unwrap_or(0)),
        to: mac,
    };
    ask(&control, question, &mut report).await?;
    Ok(Json(report))
}

/// The link address of the next hop.
async fn ask_mac(
    control: &Control,
    hop: NextHop,
    own: Ipv4Addr,
    all: bool,
    report: &mut ProbeReport,
) -> Result<Option<MacAddr>, Failure> {
    let question = Probe {
        id: random(),
        port: hop.port,
        kind: probe::ProbeKind::Arp,
        source: SocketAddrV4::new(own, 0),
        target: SocketAddrV4::new(hop.next_hop, 0),
        to: MacAddr::BROADCAST,
    };
    let (sender, mut answers) = mpsc::channel(QUEUE);
    let mut first = None;
    for _ in 0..TRIES {
        send(control, question, &sender).await?;
        let mut deadline = Instant::now() + WAIT_FOR_ARP;
        while let Ok(Some(answer)) = timeout_at(deadline, answers.recv()).await {
            let probe::ProbeAnswer::Arp(mac) = answer else { continue };
            if !report.macs.contains(&mac.to_string()) {
                report.macs.push(mac.to_string());
            }
            if first.is_none() {
                first = Some(mac);
                deadline = Instant::now() + SECOND_MAC;
            }
            if !all {
                return Ok(first);
            }
        }
        if first.is_some() {
            break;
        }
    }
    Ok(first)
}

/// The question itself.
async fn ask(control: &Control, question: Probe, report: &mut ProbeReport) -> Result<(), Failure> {
    let (sender, mut answers) = mpsc::channel(QUEUE);
    for _ in 0..TRIES {
        send(control, question, &sender).await?;
        let deadline = Instant::now() + WAIT;
        while let Ok(Some(answer)) = timeout_at(deadline, answers.recv()).await {
            report.answer = Some(match answer {
                probe::ProbeAnswer::SynAck => ProbeAnswer::SynAck,
                probe::ProbeAnswer::Reset => ProbeAnswer::Reset,
                probe::ProbeAnswer::Datagram => ProbeAnswer::Datagram,
                probe::ProbeAnswer::EchoReply => ProbeAnswer::EchoReply,
                probe::ProbeAnswer::IcmpError(kind, code) => {
                    report.icmp = Some([kind, code]);
                    ProbeAnswer::IcmpError
                }
                probe::ProbeAnswer::AsksFor(address) => {
                    if !report.asked_for.contains(&address) {
                        report.asked_for.push(address);
                    }
                    continue;
                }
                probe::ProbeAnswer::Arp(_) => continue,
            });
            return Ok(());
        }
    }
    report.answer = Some(ProbeAnswer::Silence);
    Ok(())
}

/// Has all workers watch, then the first one send.
async fn send(
    control: &Control,
    probe: Probe,
    answers: &mpsc::Sender<probe::ProbeAnswer>,
) -> Result<(), Failure> {
    let request = |send| move |reply| WorkerRequest::Probe { probe, send, answers: answers.clone(), reply };
    let mut watches = true;
    if control.worker.count() > 1 {
        watches = control.worker.ask_all(request(false)).await?.into_iter().all(|watches| watches);
    }
    if watches && control.worker.ask_first(request(true)).await? {
        return Ok(());
    }
    Err(too_many())
}

fn too_many() -> Failure {
    let message = "too many probes are under way; try again later";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TooManyProbes, message)
}

/// The router's own address on a link.
fn own_address(plan: &Plan, port: PortId) -> Option<Ipv4Addr> {
    match port.lan_index() {
        Some(index) => plan.lans.get(index).map(|lan| lan.address.addr()),
        None => Some(plan.wan.address.addr()),
    }
}

/// An address that is outside and nobody's.
fn stranger(routes: &RouteTable, plan: &Plan) -> Ipv4Addr {
    let is_outside = |address: &Ipv4Addr| {
        !plan.wan.address.contains(address)
            && routes.lookup(*address).is_none_or(|hop| hop.port == PortId::WAN)
    };
    STRANGERS.into_iter().find(is_outside).unwrap_or(STRANGERS[0])
}

/// Not to be guessed by who might answer in the place of another.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
