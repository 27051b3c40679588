//! A lease and its times (RFC 2131 section 4.4.5), and the record of it that survives a restart.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, DhcpOptions, OptionCode};
use genkan_engine::rng::Rng;
use genkan_engine::{Timestamp, UnixTime};
use serde::{Deserialize, Serialize};

use super::configuration::{Configuration, is_unicast};
use super::message::Reply;
use super::{Ignored, MINIMUM_LEASE};

/// The lease time that means for ever (RFC 2131 section 3.3).
const INFINITE: u32 = u32::MAX;

/// An address and what belongs to it, for a time.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) configuration: Configuration,
    pub(super) server: Ipv4Addr,
    /// `None`: for ever.
    pub(super) time: Option<Duration>,
    /// T1; [`Timestamp::MAX`]: never.
    pub(super) renewal: Timestamp,
    /// T2; [`Timestamp::MAX`]: never.
    pub(super) rebinding: Timestamp,
    /// [`Timestamp::MAX`]: never; [`Timestamp::ZERO`]: perhaps already, because the age is not known.
    pub(super) expires: Timestamp,
}

impl Lease {
    /// The lease of an offer or an acknowledgement; its time runs from `requested_at`, when the request was first
    /// sent (RFC 2131 section 4.4.1).
    pub(super) fn from_reply(
        now: Timestamp,
        reply: &Reply,
        requested_at: Timestamp,
        rng: &mut Rng,
    ) -> Result<Lease, Ignored> {
        let Some(DhcpOption::AddressLeaseTime(seconds)) = reply.options.get(OptionCode::AddressLeaseTime)
        else {
            return Err(Ignored::NoLeaseTime);
        };
        let time = (*seconds != INFINITE).then(|| Duration::from_secs((*seconds).into()));
        let at = |time: Duration| requested_at + time;
        if time.is_some_and(|time| at(time) <= now) {
            return Err(Ignored::LeaseTime);
        }
        let configuration = Configuration::from_options(reply.address, &reply.options)?;
        let (renewal, rebinding) = match time {
            Some(time) => {
                let (renewal, rebinding) = renewal_times(time, &reply.options, rng);
                (at(renewal), at(rebinding))
            }
            None => (Timestamp::MAX, Timestamp::MAX),
        };
        let expires = time.map_or(Timestamp::MAX, at);
        Ok(Lease { configuration, server: reply.server, time, renewal, rebinding, expires })
    }

    /// The lease of a record, with what is left of it; `None` when it is over for certain or the record is no use.
    pub(super) fn restore(saved: SavedLease, now: Timestamp, wall: Option<UnixTime>) -> Option<Lease> {
        if !is_unicast(saved.server) || saved.configuration.check().is_err() {
            return None;
        }
        let time = saved.lease_time.map(|seconds| Duration::from_secs(seconds.into()));
        let expires = match (time, saved.granted_at, wall) {
            (None, ..) => Timestamp::MAX,
            (Some(time), Some(granted_at), Some(wall)) if wall.0 >= granted_at => {
                // Wall time is cut to seconds: a second may be missing.
                let age = wall.0.abs_diff(granted_at).saturating_add(1);
                now + time.checked_sub(Duration::from_secs(age))?
            }
            _ => Timestamp::ZERO,
        };
        Some(Lease {
            configuration: saved.configuration,
            server: saved.server,
            time,
            renewal: Timestamp::MAX,
            rebinding: Timestamp::MAX,
            expires,
        })
    }

    pub(super) fn save(
        &self,
        hardware_address: [u8; 6],
        now: Timestamp,
        wall: Option<UnixTime>,
    ) -> SavedLease {
        let age = self.time.unwrap_or_default().saturating_sub(self.expires.saturating_since(now));
        // Rounded up, as the age of a lease is.
        let age = i64::try_from(age.as_secs() + u64::from(age.subsec_nanos() > 0)).unwrap_or(i64::MAX);
        SavedLease {
            hardware_address,
            configuration: self.configuration.clone(),
            server: self.server,
            lease_time: self.time.map(|time| u32::try_from(time.as_secs()).unwrap_or(INFINITE)),
            granted_at: wall.map(|wall| wall.0.saturating_sub(age)),
        }
    }

    /// Whether nobody would take it who has no address of that server yet.
    pub(super) fn is_too_short(&self) -> bool {
        self.time.is_some_and(|time| time < MINIMUM_LEASE)
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.configuration.address.addr()
    }
}

/// T1 and T2: the server's where they are in order, else 0.5 and 0.875 of the lease, up to a 32th earlier, so that
/// clients that came up together do not renew together (RFC 2131 section 4.4.5).
fn renewal_times(time: Duration, options: &DhcpOptions, rng: &mut Rng) -> (Duration, Duration) {
    let early = time / 32 * rng.below(1000) / 1000;
    let default_renewal = time / 2 - early;
    let default_rebinding = time / 8 * 7 - early;
    let renewal = match options.get(OptionCode::Renewal) {
        Some(DhcpOption::Renewal(seconds)) if *seconds > 0 => Duration::from_secs((*seconds).into()),
        _ => default_renewal,
    };
    let rebinding = match options.get(OptionCode::Rebinding) {
        Some(DhcpOption::Rebinding(seconds)) => Duration::from_secs((*seconds).into()),
        _ => default_rebinding,
    };
    if renewal < rebinding && rebinding < time {
        (renewal, rebinding)
    } else {
        (default_renewal, default_rebinding)
    }
}

/// What the daemon keeps of a lease over a restart. It is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLease {
    /// The wan that got it; a record of another one is not used.
    pub hardware_address: [u8; 6],
    /// What the server said.
    pub configuration: Configuration,
    /// Who granted it (option 54).
    pub server: Ipv4Addr,
    /// Seconds from `granted_at`; `None`: for ever.
    pub lease_time: Option<u32>,
    /// Wall time of the request that was granted, in seconds since 1970; `None`: the clock was not plausible then.
    pub granted_at: Option<i64>,
}
