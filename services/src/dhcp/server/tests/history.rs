//! No address is ever given twice: random histories of clients that follow the RFC, of restarts from whatever part of the
//! file reached the disk, and of clocks that are set. Probes find every address free, so that they hide nothing.

use dhcproto::v4::DhcpOption;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;

const CLIENTS: u8 = 10;

#[derive(Clone, Debug)]
enum Step {
    Discover(u8, Option<u8>),
    Select(u8),
    /// DISCOVER and REQUEST, on disk or not.
    Exchange(u8, bool),
    Renew(u8),
    Rebind(u8),
    Reboot(u8, u8),
    Release(u8),
    Decline(u8),
    /// Seconds.
    Pass(u64),
    /// Records are written, and the server told so or not yet.
    Write(bool),
    Snapshot,
    /// The process is killed; of what was written and not synced this share of octets is on disk. The wall clock is behind
    /// by so many seconds afterwards.
    Kill(prop::sample::Index, i64),
    /// The wall clock is set by so many seconds.
    SetClock(i64),
    /// The pool has its first addresses only, or all; reservations are by MAC address, by client identifier, or not there.
    Reconfigure(bool, bool, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        6 => (client.clone(), prop::option::of(98u8..108)).prop_map(|(n, last)| Step::Discover(n, last)),
        8 => client.clone().prop_map(Step::Select),
        12 => (client.clone(), any::<bool>()).prop_map(|(n, sync)| Step::Exchange(n, sync)),
        3 => client.clone().prop_map(Step::Renew),
        2 => client.clone().prop_map(Step::Rebind),
        2 => (client.clone(), 98u8..108).prop_map(|(n, last)| Step::Reboot(n, last)),
        2 => client.clone().prop_map(Step::Release),
        1 => client.prop_map(Step::Decline),
        3 => prop_oneof![1u64..40, 40u64..4000].prop_map(Step::Pass),
        8 => any::<bool>().prop_map(Step::Write),
        1 => Just(Step::Snapshot),
        2 => (any::<prop::sample::Index>(), prop_oneof![Just(0), -2_000_000i64..0]).prop_map(|(cut, set)| Step::Kill(cut, set)),
        1 => (-2_000_000i64..2_000_000).prop_map(Step::SetClock),
        1 => any::<[bool; 3]>().prop_map(|[all, by_mac, by_id]| Step::Reconfigure(all, by_mac, by_id)),
    ]
}

#[derive(Clone, Debug, Default)]
struct Client {
    offered: Option<Ipv4Addr>,
    /// Address, and the time at which the client stops using it.
    lease: Option<(Ipv4Addr, u64)>,
    /// Transaction id and time of its last message.
    asked: (u32, u64),
}

struct World {
    server: Server,
    config: Config,
    /// Seconds of true time, and those at which the process started.
    time: u64,
    started: u64,
    wall_error: i64,
    file: Vec<u8>,
    durable: usize,
    written: u64,
    xid: u32,
    clients: Vec<Client>,
    acknowledged: usize,
}

/// What every other client sends.
fn identifier(n: u8) -> Option<Vec<u8>> {
    n.is_multiple_of(2).then(|| vec![1, 2, 0, 0, 0, 0, n])
}

/// Six addresses in the pool or four, of which one may be reserved; one more may be, outside the pool.
fn pool(all: bool, by_mac: bool, by_id: bool) -> Config {
    let mut config = config();
    config.messages_per_client = u32::MAX;
    config.local.pool = Some(host(100)..=host(if all { 105 } else { 103 }));
    config.reservations = [(0, 100), (1, 98)]
        .map(|(n, last)| Reservation {
            mac: by_mac.then(|| mac(n)),
            identifier: identifier(n).filter(|_| by_id),
            address: host(last),
            name: None,
        })
        .into();
    config.reservations.retain(|known| known.mac.is_some() || known.identifier.is_some());
    config
}

impl World {
    fn new() -> World {
        let config = pool(true, true, false);
        let server = Server::new(config.clone(), &Replay::default(), at(0), 7).unwrap();
        World {
            server,
            config,
            time: 0,
            started: 0,
            wall_error: 0,
            file: HEADER.to_vec(),
            durable: HEADER.len(),
            written: 0,
            xid: 0,
            clients: vec![Client::default(); usize::from(CLIENTS)],
            acknowledged: 0,
        }
    }

    fn now(&self) -> Now {
        let wall = WALL + self.time as i64 + self.wall_error;
        Now { monotonic: Timestamp::from_secs(self.time - self.started), wall: UnixTime(wall) }
    }

    fn ask(&mut self, n: u8, ask: Ask) {
        self.xid += 1;
        self.clients[usize::from(n)].asked = (self.xid, self.time);
        let ask = identifier(n).iter().fold(ask, |ask, id| ask.option(61, id));
        let mut payload = ask.payload();
        payload[4..8].copy_from_slice(&self.xid.to_be_bytes());
        let datagram = Datagram { source: ask.ciaddr, destination: ask.destination, payload: &payload };
        self.server.handle_datagram(self.now(), &datagram);
    }

