//! TCP bulk: iperf3 where there is one, else threads that write.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use genkan_lab::Namespace;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Deserialize;

use crate::bench::network::program::{self, Program, ProgramError};

/// Where the receiver listens.
pub(crate) const PORT: u16 = 5201;

/// What is left out at the start, while windows grow.
const WARM_UP: Duration = Duration::from_secs(1);

/// One that paces (bbr) would measure its own timers.
const CONGESTION_CONTROL: &str = "cubic";

/// Octets of one write, and of one read.
const CHUNK: usize = 128 << 10;

/// How long a connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// A receiver of bulk data.
#[derive(Debug)]
pub(crate) enum Receiver {
    /// `iperf3 --server`.
    Iperf3(#[allow(dead_code, reason = "it lives as long as this")] Program),
    /// Threads of ours.
    Own(Arc<Shared>),
}

/// What an own receiver's threads share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    octets: AtomicU64,
    end: AtomicBool,
}

impl Receiver {
    /// Starts one at `host`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(crate) fn start(host: &Namespace) -> Result<Receiver, ProgramError> {
        if program::is_there("iperf3") {
            let mut command = Command::new("iperf3");
            command.args(["--server", "--port"]).arg(PORT.to_string());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let server = Program::start(host, "iperf3", &mut command)?;
            wait_until_it_listens(host)?;
            return Ok(Receiver::Iperf3(server));
        }
        let listener = host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        // Polled, so that it sees the end; connections are made a few times a minute.
        listener.set_nonblocking(true)?;
        thread::spawn(move || accept(&listener, &of_thread));
        Ok(Receiver::Own(shared))
    }

    /// Bits per second of payload that arrive when `host` sends to `to` for `length` in so many streams.
    ///
    /// # Errors
    /// When no connection can be made, or it breaks.
    pub(crate) fn measure(
        &self,
        host: &Namespace,
        to: Ipv4Addr,
        streams: usize,
        length: Duration,
    ) -> Result<f64, ProgramError> {
        match self {
            Receiver::Iperf3(_) => iperf3(host, to, streams, length),
            Receiver::Own(shared) => Ok(shared.measure(host, to, streams, length)?),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Receiver::Own(shared) = self {
            shared.end.store(true, Ordering::Relaxed);
        }
    }
}

/// The part of iperf3's report that matters.
#[derive(Debug, Deserialize)]
struct Iperf3Report {
    end: Option<Iperf3End>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Iperf3End {
    sum_received: Option<Iperf3Sum>,
}

#[derive(Debug, Deserialize)]
struct Iperf3Sum {
    bits_per_second: f64,
}

fn iperf3(host: &Namespace, to: Ipv4Addr, streams: usize, length: Duration) -> Result<f64, ProgramError> {
    let mut command = Command::new("iperf3");
    command.arg("--client").arg(to.to_string()).arg("--port").arg(PORT.to_string());
    command.arg("--time").arg(length.as_secs().max(1).to_string());
    command.arg("--omit").arg(WARM_UP.as_secs().to_string());
    command.arg("--parallel").arg(streams.to_string()).args(["--congestion", CONGESTION_CONTROL, "--json"]);
    // A server that still clears away the last test refuses the next.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = host.output(command.stdin(Stdio::null()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match received(&text) {
            Ok(rate) => return Ok(rate),
            Err(error) if Instant::now() > deadline => return Err(ProgramError::said("iperf3", error)),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn received(report: &str) -> Result<f64, String> {
    let report: Iperf3Report = serde_json::from_str(report).map_err(|error| error.to_string())?;
    if let Some(error) = report.error {
        return Err(error);
    }
    let sum = report.end.and_then(|end| end.sum_received);
    sum.map(|sum| sum.bits_per_second).filter(|rate| *rate > 0.0).ok_or_else(|| "nothing received".to_owned())
}

/// A listening socket shows in the kernel's table with state 0A.
fn wait_until_it_listens(host: &Namespace) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let port = format!(":{PORT:04X}");
    while Instant::now() < deadline {
        let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
        let text: String = host.run(|| tables.iter().flat_map(std::fs::read_to_string).collect());
        if text.lines().any(|line| line.contains(&port) && line.contains(" 0A ")) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver does not listen"))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.end.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || drain(stream, &shared));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Reads to the end of the stream.
fn drain(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            octets => shared.octets.fetch_add(octets as u64, Ordering::Relaxed),
        };
    }
}

impl Shared {
    fn measure(&self, host: &Namespace, to: Ipv4Addr, streams: usize, length: Duration) -> io::Result<f64> {
        let to = SocketAddrV4::new(to, PORT);
        let connect = || {
            let stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
            setsockopt(&stream, sockopt::TcpCongestion, &OsString::from(CONGESTION_CONTROL))?;
            io::Result::Ok(stream)
        };
        let streams: Vec<TcpStream> = (0..streams).map(|_| host.run(connect)).collect::<Result<_, _>>()?;
        let end = Instant::now() + WARM_UP + length;
        thread::scope(|scope| {
            let senders: Vec<_> =
                streams.into_iter().map(|stream| scope.spawn(move || send(stream, end))).collect();
            thread::sleep(WARM_UP);
            let (start, before) = (Instant::now(), self.octets.load(Ordering::Relaxed));
            thread::sleep(length);
            let octets = self.octets.load(Ordering::Relaxed) - before;
            let rate = octets as f64 * 8.0 / start.elapsed().as_secs_f64();
            for sender in senders {
                sender.join().unwrap_or_else(|_| Err(io::Error::other("a sender panicked")))?;
            }
            Ok(rate)
        })
    }
}

fn send(mut stream: TcpStream, end: Instant) -> io::Result<()> {
    let chunk = vec![0x55; CHUNK];
    stream.set_write_timeout(Some(PATIENCE))?;
    while Instant::now() < end {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_received() {
        let report = r#"{"start":{},"end":{"sum_sent":{"bits_per_second":9.0},
            "sum_received":{"bits_per_second":1.5e10}}}"#;
        assert_eq!(received(report), Ok(1.5e10));
        let busy = r#"{"start":{},"end":{},"error":"the server is busy"}"#;
        assert_eq!(received(busy), Err("the server is busy".to_owned()));
        assert!(received("").is_err());
    }

    #[test]
    fn own_streams_are_counted_where_they_arrive() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let to = listener.local_addr().expect("an address");
        let shared = Shared::default();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| drain(listener.accept()?.0, &shared));
            let mut stream = TcpStream::connect(to).expect("a connection");
            stream.write_all(&vec![1; 3 * CHUNK + 5]).expect("room");
            drop(stream);
            receiver.join().expect("no panic").expect("a whole stream");
        });
        assert_eq!(shared.octets.load(Ordering::Relaxed), 3 * CHUNK as u64 + 5);
    }
}
