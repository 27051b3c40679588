//! Pages of a listing: gathered from the workers chunk by chunk, so that no question holds up packets.

use std::cmp::Ordering;

use axum::Json;
use axum::http::StatusCode;

use super::Failure;
use crate::api::{ErrorCode, Page};
use crate::request::{CHUNK, WorkerError};

/// Rows of a page when the query does not say.
pub const DEFAULT_LIMIT: u32 = 1_000;
/// Most rows of a page.
pub const MAX_LIMIT: u32 = 10_000;
/// Most requests to the worker for one page, so that a filter that matches little ends its page early.
const MAX_CHUNKS: u32 = 256;

/// What a query says about where and how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub(super) cursor: Option<u32>,
    pub(super) limit: Option<u32>,
}

/// Rows of a table, and where to go on.
type Chunk<V> = Result<(Vec<V>, Option<u32>), WorkerError>;

impl Pages {
    pub(super) fn limit(self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize
    }

    /// What is sorted has no further page.
    pub(super) fn only_the_first(self) -> Result<(), Failure> {
        if self.cursor.is_some() {
            let message = "`cursor` and `sort` together: what is sorted has one page";
            return Err(Failure::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, message));
        }
        Ok(())
    }

    /// The rows from the cursor on, in the order of the table. `chunk` gets a cursor and the most rows to ask for.
    pub(super) async fn next<V, T, F: Future<Output = Chunk<V>>>(
        self,
        chunk: impl Fn(u32, u32) -> F,
        wanted: impl Fn(&V) -> bool,
        row: impl Fn(V) -> T,
    ) -> Result<Json<Page<T>>, Failure> {
        let mut pager = Pager::new(self.cursor, self.limit());
        while let Some((cursor, limit)) = pager.ask() {
            let (views, next) = chunk(cursor, limit).await?;
            pager.add(views.into_iter().filter(&wanted).map(&row), next);
        }
        Ok(Json(pager.page))
    }

    /// The first rows of the whole table in the order that `compare` makes.
    pub(super) async fn first<V, T, F: Future<Output = Chunk<V>>>(
        self,
        chunk: impl Fn(u32, u32) -> F,
        wanted: impl Fn(&V) -> bool,
        compare: impl Fn(&V, &V) -> Ordering,
        row: impl Fn(V) -> T,
    ) -> Result<Json<Page<T>>, Failure> {
        self.only_the_first()?;
        let mut first = First::new(self.limit(), compare);
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (views, next) = chunk(at, CHUNK).await?;
            first.add(views.into_iter().filter(&wanted));
            cursor = next;
        }
        Ok(Json(Page { rows: first.sorted().into_iter().map(row).collect(), next: None }))
    }
}

/// The first so many rows in some order, of any number of them; holds no more than twice as many and a chunk.
struct First<V, C> {
    rows: Vec<V>,
    limit: usize,
    compare: C,
}

impl<V, C: Fn(&V, &V) -> Ordering> First<V, C> {
    fn new(limit: usize, compare: C) -> First<V, C> {
        First { rows: Vec::new(), limit, compare }
    }

    fn add(&mut self, rows: impl Iterator<Item = V>) {
        self.rows.extend(rows);
        // Each time as many rows go as it takes to look at: the cost per row stays the same.
        if self.rows.len() >= 2 * self.limit {
            self.rows.select_nth_unstable_by(self.limit - 1, &self.compare);
            self.rows.truncate(self.limit);
        }
    }

    fn sorted(mut self) -> Vec<V> {
        self.rows.sort_by(&self.compare);
        self.rows.truncate(self.limit);
        self.rows
    }
}

/// Gathers chunks until the page is full, the table ends, or enough of it was looked at.
#[derive(Debug)]
struct Pager<T> {
    page: Page<T>,
    limit: usize,
    chunks_left: u32,
}

impl<T> Pager<T> {
    fn new(cursor: Option<u32>, limit: usize) -> Pager<T> {
        Pager {
            page: Page { rows: Vec::new(), next: Some(cursor.unwrap_or(0)) },
            limit,
            chunks_left: MAX_CHUNKS,
        }
    }

    /// Position and size of the next chunk. Never more than fits the page: the cursor cannot point between two rows
    /// of one chunk.
    fn ask(&self) -> Option<(u32, u32)> {
        let room = self.limit - self.page.rows.len();
        let cursor = self.page.next.filter(|_| room > 0 && self.chunks_left > 0)?;
        Some((cursor, room.min(CHUNK as usize) as u32))
    }

    fn add(&mut self, rows: impl Iterator<Item = T>, next: Option<u32>) {
        let room = self.limit - self.page.rows.len();
        self.page.rows.extend(rows.take(room));
        self.page.next = next;
        self.chunks_left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_when_full_or_at_the_end_of_the_table() {
        let mut pager = Pager::new(None, 300);
        assert_eq!(pager.ask(), Some((0, CHUNK)));
        pager.add(0..CHUNK, Some(900));
        assert_eq!(pager.ask(), Some((900, 300 - CHUNK)));
        pager.add(0..10, None);
        assert_eq!(pager.ask(), None);
        assert_eq!((pager.page.rows.len(), pager.page.next), (266, None));

        let mut full = Pager::new(None, 2);
        full.add(0..2, Some(5));
        assert_eq!((full.ask(), full.page.next), (None, Some(5)));
    }

    #[test]
    fn a_filter_that_matches_nothing_still_ends_its_page() {
        let mut pager: Pager<u32> = Pager::new(None, 1);
        let mut asked = 0;
        while let Some((cursor, _)) = pager.ask() {
            pager.add(std::iter::empty(), Some(cursor + 1));
            asked += 1;
        }
        assert_eq!((asked, pager.page.next), (MAX_CHUNKS, Some(MAX_CHUNKS)));
    }

    /// A table of numbers in pieces of three.
    async fn numbers(cursor: u32, _: u32) -> Chunk<u32> {
        let all: Vec<u32> = (0..100).map(|number| number * 37 % 101).collect();
        let (from, to) = (cursor as usize, (cursor as usize + 3).min(all.len()));
        Ok((all[from..to].to_vec(), (to < all.len()).then_some(to as u32)))
    }

    #[tokio::test]
    async fn what_is_sorted_comes_from_the_whole_table() {
        let pages = Pages { cursor: None, limit: Some(4) };
        let even = |number: &u32| number.is_multiple_of(2);
        let Json(page) =
            pages.first(numbers, even, |one, other| other.cmp(one), |row| row).await.expect("a page");
        assert_eq!((page.rows, page.next), (vec![100, 98, 96, 94], None));
        let all = Pages { cursor: None, limit: None };
        let Json(page) = all.first(numbers, |_| true, u32::cmp, |row| row).await.expect("a page");
        assert!(page.rows.len() == 100 && page.rows.is_sorted());
        let further = Pages { cursor: Some(3), limit: None };
        assert!(further.first(numbers, |_| true, u32::cmp, |row| row).await.is_err());
    }
}
