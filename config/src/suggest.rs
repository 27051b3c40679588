//! "Did you mean ...?"

/// The candidate that a person most likely meant by `word`, if one is near enough: at most one slip
/// per three letters. Case and the choice of `-`, `_` or a blank never count.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What is much longer than any name is no slip of the finger.
    if word.len() > 64 {
        return None;
    }
    let word = plain(word);
    let limit = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = distance(&word, &plain(candidate));
            (distance <= limit && distance < candidate.chars().count()).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> Vec<char> {
    let flatten = |character| if matches!(character, '-' | ' ') { '_' } else { character };
    word.chars().flat_map(char::to_lowercase).map(flatten).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word the other
/// (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["device", "address", "addresses", "max_sessions", "to"];

    #[test]
    fn finds_slips() {
        assert_eq!(closest("devcie", KEYS), Some("device"));
        assert_eq!(closest("adress", KEYS), Some("address"));
        assert_eq!(closest("max-sessions", KEYS), Some("max_sessions"));
        assert_eq!(closest("MaxSessions", KEYS), Some("max_sessions"));
        assert_eq!(closest("too", KEYS), Some("to"));
    }

    #[test]
    fn leaves_the_rest_alone() {
        assert_eq!(closest("colour", KEYS), None);
        assert_eq!(closest("", KEYS), None);
        assert_eq!(closest("x", ["y"]), None);
        assert_eq!(closest(&"device".repeat(40), KEYS), None);
    }
}
