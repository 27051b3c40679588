//! Client and server over a real socket, with a worker that answers from a router without ports.

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use genkan_control::api::{
    ChangeQuery, ChangeReport, DdnsFamily, DdnsFault, DdnsRow, DdnsState, DhcpFault, DiffQuery, ErrorBody,
    ErrorCode, EventKind, ForwardPatch, HostQuery, IoCounters, LogLevelReport, LogLevelSource, MappingQuery,
    PortRole, SessionQuery, SessionSort,
};
use genkan_control::client::{Client, ClientError};
use genkan_control::events::NewEvent;
use genkan_control::request::{WorkerHandle, WorkerRequest, channel};
use genkan_control::server::{Change, ChangeRequest, Control, Limits, serve};
use genkan_control::snapshot::{PortConfig, Running, Snapshot};
use genkan_control::socket::ControlSocket;
use genkan_engine::frame::PortId;
use genkan_engine::plan::{Lan, Nat, Wan};
use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Plan, Router, RouterConfig, Timestamp, UnixTime};
use tokio::sync::{mpsc, oneshot};

fn plan() -> Plan {
    Plan {
        wan: Wan {
            address: "203.0.113.1/24".parse().expect("a prefix"),
            gateway: Some(Ipv4Addr::new(203, 0, 113, 2)),
            routes: Vec::new(),
            addresses: Vec::new(),
            mtu: 1500,
            ping: true,
        },
        lans: vec![Lan {
            name: "home".to_owned(),
            address: "192.168.0.1/24".parse().expect("a prefix"),
            mtu: 1500,
            reaches: Vec::new(),
        }],
        routes: Vec::new(),
        host_port: false,
        nat: Nat {
            max_sessions: 1000,
            max_sessions_per_host: 1000,
            max_ports_per_host: 1000,
            ..Nat::default()
        },
        hosts: Vec::new(),
        forwards: Vec::new(),
        dmz: None,
        services: Vec::new(),
    }
}

struct Bench {
    directory: PathBuf,
    client: Client,
    snapshot: Arc<Snapshot>,
    asked: Arc<Mutex<Vec<(Change, ChangeQuery)>>>,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    socket: ControlSocket,
}

impl Bench {
    /// A served router; `answer` is what its daemon says to every change.
    fn start(name: &str, answer: Result<ChangeReport, ErrorBody>, worker_lives: bool) -> Bench {
        Bench::with(Limits::default(), name, answer, worker_lives)
    }

