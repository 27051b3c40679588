//! Twenty-four hours in a few seconds, on the days when the clocks change: forwards open and close to the second, one
//! expires, sessions come and go, and are saved and put back, and at the end of the day no more memory is taken than
//! after its first hours.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use genkan_benches::counting::Counting;
use genkan_config::Loaded;
use genkan_engine::packet::build;
use genkan_engine::router::LinkState;
use genkan_engine::wire::arp;
use genkan_engine::wire::ethernet::{self, MacAddr};
use genkan_engine::{Event, Offload, Plan, PortId, Router, RouterConfig, Timestamp, UnixTime, Verdict};

use super::openings::{Hours, Now};
use super::sessions::format::{Writer, verify};
use super::sessions::restoring::Source;
use super::sessions::saving::{header, save_all, write_all};

const LAN: PortId = PortId::lan(0);
const DAY: u64 = 24 * 3_600;
/// Between two looks of everybody at everything, seconds.
const TICK: u64 = 10;
/// How far the memory taken may move from hour to hour, octets: events that wait, queues that grew.
const ROOM: i64 = 4 << 10;

const RULES: &str = r#"
[wan]
device = "eth0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"

[[lan]]
name = "home"
device = "eth1"
address = "192.168.0.1/24"

[router]
timezone = "Europe/Berlin"

[nat]
max_sessions = 5_000

[[forward]]
name = "night"
protocol = "udp"
port = 1000
to = "192.168.0.10"
schedule = "22:00-02:30"

[[forward]]
name = "early"
protocol = "udp"
port = 1001
to = "192.168.0.10"
schedule = "Sun 02:15-04:00"

[[forward]]
name = "office"
protocol = "udp"
port = 1002
to = "192.168.0.11"
schedule = "Mon-Fri 08:00-18:00, Sun 09:00-12:00"

[[forward]]
name = "visitor"
protocol = "udp"
port = 1003
to = "192.168.0.11"
expires = EXPIRES
"#;

fn ports() -> Vec<(PortId, String)> {
    vec![(PortId::WAN, "wan".to_owned()), (LAN, "home".to_owned())]
}

/// A router, both clocks and the hosts around it.
struct Day {
    loaded: Loaded,
    hours: Hours,
    router: Router,
    began: Now,
    /// Since midnight.
    passed: Duration,
    folder: PathBuf,
    /// Sessions that were saved, over all files.
    saved: u64,
    /// Forwards that the engine told of as expired, and when.
    expired: Vec<(String, u64)>,
}

impl Day {
    /// The day that begins at this second since 1970.
    fn new(midnight: u64, expires: &str) -> Day {
        let loaded =
            genkan_config::parse(&RULES.replace("EXPIRES", expires), "day.toml").expect("a good file");
        let folder = std::env::temp_dir().join(format!("genkan-day-{midnight}-{}", std::process::id()));
        // What an earlier run of the same number left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        let began = Now { monotonic: Instant::now(), wall: Duration::from_secs(midnight) };
        let hours = Hours::new(&folder, &loaded, began);
        let router = router(Timestamp::ZERO, wall(began), hours.plan());
        let (passed, expired) = (Duration::ZERO, Vec::with_capacity(4));
        Day { loaded, hours, router, began, passed, folder, saved: 0, expired }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.passed
    }

    fn clocks(&self) -> Now {
        Now { monotonic: self.began.monotonic + self.passed, wall: self.began.wall + self.passed }
    }

    /// Lets everything happen that is due up to a moment, in its order.
    fn until(&mut self, end: Duration) {
        loop {
            let look = self.hours.due() - self.began.monotonic;
            let due = self.router.poll_timeout().map_or(end, |due| due.saturating_since(Timestamp::ZERO));
            self.passed = look.min(due).min(end).max(self.passed);
            let (now, clocks) = (self.now(), self.clocks());
            if look <= self.passed && self.hours.look(&self.loaded, clocks).is_some() {
                self.router.apply_plan(now, wall(clocks), self.hours.plan().clone());
            }
            if due <= self.passed {
                self.router.handle_timeout(now);
            }
            self.settle();
            if self.passed >= end {
                return;
            }
        }
    }

    /// The hosts answer the router, and somebody reads what it tells.
    fn settle(&mut self) {
        let now = self.now();
        while let Some(sent) = self.router.poll_transmit() {
            let is_arp = sent.bytes[12..14] == [0x08, 0x06];
            let Some(request) = arp::Repr::parse(&sent.bytes[ethernet::HEADER_LEN..]).ok().filter(|_| is_arp)
            else {
                continue;
            };
            if request.operation == arp::Operation::Request && request.target_ip != request.sender_ip {
                let reply = arp::Repr {
                    operation: arp::Operation::Reply,
                    sender_mac: mac(request.target_ip),
                    sender_ip: request.target_ip,
                    target_mac: request.sender_mac,
                    target_ip: request.sender_ip,
                };
                let mut frame = build::arp_frame(&reply, request.sender_mac);
                self.router.handle_frame(now, sent.port, &mut &mut frame[..], Offload::default());
            }
        }
        while let Some(event) = self.router.poll_event() {
            if let Event::ForwardExpired { forward } = event {
                self.expired.push((forward, self.passed.as_secs()));
            }
        }
    }

