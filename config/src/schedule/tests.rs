//! Dates are of 2026: the clocks of Berlin go forward on 29 March and back on 25 October, both at 01:00 UTC; those of
//! New York on 8 March at 07:00 UTC and 1 November at 06:00 UTC.

use proptest::prelude::*;

use super::*;
use crate::value::schedule::parse;

fn schedule(text: &str) -> Schedule {
    parse(text).expect("a schedule")
}

fn berlin() -> Zone {
    Zone::named("Europe/Berlin").expect("a zone")
}

fn new_york() -> Zone {
    Zone::named("America/New_York").expect("a zone")
}

fn utc(text: &str) -> UnixTime {
    UnixTime(text.parse::<Timestamp>().expect("a moment").as_second())
}

/// The next changes from a moment on, in UTC.
fn changes(text: &str, zone: &Zone, from: &str, count: usize) -> Vec<String> {
    let schedule = schedule(text);
    let mut at = utc(from);
    let mut out = Vec::new();
    for _ in 0..count {
        let Opening { open, until: Some(until) } = schedule.at(zone, at) else { break };
        out.push(format!("{} {}", if open { "closes" } else { "opens" }, crate::rfc3339(until)));
        at = until;
    }
    out
}

#[test]
fn opens_and_closes_to_the_second() {
    let (schedule, zone) = (schedule("Mon-Fri 18:00-23:00"), Zone::named("Asia/Tokyo").expect("a zone"));
    let (opens, closes) = (utc("2026-11-23T09:00:00Z"), utc("2026-11-23T14:00:00Z"));
    let at = |seconds: i64| schedule.at(&zone, UnixTime(seconds));
    assert_eq!(at(opens.0 - 1), Opening { open: false, until: Some(opens) });
    assert_eq!(at(opens.0), Opening { open: true, until: Some(closes) });
    assert_eq!(at(closes.0 - 1), Opening { open: true, until: Some(closes) });
    assert_eq!(at(closes.0), Opening { open: false, until: Some(utc("2026-11-24T09:00:00Z")) });
    // Friday's is the last until Monday.
    assert_eq!(at(utc("2026-11-27T14:00:00Z").0).until, Some(utc("2026-11-30T09:00:00Z")));
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
    assert_eq!(
        changes("Sat 22:00-06:00", &berlin(), "2026-11-20T00:00:00Z", 3),
        ["opens 2026-11-21T21:00:00Z", "closes 2026-11-22T05:00:00Z", "opens 2026-11-28T21:00:00Z"]
    );
}

#[test]
fn windows_that_touch_are_one() {
    assert_eq!(
        changes("Sat 12:00-24:00, Sun 00:00-12:00, Sun 11:00-13:00", &berlin(), "2026-11-20T00:00:00Z", 2),
        ["opens 2026-11-21T11:00:00Z", "closes 2026-11-22T12:00:00Z"]
    );
    let always = schedule("daily 00:00-24:00").at(&berlin(), utc("2026-03-29T01:30:00Z"));
    assert_eq!(always, Opening { open: true, until: None });
}

#[test]
fn clocks_that_go_forward() {
    // 02:00-03:00 is left out: what lies in it does not open, what reaches into it begins or ends at the jump.
    assert_eq!(
        changes("daily 02:15-02:45", &berlin(), "2026-03-29T00:00:00Z", 1),
        ["opens 2026-03-30T00:15:00Z"]
    );
    assert_eq!(
        changes("daily 02:30-03:15", &berlin(), "2026-03-29T00:00:00Z", 2),
        ["opens 2026-03-29T01:00:00Z", "closes 2026-03-29T01:15:00Z"]
    );
    assert_eq!(
        changes("daily 01:30-02:30", &berlin(), "2026-03-29T00:00:00Z", 2),
        ["opens 2026-03-29T00:30:00Z", "closes 2026-03-29T01:00:00Z"]
    );
    assert_eq!(
        changes("Sat 22:00-06:00", &new_york(), "2026-03-07T12:00:00Z", 2),
        ["opens 2026-03-08T03:00:00Z", "closes 2026-03-08T10:00:00Z"]
    );
    // Two weeks to the next one.
    assert_eq!(
        changes("Sun 02:15-02:45", &berlin(), "2026-03-22T12:00:00Z", 1),
        ["opens 2026-04-05T00:15:00Z"]
    );
}