    fn with(
        limits: Limits,
        name: &str,
        answer: Result<ChangeReport, ErrorBody>,
        worker_lives: bool,
    ) -> Bench {
        let directory = std::env::temp_dir().join(format!("genkan-control-{}-{name}", std::process::id()));
        let path = directory.join("control.sock");
        let mut socket = ControlSocket::bind(&path).expect("bound");
        let listener = socket.take_listener().expect("not yet taken");

        let plan = Arc::new(plan());
        let port = |id, name: &str, device: &str| PortConfig {
            id,
            name: name.to_owned(),
            device: device.to_owned(),
            backend: "loopback".to_owned(),
        };
        let ports = vec![port(PortId::WAN, "wan", "eth0"), port(PortId::lan(0), "home", "eth1")];
        let config = "/etc/genkan.toml".to_owned();
        let (plan_of, ad_hoc, schedules) = (plan.clone(), Default::default(), Default::default());
        let targets = Default::default();
        let running =
            Running { config, plan: plan_of, ports, workers: 1, revision: 12, ad_hoc, schedules, targets };
        let snapshot = Arc::new(Snapshot::new(running));

        let (worker, mut requests) = channel(Arc::new(|| ()));
        let worker = WorkerHandle::of_all(vec![worker]);
        if worker_lives {
            std::thread::spawn(move || {
                let router = Router::new(RouterConfig::alone(plan, [1, 2]), Timestamp::ZERO, UnixTime(0));
                let mut io = [IoCounters::default(); PortId::COUNT];
                io[PortId::WAN.index()].tx_refused = 4;
                while let Some(request) = requests.blocking_recv() {
                    WorkerRequest::answer(request, &router, &io, Timestamp::ZERO);
                }
            });
        } else {
            drop(requests);
        }

        let (changes, mut requests) = mpsc::channel::<ChangeRequest>(1);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let reply = match request {
                    ChangeRequest::Change { change, options, who, reply } => {
                        heard.lock().expect("no panic").push((change, options));
                        assert_eq!(who.uid, Some(nix::unistd::getuid().as_raw()));
                        reply
                    }
                    ChangeRequest::Confirm { reply, .. } => reply,
                    ChangeRequest::Upgrade { reply, .. } => {
                        let message = "no such program".to_owned();
                        let refusal = ErrorBody { code: ErrorCode::UpgradeRefused, message };
                        reply.send(Err(refusal)).expect("the handler waits");
                        continue;
                    }
                    ChangeRequest::LogLevel { set, who, reply } => {
                        assert_eq!(who.uid, Some(nix::unistd::getuid().as_raw()));
                        let otherwise = "info".to_owned();
                        let set_by = match &set {
                            Some(_) => LogLevelSource::Request,
                            None => LogLevelSource::Configuration,
                        };
                        let level = set.unwrap_or_else(|| otherwise.clone());
                        let report = LogLevelReport { level, set_by, otherwise };
                        reply.send(Ok(report)).expect("the handler waits");
                        continue;
                    }
                    ChangeRequest::UpdateDdns { name, who, reply } => {
                        assert_eq!(who.uid, Some(nix::unistd::getuid().as_raw()));
                        let message = format!("no such name: {name}");
                        let refusal = ErrorBody { code: ErrorCode::NotFound, message };
                        reply.send(Err(refusal)).expect("the handler waits");
                        continue;
                    }
                    ChangeRequest::History { .. }
                    | ChangeRequest::Diff { .. }
                    | ChangeRequest::Trace { .. }
                    | ChangeRequest::Follow { .. }
                    | ChangeRequest::Audit { .. } => {
                        continue;
                    }
                };
                reply.send(answer.clone()).expect("the handler waits");
            }
        });
        let (stop, stopped) = oneshot::channel();
        let control = Control { snapshot: snapshot.clone(), worker, changes };
        let server = tokio::spawn(serve(listener, control, limits, async {
            stopped.await.ok();
        }));
        Bench { directory, client: Client::new(path), snapshot, asked, stop: Some(stop), server, socket }
    }

    async fn end(mut self) {
        self.stop.take().expect("not stopped yet").send(()).expect("the server runs");
        self.server.await.expect("no panic").expect("served");
        drop(self.socket);
        assert!(matches!(self.client.status().await, Err(ClientError::NotRunning { .. })));
        std::fs::remove_dir_all(self.directory).expect("cleaned");
    }
}

