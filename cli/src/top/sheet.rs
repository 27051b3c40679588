//! Rows that can be sorted, filtered and shown: what hosts, forwards, drops and ports have in common.

use std::cmp::Ordering;

use super::rates::{DropRates, ForwardRates, HostRates, PortRates, Snapshot};
use crate::output::{self, Layout, Listing};

/// One cell: how it reads, and how it sorts.
#[derive(Clone, Debug)]
struct Cell {
    text: String,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Key {
    Text(String),
    Number(f64),
}

/// What the columns of a sheet are.
#[derive(Debug)]
pub(super) struct Columns {
    /// Names, for the head and for sorting by.
    pub(super) heads: &'static [&'static str],
    numbers: &'static [usize],
    shrinks: &'static [(&'static str, usize)],
    drops: &'static [&'static str],
}

/// The ports.
pub(super) const PORTS: Columns = Columns {
    heads: &["port", "link", "in bit/s", "out bit/s", "in frames/s", "out frames/s", "lost/s"],
    numbers: &[2, 3, 4, 5, 6],
    shrinks: &[("port", 6)],
    drops: &["lost/s", "out frames/s", "in frames/s", "link"],
};

/// The inside hosts.
pub(super) const HOSTS: Columns = Columns {
    heads: &["host", "address", "port", "in bit/s", "out bit/s", "sessions", "growth/s", "ext ports"],
    numbers: &[3, 4, 5, 6, 7],
    shrinks: &[("host", 8), ("port", 6)],
    drops: &["port", "ext ports", "growth/s", "host", "sessions"],
};

/// The forwards.
pub(super) const FORWARDS: Columns = Columns {
    heads: &[
        "forward",
        "port",
        "to",
        "in bit/s",
        "out bit/s",
        "packets/s",
        "sessions",
        "hits/s",
        "refused/s",
    ],
    numbers: &[3, 4, 5, 6, 7, 8],
    shrinks: &[("forward", 8), ("port", 9)],
    drops: &["to", "refused/s", "port", "hits/s", "packets/s", "sessions"],
};

/// The reasons of drops.
pub(super) const DROPS: Columns = Columns {
    heads: &["drop reason", "per second", "total", "what it means"],
    numbers: &[1, 2],
    shrinks: &[("what it means", 16)],
    drops: &["what it means", "total"],
};

/// By which column, and whether the other way round. Texts begin with A, numbers with the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: usize,
    pub(super) reversed: bool,
}

/// Rows under heads.
#[derive(Debug)]
pub(super) struct Sheet {
    columns: &'static Columns,
    rows: Vec<Vec<Cell>>,
}

impl Sheet {
    pub(super) fn ports(snapshot: &Snapshot) -> Sheet {
        let row = |row: &PortRates| {
            vec![
                text(&row.port),
                text(if row.up { "up" } else { "down" }),
                rate(row.rx_bits_per_second),
                rate(row.tx_bits_per_second),
                rate(row.rx_frames_per_second),
                rate(row.tx_frames_per_second),
                rate(row.lost_per_second),
            ]
        };
        Sheet { columns: &PORTS, rows: snapshot.ports.iter().map(row).collect() }
    }

    pub(super) fn hosts(snapshot: &Snapshot) -> Sheet {
        let row = |row: &HostRates| {
            // The lowest first.
            let place = -f64::from(row.address.to_bits());
            let address = Cell { text: row.address.to_string(), key: Key::Number(place) };
            vec![
                text(row.name.as_deref().unwrap_or("-")),
                address,
                text(row.port.as_deref().unwrap_or("-")),
                rate(Some(row.in_bits_per_second)),
                rate(Some(row.out_bits_per_second)),
                count(row.sessions),
                signed(row.growth_per_second),
                count(row.external_ports),
            ]
        };
        Sheet { columns: &HOSTS, rows: snapshot.hosts.iter().map(row).collect() }
    }

    pub(super) fn forwards(snapshot: &Snapshot) -> Sheet {
        let row = |row: &ForwardRates| {
            let name = if row.open { row.name.clone() } else { format!("{} (closed)", row.name) };
            vec![
                text(&name),
                text(&row.port),
                text(&row.to),
                rate(row.in_bits_per_second),
                rate(row.out_bits_per_second),
                rate(row.packets_per_second),
                count(row.sessions),
                rate(row.hits_per_second),
                rate(row.refused_per_second),
            ]
        };
        Sheet { columns: &FORWARDS, rows: snapshot.forwards.iter().map(row).collect() }
    }

