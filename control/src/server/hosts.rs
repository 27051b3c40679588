//! The inside hosts.

use axum::Json;
use axum::extract::State;

use super::openapi::AsksWorker;
use super::{Control, Failure};
use crate::api::HostRow;

/// The inside hosts, from the configuration, ARP and sessions
#[utoipa::path(
    get, path = "/v1/hosts",
    responses((status = 200, description = "By address", body = Vec<HostRow>), AsksWorker),
)]
pub(super) async fn hosts(State(control): State<Control>) -> Result<Json<Vec<HostRow>>, Failure> {
    Ok(Json(crate::hosts::all(&control.snapshot, &control.worker).await?))
}
