//! What was found, told: as a table for people, as JSON for programs, as the document in `docs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::catalogue::{DOCUMENTS, Document, Keyword, Requirement, Test};
use super::device::Device;
use super::finding::Verdict;
use super::{Findings, Selection};
use crate::output::Listing;
use crate::words::Words;

/// Devices with their findings.
pub(crate) struct Report {
    /// What was tried.
    pub(crate) selection: Selection,
    /// On what.
    pub(crate) findings: BTreeMap<Device, Findings>,
}

/// How one device stands to one requirement.
#[derive(Debug, Serialize)]
struct Standing<'a> {
    /// `None` where a device that is not Genkan was not tried.
    verdict: Option<Verdict>,
    live: bool,
    observed: &'a str,
}

/// A device and how many of the requirements of the highest level it meets.
#[derive(Debug, Serialize)]
struct Score {
    device: &'static str,
    version: String,
    musts: usize,
    musts_met: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    rfc: u16,
    requirement: &'a str,
    keyword: &'a str,
    asks_for: &'a str,
    how: &'a str,
    shown_by: &'a [&'a str],
    devices: BTreeMap<&'static str, Standing<'a>>,
}

#[derive(Serialize)]
struct Whole<'a> {
    devices: Vec<Score>,
    requirements: Vec<Row<'a>>,
}

impl Report {
    fn rows(&self) -> impl Iterator<Item = (&'static Document, &'static Requirement)> {
        DOCUMENTS.iter().flat_map(|document| {
            let selected: Vec<_> = self.selection.of(document).collect();
            selected.into_iter().map(move |requirement| (document, requirement))
        })
    }

    fn standing(&self, device: Device, document: &Document, requirement: &Requirement) -> Standing<'_> {
        let found = self.findings.get(&device).and_then(|all| all.get(&(document.rfc, requirement.id)));
        match (found, requirement.test) {
            (Some(finding), _) => {
                Standing { verdict: Some(finding.verdict), live: true, observed: &finding.observed }
            }
            (None, Test::NotLive(verdict, why)) => {
                let own = (device == Device::Genkan).then_some(verdict);
                Standing { verdict: own, live: false, observed: why }
            }
            (None, Test::Live(..)) => Standing { verdict: None, live: false, observed: "not tried" },
        }
    }

    fn score(&self, device: Device) -> Score {
        let musts = self
            .rows()
            .filter(|(document, requirement)| document.for_every_nat && requirement.keyword == Keyword::Must);
        let verdicts: Vec<Verdict> = musts
            .filter_map(|(document, requirement)| self.standing(device, document, requirement).verdict)
            .filter(|verdict| *verdict != Verdict::NotApplicable)
            .collect();
        let met = verdicts.iter().filter(|verdict| **verdict == Verdict::Met).count();
        Score { device: device.name(), version: device.version(), musts: verdicts.len(), musts_met: met }
    }

    /// Whether every MUST is met: by Genkan, where that was tried; the kernel beside it is for comparison.
    pub(crate) fn every_must_is_met(&self) -> bool {
        self.findings.keys().next().is_some_and(|device| {
            let score = self.score(*device);
            score.musts == score.musts_met
        })
    }

    /// As people read it.
    pub(crate) fn table(&self, words: &Words) -> String {
        let mut heads = vec!["rfc", "req", "level", "asks for"];
        for device in self.findings.keys() {
            heads.push(device.name());
            heads.push(if *device == Device::Genkan { "observed" } else { "observed there" });
        }
        let mut listing = Listing::new(&heads).shrinks(&[("asks for", 20)]);
        for device in self.findings.keys() {
            let head = if *device == Device::Genkan { "observed" } else { "observed there" };
            listing = listing.shrinks(&[(head, 24)]);
        }
        for (document, requirement) in self.rows() {
            let mut cells = vec![
                document.rfc.to_string(),
                requirement.id.to_owned(),
                requirement.keyword.word().to_owned(),
                requirement.asks.to_owned(),
            ];
            for device in self.findings.keys() {
                let standing = self.standing(*device, document, requirement);
                cells.push(verdict_word(standing.verdict, words));
                cells.push(match standing.live {
                    true => standing.observed.to_owned(),
                    false => words.say("conformance-why", &[("why", standing.observed.to_owned())]),
                });
            }
            listing.row(cells);
        }
        let mut text = listing.text();
        for device in self.findings.keys() {
            let score = self.score(*device);
            let arguments = [
                ("device", score.version),
                ("met", score.musts_met.to_string()),
                ("all", score.musts.to_string()),
            ];
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}", words.say("conformance-score", &arguments));
        }
        text
    }

    /// As programs read it.
    pub(crate) fn json(&self) -> impl Serialize {
        let row = |(document, requirement): (&'static Document, &'static Requirement)| Row {
            rfc: document.rfc,
            requirement: requirement.id,
            keyword: requirement.keyword.word(),
            asks_for: requirement.asks,
            how: requirement.how,
            shown_by: requirement.shown_by,
            devices: self
                .findings
                .keys()
                .map(|device| (device.name(), self.standing(*device, document, requirement)))
                .collect(),
        };
        Whole {
            devices: self.findings.keys().map(|device| self.score(*device)).collect(),
            requirements: self.rows().map(row).collect(),
        }
    }

    /// As the document in `docs`.
    pub(crate) fn document(&self) -> String {
        let mut text = include_str!("preface.md").to_owned();
        let kernel = self.findings.contains_key(&Device::Kernel);
        if kernel {
            let version = Device::Kernel.version();
            let series: Vec<&str> = version.split('.').take(2).collect();
            text += &format!("\nThe kernel of this document: {}.\n", series.join("."));
        }
        for document in DOCUMENTS {
            let rows: Vec<&Requirement> = self.selection.of(document).collect();
            if rows.is_empty() {
                continue;
            }
            text += &format!("\n## RFC {}: {}\n\n", document.rfc, document.title);
            if !document.preface.is_empty() {
                text += &format!("{}\n\n", document.preface);
            }
            let heads = [document.unit, "level", "asks for", "Genkan", "seen live", "how, or why not"];
            let last = if kernel {
                ["the kernel's NAT", "simulated tests"].as_slice()
            } else {
                &["simulated tests"]
            };
            let heads: Vec<&str> = heads.iter().chain(last).copied().collect();
            text += &format!("| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
            for requirement in rows {
                let own = self.standing(Device::Genkan, document, requirement);
                let mut cells = vec![
                    requirement.id.to_owned(),
                    requirement.keyword.word().to_owned(),
                    requirement.asks.to_owned(),
                    own.verdict.map_or("-", Verdict::word).to_owned(),
                    if own.live { own.observed.to_owned() } else { format!("no: {}", own.observed) },
                    requirement.how.to_owned(),
                ];
                if kernel {
                    let standing = self.standing(Device::Kernel, document, requirement);
                    cells.push(match standing.verdict {
                        Some(verdict) => format!("{}: {}", verdict.word(), standing.observed),
                        None => "-".to_owned(),
                    });
                }
                cells.push(shown_by(requirement));
                text += &format!("| {} |\n", cells.join(" | "));
            }
        }
        text
    }
}

