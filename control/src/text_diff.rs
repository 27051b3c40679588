//! What is different between two texts, line by line, as `diff -u` writes it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Lines around a difference that are shown as well.
const AROUND: usize = 3;
/// So many lines out and in at most are looked for one by one; texts that differ more are shown one after the other.
const MOST: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Both,
    Out,
    In,
}

/// The difference, empty when there is none. `from` and `to` name the texts; `shown` makes of each the text whose lines
/// are shown in the place of its own: as many.
pub fn unified(old: &str, new: &str, from: &str, to: &str, shown: impl Fn(&str) -> Cow<'_, str>) -> String {
    if old == new {
        return String::new();
    }
    let lines = |text| -> Vec<&str> { str::lines(text).collect() };
    let steps = steps(&lines(old), &lines(new));
    let (old, new) = (shown(old), shown(new));
    let (old, new) = (lines(&old), lines(&new));
    let mut out = format!("--- {from}\n+++ {to}\n");
    let mut at = 0;
    while let Some(first) = (at..steps.len()).find(|&index| steps[index] != Step::Both) {
        let start = first.saturating_sub(AROUND).max(at);
        // A hunk goes on as long as the next difference is near.
        let mut last = first;
        while let Some(next) =
            (last + 1..steps.len().min(last + 2 * AROUND + 2)).find(|&i| steps[i] != Step::Both)
        {
            last = next;
        }
        let end = (last + AROUND + 1).min(steps.len());
        hunk(&mut out, &steps, start..end, &old, &new);
        at = end;
    }
    out
}

fn hunk(out: &mut String, steps: &[Step], range: std::ops::Range<usize>, old: &[&str], new: &[&str]) {
    let count = |steps: &[Step], not: Step| steps.iter().filter(|step| **step != not).count();
    let (mut line_old, mut line_new) =
        (count(&steps[..range.start], Step::In), count(&steps[..range.start], Step::Out));
    let steps = &steps[range];
    let (many_old, many_new) = (count(steps, Step::In), count(steps, Step::Out));
    let first = |line: usize, many: usize| if many == 0 { line } else { line + 1 };
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "@@ -{},{many_old} +{},{many_new} @@",
        first(line_old, many_old),
        first(line_new, many_new)
    );
    for step in steps {
        let (sign, line) = match step {
            Step::In => ('+', new[line_new]),
            Step::Out => ('-', old[line_old]),
            Step::Both => (' ', old[line_old]),
        };
        line_old += usize::from(*step != Step::In);
        line_new += usize::from(*step != Step::Out);
        let _ = writeln!(out, "{sign}{line}");
    }
}

fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (rest_old, rest_new) = (&old[head..], &new[head..]);
    let tail = rest_old.iter().rev().zip(rest_new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (mid_old, mid_new) = (&rest_old[..rest_old.len() - tail], &rest_new[..rest_new.len() - tail]);
    let mut steps = vec![Step::Both; head];
    steps.extend(shortest(mid_old, mid_new).unwrap_or_else(|| {
        let out = std::iter::repeat_n(Step::Out, mid_old.len());
        out.chain(std::iter::repeat_n(Step::In, mid_new.len())).collect()
    }));
    steps.extend(std::iter::repeat_n(Step::Both, tail));
    steps
}

/// The fewest lines out and in that make one the other (E. Myers, "An O(ND) difference algorithm", 1986), or `None`
/// when they are more than [`MOST`].
///
/// `reach[k]` is how far into `old` one gets with so many steps on the diagonal `k = x - y`.
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<Step>> {
    let (n, m) = (old.len() as isize, new.len() as isize);
    let limit = ((n + m) as usize).min(MOST) as isize;
    let place = |k: isize| (k + limit + 1) as usize;
    let mut reach = vec![0isize; 2 * limit as usize + 3];
    let mut history: Vec<Vec<isize>> = Vec::new();
    for cost in 0..=limit {
        history.push(reach[place(-cost - 1)..=place(cost + 1)].to_vec());
        for k in (-cost..=cost).step_by(2) {
            let down = k == -cost || (k != cost && reach[place(k - 1)] < reach[place(k + 1)]);
            let mut x = if down { reach[place(k + 1)] } else { reach[place(k - 1)] + 1 };
            while x < n && x - k < m && x >= 0 && x - k >= 0 && old[x as usize] == new[(x - k) as usize] {
                x += 1;
            }
            reach[place(k)] = x;
            if x >= n && x - k >= m {
                return Some(walk_back(&history, n, m));
            }
        }
    }
    None
}

