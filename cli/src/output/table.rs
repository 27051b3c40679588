//! Tables for people: columns without frames, as wide as a terminal admits and no wider.
//!
//! Where a table is too wide, its wordy columns become shorter first, each down to the width that
//! [`Listing::shrinks`] gives; then columns go, in the order of [`Listing::drops`]; at last everything becomes
//! shorter. What was cut ends in `…`. Widths are those on the screen: 玄関 takes four columns.

use std::io::{self, IsTerminal};

use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthStr;

/// Blanks between two columns.
const GAP: usize = 2;

/// Columns of a terminal that does not say how many it has.
const UNKNOWN_WIDTH: usize = 80;

#[derive(Debug)]
struct Column {
    head: String,
    /// To the right.
    is_number: bool,
    /// Width in the terminal that it can be brought down to; as wide as its contents where it is `None`.
    floor: Option<usize>,
    /// When it goes: the lowest first, `None` only when nothing else helps.
    turn: Option<usize>,
    /// Width of head and cells in the terminal.
    width: usize,
}

/// A table in the making: columns without frames, a bold head on terminals.
#[derive(Debug)]
pub(crate) struct Listing {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A table laid out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The heads of the columns.
    pub(crate) head: String,
    /// A line for each row.
    pub(crate) rows: Vec<String>,
}

impl Listing {
    /// A table with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Listing {
        let column = |head: &&str| {
            let head = head.to_uppercase();
            let width = head.width();
            Column { head, is_number: false, floor: None, turn: None, width }
        };
        Listing { columns: heads.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Aligns these columns (from 0) to the right, for numbers.
    pub(crate) fn numbers(mut self, columns: &[usize]) -> Listing {
        for &column in columns {
            self.columns[column].is_number = true;
        }
        self
    }

    /// These columns can become shorter, each down to so many columns of the terminal.
    pub(crate) fn shrinks(mut self, columns: &[(&str, usize)]) -> Listing {
        for &(head, floor) in columns {
            self.column(head).floor = Some(floor);
        }
        self
    }

    /// These columns may be left out, the first of them first.
    pub(crate) fn drops(mut self, heads: &[&str]) -> Listing {
        for (turn, head) in heads.iter().enumerate() {
            self.column(head).turn = Some(turn);
        }
        self
    }

    fn column(&mut self, head: &str) -> &mut Column {
        let upper = head.to_uppercase();
        self.columns.iter_mut().find(|column| column.head == upper).expect("the table has this column")
    }

    /// Adds a row.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(cell.into())).collect();
        for (column, cell) in self.columns.iter_mut().zip(&cells) {
            column.width = column.width.max(cell.width());
        }
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text for standard output, no blanks at line ends. On a terminal it fits its width; elsewhere
    /// nothing is cut.
    pub(crate) fn text(&self) -> String {
        let layout = self.layout(terminal_width());
        let mut text = match super::color(&io::stdout()) && !layout.head.is_empty() {
            true => format!("\u{1b}[1m{}\u{1b}[0m\n", layout.head),
            false => layout.head + "\n",
        };
        for row in layout.rows {
            text.push_str(&row);
            text.push('\n');
        }
        text
    }

    /// The table's lines, at most `width` columns of a terminal wide (from 1 on); `None`: as wide as they are.
    pub(crate) fn layout(&self, width: Option<usize>) -> Layout {
        let widths = fit(&self.columns, width.unwrap_or(usize::MAX));
        let line = |cells: &[&str]| {
            let mut line = String::new();
            let mut blanks = 0;
            let kept = self.columns.iter().zip(&widths).zip(cells);
            for ((column, width), cell) in
                kept.filter_map(|((column, width), cell)| Some(((column, (*width)?), cell)))
            {
                let cell = cut(cell, width);
                let padding = width - cell.width();
                let (before, after) = if column.is_number { (padding, 0) } else { (0, padding) };
                line.extend(std::iter::repeat_n(' ', blanks + before));
                line.push_str(&cell);
                blanks = after + GAP;
            }
            line.truncate(line.trim_end().len());
            line
        };
        let heads: Vec<&str> = self.columns.iter().map(|column| column.head.as_str()).collect();
        let row = |cells: &Vec<String>| line(&cells.iter().map(String::as_str).collect::<Vec<_>>());
        Layout { head: line(&heads), rows: self.rows.iter().map(row).collect() }
    }
}

/// Columns of the terminal that standard output is; `None` where it is none.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    let given = || terminal_size_of(&out).map_or(UNKNOWN_WIDTH, |(Width(columns), _)| usize::from(columns));
    out.is_terminal().then(given)
}

