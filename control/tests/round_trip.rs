//! Client and server over a real socket, with a worker that answers from a router without ports.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use genkan_control::api::{ErrorCode, IoCounters, ListQuery, PortRole, ReloadReport};
use genkan_control::client::{Client, ClientError};
use genkan_control::request::{WorkerHandle, WorkerRequest, channel};
use genkan_control::server::{Control, ReloadRequest, serve};
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
    }
}

struct Bench {
    directory: PathBuf,
    client: Client,
    snapshot: Arc<Snapshot>,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    socket: ControlSocket,
}

impl Bench {
    /// A served router; `reload` is what its daemon answers.
    fn start(name: &str, reload: Result<ReloadReport, String>, worker_lives: bool) -> Bench {
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
        let snapshot = Arc::new(Snapshot::new(Running { config, plan: plan.clone(), ports, workers: 1 }));

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

        let (reload_sender, mut reloads) = mpsc::channel::<ReloadRequest>(1);
        tokio::spawn(async move {
            while let Some(request) = reloads.recv().await {
                request.reply.send(reload.clone()).expect("the handler waits");
            }
        });
        let (stop, stopped) = oneshot::channel();
        let control = Control { snapshot: snapshot.clone(), worker, reload: reload_sender };
        let server = tokio::spawn(serve(listener, control, async {
            stopped.await.ok();
        }));
        Bench { directory, client: Client::new(path), snapshot, stop: Some(stop), server, socket }
    }

    async fn end(mut self) {
        self.stop.take().expect("not stopped yet").send(()).expect("the server runs");
        self.server.await.expect("no panic").expect("served");
        drop(self.socket);
        assert!(matches!(self.client.status().await, Err(ClientError::NotRunning { .. })));
        std::fs::remove_dir_all(self.directory).expect("cleaned");
    }
}

fn report() -> ReloadReport {
    ReloadReport {
        config: "/etc/genkan.toml".to_owned(),
        changes: vec!["forwards: 1 added".to_owned()],
        warnings: String::new(),
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

    let query = ListQuery { limit: Some(5), protocol: Some("tcp".to_owned()), ..ListQuery::default() };
    let sessions = bench.client.sessions(&query).await.expect("sessions");
    assert!(sessions.rows.is_empty() && sessions.next.is_none());
    assert!(bench.client.mappings(&ListQuery::default()).await.expect("mappings").rows.is_empty());
    assert!(bench.client.neighbors().await.expect("neighbors").is_empty());
    let counters = bench.client.counters().await.expect("counters");
    assert_eq!((counters.ports[0].port.as_str(), counters.ports[0].tx_refused), ("wan", 4));
    assert_eq!(bench.client.reload().await.expect("accepted"), report());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_reload_brings_its_reasons() {
    let text = "error: unknown key `wam`\n --> home.toml:1:1";
    let bench = Bench::start("reload", Err(text.to_owned()), true);
    let error = bench.client.reload().await.expect_err("refused");
    assert!(error.is_refusal(ErrorCode::ReloadRefused));
    assert_eq!(error.to_string(), text);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_worker_is_reported() {
    let bench = Bench::start("dead", Ok(report()), false);
    let error = bench.client.status().await.expect_err("nobody answers");
    assert!(error.is_refusal(ErrorCode::WorkerUnavailable), "{error}");
    bench.end().await;
}
