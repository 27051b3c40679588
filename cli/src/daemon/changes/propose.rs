//! From a wish to a checked configuration, without any effect yet.

use genkan_config::{Diagnostic, Edit, EditError, ForwardKeys, Loaded};
use genkan_control::api::{ErrorBody, ErrorCode, ForwardPatch, NewForward, OneOrMany, PortWord};
use genkan_control::server::Change;
use genkan_control::store::{StoreError, Target};
use genkan_engine::UnixTime;

use super::super::event_loop::Daemon;
use super::{Proposal, not_saved, refuse, wall_seconds};

impl Daemon {
    /// The configuration that a change leads to.
    pub(super) fn propose(&self, change: Change) -> Result<Proposal, ErrorBody> {
        match change {
            Change::Reload => self.propose_file(),
            Change::Rollback(revision) => self.propose_revision(revision),
            Change::AddForward(forward) => {
                let what = format!("forward add {}", forward.name);
                self.can_time(forward.for_seconds)?;
                self.propose_edit(what, &add_edit(*forward)?)
            }
            Change::RemoveForward(name) => {
                self.propose_edit(format!("forward remove {name}"), &Edit::RemoveForward { name })
            }
            Change::PatchForward(name, patch) => {
                self.can_time(patch.for_seconds)?;
                let (what, edit) = patch_edit(name, *patch)?;
                self.propose_edit(what, &edit)
            }
            Change::SetDmz(to) => self.propose_edit(format!("dmz set {to}"), &Edit::SetDmz { to }),
            Change::ClearDmz => self.propose_edit("dmz clear".to_owned(), &Edit::ClearDmz),
        }
    }

    /// Without the forwards whose time is over.
    pub(super) fn propose_expiry(&self, names: Vec<String>) -> Result<Proposal, ErrorBody> {
        self.propose_edit("expired".to_owned(), &Edit::RemoveExpired { names })
    }

    /// Whether the clock can tell when so many seconds are over. One that boots in 1970 would call the end long past as soon
    /// as it is set.
    fn can_time(&self, for_seconds: Option<u32>) -> Result<(), ErrorBody> {
        let Some(floor) = self.hours.unreached().filter(|_| for_seconds.is_some()) else { return Ok(()) };
        let (now, floor) = (genkan_config::rfc3339(wall_seconds()), genkan_config::rfc3339(floor));
        let text = format!(
            "error: the clock shows {now}, which cannot be right, so nobody knows when a forward is to close\n\
             help: set the clock ({floor} or later is believed), or open it without a time"
        );
        refuse(ErrorCode::ChangeRefused, text)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn propose_file(&self) -> Result<Proposal, ErrorBody> {
        // A pipe would hold up the event loop. What is not there at all is said better by the reading.
        if std::fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return refuse(
                ErrorCode::ReloadRefused,
                format!("error: {}: it is no regular file", self.name()),
            );
        }
        let loaded = genkan_config::load(&self.path).map_err(|errors| refused(&errors))?;
        let (what, target) = ("reload".to_owned(), Target::HistoryOnly);
        Ok(Proposal { loaded, what, target, all_warnings: true, always: true, insists: false })
    }

    fn propose_revision(&self, revision: u64) -> Result<Proposal, ErrorBody> {
        self.file_is_ours()?;
        let text = self.store.read(revision).map_err(|error| unread(&error))?;
        let loaded = genkan_config::parse(&text, &self.name()).map_err(|errors| refused(&errors))?;
        Ok(proposal(loaded, format!("rollback to {revision}")))
    }

    fn propose_edit(&self, what: String, edit: &Edit) -> Result<Proposal, ErrorBody> {
        self.file_is_ours()?;
        let loaded = genkan_config::edit(self.store.text(), &self.name(), edit);
        Ok(proposal(loaded.map_err(|error| unedited(&error))?, what))
    }

    /// What a person has written into the file meanwhile is not overwritten.
    fn file_is_ours(&self) -> Result<(), ErrorBody> {
        match self.store.is_edited() {
            Ok(false) => Ok(()),
            Ok(true) => refuse(
                ErrorCode::Conflict,
                format!("{}: the file was edited by hand; `genkan reload` takes it over first", self.name()),
            ),
            Err(error) => Err(not_saved(&error)),
        }
    }
}

