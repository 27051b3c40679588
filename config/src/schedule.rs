//! Opening hours: windows of the week, on the clock of a time zone.
//!
//! A schedule is open whenever the clock on the wall shows a time of one of its windows. Where clocks change, a
//! window still opens and closes once: what begins in an hour that comes twice begins at the first, what ends in it
//! ends at the second; what would begin or end in an hour that is left out does so when the clocks jump. So a window
//! that lies in the left-out hour altogether does not open that day.

use std::fmt;

use genkan_engine::time::UnixTime;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

/// Short names of the days, Monday first.
pub(crate) const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Minutes of a day.
pub(crate) const DAY: u16 = 24 * 60;

/// Days that are looked at after today: a weekly window may fall into the left-out hour once, so that the next one
/// is two weeks away.
const AHEAD: i64 = 16;
/// A window of yesterday may last until today, and windows of several days may join.
const BEHIND: i64 = 8;

/// When a forward is open: the union of its windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// In the order written, at least one.
    pub(crate) windows: Vec<Window>,
}

/// A stretch of some days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// The days on which it begins: a bit each, that of Monday is 1.
    pub(crate) days: u8,
    /// Minute of the day when it begins, below [`DAY`].
    pub(crate) from: u16,
    /// Minute of the day when it ends, at most [`DAY`]; not after `from`: it ends on the next day.
    pub(crate) to: u16,
}

/// Every day of the week.
pub(crate) const DAILY: u8 = 0x7f;

/// Whether a schedule is open, and how long that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Open now.
    pub open: bool,
    /// When that changes: the first second of the other state. `None`: not in sight, as with a window that is
    /// always open.
    pub until: Option<UnixTime>,
}

/// The clock that schedules go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    time_zone: TimeZone,
    /// Its name in the file; `None` is the box's own.
    name: Option<String>,
}

impl Zone {
    /// The box's own time zone: `TZ`, else `/etc/localtime`, else UTC.
    pub fn local() -> Zone {
        // Otherwise a reload would see the box in its old zone for minutes.
        jiff::tz::reset_system_time_zone_cache();
        Zone { time_zone: TimeZone::try_system().unwrap_or(TimeZone::UTC), name: None }
    }

    /// A zone of the IANA database: the box's copy, else the one inside this program. `None`: there is no such zone.
    pub fn named(name: &str) -> Option<Zone> {
        let time_zone = TimeZone::get(name).ok()?;
        Some(Zone { name: Some(time_zone.iana_name().unwrap_or(name).to_owned()), time_zone })
    }

    /// A moment as this zone's clock shows it: `Mon 2026-11-23 18:00`.
    pub fn written(&self, at: UnixTime) -> String {
        match Timestamp::from_second(at.0) {
            Ok(at) => at.to_zoned(self.time_zone.clone()).strftime("%a %Y-%m-%d %H:%M").to_string(),
            Err(_) => crate::rfc3339(at),
        }
    }

    /// When the clock shows `civil`; see the module's text for what that means where clocks change.
    fn moment(&self, civil: DateTime, closing: bool) -> Option<i64> {
        let at = match self.time_zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok()?,
            AmbiguousOffset::Fold { before, after } => {
                (if closing { after } else { before }).to_timestamp(civil).ok()?
            }
            AmbiguousOffset::Gap { after, .. } => {
                // By the offset of afterwards the moment lies before the jump.
                let before = after.to_timestamp(civil).ok()?;
                self.time_zone.following(before).next()?.timestamp()
            }
        };
        Some(at.as_second())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or("local"))
    }
}

impl Schedule {
    /// Whether it is open at a moment, and until when.
    pub fn at(&self, zone: &Zone, at: UnixTime) -> Opening {
        let closed = Opening { open: false, until: None };
        // A clock beyond the year 9999 is no clock.
        let Ok(timestamp) = Timestamp::from_second(at.0) else { return closed };
        let today = timestamp.to_zoned(zone.time_zone.clone()).date();
        let mut last_end: Option<i64> = None;
        for (start, end) in self.stretches(zone, today) {
            // Stretches come in order; those that touch are one.
            let joins = last_end.is_some_and(|last| start <= last);
            if let Some(last) = last_end.filter(|last| at.0 < *last)
                && !joins
            {
                return Opening { open: true, until: Some(UnixTime(last)) };
            }
            if at.0 < start && !joins {
                return Opening { open: false, until: Some(UnixTime(start)) };
            }
            last_end = Some(last_end.map_or(end, |last| last.max(end)));
        }
        // What reaches the end of what was looked at has no end in sight.
        Opening { open: last_end.is_some_and(|last| at.0 < last), until: None }
    }

    /// Its windows around a day as runs of seconds, by their starts.
    fn stretches(&self, zone: &Zone, today: Date) -> Vec<(i64, i64)> {
        let civil = |day: Date, minute: u16| {
            let day = if minute == DAY { day.tomorrow().ok()? } else { day };
            let minute = minute % DAY;
            Some(day.to_datetime(Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?))
        };
        let mut out = Vec::new();
        for day in -BEHIND..=AHEAD {
            let Ok(day) = today.checked_add(Span::new().days(day)) else { continue };
            let weekday = 1 << day.weekday().to_monday_zero_offset();
            for window in self.windows.iter().filter(|window| window.days & weekday != 0) {
                let last = if window.to <= window.from { day.tomorrow().ok() } else { Some(day) };
                let start = civil(day, window.from).and_then(|start| zone.moment(start, false));
                let end = last.and_then(|last| civil(last, window.to)).and_then(|end| zone.moment(end, true));
                if let (Some(start), Some(end)) = (start, end)
                    && start < end
                {
                    out.push((start, end));
                }
            }
        }
        out.sort_unstable();
        out
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, window) in self.windows.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{window}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == DAILY {
            f.write_str("daily")?;
        } else {
            // A run begins on a day whose day before is not of it; Sunday comes before Monday.
            let has = |day: usize| self.days & 1 << (day % 7) != 0;
            let mut first = true;
            for start in (0..7).filter(|day| has(*day) && !has(day + 6)) {
                let length = (1..7).take_while(|more| has(start + more)).count();
                f.write_str(if first { "" } else { "," })?;
                f.write_str(DAYS[start])?;
                if length > 0 {
                    write!(f, "-{}", DAYS[(start + length) % 7])?;
                }
                first = false;
            }
        }
        let (from, to) = (self.from, self.to);
        write!(f, " {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

#[cfg(test)]
mod tests;
