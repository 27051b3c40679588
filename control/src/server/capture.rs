//! A capture as a stream of pcapng blocks.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use genkan_engine::frame::PortId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::openapi::{AsksWorker, TakesQuery};
use super::{Control, Failure, Peer};
use crate::api::{CaptureQuery, ErrorBody, ErrorCode};
use crate::capture::pcapng::{self, PacketBlock, Way};
use crate::capture::ring::{Drain, Fate, Packet};
use crate::capture::tap::{Tap, Wanted};
use crate::capture::words::Words;
use crate::capture::{DEFAULT_SNAPLEN, Filter, MAX_SECONDS, MAX_SNAPLEN, MIN_SNAPLEN};
use crate::request::WorkerRequest;
use crate::snapshot::Snapshot;

/// How often the rings are looked into: they hold what a worker captures meanwhile at a million packets/s.
const LOOK: Duration = Duration::from_millis(10);
/// Packets of one piece of the answer.
const BURST: usize = 2048;

/// Packets, before and after
///
/// A stream of pcapng: the section and an interface for each port at once, packets as they come, and at the end what each
/// interface has counted. Both sides of a packet have one `epb_packetid`, inbound and outbound in `epb_flags`, and a
/// comment about what decided. It ends after `count` packets or `seconds`, with the router, or when the asker goes.
#[utoipa::path(
    get, path = "/v1/capture",
    params(CaptureQuery),
    responses(
        (status = 200, description = "The packets", content_type = "application/x-pcapng", body = String),
        (status = 409, description = "Somebody captures already", body = ErrorBody),
        TakesQuery,
        AsksWorker,
    ),
)]
pub(super) async fn capture(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<CaptureQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let names = control.snapshot.port_names();
    let wanted = wanted(&query, &names)
        .map_err(|message| Failure::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, message))?;
    let Some(permit) = control.worker.begin_capture() else {
        let message = "another capture is running; there can be one at a time";
        return Err(Failure::new(StatusCode::CONFLICT, ErrorCode::CaptureRunning, message));
    };
    let snaplen = wanted.snaplen;
    // A worker that is asked has its tap; should another one be silent, those find that nobody listens.
    let drains = Mutex::new(Vec::new());
    control
        .worker
        .ask_all(|reply| {
            let (tap, drain) = Tap::new(wanted.clone());
            drains.lock().unwrap_or_else(PoisonError::into_inner).push(drain);
            WorkerRequest::Capture { tap: Box::new(tap), reply }
        })
        .await?;
    let (port, filter) = (query.port.as_deref().unwrap_or("any"), query.filter.as_deref().unwrap_or(""));
    tracing::info!(uid = peer.uid, pid = peer.pid, port, filter, snaplen, "capture begins");
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = Running {
        drains: drains.into_inner().unwrap_or_else(PoisonError::into_inner),
        snapshot: control.snapshot,
        interfaces: Vec::new(),
        snaplen,
        left: query.count.unwrap_or(u64::MAX),
        deadline: query.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into())),
        tick,
        captured: [0; PortId::COUNT],
        number: 0,
        first: Some(Vec::new()),
        has_ended: false,
        peer,
        _permit: permit,
    };
    let first = running.beginning(filter, &names);
    running.first = Some(first);
    let headers = [(header::CONTENT_TYPE, "application/x-pcapng")];
    Ok((headers, Body::from_stream(running.stream())).into_response())
}

/// What the query asks for.
fn wanted(query: &CaptureQuery, names: &[(PortId, String)]) -> Result<Wanted, String> {
    let filter: Filter = query
        .filter
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| format!("the filter is not understood {error}"))?;
    let port = match &query.port {
        None => None,
        Some(wanted) => {
            let found = names.iter().find(|(_, name)| name == wanted).map(|(id, _)| *id);
            Some(found.ok_or_else(|| {
                let known: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
                format!("there is no port `{wanted}`; there are: {}", known.join(", "))
            })?)
        }
    };
    let snaplen = query.snaplen.unwrap_or(DEFAULT_SNAPLEN);
    if !(MIN_SNAPLEN..=MAX_SNAPLEN).contains(&snaplen) {
        return Err(format!("snaplen is {snaplen}; accepted: {MIN_SNAPLEN} to {MAX_SNAPLEN}"));
    }
    if query.seconds.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        return Err(format!("seconds: accepted: 1 to {MAX_SECONDS}"));
    }
    if query.count == Some(0) {
        return Err("count is 0; accepted: 1 or more".to_owned());
    }
    Ok(Wanted { filter, port, snaplen })
}

