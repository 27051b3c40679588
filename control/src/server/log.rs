//! How much the router logs.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, State};

use super::changes::ask;
use super::openapi::{AsksDaemon, TakesBody};
use super::{ChangeRequest, Control, Failure, Peer};
use crate::api::{ErrorBody, LogLevelReport, NewLogLevel};

/// How much is logged
#[utoipa::path(
    get, path = "/v1/log-level",
    responses((status = 200, description = "It, and why", body = LogLevelReport), AsksDaemon),
)]
pub(super) async fn log_level(
    State(control): State<Control>,
    ConnectInfo(who): ConnectInfo<Peer>,
) -> Result<Json<LogLevelReport>, Failure> {
    ask(&control, |reply| ChangeRequest::LogLevel { set: None, who, reply }).await
}

/// Logs so much until the next reload or restart
///
/// The configuration stays as it is.
#[utoipa::path(
    put, path = "/v1/log-level",
    request_body = NewLogLevel,
    responses(
        (status = 200, description = "What holds now", body = LogLevelReport),
        (status = 400, description = "It is no level", body = ErrorBody),
        (status = 422, description = "The body is not what it has to be", body = ErrorBody),
        TakesBody,
        AsksDaemon,
    ),
)]
pub(super) async fn set_log_level(
    State(control): State<Control>,
    ConnectInfo(who): ConnectInfo<Peer>,
    body: Result<Json<NewLogLevel>, JsonRejection>,
) -> Result<Json<LogLevelReport>, Failure> {
    let Json(NewLogLevel { level }) = body?;
    ask(&control, |reply| ChangeRequest::LogLevel { set: Some(level), who, reply }).await
}
