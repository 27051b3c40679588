//! A filter's text as words, each with its place.

use super::{FilterError, MAX_LENGTH};

/// A word and the character where it begins, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: usize,
}

impl Word {
    /// An error about this word.
    pub(super) fn error(&self, problem: impl Into<String>, accepted: &'static str) -> FilterError {
        FilterError { at: self.at, len: self.text.chars().count().max(1), problem: problem.into(), accepted }
    }

    /// Whether it stands for a value, as opposed to a word of the language.
    pub(super) fn is_value(&self) -> bool {
        self.text.starts_with(|first: char| first.is_ascii_digit())
    }
}

/// Cuts a text into words; parentheses, `!`, `&&` and `||` are words of their own.
pub(super) fn words(text: &str) -> Result<Vec<Word>, FilterError> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > MAX_LENGTH {
        let problem = format!("the filter has {} characters", characters.len());
        return Err(FilterError { at: MAX_LENGTH + 1, len: 1, problem, accepted: "1024 of them" });
    }
    let (mut words, mut at) = (Vec::new(), 0);
    while let Some(first) = characters.get(at) {
        let rest = &characters[at..];
        let len = match first {
            white if white.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' | ')' | '!' => 1,
            '&' if rest.get(1) == Some(&'&') => 2,
            '|' if rest.get(1) == Some(&'|') => 2,
            _ => rest.iter().take_while(|one| is_of_word(**one)).count(),
        };
        let word = Word { text: rest[..len.max(1)].iter().collect(), at: at + 1 };
        if len == 0 {
            let problem = format!("`{}` belongs to no filter", word.text.escape_debug());
            return Err(word.error(problem, "letters, digits, `.`, `/`, `-`, parentheses, `!`, `&&`, `||`"));
        }
        words.push(word);
        at += len;
    }
    Ok(words)
}

fn is_of_word(one: char) -> bool {
    one.is_alphanumeric() || matches!(one, '.' | '/' | '-' | '_' | ':')
}
