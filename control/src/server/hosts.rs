//! The inside hosts.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use super::openapi::{AsksWorker, TakesQuery};
use super::pages::Pages;
use super::{Control, Failure};
use crate::api::{HostQuery, HostRow, Page};

/// The inside hosts, from the configuration, ARP and sessions
#[utoipa::path(
    get, path = "/v1/hosts",
    params(HostQuery),
    responses(
        (status = 200, description = "A page, by address unless sorted", body = Page<HostRow>),
        TakesQuery, AsksWorker,
    ),
)]
pub(super) async fn hosts(
    State(control): State<Control>,
    query: Result<Query<HostQuery>, QueryRejection>,
) -> Result<Json<Page<HostRow>>, Failure> {
    let Query(HostQuery { cursor, limit, sort }) = query?;
    let pages = Pages { cursor, limit };
    if sort.is_some() {
        pages.only_the_first()?;
    }
    Ok(Json(crate::hosts::page(&control.snapshot, &control.worker, cursor, pages.limit(), sort).await?))
}
