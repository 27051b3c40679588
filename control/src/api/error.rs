//! What went wrong.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, for people; may have several lines for a refused configuration.
    pub message: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The configuration in the file was refused; the old one stays in force.
    ReloadRefused,
    /// A change would make a configuration that is refused; nothing was done.
    ChangeRefused,
    /// The change was made against another revision than the one in force, or the file was edited by hand meanwhile.
    Conflict,
    /// The name is taken.
    Exists,
    /// Somebody captures already; there can be one capture at a time.
    CaptureRunning,
    /// As many follow packets already as may at once.
    TooManyFollow,
    /// A change waits for its confirmation; until then there is no other.
    AwaitingConfirmation,
    /// No change waits for a confirmation.
    NothingToConfirm,
    /// The new program would not run; the present one goes on.
    UpgradeRefused,
    /// Another program has taken over before anything was done; the same request goes to that one now.
    HandedOver,
    /// The file or the history could not be written; nothing was changed.
    NotSaved,
    /// The packet worker did not answer in time or has ended.
    WorkerUnavailable,
    /// As many programs as may be are connected; this one has to try again later.
    TooManyConnections,
    /// As many machines as may be are asked already; try again later.
    TooManyProbes,
    /// The request makes no sense.
    BadRequest,
    /// There is no such resource.
    NotFound,
}
