//! Opening hours as people write them: `"Mon-Fri 18:00-23:00, Sat,Sun 10:00-24:00"`.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema as JsonSchemaObject, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{Bad, Refusal, Scalar, Text, quoted};
use crate::schedule::{DAILY, DAY, DAYS, Schedule, Window, Zone};
use crate::suggest::closest;

const ACCEPTED: &str = "days and times such as \"Mon-Fri 18:00-23:00\" are accepted";
const EXAMPLE: &str = "\"Mon-Fri 18:00-23:00\"";
/// More windows than a week needs.
const MOST_WINDOWS: usize = 64;
/// What people may call the days; three letters are enough.
const LONG_DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl Scalar for Schedule {
    const TAKES: &'static str = "opening hours such as \"Mon-Fri 18:00-23:00\"";
    const MANY: &'static str = "opening hours";

    fn from_toml(value: &DeValue<'_>) -> Result<Schedule, Refusal> {
        match value {
            DeValue::String(text) => Ok(parse(text)?),
            _ => Err(Refusal::Type),
        }
    }
}

/// A word of the text and where it stands.
#[derive(Clone, Copy)]
struct Part<'t> {
    text: &'t str,
    start: usize,
}

impl<'t> Part<'t> {
    fn range(self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Splits at the only `separator`; `None` where there is none.
    fn split(self, separator: char) -> Option<(Part<'t>, Part<'t>)> {
        let (left, right) = self.text.split_once(separator)?;
        let start = self.start + left.len() + separator.len_utf8();
        Some((Part { text: left, start: self.start }, Part { text: right, start }))
    }

    fn bad(self, what: impl Into<String>) -> Bad {
        Bad::new(what, ACCEPTED).at(self.range())
    }
}

/// Reads the text; a refusal points at the part that is wrong.
pub(crate) fn parse(text: &str) -> Result<Schedule, Bad> {
    let mut windows = Vec::new();
    // Days that wait for their times: "Mon,Wed 18:00-20:00".
    let mut days = 0u8;
    let mut days_named = None;
    for item in pieces(text, ',') {
        let mut words = pieces(item.text, ' ')
            .map(|word| Part { start: item.start + word.start, ..word })
            .filter(|word| !word.text.is_empty())
            .peekable();
        let empty = Part { text: "", start: item.start };
        let Some(first) = words.next() else {
            return Err(empty
                .bad(if text.trim().is_empty() { "it is empty" } else { "there is nothing here" })
                .fix(EXAMPLE));
        };
        let starts_with_digit = |word: Part<'_>| word.text.starts_with(|first: char| first.is_ascii_digit());
        let times = if starts_with_digit(first) {
            Some(first)
        } else {
            days |= read_days(first)?;
            words.next()
        };
        if let Some(rest) = words.next() {
            let joined = text.replace(" - ", "-").replace("- ", "-").replace(" -", "-");
            let bad = rest.bad("a comma is needed before this");
            return Err(if joined != text && parse(&joined).is_ok() {
                bad.fix(quoted(&joined))
            } else {
                bad
            });
        }
        let Some(times) = times else { continue };
        let (from, to) = read_times(times)?;
        let named = days != 0;
        if days_named.is_some_and(|before| before != named) {
            let bad = first.bad("some windows name their days and others do not");
            return Err(bad.help("name the days of each, or write `daily`"));
        }
        days_named = Some(named);
        windows.push(Window { days: if named { days } else { DAILY }, from, to });
        days = 0;
        if windows.len() > MOST_WINDOWS {
            return Err(first.bad(format!("there are more than {MOST_WINDOWS} windows")));
        }
    }
    if days != 0 {
        let end = Part { text: "", start: text.len() };
        return Err(end
            .bad("the times are missing")
            .fix(quoted(&format!("{} 00:00-24:00", text.trim_end()))));
    }
    Ok(Schedule { windows })
}

/// The parts between separators, with their places.
fn pieces(text: &str, separator: char) -> impl Iterator<Item = Part<'_>> {
    let mut start = 0;
    text.split(separator).map(move |piece| {
        let part = Part { text: piece, start };
        start += piece.len() + separator.len_utf8();
        part
    })
}

/// `Mon`, `Mon-Fri`, `daily`: a bit for each day.
fn read_days(word: Part<'_>) -> Result<u8, Bad> {
    if word.text.eq_ignore_ascii_case("daily") {
        return Ok(DAILY);
    }
    let Some((first, last)) = word.split('-') else { return Ok(1 << read_day(word)?) };
    let (first, last) = (read_day(first)?, read_day(last)?);
    // Over the end of the week: Fri-Mon.
    let length = (last + 7 - first) % 7;
    Ok((0..=length).fold(0, |days, more| days | 1 << ((first + more) % 7)))
}

fn read_day(word: Part<'_>) -> Result<usize, Bad> {
    let flat = word.text.to_ascii_lowercase();
    let found = LONG_DAYS.iter().position(|day| flat == *day || flat == day[..3]);
    found.ok_or_else(|| {
        let bad = word.bad(if flat.is_empty() {
            "a day is missing".to_owned()
        } else {
            format!("`{}` is no day", super::shorten(word.text))
        });
        let guess = closest(&flat, LONG_DAYS.iter().copied().chain(["daily"]));
        match guess.map(|guess| LONG_DAYS.iter().position(|day| *day == guess).map_or(guess, |day| DAYS[day]))
        {
            Some(guess) => bad.help(format!("did you mean `{guess}`?")),
            None => bad.help("days are Mon, Tue, Wed, Thu, Fri, Sat, Sun, or daily"),
        }
    })
}

