//! Questions to the running router: status, tables, counters.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use genkan_engine::view::{MappingView, SessionView};

use super::openapi::{AsksWorker, TakesQuery};
use super::{Control, Failure};
use crate::api::{CountersReport, ListQuery, MappingRow, NeighborRow, Page, SessionRow, Status, Totals};
use crate::request::{CHUNK, CounterSet, WorkerRequest};

/// Rows of a page when the query does not say.
pub const DEFAULT_LIMIT: u32 = 1_000;
/// Most rows of a page.
pub const MAX_LIMIT: u32 = 10_000;
/// Most requests to the worker for one page, so that a filter that matches little ends its page early.
const MAX_CHUNKS: u32 = 256;

/// Whether packets can flow, and where
#[utoipa::path(
    get, path = "/v1/status",
    responses((status = 200, description = "The status", body = Status), AsksWorker),
)]
pub(super) async fn status(State(control): State<Control>) -> Result<Response, Failure> {
    let totals = control.worker.ask_all(|reply| WorkerRequest::Totals { reply }).await?;
    let totals = totals.into_iter().fold(Totals::default(), Totals::plus);
    Ok(Json(control.snapshot.status(totals)).into_response())
}

/// Everything counted since the start
#[utoipa::path(
    get, path = "/v1/counters",
    responses((status = 200, description = "All counters", body = CountersReport), AsksWorker),
)]
pub(super) async fn counters(State(control): State<Control>) -> Result<Response, Failure> {
    let sets = control.worker.ask_all(|reply| WorkerRequest::Counters { reply }).await?;
    let set = CounterSet::sum(sets.iter().map(Box::as_ref));
    Ok(Json(CountersReport::new(&set.engine, &set.io, &control.snapshot.port_names())).into_response())
}

/// The ARP cache
#[utoipa::path(
    get, path = "/v1/neighbors",
    responses((status = 200, description = "By port and address", body = Vec<NeighborRow>), AsksWorker),
)]
pub(super) async fn neighbors(State(control): State<Control>) -> Result<Response, Failure> {
    control.snapshot.refresh_hosts(&control.worker).await?;
    Ok(Json(control.snapshot.neighbors()).into_response())
}

/// Live sessions
#[utoipa::path(
    get, path = "/v1/sessions",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<SessionRow>), TakesQuery, AsksWorker),
)]
pub(super) async fn sessions(
    State(control): State<Control>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<SessionRow>>, Failure> {
    let Query(query) = query?;
    let mut pager = Pager::new(&query);
    while let Some((cursor, limit)) = pager.ask() {
        let (views, next) = control
            .worker
            .ask_piece(cursor, |cursor, reply| WorkerRequest::Sessions { cursor, limit, reply })
            .await?;
        let wanted = |view: &SessionView| {
            query.admits(&view.protocol.to_string(), &[view.internal, view.external, view.remote])
        };
        let row = |view: SessionView| {
            let host = control.snapshot.host_name(*view.internal.ip());
            SessionRow::new(view, host)
        };
        pager.add(views.into_iter().filter(wanted).map(row), next);
    }
    Ok(Json(pager.page))
}

/// Dynamic mappings
#[utoipa::path(
    get, path = "/v1/mappings",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<MappingRow>), TakesQuery, AsksWorker),
)]
pub(super) async fn mappings(
    State(control): State<Control>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<MappingRow>>, Failure> {
    let Query(query) = query?;
    let mut pager = Pager::new(&query);
    while let Some((cursor, limit)) = pager.ask() {
        let (views, next) = control
            .worker
            .ask_piece(cursor, |cursor, reply| WorkerRequest::Mappings { cursor, limit, reply })
            .await?;
        let wanted =
            |view: &MappingView| query.admits(&view.protocol.to_string(), &[view.internal, view.external]);
        let row = |view: MappingView| MappingRow::new(&view, control.snapshot.host_name(*view.internal.ip()));
        pager.add(views.into_iter().filter(wanted).map(row), next);
    }
    Ok(Json(pager.page))
}

/// Gathers chunks until the page is full, the table ends, or enough of it was looked at.
#[derive(Debug)]
struct Pager<T> {
    page: Page<T>,
    limit: usize,
    chunks_left: u32,
}

impl<T> Pager<T> {
    fn new(query: &ListQuery) -> Pager<T> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        Pager {
            page: Page { rows: Vec::new(), next: Some(query.cursor.unwrap_or(0)) },
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

    fn query(limit: u32) -> ListQuery {
        ListQuery { limit: Some(limit), ..ListQuery::default() }
    }

    #[test]
    fn a_page_ends_when_full_or_at_the_end_of_the_table() {
        let mut pager = Pager::new(&query(300));
        assert_eq!(pager.ask(), Some((0, CHUNK)));
        pager.add(0..CHUNK, Some(900));
        assert_eq!(pager.ask(), Some((900, 300 - CHUNK)));
        pager.add(0..10, None);
        assert_eq!(pager.ask(), None);
        assert_eq!((pager.page.rows.len(), pager.page.next), (266, None));

        let mut full = Pager::new(&query(2));
        full.add(0..2, Some(5));
        assert_eq!((full.ask(), full.page.next), (None, Some(5)));
    }

    #[test]
    fn a_filter_that_matches_nothing_still_ends_its_page() {
        let mut pager: Pager<u32> = Pager::new(&query(1));
        let mut asked = 0;
        while let Some((cursor, _)) = pager.ask() {
            pager.add(std::iter::empty(), Some(cursor + 1));
            asked += 1;
        }
        assert_eq!((asked, pager.page.next), (MAX_CHUNKS, Some(MAX_CHUNKS)));
    }
}
