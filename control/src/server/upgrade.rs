//! Another program in the place of this one.

use axum::Json;
use axum::extract::{ConnectInfo, State};

use super::changes::ask;
use super::openapi::AsksDaemon;
use super::{ChangeRequest, Control, Failure, Peer};
use crate::api::{ErrorBody, UpgradeReport};

/// Has the program that is installed now take over from the running one, with all sessions
#[utoipa::path(
    post, path = "/v1/upgrade",
    responses(
        (status = 200, description = "The new program runs", body = UpgradeReport),
        (status = 422, description = "The running program goes on, and why", body = ErrorBody),
        AsksDaemon,
    ),
)]
pub(super) async fn upgrade(
    State(control): State<Control>,
    ConnectInfo(who): ConnectInfo<Peer>,
) -> Result<Json<UpgradeReport>, Failure> {
    ask(&control, |reply| ChangeRequest::Upgrade { who, reply }).await
}