    /// Whether a datagram gets through, at once or after its next hop was found.
    fn passes(&mut self, port: PortId, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> bool {
        let router_mac = if port == LAN { mac(Ipv4Addr::new(192, 168, 0, 1)) } else { mac(EXTERNAL) };
        let packet = PacketBuilder::ethernet2(mac(from.0).0, router_mac.0)
            .ipv4(from.0.octets(), to.0.octets(), 64)
            .udp(from.1, to.1);
        let mut frame = Vec::with_capacity(64);
        packet.write(&mut frame, b"hello").expect("there is room");
        let verdict = self.router.handle_frame(self.now(), port, &mut &mut frame[..], Offload::default());
        self.settle();
        !matches!(verdict, Verdict::Drop(_))
    }

    /// What the hosts do in one tick: a new call out, which nobody answers for longer than five minutes, and a stranger
    /// at each forward. Which forwards let him in.
    fn talk(&mut self, number: u64) -> [bool; 4] {
        let host = Ipv4Addr::new(192, 168, 0, 20 + (number % 50) as u8);
        let source = (host, 2_000 + (number % 40_000) as u16);
        let remote = Ipv4Addr::new(198, 51, 100, (number % 200) as u8 + 1);
        assert!(self.passes(LAN, source, (remote, 443)), "nobody forbids it");
        [1000, 1001, 1002, 1003].map(|port| self.passes(PortId::WAN, (remote, 40_000), (EXTERNAL, port)))
    }

    /// Saves all sessions as the running router does, to memory.
    fn save(&mut self) {
        let (header, now) = (header(&ports()), self.now());
        let mut writer = Writer::new(Vec::new(), &header).expect("memory");
        write_all(&mut writer, &header.written, std::slice::from_ref(&self.router), now).expect("memory");
        let (octets, sessions, _) = writer.finish().expect("memory");
        verify(octets.as_slice()).expect("it is whole");
        self.saved += sessions;
    }

    /// Ends the router and starts another one, on the same state folder.
    fn restart(&mut self) {
        let (now, sessions) = (self.now(), self.router.session_count());
        let header = header(&ports());
        save_all(&self.folder, &header, std::slice::from_ref(&self.router), now).expect("saved");
        self.hours.keep(self.clocks(), true);
        self.hours = Hours::new(&self.folder, &self.loaded, self.clocks());
        self.router = router(now, wall(self.clocks()), self.hours.plan());
        let timeouts = &self.hours.plan().nat.timeouts;
        let source = Source::find(&self.folder, &ports(), timeouts).expect("it was just written");
        let outcome = source.restore(&mut self.router, now).expect("it is whole");
        assert_eq!((outcome.restored, outcome.refused), (u64::from(sessions), [0; 6]));
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        // Whatever is left lies in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

fn mac(address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    MacAddr([2, 0, a, b, c, d])
}

fn wall(now: Now) -> UnixTime {
    UnixTime(now.wall.as_secs() as i64)
}

fn router(now: Timestamp, wall: UnixTime, plan: &Arc<Plan>) -> Router {
    let mut router = Router::new(RouterConfig::alone(plan.clone(), [1, 2]), now, wall);
    for (port, address) in [(PortId::WAN, EXTERNAL), (LAN, Ipv4Addr::new(192, 168, 0, 1))] {
        router.set_link(now, port, LinkState { mac: mac(address), mtu: 1500, up: true });
    }
    router
}

/// Lives a day; `open`: when each forward is, in seconds since midnight.
fn live(midnight: u64, expires: &str, open: [&[(u64, u64)]; 4]) {
    let mut day = Day::new(midnight, expires);
    let mut taken = Vec::with_capacity(24);
    for second in (0..DAY).step_by(TICK as usize) {
        day.until(Duration::from_secs(second));
        let expected = open.map(|hours| hours.iter().any(|(from, to)| (*from..*to).contains(&second)));
        assert_eq!(day.talk(second / TICK), expected, "{second} s after midnight");
        if second % 300 == 0 {
            day.save();
        }
        if second % 3_600 == 0 {
            taken.push(Counting::octets());
        }
        if second % (6 * 3_600) == 3_600 {
            day.restart();
        }
    }
    let expiry = open[3][0].1;
    assert_eq!(day.expired, [("visitor".to_owned(), expiry)], "told once, and at the very second");
    println!("sessions saved {}, octets from hour to hour: {taken:?}", day.saved);
    assert!(day.saved > 288 * 25, "there are sessions at any time: {}", day.saved);
    // The tables have got their size by then.
    let (least, most) = (taken[3..].iter().min(), taken[3..].iter().max());
    let growth = most.zip(least).map_or(0, |(most, least)| most - least);
    assert!(growth <= ROOM, "{growth} octets come and go: {taken:?}");
    assert!(taken[23] <= taken[3] + ROOM / 4, "more from hour to hour: {taken:?}");
}

const fn at(hour: u64, minute: u64) -> u64 {
    hour * 3_600 + minute * 60
}

/// At 2:00 it is 3:00: what would open in between opens then.
#[test]
fn a_day_of_twenty_three_hours() {
    // 2027-03-28T00:00:00+01:00; the last hour of the run is the first one of Monday.
    let open: [&[(u64, u64)]; 4] = [
        &[(0, at(2, 0)), (at(21, 0), DAY)],
        &[(at(2, 0), at(3, 0))],
        &[(at(8, 0), at(11, 0))],
        &[(0, at(14, 0) + 7)],
    ];
    live(1_806_188_400, "2027-03-28T15:00:07+02:00", open);
}

/// At 3:00 it is 2:00 again: a window begins at the first time and ends at the second.
#[test]
fn a_day_of_twenty_five_hours() {
    // 2027-10-31T00:00:00+02:00.
    let open: [&[(u64, u64)]; 4] = [
        &[(0, at(3, 30)), (at(23, 0), DAY)],
        &[(at(2, 15), at(5, 0))],
        &[(at(10, 0), at(13, 0))],
        &[(0, at(16, 0) + 7)],
    ];
    live(1_824_933_600, "2027-10-31T15:00:07+01:00", open);
}
