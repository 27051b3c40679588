//! What the wires of a lab do to frames: the program that emulates them, and how it is asked.
//!
//! A lab has no such program until the first link is to do something. It runs in the namespace of the lab's switches and
//! ends with the lab.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use genkan_config::lab_file::Link;
use genkan_lab::Lab;
use genkan_lab::description::{Cable, Description, WIRES};
use genkan_lab::emulator::{Counts, Direction, Impairments, Splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::record::{self, Record};
use crate::output::{self, Exit, Failure, Format, Listing};

/// How long the emulator may take to start.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How often the emulator looks whether its lab is still there.
const WATCH: Duration = Duration::from_secs(1);

/// A request to the emulator, on a line of its own; its answer is one as well.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Has one direction of a cable do this.
    Set(String, bool, Impairments),
    /// Takes the emulator out of a cable.
    Clear(String),
    /// Changes nothing.
    State,
}

/// What a cable does, outward and inward, and what it has done.
type State = BTreeMap<String, [(Impairments, Counts); 2]>;

fn socket(name: &str) -> PathBuf {
    record::directory(name).join("wires.sock")
}

/// The emulator itself, started in the namespace of the switches: answers requests until the lab is gone.
pub(crate) fn serve(name: &str) -> Result<Exit, Failure> {
    let record = Record::read(name)?;
    let cables = record.description.cables();
    let path = socket(name);
    // Left by one that was killed.
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let mut splices: BTreeMap<String, Splice> = BTreeMap::new();
    let watch = PollTimeout::try_from(WATCH).unwrap_or(PollTimeout::MAX);
    loop {
        let called = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], watch)?;
        if splices.values().any(Splice::is_over) || !path.exists() {
            return Ok(Exit::Done);
        }
        if called == 0 {
            continue;
        }
        let (stream, _) = listener.accept()?;
        // Whoever does not wait for the answer does not get it.
        let _ = answer(&stream, &cables, &mut splices);
    }
}

fn answer(stream: &UnixStream, cables: &[Cable], splices: &mut BTreeMap<String, Splice>) -> io::Result<()> {
    stream.set_read_timeout(Some(START_LIMIT))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let done = serde_json::from_str(&line)
        .map_err(|error| error.to_string())
        .and_then(|request| obey(request, cables, splices));
    let state = |splice: &Splice| Direction::ALL.map(|direction| splice.state(direction));
    let told: Result<State, String> =
        done.map(|()| splices.iter().map(|(name, splice)| (name.clone(), state(splice))).collect());
    let mut stream = stream;
    writeln!(stream, "{}", serde_json::to_string(&told).map_err(io::Error::other)?)
}

fn obey(request: Request, cables: &[Cable], splices: &mut BTreeMap<String, Splice>) -> Result<(), String> {
    match request {
        Request::State => {}
        Request::Clear(name) => drop(splices.remove(&name)),
        Request::Set(name, outward, impairments) => {
            let cable = cables.iter().find(|cable| cable.name == name).ok_or("there is no such cable")?;
            if !splices.contains_key(&name) {
                let splice = Splice::new(cable).map_err(|error| output::chain(&error))?;
                splices.insert(name.clone(), splice);
            }
            let direction = if outward { Direction::Outward } else { Direction::Inward };
            splices[&name].set(direction, impairments);
        }
    }
    Ok(())
}

/// Asks the emulator of a lab, which is started for everything but a look.
fn ask(record: &Record, lab: &Lab, request: &Request) -> Result<State, Failure> {
    let path = socket(&record.name);
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(_) if matches!(request, Request::State | Request::Clear(_)) => return Ok(State::new()),
        Err(_) => start(record, lab)?,
    };
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let told: Result<State, String> = serde_json::from_str(&line)?;
    told.map_err(|text| Failure::message(format!("the emulator says: {text}")))
}

fn start(record: &Record, lab: &Lab) -> Result<UnixStream, Failure> {
    let log = record::directory(&record.name).join("wires.log");
    let file = File::create(&log)?;
    let mut command = Command::new(super::binary());
    command.args(["lab", "wires", &record.name]).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    // What a terminal sends to this command is not meant for the emulator.
    let mut child = lab.namespace(WIRES)?.start(command.process_group(0))?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Ok(stream) = UnixStream::connect(socket(&record.name)) {
            return Ok(stream);
        }
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::message(format!("the emulator does not start; it said: {}", said.trim())));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The cable that is meant by `NETWORK.COMPUTER`, or by `NETWORK` where two are joined: that of the first.
pub(crate) fn cable(description: &Description, link: &str) -> Result<Cable, Failure> {
    let cables = description.cables();
    let pair = |cable: &&Cable| cable.network == link && description.on(link).count() == 2;
    let found = cables.iter().find(|cable| cable.name == link).or_else(|| cables.iter().find(pair));
    found.cloned().ok_or_else(|| {
        let names: Vec<_> = cables.iter().map(|cable| cable.name.as_str()).collect();
        Failure::message(format!("there is no link '{link}'; there are {}", names.join(", ")))
    })
}

