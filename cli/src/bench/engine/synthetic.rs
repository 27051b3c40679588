//! Synthetic traffic through the engine: tables of several sizes take turns, round by round.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use genkan_engine::plan::Plan;
use genkan_engine::router::Pass;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{PortId, Verdict};
use genkan_traffic::flows::Shuffle;
use genkan_traffic::network::{self, EXTERNAL, INSIDE, OUTSIDE, REMOTES};
use genkan_traffic::rig::DEFAULT_MAX_SESSIONS;
use genkan_traffic::{BATCH, Batch, Flows, Rig, Template, Transport};

use super::stopwatch::{Lap, PASSES, PassLap, Stopwatch};
use super::{Direction, EngineArguments, Measured, Rounds, metric, series, spoken};
use crate::bench::report::{Metric, Unit};
use crate::bench::statistics::median;
use crate::output::{Failure, grouped};

/// Sessions that a round may open at most: few beside the table, enough to time.
const OPENED: u32 = 32_768;
/// Batches between two looks at the clocks: enough that a look costs little beside them, few enough that their frames
/// stay in the second-level cache.
const GROUP: usize = 4;
/// Octets of memory that a session is taken to need, table and all.
const SESSION_MEMORY: u64 = 256;

const TITLES: [(&str, &str); PASSES] = [
    ("pass_headers", "Pass 1: parse the headers, key and hash"),
    ("pass_index", "Pass 2: look the session up in the index"),
    ("pass_sessions", "Pass 3: read the session"),
    ("pass_forward", "Pass 4: verdict, rewrite, next hop"),
];

/// Measures what the arguments ask for.
pub(super) fn measure(arguments: &EngineArguments, rounds: Rounds) -> Result<Measured, Failure> {
    check_memory(&arguments.sessions)?;
    if arguments.new > 0 && arguments.direction == Direction::Inbound {
        return Err(Failure::message("--new needs outbound packets: sessions are opened from inside"));
    }
    let watch = Stopwatch::new();
    let mut scenes: Vec<Scene> =
        arguments.sessions.iter().map(|&sessions| Scene::new(arguments, sessions)).collect();
    let mut doors: Vec<Doors> = arguments.forwards.iter().map(|&count| Doors::new(count)).collect();
    for _ in 0..rounds.count {
        for scene in &mut scenes {
            let lap = scene.round(rounds.length, arguments.new, &watch)?;
            scene.laps.push(lap);
            let passes = scene.round_of_passes(rounds.length, arguments.new, &watch)?;
            scene.pass_laps.push(passes);
            let opened = scene.round(rounds.length, 100, &watch)?;
            scene.opened.push(opened);
        }
        for door in &mut doors {
            let lap = door.round(&watch)?;
            door.laps.push(lap);
        }
    }
    Ok(Measured {
        notes: notes(&scenes, &watch),
        metrics: metrics(arguments, &scenes, &doors),
        settings: vec![
            ("octets of a frame".to_owned(), arguments.size.to_string()),
            ("direction".to_owned(), format!("{:?}", arguments.direction).to_lowercase()),
            ("TCP".to_owned(), format!("{} %", arguments.tcp)),
            ("packets that open a session".to_owned(), format!("{} %", arguments.new)),
        ],
    })
}

fn metrics(arguments: &EngineArguments, scenes: &[Scene], doors: &[Doors]) -> Vec<Metric> {
    let what = match arguments.new {
        0 => "Packets of established sessions".to_owned(),
        new => format!("Packets, {new} % of the outbound ones open a session"),
    };
    let mut rate = metric("rate", &format!("{what}, per second and core"), Unit::PacketsPerSecond);
    let mut each = metric("established", &format!("{what}, CPU time for each"), Unit::Nanoseconds);
    let mut wall = metric("established_wall", &format!("{what}, wall time for each"), Unit::Nanoseconds);
    let mut opening =
        metric("new_session", "First packet of a session, CPU time for each", Unit::Nanoseconds);
    let mut passes = TITLES.map(|(key, title)| metric(key, title, Unit::Nanoseconds));
    for scene in scenes {
        let name = format!("{} sessions", spoken(scene.sessions));
        let times: Vec<f64> = scene.laps.iter().map(Lap::cpu).collect();
        let goal = goal(scene.sessions).filter(|_| arguments.new == 0);
        rate.series.push(series(&name, None, times.iter().map(|time| 1e9 / time.max(1e-3)).collect()));
        each.series.push(series(&name, goal, times));
        wall.series.push(series(&name, None, scene.laps.iter().map(Lap::wall).collect()));
        let opened = scene.opened.iter().map(Lap::cpu).collect();
        opening.series.push(series(&name, Some(350.0), opened));
        for (index, pass) in passes.iter_mut().enumerate() {
            let times = scene.pass_laps.iter().map(|lap| lap.each()[index]).collect();
            pass.series.push(series(&name, None, times));
        }
    }
    let title = "First packet of a session through a forward, CPU time for each";
    let mut forwards = metric("forward", title, Unit::Nanoseconds);
    for door in doors {
        let count = u64::from(door.count);
        let name = if count == 1 { "1 forward".to_owned() } else { format!("{} forwards", grouped(count)) };
        forwards.series.push(series(&name, None, door.laps.iter().map(Lap::cpu).collect()));
    }
    [rate, each, wall].into_iter().chain(passes).chain([opening, forwards]).collect()
}

