//! A disk that fills up below the file of leases, in the middle of a record and of a whole new file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use genkan_lab::topology::Role::{Laptop, Router};

use super::doctor::doctor;
use crate::cases;
use crate::dhcp_client::{ACK, Client, DISCOVER, NOBODY, REQUEST, SERVER, socket};
use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::leases::{leases, path, served};
use crate::outcome::Outcome;
use crate::programs::run;

cases![
    ;
    only_genkan:
    a_lease_on_a_full_disk_waits_and_none_is_lost,
    leases_of_a_start_on_a_full_disk_outlive_the_next_start,
];

/// What a page of the disk holds, in octets.
const PAGE: u64 = 4096;

/// A router whose state folder is on a disk of 256 KiB, and the clients of its lan.
struct Filling {
    lab: Lab,
    disk: PathBuf,
    state: PathBuf,
    socket: UdpSocket,
    next: u32,
    /// Who was acknowledged what, by client identifiers.
    told: BTreeMap<String, Ipv4Addr>,
}

impl Filling {
    fn new() -> Filling {
        let lab = Lab::without_router(&genkan_lab::Options::default());
        let state = lab.config_file().with_file_name("state");
        let disk = state.with_file_name("disk");
        fs::create_dir(&disk).expect("/run is ours in here");
        run(&lab.host(Router), "mount", &["-t", "tmpfs", "-o", "size=256k", "none", path(&disk)]).expect_ok();
        fs::create_dir(disk.join("state")).expect("there is room");
        symlink(disk.join("state"), &state).expect("there is none yet");
        lab.start_router(&served("", "").replace("192.168.0.119", "192.168.0.250")).expect("it starts");
        let socket = socket(&lab.host(Laptop), 68);
        Filling { lab, disk, state, socket, next: 0, told: BTreeMap::new() }
    }

    fn filler(&self) -> PathBuf {
        self.disk.join("filler")
    }

    /// Uses up all room but this, in octets.
    fn fill(&self, left: u64) {
        let mut filler = File::create(self.filler()).expect("there is an inode");
        assert!(filler.write_all(&[0; 1 << 20]).is_err(), "the disk is full");
        let length = filler.metadata().expect("it is there").len();
        filler.set_len(length - left).expect("it gets shorter");
    }

    /// A client without a lease asks for one, once: until it is answered, or the disk is found to be full. It and what it
    /// asked for, in the second case.
    fn ask_once(&mut self) -> Option<(Client, Ipv4Addr)> {
        self.next += 1;
        assert!(self.next < 150, "where do all these leases lie?");
        let mut client = Client::new(&self.socket, self.next);
        let offered = client.ask(DISCOVER, NOBODY, &[]).address;
        // The longest name, so that its record is a large one.
        let name = format!("{:0>63}", self.next);
        let octets = offered.octets();
        let [address, server] = taking(&octets);
        client.send(REQUEST, NOBODY, Ipv4Addr::BROADCAST, &[address, server, (12, name.as_bytes())]);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(reply) = client.hear(SILENCE) {
                assert_eq!((reply.kind, reply.address), (ACK, offered));
                self.told.insert(client.hex_id(), offered);
                return None;
            }
            if self.says(DISK) {
                return Some((client, offered));
            }
        }
        panic!("no answer, and no reason for it");
    }

    /// It asks until it is told that it has the address.
    fn ask_again(&mut self, (client, offered): &mut (Client, Ipv4Addr)) {
        let reply = client.ask(REQUEST, NOBODY, &taking(&offered.octets()));
        assert_eq!((reply.kind, reply.address), (ACK, *offered));
        self.told.insert(client.hex_id(), *offered);
    }

    /// All that was ever acknowledged is somebody's, nobody else's, and no address is anybody's twice.
    #[track_caller]
    fn nothing_is_lost(&self) {
        let addresses: BTreeSet<_> = self.told.values().collect();
        assert_eq!(addresses.len(), self.told.len(), "twice: {:?}", self.told);
        let known = leases(&self.lab).into_iter().map(|row| {
            let text = |key| row[key].as_str().unwrap_or_default().to_owned();
            (text("client_id"), text("address").parse::<Ipv4Addr>().expect("an address"))
        });
        let known: BTreeMap<String, Ipv4Addr> = known.collect();
        for (id, address) in &self.told {
            assert_eq!(known.get(id), Some(address), "{id}");
        }
    }

    fn says(&self, what: &str) -> bool {
        self.lab.genkan(&["status"]).stdout.contains(what)
    }

    fn end(self) {
        self.lab.stop_router();
        run(&self.lab.host(Router), "umount", &[path(&self.disk)]).expect_ok();
    }
}

fn taking(offered: &[u8; 4]) -> [(u8, &[u8]); 2] {
    const SELF: [u8; 4] = SERVER.octets();
    [(50, offered), (54, &SELF)]
}