/// A capture that somebody listens to. When the asker goes away it is dropped, its rings with it, and the workers take
/// their taps down.
struct Running {
    drains: Vec<Drain>,
    snapshot: Arc<Snapshot>,
    /// The ports that the file has told of, in its order.
    interfaces: Vec<PortId>,
    snaplen: u32,
    /// Packets still wanted.
    left: u64,
    deadline: Option<Instant>,
    tick: Interval,
    captured: [u64; PortId::COUNT],
    number: u64,
    first: Option<Vec<u8>>,
    has_ended: bool,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        futures_util::stream::unfold(self, async |mut running| {
            let piece = running.piece().await?;
            Some((Ok(Bytes::from(piece)), running))
        })
    }

    fn beginning(&mut self, filter: &str, names: &[(PortId, String)]) -> Vec<u8> {
        let mut out = Vec::new();
        let comment = if filter.is_empty() { "all packets".to_owned() } else { format!("filter: {filter}") };
        pcapng::write_section(&mut out, concat!("genkan ", env!("CARGO_PKG_VERSION")), &comment);
        for (port, name) in names {
            self.interfaces.push(*port);
            pcapng::write_interface(&mut out, name, self.snaplen);
        }
        out
    }

    /// The next octets; nothing at the end.
    async fn piece(&mut self) -> Option<Vec<u8>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.has_ended {
            let packets = self.take();
            let is_last = self.left == 0 || (packets.len() < BURST && self.is_over());
            let mut out = Vec::new();
            self.write(&packets, &mut out);
            if is_last {
                self.has_ended = true;
                self.write_statistics(&mut out);
            }
            if !out.is_empty() {
                return Some(out);
            }
            self.tick.tick().await;
        }
        None
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
            || self.drains.iter().all(Drain::is_over)
            || self.snapshot.events.is_closed()
    }

    /// What has come, in the order of time as far as it has.
    fn take(&mut self) -> Vec<Packet> {
        let room = BURST.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut packets = Vec::new();
        for drain in &mut self.drains {
            let room = room - packets.len();
            packets.extend(std::iter::from_fn(|| drain.pop()).take(room));
        }
        packets.sort_by_key(|packet| packet.label.time);
        self.left -= packets.len() as u64;
        packets
    }

    fn write(&mut self, packets: &[Packet], out: &mut Vec<u8>) {
        if packets.is_empty() {
            return;
        }
        let (running, names) = (self.snapshot.running(), self.snapshot.port_names());
        let words = Words { plan: &running.plan, ports: &names };
        for packet in packets {
            let label = &packet.label;
            self.number += 1;
            if let Some(captured) = self.captured.get_mut(label.port.index()) {
                *captured += 1;
            }
            let mut lost = u64::from(label.lost);
            if let Fate::Judged(_) | Fate::GoneOn(..) = label.fate {
                let way = if matches!(label.fate, Fate::Judged(_)) { Way::In } else { Way::Unknown };
                let interface = self.interface(label.port, &words, out);
                let block = PacketBlock {
                    interface,
                    time: label.time,
                    octets: packet.before.clone(),
                    len: label.before.len,
                    way,
                    id: self.number,
                    lost: std::mem::take(&mut lost),
                    comment: words.before(packet),
                };
                pcapng::write_packet(out, &block);
            }
            if let Some(port) = label.sent_by() {
                let interface = self.interface(port, &words, out);
                let block = PacketBlock {
                    interface,
                    time: label.time,
                    octets: packet.after.clone(),
                    len: label.after.len,
                    way: Way::Out,
                    id: self.number,
                    lost,
                    comment: words.after(packet),
                };
                pcapng::write_packet(out, &block);
            }
        }
    }

    /// The number of a port's interface in the file. A port that a change has brought is told of first.
    fn interface(&mut self, port: PortId, words: &Words<'_>, out: &mut Vec<u8>) -> u32 {
        let known = self.interfaces.iter().position(|known| *known == port);
        let number = known.unwrap_or_else(|| {
            pcapng::write_interface(out, &words.port(port), self.snaplen);
            self.interfaces.push(port);
            self.interfaces.len() - 1
        });
        number as u32
    }

    fn lost(&self, port: PortId) -> u64 {
        self.drains.iter().map(|drain| drain.lost().of(port)).sum()
    }

    fn write_statistics(&self, out: &mut Vec<u8>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for (number, port) in self.interfaces.iter().enumerate() {
            let (captured, lost) = (self.captured[port.index()], self.lost(*port));
            pcapng::write_statistics(out, number as u32, now, captured + lost, lost);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let lost: u64 = self.interfaces.iter().map(|port| self.lost(*port)).sum();
        tracing::info!(uid = self.peer.uid, pid = self.peer.pid, packets = self.number, lost, "capture ends");
    }
}
