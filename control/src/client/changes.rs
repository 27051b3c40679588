//! Asks for changes.

use std::fmt::Write as _;

use hyper::Method;

use super::{Client, ClientError};
use crate::api::{
    AuditQuery, AuditReport, ChangeQuery, ChangeReport, DiffQuery, ForwardPatch, ForwardRow, History,
    HistoryDiff, NewDmz, NewForward, Rollback, TraceAnswer, TraceQuery, UpgradeReport,
};

impl Client {
    /// `POST /v1/upgrade`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`UpgradeRefused`](crate::api::ErrorCode::UpgradeRefused) when the running program
    /// goes on.
    pub async fn upgrade(&self) -> Result<UpgradeReport, ClientError> {
        self.request(Method::POST, "/v1/upgrade").await
    }

    /// `POST /v1/trace`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn trace(&self, query: &TraceQuery) -> Result<TraceAnswer, ClientError> {
        self.send(Method::POST, "/v1/trace", Some(query)).await
    }

    /// `GET /v1/audit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditReport, ClientError> {
        self.request(Method::GET, &super::with_query("/v1/audit", query)).await
    }

    /// `GET /v1/forwards`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn forwards(&self) -> Result<Vec<ForwardRow>, ClientError> {
        self.request(Method::GET, "/v1/forwards").await
    }

    /// `POST /v1/forwards`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_forward(
        &self,
        forward: &NewForward,
        options: &ChangeQuery,
    ) -> Result<ChangeReport, ClientError> {
        self.send(Method::POST, &with_options("/v1/forwards", options), Some(forward)).await
    }

    /// `DELETE /v1/forwards/{name}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_forward(
        &self,
        name: &str,
        options: &ChangeQuery,
    ) -> Result<ChangeReport, ClientError> {
        self.request(Method::DELETE, &with_options(&forward_path(name), options)).await
    }

    /// `PATCH /v1/forwards/{name}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn patch_forward(
        &self,
        name: &str,
        patch: &ForwardPatch,
        options: &ChangeQuery,
    ) -> Result<ChangeReport, ClientError> {
        self.send(Method::PATCH, &with_options(&forward_path(name), options), Some(patch)).await
    }

    /// `PUT /v1/dmz`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_dmz(&self, to: &str, options: &ChangeQuery) -> Result<ChangeReport, ClientError> {
        let body = NewDmz { to: to.to_owned() };
        self.send(Method::PUT, &with_options("/v1/dmz", options), Some(&body)).await
    }

    /// `DELETE /v1/dmz`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clear_dmz(&self, options: &ChangeQuery) -> Result<ChangeReport, ClientError> {
        self.request(Method::DELETE, &with_options("/v1/dmz", options)).await
    }

    /// `POST /v1/reload`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`ReloadRefused`](crate::api::ErrorCode::ReloadRefused) when the old
    /// configuration stays in force.
    pub async fn reload(&self, options: &ChangeQuery) -> Result<ChangeReport, ClientError> {
        self.request(Method::POST, &with_options("/v1/reload", options)).await
    }

    /// `POST /v1/rollback`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rollback(&self, to: u64, options: &ChangeQuery) -> Result<ChangeReport, ClientError> {
        self.send(Method::POST, &with_options("/v1/rollback", options), Some(&Rollback { to })).await
    }

    /// `POST /v1/confirm`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn confirm(&self) -> Result<ChangeReport, ClientError> {
        self.request(Method::POST, "/v1/confirm").await
    }

    /// `GET /v1/history`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(&self) -> Result<History, ClientError> {
        self.request(Method::GET, "/v1/history").await
    }

    /// `GET /v1/history/diff`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history_diff(&self, query: DiffQuery) -> Result<HistoryDiff, ClientError> {
        let to = query.to.map(|to| format!("&to={to}")).unwrap_or_default();
        self.request(Method::GET, &format!("/v1/history/diff?from={}{to}", query.from)).await
    }
}

fn with_options(path: &str, options: &ChangeQuery) -> String {
    let mut words = Vec::new();
    if options.dry_run {
        words.push("dry_run=true".to_owned());
    }
    words.extend(options.confirm_seconds.map(|seconds| format!("confirm_seconds={seconds}")));
    words.extend(options.revision.map(|revision| format!("revision={revision}")));
    if words.is_empty() { path.to_owned() } else { format!("{path}?{}", words.join("&")) }
}

fn forward_path(name: &str) -> String {
    let mut path = "/v1/forwards/".to_owned();
    escape(name, &mut path);
    path
}

/// Adds a word that may have any character; what is not plain is escaped (RFC 3986 §2.1).
pub(super) fn escape(word: &str, text: &mut String) {
    for octet in word.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_') {
            text.push(char::from(octet));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{octet:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_become_text() {
        assert_eq!(forward_path("web-1"), "/v1/forwards/web-1");
        assert_eq!(forward_path("a b/../ü"), "/v1/forwards/a%20b%2F%2E%2E%2F%C3%BC");
        assert_eq!(with_options("/v1/dmz", &ChangeQuery::default()), "/v1/dmz");
        let options = ChangeQuery { dry_run: true, confirm_seconds: Some(60), revision: Some(7) };
        assert_eq!(with_options("/v1/dmz", &options), "/v1/dmz?dry_run=true&confirm_seconds=60&revision=7");
    }
}
