//! From a wish to a checked configuration, without any effect yet.

use genkan_config::{Diagnostic, Edit, EditError, Loaded, NewForward};
use genkan_control::api::{self, ErrorBody, ErrorCode, ForwardPatch};
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
                self.propose_edits(what, &[Edit::AddForward(new_forward(forward)?)])
            }
            Change::RemoveForward(name) => {
                self.propose_edits(format!("forward remove {name}"), &[Edit::RemoveForward { name }])
            }
            Change::PatchForward(name, patch) => {
                let (what, edits) = patch_edits(name, patch)?;
                self.propose_edits(what, &edits)
            }
            Change::SetDmz(to) => self.propose_edits(format!("dmz set {to}"), &[Edit::SetDmz { to }]),
            Change::ClearDmz => self.propose_edits("dmz clear".to_owned(), &[Edit::ClearDmz]),
        }
    }

    /// Without the forwards whose time is over.
    pub(super) fn propose_expiry(&self, names: Vec<String>) -> Result<Proposal, ErrorBody> {
        self.propose_edits("expired".to_owned(), &[Edit::RemoveExpired { names }])
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn propose_file(&self) -> Result<Proposal, ErrorBody> {
        let loaded = genkan_config::load(&self.path).map_err(|errors| refused(&errors))?;
        let (what, target) = ("reload".to_owned(), Target::HistoryOnly);
        Ok(Proposal { loaded, what, target, all_warnings: true, always: true })
    }

    fn propose_revision(&self, revision: u64) -> Result<Proposal, ErrorBody> {
        self.file_is_ours()?;
        let text = self.store.read(revision).map_err(|error| unread(&error))?;
        let loaded = genkan_config::parse(&text, &self.name()).map_err(|errors| refused(&errors))?;
        Ok(proposal(loaded, format!("rollback to {revision}")))
    }

    fn propose_edits(&self, what: String, edits: &[Edit]) -> Result<Proposal, ErrorBody> {
        self.file_is_ours()?;
        let mut loaded: Option<Loaded> = None;
        for edit in edits {
            let text = loaded.as_ref().map_or(self.store.text(), |loaded| loaded.places.file.text());
            loaded = Some(genkan_config::edit(text, &self.name(), edit).map_err(|error| unedited(&error))?);
        }
        match loaded {
            Some(loaded) => Ok(proposal(loaded, what)),
            None => refuse(ErrorCode::BadRequest, "nothing is to be different"),
        }
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
    Proposal { loaded, what, target: Target::File, all_warnings: false, always: false }
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

fn new_forward(forward: api::NewForward) -> Result<NewForward, ErrorBody> {
    let expires = match (forward.for_seconds, forward.expires) {
        (Some(_), Some(_)) => return refuse(ErrorCode::BadRequest, "`expires` and `for_seconds` together"),
        (Some(0), _) => return refuse(ErrorCode::BadRequest, "`for_seconds` is at least 1"),
        (Some(seconds), None) => {
            let UnixTime(now) = wall_seconds();
            Some(genkan_config::rfc3339(UnixTime(now.saturating_add(seconds.into()))))
        }
        (None, expires) => expires,
    };
    Ok(NewForward {
        name: forward.name,
        protocols: forward.protocol.into_vec(),
        ports: forward.port.into_vec().iter().map(ToString::to_string).collect(),
        to: forward.to,
        address: forward.address,
        from: forward.from,
        enabled: forward.enabled,
        expires,
        temporary: forward.temporary || forward.for_seconds.is_some(),
        log: forward.log,
    })
}

fn patch_edits(name: String, patch: ForwardPatch) -> Result<(String, Vec<Edit>), ErrorBody> {
    let mut edits = Vec::new();
    let mut what = "forward change";
    if let Some(enabled) = patch.enabled {
        what = if enabled { "forward enable" } else { "forward disable" };
        edits.push(Edit::EnableForward { name: name.clone(), enabled });
    }
    if let Some(expires) = patch.expires {
        let expires = Some(expires).filter(|text| text != "never");
        edits.push(Edit::ExpireForward { name: name.clone(), expires });
    }
    if edits.is_empty() {
        return refuse(ErrorCode::BadRequest, "nothing is to be different: give `enabled` or `expires`");
    }
    Ok((format!("{what} {name}"), edits))
}