#[test]
fn clocks_that_go_back() {
    // 02:00-03:00 comes twice: one opening, from the first to the second.
    assert_eq!(
        changes("daily 02:15-02:45", &berlin(), "2026-10-24T12:00:00Z", 3),
        ["opens 2026-10-25T00:15:00Z", "closes 2026-10-25T01:45:00Z", "opens 2026-10-26T01:15:00Z"]
    );
    assert_eq!(
        changes("22:00-02:30", &berlin(), "2026-10-24T12:00:00Z", 2),
        ["opens 2026-10-24T20:00:00Z", "closes 2026-10-25T01:30:00Z"]
    );
    assert_eq!(
        changes("Sun 01:30-09:00", &new_york(), "2026-10-31T12:00:00Z", 2),
        ["opens 2026-11-01T05:30:00Z", "closes 2026-11-01T14:00:00Z"]
    );
}

#[test]
fn a_clock_beyond_reason_opens_nothing() {
    for at in [i64::MIN, i64::MAX] {
        assert!(!schedule("daily 00:00-24:00").at(&berlin(), UnixTime(at)).open);
    }
}

#[test]
fn is_written_as_it_is_read() {
    for text in
        ["Mon-Fri 18:00-23:00", "Fri-Mon 22:00-06:00", "daily 00:00-24:00", "Mon,Wed,Fri-Sat 08:00-09:30"]
    {
        assert_eq!(schedule(text).to_string(), text);
    }
    assert_eq!(
        schedule("Sun,sat 8:00-9:00, tuesday 10:00-11:00").to_string(),
        "Sat-Sun 08:00-09:00, Tue 10:00-11:00"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// At any moment the state is what the clock on the wall says, the repeated hour aside; and it lasts until the
    /// moment that is told, and not longer.
    #[test]
    fn agrees_with_the_clock_on_the_wall(
        windows in prop::collection::vec((1u8..=DAILY, 0..DAY, 0..=DAY), 1..4),
        hour in 0i64..24 * 366,
        second in 0i64..3_600,
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe"]),
    ) {
        let windows: Vec<Window> = windows
            .into_iter()
            .filter(|(_, from, to)| from != to)
            .map(|(days, from, to)| Window { days, from, to })
            .collect();
        let schedule = Schedule { windows };
        let zone = Zone::named(zone).expect("a zone");
        let at = UnixTime(utc("2026-01-01T00:00:00Z").0 + hour * 3_600 + second);
        let opening = schedule.at(&zone, at);

        let shown = Timestamp::from_second(at.0).expect("a moment").to_zoned(zone.time_zone.clone()).datetime();
        let minute = shown.hour() as u16 * 60 + shown.minute() as u16;
        let day = shown.weekday().to_monday_zero_offset() as usize;
        let shows = schedule.windows.iter().any(|window| {
            let begins = |day: usize| window.days & 1 << (day % 7) != 0;
            if window.from < window.to {
                begins(day) && (window.from..window.to).contains(&minute)
            } else {
                begins(day) && minute >= window.from || begins(day + 6) && minute < window.to
            }
        });
        let unambiguous = !zone.time_zone.to_ambiguous_timestamp(shown).is_ambiguous();
        if unambiguous {
            prop_assert_eq!(opening.open, shows, "{} at {}", schedule, shown);
        }
        if let Some(until) = opening.until {
            prop_assert!(until > at);
            prop_assert_eq!(schedule.at(&zone, UnixTime(until.0 - 1)), opening);
            prop_assert_ne!(schedule.at(&zone, until).open, opening.open);
        }
    }
}
