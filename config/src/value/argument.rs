//! Values as people write them on a command line, checked before a router is asked.

use super::{Bad, rate, schedule};

/// A rate: `20/min`. It is returned as it was written.
///
/// # Errors
/// One line that says what is wrong and what is accepted.
pub fn rate(text: &str) -> Result<String, String> {
    rate::parse(text).map(|_| text.to_owned()).map_err(|bad| refusal(&bad))
}

/// Opening hours: `Mon-Fri 18:00-23:00`. They are returned as they were written.
///
/// # Errors
/// One line that says what is wrong and what is accepted.
pub fn opening_hours(text: &str) -> Result<String, String> {
    schedule::parse(text).map(|_| text.to_owned()).map_err(|bad| refusal(&bad))
}

/// What is wrong, in one line.
pub(super) fn refusal(bad: &Bad) -> String {
    let fix = bad.fix.as_ref().map(|fix| format!("; write {}", fix.trim_matches('"'))).unwrap_or_default();
    format!("{}: {}{fix}", bad.what, bad.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        assert_eq!(rate("20/min"), Ok("20/min".to_owned()));
        let without_time = rate("20").expect_err("of what time");
        assert!(without_time.ends_with("such as \"20/min\"; write 20/min"), "{without_time}");
        assert_eq!(opening_hours("Sat,Sun 10:00-02:00"), Ok("Sat,Sun 10:00-02:00".to_owned()));
        let no_day = opening_hours("Foo 10:00-12:00").expect_err("no such day");
        assert!(no_day.contains("days and times such as"), "{no_day}");
    }
}
