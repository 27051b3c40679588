//! The API: HTTP/1.1 with JSON over the unix socket.
//!
//! What there is stands at the handlers, from which [`openapi()`] makes docs/openapi.json; tests/openapi.rs keeps that so.
//!
//! What changes something takes the query [`ChangeQuery`](crate::api::ChangeQuery) and answers with a
//! [`ChangeReport`](crate::api::ChangeReport). Every failure is an [`ErrorBody`]. One file per group of requests:
//! `tables`, `events`, `capture`, `follow`, `forwards`, `changes`; `pages` gathers what is long, `openapi` describes the requests,
//! `connections` bounds who may ask, `peer` tells who it is.

mod audit;
mod capture;
mod changes;
mod connections;
mod ddns;
mod dns;
mod events;
mod follow;
mod forwards;
mod hosts;
mod leases;
mod log;
mod metrics;
mod openapi;
mod pages;
mod peer;
mod probes;
mod tables;
mod trace;
mod upgrade;

use std::sync::Arc;

use axum::Json;
use axum::Router as Routes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::changes::{Change, ChangeRequest, Reply};
pub use self::connections::{Limits, serve};
pub use self::openapi::openapi;
pub use self::pages::{DEFAULT_LIMIT, MAX_LIMIT};
pub use self::peer::Peer;
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
            ErrorCode::ReloadRefused | ErrorCode::ChangeRefused | ErrorCode::UpgradeRefused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ErrorCode::Conflict
            | ErrorCode::Exists
            | ErrorCode::CaptureRunning
            | ErrorCode::TooManyFollow
            | ErrorCode::AwaitingConfirmation
            | ErrorCode::NothingToConfirm => StatusCode::CONFLICT,
            ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::NotSaved
            | ErrorCode::WorkerUnavailable
            | ErrorCode::HandedOver
            | ErrorCode::TooManyProbes
            | ErrorCode::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure(status, body)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn routes(control: Control) -> Routes {
    let (routes, _) = described_routes().split_for_parts();
    let routes = routes.fallback(not_found).method_not_allowed_fallback(wrong_method);
    let routes = routes.layer(middleware::from_fn_with_state(control.clone(), unless_handed_over));
    routes.with_state(control).layer(middleware::from_fn(tell))
}

/// Tells the log who asks for what, where somebody wants to know.
async fn tell(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::debug!(uid = peer.uid, pid = peer.pid, %method, path, status, "request");
    response
}

/// What nobody was there to answer any more, another program answers by now.
async fn unless_handed_over(State(control): State<Control>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status() == StatusCode::SERVICE_UNAVAILABLE && control.snapshot.is_handed_over() {
        let message = "another program has taken over meanwhile: ask again".to_owned();
        return Failure::from(ErrorBody { code: ErrorCode::HandedOver, message }).into_response();
    }
    response
}

/// Every request that there is, with its description.
fn described_routes() -> OpenApiRouter<Control> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(tables::status))
        .routes(routes!(tables::sessions))
        .routes(routes!(tables::mappings))
        .routes(routes!(tables::neighbors))
        .routes(routes!(tables::counters))
        .routes(routes!(hosts::hosts))
        .routes(routes!(dns::dns))
        .routes(routes!(dns::check_dns))
        .routes(routes!(leases::dhcp))
        .routes(routes!(leases::leases))
        .routes(routes!(ddns::ddns))
        .routes(routes!(ddns::update_ddns))
        .routes(routes!(metrics::metrics))
        .routes(routes!(events::events))
        .routes(routes!(capture::capture))
        .routes(routes!(trace::trace, follow::follow))
        .routes(routes!(probes::probe))
        .routes(routes!(audit::audit))
        .routes(routes!(forwards::forwards, changes::add_forward))
        .routes(routes!(forwards::forward, changes::patch_forward, changes::remove_forward))
        .routes(routes!(changes::set_dmz, changes::clear_dmz))
        .routes(routes!(changes::reload))
        .routes(routes!(log::log_level, log::set_log_level))
        .routes(routes!(upgrade::upgrade))
        .routes(routes!(changes::rollback))
        .routes(routes!(changes::confirm))
        .routes(routes!(changes::history))
        .routes(routes!(changes::diff))
        .routes(routes!(openapi::document))
}

async fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "no such resource")
}

async fn wrong_method() -> Failure {
    let message = "this resource does not take this method";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadRequest, message)
}
