//! JUnit's XML, as test collectors read it.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::output::Failure;
use crate::rule_tests::{FileReport, Outcome};
use crate::words::Words;

/// A suite for each file.
///
/// # Errors
/// When the XML cannot be written.
pub(crate) fn junit(reports: &[FileReport], words: &Words) -> Result<String, Failure> {
    let mut all = Report::new("genkan test");
    for report in reports {
        let mut suite = TestSuite::new(report.file.as_str());
        suite.set_time(report.time);
        for test in &report.tests {
            let status = match &test.outcome {
                Outcome::Ok => TestCaseStatus::success(),
                Outcome::OfflineOnly { reason } => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason.as_str());
                    status
                }
                Outcome::Failed(fault) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(fault.seen.as_str()).set_description(super::fault(fault, words));
                    status
                }
            };
            let mut case = TestCase::new(test.name.as_str(), status);
            case.set_classname(report.file.as_str()).set_time(test.time);
            suite.add_test_case(case);
        }
        all.add_test_suite(suite);
    }
    Ok(all.to_string()?)
}
