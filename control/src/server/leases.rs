//! The DHCP service and its leases.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use super::openapi::TakesQuery;
use super::pages::Pages;
use super::{Control, Failure};
use crate::api::{DhcpRow, LeaseQuery, LeaseRow, Page};

/// The DHCP service of each lan: its pool, and what is not as it should be
#[utoipa::path(
    get, path = "/v1/dhcp",
    responses((status = 200, description = "All of them, by the name of the lan", body = Vec<DhcpRow>)),
)]
pub(super) async fn dhcp(State(control): State<Control>) -> Json<Vec<DhcpRow>> {
    Json(control.snapshot.leases.services())
}

/// The leases of the DHCP service, and addresses that rest because a stranger uses them
#[utoipa::path(
    get, path = "/v1/leases",
    params(LeaseQuery),
    responses(
        (status = 200, description = "A page, by address", body = Page<LeaseRow>),
        TakesQuery,
    ),
)]
pub(super) async fn leases(
    State(control): State<Control>,
    query: Result<Query<LeaseQuery>, QueryRejection>,
) -> Result<Json<Page<LeaseRow>>, Failure> {
    let Query(LeaseQuery { cursor, limit }) = query?;
    let pages = Pages { cursor, limit };
    Ok(Json(control.snapshot.leases.page(cursor, pages.limit())))
}
