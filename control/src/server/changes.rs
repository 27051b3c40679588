//! Changes: each goes through the daemon's one ear for them, so that two at once come one after the other.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use tokio::sync::{mpsc, oneshot};

use super::openapi::{AsksDaemon, Changes, IfMatch, Names, TakesBody, TakesQuery};
use super::{Control, Failure, Peer};
use crate::api::{
    AuditQuery, AuditReport, ChangeQuery, ChangeReport, DdnsRow, DiffQuery, ErrorBody, ErrorCode, FollowLine,
    FollowQuery, ForwardPatch, History, HistoryDiff, LogLevelReport, MAX_CONFIRM_SECONDS, NewDmz, NewForward,
    Rollback, TraceAnswer, TraceQuery, UpgradeReport,
};

/// Where an outcome goes.
pub type Reply<T> = oneshot::Sender<Result<T, ErrorBody>>;

/// What the daemon is asked.
#[derive(Debug)]
pub enum ChangeRequest {
    /// Change the configuration.
    Change {
        /// What is to be different.
        change: Change,
        /// How.
        options: ChangeQuery,
        /// Who asks.
        who: Peer,
        /// Where the outcome goes.
        reply: Reply<ChangeReport>,
    },
    /// Keep the change that waits for it.
    Confirm {
        /// That this is the one in force.
        options: ChangeQuery,
        /// Who asks.
        who: Peer,
        /// Where the outcome goes.
        reply: Reply<ChangeReport>,
    },
    /// Give everything to the program that is installed now.
    Upgrade {
        /// Who asks.
        who: Peer,
        /// Where the outcome goes; what a refusal says is why this program goes on.
        reply: Reply<UpgradeReport>,
    },
    /// How much is logged.
    LogLevel {
        /// So much from now on; without it, as before.
        set: Option<String>,
        /// Who asks.
        who: Peer,
        /// Where it goes.
        reply: Reply<LogLevelReport>,
    },
    /// What would become of a packet.
    Trace {
        /// Which.
        query: TraceQuery,
        /// Where it goes.
        reply: Reply<TraceAnswer>,
    },
    /// What becomes of real packets.
    Follow {
        /// Which.
        query: FollowQuery,
        /// Who asks.
        who: Peer,
        /// Where it goes: lines to come, until nobody listens.
        reply: Reply<mpsc::Receiver<FollowLine>>,
    },
    /// Try again to update a name outside.
    UpdateDdns {
        /// Which.
        name: String,
        /// Who asks.
        who: Peer,
        /// How it stands then.
        reply: Reply<DdnsRow>,
    },
    /// What is open.
    Audit {
        /// In which words.
        query: AuditQuery,
        /// Where it goes.
        reply: Reply<AuditReport>,
    },
    /// The last revisions.
    History {
        /// Where they go.
        reply: Reply<History>,
    },
    /// What is different between two of them.
    Diff {
        /// Which.
        query: DiffQuery,
        /// Where it goes.
        reply: Reply<HistoryDiff>,
    },
}

/// What is to be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A further forward.
    AddForward(Box<NewForward>),
    /// A forward less.
    RemoveForward(String),
    /// Another value of a forward's keys.
    PatchForward(String, Box<ForwardPatch>),
    /// Another DMZ host.
    SetDmz(String),
    /// No DMZ host.
    ClearDmz,
    /// What the file says now.
    Reload,
    /// What an earlier revision said.
    Rollback(u64),
}

/// [`ChangeQuery`] of the query and `If-Match` together.
pub(super) struct Options(ChangeQuery);

impl<S: Send + Sync> FromRequestParts<S> for Options {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Options, Failure> {
        let Query(mut query) = Query::<ChangeQuery>::from_request_parts(parts, state).await?;
        let bad = |text: &str| Failure::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, text);
        if query.confirm_seconds.is_some_and(|seconds| !(1..=MAX_CONFIRM_SECONDS).contains(&seconds)) {
            return Err(bad("`confirm_seconds` is 1 to 86400"));
        }
        if let Some(tag) = parts.headers.get(IF_MATCH) {
            let revision = tag.to_str().ok().map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'));
            match revision {
                Some("*") => {}
                Some(text) => match text.parse() {
                    Ok(revision) if query.revision.is_none_or(|other| other == revision) => {
                        query.revision = Some(revision);
                    }
                    _ => return Err(bad("`If-Match` takes one revision, such as \"12\"")),
                },
                None => return Err(bad("`If-Match` takes one revision, such as \"12\"")),
            }
        }
        Ok(Options(query))
    }
}

type Answer<T> = Result<Json<T>, Failure>;
type Body<T> = Result<Json<T>, JsonRejection>;
type Name = Result<Path<String>, PathRejection>;

pub(super) async fn ask<T>(control: &Control, make: impl FnOnce(Reply<T>) -> ChangeRequest) -> Answer<T> {
    let (reply, outcome) = oneshot::channel();
    let gone = || {
        let message = "the router is ending";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::WorkerUnavailable, message)
    };
    control.changes.send(make(reply)).await.map_err(|_| gone())?;
    Ok(Json(outcome.await.map_err(|_| gone())??))
}

