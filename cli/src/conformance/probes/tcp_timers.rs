//! How long connections live: RFC 5382 section 5, RFC 7857 section 2.

use std::time::Duration;

use super::connection::{By, Connection, Flag};
use super::timers::{Clock, EARLY, LATE};
use crate::conformance::device::{BRIEF, BRIEF_ESTABLISHED};
use crate::conformance::finding::{Finding, Outcome, judge, met, not_met, require};
use crate::conformance::site::Site;

/// Seconds: 2 hours and 4 minutes.
const ESTABLISHED: u64 = 7_440;

/// Seconds: 4 minutes.
const TRANSITORY: u64 = 240;

/// After this an idle established connection must be gone.
const LATE_ESTABLISHED: Duration = Duration::from_millis(BRIEF_ESTABLISHED * 1000 + 2000);

/// Sees that idle connections live as long as is set, each in its state.
fn live_as_set(site: &Site) -> Result<(), Finding> {
    let closed = || -> Result<Connection, Finding> {
        let mut connection = Connection::open(site)?;
        connection.close(site)?;
        Ok(connection)
    };
    // Those last whose end must not come while others are tried.
    let mut late = (Connection::open(site)?, closed()?, Connection::half_open(site)?);
    let mut early = (Connection::open(site)?, closed()?, Connection::half_open(site)?);
    let clock = Clock::start();
    clock.wait_until(EARLY);
    require(early.2.answer(site)?, "one that opens is gone too early")?;
    require(early.1.repeats_fin(site)?, "one that closes is gone too early")?;
    clock.wait_until(LATE);
    require(early.0.is_open_inward(site)?, "an established one is gone too early")?;
    require(!late.2.answer(site)?, "one that opens is there too long")?;
    require(!late.1.repeats_fin(site)?, "one that closes is there too long")?;
    clock.wait_until(LATE_ESTABLISHED);
    require(!late.0.is_open_inward(site)?, "an established one is there too long")
}

/// RFC 5382 REQ-5.
pub(crate) fn connection_timeouts(site: &Site) -> Outcome {
    live_as_set(site)?;
    let defaults = site.defaults();
    let (established, half, transitory) =
        (&defaults.established, &defaults.half_closed, &defaults.transitory);
    let text = |what: &str, timeout: &crate::conformance::device::Timeout| {
        format!("{what} {} = {} s", timeout.name, timeout.seconds)
    };
    let observed = format!(
        "by its settings: {}, {}, {}; live with {BRIEF} and {BRIEF_ESTABLISHED} s: each ends then, none before",
        text("established", established),
        text("closed by one side", half),
        text("opening and closing", transitory)
    );
    let enough = established.seconds.min(half.seconds) >= ESTABLISHED && transitory.seconds >= TRANSITORY;
    Ok(judge(enough, &observed, &observed))
}

/// RFC 5382 REQ-5a.
pub(crate) fn timeouts_are_configurable(site: &Site) -> Outcome {
    live_as_set(site)?;
    Ok(met(format!("set to {BRIEF} and {BRIEF_ESTABLISHED} s: each ends then, none before")))
}

/// RFC 7857 section 2.1.
pub(crate) fn transitory_timeouts(site: &Site) -> Outcome {
    live_as_set(site)?;
    let transitory = &site.defaults().transitory;
    let observed = format!(
        "by its setting {} = {} s; live with {BRIEF} s: opening and closing ones end then, none before",
        transitory.name, transitory.seconds
    );
    Ok(judge(transitory.seconds >= TRANSITORY, &observed, &observed))
}

/// RFC 7857 section 2.2: a RST, then silence or traffic from inside.
pub(crate) fn reset(site: &Site) -> Outcome {
    let mut silent = [Connection::open(site)?, Connection::open(site)?];
    let mut alive = Connection::open(site)?;
    for connection in silent.iter_mut().rev().chain([&mut alive]) {
        require(connection.send(site, By::Outside, Flag::Rst, b"")?, "the RST does not arrive")?;
    }
    let clock = Clock::start();
    clock.wait_millis(1000);
    let revived = alive.send(site, By::Inside, Flag::None, &site.token())?;
    clock.wait_until(EARLY);
    let early = silent[0].is_open_inward(site)?;
    clock.wait_until(LATE);
    let late = silent[1].is_open_inward(site)?;
    let revived = revived && alive.is_open_inward(site)?;
    let setting = &site.defaults().reset;
    let observed = format!(
        "by its setting {} = {} s; live with {BRIEF} s: after a RST {}; traffic from inside {}",
        setting.name,
        setting.seconds,
        match (early, late) {
            (true, false) => "the session ends then, not before",
            (false, _) => "the session ends at once",
            (true, true) => "the session goes on",
        },
        if revived { "brings it back" } else { "does not bring it back" }
    );
    if late {
        return Err(not_met(observed));
    }
    Ok(judge(early && revived && setting.seconds >= TRANSITORY, &observed, &observed))
}
