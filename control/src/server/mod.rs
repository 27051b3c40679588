//! The API: HTTP/1.1 with JSON over the unix socket.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/status` | [`Status`](crate::api::Status) |
//! | `GET /v1/sessions` | [`Page`](crate::api::Page) of [`SessionRow`](crate::api::SessionRow); query: [`ListQuery`](crate::api::ListQuery) |
//! | `GET /v1/mappings` | [`Page`](crate::api::Page) of [`MappingRow`](crate::api::MappingRow); query: [`ListQuery`](crate::api::ListQuery) |
//! | `GET /v1/neighbors` | list of [`NeighborRow`](crate::api::NeighborRow) |
//! | `GET /v1/counters` | [`CountersReport`](crate::api::CountersReport) |
//! | `GET /v1/events` | [`EventPage`](crate::api::EventPage), or each as a server-sent event; query: [`EventQuery`](crate::api::EventQuery) |
//! | `GET /metrics` | all counters as OpenMetrics text |
//! | `GET /v1/forwards` | list of [`ForwardRow`](crate::api::ForwardRow), the revision as `ETag` |
//! | `POST /v1/forwards` | body: [`NewForward`](crate::api::NewForward) |
//! | `DELETE /v1/forwards/{name}` | |
//! | `PATCH /v1/forwards/{name}` | body: [`ForwardPatch`](crate::api::ForwardPatch) |
//! | `PUT /v1/dmz` | body: [`NewDmz`](crate::api::NewDmz) |
//! | `DELETE /v1/dmz` | |
//! | `POST /v1/reload` | |
//! | `POST /v1/rollback` | body: [`Rollback`](crate::api::Rollback) |
//! | `POST /v1/confirm` | |
//! | `GET /v1/history` | [`History`](crate::api::History) |
//! | `GET /v1/history/diff` | [`HistoryDiff`](crate::api::HistoryDiff); query: [`DiffQuery`](crate::api::DiffQuery) |
//!
//! What changes something takes the query [`ChangeQuery`](crate::api::ChangeQuery) and answers with a
//! [`ChangeReport`](crate::api::ChangeReport). Every failure is an [`ErrorBody`]. One file per group of requests:
//! `tables`, `events`, `forwards`, `changes`; `peer` tells who asks.

mod changes;
mod events;
mod forwards;
mod metrics;
mod peer;
mod tables;

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::Router as Routes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use tokio::sync::mpsc;

pub use self::changes::{Change, ChangeRequest, Reply};
pub use self::peer::Peer;
pub use self::tables::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::api::{ErrorBody, ErrorCode};
use crate::request::{WorkerError, WorkerHandle};
use crate::snapshot::Snapshot;

/// What the handlers work on.
#[derive(Clone, Debug)]
pub struct Control {
    /// Shared state.
    pub snapshot: Arc<Snapshot>,
    /// The packet workers.
    pub worker: WorkerHandle,
    /// The daemon's ear for changes.
    pub changes: mpsc::Sender<ChangeRequest>,
}

/// A failure on its way to the asker.
#[derive(Debug)]
struct Failure(StatusCode, ErrorBody);

impl Failure {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Failure {
        Failure(status, ErrorBody { code, message: message.into() })
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::WorkerUnavailable, error.to_string())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, rejection.body_text())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Failure {
        // No JSON, not the right JSON, too much of it: 400, 415, 422, 413.
        Failure::new(rejection.status(), ErrorCode::BadRequest, rejection.body_text())
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Failure {
        let status = match body.code {
            ErrorCode::ReloadRefused | ErrorCode::ChangeRefused => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::Conflict
            | ErrorCode::Exists
            | ErrorCode::AwaitingConfirmation
            | ErrorCode::NothingToConfirm => StatusCode::CONFLICT,
            ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::NotSaved | ErrorCode::WorkerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure(status, body)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

/// Serves the API until `shutdown` completes and open answers are out.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: std::os::unix::net::UnixListener,
    control: Control,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let service = routes(control).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await
}

fn routes(control: Control) -> Routes {
    Routes::new()
        .route("/v1/status", get(tables::status))
        .route("/v1/sessions", get(tables::sessions))
        .route("/v1/mappings", get(tables::mappings))
        .route("/v1/neighbors", get(tables::neighbors))
        .route("/v1/counters", get(tables::counters))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/events", get(events::events))
        .route("/v1/forwards", get(forwards::forwards).post(changes::add_forward))
        .route("/v1/forwards/{name}", patch(changes::patch_forward).delete(changes::remove_forward))
        .route("/v1/dmz", put(changes::set_dmz).delete(changes::clear_dmz))
        .route("/v1/reload", post(changes::reload))
        .route("/v1/rollback", post(changes::rollback))
        .route("/v1/confirm", post(changes::confirm))
        .route("/v1/history", get(changes::history))
        .route("/v1/history/diff", get(changes::diff))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(control)
}

async fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "no such resource")
}

async fn wrong_method() -> Failure {
    let message = "this resource does not take this method";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadRequest, message)
}
