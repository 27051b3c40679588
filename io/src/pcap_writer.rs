//! Writes every frame that goes through a port to a capture file.
//!
//! Frames are captured as they are: received ones before the engine rewrites them, sent ones after; super-frames
//! whole, and partial checksums partial (Wireshark calls them wrong).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use genkan_engine::frame::{FrameBatch, Slot};

use crate::error::IoError;
use crate::frame_io::{Capabilities, FrameIo, FrameReceiver, FrameTransmitter, PollFds};
use crate::pcap_file::PcapFileTransmitter;
use crate::sys::clock::since_1970;

/// A capture file; ports may share one.
#[derive(Clone)]
pub struct CaptureSink {
    state: Arc<Mutex<State>>,
}

struct State {
    /// `None` once it failed or was finished.
    file: Option<PcapFileTransmitter>,
    error: Option<IoError>,
}

impl CaptureSink {
    /// Creates (or empties) a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<CaptureSink, IoError> {
        Ok(CaptureSink::new(PcapFileTransmitter::create(path)?))
    }

    /// Captures to a file that is open already.
    pub fn new(file: PcapFileTransmitter) -> CaptureSink {
        CaptureSink { state: Arc::new(Mutex::new(State { file: Some(file), error: None })) }
    }

    fn write<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) {
        let now = since_1970();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = state.file.as_mut() else { return };
        for frame in frames {
            if let Err(error) = file.write_frame(now, frame) {
                // A full disk ends the capture, not the router.
                state.file = None;
                state.error = Some(error);
                return;
            }
        }
    }

    /// Ends the capture: what is buffered is written, later frames are not captured.
    ///
    /// # Errors
    /// The first error since the start.
    pub fn finish(&self) -> Result<(), IoError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = state.file.take().map_or(Ok(()), PcapFileTransmitter::finish);
        state.error.take().map_or(finished, Err)
    }
}

/// A half of a port whose frames are captured.
pub struct PcapWriter<T> {
    inner: T,
    sink: CaptureSink,
}

impl<T> PcapWriter<T> {
    /// Wraps a half of a port.
    pub fn new(inner: T, sink: &CaptureSink) -> PcapWriter<T> {
        PcapWriter { inner, sink: sink.clone() }
    }
}

/// Captures the frames of both halves of a port.
pub fn captured(io: FrameIo, sink: &CaptureSink) -> FrameIo {
    FrameIo::new(PcapWriter::new(io.receiver, sink), PcapWriter::new(io.transmitter, sink))
}

impl<T: FrameReceiver> FrameReceiver for PcapWriter<T> {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        let batch = self.inner.receive()?;
        self.sink.write(batch.slots.iter().map(|slot| &batch.memory[slot.offset..slot.offset + slot.len]));
        Ok(batch)
    }

    fn poll_fds(&self) -> Option<PollFds<'_>> {
        self.inner.poll_fds()
    }

    fn lost_frames(&mut self) -> u64 {
        self.inner.lost_frames()
    }
}

impl<T: FrameTransmitter> FrameTransmitter for PcapWriter<T> {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        let frames = indices.iter().map(|index| &slots[usize::from(*index)]);
        self.sink.write(frames.map(|slot| &memory[slot.offset..slot.offset + slot.len]));
        self.inner.transmit(memory, slots, indices)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::time::Duration;

    use genkan_engine::frame::Offload;

    use super::*;
    use crate::loopback;
    use crate::pcap_file::PcapFileReceiver;

    #[test]
    fn both_directions_are_in_the_file() {
        let path = std::env::temp_dir().join(format!("genkan-pcap-writer-{}.pcap", std::process::id()));
        let sink = CaptureSink::create(&path).expect("the temporary folder is writable");
        let (a, mut b) = loopback::pair(10).expect("file descriptors are left");
        let mut a = captured(a, &sink);
        let before = since_1970();
        a.transmitter.transmit_frame(&[1; 60], Offload::default()).expect("b is there");
        b.transmitter.transmit_frame(&[2; 61], Offload::default()).expect("a is there");
        assert_eq!(a.receiver.receive().expect("b is there").slots.len(), 1);
        sink.finish().expect("nothing stands against it");
        a.transmitter.transmit_frame(&[3; 62], Offload::default()).expect("b is there");

        let mut file = PcapFileReceiver::open(&path).expect("just written");
        let mut next = || file.next_frame().expect("well formed");
        let (first, second) = (next().expect("a frame"), next().expect("a frame"));
        assert_eq!((first.bytes, second.bytes), (vec![1; 60], vec![2; 61]));
        assert!(first.timestamp >= before && first.timestamp < before + Duration::from_secs(60));
        assert_eq!(next(), None);
        std::fs::remove_file(path).expect("ours");
    }

    /// A disk with room for the header and a little more.
    struct SmallDisk(usize);

    impl Write for SmallDisk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if octets.len() > self.0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.0 -= octets.len();
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_ends_the_capture_only() {
        let file = PcapFileTransmitter::from_writer(SmallDisk(9000)).expect("room for the header");
        let sink = CaptureSink::new(file);
        let (a, mut b) = loopback::pair(10).expect("file descriptors are left");
        let mut a = captured(a, &sink);
        for _ in 0..5 {
            assert!(a.transmitter.transmit_frame(&[1; 5000], Offload::default()).expect("b is there"));
        }
        assert_eq!(b.receiver.receive().expect("a is there").slots.len(), 5);
        assert!(sink.finish().is_err());
    }
}
