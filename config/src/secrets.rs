//! Passwords in the text of a configuration: hidden before anybody is shown a line of it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use crate::json_schema;
use crate::suggest::closest;

/// Keys whose values are not shown.
const KEYS: [&str; 3] = ["password", "token", "secret"];
/// Parts of other keys that people write in their place.
const PARTS: [&str; 5] = ["passw", "passphrase", "token", "secret", "credential"];
/// The same, as words between `_`.
const WORDS: [&str; 7] = ["pass", "paswd", "passcode", "pwd", "pw", "psk", "auth"];
/// Ends of keys that say where a password is, not what.
const PLACES: [&str; 2] = ["file", "path"];

/// The text with an `*` for each octet of every value of a `password`, `token` or `secret`, also where the key is
/// misspelt or another word for one, where it is no TOML, in a comment, in a URL (there before an `@` too), or on a line of a difference between two
/// texts. All other octets keep their places.
pub fn hidden(text: &str) -> Cow<'_, str> {
    let mut shown: Option<Vec<u8>> = None;
    let mut at = 0;
    // Keys are the same again and again.
    let mut judged = HashMap::new();
    let mut is_secret = |key, in_url| *judged.entry((key, in_url)).or_insert_with(|| is_secret(key, in_url));
    while let Some(value) = next_value(text, at, &mut is_secret) {
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
fn next_value<'t>(
    text: &'t str,
    mut at: usize,
    is_secret: &mut impl FnMut(&'t str, bool) -> bool,
) -> Option<Range<usize>> {
    let is_in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut last_word = at..at;
    loop {
        let start = at + text[at..].find(is_in_word)?;
        let end = text[start..].find(|c| !is_in_word(c)).map_or(text.len(), |length| start + length);
        at = end;
        // Some write a key as two words.
        let gap = &text[last_word.end..start];
        let is_near = !gap.is_empty() && gap.trim_start_matches([' ', '\t']).is_empty();
        let key_start = if is_near { last_word.start } else { start };
        last_word = start..end;
        if !text[end..].trim_start_matches(['"', '\'', ' ', '\t']).starts_with(['=', ':'])
            && !text[end..].trim_start_matches([' ', '\t']).starts_with(['"', '\''])
        {
            continue;
        }
        if let Some(password) = userinfo(text, end) {
            return Some(password);
        }
        let in_url = text[..start].ends_with(['?', '&']);
        if !is_secret(&text[key_start..end], in_url) {
            continue;
        }
        if let Some(value) = value_behind(text, end, in_url).filter(|value| !value.is_empty()) {
            return Some(value);
        }
    }
}

/// The password before the `@` of a URL whose `://` begins at `at`.
fn userinfo(text: &str, at: usize) -> Option<Range<usize>> {
    let authority = text[at..].strip_prefix("://")?;
    let start = text.len() - authority.len();
    let end = authority
        .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '"' | '\''))
        .unwrap_or(authority.len());
    let user = &authority[..authority[..end].rfind('@')?];
    let password = &user[user.find(':')? + 1..];
    (!password.is_empty()).then(|| start + user.len() - password.len()..start + user.len())
}

/// Whether a key holds a password, or was meant as one that does.
fn is_secret(key: &str, in_url: bool) -> bool {
    let key = key.trim_matches(['_', '-', ' ', '\t']).to_lowercase().replace(['-', ' ', '\t'], "_");
    if KEYS.contains(&key.as_str()) || in_url && key == "key" {
        return true;
    }
    if is_known(&key) || PLACES.iter().any(|place| key.ends_with(place)) {
        return false;
    }
    key.ends_with("key")
        || PARTS.iter().any(|part| key.contains(part))
        || is_slip(&key)
        || key.split('_').any(|word| WORDS.contains(&word) || word.len() < key.len() && is_slip(word))
}

/// Whether a configuration has such a key.
fn is_known(word: &str) -> bool {
    static KNOWN: OnceLock<HashSet<&str>> = OnceLock::new();
    let keys = || json_schema::keys().values().flatten().map(String::as_str).collect();
    KNOWN.get_or_init(keys).contains(word)
}

/// Whether a word is nearly one of the keys.
fn is_slip(word: &str) -> bool {
    // All others are too far away by their length alone.
    (4..=12).contains(&word.chars().count()) && !is_known(word) && closest(word, KEYS).is_some()
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
            ("url = \"https://user:a:b@x.example/@\"", "url = \"https://user:***@x.example/@\""),
            ("{password=\"abc\"}", "{password=\"***\"}"),
            ("-secret = \"abc\"", "-secret = \"***\""),
        ] {
            assert_eq!(hidden(text), shown);
        }
        for plain in [
            "password_file = \"/etc/x\"",
            "# the password is in a file",
            "url = \"https://x.example/{password}?a={token}\"",
            "password = \"\"",
            "url = \"https://user@x.example:8080/a:b@c\"",
        ] {
            assert_eq!(hidden(plain), plain);
        }
    }

    #[test]
    fn hides_what_is_meant_as_a_password() {
        for key in [
            "Token",
            "TOKEN_",
            "tokn",
            "tkoen",
            "one_time_token",
            "passwd",
            "pass",
            "pwd",
            "passphrase",
            "my-password",
            "pasword",
            "paswd",
            "Secret",
            "secrte",
            "tsig_secret",
            "api_key",
            "apikey",
            "key_secret",
            "private-key",
            "psk",
            "credentials",
            "password2",
            "pass word",
            "api key",
            "\"tokn\"",
        ] {
            assert_eq!(hidden(&format!("{key} = \"hunter2\"")), format!("{key} = \"*******\""));
        }
        let url = "url = \"https://x.example/?key=abc&pass=def&name=nas\"";
        assert_eq!(hidden(url), url.replace("abc", "***").replace("def", "***"));
        for plain in [
            "key = \"genkan\"",
            "key_name = \"genkan\"",
            "socket = \"/run/genkan.sock\"",
            "Token_File = \"/etc/x\"",
            "tokn-file = \"/etc/x\"",
            "passwordfile = \"/etc/x\"",
            "secret_path = \"/etc/x\"",
            "{ names = [\"a\"], key = \"genkan\" }",
        ] {
            assert_eq!(hidden(plain), plain);
        }
    }

    #[test]
    fn shows_the_keys_that_are_no_passwords() {
        for key in crate::json_schema::keys().values().flatten() {
            let line = format!("{key} = \"x\"");
            let is_password = ["password", "token", "secret"].contains(&key.as_str());
            assert_eq!(hidden(&line) == line, !is_password, "{key}");
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