/// A verdict as people read it.
fn verdict_word(verdict: Option<Verdict>, words: &Words) -> String {
    let id = verdict.map_or("not-live".to_owned(), |verdict| verdict.word().replace(' ', "-"));
    words.say(&format!("conformance-{id}"), &[])
}

/// The tests in backquotes; a sentence stays one.
fn shown_by(requirement: &Requirement) -> String {
    let name = |test: &&str| if test.contains("::") { format!("`{test}`") } else { (*test).to_owned() };
    requirement.shown_by.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::finding::{met, not_met, partly};
    use crate::words::Language;

    fn report(
        verdicts: &[(&'static str, crate::conformance::finding::Finding)],
        devices: &[Device],
    ) -> Report {
        let requirements = verdicts.iter().map(|(id, _)| (*id).to_owned()).collect();
        let found: Findings = verdicts.iter().map(|(id, found)| ((4787, *id), found.clone())).collect();
        Report {
            selection: Selection { rfcs: vec![4787], requirements },
            findings: devices.iter().map(|device| (*device, found.clone())).collect(),
        }
    }

    #[test]
    fn the_answer_is_no_when_one_must_is_not_met() {
        let genkan = [Device::Genkan];
        // 2 is a SHOULD, 6a a MAY.
        let all = [("1", met("a")), ("2", not_met("b")), ("6a", not_met("c"))];
        assert!(report(&all, &genkan).every_must_is_met());
        assert!(!report(&[("1", met("a")), ("3", partly("b"))], &genkan).every_must_is_met());
        assert!(!report(&[("1", not_met("a"))], &[Device::Kernel]).every_must_is_met());
    }

    #[test]
    fn beside_genkan_the_kernel_does_not_decide() {
        let mut both = report(&[("1", met("a"))], &[Device::Genkan]);
        both.findings.insert(Device::Kernel, Findings::from([((4787, "1"), not_met("b"))]));
        assert!(both.every_must_is_met());
        let row = both.document();
        assert!(row.contains("| 1 | MUST | endpoint-independent mapping | met | a |"), "{row}");
        assert!(row.contains("| not met: b | `rfc4787::req_1_endpoint_independent_mapping`"), "{row}");
    }

    #[test]
    fn every_verdict_has_its_word_in_every_language() {
        let [english, japanese] = Language::ALL.map(Words::new);
        for verdict in [Verdict::Met, Verdict::Partly, Verdict::NotMet, Verdict::NotApplicable] {
            assert_eq!(verdict_word(Some(verdict), &english), verdict.word());
            assert!(!verdict_word(Some(verdict), &japanese).is_ascii(), "{verdict:?}");
        }
        assert_eq!(verdict_word(None, &english), "not live");
        let table = report(&[("3", not_met("seen"))], &[Device::Genkan]).table(&english);
        assert!(table.contains("not met") && table.ends_with("0 of 1 MUSTs met\n"), "{table}");
    }
}
