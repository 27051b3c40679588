//! Prints every frame that goes through a port.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use genkan_engine::frame::{FrameBatch, GsoKind, Offload, Slot};
use genkan_engine::time::Timestamp;
use genkan_engine::wire::pretty_print;

use crate::error::IoError;
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, PollFds};
use crate::sys::clock::Clock;

/// Where the lines go; ports may share one.
#[derive(Clone)]
pub struct TraceSink {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
    clock: Clock,
}

impl TraceSink {
    /// Lines with times of `clock`. What the writer cannot take is lost: a trace must not stop the router.
    pub fn new(writer: impl Write + Send + 'static, clock: Clock) -> TraceSink {
        TraceSink { writer: Arc::new(Mutex::new(Box::new(writer))), clock }
    }

    fn write(&self, port: &str, direction: &str, frames: &mut dyn Iterator<Item = (&[u8], &Offload)>) {
        let now = self.clock.now();
        let mut lines = String::new();
        for (frame, offload) in frames {
            lines.push_str(&line(now, port, direction, frame, offload));
        }
        if !lines.is_empty() {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writer.write_all(lines.as_bytes()).and_then(|()| writer.flush());
        }
    }
}

/// `seconds port direction octets: headers, one after the other [what is left to finish]`
fn line(now: Timestamp, port: &str, direction: &str, frame: &[u8], offload: &Offload) -> String {
    let nanos = now.as_nanos();
    let (seconds, micros) = (nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
    let headers = pretty_print::frame(frame).to_string();
    let headers = headers.lines().map(str::trim).collect::<Vec<_>>().join(" | ");
    let mut marks = String::new();
    if let Some(tag) = offload.vlan_tci {
        marks += &format!(" [vlan {}]", tag & 0xfff);
    }
    if offload.partial_checksum {
        marks += " [partial checksum]";
    }
    let kind = match offload.gso {
        GsoKind::None => None,
        GsoKind::TcpV4 | GsoKind::TcpV6 => Some("tso"),
        GsoKind::UdpL4 => Some("uso"),
    };
    if let Some(kind) = kind {
        marks += &format!(" [{kind} {}]", offload.gso_size);
    }
    format!("{seconds}.{micros:06} {port} {direction} {}: {headers}{marks}\n", frame.len())
}

/// A half of a port whose frames are printed.
pub struct Tracer<T> {
    inner: T,
    port: String,
    sink: TraceSink,
}

impl<T> Tracer<T> {
    /// Wraps a half of the port that is called `port` in the lines.
    pub fn new(inner: T, port: &str, sink: &TraceSink) -> Tracer<T> {
        Tracer { inner, port: port.to_owned(), sink: sink.clone() }
    }
}

/// Prints the frames of both halves of a port.
pub fn traced(io: FrameIo, port: &str, sink: &TraceSink) -> FrameIo {
    FrameIo::new(Tracer::new(io.receiver, port, sink), Tracer::new(io.transmitter, port, sink))
}

impl<T: FrameReceiver> FrameReceiver for Tracer<T> {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        let batch = self.inner.receive()?;
        let memory = &*batch.memory;
        let frames =
            batch.slots.iter().map(|slot| (&memory[slot.offset..slot.offset + slot.len], &slot.offload));
        self.sink.write(&self.port, "in", &mut { frames });
        Ok(batch)
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        self.inner.poll_fds()
    }

    fn lost_frames(&mut self) -> u64 {
        self.inner.lost_frames()
    }
}

impl<T: FrameTransmitter> FrameTransmitter for Tracer<T> {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let frames = indices.iter().map(|index| &slots[usize::from(*index)]);
        let frames = frames.map(|slot| (&memory[slot.offset..slot.offset + slot.len], &slot.offload));
        self.sink.write(&self.port, "out", &mut { frames });
        self.inner.transmit(memory, slots, indices)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::loopback;

    struct Lines(mpsc::Sender<String>);

    impl Write for Lines {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            let text = String::from_utf8(octets.to_vec()).expect("lines are text");
            self.0.send(text).map_err(std::io::Error::other)?;
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_line_for_each_frame_and_direction() {
        let (sender, lines) = mpsc::channel();
        let sink = TraceSink::new(Lines(sender), Clock::start());
        let (a, b) = loopback::pair(10).expect("file descriptors are left");
        let (mut a, mut b) = (traced(a, "wan", &sink), traced(b, "lan", &sink));
        let mut arp = vec![0xff; 6];
        arp.extend_from_slice(&[
            2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1,
        ]);
        arp.extend_from_slice(&[0, 0, 0, 0, 0, 0, 192, 0, 2, 2]);
        let offload =
            Offload { gso: GsoKind::TcpV4, gso_size: 1448, partial_checksum: true, ..Offload::default() };
        a.transmitter.transmit_frame(&arp, Offload::default()).expect("b is there");
        a.transmitter.transmit_frame(&[0; 9], offload).expect("b is there");
        assert_eq!(b.receiver.receive().expect("a is there").slots.len(), 2);
        let text: String = lines.try_iter().collect();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains(" wan out 42: ethernet ") && lines[0].contains("192.0.2.2"), "{text}");
        assert!(lines[1].ends_with("[partial checksum] [tso 1448]"), "{text}");
        assert!(lines[2].contains(" lan in 42: ") && lines[3].contains(" lan in 9: "), "{text}");
    }

    #[test]
    fn a_broken_pipe_does_not_stop_frames() {
        let (sender, lines) = mpsc::channel();
        drop(lines);
        let sink = TraceSink::new(Lines(sender), Clock::start());
        let (a, mut b) = loopback::pair(10).expect("file descriptors are left");
        let mut a = traced(a, "wan", &sink);
        assert!(a.transmitter.transmit_frame(&[0; 60], Offload::default()).expect("b is there"));
        assert_eq!(b.receiver.receive().expect("a is there").slots.len(), 1);
    }
}
