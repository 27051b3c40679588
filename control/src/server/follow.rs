//! Real packets, explained as they are judged: a stream of lines.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use tokio::sync::mpsc;

use super::changes::ask;
use super::openapi::{AsksDaemon, TakesQuery};
use super::{ChangeRequest, Control, Failure, Peer};
use crate::api::{ErrorBody, FollowLine, FollowQuery};

/// Real packets, and why each goes where it goes
///
/// A stream of `FollowLine`s as JSON, one on each line: `following` at once, then each packet as it is judged, with what
/// `POST /v1/trace` tells of one that is made up. What comes too fast is counted and not explained. It ends after `count`
/// packets, with the router, or when the asker goes; several may listen at once.
#[utoipa::path(
    get, path = "/v1/trace",
    params(FollowQuery),
    responses(
        (status = 200, description = "The packets", content_type = "application/x-ndjson", body = FollowLine),
        (status = 409, description = "As many follow packets already as may", body = ErrorBody),
        TakesQuery, AsksDaemon,
    ),
)]
pub(super) async fn follow(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<FollowQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let lines = ask(&control, |reply| ChangeRequest::Follow { query, who: peer, reply }).await?.0;
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, Body::from_stream(stream(lines))).into_response())
}

/// When the asker goes away it is dropped, and with it the ear that whoever explains packets speaks to.
fn stream(lines: mpsc::Receiver<FollowLine>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::unfold(lines, async |mut lines| {
        let line = lines.recv().await?;
        // A line always has a JSON form.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((Ok(Bytes::from(text)), lines))
    })
}
