//! Where a report goes: the terminal, standard output as JSON, files with charts.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Report, html, json, judgement, svg, text};
use crate::output::{self, Exit, Failure};

/// What to do with the result.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Delivery {
    /// Print the report as JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the charts to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Also write the whole report with charts to this file, one page that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Compare even when the machine is too noisy; the report says so
    #[arg(long)]
    pub(crate) force: bool,
}

impl Delivery {
    /// Refuses, with what was seen and what would help, when the machine is too noisy to begin; unless forced.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn admit(&self, before: &super::NoiseVerdict) -> Result<(), Failure> {
        if before.is_quiet() || self.force {
            return Ok(());
        }
        let mut refusal = String::from("error: this machine is too noisy to compare anything on it\n");
        before.findings.iter().for_each(|finding| refusal.push_str(&format!("  {finding}\n")));
        refusal.push_str("What would help:\n");
        let measure_anyway =
            "To measure nevertheless: --force. The report will carry this warning.".to_owned();
        before
            .advice
            .iter()
            .chain([&measure_anyway])
            .for_each(|advice| refusal.push_str(&format!("  {advice}\n")));
        Err(Failure::report(Exit::No, refusal))
    }

    /// Hands the report over. The answer is no when something that was measured could not be compared.
    ///
    /// # Errors
    /// When a file or standard output cannot be written.
    pub(crate) fn deliver(&self, report: &Report) -> Result<Exit, Failure> {
        if let Some(path) = &self.svg {
            write(path, &svg::file(report))?;
        }
        if let Some(path) = &self.html {
            write(path, &html::page(report))?;
        }
        if self.json {
            output::print_json(&json::document(report))?;
        } else {
            output::print(&text::render(report))?;
        }
        let compared = judgement::judge(report).iter().all(|metric| metric.objection.is_none());
        Ok(if compared { Exit::Done } else { Exit::No })
    }
}

fn write(path: &Path, contents: &str) -> Result<(), Failure> {
    fs::write(path, contents)
        .map_err(|error| Failure::new(&format!("cannot write {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::super::NoiseVerdict;
    use super::*;

    #[test]
    fn a_noisy_machine_is_refused_unless_forced() {
        let noisy = NoiseVerdict { findings: vec!["Loud.".to_owned()], ..NoiseVerdict::default() };
        let delivery = Delivery::default();
        assert!(delivery.admit(&NoiseVerdict::default()).is_ok());
        let refusal = format!("{:?}", delivery.admit(&noisy).expect_err("it is noisy"));
        assert!(refusal.contains("Loud.") && refusal.contains("--force"), "{refusal}");
        assert!(Delivery { force: true, ..Delivery::default() }.admit(&noisy).is_ok());
    }
}
