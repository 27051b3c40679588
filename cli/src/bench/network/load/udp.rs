//! Senders of UDP frames: one thread each, on a CPU of its own, through a packet socket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use genkan_io::IoError;
use genkan_io::sys::frame_burst::FrameBurst;
use genkan_lab::Namespace;
use nix::sys::prctl;

use super::flow::{FlowFrames, Order};
use super::pacing::Pacer;
use crate::bench::network::cpu;

/// Datagrams of one system call.
const BATCH: usize = 64;

/// Shorter waits are spent looking at the clock: a sleep takes some 60 microseconds longer than asked for.
const SHORTEST_SLEEP: Duration = Duration::from_micros(20);

/// What a sender sends.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Makes the frames.
    pub(crate) frames: FlowFrames,
    /// The first flow.
    pub(crate) first_flow: u64,
    /// Number of flows.
    pub(crate) flows: u64,
    /// Their order.
    pub(crate) order: Order,
    /// Datagrams per second; `None`: as many as possible.
    pub(crate) rate: Option<f64>,
    /// End after so many datagrams.
    pub(crate) count: Option<u64>,
    /// End after this time in any case.
    pub(crate) limit: Duration,
}

/// What a sender has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Datagrams that the kernel took.
    pub(crate) datagrams: u64,
    /// From the first frame to the end.
    pub(crate) time: Duration,
}

/// A running sender. It ends by itself; dropping it ends it at once.
#[derive(Debug)]
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Sent, IoError>>>,
}

impl Sender {
    /// Starts to send out of `device` at `host`, on the `cpu`-th of the CPUs that this process may use.
    ///
    /// # Errors
    /// When the device cannot be opened for sending.
    pub(crate) fn start(host: &Namespace, device: &str, cpu: usize, load: Load) -> Result<Sender, IoError> {
        let mut burst = host.run(|| open(device, &load.frames))?;
        burst.frames_mut().for_each(|frame| load.frames.begin(frame));
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name(format!("sender-{cpu}"))
            .spawn(move || {
                cpu::pin_to(cpu);
                // Without it the kernel lets sleeps be 50 microseconds longer than they have to be.
                let _ = prctl::set_timerslack(1);
                send(&mut burst, &load, &of_thread)
            })
            .map_err(|source| IoError::System { operation: "start a thread", source })?;
        Ok(Sender { stop, thread: Some(thread) })
    }

    /// Has it end.
    pub(crate) fn stop(self) -> Result<Sent, IoError> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Result<Sent, IoError> {
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_else(|| {
            Err(IoError::System { operation: "send", source: io::Error::other("the sender panicked") })
        })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its failure is nobody's concern any more.
            let _ = thread.join();
        }
    }
}

/// A socket for [`BATCH`] datagrams.
fn open(device: &str, frames: &FlowFrames) -> Result<FrameBurst, IoError> {
    match frames.datagrams() {
        1 => FrameBurst::open(device, frames.frame_len(), BATCH),
        datagrams => {
            let count = BATCH.div_ceil(datagrams);
            FrameBurst::open_segmented(device, frames.frame_len(), count, frames.payload() as u16)
        }
    }
}

fn send(burst: &mut FrameBurst, load: &Load, stop: &AtomicBool) -> Result<Sent, IoError> {
    // From here on it goes by frames, which may be super-frames.
    let datagrams = load.frames.datagrams() as u64;
    let mut pacer = Pacer::new(load.rate.map(|rate| rate / datagrams as f64));
    let mut sent = 0;
    let count = load.count.unwrap_or(u64::MAX).div_ceil(datagrams);
    let batch = BATCH.div_ceil(load.frames.datagrams());
    let start = Instant::now();
    loop {
        let elapsed = start.elapsed();
        if sent >= count || elapsed >= load.limit || stop.load(Ordering::Relaxed) {
            return Ok(Sent { datagrams: sent * datagrams, time: elapsed });
        }
        let most = usize::try_from(count - sent).unwrap_or(batch).min(batch);
        let due = pacer.due(elapsed, most);
        if due == 0 {
            let wait = pacer.wait(elapsed, most);
            if wait >= SHORTEST_SLEEP {
                thread::sleep(wait.min(load.limit.saturating_sub(elapsed)));
            } else {
                std::hint::spin_loop();
            }
            continue;
        }
        for (n, frame) in (sent..).zip(burst.frames_mut().take(due)) {
            load.frames.write(frame, load.first_flow + load.order.flow(n, load.flows));
        }
        let taken = burst.send(0, due)?;
        pacer.sent(taken);
        sent += taken as u64;
        if taken < due {
            // A full queue: whoever empties it may need this CPU.
            thread::yield_now();
        }
    }
}
