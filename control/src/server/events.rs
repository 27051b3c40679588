//! The event log: as JSON, or as a stream of server-sent events (WHATWG HTML §9.2).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;

use super::openapi::{LastEventId, TakesQuery};
use super::{Control, Failure};
use crate::api::{ErrorCode, EventPage, EventQuery, EventRow};
use crate::events::{DEFAULT_EVENTS, KEPT};
use crate::snapshot::Snapshot;

/// How often a silent stream shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What happened
///
/// With `Accept: text/event-stream` the events after `since` or `Last-Event-ID` come one by one as server-sent events
/// (WHATWG HTML §9.2), each with an `EventRow` as its data, and then those to come; without either only those to come.
#[utoipa::path(
    get, path = "/v1/events",
    params(
        EventQuery,
        LastEventId,
    ),
    responses(
        (
            status = 200, description = "The events, the oldest first",
            content((EventPage = "application/json"), (String = "text/event-stream")),
        ),
        TakesQuery,
    ),
)]
pub(super) async fn events(
    State(control): State<Control>,
    query: Result<Query<EventQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let last_seen = last_event_id(&headers)?;
    if wants_stream(&headers) {
        let since = match last_seen {
            // A reader that comes back knows best where it was.
            Some(id) => id,
            None => query.since.unwrap_or_else(|| control.snapshot.events.newest()),
        };
        let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
        return Ok(Sse::new(stream(control.snapshot, since)).keep_alive(alive).into_response());
    }
    let limit = query.limit.unwrap_or(DEFAULT_EVENTS).clamp(1, KEPT as u32);
    Ok(Json(control.snapshot.events.page(query.since.unwrap_or(0), limit as usize)).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/event-stream")
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || {
        let message = "Last-Event-ID is not the id of an event";
        Failure::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, message)
    };
    id.map(Some).ok_or_else(wrong)
}

/// The events after `since`, and then each as it comes, until the router ends.
fn stream(snapshot: Arc<Snapshot>, since: u64) -> impl Stream<Item = Result<Event, Infallible>> {
    let start = (snapshot, since, VecDeque::<EventRow>::new());
    futures_util::stream::unfold(start, async |(snapshot, mut since, mut waiting)| {
        if waiting.is_empty() {
            let page = snapshot.events.after(since).await?;
            since = page.next;
            waiting.extend(page.rows);
        }
        let row = waiting.pop_front()?;
        let event = Event::default().id(row.id.to_string()).event(row.kind.name());
        // A row always has a JSON form.
        let event = event.json_data(&row).unwrap_or_default();
        Some((Ok(event), (snapshot, since, waiting)))
    })
}
