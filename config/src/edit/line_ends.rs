//! Line ends after an edit. The TOML tree writes new lines, and some old ones, with a bare line feed.

/// The edited text with the line ends that each line had before; new lines end as most of the old ones do.
pub(super) fn as_before(before: &str, edited: String) -> String {
    let windows = before.matches("\r\n").count();
    if windows == 0 {
        return edited;
    }
    let end = if 2 * windows >= before.matches('\n').count() { "\r\n" } else { "\n" };
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = edited.split_inclusive('\n').collect();
    // An edit takes out or puts in what stands in one place, at most two.
    let first = old.iter().zip(&new).take_while(|(old, new)| is_same(old, new)).count();
    let most = old.len().min(new.len()) - first;
    let pairs = old.iter().rev().zip(new.iter().rev());
    let last = pairs.take(most).take_while(|(old, new)| is_same(old, new)).count();
    let mut text: String = old[..first].concat();
    for line in &new[first..new.len() - last] {
        match line.strip_suffix('\n') {
            Some(line) => {
                text.push_str(line.strip_suffix('\r').unwrap_or(line));
                text.push_str(end);
            }
            None => text.push_str(line),
        }
    }
    text + &old[old.len() - last..].concat()
}

/// But for what they end with.
fn is_same(old: &str, new: &str) -> bool {
    let content = |line: &str| line.trim_end_matches(['\r', '\n']).to_owned();
    old.ends_with('\n') == new.ends_with('\n') && content(old) == content(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_ends_as_before() {
        let before = "a\r\nb\nc\r\nd\r\n";
        let edited = |text: &str| as_before(before, text.to_owned());
        assert_eq!(edited("a\nb\nc\nd\n"), before);
        assert_eq!(edited("a\nb\nnew\nc\r\nd\n"), "a\r\nb\nnew\r\nc\r\nd\r\n");
        assert_eq!(edited("a\nd\n"), "a\r\nd\r\n");
        assert_eq!(edited("new\na\nb\nc\nd"), "new\r\na\r\nb\r\nc\r\nd");
        assert_eq!(edited(""), "");
        assert_eq!(as_before("a\nb\r\nc\n", "a\nnew\nb\nc\n".to_owned()), "a\nnew\nb\r\nc\n");
        assert_eq!(as_before("a\nb", "a\nb\nc".to_owned()), "a\nb\nc");
        assert_eq!(as_before("a\r\nb", "a\nb\nc\n".to_owned()), "a\r\nb\r\nc\r\n");
    }
}
