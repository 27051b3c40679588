//! All counters, for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::openapi::AsksWorker;
use super::{Control, Failure};
use crate::metrics;

/// All counters, for Prometheus
#[utoipa::path(
    get, path = "/metrics",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String), AsksWorker),
)]
pub(super) async fn metrics(State(control): State<Control>) -> Result<Response, Failure> {
    let text = metrics::text(&control.snapshot, &control.worker).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