/// What an established packet may cost, in nanoseconds, at the sizes that were agreed on.
fn goal(sessions: u32) -> Option<f64> {
    match sessions {
        1_000 => Some(40.0),
        1_000_000 => Some(90.0),
        10_000_000 => Some(130.0),
        _ => None,
    }
}

fn notes(scenes: &[Scene], watch: &Stopwatch) -> Vec<String> {
    let mut notes = vec![
        super::SCOPE.to_owned(),
        "CPU time is that of the thread: what others took in between does not count. On a quiet machine it is the \
         wall time."
            .to_owned(),
        "A session that is opened opens a mapping too, as long as there are ports: below some 61,000 sessions."
            .to_owned(),
        format!(
            "Passes are timed by the wall, in runs of their own, with a look at the clock after each; its {} ns are \
             taken off, and batches that were interrupted are left out.",
            watch.look().as_nanos()
        ),
    ];
    for scene in scenes {
        let sums: Vec<f64> = scene.pass_laps.iter().map(|lap| lap.each().iter().sum()).collect();
        let wholes: Vec<f64> = scene.laps.iter().map(Lap::cpu).collect();
        if let (Some(sum), Some(whole)) = (median(&sums), median(&wholes))
            && whole > 0.0
        {
            notes.push(format!(
                "With {} sessions the passes add up to {:.0} % of the whole: so far a single one may be wrong.",
                spoken(scene.sessions),
                sum / whole * 100.0
            ));
        }
    }
    notes
}

/// Refuses what does not fit into memory.
fn check_memory(sessions: &[u32]) -> Result<(), Failure> {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_memory(&text));
    let room = |&count: &u32| u64::from(count.max(DEFAULT_MAX_SESSIONS) + OPENED) * SESSION_MEMORY;
    let needed: u64 = sessions.iter().map(room).sum();
    match available {
        Some(available) if needed > available => Err(Failure::message(format!(
            "tables of these sizes need about {} MB of memory together, and {} MB are available; ask for fewer --sessions",
            needed / 1_000_000,
            available / 1_000_000
        ))),
        _ => Ok(()),
    }
}

/// Octets that a process may take, of `/proc/meminfo`.
fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

/// The sessions of one transport protocol.
struct Group {
    /// The established sessions.
    flows: Flows,
    /// Those to be opened are the numbers of these from `flows.count()` on. Their internal endpoints are others, as
    /// long as there are ports.
    opening: Flows,
    order: Shuffle,
    templates: Templates,
}

struct Templates {
    out: Template,
    back: Template,
    first: Template,
}

impl Group {
    fn new(transport: Transport, established: u32, size: u16) -> Group {
        let flows = Flows::new(transport, established);
        let template = |port, flags| flows.template(port, usize::from(size), flags);
        Group {
            opening: Flows::new(transport, established + OPENED),
            order: Shuffle::new(established),
            templates: Templates {
                out: template(INSIDE, TcpFlags::ACK),
                back: template(OUTSIDE, TcpFlags::ACK),
                first: template(INSIDE, TcpFlags::SYN),
            },
            flows,
        }
    }

    /// Writes a packet of any established session.
    fn write(&mut self, port: PortId, frame: &mut [u8]) {
        let template = if port == INSIDE { &self.templates.out } else { &self.templates.back };
        self.flows.write(template, port, self.order.next().unwrap_or_default(), frame);
    }
}

/// A router with established sessions.
struct Scene {
    sessions: u32,
    rig: Rig,
    groups: Vec<Group>,
    batches: Vec<Batch>,
    ports: &'static [PortId],
    /// Which packets open sessions, and which group is next: the state of a generator of its own.
    chance: u32,
    opened_in_round: u32,
    laps: Vec<Lap>,
    pass_laps: Vec<PassLap>,
    opened: Vec<Lap>,
}