/// `18:00-23:00`, in minutes of the day.
fn read_times(word: Part<'_>) -> Result<(u16, u16), Bad> {
    let Some((from, to)) = word.split('-') else {
        return Err(word.bad("a time of opening and one of closing are needed, with `-` between"));
    };
    let (start, end) = (read_time(from)?, read_time(to)?);
    if start == DAY {
        return Err(from
            .bad("24:00 is the end of a day")
            .help("a window that begins at midnight begins at 00:00"));
    }
    if start == end {
        return Err(word
            .bad("it closes when it opens, so it never opens")
            .help("a whole day is `00:00-24:00`"));
    }
    Ok((start, end))
}

fn read_time(word: Part<'_>) -> Result<u16, Bad> {
    let number = |part: Part<'_>, most: u16| {
        let digits =
            (1..=2).contains(&part.text.len()) && part.text.bytes().all(|octet| octet.is_ascii_digit());
        part.text.parse::<u16>().ok().filter(|number| digits && *number <= most)
    };
    let bad = || {
        let what = if word.text.is_empty() {
            "a time is missing".to_owned()
        } else {
            format!("`{}` is no time of day", super::shorten(word.text))
        };
        word.bad(what).help("times go from 00:00 to 24:00, in hours and minutes")
    };
    let (hour, minute) = word.split(':').ok_or_else(bad)?;
    let hours = number(hour, 24).ok_or_else(bad)?;
    let minutes = number(minute, 59).filter(|_| minute.text.len() == 2).ok_or_else(bad)?;
    Some(hours * 60 + minutes).filter(|minutes| *minutes <= DAY).ok_or_else(bad)
}

impl JsonSchema for Schedule {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> JsonSchemaObject {
        json_schema!({ "type": "string", "minLength": 9 })
    }
}

impl Text for Zone {
    const TAKES: &'static str = "the name of a time zone such as \"Asia/Tokyo\"";
    const MANY: &'static str = "names of time zones";

    fn parse(text: &str) -> Result<Zone, Bad> {
        if text == "local" {
            return Ok(Zone::local());
        }
        Zone::named(text).ok_or_else(|| {
            let bad = Bad::new(
                "there is no such time zone",
                "\"local\" or a name of the IANA database such as \"Asia/Tokyo\" is accepted",
            );
            let flat = text.trim().replace(' ', "_").to_lowercase();
            let names: Vec<String> =
                jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
            let city = |name: &&String| {
                let name = name.to_lowercase();
                name == flat || name.rsplit('/').next() == Some(&flat)
            };
            let guess = names.iter().find(city).map(String::as_str);
            match guess.or_else(|| closest(text, names.iter().map(String::as_str))) {
                Some(guess) => bad.fix(quoted(guess)),
                None => bad.fix("\"Asia/Tokyo\""),
            }
        })
    }
}

impl JsonSchema for Zone {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Zone".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> JsonSchemaObject {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that a refusal points at, and its words.
    fn refusal(text: &str) -> (String, String) {
        let bad = parse(text).expect_err(text);
        let (start, end) = bad.at.expect("a place");
        (text[start.into()..end.into()].to_owned(), bad.what)
    }

    #[test]
    fn reads_days_and_times() {
        let window = |days, from, to| Window { days, from, to };
        let read = |text: &str| parse(text).expect(text).windows;
        assert_eq!(read("22:00-06:00"), [window(DAILY, 22 * 60, 6 * 60)]);
        assert_eq!(read("daily 9:05-24:00"), [window(DAILY, 9 * 60 + 5, DAY)]);
        assert_eq!(read("Fri-Mon 18:00-23:00"), [window(0b111_0001, 18 * 60, 23 * 60)]);
        assert_eq!(
            read(" mon,WED 18:00-23:00 ,  Sunday 00:00-01:00"),
            [window(0b101, 18 * 60, 23 * 60), window(0b100_0000, 0, 60)]
        );
    }

    #[test]
    fn refusals_point_at_the_part() {
        let at = |text: &str| refusal(text).0;
        assert_eq!(at("Mon-Fru 18:00-23:00"), "Fru");
        assert_eq!(at("Mon-Fri 18:00-25:00"), "25:00");
        assert_eq!(at("Mon-Fri 18:0-23:00"), "18:0");
        assert_eq!(at("Mon-Fri 18:00"), "18:00");
        assert_eq!(at("Mon 18:00-19:00 20:00-21:00"), "20:00-21:00");
        assert_eq!(at("Mon 18:00-18:00"), "18:00-18:00");
        assert_eq!(at("Mon 24:00-02:00"), "24:00");
        assert_eq!(at("Mon 18:00-19:00, 20:00-21:00"), "20:00-21:00");
        assert_eq!(at("Mon-Fri"), "");
        assert_eq!(at("Mon 18:00-19:00,"), "");
        assert_eq!(at(""), "");
        assert_eq!(at("日曜日 18:00-19:00"), "日曜日");
        assert_eq!(
            parse("Mon 18:00 - 19:00").expect_err("spaces").fix.as_deref(),
            Some("\"Mon 18:00-19:00\"")
        );
    }

    #[test]
    fn zones_have_names() {
        assert_eq!(Zone::parse("Asia/Tokyo").expect("a zone").to_string(), "Asia/Tokyo");
        assert_eq!(Zone::parse("local").expect("a zone"), Zone::local());
        let fix = |text: &str| Zone::parse(text).expect_err(text).fix;
        assert_eq!(fix("Asia/Tokio").as_deref(), Some("\"Asia/Tokyo\""));
        assert_eq!(fix("new york").as_deref(), Some("\"America/New_York\""));
        assert_eq!(fix("../../etc/passwd").as_deref(), Some("\"Asia/Tokyo\""));
    }
}
