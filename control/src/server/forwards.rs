//! The forwards of the running configuration, and what has passed through them.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};

use super::openapi::{AsksWorker, Names, TakesQuery};
use super::{Control, Failure};
use crate::api::{ErrorCode, ForwardRow};
use crate::forwards::counts;

/// The forwards in file order
#[utoipa::path(
    get, path = "/v1/forwards",
    responses(
        (
            status = 200, description = "All of them", body = Vec<ForwardRow>,
            headers(("ETag" = String, description = "The revision in force, for `If-Match`")),
        ),
        AsksWorker,
    ),
)]
pub(super) async fn forwards(State(control): State<Control>) -> Result<Response, Failure> {
    let (revision, rows) = counted(&control, |_| true).await?;
    Ok(([(ETAG, etag(revision))], Json(rows)).into_response())
}

/// One forward
#[utoipa::path(
    get, path = "/v1/forwards/{name}",
    params(("name" = String, Path, description = "The forward's name")),
    responses(
        (
            status = 200, description = "It", body = ForwardRow,
            headers(("ETag" = String, description = "The revision in force, for `If-Match`")),
        ),
        TakesQuery, Names, AsksWorker,
    ),
)]
pub(super) async fn forward(
    State(control): State<Control>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(name) = name?;
    let (revision, mut rows) = counted(&control, |row| row.name == name).await?;
    match rows.pop() {
        Some(row) => Ok(([(ETAG, etag(revision))], Json(row)).into_response()),
        None => {
            let message = format!("there is no forward called `{name}`");
            Err(Failure::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, message))
        }
    }
}

/// The revision in force, and those of its forwards that are wanted.
async fn counted(
    control: &Control,
    wanted: impl Fn(&ForwardRow) -> bool,
) -> Result<(u64, Vec<ForwardRow>), Failure> {
    let mut counts = counts(&control.worker).await?;
    let (revision, mut rows) = control.snapshot.forwards();
    rows.retain(wanted);
    for row in &mut rows {
        row.counts = counts.remove(&row.name).unwrap_or_default();
    }
    Ok((revision, rows))
}

fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}
