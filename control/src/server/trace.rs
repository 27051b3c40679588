//! Packets that are made up.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;

use super::changes::ask;
use super::openapi::{AsksDaemon, TakesBody, TakesQuery};
use super::{ChangeRequest, Control, Failure};
use crate::api::{ErrorBody, TraceAnswer, TraceQuery};

/// What would become of a packet now, and why
///
/// The packet goes through the engine with what the running router has at this moment that matters to it: sessions,
/// mappings, counts, neighbours. Nothing of the router is changed, and nothing is sent.
#[utoipa::path(
    post, path = "/v1/trace",
    request_body = TraceQuery,
    responses(
        (status = 200, description = "All about it", body = TraceAnswer),
        (status = 422, description = "The body is not what it has to be", body = ErrorBody),
        TakesQuery, TakesBody, AsksDaemon,
    ),
)]
pub(super) async fn trace(
    State(control): State<Control>,
    body: Result<Json<TraceQuery>, JsonRejection>,
) -> Result<Json<TraceAnswer>, Failure> {
    let Json(query) = body?;
    ask(&control, |reply| ChangeRequest::Trace { query, reply }).await
}