/// Widths of the columns within `total`, gaps included; `None` for those left out.
fn fit(columns: &[Column], total: usize) -> Vec<Option<usize>> {
    let floor = |column: &Column| column.floor.unwrap_or(column.width).min(column.width);
    let mut kept: Vec<bool> = vec![true; columns.len()];
    let mut order: Vec<usize> = (0..columns.len()).filter(|&index| columns[index].turn.is_some()).collect();
    order.sort_by_key(|&index| columns[index].turn);
    let mut order = order.into_iter();
    while needed(columns, &kept, floor) > total {
        let Some(next) = order.next() else { break };
        kept[next] = false;
    }
    let fits = needed(columns, &kept, floor) <= total;
    // Beyond what anybody wants to read, the first columns say most.
    while !fits && needed(columns, &kept, |_| 1) > total && kept.iter().filter(|kept| **kept).count() > 1 {
        let last = kept.iter().rposition(|kept| *kept).expect("there are several");
        kept[last] = false;
    }
    let lowest = |column: &Column| if fits { floor(column) } else { column.width.min(1) };
    let mut widths: Vec<Option<usize>> =
        columns.iter().zip(&kept).map(|(column, kept)| kept.then_some(column.width)).collect();
    let mut excess = needed(columns, &kept, |column| column.width).saturating_sub(total);
    while excess > 0 {
        let can = |(column, width): &(&Column, &mut Option<usize>)| {
            width.is_some_and(|width| width > lowest(column))
        };
        let widest = columns.iter().zip(&mut widths).filter(can).max_by_key(|(_, width)| **width);
        let Some((_, Some(width))) = widest else { break };
        *width -= 1;
        excess -= 1;
    }
    widths
}

fn needed(columns: &[Column], kept: &[bool], width: impl Fn(&Column) -> usize) -> usize {
    let kept = || columns.iter().zip(kept).filter(|(_, kept)| **kept);
    kept().map(|(column, _)| width(column)).sum::<usize>() + GAP * kept().count().saturating_sub(1)
}

/// A cell that is one line and cannot command the terminal.
fn printable(cell: String) -> String {
    match cell.contains(char::is_control) {
        true => cell.replace(char::is_control, " "),
        false => cell,
    }
}

/// `text` within `width` columns of the terminal, with `…` at its end when it does not fit.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    // Characters that belong together have another width than the sum of theirs, so whole beginnings are measured.
    let ends = text.char_indices().map(|(start, character)| start + character.len_utf8());
    let end = ends.take_while(|&end| text[..end].width() <= room).last().unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> Listing {
        let mut listing = Listing::new(&["name", "address", "octets", "what"])
            .numbers(&[2])
            .shrinks(&[("name", 6), ("what", 8)])
            .drops(&["octets", "what"]);
        listing.row(["玄関のカメラ", "192.168.0.10", "1,234,567", "looks at the door all day"]);
        listing.row(["nas", "192.168.0.20", "7", "-"]);
        listing
    }

    fn widest(layout: &Layout) -> usize {
        layout.rows.iter().chain([&layout.head]).map(|line| line.width()).max().unwrap_or(0)
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let layout = people().layout(None);
        assert_eq!(layout.head, "NAME          ADDRESS          OCTETS  WHAT");
        assert_eq!(layout.rows[0], "玄関のカメラ  192.168.0.10  1,234,567  looks at the door all day");
        assert_eq!(layout.rows[1], "nas           192.168.0.20          7  -");
    }

    #[test]
    fn words_become_shorter_before_columns_go() {
        let listing = people();
        let rows = |width| listing.layout(Some(width)).rows;
        assert_eq!(rows(64), listing.layout(None).rows, "it fits exactly");
        assert_eq!(rows(63)[0], "玄関のカメラ  192.168.0.10  1,234,567  looks at the door all d…");
        assert_eq!(rows(41)[0], "玄関…   192.168.0.10  1,234,567  looks a…");
        assert_eq!(
            rows(40)[0],
            "玄関のカメラ  192.168.0.10  looks at th…",
            "the numbers went, the words came back"
        );
        assert_eq!(rows(29)[0], "玄関のカメラ  192.168.0.10");
        assert_eq!(rows(25)[0], "玄関のカメ…  192.168.0.10");
        assert_eq!(rows(25)[1], "nas          192.168.0.20");
    }

    #[test]
    fn no_width_is_ever_exceeded() {
        let mut listing = people();
        listing.row(["👨‍👩‍👧‍👦 fam\u{2601}\u{fe0f}ly", "a\tb\nc\u{1b}[2J", "99", "é\u{301}é\u{301}é\u{301}"]);
        for width in 1..100 {
            let layout = listing.layout(Some(width));
            assert!(widest(&layout) <= width, "{width}: {layout:?}");
            assert!(!layout.rows.iter().any(|row| row.contains(char::is_control)), "{layout:?}");
        }
        assert!(listing.layout(Some(1)).rows[0].starts_with('…'));
    }

    #[test]
    fn wide_characters_are_cut_at_their_borders() {
        assert_eq!(cut("玄関", 4), "玄関");
        assert_eq!(cut("玄関", 3), "玄…");
        assert_eq!(cut("玄関", 2), "…");
        assert_eq!((cut("玄関", 1), cut("玄関", 0)), ("…".to_owned(), String::new()));
        assert_eq!(cut("e\u{301}tude", 3), "e\u{301}t…");
    }

    #[test]
    fn an_empty_table_has_its_head() {
        let layout = Listing::new(&["name", ""]).layout(Some(80));
        assert_eq!((layout.head.as_str(), layout.rows.len()), ("NAME", 0));
        assert_eq!(Listing::new(&[]).layout(Some(1)).head, "");
    }
}