fn walk_back(history: &[Vec<isize>], n: isize, m: isize) -> Vec<Step> {
    let (mut x, mut y) = (n, m);
    let mut steps = Vec::new();
    for (cost, reach) in history.iter().enumerate().rev() {
        let cost = cost as isize;
        // Kept from diagonal -cost - 1 on.
        let at = |k: isize| reach[(k + cost + 1) as usize];
        let k = x - y;
        let down = k == -cost || (k != cost && at(k - 1) < at(k + 1));
        let before_k = if down { k + 1 } else { k - 1 };
        let (before_x, before_y) = if cost == 0 { (0, 0) } else { (at(before_k), at(before_k) - before_k) };
        while x > before_x && y > before_y {
            steps.push(Step::Both);
            (x, y) = (x - 1, y - 1);
        }
        if cost > 0 {
            steps.push(if down { Step::In } else { Step::Out });
            (x, y) = (before_x, before_y);
        }
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Cow<'_, str> {
        Cow::Borrowed(text)
    }

    /// What comes out of the old text by the difference.
    fn patched(old: &str, new: &str) -> String {
        let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
        let (mut x, mut y, mut text) = (0, 0, String::new());
        for step in steps(&old, &new) {
            match step {
                Step::Both => {
                    assert_eq!(old[x], new[y]);
                    text += &format!("{}\n", old[x]);
                }
                Step::In => text += &format!("{}\n", new[y]),
                Step::Out => {}
            }
            x += usize::from(step != Step::In);
            y += usize::from(step != Step::Out);
        }
        assert_eq!((x, y), (old.len(), new.len()));
        text
    }

    #[test]
    fn differences_lead_from_one_text_to_the_other() {
        let mut seed = 1u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % below
        };
        for _ in 0..500 {
            let mut text =
                |most: u32| (0..random(most)).map(|_| format!("{}\n", random(4))).collect::<String>();
            let (old, new) = (text(12), text(12));
            assert_eq!(patched(&old, &new), new, "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn it_reads_as_diff_does() {
        let old: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 3\n", "").replace("line 15\n", "line 15\nmore\n");
        let expected = "--- a\n+++ b\n@@ -1,6 +1,5 @@\n line 1\n line 2\n-line 3\n line 4\n line 5\n line 6\n\
            @@ -13,6 +12,7 @@\n line 13\n line 14\n line 15\n+more\n line 16\n line 17\n line 18\n";
        assert_eq!(unified(&old, &new, "a", "b", plain), expected);
        assert_eq!(unified("", "x\n", "a", "b", plain), "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(unified(&old, &old, "a", "b", plain), "");
    }

    #[test]
    fn what_is_hidden_is_hidden_without_its_key() {
        fn shown(text: &str) -> Cow<'_, str> {
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            Cow::Owned(lines.fold(format!("{first}\n"), |all, line| all + &"*".repeat(line.len()) + "\n"))
        }
        let old = "secret = [\n1,\n2,\n3,\n4,\n]\n";
        let text = unified(old, &old.replace("4,", "5,"), "a", "b", shown);
        assert_eq!(text, "--- a\n+++ b\n@@ -2,5 +2,5 @@\n **\n **\n **\n-**\n+**\n *\n");
    }

    #[test]
    fn texts_without_anything_in_common_are_bounded() {
        let old: String = (0..20_000).map(|n| format!("a{n}\n")).collect();
        let new: String = (0..20_000).map(|n| format!("b{n}\n")).collect();
        assert_eq!(unified(&old, &new, "a", "b", plain).lines().count(), 40_003);
    }
}
