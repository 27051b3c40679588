//! One measurement of one contender.

use std::thread;
use std::time::{Duration, Instant};

use super::counter::Reading;
use super::load::echo::RoundTrips;
use super::load::flow::{HEADERS, Order, payload_len};
use super::load::udp::{Load, Sender};
use super::metric::Test;
use super::ndr::{self, Trial};
use super::stage::{DEVICE, Stage, Way};
use super::{cpu, many};
use crate::bench::pinning::allowed_cpus;
use crate::output::Failure;

/// Octets of a small frame on the wire, FCS included.
pub(crate) const SMALL: usize = 64;

/// Flows of one sender.
const FLOWS: u64 = 1_000;

/// Frames of one flow in a burst.
const BURST: u32 = 32;

/// Frames per second beside a loaded echo.
const BESIDE: f64 = 100_000.0;

/// Sent before the clock starts: sessions are opened, neighbours found, caches warm.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// One for each of [`Test::values`], as far as there are any.
    pub(crate) values: Vec<f64>,
    /// What a reader has to know about them.
    pub(crate) note: Option<String>,
}

impl From<Vec<f64>> for Measured {
    fn from(values: Vec<f64>) -> Measured {
        Measured { values, note: None }
    }
}

/// Runs `test` on `stage` for about `length`. `sessions` is what [`Test::sessions`] said.
///
/// # Errors
/// When it cannot be measured.
pub(crate) fn measure(
    test: Test,
    stage: &mut Stage,
    length: Duration,
    sessions: Option<u64>,
) -> Result<Measured, Failure> {
    let one = |rate: Rate| Measured::from(vec![rate.packets]);
    match test {
        Test::Tcp1 => Ok(vec![stage.tcp(Way::Out, 1, length)?].into()),
        Test::Tcp4 => Ok(vec![stage.tcp(Way::Out, 4, length)?].into()),
        Test::Tcp1in => Ok(vec![stage.tcp(Way::In, 1, length)?].into()),
        Test::Tcp1off => {
            let before = stage.offloads_off()?;
            let measured = stage.tcp(Way::Out, 1, length);
            stage.restore(&before)?;
            Ok(vec![measured?].into())
        }
        Test::Pps1k => {
            let rate = packets(stage, 1, FLOWS, Order::Interleaved, length)?;
            Ok([rate.packets, rate.work].into_iter().chain(rate.router_work).collect::<Vec<_>>().into())
        }
        Test::Pps1kLoaded => {
            packets(stage, allowed_cpus()?.len(), FLOWS, Order::Interleaved, length).map(one)
        }
        Test::Ppsb => {
            let before = stage.cut_bursts()?;
            let frames = stage.bursts(BURST as usize, SMALL);
            let rate = loaded(stage, 1, Load { frames, ..load(stage, FLOWS, Order::Interleaved, length) });
            stage.restore(&before)?;
            rate.map(one)
        }
        Test::PpsbSingle => packets(stage, 1, FLOWS, Order::Bursts(BURST), length).map(one),
        Test::Ndr => {
            // Sessions are open and neighbours known before the first packet counts.
            trial(stage, Some(BESIDE), WARM_UP)?;
            let found = ndr::search(length, |rate, length| trial(stage, rate, length))?;
            let rate = found.ok_or_else(|| Failure::message("packets are lost at every rate"))?;
            Ok(vec![rate].into())
        }
        Test::Echo => round_trips(stage, length),
        Test::EchoLoaded => {
            let load = Load {
                rate: Some(BESIDE),
                ..load(stage, FLOWS, Order::Interleaved, WARM_UP + length + SLACK)
            };
            let sender = Sender::start(&stage.sender, DEVICE, 0, load)?;
            thread::sleep(WARM_UP);
            let (before, start) = (stage.received()?, Instant::now());
            let mut measured = round_trips(stage, length)?;
            let arrived = stage.received()?.packets_since(&before, payload_len(SMALL));
            sender.stop()?;
            let beside = arrived / start.elapsed().as_secs_f64();
            if beside < BESIDE * 0.9 {
                measured.note = Some(format!("only {beside:.0} packets/s arrived beside the round trips"));
            }
            Ok(measured)
        }
        Test::Newflows => many::newly_opened(stage, sessions.unwrap_or(FLOWS)),
        Test::Sessions1m => {
            let sessions = sessions.unwrap_or(FLOWS);
            let open = many::open(stage, sessions)?;
            let rate = packets(stage, 1, sessions, Order::Interleaved, length)?;
            let note = (open < sessions / 1_000 * 995)
                .then(|| format!("only {open} of {sessions} sessions were open"));
            Ok(Measured { values: vec![rate.packets], note })
        }
    }
}

/// A sender that is not stopped ends so long after its time.
const SLACK: Duration = Duration::from_secs(2);

