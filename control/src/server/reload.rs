//! Reading the configuration again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::{Control, Failure};
use crate::api::{ErrorCode, ReloadReport};

/// Asks the daemon to read its file again; the error is the text that `check` prints.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Result<ReloadReport, String>>,
}

pub(super) async fn reload(State(control): State<Control>) -> Result<Json<ReloadReport>, Failure> {
    let (reply, outcome) = oneshot::channel();
    let gone = || {
        let message = "the router is ending";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::WorkerUnavailable, message)
    };
    control.reload.send(ReloadRequest { reply }).await.map_err(|_| gone())?;
    match outcome.await.map_err(|_| gone())? {
        Ok(report) => Ok(Json(report)),
        Err(text) => Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::ReloadRefused, text)),
    }
}