/// The directions of a cable in which `from` sends; both without it.
fn directions(
    description: &Description,
    cable: &Cable,
    from: Option<&str>,
) -> Result<Vec<Direction>, Failure> {
    match from {
        None => Ok(Direction::ALL.to_vec()),
        Some(from) if from == cable.node => Ok(vec![Direction::Outward]),
        Some(from) if description.on(&cable.network).any(|(node, _)| node.name == from) => {
            Ok(vec![Direction::Inward])
        }
        Some(from) => Err(Failure::message(format!("'{from}' is not on the network {}", cable.network))),
    }
}

/// What is left of `before` after a change.
fn changed(before: Impairments, change: &Link) -> Impairments {
    Impairments {
        delay: change.delay.unwrap_or(before.delay),
        jitter: change.jitter.unwrap_or(before.jitter),
        loss: change.loss.unwrap_or(before.loss),
        duplicate: change.duplicate.unwrap_or(before.duplicate),
        reorder: change.reorder.unwrap_or(before.reorder),
        rate: change.rate.or(before.rate),
        seed: change.seed.map_or(before.seed, u64::from),
    }
}

/// Has a link do more, or otherwise, while frames pass.
pub(crate) fn change(record: &Record, lab: &Lab, change: &Link) -> Result<(), Failure> {
    let cable = cable(&record.description, &change.name)?;
    let directions = directions(&record.description, &cable, change.from.as_deref())?;
    let state = ask(record, lab, &Request::State)?;
    let before = state.get(&cable.name).map(|both| both.map(|(impairments, _)| impairments));
    for direction in directions {
        // Each direction has choices of its own.
        let fresh = Impairments { seed: direction as u64, ..Impairments::default() };
        let before = before.map_or(fresh, |both| both[direction as usize]);
        let wanted = changed(before, change);
        ask(record, lab, &Request::Set(cable.name.clone(), direction == Direction::Outward, wanted))?;
    }
    Ok(())
}

/// Has a link do nothing again.
pub(crate) fn clear(record: &Record, lab: &Lab, link: &str) -> Result<(), Failure> {
    let cable = cable(&record.description, link)?;
    ask(record, lab, &Request::Clear(cable.name)).map(drop)
}

/// One direction of a link, as listed.
#[derive(Serialize)]
struct Row {
    link: String,
    /// Who sends in this direction.
    from: String,
    delay_us: u64,
    jitter_us: u64,
    loss_ppm: u32,
    duplicate_ppm: u32,
    reorder_ppm: u32,
    /// Bits per second; null: no bound.
    rate: Option<u64>,
    #[serde(flatten)]
    counts: Counts,
}

/// What every link does, or one.
pub(crate) fn list(record: &Record, lab: &Lab, link: Option<&str>, format: Format) -> Result<Exit, Failure> {
    let wanted = link.map(|link| cable(&record.description, link)).transpose()?;
    let state = ask(record, lab, &Request::State)?;
    let mut rows = Vec::new();
    for cable in record.description.cables() {
        if wanted.as_ref().is_some_and(|wanted| *wanted != cable) {
            continue;
        }
        let others: Vec<_> =
            record.description.on(&cable.network).map(|(node, _)| node.name.as_str()).collect();
        let other = others.iter().find(|name| others.len() == 2 && **name != cable.node);
        for (direction, from) in
            Direction::ALL.into_iter().zip([cable.node.as_str(), other.unwrap_or(&"others")])
        {
            let (set, counts) =
                state.get(&cable.name).map(|both| both[direction as usize]).unwrap_or_default();
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            rows.push(Row {
                link: cable.name.clone(),
                from: from.to_owned(),
                delay_us: micros(set.delay),
                jitter_us: micros(set.jitter),
                loss_ppm: set.loss,
                duplicate_ppm: set.duplicate,
                reorder_ppm: set.reorder,
                rate: set.rate,
                counts,
            });
        }
    }
    if format == Format::Json {
        output::print_json(&rows)?;
        return Ok(Exit::Done);
    }
    let heads = ["link", "from", "delay", "jitter", "loss", "duplicate", "reorder", "rate", "frames", "lost"];
    let mut listing = Listing::new(&heads).numbers(&[2, 3, 4, 5, 6, 7, 8, 9]).drops(&["duplicate", "jitter"]);
    for row in &rows {
        let time = |micros: u64| if micros == 0 { "-".into() } else { format!("{}ms", micros as f64 / 1e3) };
        let share = |millionths: u32| {
            if millionths == 0 { "-".into() } else { format!("{}%", f64::from(millionths) / 1e4) }
        };
        let lost = row.counts.lost + row.counts.overflowed;
        listing.row([
            row.link.clone(),
            row.from.clone(),
            time(row.delay_us),
            time(row.jitter_us),
            share(row.loss_ppm),
            share(row.duplicate_ppm),
            share(row.reorder_ppm),
            row.rate.map_or("-".into(), |rate| format!("{}bit/s", output::scaled(rate as f64))),
            output::grouped(row.counts.frames),
            output::grouped(lost),
        ]);
    }
    output::print(&listing.text())?;
    Ok(Exit::Done)
}