fn proposal(loaded: Loaded, what: String) -> Proposal {
    Proposal { loaded, what, target: Target::File, all_warnings: false, always: false, insists: false }
}

fn refused(errors: &[Diagnostic]) -> ErrorBody {
    ErrorBody { code: ErrorCode::ReloadRefused, message: genkan_config::render(errors, false) }
}

fn unedited(error: &EditError) -> ErrorBody {
    let code = match error {
        EditError::NotFound { .. } => ErrorCode::NotFound,
        EditError::Exists { .. } => ErrorCode::Exists,
        EditError::Refused(_) => ErrorCode::ChangeRefused,
    };
    ErrorBody { code, message: error.to_string() }
}

/// Why a revision cannot be had.
pub(super) fn unread(error: &StoreError) -> ErrorBody {
    match error {
        StoreError::NotFound { .. } => {
            ErrorBody { code: ErrorCode::NotFound, message: format!("{error}; `genkan history` lists them") }
        }
        error => not_saved(error),
    }
}

fn add_edit(forward: NewForward) -> Result<Edit, ErrorBody> {
    let expires = expiry(forward.for_seconds, forward.expires.map(Some))?;
    let keys = ForwardKeys {
        protocols: Some(forward.protocol.into_vec()),
        ports: Some(port_texts(forward.port)),
        to: Some(forward.to),
        address: Some(forward.address),
        from: Some(forward.from),
        enabled: Some(forward.enabled),
        expires,
        temporary: Some(forward.temporary || forward.for_seconds.is_some()),
        schedule: Some(forward.schedule),
        max_sessions: Some(forward.max_sessions),
        max_new_per_source: Some(forward.max_new_per_source),
        log: Some(forward.log),
    };
    Ok(Edit::AddForward { name: forward.name, keys })
}

fn patch_edit(name: String, patch: ForwardPatch) -> Result<(String, Edit), ErrorBody> {
    if patch == ForwardPatch::default() {
        return refuse(
            ErrorCode::BadRequest,
            "nothing is to be different: give at least one key of a forward",
        );
    }
    let only_enabled = ForwardPatch { enabled: patch.enabled, ..ForwardPatch::default() } == patch;
    let what = match patch.enabled.filter(|_| only_enabled) {
        Some(true) => "forward enable",
        Some(false) => "forward disable",
        None => "forward change",
    };
    let never = |expires: Option<String>| expires.filter(|text| text != "never");
    let expires = expiry(patch.for_seconds, patch.expires.map(never))?;
    // What never expires is not temporary.
    let temporary = if expires == Some(None) { Some(false) } else { patch.for_seconds.map(|_| true) };
    let keys = ForwardKeys {
        protocols: patch.protocol.map(OneOrMany::into_vec),
        ports: patch.port.map(port_texts),
        to: patch.to,
        address: patch.address,
        from: patch.from.map(Option::unwrap_or_default),
        enabled: patch.enabled,
        expires,
        temporary: patch.temporary.or(temporary),
        schedule: patch.schedule,
        max_sessions: patch.max_sessions,
        max_new_per_source: patch.max_new_per_source,
        log: patch.log,
    };
    Ok((format!("{what} {name}"), Edit::ChangeForward { name, keys }))
}

/// What `expires` is to say: as it is given, or so many seconds from now.
fn expiry(
    for_seconds: Option<u32>,
    expires: Option<Option<String>>,
) -> Result<Option<Option<String>>, ErrorBody> {
    match (for_seconds, expires) {
        (Some(_), Some(_)) => refuse(ErrorCode::BadRequest, "`expires` and `for_seconds` together"),
        (Some(0), None) => refuse(ErrorCode::BadRequest, "`for_seconds` is at least 1"),
        (Some(seconds), None) => {
            let UnixTime(now) = wall_seconds();
            Ok(Some(Some(genkan_config::rfc3339(UnixTime(now.saturating_add(seconds.into()))))))
        }
        (None, expires) => Ok(expires),
    }
}

fn port_texts(ports: OneOrMany<PortWord>) -> Vec<String> {
    ports.into_vec().iter().map(ToString::to_string).collect()
}
