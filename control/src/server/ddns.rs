//! Names outside that follow the wan address.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};

use super::changes::ask;
use super::openapi::{AsksDaemon, Names, TakesQuery};
use super::{ChangeRequest, Control, Failure, Peer};
use crate::api::DdnsRow;

/// Names outside that follow the wan address
#[utoipa::path(
    get, path = "/v1/ddns",
    responses((status = 200, description = "All of them, by name", body = Vec<DdnsRow>)),
)]
pub(super) async fn ddns(State(control): State<Control>) -> Json<Vec<DdnsRow>> {
    Json(control.snapshot.ddns())
}

/// Tries again to update a name
///
/// In both families, also where its update was stopped, with the other names of its account. The service's least interval
/// holds all the same, so the answer may be that it waits.
#[utoipa::path(
    post, path = "/v1/ddns/{name}/update",
    params(("name" = String, Path, description = "The name")),
    responses((status = 200, description = "How it stands now: the IPv4 address, where it has both", body = DdnsRow), TakesQuery, Names, AsksDaemon),
)]
pub(super) async fn update_ddns(
    State(control): State<Control>,
    ConnectInfo(who): ConnectInfo<Peer>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<DdnsRow>, Failure> {
    let Path(name) = name?;
    ask(&control, |reply| ChangeRequest::UpdateDdns { name, who, reply }).await
}
