//! `genkan conformance`: the requirements of the RFCs on NAT, tried on a running device.
//!
//! * [`catalogue`] is the list of requirements; each names its probe among [`probes`].
//! * A probe is given a [`site`]: a device with hosts on both sides, which send and see packets ([`wire`],
//!   [`packet`]). It does not know which device that is, and returns a [`finding`].
//! * [`device`] puts Genkan, or the kernel's NAT, into the router's place.
//! * [`report`] prints what was found: as a table, as JSON, and as `docs/rfc-compliance.md`.

pub(crate) mod catalogue;
pub(crate) mod device;
mod finding;
mod packet;
mod probes;
pub(crate) mod report;
mod site;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::catalogue::{DOCUMENTS, Document, Requirement, Test};
use self::device::{Device, Variant};
use self::finding::Finding;
use self::site::Site;
use crate::output::Failure;

/// Probes that run at the same time, where they do not mostly wait.
const AT_ONCE: usize = 6;

/// Which requirements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Of these RFCs; of all, if empty.
    pub(crate) rfcs: Vec<u16>,
    /// With these numbers, as `REQ-9a` or `9a`; all, if empty.
    pub(crate) requirements: Vec<String>,
}

impl Selection {
    /// The requirements of a document that are selected.
    pub(crate) fn of(&self, document: &'static Document) -> impl Iterator<Item = &'static Requirement> {
        let wanted = move |requirement: &&Requirement| {
            let named = |name: &String| {
                let bare = name.get(..4).filter(|start| start.eq_ignore_ascii_case("REQ-"));
                let name = if bare.is_some() { &name[4..] } else { name };
                name.eq_ignore_ascii_case(requirement.id)
            };
            (self.rfcs.is_empty() || self.rfcs.contains(&document.rfc))
                && (self.requirements.is_empty() || self.requirements.iter().any(named))
        };
        document.requirements.iter().filter(wanted)
    }

    /// Whether anything is.
    pub(crate) fn is_empty(&self) -> bool {
        !DOCUMENTS.iter().any(|document| self.of(document).next().is_some())
    }
}

/// What was found: by RFC and requirement. Those that are not tested live have no entry.
pub(crate) type Findings = BTreeMap<(u16, &'static str), Finding>;

/// Tries the selected requirements on a device; in private namespaces already.
///
/// # Errors
/// When the lab or the device cannot be set up.
pub(crate) fn examine(device: Device, selection: &Selection) -> Result<Findings, Failure> {
    let mut by_variant: BTreeMap<Variant, Vec<Task>> = BTreeMap::new();
    for document in DOCUMENTS {
        for requirement in selection.of(document) {
            if let Test::Live(variant, probe) = requirement.test {
                let key = (document.rfc, requirement.id);
                by_variant.entry(variant).or_default().push(Task { key, probe });
            }
        }
    }
    thread::scope(|scope| {
        let sites: Vec<_> = by_variant
            .into_iter()
            .map(|(variant, tasks)| scope.spawn(move || run(device, variant, &tasks)))
            .collect();
        let mut findings = Findings::new();
        for site in sites {
            findings.extend(site.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(findings)
    })
}

/// One requirement's probe.
struct Task {
    key: (u16, &'static str),
    probe: fn(&Site) -> finding::Outcome,
}

fn run(device: Device, variant: Variant, tasks: &[Task]) -> Result<Findings, Failure> {
    let site = Site::build(device, variant)?;
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Findings::new());
    let workers = if variant == Variant::Brief { tasks.len() } else { AT_ONCE.min(tasks.len()) };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (Ok(finding) | Err(finding)) = (task.probe)(&site);
                    findings.lock().unwrap_or_else(PoisonError::into_inner).insert(task.key, finding);
                }
            });
        }
    });
    Ok(findings.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(rfcs: &[u16], requirements: &[&str]) -> Vec<(u16, &'static str)> {
        let requirements = requirements.iter().map(|name| (*name).to_owned()).collect();
        let selection = Selection { rfcs: rfcs.to_vec(), requirements };
        let all = DOCUMENTS.iter().flat_map(|document| {
            selection.of(document).map(|requirement| (document.rfc, requirement.id)).collect::<Vec<_>>()
        });
        let all: Vec<_> = all.collect();
        assert_eq!(selection.is_empty(), all.is_empty());
        all
    }

    #[test]
    fn requirements_are_selected_by_rfc_and_number() {
        assert_eq!(selected(&[4787], &["REQ-9a"]), [(4787, "9a")]);
        assert_eq!(selected(&[], &["req-5C"]), [(4787, "5c"), (5508, "5c")]);
        assert_eq!(selected(&[5382], &["2", "10"]), [(5382, "2"), (5382, "10")]);
        assert_eq!(selected(&[4787], &[]).len(), 26);
        assert_eq!(selected(&[4787], &["99"]), []);
        assert_eq!(selected(&[1918], &[]), []);
        assert_eq!(selected(&[], &["REQ-"]), []);
    }

    #[test]
    fn every_row_can_be_told_apart_and_fits_into_a_table() {
        for document in DOCUMENTS {
            let mut ids: Vec<_> = document.requirements.iter().map(|requirement| requirement.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), document.requirements.len(), "RFC {}", document.rfc);
            for requirement in document.requirements {
                let texts = [requirement.id, requirement.asks, requirement.how];
                assert!(!texts.concat().contains(['|', '\n']), "RFC {} {}", document.rfc, requirement.id);
            }
        }
    }
}
