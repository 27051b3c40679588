//! `genkan lab capture`: the frames at a device of a lab, as they are on the wire.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use genkan_engine::wire::pretty_print;
use genkan_io::pcap_file::PcapFileTransmitter;
use genkan_lab::capture;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::record::Record;
use super::wires;
use crate::output::{self, Exit, Failure};

/// When to end by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After so many frames.
    pub(crate) count: Option<u64>,
    /// After so long.
    pub(crate) time: Option<Duration>,
}

/// Where frames go: to people, or to a file.
enum Sink {
    Lines,
    File(PcapFileTransmitter),
}

/// The computer and the device that are meant by a computer with one device, or by a link.
fn device(record: &Record, place: &str) -> Result<(String, String), Failure> {
    let Some(node) = record.description.find(place) else {
        let cable = wires::cable(&record.description, place)?;
        return Ok((cable.node, cable.device));
    };
    match &node.ports[..] {
        [port] => Ok((node.name.clone(), port.device.clone())),
        ports => {
            let links: Vec<_> = ports.iter().map(|port| format!("{}.{place}", port.network)).collect();
            Err(Failure::message(format!("{place} has several devices; say which: {}", links.join(", "))))
        }
    }
}

/// Captures until the limits, or until somebody wants an end.
pub(crate) fn run(
    record: &Record,
    place: &str,
    write: Option<&Path>,
    limits: Limits,
) -> Result<Exit, Failure> {
    let (node, device) = device(record, place)?;
    // Before the first thread, so that none of them dies of a signal.
    let mut signals = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| signals.add(signal));
    signals.thread_block()?;
    let ending = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let (_, mut receiver) = record.lab()?.namespace(&node)?.run(|| capture::open(&device))?;
    let mut sink = match write {
        None => Sink::Lines,
        Some(path) if path == Path::new("-") => Sink::File(PcapFileTransmitter::from_writer(io::stdout())?),
        Some(path) => {
            let file = File::create(path);
            let file = file.map_err(|error| Failure::new(&path.display().to_string(), &error))?;
            Sink::File(PcapFileTransmitter::from_writer(file)?)
        }
    };
    output::remark(&format!("capturing at {node} {device}; Ctrl-C ends it"));
    let start = Instant::now();
    let mut frames = 0;
    while limits.count.is_none_or(|count| frames < count)
        && limits.time.is_none_or(|time| start.elapsed() < time)
        && ending.read_signal()?.is_none()
    {
        let frame = match receiver.next() {
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => continue,
            result => result?,
        };
        frames += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match &mut sink {
            Sink::File(file) => file.write_frame(now, frame)?,
            Sink::Lines => output::print(&line(start.elapsed(), frame))?,
        }
    }
    if let Sink::File(file) = sink {
        file.finish()?;
    }
    // Nobody is left to tell when standard error is closed as well.
    let _ = writeln!(io::stderr(), "{} frames", output::grouped(frames));
    Ok(Exit::Done)
}

fn line(since: Duration, frame: &[u8]) -> String {
    let headers = pretty_print::frame(frame).to_string();
    let headers: Vec<_> = headers.lines().map(str::trim).collect();
    format!("{:.6} {:5} {}\n", since.as_secs_f64(), frame.len(), headers.join(" | "))
}
