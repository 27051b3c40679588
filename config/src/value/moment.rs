//! Points in time: TOML's offset date-times.

use std::borrow::Cow;

use genkan_engine::time::UnixTime;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;
use toml::value::{Datetime, Offset};

use super::{Bad, Refusal, Scalar};

/// A point in time, as seconds since 1970-01-01T00:00:00Z; fractions of a second are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) UnixTime);

const ACCEPTED: &str = "a date and a time with its offset from UTC are needed";

impl Scalar for Moment {
    const TAKES: &'static str = "a date and time such as 2026-12-31T23:59:59Z";
    const MANY: &'static str = "dates with times";

    fn from_toml(value: &DeValue<'_>) -> Result<Moment, Refusal> {
        match value {
            DeValue::Datetime(datetime) => Ok(from_datetime(datetime)?),
            // Only a whole and valid one gets the advice to take the quotes off.
            DeValue::String(text) => match text.trim().parse::<Datetime>() {
                Ok(datetime) => match from_datetime(&datetime) {
                    Ok(_) => Err(Bad::new("a date stands without quotes", ACCEPTED).fix(text.trim()).into()),
                    Err(bad) => Err(bad.into()),
                },
                Err(_) => Err(Refusal::Type),
            },
            _ => Err(Refusal::Type),
        }
    }
}

fn from_datetime(datetime: &Datetime) -> Result<Moment, Bad> {
    let Some(date) = datetime.date else {
        return Err(Bad::new("it has no date", ACCEPTED).fix(format!("2036-12-31T{datetime}Z")));
    };
    let Some(time) = datetime.time else {
        return Err(Bad::new("it has no time of day", ACCEPTED).fix(format!("{date}T23:59:59Z")));
    };
    let Some(offset) = datetime.offset else {
        return Err(Bad::new("it does not say in which time zone", ACCEPTED)
            .fix(format!("{datetime}Z"))
            .help(format!("`Z` is UTC; for Japan write `{datetime}+09:00`")));
    };
    let offset_minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let second_of_day =
        i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    Ok(Moment(UnixTime(days * 86_400 + second_of_day - offset_minutes * 60)))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// Years begin in March here, so that the leap day is the last of its year; then every month but the last
/// begins at a fixed day, `(153 * month + 2) / 5`, and leap years follow the rule of 4, 100 and 400.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719_468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// A point in time as the file takes it, in UTC.
pub fn written(UnixTime(seconds): UnixTime) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The inverse of days_since_1970, by its era of 400 years (146_097 days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        // TOML has dates of its own; tools that read TOML as JSON show them as strings.
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(text: &str) -> i64 {
        from_datetime(&text.parse().expect("a TOML date")).expect("a moment").0.0
    }

    #[test]
    fn counts_from_1970() {
        assert_eq!(unix("1970-01-01T00:00:00Z"), 0);
        assert_eq!(unix("1969-12-31T23:59:59Z"), -1);
        assert_eq!(unix("2000-02-29T12:00:00Z"), 951_825_600);
        assert_eq!(unix("2026-12-31T23:59:59+09:00"), 1_798_729_199);
        assert_eq!(unix("2026-12-31T14:59:59.999Z"), 1_798_729_199);
        assert_eq!(unix("2038-01-19T03:14:08-00:30"), 2_147_483_648 + 1_800);
    }

    #[test]
    fn writes_what_it_reads() {
        for day in (-200_000..200_000).step_by(97) {
            let moment = UnixTime(day * 86_400 + 3_661);
            if let Ok(datetime) = written(moment).parse() {
                assert_eq!(from_datetime(&datetime), Ok(Moment(moment)));
            }
        }
        assert_eq!(written(UnixTime(1_798_729_199)), "2026-12-31T14:59:59Z");
    }

    #[test]
    fn says_what_is_missing() {
        let bad = |text: &str| from_datetime(&text.parse().expect("a TOML date")).expect_err("incomplete");
        assert_eq!(bad("2026-12-31").fix.as_deref(), Some("2026-12-31T23:59:59Z"));
        assert_eq!(bad("2026-12-31T10:00:00").fix.as_deref(), Some("2026-12-31T10:00:00Z"));
        assert_eq!(bad("10:00:00").fix.as_deref(), Some("2036-12-31T10:00:00Z"));
    }
}
