//! One measurement of one contender.

use std::thread;
use std::time::{Duration, Instant};

use super::cpu;
use super::load::flow::{Order, payload_len};
use super::load::udp::{Load, Sender};
use super::metric::Test;
use super::stage::{DEVICE, Stage};
use crate::bench::pinning::allowed_cpus;
use crate::output::Failure;

/// Octets of a small frame on the wire, FCS included.
const SMALL: usize = 64;

/// Flows of one sender.
const FLOWS: u64 = 1_000;

/// Frames of one flow in a burst.
const BURST: u32 = 32;

/// Sent before the clock starts: sessions are opened, neighbours found, caches warm.
const WARM_UP: Duration = Duration::from_millis(300);

/// Runs `test` on `stage` for about `length`; one value for each of [`Test::values`].
///
/// # Errors
/// When it cannot be measured.
pub(crate) fn measure(test: Test, stage: &mut Stage, length: Duration) -> Result<Vec<f64>, Failure> {
    let rate = |rate: Rate| vec![rate.packets];
    match test {
        Test::Tcp1 => Ok(vec![stage.tcp(1, length)?]),
        Test::Tcp4 => Ok(vec![stage.tcp(4, length)?]),
        Test::Tcp1off => {
            stage.offloads(false)?;
            let measured = stage.tcp(1, length);
            stage.offloads(true)?;
            Ok(vec![measured?])
        }
        Test::Pps1k => {
            packets(stage, 1, Order::Interleaved, length).map(|rate| vec![rate.packets, rate.work])
        }
        Test::Pps1kLoaded => packets(stage, allowed_cpus()?.len(), Order::Interleaved, length).map(rate),
        Test::Ppsb => packets(stage, 1, Order::Bursts(BURST), length).map(rate),
    }
}

/// What came through.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Packets per second at the receiver.
    packets: f64,
    /// Nanoseconds of all CPUs for each of them.
    work: f64,
}

/// As many senders as said, each on a CPU of its own and as fast as it can.
fn packets(stage: &Stage, senders: usize, order: Order, length: Duration) -> Result<Rate, Failure> {
    let load = |sender: usize| Load {
        frames: stage.frames(SMALL),
        first_flow: sender as u64 * FLOWS,
        flows: FLOWS,
        order,
        rate: None,
        count: None,
        limit: WARM_UP + length + Duration::from_secs(1),
    };
    let senders = (0..senders)
        .map(|sender| Sender::start(&stage.sender, DEVICE, sender, load(sender)))
        .collect::<Result<Vec<_>, _>>()?;
    thread::sleep(WARM_UP);
    let (before, idle) = (stage.received()?, cpu::idle()?);
    thread::sleep(length);
    let (after, idle) = (stage.received()?, cpu::idle()?.saturating_sub(idle));
    for sender in senders {
        sender.stop()?;
    }
    let packets = after.packets_since(&before, payload_len(SMALL));
    if packets < 1.0 {
        return Err(Failure::message("no packet came through"));
    }
    let time = after.time_since(&before);
    let busy = (time * cpu::online()? as u32).saturating_sub(idle);
    Ok(Rate { packets: packets / time.as_secs_f64(), work: busy.as_nanos() as f64 / packets })
}

/// Waits until the CPUs have little to do: what the last measurement left (a table that is cleared away) must not
/// burden the next. Gives up after a while; the report judges noise.
///
/// # Errors
/// When the kernel does not tell how idle it is.
pub(crate) fn settle() -> Result<(), Failure> {
    const LOOK: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_secs(3);
    let cpus = cpu::online()? as u32;
    let start = Instant::now();
    loop {
        let (before, idle) = (Instant::now(), cpu::idle()?);
        thread::sleep(LOOK);
        let idle = cpu::idle()?.saturating_sub(idle);
        if idle >= before.elapsed() * cpus * 4 / 5 || start.elapsed() > LIMIT {
            return Ok(());
        }
    }
}
