//! The DNS service.

use axum::Json;
use axum::extract::State;

use super::Control;
use crate::api::DnsReport;

/// The DNS service: its resolvers, cache and counters
#[utoipa::path(
    get, path = "/v1/dns",
    responses((status = 200, description = "How it does; `enabled` is false where there is none", body = DnsReport)),
)]
pub(super) async fn dns(State(control): State<Control>) -> Json<DnsReport> {
    Json(control.snapshot.dns().await)
}