fn report() -> ChangeReport {
    ChangeReport {
        config: "/etc/genkan.toml".to_owned(),
        revision: 13,
        changes: vec!["forward web: removed".to_owned()],
        ..ChangeReport::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_listing_goes_round() {
    let bench = Bench::start("listings", Ok(report()), true);
    let status = bench.client.status().await.expect("a status");
    assert!(!status.forwarding);
    assert_eq!((status.ports.len(), status.ports[1].role, status.max_sessions), (2, PortRole::Lan, 1000));

    for port in [PortId::WAN, PortId::lan(0)] {
        bench.snapshot.set_link(port, LinkState { mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up: true });
    }
    assert!(bench.client.status().await.expect("a status").forwarding);

    let query = SessionQuery { limit: Some(5), protocol: Some("tcp".to_owned()), ..SessionQuery::default() };
    let sessions = bench.client.sessions(&query).await.expect("sessions");
    assert!(sessions.rows.is_empty() && sessions.next.is_none());
    let sorted = SessionQuery { sort: Some(SessionSort::ExpiresLast), host: Some("a b".to_owned()), ..query };
    assert!(bench.client.sessions(&sorted).await.expect("sessions").rows.is_empty());
    assert!(bench.client.mappings(&MappingQuery::default()).await.expect("mappings").rows.is_empty());
    assert!(bench.client.neighbors().await.expect("neighbors").is_empty());
    let counters = bench.client.counters().await.expect("counters");
    assert_eq!((counters.ports[0].port.as_str(), counters.ports[0].tx_refused), ("wan", 4));
    assert_eq!(bench.client.reload(&ChangeQuery::default()).await.expect("accepted"), report());
    assert!(bench.client.forwards().await.expect("forwards").is_empty());
    assert!(bench.client.hosts(&HostQuery::default()).await.expect("hosts").rows.is_empty());
    let row = DdnsRow {
        name: "home.example.net".to_owned(),
        family: DdnsFamily::V6,
        provider: "duckdns".to_owned(),
        state: DdnsState::Stopped,
        address: None,
        wanted: Some("2001:db8::1".parse().expect("an address")),
        since: None,
        next_attempt: None,
        fault: Some(DdnsFault::Name),
        reason: Some("the account has no such name".to_owned()),
        updates: 0,
        failures: 1,
    };
    bench.snapshot.set_ddns("home.example.net", vec![row.clone()]);
    assert_eq!(bench.client.ddns().await.expect("a list"), [row]);
    let error = bench.client.update_ddns("a/b.example.net").await.expect_err("there is none");
    assert_eq!(error.to_string(), "no such name: a/b.example.net");
    bench.snapshot.leases.set_trouble("home", Some((DhcpFault::Disk, "it is full".to_owned())));
    let services = bench.client.dhcp().await.expect("a list");
    assert_eq!((services[0].lan.as_str(), services[0].reason.as_deref()), ("home", Some("it is full")));
    bench.snapshot.set_ddns("home.example.net", Vec::new());
    assert!(bench.client.ddns().await.expect("a list").is_empty());

    let level = bench.client.log_level().await.expect("a level");
    assert_eq!((level.level.as_str(), level.set_by), ("info", LogLevelSource::Configuration));
    let level = bench.client.set_log_level("debug").await.expect("a level");
    assert_eq!((level.level.as_str(), level.set_by), ("debug", LogLevelSource::Request));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_reload_brings_its_reasons() {
    let text = "error: unknown key `wam`\n --> home.toml:1:1";
    let refusal = ErrorBody { code: ErrorCode::ReloadRefused, message: text.to_owned() };
    let bench = Bench::start("reload", Err(refusal), true);
    let error = bench.client.reload(&ChangeQuery::default()).await.expect_err("refused");
    assert!(error.is_refusal(ErrorCode::ReloadRefused));
    assert_eq!(error.to_string(), text);
    let error = bench.client.upgrade().await.expect_err("refused");
    assert!(error.is_refusal(ErrorCode::UpgradeRefused), "{error}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_worker_is_reported() {
    let bench = Bench::start("dead", Ok(report()), false);
    let error = bench.client.status().await.expect_err("nobody answers");
    assert!(error.is_refusal(ErrorCode::WorkerUnavailable), "{error}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_arrive_as_they_were_asked_for() {
    let bench = Bench::start("changes", Ok(report()), true);
    let options = ChangeQuery { dry_run: true, confirm_seconds: Some(60), revision: Some(12) };
    let patch = ForwardPatch { enabled: Some(false), max_sessions: Some(None), ..ForwardPatch::default() };
    bench.client.remove_forward("a b/%/ü", &options).await.expect("accepted");
    bench.client.patch_forward("web", &patch, &ChangeQuery::default()).await.expect("accepted");
    bench.client.set_dmz("nas", &options).await.expect("accepted");
    bench.client.clear_dmz(&options).await.expect("accepted");
    bench.client.rollback(7, &options).await.expect("accepted");
    bench.client.confirm().await.expect("accepted");
    let asked = std::mem::take(&mut *bench.asked.lock().expect("no panic"));
    let expected = [
        (Change::RemoveForward("a b/%/ü".to_owned()), options),
        (Change::PatchForward("web".to_owned(), Box::new(patch)), ChangeQuery::default()),
        (Change::SetDmz("nas".to_owned()), options),
        (Change::ClearDmz, options),
        (Change::Rollback(7), options),
    ];
    assert_eq!(asked, expected);
    // A daemon that drops its end without a word.
    let lost = bench.client.history_diff(DiffQuery { from: 1, to: None }).await.expect_err("no answer");
    assert!(lost.is_refusal(ErrorCode::WorkerUnavailable), "{lost}");
    bench.end().await;
}

/// One request as text, and the whole answer.
async fn raw(bench: &Bench, request: &str) -> String {
    let (path, request) = (bench.socket.path().to_owned(), request.to_owned());
    let exchange = move || {
        let mut stream = UnixStream::connect(path).expect("it listens");
        // A refused body is not read to its end.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("text")
    };
    tokio::task::spawn_blocking(exchange).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_input_is_the_askers_fault() {
    let bench = Bench::start("wrong", Ok(report()), true);
    let long = "x".repeat(3 << 20);
    let json = r#"{"name":"web","protocol":"tcp","port":80,"to":"nas"}"#;
    for (head, headers, body) in [
        ("POST /v1/forwards", "", ""),
        ("POST /v1/forwards", "", "{"),
        ("POST /v1/forwards", "", "[]"),
        ("POST /v1/forwards", "", r#"{"name":"web"}"#),
        ("POST /v1/forwards", "", r#"{"name":1,"protocol":"tcp","port":-1,"to":"nas"}"#),
        ("POST /v1/forwards", "", long.as_str()),
        ("POST /v1/forwards?dry_run=maybe", "", json),
        ("POST /v1/forwards?confirm_seconds=0", "", json),
        ("POST /v1/forwards?confirm_seconds=86401", "", json),
        ("POST /v1/forwards?colour=red", "", json),
        ("POST /v1/forwards", "If-Match: yesterday\r\n", json),
        ("POST /v1/forwards?revision=4", "If-Match: \"5\"\r\n", json),
        ("PATCH /v1/forwards/web", "", r#"{"ports":80}"#),
        ("GET /v1/forwards/none", "", ""),
        ("GET /v1/forwards/%FF", "", ""),
        ("DELETE /v1/forwards/%FF", "", ""),
        ("PUT /v1/dmz", "", "{}"),
        ("POST /v1/rollback", "", r#"{"to":-1}"#),
        ("GET /v1/history/diff", "", ""),
        ("GET /v1/history/diff?from=one", "", ""),
        ("GET /v1/sessions?colour=red", "", ""),
        ("GET /v1/sessions?sort=colour", "", ""),
        ("GET /v1/sessions?sort=expires-first&cursor=5", "", ""),
        ("GET /v1/mappings?remote=192.0.2.1", "", ""),
        ("GET /v1/hosts?sort=traffic-most&cursor=5", "", ""),
        ("POST /v1/trace", "", r#"{"in":"wan","protocol":"tcp","from":"192.0.2.1:1"}"#),
        ("POST /v1/probes", "", r#"{"target":"192.168.0.10","kind":"tcp"}"#),
        ("POST /v1/probes", "", r#"{"target":"192.168.0.10","kind":"arp","port":0}"#),
        ("POST /v1/probes", "", r#"{"target":"198.51.100.1","kind":"echo"}"#),
        ("GET /v1/events", "Last-Event-ID: -1\r\n", ""),
        ("GET /v1/reload", "", ""),
        ("POST /v1/nothing", "", ""),
    ] {
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = raw(&bench, &request).await;
        let what = format!("{head} {headers}{}", &body[..body.len().min(60)]);
        assert!(answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
        assert!(answer.contains(r#"{"code":""#), "{what}: {answer}");
    }
    assert!(bench.asked.lock().expect("no panic").is_empty());
    let good = "POST /v1/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-Match: \"12\"\r\n\r\n";
    assert!(raw(&bench, good).await.starts_with("HTTP/1.1 200"));
    assert_eq!(bench.asked.lock().expect("no panic")[0].1.revision, Some(12));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_read_like_any_prometheus_target() {
    let bench = Bench::start("metrics", Ok(report()), true);
    bench.snapshot.set_link(PortId::WAN, LinkState { mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up: true });
    let text = raw(&bench, "GET /metrics HTTP/1.1\r\nHost: genkan\r\nConnection: close\r\n\r\n").await;
    for expected in [
        "content-type: application/openmetrics-text",
        "genkan_port_up{port=\"wan\"} 1",
        "genkan_port_transmit_refused_total{port=\"wan\"} 4",
        "genkan_drops_total{reason=\"filtered\"} 0",
        "genkan_sessions{worker=\"0\"} 0",
        "# EOF",
    ] {
        assert!(text.contains(expected), "{expected} is missing:\n{text}");
    }
    bench.end().await;
}

/// Connects and says this much.
fn begin(bench: &Bench, text: &str) -> UnixStream {
    let mut stream = UnixStream::connect(bench.client.socket()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    stream.write_all(text.as_bytes()).expect("the socket buffers it");
    stream
}

/// What comes until the other end closes. When that has not read all that we said, the kernel calls it a reset, behind
/// what it answered.
fn rest(mut stream: &UnixStream) -> String {
    let mut octets = Vec::new();
    if let Err(error) = stream.read_to_end(&mut octets) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it is closed in time");
    }
    String::from_utf8(octets).expect("it is text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_told_so() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let bench = Bench::with(limits, "many", Ok(report()), true);
    let mut idle = vec![begin(&bench, ""), begin(&bench, "GET /v1/sta")];
    let refusal = bench.client.status().await.expect_err("there are as many as may be");
    assert!(refusal.is_refusal(ErrorCode::TooManyConnections), "{refusal}");
    assert!(refusal.to_string().contains("2 programs"), "{refusal}");
    // Far more than are even answered.
    let crowd: Vec<UnixStream> = (0..100).map(|_| begin(&bench, "")).collect();
    drop(crowd);
    idle.clear();
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = bench.client.status().await {
        assert!(Instant::now() < deadline, "{error}");
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_let_go() {
    let soon = Duration::from_millis(100);
    let bench =
        Bench::with(Limits { head: soon, body: soon, ..Limits::default() }, "slow", Ok(report()), true);
    let listens = "GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    let mut listener = begin(&bench, listens);
    let mut head = [0; 15];
    listener.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    for text in ["", "GET /v1/status HT", "GET /v1/status HTTP/1.1\r\nHost: x\r\nA: "] {
        assert_eq!(rest(&begin(&bench, text)), "", "{text:?}");
    }
    // Between two requests.
    let said = rest(&begin(&bench, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    let late = "POST /v1/forwards HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for length in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let said = rest(&begin(&bench, &format!("{late}{length}\r\n\r\n")));
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("did not come within"), "{said}");
    }
    let long = begin(&bench, &format!("{late}Content-Length: {}\r\n\r\n", 5 << 20));
    // It is refused before its end.
    let _ = (&long).write_all(&vec![b' '; 3 << 20]);
    assert!(rest(&long).starts_with("HTTP/1.1 413"));
    // Who listens is not one of them.
    bench.snapshot.events.push(NewEvent::new(EventKind::Other, "you are still there"));
    let mut text = Vec::new();
    while !text.ends_with(b"still there") {
        let mut octet = [0];
        listener.read_exact(&mut octet).expect("the event comes");
        text.extend(octet);
    }
    bench.snapshot.events.close();
    bench.end().await;
}