/// Octets of the file of leases, once there is one.
fn length(state: &Path) -> u64 {
    fs::metadata(state.join("dhcp/home.leases")).map_or(0, |file| file.len())
}

const DISK: &str = "leases cannot be written";

fn a_lease_on_a_full_disk_waits_and_none_is_lost() -> Outcome {
    let mut disk = Filling::new();
    // A new file takes more than a page.
    while length(&disk.state) <= PAGE {
        assert!(disk.ask_once().is_none(), "there is room");
    }
    disk.fill(0);
    // The last page of the file takes some more, and a part of the one that does not fit.
    let mut waiting = loop {
        if let Some(waiting) = disk.ask_once() {
            break waiting;
        }
    };
    assert_eq!(length(&disk.state) % PAGE, 0, "it ends in the middle of a record");
    doctor(&disk.lab, &[]).expect("dhcp-disk");
    // Room for a part of a new file.
    let length = fs::metadata(disk.filler()).expect("it is ours").len();
    File::options()
        .write(true)
        .open(disk.filler())
        .and_then(|file| file.set_len(length - PAGE))
        .expect("shorter");
    let (client, offered) = &mut waiting;
    client.send(REQUEST, NOBODY, Ipv4Addr::BROADCAST, &taking(&offered.octets()));
    assert!(client.hear(2 * SILENCE).is_none(), "it would not survive");
    assert!(disk.says(DISK));
    let beside = fs::read_dir(disk.state.join("dhcp")).expect("it is there").count();
    assert!(beside <= 2, "what was begun is taken away again");
    // Other settings are no news of the disk.
    disk.lab.reload(&served("lease = \"1h\"", "").replace("192.168.0.119", "192.168.0.250"));
    wait_for("they are in force", || {
        client.ask(DISCOVER, NOBODY, &[]).options[&51] == 3_600_u32.to_be_bytes()
    });
    let over = disk.lab.genkan(&["events", "--kind", "problem-over"]).expect_ok().stdout;
    assert!(!over.contains("dhcp:home"), "{over}");
    // Killed with half a record at the end of its file, and started with room.
    disk.lab.kill_router();
    fs::remove_file(disk.filler()).expect("it is ours");
    disk.lab.start_router_again().expect("it starts");
    wait_for("the leases are known", || leases(&disk.lab).len() >= disk.told.len());
    disk.nothing_is_lost();
    // The offer is forgotten with the router that made it.
    disk.told.insert(client.hex_id(), client.lease());
    disk.nothing_is_lost();
    // Full again: this time room is made while it runs.
    disk.fill(0);
    let mut waiting = loop {
        if let Some(waiting) = disk.ask_once() {
            break waiting;
        }
    };
    fs::remove_file(disk.filler()).expect("it is ours");
    disk.ask_again(&mut waiting);
    wait_for("status is well", || !disk.says(DISK));
    assert!(disk.ask_once().is_none(), "there is room");
    disk.nothing_is_lost();
    disk.lab.kill_router();
    disk.lab.start_router_again().expect("it starts");
    wait_for("the leases are known", || leases(&disk.lab).len() >= disk.told.len());
    disk.nothing_is_lost();
    disk.end();
    Ok(())
}

/// Such a router goes on beside its control socket. What is acknowledged there is no less a lease.
fn leases_of_a_start_on_a_full_disk_outlive_the_next_start() -> Outcome {
    const ASIDE: &str = "is lost with a reboot";
    let mut disk = Filling::new();
    let restarted = |disk: &Filling| {
        disk.lab.stop_router();
        disk.lab.start_router_again().expect("it starts");
        wait_for("the leases are known", || leases(&disk.lab).len() >= disk.told.len());
        disk.nothing_is_lost();
    };
    // A second time, what lies aside from the first is old.
    for _ in 0..2 {
        assert!(disk.ask_once().is_none(), "there is room");
        disk.fill(0);
        disk.lab.genkan(&["upgrade"]).expect_ok();
        wait_for("the leases are known", || leases(&disk.lab).len() >= disk.told.len());
        disk.nothing_is_lost();
        assert!(!disk.says(ASIDE), "they were acknowledged from the disk until just now");
        restarted(&disk);
        assert!(disk.says(ASIDE));
        for _ in 0..3 {
            assert!(disk.ask_once().is_none(), "there is room beside the socket");
        }
        // Another program goes on at the same place, whatever has become of the disk.
        fs::remove_file(disk.filler()).expect("it is ours");
        disk.lab.genkan(&["upgrade"]).expect_ok();
        disk.fill(0);
        disk.lab.genkan(&["upgrade"]).expect_ok();
        assert!(disk.says(ASIDE));
        wait_for("the leases are known", || leases(&disk.lab).len() >= disk.told.len());
        disk.nothing_is_lost();
        fs::remove_file(disk.filler()).expect("it is ours");
        restarted(&disk);
        assert!(!disk.says(ASIDE));
    }
    disk.end();
    Ok(())
}
