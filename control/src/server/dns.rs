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

/// Ask all resolvers whether they answer
///
/// Each is asked for the name servers of the root, by the way that it is asked for names: it has up to three seconds for
/// that. Where they were asked in the last five seconds, they are not asked again.
#[utoipa::path(
    post, path = "/v1/dns/check",
    responses((status = 200, description = "How the service does after that", body = DnsReport)),
)]
pub(super) async fn check_dns(State(control): State<Control>) -> Json<DnsReport> {
    Json(control.snapshot.check_dns().await)
}
