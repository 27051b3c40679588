//! How long mappings live. A device has its timeouts shortened to a few seconds, to see that it is they that decide;
//! whether they are long enough is read from the settings that it comes with.

use std::thread;
use std::time::{Duration, Instant};

use crate::conformance::device::{BRIEF, Timeout};
use crate::conformance::finding::{Finding, Outcome, judge, met, not_met, require};
use crate::conformance::packet::Packet;
use crate::conformance::site::{Kind, SERVICE, Site};
use crate::conformance::wire::Host;

/// Before this an idle session must still be there.
pub(crate) const EARLY: Duration = Duration::from_millis(BRIEF * 500);

/// After this it must be gone; devices may look at their clocks once a second.
pub(crate) const LATE: Duration = Duration::from_millis(BRIEF * 1000 + 2000);

/// Moments after a beginning. It starts when the packet from which a device counts has gone through: however slow a
/// machine is, what must be gone by then has had its time, and what must still be there is asked for as soon as can be.
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Waits until so long after the beginning.
    pub(crate) fn wait_until(&self, after: Duration) {
        thread::sleep(after.saturating_sub(self.0.elapsed()));
    }

    pub(crate) fn wait_millis(&self, after: u64) {
        self.wait_until(Duration::from_millis(after));
    }
}

/// What a setting of `timeout` means for a floor of `least` seconds, once it was seen live that such a setting decides.
pub(crate) fn by_setting(timeout: &Timeout, least: u64, live: &str) -> Finding {
    let observed =
        format!("by its setting {} = {} s; live with {BRIEF} s: {live}", timeout.name, timeout.seconds);
    judge(timeout.seconds >= least, &observed, &observed)
}

/// Two idle mappings toward this port: whether one is there early and the other one gone late.
fn idle(site: &Site, to_port: u16) -> Result<(bool, bool), Finding> {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let late = site.mapped(Kind::Udp, (&inner, site.port()), (&remote, to_port))?;
    let early = site.mapped(Kind::Udp, (&inner, site.port()), (&remote, to_port))?;
    let clock = Clock::start();
    clock.wait_until(EARLY);
    let early = site.arrives(Kind::Udp, (&remote, to_port), early, &inner)?.is_some();
    clock.wait_until(LATE);
    let late = site.arrives(Kind::Udp, (&remote, to_port), late, &inner)?.is_none();
    Ok((early, late))
}

fn idle_as_set(site: &Site) -> Result<(), Finding> {
    match idle(site, SERVICE)? {
        (true, true) => Ok(()),
        (false, _) => Err(not_met(format!("gone after half of the {BRIEF} s that were set"))),
        (true, false) => Err(not_met(format!("still there long after the {BRIEF} s that were set"))),
    }
}

const AS_SET: &str = "open at half of it, closed after it";

/// RFC 4787 REQ-5.
pub(crate) fn udp_timeout(site: &Site) -> Outcome {
    idle_as_set(site)?;
    Ok(by_setting(&site.defaults().udp, 120, AS_SET))
}

/// RFC 4787 REQ-5a.
pub(crate) fn udp_timeout_of_well_known_ports(site: &Site) -> Outcome {
    Ok(match idle(site, 53)? {
        (true, true) => met("not used: port 53 has the timeout of the others"),
        _ => met("used: port 53 has a timeout of its own"),
    })
}

/// RFC 4787 REQ-5b.
pub(crate) fn udp_timeout_is_configurable(site: &Site) -> Outcome {
    idle_as_set(site)?;
    Ok(met(format!("set to {BRIEF} s: {AS_SET}")))
}

/// RFC 4787 REQ-5c.
pub(crate) fn udp_timeout_recommended(site: &Site) -> Outcome {
    idle_as_set(site)?;
    Ok(by_setting(&site.defaults().udp, 300, AS_SET))
}

/// RFC 4787 REQ-6.
pub(crate) fn outbound_refresh(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let port = site.port();
    let external = site.mapped(Kind::Udp, (&inner, port), (&remote, SERVICE))?;
    for _ in 0..2 {
        Clock::start().wait_until(EARLY);
        site.mapped(Kind::Udp, (&inner, port), (&remote, SERVICE))?;
    }
    Clock::start().wait_until(EARLY);
    let open = site.arrives(Kind::Udp, (&remote, SERVICE), external, &inner)?.is_some();
    Ok(judge(
        open,
        &format!("a datagram out every 1.5 s keeps a mapping with a timeout of {BRIEF} s open"),
        "datagrams out do not keep a mapping open",
    ))
}

/// RFC 4787 REQ-6a.
pub(crate) fn inbound_refresh(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let external = site.mapped(Kind::Udp, (&inner, site.port()), (&remote, SERVICE))?;
    let answered = || site.arrives(Kind::Udp, (&remote, SERVICE), external, &inner);
    Clock::start().wait_until(EARLY);
    require(answered()?.is_some(), "the answer does not get in")?;
    // Long after the mapping's own time, and never long after the last answer.
    let mut open = true;
    for _ in 0..3 {
        Clock::start().wait_until(EARLY);
        open &= answered()?.is_some();
    }
    Ok(met(if open { "they do" } else { "they do not" }))
}

/// A mapping that something happens to twice before it ends; whether it is still there when its timeout is over, if
/// that has not begun anew.
fn outlives(
    site: &Site,
    happens: impl Fn(&Host, &Host, &Packet) -> Result<(), Finding>,
) -> Result<bool, Finding> {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let packet = site.first(Kind::Udp, inner.at(site.port()), remote.at(SERVICE));
    let seen = site.pass_out(&inner, &packet, &remote)?;
    let clock = Clock::start();
    for moment in [1300, 2500] {
        clock.wait_millis(moment);
        happens(&inner, &remote, &seen)?;
    }
    clock.wait_millis(4900);
    Ok(site.arrives(Kind::Udp, (&remote, SERVICE), seen.from(), &inner)?.is_some())
}

/// RFC 7857 section 7.
pub(crate) fn refused_packets_do_not_refresh(site: &Site) -> Outcome {
    let stranger = site.outside_host()?;
    let open = outlives(site, |inner, _, seen| {
        let refused = site.arrives(Kind::Udp, (&stranger, SERVICE), seen.from(), inner)?.is_none();
        if refused { Ok(()) } else { Err(not_met("the packets of strangers are not refused")) }
    })?;
    Ok(judge(
        !open,
        "datagrams of a stranger, which are refused, do not keep a mapping open",
        "datagrams of a stranger, which are refused, keep a mapping open",
    ))
}

/// RFC 7857 section 7.1.
pub(crate) fn errors_do_not_refresh(site: &Site) -> Outcome {
    let open = outlives(site, |_, remote, seen| {
        remote.send(&Packet::error(remote.address, (3, 3), seen, 8));
        Ok(())
    })?;
    Ok(judge(!open, "errors do not keep a mapping open", "errors keep a mapping open"))
}