    pub(super) fn drops(snapshot: &Snapshot) -> Sheet {
        let row = |row: &DropRates| {
            vec![text(&row.reason), rate(row.per_second), count(row.total), text(&row.description)]
        };
        Sheet { columns: &DROPS, rows: snapshot.drops.iter().map(row).collect() }
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Keeps the rows in which this text occurs, whatever its case.
    pub(super) fn filter(mut self, wanted: &str) -> Sheet {
        let wanted = wanted.to_lowercase();
        self.rows.retain(|row| row.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
        self
    }

    /// Sorts the rows; rows that are equal there stay as they were.
    pub(super) fn sort(mut self, order: Order) -> Sheet {
        let by = |one: &Vec<Cell>, other: &Vec<Cell>| {
            let (one, other) = (&one[order.column].key, &other[order.column].key);
            let natural = match (one, other) {
                (Key::Number(one), Key::Number(other)) => other.total_cmp(one),
                _ => one.partial_cmp(other).unwrap_or(Ordering::Equal),
            };
            if order.reversed { natural.reverse() } else { natural }
        };
        self.rows.sort_by(by);
        self
    }

    /// Keeps `rows` rows from `skip` on.
    pub(super) fn window(mut self, skip: usize, rows: usize) -> Sheet {
        self.rows.drain(..skip.min(self.rows.len()));
        self.rows.truncate(rows);
        self
    }

    /// Its lines.
    pub(super) fn layout(&self, width: Option<usize>) -> Layout {
        let Columns { heads, numbers, shrinks, drops } = self.columns;
        let mut listing = Listing::new(heads).numbers(numbers).shrinks(shrinks).drops(drops);
        for row in &self.rows {
            listing.row(row.iter().map(|cell| cell.text.as_str()));
        }
        listing.layout(width)
    }
}

fn text(text: &str) -> Cell {
    Cell { text: text.to_owned(), key: Key::Text(text.to_lowercase()) }
}

fn count(number: u64) -> Cell {
    Cell { text: output::grouped(number), key: Key::Number(number as f64) }
}

/// A rate, or a dash where there is none yet.
pub(super) fn scaled(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), output::scaled)
}

/// What has no rate yet comes after everything that has one.
fn rate(rate: Option<f64>) -> Cell {
    Cell { text: scaled(rate), key: Key::Number(rate.unwrap_or(-1.0)) }
}

fn signed(growth: Option<f64>) -> Cell {
    let text = match growth {
        Some(growth) if growth <= -0.05 => format!("-{}", scaled(Some(-growth))),
        Some(growth) if growth >= 0.05 => format!("+{}", scaled(Some(growth))),
        Some(_) => "0".to_owned(),
        None => "-".to_owned(),
    };
    Cell { text, key: Key::Number(growth.unwrap_or(f64::MIN)) }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn first_words(sheet: &Sheet) -> Vec<String> {
        let rows = sheet.layout(None).rows;
        rows.iter().map(|row| row.split_whitespace().next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn rates_are_short() {
        let texts = [0.0, 0.04, 0.5, 1.0, 9.94, 9.96, 999.4, 999.6, 1_234.0, 45_600.0, 789e9, 1e12, 5e15];
        let expected =
            ["0", "0", "0.5", "1", "9.9", "10", "999", "1.00k", "1.23k", "45.6k", "789G", "1.00T", "5000T"];
        assert_eq!(texts.map(|rate| scaled(Some(rate))), expected);
        assert_eq!(scaled(None), "-");
        assert_eq!([-2.0, 0.0, 0.5].map(|growth| signed(Some(growth)).text), ["-2", "0", "+0.5"]);
    }

    #[test]
    fn numbers_sort_from_the_largest_texts_from_a() {
        let snapshot = fixture::snapshot();
        let by = |column, reversed| first_words(&Sheet::hosts(&snapshot).sort(Order { column, reversed }));
        assert_eq!(by(3, false), ["laptop", "-", "nas"]);
        assert_eq!(by(3, true), ["nas", "-", "laptop"]);
        assert_eq!(by(0, false), ["-", "laptop", "nas"]);
        let by_address = Sheet::hosts(&snapshot).sort(Order { column: 1, reversed: false });
        assert_eq!(first_words(&by_address), ["nas", "laptop", "-"], "addresses are numbers");
    }

    #[test]
    fn a_filter_looks_at_all_that_is_shown() {
        let snapshot = fixture::snapshot();
        let found = |wanted: &str| first_words(&Sheet::hosts(&snapshot).filter(wanted));
        assert_eq!(found("NAS"), ["nas"]);
        assert_eq!(found("192.168.0.1"), ["nas", "-"]);
        assert_eq!(found("").len(), 3);
        assert_eq!(found("nobody").len(), 0);
    }

    #[test]
    fn a_window_beyond_the_end_is_empty() {
        let snapshot = fixture::snapshot();
        assert_eq!(Sheet::hosts(&snapshot).window(1, 1).len(), 1);
        assert_eq!(Sheet::hosts(&snapshot).window(99, 10).len(), 0);
    }
}