impl Scene {
    fn new(arguments: &EngineArguments, sessions: u32) -> Scene {
        let tcp = (u64::from(sessions) * u64::from(arguments.tcp) / 100) as u32;
        let groups: Vec<Group> = [(Transport::Tcp, tcp), (Transport::Udp, sessions - tcp)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(transport, count)| Group::new(transport, count, arguments.size))
            .collect();
        let room = DEFAULT_MAX_SESSIONS.max(sessions) + OPENED;
        let mut scene = Scene {
            sessions,
            rig: Rig::with_plan(groups[0].flows, network::plan(room)),
            batches: vec![Batch::new(&groups[0].templates.out); GROUP],
            groups,
            ports: match arguments.direction {
                Direction::Outbound => &[INSIDE],
                Direction::Inbound => &[OUTSIDE],
                Direction::Both => &[INSIDE, OUTSIDE],
            },
            chance: 1,
            opened_in_round: 0,
            laps: Vec::new(),
            pass_laps: Vec::new(),
            opened: Vec::new(),
        };
        scene.establish();
        scene
    }

    fn establish(&mut self) {
        for group in &self.groups {
            self.rig.flows = group.flows;
            self.rig.meet_neighbors();
            self.rig.open(0..group.flows.count());
        }
        self.opened_in_round = 0;
    }

    /// Hands over batches for `length`, or until no session may be opened any more; `new` percent of the outbound
    /// packets open one.
    fn round(&mut self, length: Duration, new: u8, watch: &Stopwatch) -> Result<Lap, Failure> {
        let mut lap = Lap::default();
        let mut ports = self.ports(new);
        let start = Instant::now();
        while start.elapsed() < length && self.has_room() {
            let port = ports.next().copied().unwrap_or(INSIDE);
            (0..GROUP).for_each(|index| self.fill(index, port, new));
            let Scene { rig, batches, .. } = self;
            let took = watch.time(|| {
                batches.iter_mut().for_each(|batch| batch.handle(&mut rig.router, rig.now, port));
            });
            lap.add(GROUP * BATCH, took);
            forwarded(self.batches.iter().flat_map(Batch::verdicts))?;
        }
        self.restore();
        Ok(lap)
    }

    /// The same one batch at a time, with a look at the clock after each pass.
    fn round_of_passes(&mut self, length: Duration, new: u8, watch: &Stopwatch) -> Result<PassLap, Failure> {
        let mut lap = PassLap::default();
        let mut ports = self.ports(new);
        let start = Instant::now();
        while start.elapsed() < length && self.has_room() {
            let port = ports.next().copied().unwrap_or(INSIDE);
            self.fill(0, port, new);
            let Scene { rig, batches, .. } = self;
            let mut ends = [Duration::ZERO; PASSES];
            let began = Instant::now();
            batches[0].handle_observed(&mut rig.router, rig.now, port, |pass: Pass| {
                ends[pass as usize] = began.elapsed();
            });
            lap.add(BATCH, ends, watch.look());
            forwarded(self.batches[0].verdicts())?;
        }
        self.restore();
        Ok(lap)
    }

    fn ports(&self, new: u8) -> impl Iterator<Item = &'static PortId> + use<> {
        if new == 100 { &[INSIDE] } else { self.ports }.iter().cycle()
    }

    /// Whether the next group may open sessions with all of its packets.
    fn has_room(&self) -> bool {
        self.opened_in_round + (GROUP * BATCH) as u32 <= OPENED
    }

    /// Lets the sessions end that a round has opened: all of them, and the established ones start anew.
    fn restore(&mut self) {
        if self.opened_in_round > 0 {
            self.rig.expire_all();
            self.establish();
        }
    }

    /// Writes packets that come in by `port` into the batch of that number.
    fn fill(&mut self, index: usize, port: PortId, new: u8) {
        let Scene { batches, groups, chance, opened_in_round, sessions, .. } = self;
        let first = groups[0].flows.count();
        batches[index].fill(|frame| {
            // Numerical Recipes' generator; its upper bits are the good ones.
            *chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let drawn = u64::from(*chance);
            let is_first = groups.len() == 1 || (drawn * u64::from(*sessions)) >> 32 < u64::from(first);
            let group = if is_first { &mut groups[0] } else { &mut groups[1] };
            if port == INSIDE
                && ((drawn.wrapping_mul(0x9e37_79b9) & 0xffff_ffff) * 100) >> 32 < u64::from(new)
            {
                let number = group.flows.count() + *opened_in_round;
                *opened_in_round += 1;
                group.opening.write(&group.templates.first, INSIDE, number, frame);
            } else {
                group.write(port, frame);
            }
        });
    }
}

/// A router with so many forwards, where every packet comes from outside and opens a session through one of them.
struct Doors {
    count: u16,
    rig: Rig,
    template: Template,
    batch: Batch,
    laps: Vec<Lap>,
}

