//! `kill -9` of a router whose DHCP clients never stop asking.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use genkan_engine::rng::Rng;
use genkan_lab::topology::Role::{Laptop, Router};

use crate::cases;
use crate::dhcp_client::{ACK, Client, DISCOVER, NAK, NOBODY, OFFER, REQUEST, SERVER, reply, socket};
use crate::fixture::{Lab, wait_for};
use crate::outcome::Outcome;
use crate::setup;

cases![
    ;
    only_genkan:
    no_address_is_given_twice_whenever_the_router_is_killed,
];

/// Clients that wait for an answer at any time: as many leases go to the disk together.
const WINDOW: usize = 64;
/// When a client without an answer makes room for another one.
const GIVE_UP: Duration = Duration::from_millis(300);
/// Clients, after which most of those that ask have a lease and ask for that: so the file is written anew now and then,
/// which it is when it has several times the size of what it says.
const MANY: u32 = 2_000;
/// The shortest life of a router, and how many times as long the longest one is. Every order of magnitude between them is
/// as likely as any other.
const SHORTEST: Duration = Duration::from_millis(1);
const RANGE: f64 = 6_000.0;

/// What clients were told by all the routers that there were.
#[derive(Debug, Default)]
struct Told {
    owners: BTreeMap<Ipv4Addr, u32>,
    acknowledgements: u64,
    /// What is not to be.
    wrong: Vec<String>,
}

/// Clients without end: new ones, and such as come back for the address that they have.
struct Crowd<'a> {
    socket: &'a UdpSocket,
    rng: Rng,
    /// The last transaction of each, by their numbers.
    clients: Vec<u32>,
    /// By their numbers.
    leased: Vec<(u32, Ipv4Addr)>,
    waiting: BTreeMap<u32, Instant>,
    told: &'a Mutex<Told>,
}

impl Crowd<'_> {
    fn run(mut self, stop: &AtomicBool) {
        self.socket.set_read_timeout(Some(Duration::from_millis(5))).expect("it is not zero");
        let mut buffer = [0; 1500];
        while !stop.load(Ordering::Relaxed) {
            self.waiting.retain(|_, since| since.elapsed() < GIVE_UP);
            while self.waiting.len() < WINDOW {
                self.ask();
            }
            // An error about what was sent before, or nothing.
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            if let Some(reply) = reply(&buffer[..length]) {
                self.hear(reply.xid, reply.kind, reply.address);
            }
        }
    }

    fn ask(&mut self) {
        let count = self.clients.len() as u32;
        let is_new = count < MANY || self.rng.below(256) == 0;
        // A few of them wait for an answer already.
        let mut some =
            (0..8).map(|_| self.leased.get(self.rng.below(self.leased.len().max(1) as u32) as usize));
        let back =
            some.find_map(|one| one.filter(|(number, _)| !is_new && !self.waiting.contains_key(number)));
        let number = match back {
            // INIT-REBOOT (RFC 2131 §4.3.2).
            Some((number, address)) => {
                let (number, address) = (*number, address.octets());
                self.send(number, REQUEST, &[(50, &address)]);
                number
            }
            None => {
                self.clients.push(Client::new(self.socket, count).xid);
                self.send(count, DISCOVER, &[]);
                count
            }
        };
        self.waiting.insert(number, Instant::now());
    }

    fn send(&mut self, number: u32, kind: u8, options: &[(u8, &[u8])]) {
        let mut client = Client::new(self.socket, number);
        client.xid = self.clients[number as usize];
        client.send(kind, NOBODY, Ipv4Addr::BROADCAST, options);
        self.clients[number as usize] = client.xid;
    }

    fn hear(&mut self, xid: u32, kind: u8, address: Ipv4Addr) {
        let Some(number) = Client::number(xid) else { return };
        if self.clients.get(number as usize) != Some(&xid) {
            return;
        }
        match kind {
            OFFER => {
                let asked = [(50, &address.octets()[..]), (54, &SERVER.octets())];
                self.send(number, REQUEST, &asked);
                self.waiting.insert(number, Instant::now());
                return;
            }
            ACK => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.acknowledgements += 1;
                match told.owners.insert(address, number) {
                    None => self.leased.push((number, address)),
                    Some(before) if before == number => {}
                    Some(before) => {
                        told.wrong
                            .push(format!("{address} of client {before} was given to {number} as well"));
                    }
                }
            }
            NAK if self.leased.iter().any(|(known, _)| *known == number) => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.wrong.push(format!("client {number} is refused what it has"));
            }
            _ => {}
        }
        self.waiting.remove(&number);
    }
}

/// Has the crowd end with the test, also when that fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A state folder on a disk, where a lease takes its time: those of other tests lie in memory.
struct OnDisk(PathBuf);

