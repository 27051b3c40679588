//! Labs that stay: `genkan lab up`, `down` and `list`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use genkan_lab::description::Kind;
use genkan_lab::{Lab, RouterProcess};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use serde::Serialize;

use super::record::{self, Record};
use super::standing;
use super::topologies::Plan;
use crate::output::{self, Exit, Failure, Format, Listing};

/// How long the programs of a lab may take to end when they are told to.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Builds it, writes configurations for its routers, starts them if asked to, and says how to go on.
pub(crate) fn up(name: &str, plan: &Plan, start: bool) -> Result<Exit, Failure> {
    let (record, lab) = standing::build(name, plan)?;
    let started = if start { standing::start(&lab, plan) } else { Ok(Vec::new()) };
    let started = match started {
        Ok(started) => started,
        Err(failure) => {
            drop(lab);
            record.remove()?;
            return Err(failure);
        }
    };
    started.into_iter().for_each(RouterProcess::keep);
    let _ = lab.keep();
    output::print(&how_to_go_on(&record, start))?;
    Ok(Exit::Done)
}

fn how_to_go_on(record: &Record, started: bool) -> String {
    let name = &record.name;
    let nodes = &record.description.nodes;
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    let mut text = format!("The lab {name} ({}) is up: {}.\n\n", record.source, names.join(", "));
    for router in nodes.iter().filter(|node| node.kind == Kind::Genkan && !started) {
        let file = record::router_directory(name, &router.name).join("genkan.toml");
        text += &format!(
            "genkan lab exec --name {name} {0} -- genkan run --config {1}\n",
            router.name,
            file.display()
        );
    }
    if let Some(host) = nodes.iter().rfind(|node| node.kind == Kind::Host) {
        text += &format!("genkan lab shell --name {name} {}\n", host.name);
    }
    text + &format!("genkan lab down {name}\n")
}

/// Ends every program in its namespaces and takes it down.
pub(crate) fn down(name: &str) -> Result<Exit, Failure> {
    let record = Record::read(name)?;
    let spaces = namespaces(&record);
    end(&spaces)?;
    Lab::down(name, &record.description)?;
    record.remove()?;
    Ok(Exit::Done)
}

/// Device and inode of each namespace that has a name.
fn namespaces(record: &Record) -> Vec<(u64, u64)> {
    let name = |node: &str| format!("/run/netns/{}-{node}", record.name);
    let spaces = record.description.namespaces().into_iter();
    spaces.filter_map(|node| fs::metadata(name(node)).ok()).map(|file| (file.dev(), file.ino())).collect()
}

/// The processes whose network is one of these.
fn inhabitants(spaces: &[(u64, u64)]) -> io::Result<Vec<Pid>> {
    let processes = fs::read_dir("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw));
    let lives_there = |pid: &Pid| {
        let network = fs::metadata(Path::new("/proc").join(pid.to_string()).join("ns/net"));
        network.is_ok_and(|network| spaces.contains(&(network.dev(), network.ino())))
    };
    Ok(pids.filter(lives_there).filter(|pid| *pid != getpid()).collect())
}

/// Ends everything that runs there: first by asking, then by force.
fn end(spaces: &[(u64, u64)]) -> Result<(), Failure> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let deadline = Instant::now() + END_LIMIT;
        let mut told: Vec<Pid> = Vec::new();
        loop {
            let left = inhabitants(spaces)?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                break;
            }
            for pid in left {
                if !told.contains(&pid) {
                    told.push(pid);
                    match kill(pid, signal) {
                        Ok(()) | Err(Errno::ESRCH) => {}
                        Err(errno) => return Err(Failure::new(&format!("cannot end process {pid}"), &errno)),
                    }
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    Err(Failure::message("some programs of the lab do not end"))
}

/// One lab, as listed.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    source: &'a str,
    computers: Vec<&'a str>,
    links: Vec<String>,
    /// Process numbers of what runs in it.
    processes: Vec<i32>,
}

/// Every lab that stands.
pub(crate) fn list(format: Format) -> Result<Exit, Failure> {
    let records = Record::all()?;
    let mut rows = Vec::new();
    for record in &records {
        let processes = inhabitants(&namespaces(record))?;
        rows.push(Row {
            name: &record.name,
            source: &record.source,
            computers: record.description.nodes.iter().map(|node| node.name.as_str()).collect(),
            links: record.description.cables().into_iter().map(|cable| cable.name).collect(),
            processes: processes.into_iter().map(Pid::as_raw).collect(),
        });
    }
    if format == Format::Json {
        output::print_json(&rows)?;
        return Ok(Exit::Done);
    }
    let heads = ["name", "topology", "computers", "processes"];
    let mut listing = Listing::new(&heads).numbers(&[3]).shrinks(&[("computers", 20)]);
    for row in &rows {
        let processes = row.processes.len().to_string();
        listing.row([row.name.to_owned(), row.source.to_owned(), row.computers.join(" "), processes]);
    }
    output::print(&listing.text())?;
    Ok(Exit::Done)
}
