//! The leases of the DHCP service.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use super::openapi::TakesQuery;
use super::pages::Pages;
use super::{Control, Failure};
use crate::api::{LeaseQuery, LeaseRow, Page};

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