/// Small frames of so many flows, as fast as possible.
pub(crate) fn load(stage: &Stage, flows: u64, order: Order, limit: Duration) -> Load {
    Load { frames: stage.frames(SMALL), first_flow: 0, flows, order, rate: None, count: None, limit }
}

fn round_trips(stage: &Stage, length: Duration) -> Result<Measured, Failure> {
    let trips = RoundTrips::measure(&stage.sender, stage.lab.addresses.isp, length)?;
    let note = (trips.lost > 0).then(|| format!("{} datagrams did not come back", trips.lost));
    Ok(Measured { values: vec![trips.quantile(0.5), trips.quantile(0.99)], note })
}

/// What came through.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Packets per second at the receiver.
    packets: f64,
    /// Nanoseconds of all CPUs for each of them.
    work: f64,
    /// Nanoseconds of the router's process for each of them; `None` where there is no process.
    router_work: Option<f64>,
}

/// As many senders as said, each on a CPU of its own, with flows of its own, and as fast as it can.
fn packets(
    stage: &Stage,
    senders: usize,
    flows: u64,
    order: Order,
    length: Duration,
) -> Result<Rate, Failure> {
    loaded(stage, senders, load(stage, flows, order, length))
}

/// The same with this load, whose limit is the time to measure.
fn loaded(stage: &Stage, senders: usize, load: Load) -> Result<Rate, Failure> {
    let length = load.limit;
    let sent_before = stage.sent()?;
    let start = |sender: usize| {
        let first_flow = sender as u64 * load.flows;
        let load = Load { first_flow, limit: WARM_UP + length + SLACK, ..load.clone() };
        Sender::start(&stage.sender, DEVICE, sender, load)
    };
    let senders = (0..senders).map(start).collect::<Result<Vec<_>, _>>()?;
    thread::sleep(WARM_UP);
    let (before, idle, router) = (stage.received()?, cpu::idle()?, stage.running.cpu_time());
    thread::sleep(length);
    let (after, idle) = (stage.received()?, cpu::idle()?.saturating_sub(idle));
    let router = router.zip(stage.running.cpu_time()).map(|(before, after)| after.saturating_sub(before));
    for sender in senders {
        sender.stop()?;
    }
    check_frames(stage, &sent_before)?;
    let packets = after.packets_since(&before, payload_len(SMALL));
    if packets < 1.0 {
        return Err(Failure::message("no packet came through"));
    }
    let time = after.time_since(&before);
    let busy = (time * cpu::online()? as u32).saturating_sub(idle);
    let each = |work: Duration| work.as_nanos() as f64 / packets;
    Ok(Rate { packets: packets / time.as_secs_f64(), work: each(busy), router_work: router.map(each) })
}

/// Every contender must get small frames, one by one, whatever the sender handed to its kernel.
fn check_frames(stage: &Stage, before: &Reading) -> Result<(), Failure> {
    match stage.sent()?.mean_frame_since(before) {
        Some(mean) if is_small(mean) => Ok(()),
        mean => Err(Failure::message(format!(
            "the sender's frames have {:.1} octets in the mean, not those of small ones",
            mean.unwrap_or_default()
        ))),
    }
}

/// Whether the mean frame that a device has counted is a small one. A veth device whose peer has GRO on counts
/// frames without their Ethernet headers. Few others among them (ARP) do no harm.
fn is_small(mean: f64) -> bool {
    const ETHERNET: usize = 14;
    let small = (HEADERS + payload_len(SMALL)) as f64;
    ((small - ETHERNET as f64) * 0.99..=small * 1.01).contains(&mean)
}

/// Sends at a rate and counts what has arrived after everything under way had its time.
fn trial(stage: &Stage, rate: Option<f64>, length: Duration) -> Result<Trial, Failure> {
    let before = stage.received()?;
    let load = Load { rate, ..load(stage, FLOWS, Order::Interleaved, length) };
    let sent = Sender::start(&stage.sender, DEVICE, 0, load)?.wait()?;
    let received = stage.settled()?.packets_since(&before, payload_len(SMALL));
    let seconds = sent.time.as_secs_f64();
    Ok(Trial { sent: sent.datagrams as f64 / seconds, received: received / seconds })
}

/// Waits until the CPUs have little to do: what the last measurement left (a table that is cleared away) must not
/// burden the next. Gives up after a while; the report judges noise.
///
/// # Errors
/// When the kernel does not tell how idle it is.
pub(crate) fn settle() -> Result<(), Failure> {
    const LOOK: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_secs(2);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_told_from_super_frames() {
        // With and without Ethernet header; then a burst of 32, one in 500 of them, and nothing but headers.
        assert_eq!([60.0, 46.0, 60.1].map(is_small), [true; 3]);
        assert_eq!([618.0, 604.0, 61.1, 42.0].map(is_small), [false; 4]);
    }
}
