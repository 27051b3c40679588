//! The API: HTTP/1.1 with JSON over the unix socket.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/status` | [`Status`](crate::api::Status) |
//! | `GET /v1/sessions` | [`Page`](crate::api::Page) of [`SessionRow`](crate::api::SessionRow); query: [`ListQuery`](crate::api::ListQuery) |
//! | `GET /v1/mappings` | [`Page`](crate::api::Page) of [`MappingRow`](crate::api::MappingRow); query: [`ListQuery`](crate::api::ListQuery) |
//! | `GET /v1/neighbors` | list of [`NeighborRow`](crate::api::NeighborRow) |
//! | `GET /v1/counters` | [`CountersReport`](crate::api::CountersReport) |
//! | `POST /v1/reload` | [`ReloadReport`](crate::api::ReloadReport) |
//!
//! Every failure is an [`ErrorBody`]. One file per group of requests: `tables`, `reload`.

mod reload;
mod tables;

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::Router as Routes;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::mpsc;

pub use self::reload::ReloadRequest;
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
    /// The daemon's ear for reloads.
    pub reload: mpsc::Sender<ReloadRequest>,
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
    axum::serve(listener, routes(control)).with_graceful_shutdown(shutdown).await
}

fn routes(control: Control) -> Routes {
    Routes::new()
        .route("/v1/status", get(tables::status))
        .route("/v1/sessions", get(tables::sessions))
        .route("/v1/mappings", get(tables::mappings))
        .route("/v1/neighbors", get(tables::neighbors))
        .route("/v1/counters", get(tables::counters))
        .route("/v1/reload", post(reload::reload))
        .fallback(not_found)
        .with_state(control)
}

async fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "no such resource")
}