impl OnDisk {
    fn new(lab: &Lab, seed: u64) -> OnDisk {
        let folder = std::env::temp_dir().join(format!("genkan-kills-{seed:x}"));
        fs::create_dir(&folder).expect("it is a new one");
        symlink(&folder, lab.config_file().with_file_name("state")).expect("there is none yet");
        OnDisk(folder)
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A router as it is in the first moments of its life: nobody waits for it.
fn start(lab: &Lab) -> Child {
    let config = lab.config_file();
    let mut command = Command::new(setup::binary());
    command
        .args(["run", "--config"])
        .arg(&config)
        .arg("--socket")
        .arg(config.with_file_name("control.sock"))
        .env("STATE_DIRECTORY", config.with_file_name("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    lab.host(Router).start(&mut command).expect("it starts")
}

/// What the moments were that routers died in.
#[derive(Debug, Default)]
struct Moments {
    /// Before it had acknowledged anything.
    early: u32,
    /// While the file was written anew.
    rewriting: u32,
    /// Files written anew during a life, not counting the one at its start.
    rewritten: u32,
}

/// Waits for a moment: a random one, or a random one shortly after the file of leases begins to be written anew, at the
/// start or later. How often the file was another one meanwhile.
///
/// Every other router has acknowledged something first, however long it takes to start here.
fn live(rng: &mut Rng, file: &Path, acknowledged: Option<&dyn Fn() -> bool>) -> u32 {
    if let Some(acknowledged) = acknowledged {
        wait_for("clients get addresses", acknowledged);
    }
    let mut share = || rng.next_u64() as f64 / u64::MAX as f64;
    let (start, kind) = (Instant::now(), share());
    let mut awaited = (kind > 0.75).then_some(1 + u32::from(kind > 0.9));
    let mut end = start + SHORTEST.mul_f64(RANGE.powf(if awaited.is_some() { 1.0 } else { share() }));
    let (beside, inode) = (beside(file), || fs::metadata(file).map_or(0, |metadata| metadata.ino()));
    let (mut last, mut changes, mut was_beside) = (inode(), 0, beside.exists());
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::sleep(left.min(Duration::from_micros(200)));
        let now = inode();
        changes += u32::from(now != last);
        last = now;
        let is_beside = beside.exists();
        if is_beside && !was_beside {
            awaited = awaited.map(|rewrites| rewrites - 1);
            if awaited == Some(0) {
                (end, awaited) = (Instant::now() + Duration::from_millis(3).mul_f64(share()), None);
            }
        }
        was_beside = is_beside;
    }
    changes
}

/// Where the file is written anew.
fn beside(file: &Path) -> PathBuf {
    file.with_file_name(".home.leases.genkan-new")
}

/// `GENKAN_E2E_DHCP_KILLS`: how often; `GENKAN_E2E_DHCP_SEED`: at the moments of a run before.
fn no_address_is_given_twice_whenever_the_router_is_killed() -> Outcome {
    let number = |name| std::env::var(name).ok().and_then(|given| given.parse::<u64>().ok());
    let kills = number("GENKAN_E2E_DHCP_KILLS").unwrap_or(3);
    let seed = number("GENKAN_E2E_DHCP_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("GENKAN_E2E_DHCP_SEED={seed}");
    let mut rng = Rng::new(seed);
    let lan = "[[lan]]\nname = \"home\"\ndevice = \"lan0\"\naddress = \"192.168.0.1/16\"\n";
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let state = OnDisk::new(&lab, seed);
    let rules = format!("{lan}[lan.dhcp]\npool = \"192.168.1.0-192.168.254.255\"\n");
    lab.start_router(&rules).expect("it starts");
    lab.kill_router();
    let file = state.0.join("dhcp/home.leases");
    let (told, stop) = (Mutex::new(Told::default()), AtomicBool::new(false));
    let look = || told.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = socket(&lab.host(Laptop), 68);
    let crowd = Crowd {
        socket: &socket,
        rng: Rng::new(seed),
        clients: Vec::new(),
        leased: Vec::new(),
        waiting: BTreeMap::new(),
        told: &told,
    };
    let mut moments = Moments::default();
    thread::scope(|scope| {
        scope.spawn(|| crowd.run(&stop));
        let _ends = Ends(&stop);
        for kill in 0..kills {
            let before = look().acknowledgements;
            let mut router = start(&lab);
            let acknowledged = || look().acknowledgements > before;
            let many = || acknowledged() && look().owners.len() as u64 >= kills;
            let changes = live(&mut rng, &file, (kill % 2 == 0).then_some(&many));
            assert!(router.try_wait().expect("it is ours").is_none(), "it has ended by itself");
            router.kill().expect("it runs");
            router.wait().expect("it is ours");
            moments.early += u32::from(!acknowledged());
            moments.rewriting += u32::from(beside(&file).exists());
            moments.rewritten += changes.saturating_sub(1);
            // Everything that was said before is known to the next one.
            let owners = look().owners.clone();
            lab.start_router_again().expect("it starts");
            let mut known = BTreeMap::new();
            wait_for("the leases are read", || {
                known = leases(&lab);
                known.len() >= owners.len()
            });
            for (address, client) in &owners {
                let id = Client::new(&socket, *client).hex_id();
                assert_eq!(known.get(address), Some(&id), "{address} of client {client}, after kill {kill}");
            }
            lab.kill_router();
            assert!(look().wrong.is_empty(), "after kill {kill}: {:?}", look().wrong);
        }
    });
    let told = look();
    assert!(told.owners.len() as u64 >= kills, "clients get addresses: {}", told.owners.len());
    println!(
        "{kills} kills, {} leases, {} acknowledgements; {moments:?}",
        told.owners.len(),
        told.acknowledgements
    );
    Ok(())
}

/// Who has which address.
fn leases(lab: &Lab) -> BTreeMap<Ipv4Addr, String> {
    let said = lab.genkan(&["leases", "--format", "json", "--limit", "0"]).expect_ok();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&said.stdout).expect("it is JSON");
    let leased = rows.iter().filter(|row| row["state"] == "leased");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    leased.map(|row| (text(&row["address"]).parse().expect("an address"), text(&row["client_id"]))).collect()
}
