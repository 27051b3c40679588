//! Questions to the running router: status, tables, counters.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use genkan_engine::view::{MappingView, SessionView};

use super::openapi::{AsksWorker, TakesQuery};
use super::pages::Pages;
use super::{Control, Failure};
use crate::api::{
    CountersReport, MappingQuery, MappingRow, NeighborRow, Page, SessionQuery, SessionRow, Status, Totals,
};
use crate::request::{CounterSet, WorkerRequest};

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
    params(SessionQuery),
    responses((status = 200, description = "A page", body = Page<SessionRow>), TakesQuery, AsksWorker),
)]
pub(super) async fn sessions(
    State(control): State<Control>,
    query: Result<Query<SessionQuery>, QueryRejection>,
) -> Result<Json<Page<SessionRow>>, Failure> {
    let Query(query) = query?;
    let chunk = |cursor, limit| {
        let make = move |cursor, reply| WorkerRequest::Sessions { cursor, limit, reply };
        control.worker.ask_piece(cursor, make)
    };
    let host = |view: &SessionView| control.snapshot.host_name(*view.internal.ip());
    let wanted = |view: &SessionView| {
        // A name is looked up only where it decides.
        let host = query.host.as_ref().and_then(|_| host(view));
        query.admits(view, host.as_deref())
    };
    let row = |view: SessionView| {
        let host = host(&view);
        SessionRow::new(view, host)
    };
    let pages = Pages { cursor: query.cursor, limit: query.limit };
    match query.sort {
        None => pages.next(chunk, wanted, row).await,
        Some(sort) => pages.first(chunk, wanted, |one, other| sort.compare(one, other), row).await,
    }
}

/// Dynamic mappings
#[utoipa::path(
    get, path = "/v1/mappings",
    params(MappingQuery),
    responses((status = 200, description = "A page", body = Page<MappingRow>), TakesQuery, AsksWorker),
)]
pub(super) async fn mappings(
    State(control): State<Control>,
    query: Result<Query<MappingQuery>, QueryRejection>,
) -> Result<Json<Page<MappingRow>>, Failure> {
    let Query(query) = query?;
    let chunk = |cursor, limit| {
        let make = move |cursor, reply| WorkerRequest::Mappings { cursor, limit, reply };
        control.worker.ask_piece(cursor, make)
    };
    let host = |view: &MappingView| control.snapshot.host_name(*view.internal.ip());
    let wanted = |view: &MappingView| {
        let host = query.host.as_ref().and_then(|_| host(view));
        query.admits(view, host.as_deref())
    };
    let row = |view: MappingView| MappingRow::new(&view, host(&view));
    let pages = Pages { cursor: query.cursor, limit: query.limit };
    match query.sort {
        None => pages.next(chunk, wanted, row).await,
        Some(sort) => pages.first(chunk, wanted, |one, other| sort.compare(one, other), row).await,
    }
}
