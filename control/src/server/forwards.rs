//! The forwards of the running configuration.

use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::IntoResponse;

use super::Control;

pub(super) async fn forwards(State(control): State<Control>) -> impl IntoResponse {
    let (revision, rows) = control.snapshot.forwards();
    ([(ETAG, format!("\"{revision}\""))], Json(rows))
}
