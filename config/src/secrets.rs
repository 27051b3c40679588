//! Passwords in the text of a configuration: hidden before anybody is shown a line of it.

use std::borrow::Cow;
use std::ops::Range;

/// Keys whose values are not shown.
const KEYS: [&str; 3] = ["password", "token", "secret"];

/// The text with an `*` for each octet of every value of a `password`, `token` or `secret`, also where it is no TOML, in
/// a comment, in a URL, or on a line of a difference between two texts. All other octets keep their places.
pub fn hidden(text: &str) -> Cow<'_, str> {
    let mut shown: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(value) = next_value(text, at) {
        let octets = shown.get_or_insert_with(|| text.as_bytes().to_vec());
        for octet in &mut octets[value.clone()] {
            if !matches!(*octet, b'\n' | b'\r') {
                *octet = b'*';
            }
        }
        at = value.end;
    }
    match shown.map(String::from_utf8) {
        Some(Ok(shown)) => Cow::Owned(shown),
        // Values begin and end between characters, so the rest is still UTF-8.
        Some(Err(_)) => Cow::Owned("*".repeat(text.len())),
        None => Cow::Borrowed(text),
    }
}

/// The next value from `at` on that has something to hide.
fn next_value(text: &str, mut at: usize) -> Option<Range<usize>> {
    loop {
        let (start, key) = KEYS.iter().filter_map(|key| Some((at + text[at..].find(key)?, *key))).min()?;
        at = start + key.len();
        let before = text[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '{')) {
            continue;
        }
        let in_url = matches!(before, Some('?' | '&'));
        if let Some(value) = value_behind(text, at, in_url).filter(|value| !value.is_empty()) {
            return Some(value);
        }
    }
}

/// The value behind a key that ends at `at`: between quotes, or to the end of the line.
fn value_behind(text: &str, at: usize, in_url: bool) -> Option<Range<usize>> {
    let rest = &text[at..];
    // The key itself may be in quotes.
    let rest =
        rest.strip_prefix(['"', '\'']).filter(|rest| rest.trim_start().starts_with('=')).unwrap_or(rest);
    let behind = rest.trim_start_matches([' ', '\t']);
    let value = behind.strip_prefix(['=', ':']).map(|value| value.trim_start_matches([' ', '\t']));
    let value = value.or(behind.starts_with(['"', '\'']).then_some(behind))?;
    let start = text.len() - value.len();
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inside) = value.strip_prefix(quotes) {
            let length = inside.find(quotes).unwrap_or(inside.len());
            return Some(start + 3..start + 3 + length);
        }
    }
    let line = &value[..value.find(['\n', '\r']).unwrap_or(value.len())];
    if in_url {
        return Some(start..start + line.find(['&', '"', '\'', ' ', '#']).unwrap_or(line.len()));
    }
    match line.as_bytes().first()? {
        b'"' => Some(start + 1..start + 1 + closing_quote(&line[1..])),
        b'\'' => Some(start + 1..start + 1 + line[1..].find('\'').unwrap_or(line.len() - 1)),
        // What closes an inline table is no part of the value.
        _ => Some(start..start + line.trim_end_matches([' ', '\t', ',', '}', ']', '"', '\'']).len()),
    }
}

/// Where a basic string ends (TOML 1.0, "String").
fn closing_quote(inside: &str) -> usize {
    let mut escaped = false;
    let end = inside.bytes().position(|octet| {
        let end = octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        end
    });
    end.unwrap_or(inside.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::hidden;

    #[test]
    fn hides_values_and_nothing_else() {
        for (text, shown) in [
            ("password = \"hunter2\" # mine", "password = \"*******\" # mine"),
            ("password='a\"b'\ntoken = \"a\\\"b\"", "password='***'\ntoken = \"****\""),
            ("\"password\" = \"hunter2\"", "\"password\" = \"*******\""),
            ("+secret = \"\"\"\nab\ncd\"\"\"\n", "+secret = \"\"\"\n**\n**\"\"\"\n"),
            ("{ names = [\"a\"], token = abc }", "{ names = [\"a\"], token = *** }"),
            ("password: hunter2", "password: *******"),
            ("password \"hunter2\"", "password \"*******\""),
            ("password = \"hunter2\nnames = 1", "password = \"*******\nnames = 1"),
            ("url = \"https://x.example/?token=abc&a=1\"", "url = \"https://x.example/?token=***&a=1\""),
        ] {
            assert_eq!(hidden(text), shown);
        }
        for plain in [
            "password_file = \"/etc/x\"",
            "# the password is in a file",
            "one_time_token = 1",
            "url = \"https://x.example/{password}?a={token}\"",
            "password = \"\"",
        ] {
            assert_eq!(hidden(plain), plain);
        }
    }

    proptest! {
        #[test]
        fn places_stay(text in "(password|token|secret|[a-z \"'={}\\[\\],\\\\\n玄]){0,40}") {
            let shown = hidden(&text);
            prop_assert_eq!(shown.len(), text.len());
            let lines = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
            prop_assert_eq!(lines(&shown), lines(&text));
        }
    }
}
