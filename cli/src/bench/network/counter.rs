//! Counting what a host receives, and what it sends.
//!
//! The device counts octets and frames. A super-frame counts as one frame with one set of headers and the payload of
//! all packets in it, so packets follow from octets: with H octets of headers and P of payload in each,
//! `octets = frames * H + packets * P`.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use genkan_lab::Namespace;

use super::load::flow::HEADERS;

/// Which of a device's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Received = 0,
    Sent = 8,
}

/// What a device has received so far, or sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// When it was read.
    pub(crate) at: Instant,
    octets: u64,
    frames: u64,
}

impl Reading {
    /// Reads what `device` at `host` has received.
    ///
    /// # Errors
    /// When there is no such device.
    pub(crate) fn take(host: &Namespace, device: &str) -> io::Result<Reading> {
        Reading::of(host, device, Column::Received)
    }

    /// Reads what `device` at `host` has sent.
    ///
    /// # Errors
    /// When there is no such device.
    pub(crate) fn sent(host: &Namespace, device: &str) -> io::Result<Reading> {
        Reading::of(host, device, Column::Sent)
    }

    fn of(host: &Namespace, device: &str, column: Column) -> io::Result<Reading> {
        host.run(|| {
            let text = fs::read_to_string("/proc/thread-self/net/dev")?;
            let at = Instant::now();
            let (octets, frames) = counters(&text, device, column).ok_or(io::ErrorKind::NotFound)?;
            Ok(Reading { at, octets, frames })
        })
    }

    /// Octets of the mean frame since `before`, without FCS; `None` when there was none.
    pub(crate) fn mean_frame_since(&self, before: &Reading) -> Option<f64> {
        let frames = self.frames - before.frames;
        (frames > 0).then(|| (self.octets - before.octets) as f64 / frames as f64)
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

/// Octets and frames of a direction, from the text of /proc/net/dev.
fn counters(text: &str, device: &str, column: Column) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    let mut fields = line.split_ascii_whitespace().skip(column as usize).map(|field| field.parse().ok());
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
        assert_eq!(counters(text, "eth0", Column::Received), Some((84_000, 1_400)));
        assert_eq!(counters(text, "eth0", Column::Sent), Some((7, 1)));
        assert_eq!(counters(text, "eth01", Column::Received), Some((1, 2)));
        assert_eq!(counters(text, "eth01", Column::Sent), None);
        assert_eq!(counters(text, "eth", Column::Received), None);
    }

    #[test]
    fn the_mean_frame_shows_super_frames() {
        let at = Instant::now();
        let reading = |octets, frames| Reading { at, octets, frames };
        let before = reading(1_000, 10);
        assert_eq!(reading(1_000 + 32 * 60, 10 + 32).mean_frame_since(&before), Some(60.0));
        assert_eq!(reading(1_000 + 618, 11).mean_frame_since(&before), Some(618.0));
        assert_eq!(before.mean_frame_since(&before), None);
    }

    #[test]
    fn super_frames_count_as_what_they_hold() {
        // 32 packets of 18 octets, one by one and as one frame.
        let alone = packets(32 * 60, 32, 18);
        let merged = packets(42 + 32 * 18, 1, 18);
        assert_eq!((alone, merged), (32.0, 32.0));
    }
}
