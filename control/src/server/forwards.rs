//! The forwards of the running configuration, and what has passed through them.

use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};

use super::openapi::AsksWorker;
use super::{Control, Failure};
use crate::api::ForwardRow;
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
    let mut counts = counts(&control.worker).await?;
    let (revision, mut rows) = control.snapshot.forwards();
    for row in &mut rows {
        row.counts = counts.remove(&row.name).unwrap_or_default();
    }
    Ok(([(ETAG, format!("\"{revision}\""))], Json(rows)).into_response())
}
