//! What is open.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use super::changes::ask;
use super::openapi::{AsksDaemon, TakesQuery};
use super::{ChangeRequest, Control, Failure};
use crate::api::{AuditQuery, AuditReport};

/// What is open to the outside, since when and by whom, who comes, how risky it is and what would close it
#[utoipa::path(
    get, path = "/v1/audit",
    params(AuditQuery),
    responses((status = 200, description = "All openings", body = AuditReport), TakesQuery, AsksDaemon),
)]
pub(super) async fn audit(
    State(control): State<Control>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditReport>, Failure> {
    let Query(query) = query?;
    ask(&control, |reply| ChangeRequest::Audit { query, reply }).await
}
