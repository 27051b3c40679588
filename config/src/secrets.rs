//! Passwords in the text of a configuration: hidden before anybody is shown a line of it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use crate::json_schema;
use crate::suggest::closest;

mod value;

use value::{table_below, value_behind};

/// Keys whose values are not shown.
const KEYS: [&str; 3] = ["password", "token", "secret"];
/// Parts of other keys that people write in their place.
const PARTS: [&str; 5] = ["passw", "passphrase", "token", "secret", "credential"];
/// The same, as words between `_`.
const WORDS: [&str; 7] = ["pass", "paswd", "passcode", "pwd", "pw", "psk", "auth"];
/// Ends of keys that say where a password is, not what.
const PLACES: [&str; 2] = ["file", "path"];

/// The text with an `*` for each octet of every value of a `password`, `token` or `secret`, also where the key is
/// misspelt or another word for one, where it is no TOML or goes over several lines, in a comment, in a URL (there before
/// an `@` too), or on a line of a difference between two texts. All other octets keep their places.
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
        Some(Err(_)) => {
            Cow::Owned(text.bytes().map(|octet| if octet == b'\n' { '\n' } else { '*' }).collect())
        }
        None => Cow::Borrowed(text),
    }
}

/// [`hidden`], and an `*` wherever `before` has one: a value stays hidden when its key is taken out of the text.
pub(crate) fn hidden_too(text: &str, before: &str) -> String {
    let mut shown = hidden(text).into_owned().into_bytes();
    for (octet, before) in shown.iter_mut().zip(before.bytes()) {
        if before == b'*' {
            *octet = before;
        }
    }
    // Whole characters were hidden before, too.
    String::from_utf8(shown).unwrap_or_else(|_| "*".repeat(text.len()))
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
        let table = (gap == ".").then(|| &text[last_word.clone()]);
        last_word = start..end;
        if let Some(table) = table_below(text, start..end).filter(|_| is_secret(&text[start..end], false)) {
            return Some(table);
        }
        if !text[end..].trim_start_matches(['"', '\'', ' ', '\t']).starts_with(['=', ':'])
            && !text[end..].trim_start_matches([' ', '\t']).starts_with(['"', '\''])
        {
            continue;
        }
        if let Some(password) = userinfo(text, end) {
            return Some(password);
        }
        let in_url = text[..start].ends_with(['?', '&']);
        let is_below = |table| text[end..].trim_start().starts_with('=') && is_secret(table, false);
        if !table.is_some_and(is_below) && !is_secret(&text[key_start..end], in_url) {
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
    fn hides_a_value_on_all_of_its_lines() {
        let other = "names = [\"nas.example.com\"]";
        for value in [
            "[\n  \"PW\",\n  \"PW\"\n]",
            "[\"PW\",\n\"PW]PW\", # PW\n'''PW\n]PW''']",
            "[\n[\"PW\"],\n[\"PW\"]]",
            "{ a = \"PW\",\n  names = [\"PW\"] }",
            "[{ url = \"PW\" },\n { url = \"PW\" }] # x",
            "[\n  \"PW\",\n  \"PW\"",
            "[PW,\nPW",
            "{ a = \"PW\",\nb = \"PW\"\n[wan]",
            "\"\"\"\nPW\\\"\"\"PW\n\"\"\"",
            "\"\"\"PW\"\"\"PW\"",
            "\"PW\nPW==\"",
            "\"PW\nPW=\nto\"",
            "'PW\n\nPW'",
            "\"PW\nPW",
            "\"PW\"PW\"",
            "\"\"PW\"\"",
            "'PW's, PW'",
            "\n  \"PW\"",
            "\n\n[\n\"PW\"]",
            "[\"PW\"] \"PW\"",
        ] {
            for (before, after) in [("", ""), ("# ", "\n# "), ("+", "\n+")] {
                // Prose goes on below a colon.
                if before == "# " && value.starts_with('\n') {
                    continue;
                }
                let line_end = if after.is_empty() { "\n" } else { after };
                let text = format!("{before}password = {}{line_end}{other}", value.replace('\n', line_end));
                let shown = hidden(&text);
                assert!(!shown.contains("PW") && shown.ends_with(other), "{text}\n{shown}");
            }
        }
        for (text, shown) in [
            ("token = [\n\"a\",\n] # b\n", "token = [\n****\n] # b\n"),
            ("{ token = { a = \"b\" }, names = [] }", "{ token = {*********}, names = [] }"),
            ("{ token = \"a\", naems = [] }", "{ token = \"*\", naems = [] }"),
            ("token = \"a\" names = []", "token = \"*\" names = []"),
            ("token = [\n\"a\"\n[[ddns]]\nurl = 1", "token = [\n***\n[[ddns]]\nurl = 1"),
            ("token =\nnames = []", "token =\nnames = []"),
            ("# the token:\nnmaes = []", "# the token:\nnmaes = []"),
            ("# the token's\nnmaes = []", "# the token'*\nnmaes = []"),
            ("token.is = \"abc\"", "token.is = \"***\""),
            ("[ddns.token]\na = \"b\"\n[wan]\nmtu = 1", "[ddns.token]\n*******\n[wan]\nmtu = 1"),
        ] {
            assert_eq!(hidden(text), shown);
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
        fn lists_are_hidden_whole(texts in prop::collection::vec("PW([a-z =,#'\"\\\\\\[\\]{}\n]|to =|\n\\[wan\\]\n){0,12}", 1..4)) {
            let quoted = |text: &String| match text.replace('\\', "\\\\").replace('"', "\\\"") {
                long if long.contains('\n') => format!("\"\"\"{long}\"\"\""),
                short => format!("\"{short}\""),
            };
            let list = texts.iter().map(quoted).collect::<Vec<_>>().join(",\n[]  , # ]\n");
            let text = format!("password = [{list}]\nnames = []");
            let shown = hidden(&text);
            prop_assert!(!shown.contains("PW") && shown.ends_with("]\nnames = []"), "{text}\n{shown}");
        }

        #[test]
        fn places_stay(text in "(password|token|secret|[a-z \"'={}\\[\\],\\\\\n玄]){0,40}") {
            let shown = hidden(&text);
            prop_assert_eq!(shown.len(), text.len());
            let lines = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
            prop_assert_eq!(lines(&shown), lines(&text));
        }
    }
}
