//! Round trips of single datagrams.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use genkan_lab::Namespace;

/// Where the server listens (RFC 862).
pub(crate) const PORT: u16 = 7;

/// A datagram that is not back by then is lost.
const PATIENCE: Duration = Duration::from_millis(200);

/// Octets of a datagram: a 64-octet frame.
const PAYLOAD: usize = 18;

/// Between two round trips: nothing is left of the last, and an idle machine becomes idle again.
const PAUSE: Duration = Duration::from_micros(300);

/// A server that sends every datagram back, until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    host: Namespace,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it at `host`.
    ///
    /// # Errors
    /// When the port is taken.
    pub(crate) fn start(host: &Namespace) -> io::Result<Server> {
        let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
        let thread = thread::Builder::new().name("echo".to_owned()).spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
                if length == 0 {
                    return;
                }
                // A lost answer shows at the asker.
                let _ = socket.send_to(&buffer[..length], asker);
            }
        })?;
        Ok(Server { host: host.clone(), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An empty datagram ends the server; its socket would keep the whole namespace alive.
        let told = self.host.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.send_to(&[], (Ipv4Addr::LOCALHOST, PORT))
        });
        if let Some(thread) = self.thread.take().filter(|_| told.is_ok()) {
            let _ = thread.join();
        }
    }
}

/// The round trips of one measurement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RoundTrips {
    /// Sorted.
    times: Vec<Duration>,
    /// Datagrams that did not come back.
    pub(crate) lost: usize,
}

impl RoundTrips {
    /// Sends datagrams from `host` to the server at `to`, one after the other, for `length`.
    ///
    /// # Errors
    /// When nothing can be sent, or none came back.
    pub(crate) fn measure(host: &Namespace, to: Ipv4Addr, length: Duration) -> io::Result<RoundTrips> {
        let socket = host.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(SocketAddrV4::new(to, PORT))?;
            io::Result::Ok(socket)
        })?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut trips = RoundTrips { times: Vec::new(), lost: 0 };
        let end = Instant::now() + length;
        let mut number = 0u64;
        while Instant::now() < end {
            number += 1;
            match one(&socket, number) {
                Ok(time) => trips.times.push(time),
                Err(error) if is_timeout(&error) => trips.lost += 1,
                Err(error) => return Err(error),
            }
            thread::sleep(PAUSE);
        }
        if trips.times.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no datagram came back"));
        }
        trips.times.sort_unstable();
        Ok(trips)
    }

    /// The time that this part of the datagrams (0 to 1) did not exceed, in microseconds.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.times.len() - 1;
        self.times[(last as f64 * part).round() as usize].as_secs_f64() * 1e6
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn one(socket: &UdpSocket, number: u64) -> io::Result<Duration> {
    let mut datagram = [0; PAYLOAD];
    datagram[..8].copy_from_slice(&number.to_be_bytes());
    let start = Instant::now();
    socket.send(&datagram)?;
    let mut answer = [0; PAYLOAD];
    loop {
        socket.recv(&mut answer)?;
        // An answer that came too late for its own question is not this one's.
        if answer == datagram {
            return Ok(start.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let times = (1..=101).map(Duration::from_micros).collect();
        let trips = RoundTrips { times, lost: 0 };
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|part| trips.quantile(part).round()), [1.0, 51.0, 100.0, 101.0]);
    }
}
