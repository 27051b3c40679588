//! The description of the API for programs (OpenAPI), made from the handlers and the types that they take and give.
//!
//! docs/openapi.json is a copy of it, for those who write a client without a router at hand.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::response::Response as Described;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, OpenApi};

use crate::api::{ErrorBody, ErrorCode};

/// What the document says beside the requests.
#[derive(OpenApi)]
#[openapi(
    info(title = "Genkan", description = "The control API of a running router: HTTP/1.1 with JSON over a unix socket, \
        `/run/genkan/control.sock` unless configured otherwise. Within `/v1` fields are only ever added. Every answer \
        that is no success has an `ErrorBody`; so has 404 for other paths, and 405 for other methods than those here."),
    servers((url = "http://genkan", description = "Any name does: the socket decides whom one talks to.")),
    components(schemas(ErrorBody, ErrorCode)),
)]
pub(super) struct Document;

/// [`openapi()`], made once.
static DOCUMENT: LazyLock<String> = LazyLock::new(openapi);

/// The OpenAPI document as JSON.
pub fn openapi() -> String {
    let text = super::described_routes().into_openapi().to_pretty_json().unwrap_or_default();
    // utoipa 6.0.0 writes `u-int64`; the registry of formats (spec.openapis.org) has `uint64`.
    text.replace("\"u-int", "\"uint") + "\n"
}

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json",
    responses((status = 200, description = "It", content_type = "application/json", body = Object)),
)]
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The header of that name.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `changes::Options` reads")]
pub(super) struct IfMatch {
    /// The same as `revision`, in quotes: `"12"`; or `*`.
    #[param(rename = "If-Match", pattern = r#"^(\*|(W/)?"?[0-9]{1,19}"?)$"#)]
    if_match: Option<String>,
}

/// The header of that name.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `events::last_event_id` reads")]
pub(super) struct LastEventId {
    /// In a stream: what was seen last; goes before `since`.
    #[param(rename = "Last-Event-ID", maximum = 18_446_744_073_709_551_615_u64)]
    last_event_id: Option<u64>,
}

/// A worker is asked.
pub(super) enum AsksWorker {}
/// There is a query.
pub(super) enum TakesQuery {}
/// The configuration is changed or its history is read.
pub(super) enum AsksDaemon {}
/// [`AsksDaemon`], and a change may be refused.
pub(super) enum Changes {}
/// There is a body of JSON.
pub(super) enum TakesBody {}
/// What is named may not be there.
pub(super) enum Names {}

impl IntoResponses for AsksWorker {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        failures([("503", "A packet worker did not answer in time, or another program has taken over")])
    }
}

impl IntoResponses for TakesQuery {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        failures([("400", "The request makes no sense")])
    }
}

impl IntoResponses for AsksDaemon {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        failures([(
            "503",
            "The router is ending, another program has taken over, or the history cannot be read",
        )])
    }
}

impl IntoResponses for Changes {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        failures([
            ("400", "The request makes no sense"),
            (
                "409",
                "Another revision is in force, a change waits for its confirmation, or the name is taken",
            ),
            ("422", "The configuration would be refused, or the body is not what it has to be"),
            (
                "503",
                "The change could not be written down and is not in force, another program has taken over, or the router is \
                 ending",
            ),
        ])
    }
}

impl IntoResponses for TakesBody {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        failures([("413", "The body is over 2 MiB"), ("415", "The body is not declared as JSON")])
    }
}

impl IntoResponses for Names {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        failures([("404", "There is none")])
    }
}

/// Answers that carry an [`ErrorBody`].
fn failures<const N: usize>(of: [(&str, &str); N]) -> BTreeMap<String, RefOr<Described>> {
    let answer = |text: &str| {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        RefOr::T(ResponseBuilder::new().description(text).content("application/json", body).build())
    };
    of.into_iter().map(|(status, text)| (status.to_owned(), answer(text))).collect()
}
