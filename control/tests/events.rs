//! Events over a real socket: as a page, and as a stream with replay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use genkan_control::api::{EventKind, EventQuery};
use genkan_control::client::{Client, ClientError};
use genkan_control::events::NewEvent;
use genkan_control::request::{WorkerHandle, channel};
use genkan_control::server::{Control, Limits, serve};
use genkan_control::snapshot::{Running, Snapshot};
use genkan_control::socket::ControlSocket;
use genkan_engine::Plan;
use genkan_engine::plan::{Nat, Wan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

struct Bench {
    directory: PathBuf,
    path: PathBuf,
    snapshot: Arc<Snapshot>,
    _socket: ControlSocket,
}

impl Bench {
    fn start(name: &str) -> Bench {
        let directory = std::env::temp_dir().join(format!("genkan-events-{}-{name}", std::process::id()));
        let path = directory.join("control.sock");
        let mut socket = ControlSocket::bind(&path).expect("bound");
        let listener = socket.take_listener().expect("not yet taken");
        let wan = Wan {
            address: "203.0.113.1/24".parse().expect("a prefix"),
            gateway: None,
            routes: Vec::new(),
            addresses: Vec::new(),
            mtu: 1500,
            ping: true,
        };
        let plan = Plan {
            wan,
            lans: Vec::new(),
            routes: Vec::new(),
            host_port: false,
            nat: Nat::default(),
            hosts: Vec::new(),
            forwards: Vec::new(),
            dmz: None,
            services: Vec::new(),
        };
        let running = Running {
            config: "test.toml".to_owned(),
            plan: Arc::new(plan),
            ports: Vec::new(),
            workers: 1,
            revision: 1,
            ad_hoc: Default::default(),
            schedules: Default::default(),
            targets: Default::default(),
        };
        let snapshot = Arc::new(Snapshot::new(running));
        let (worker, _) = channel(Arc::new(|| ()));
        let (changes, _) = mpsc::channel(1);
        let control =
            Control { snapshot: snapshot.clone(), worker: WorkerHandle::of_all(vec![worker]), changes };
        tokio::spawn(serve(listener, control, Limits::default(), std::future::pending()));
        Bench { directory, path, snapshot, _socket: socket }
    }

    fn tell(&self, text: &str) {
        self.snapshot.events.push(NewEvent::new(EventKind::Other, text));
    }

    /// What the router answers to a request with these headers, until `enough` octets of it have come.
    async fn raw(&self, target: &str, headers: &str, enough: impl Fn(&str) -> bool) -> String {
        let mut stream = UnixStream::connect(&self.path).await.expect("connected");
        let request = format!("GET {target} HTTP/1.1\r\nHost: genkan\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let reading = async {
            while !enough(&String::from_utf8_lossy(&answer)) {
                assert!(stream.read_buf(&mut answer).await.expect("read") > 0, "it ended too early");
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reading).await.expect("in time");
        String::from_utf8(answer).expect("text")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn a_page_goes_on_where_the_last_one_ended() {
    let bench = Bench::start("pages");
    for text in ["a", "b", "c"] {
        bench.tell(text);
    }
    let client = Client::new(&bench.path);
    let page = client.events(&EventQuery { since: None, limit: Some(2) }).await.expect("answered");
    assert_eq!((page.rows.len(), page.next, page.more), (2, 2, true));
    let page = client.events(&EventQuery { since: Some(page.next), limit: None }).await.expect("answered");
    assert_eq!((page.rows[0].message.as_str(), page.rows.len(), page.more), ("c", 1, false));
    for wrong in ["since=-1", "since=x", "limit=99999999999", "what=1"] {
        let answer = bench.raw(&format!("/v1/events?{wrong}"), "", |text| text.contains('}')).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn a_stream_replays_and_then_follows_until_the_end() {
    let bench = Bench::start("stream");
    for text in ["a", "b", "c"] {
        bench.tell(text);
    }
    let client = Client::new(&bench.path);
    let events = bench.snapshot.clone();
    let mut heard = Vec::new();
    let query = EventQuery { since: Some(1), limit: None };
    client
        .follow_events(&query, |row| {
            heard.push(row.message);
            match heard.len() {
                // Only now: what follows comes while the stream is open.
                2 => drop(events.events.push(NewEvent::new(EventKind::Link, "d"))),
                3 => events.events.close(),
                _ => {}
            }
            true
        })
        .await
        .expect("it ends in order");
    assert_eq!(heard, ["b", "c", "d"]);
}

#[tokio::test]
async fn last_event_id_goes_before_the_query() {
    let bench = Bench::start("replay");
    for text in ["a", "b", "c"] {
        bench.tell(text);
    }
    let headers = "Accept: text/html, text/event-stream;q=0.9\r\nLast-Event-ID: 2\r\n";
    let answer = bench.raw("/v1/events?since=0", headers, |text| text.contains("\n\n")).await;
    assert!(answer.contains("content-type: text/event-stream"), "{answer}");
    assert!(answer.contains("id: 3\nevent: other\ndata: {\"id\":3,"), "{answer}");
    assert!(!answer.contains("id: 2"), "{answer}");
    let headers = "Accept: text/event-stream\r\nLast-Event-ID: last\r\n";
    let answer = bench.raw("/v1/events", headers, |text| text.contains('}')).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_listener_that_has_heard_enough_may_go() {
    let bench = Bench::start("enough");
    bench.tell("a");
    let query = EventQuery { since: Some(0), limit: None };
    let heard: Result<(), ClientError> = Client::new(&bench.path).follow_events(&query, |_| false).await;
    heard.expect("its own end is no failure");
}