async fn change(control: Control, peer: Peer, options: Options, change: Change) -> Answer<ChangeReport> {
    let Options(options) = options;
    ask(&control, |reply| ChangeRequest::Change { change, options, who: peer, reply }).await
}

/// Reads the configuration file again
#[utoipa::path(
    post, path = "/v1/reload",
    params(
        ChangeQuery,
        IfMatch,
    ),
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes,
    ),
)]
pub(super) async fn reload(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    options: Options,
) -> Answer<ChangeReport> {
    change(control, peer, options, Change::Reload).await
}

/// Adds a forward, to the running router and to its file
#[utoipa::path(
    post, path = "/v1/forwards",
    params(
        ChangeQuery,
        IfMatch,
    ),
    request_body = NewForward,
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes, TakesBody,
    ),
)]
pub(super) async fn add_forward(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    options: Options,
    body: Body<NewForward>,
) -> Answer<ChangeReport> {
    let Json(forward) = body?;
    change(control, peer, options, Change::AddForward(Box::new(forward))).await
}

/// Removes a forward and ends its sessions
#[utoipa::path(
    delete, path = "/v1/forwards/{name}",
    params(
        ("name" = String, Path, description = "The forward's name"),
        ChangeQuery,
        IfMatch,
    ),
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes, Names,
    ),
)]
pub(super) async fn remove_forward(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    name: Name,
    options: Options,
) -> Answer<ChangeReport> {
    let Path(name) = name?;
    change(control, peer, options, Change::RemoveForward(name)).await
}

/// Changes a forward: opens or closes it, or gives its keys other values
#[utoipa::path(
    patch, path = "/v1/forwards/{name}",
    params(
        ("name" = String, Path, description = "The forward's name"),
        ChangeQuery,
        IfMatch,
    ),
    request_body = ForwardPatch,
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes, TakesBody, Names,
    ),
)]
pub(super) async fn patch_forward(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    name: Name,
    options: Options,
    body: Body<ForwardPatch>,
) -> Answer<ChangeReport> {
    let (Path(name), Json(patch)) = (name?, body?);
    change(control, peer, options, Change::PatchForward(name, Box::new(patch))).await
}

/// Sets the DMZ host
#[utoipa::path(
    put, path = "/v1/dmz",
    params(
        ChangeQuery,
        IfMatch,
    ),
    request_body = NewDmz,
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes, TakesBody,
    ),
)]
pub(super) async fn set_dmz(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    options: Options,
    body: Body<NewDmz>,
) -> Answer<ChangeReport> {
    let Json(NewDmz { to }) = body?;
    change(control, peer, options, Change::SetDmz(to)).await
}

/// No DMZ host any more
#[utoipa::path(
    delete, path = "/v1/dmz",
    params(
        ChangeQuery,
        IfMatch,
    ),
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes, Names,
    ),
)]
pub(super) async fn clear_dmz(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    options: Options,
) -> Answer<ChangeReport> {
    change(control, peer, options, Change::ClearDmz).await
}

/// Puts an earlier revision in force again
#[utoipa::path(
    post, path = "/v1/rollback",
    params(
        ChangeQuery,
        IfMatch,
    ),
    request_body = Rollback,
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes, TakesBody, Names,
    ),
)]
pub(super) async fn rollback(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    options: Options,
    body: Body<Rollback>,
) -> Answer<ChangeReport> {
    let Json(Rollback { to }) = body?;
    change(control, peer, options, Change::Rollback(to)).await
}

/// Keeps the change that waits for it
#[utoipa::path(
    post, path = "/v1/confirm",
    params(
        ChangeQuery,
        IfMatch,
    ),
    responses(
        (status = 200, description = "Done, or with `dry_run` what would be", body = ChangeReport),
        Changes,
    ),
)]
pub(super) async fn confirm(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Options(options): Options,
) -> Answer<ChangeReport> {
    ask(&control, |reply| ChangeRequest::Confirm { options, who: peer, reply }).await
}

/// The last revisions
#[utoipa::path(
    get, path = "/v1/history",
    responses((status = 200, description = "Newest first", body = History), AsksDaemon),
)]
pub(super) async fn history(State(control): State<Control>) -> Answer<History> {
    ask(&control, |reply| ChangeRequest::History { reply }).await
}

/// What is different between two revisions
#[utoipa::path(
    get, path = "/v1/history/diff",
    params(DiffQuery),
    responses((status = 200, description = "It", body = HistoryDiff), TakesQuery, Names, AsksDaemon),
)]
pub(super) async fn diff(
    State(control): State<Control>,
    query: Result<Query<DiffQuery>, QueryRejection>,
) -> Answer<HistoryDiff> {
    let Query(query) = query?;
    ask(&control, |reply| ChangeRequest::Diff { query, reply }).await
}
