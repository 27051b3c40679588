//! Asks for events, and listens to them.

use hyper::Method;

use super::lines::Lines;
use super::{Client, ClientError};
use crate::api::{EventPage, EventQuery, EventRow};

impl Client {
    /// `GET /v1/events`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, query: &EventQuery) -> Result<EventPage, ClientError> {
        self.request(Method::GET, &with_query(query)).await
    }

    /// Listens to `GET /v1/events` as a stream: hands each event after `query.since` (without it: each new one) to
    /// `each`, until that says false or the router ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow_events(
        &self,
        query: &EventQuery,
        mut each: impl FnMut(EventRow) -> bool,
    ) -> Result<(), ClientError> {
        let mut lines = Lines::default();
        self.listen(&with_query(query), "text/event-stream", |octets| {
            let mut rows = rows(lines.take(octets)?)?.into_iter();
            // Stops at the first that says so.
            Ok(rows.all(&mut each))
        })
        .await
    }
}

fn with_query(query: &EventQuery) -> String {
    let since = query.since.map(|since| format!("since={since}"));
    let limit = query.limit.map(|limit| format!("limit={limit}"));
    let words: Vec<String> = since.into_iter().chain(limit).collect();
    if words.is_empty() { "/v1/events".to_owned() } else { format!("/v1/events?{}", words.join("&")) }
}

/// The events in these lines. Each of ours is one line of data.
fn rows(lines: Vec<Vec<u8>>) -> Result<Vec<EventRow>, ClientError> {
    let data = lines.iter().filter_map(|line| line.strip_prefix(b"data:"));
    data.map(serde_json::from_slice)
        .collect::<Result<_, _>>()
        .map_err(|error| ClientError::Answer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::lines::LONGEST_LINE;
    use super::*;

    #[test]
    fn queries_become_text() {
        assert_eq!(with_query(&EventQuery::default()), "/v1/events");
        let query = EventQuery { since: Some(7), limit: Some(10) };
        assert_eq!(with_query(&query), "/v1/events?since=7&limit=10");
    }

    #[test]
    fn events_may_come_in_pieces() {
        let text = "id: 5\nevent: link\ndata: {\"id\":5,\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"link\",\
                    \"message\":\"wan: up\"}\n\n:\n\n";
        let mut lines = Lines::default();
        let mut told = Vec::new();
        for piece in text.as_bytes().chunks(7) {
            told.extend(rows(lines.take(piece).expect("short")).expect("well formed"));
        }
        assert_eq!((told.len(), told[0].id, told[0].message.as_str()), (1, 5, "wan: up"));
        assert!(rows(vec![b"data: {\n".to_vec()]).is_err());
        assert!(Lines::default().take(&vec![b'x'; LONGEST_LINE + 1]).is_err());
    }
}
