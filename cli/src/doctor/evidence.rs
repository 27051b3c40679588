//! What has become of those who came from outside: the sessions of a forward that the running router has.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use genkan_control::api::{SessionQuery, SessionRow};
use genkan_control::client::{Client, ClientError};
use genkan_engine::wire::ipv4::Protocol;
use serde::Serialize;

/// Most sessions that are read.
const MOST_ROWS: usize = 1_000;

/// Most requests for them: the router looks through 65,536 places of its table for one.
const MOST_PAGES: usize = 16;

/// Most sources that are named.
const MOST_NAMED: usize = 4;

/// Sessions from outside that a forward has admitted and that live: of everybody, or of the one who is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Evidence {
    /// The target has answered them.
    pub(crate) answered: u32,
    /// Forwarded before the target was asked by the router, and not answered after that.
    pub(crate) unanswered: u32,
    /// Sources none of whose sessions was answered: the first few.
    pub(crate) silent_to: Vec<Ipv4Addr>,
    /// Only those of one source were looked at.
    #[serde(skip)]
    pub(crate) is_of_one: bool,
}

/// The sessions of a forward and protocol that were opened from outside: up to [`MOST_ROWS`], from the first part of a
/// very large table.
///
/// # Errors
/// When the router does not answer.
pub(super) async fn read(
    client: &Client,
    forward: &str,
    protocol: Protocol,
) -> Result<Vec<SessionRow>, ClientError> {
    let mut query = SessionQuery {
        forward: Some(forward.to_owned()),
        protocol: Some(protocol.to_string()),
        limit: Some(MOST_ROWS as u32),
        ..SessionQuery::default()
    };
    let mut rows = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = client.sessions(&query).await?;
        rows.extend(page.rows.into_iter().filter(|row| row.opened_by == "remote"));
        query.cursor = page.next;
        if page.next.is_none() || rows.len() >= MOST_ROWS {
            break;
        }
    }
    Ok(rows)
}

/// Whether the target has not answered a session. One that it has refused is answered, by a no.
pub(super) fn is_unanswered(row: &SessionRow) -> bool {
    matches!(row.state.as_str(), "inbound-syn" | "unanswered")
}

/// What is to be learned from sessions that were read before the target was asked and after that. `only`: of this source.
pub(super) fn weigh(before: &[SessionRow], after: &[SessionRow], only: Option<Ipv4Addr>) -> Evidence {
    let is_same = |one: &SessionRow, other: &SessionRow| {
        (one.remote, one.external, &one.state) == (other.remote, other.external, &other.state)
    };
    let mut evidence = Evidence { is_of_one: only.is_some(), ..Evidence::default() };
    let mut is_silent = BTreeMap::new();
    for row in after.iter().filter(|row| only.is_none_or(|only| *row.remote.ip() == only)) {
        let silent = match row.state.as_str() {
            // A reset before an answer: the target's, or the asker has given up.
            "refused" => continue,
            _ if !is_unanswered(row) => {
                evidence.answered += 1;
                false
            }
            _ if before.iter().any(|earlier| is_same(earlier, row)) => {
                evidence.unanswered += 1;
                true
            }
            // It may still be answered.
            _ => continue,
        };
        *is_silent.entry(*row.remote.ip()).or_insert(true) &= silent;
    }
    let silent = is_silent.into_iter().filter(|(_, silent)| *silent);
    evidence.silent_to = silent.map(|(source, _)| source).take(MOST_NAMED).collect();
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(remote: &str, state: &str) -> SessionRow {
        SessionRow {
            protocol: "tcp".to_owned(),
            internal: "192.168.0.10:8080".parse().expect("an endpoint"),
            host: None,
            external: "203.0.113.1:80".parse().expect("an endpoint"),
            remote: remote.parse().expect("an endpoint"),
            origin: "forward".to_owned(),
            opened_by: "remote".to_owned(),
            forward: Some("web".to_owned()),
            state: state.to_owned(),
            expires_in_seconds: 9,
        }
    }

    #[test]
    fn who_came_while_the_target_was_asked_may_still_be_answered() {
        let early = row("198.51.100.7:1", "inbound-syn");
        let late = row("198.51.100.7:2", "inbound-syn");
        let evidence = weigh(std::slice::from_ref(&early), &[early.clone(), late], None);
        assert_eq!((evidence.answered, evidence.unanswered), (0, 1));
        assert_eq!(evidence.silent_to, [Ipv4Addr::new(198, 51, 100, 7)]);
        let answered = [row("198.51.100.7:1", "established")];
        let evidence = weigh(&[early], &answered, None);
        assert_eq!((evidence.answered, evidence.unanswered, evidence.silent_to.len()), (1, 0, 0));
    }

    #[test]
    fn a_source_with_one_answer_is_answered_and_a_refusal_is_none() {
        let rows = [
            row("198.51.100.7:1", "inbound-syn"),
            row("198.51.100.7:2", "both-fin"),
            row("198.51.100.8:1", "inbound-syn"),
            row("198.51.100.9:1", "refused"),
        ];
        let evidence = weigh(&rows, &rows, None);
        assert_eq!((evidence.answered, evidence.unanswered), (1, 2));
        assert_eq!(evidence.silent_to, [Ipv4Addr::new(198, 51, 100, 8)]);
        let of_one = weigh(&rows, &rows, Some(Ipv4Addr::new(198, 51, 100, 7)));
        assert_eq!((of_one.answered, of_one.unanswered, of_one.silent_to.len()), (1, 1, 0));
    }
}
