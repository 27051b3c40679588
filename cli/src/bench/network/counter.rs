//! Counting what a host receives.
//!
//! The device counts octets and frames. A super-frame counts as one frame with one set of headers and the payload of
//! all packets in it, so packets follow from octets: with H octets of headers and P of payload in each,
//! `octets = frames * H + packets * P`.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use genkan_lab::Namespace;

use super::load::flow::HEADERS;

/// What a device has received so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// When it was read.
    pub(crate) at: Instant,
    octets: u64,
    frames: u64,
}

impl Reading {
    /// Reads the counters of `device` at `host`.
    ///
    /// # Errors
    /// When there is no such device.
    pub(crate) fn take(host: &Namespace, device: &str) -> io::Result<Reading> {
        host.run(|| {
            let text = fs::read_to_string("/proc/thread-self/net/dev")?;
            let at = Instant::now();
            let (octets, frames) = received(&text, device).ok_or(io::ErrorKind::NotFound)?;
            Ok(Reading { at, octets, frames })
        })
    }

    /// Packets with `payload` octets of UDP payload each that came since `before`.
    pub(crate) fn packets_since(&self, before: &Reading, payload: usize) -> f64 {
        packets(self.octets - before.octets, self.frames - before.frames, payload)
    }

    /// Time since `before`.
    pub(crate) fn time_since(&self, before: &Reading) -> Duration {
        self.at - before.at
    }

    /// Waits until nothing has come for a while, so that what is under way is counted; the last reading.
    ///
    /// # Errors
    /// As [`Reading::take`].
    pub(crate) fn settled(host: &Namespace, device: &str) -> io::Result<Reading> {
        const LOOK: Duration = Duration::from_millis(15);
        const LIMIT: Duration = Duration::from_secs(2);
        let start = Instant::now();
        let mut last = Reading::take(host, device)?;
        loop {
            std::thread::sleep(LOOK);
            let next = Reading::take(host, device)?;
            // A stray ARP is no traffic.
            if next.frames - last.frames <= 2 || start.elapsed() > LIMIT {
                return Ok(next);
            }
            last = next;
        }
    }
}

fn packets(octets: u64, frames: u64, payload: usize) -> f64 {
    octets.saturating_sub(frames * HEADERS as u64) as f64 / payload as f64
}

/// Octets and frames received, from the text of /proc/net/dev.
fn received(text: &str, device: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    let mut fields = line.split_ascii_whitespace().map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_device() {
        let text = "Inter-|   Receive\n face |bytes    packets errs\n    lo:       0       0    0    0\n  \
                    eth0:   84000    1400    0    0    0     0          0         0     7     1\n \
                    eth01:  1 2 3 4\n";
        assert_eq!(received(text, "eth0"), Some((84_000, 1_400)));
        assert_eq!(received(text, "eth01"), Some((1, 2)));
        assert_eq!(received(text, "eth"), None);
    }

    #[test]
    fn super_frames_count_as_what_they_hold() {
        // 32 packets of 18 octets, one by one and as one frame.
        let alone = packets(32 * 60, 32, 18);
        let merged = packets(42 + 32 * 18, 1, 18);
        assert_eq!((alone, merged), (32.0, 32.0));
    }
}