    fn write(&mut self, sync: bool) {
        if let Some(batch) = self.server.poll_records() {
            self.file.extend(batch.octets);
            self.written = batch.sequence;
        }
        if sync {
            self.durable = self.file.len();
            self.server.committed(self.written);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Discover(n, last) => {
                let ask = Ask::discover(*n);
                // Whoever starts anew uses no address.
                self.clients[usize::from(*n)].lease = None;
                self.ask(*n, last.iter().fold(ask, |ask, last| ask.requested(host(*last))));
            }
            Step::Select(n) => {
                if let Some(address) = self.clients[usize::from(*n)].offered.take() {
                    // Nor does who takes an offer.
                    self.clients[usize::from(*n)].lease = None;
                    self.ask(*n, Ask::selecting(*n, address).option(51, &900u32.to_be_bytes()));
                }
            }
            Step::Exchange(n, sync) => {
                self.step(&Step::Discover(*n, None));
                self.deliver();
                self.step(&Step::Select(*n));
                self.write(*sync);
            }
            Step::Renew(n) | Step::Rebind(n) | Step::Release(n) | Step::Decline(n) => {
                let Some((address, _)) = self.clients[usize::from(*n)].lease else { return };
                match step {
                    Step::Renew(_) => return self.ask(*n, Ask::renewing(*n, address)),
                    Step::Rebind(_) => return self.ask(*n, Ask::rebinding(*n, address)),
                    Step::Release(_) => self.ask(*n, Ask::release(*n, address)),
                    _ => self.ask(*n, Ask::decline(*n, address)),
                }
                self.clients[usize::from(*n)] = Client::default();
            }
            Step::Reboot(n, last) => {
                let address = self.clients[usize::from(*n)].lease.take().map_or(host(*last), |lease| lease.0);
                self.ask(*n, Ask::init_reboot(*n, address));
            }
            Step::Pass(seconds) => self.time += seconds,
            Step::Write(sync) => self.write(*sync),
            Step::Snapshot => {
                let batch = self.server.snapshot(self.now());
                (self.file, self.written) = (batch.octets, batch.sequence);
                self.write(true);
            }
            Step::Kill(cut, set) => {
                self.write(false);
                let left = self.durable + cut.index(self.file.len() - self.durable + 1);
                let told = replay(&self.file[..left]);
                assert!(told.kept >= self.durable, "an acknowledged lease is lost");
                self.file.truncate(told.kept);
                (self.durable, self.started, self.written) = (told.kept, self.time, 0);
                self.wall_error += set;
                self.server = Server::new(self.config.clone(), &told, self.now(), self.time).unwrap();
            }
            Step::SetClock(seconds) => {
                self.wall_error += seconds;
                self.server.handle_timeout(self.now());
                self.write(true);
            }
            Step::Reconfigure(all, by_mac, by_id) => {
                self.config = pool(*all, *by_mac, *by_id);
                self.server.reconfigure(self.now(), self.config.clone()).unwrap();
            }
        }
    }

    /// Probes are answered, replies arrive.
    fn deliver(&mut self) {
        while let Some(probe) = self.server.poll_probe() {
            self.server.handle_probe(self.now(), probe.address, ProbeOutcome::Free);
        }
        while let Some(transmit) = self.server.poll_transmit() {
            let message = decode(&transmit.payload);
            let client = &mut self.clients[usize::from(message.chaddr()[5])];
            if client.asked.0 != message.xid() {
                continue;
            }
            match message.opts().msg_type() {
                Some(MessageType::Offer) => client.offered = Some(message.yiaddr()),
                Some(MessageType::Nak) => client.lease = None,
                Some(MessageType::Ack) => {
                    let Some(DhcpOption::AddressLeaseTime(seconds)) =
                        option(&message, OptionCode::AddressLeaseTime)
                    else {
                        panic!("an acknowledgement without a lease time")
                    };
                    client.lease = Some((message.yiaddr(), client.asked.1 + u64::from(seconds)));
                    self.acknowledged += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        while self.server.poll_event().is_some() {}
    }

    fn check(&mut self) {
        self.server.table.assert_consistent();
        let mut owners = BTreeMap::new();
        for (n, client) in self.clients.iter_mut().enumerate() {
            client.lease = client.lease.filter(|(_, until)| *until > self.time);
            let Some((address, _)) = client.lease else { continue };
            if let Some(other) = owners.insert(address, n) {
                panic!("{address} is used by clients {other} and {n}");
            }
        }
        for (address, n) in owners {
            let known = self
                .server
                .leases()
                .any(|lease| lease.address == address && lease.hardware.mac() == Some(mac(n as u8)));
            assert!(known, "the server does not know that {address} is client {n}'s");
        }
    }
}

fn run(steps: &[Step]) -> World {
    let mut world = World::new();
    world.deliver();
    for step in steps {
        world.step(step);
        world.deliver();
        world.check();
    }
    world
}

proptest! {
    #[test]
    fn no_address_is_ever_given_twice(steps in prop::collection::vec(step(), 1..250)) {
        run(&steps);
    }
}

/// The histories are not empty of what they are about.
#[test]
fn histories_have_leases_in_them() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop::collection::vec(step(), 250);
    let acknowledged: usize =
        (0..20).map(|_| run(&strategy.new_tree(&mut runner).unwrap().current()).acknowledged).sum();
    assert!(acknowledged > 100, "{acknowledged}");
}