impl Doors {
    fn new(count: u16) -> Doors {
        // As many hosts as forwards lead to.
        let flows = Flows::with_mappings(Transport::Udp, 1);
        let hosts = flows.hosts().count() as u16;
        let forwards = network::forwards(count, hosts);
        let plan = Plan { forwards, ..network::plan(4 * OPENED) };
        let template = flows.template(OUTSIDE, 64, TcpFlags::NONE);
        Doors {
            count,
            rig: Rig::with_plan(flows, plan),
            batch: Batch::new(&template),
            template,
            laps: Vec::new(),
        }
    }

    /// Opens [`OPENED`] sessions, and lets them end.
    fn round(&mut self, watch: &Stopwatch) -> Result<Lap, Failure> {
        let mut lap = Lap::default();
        let mut number: u32 = 0;
        for _ in 0..OPENED / BATCH as u32 {
            let Doors { count, rig, template, batch, .. } = self;
            batch.fill(|frame| {
                // An odd stride visits all forwards, in an order that no prefetcher foresees.
                let port = 1 + (u64::from(number) * 7_919 % u64::from(*count)) as u16;
                let remote = Ipv4Addr::from_bits(REMOTES.to_bits() + number);
                template.write(frame, SocketAddrV4::new(remote, 40_000), SocketAddrV4::new(EXTERNAL, port));
                number += 1;
            });
            let took = watch.time(|| batch.handle(&mut rig.router, rig.now, OUTSIDE));
            lap.add(BATCH, took);
            forwarded(batch.verdicts())?;
        }
        self.rig.expire_all();
        Ok(lap)
    }
}

/// All of it has to be forwarded: what is dropped costs something else.
fn forwarded(verdicts: impl Iterator<Item = Verdict>) -> Result<(), Failure> {
    for verdict in verdicts {
        if !matches!(verdict, Verdict::Transmit(_)) {
            return Err(Failure::message(format!(
                "the engine did not forward a synthetic packet: {verdict:?}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> EngineArguments {
        EngineArguments {
            engine: true,
            sessions: vec![1_000, 2_000],
            size: 64,
            direction: Direction::Both,
            tcp: 50,
            new: 10,
            forwards: vec![1, 300],
            workers: Vec::new(),
            pcap: None,
            config: None,
            port: None,
        }
    }

    #[test]
    fn every_series_has_a_value_for_each_round() {
        let rounds = Rounds { count: 2, length: Duration::from_millis(1) };
        let measured = measure(&arguments(), rounds).expect("synthetic packets are forwarded");
        let keys: Vec<_> = measured.metrics.iter().map(|metric| metric.key).collect();
        let passes = TITLES.map(|(key, _)| key);
        assert_eq!(
            keys,
            [&["rate", "established", "established_wall"], &passes[..], &["new_session", "forward"]].concat()
        );
        for metric in &measured.metrics {
            assert_eq!(metric.series.len(), 2, "{}", metric.key);
            for series in &metric.series {
                assert_eq!(series.rounds.len(), 2);
                assert!(series.rounds.iter().all(|value| value.is_finite() && *value >= 0.0), "{metric:?}");
            }
        }
        assert_eq!(measured.metrics[1].series[1].contender, "2k sessions");
    }

    #[test]
    fn a_round_leaves_the_table_as_it_was() {
        let mut scene = Scene::new(&arguments(), 1_000);
        assert_eq!(scene.rig.router.session_count(), 1_000);
        let lap = scene.round(Duration::from_secs(60), 100, &Stopwatch::new()).expect("forwarded");
        assert_eq!(lap.packets(), u64::from(OPENED));
        assert_eq!(scene.rig.router.session_count(), 1_000);
    }

    #[test]
    fn packets_are_of_the_kinds_asked_for() {
        let mut scene = Scene::new(&EngineArguments { tcp: 25, new: 0, ..arguments() }, 1_000);
        let mut tcp = 0;
        for _ in 0..100 {
            scene.fill(0, INSIDE, 0);
            tcp += scene.batches[0].frames().filter(|frame| frame[23] == 6).count();
        }
        assert!((1_400..1_800).contains(&tcp), "{tcp} of 6,400 are TCP");
        assert_eq!(scene.opened_in_round, 0);
        scene.fill(0, OUTSIDE, 50);
        assert_eq!(scene.opened_in_round, 0);
        for _ in 0..100 {
            scene.fill(0, INSIDE, 20);
        }
        assert!((1_100..1_460).contains(&scene.opened_in_round), "{} of 6,400", scene.opened_in_round);
    }

    #[test]
    fn new_sessions_come_from_inside() {
        let arguments = EngineArguments { direction: Direction::Inbound, ..arguments() };
        assert!(measure(&arguments, Rounds::default()).is_err());
    }

    #[test]
    fn memory_is_read_and_too_much_is_refused() {
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    4 kB\n"), Some(4_096));
        assert_eq!(available_memory("MemTotal: 9 kB\n"), None);
        assert!(check_memory(&[u32::MAX - OPENED; 100_000]).is_err());
    }
}
