use std::collections::BTreeSet;

use super::cause::{Cause, Step};
use super::facts::Answer;

/// Every message that the code asks for is in the catalogue, and every message of the catalogue is asked for.
#[test]
fn no_message_is_missing_and_none_is_idle() {
    let mut asked: BTreeSet<String> = [
        "doctor-works",
        "doctor-remedy",
        "doctor-ports",
        "doctor-sessions",
        "doctor-services",
        "doctor-unknown-dns",
    ]
    .map(str::to_owned)
    .into();
    let answers = [Answer::Unasked, Answer::Open, Answer::Closed, Answer::Prohibited, Answer::Silence];
    asked.extend(answers.map(|answer| format!("doctor-port-{}", answer.id())));
    for cause in Cause::ALL {
        asked.extend(["cause", "remedy"].map(|kind| format!("doctor-{kind}-{}", cause.id())));
    }
    asked.extend(Step::SERVICES.map(|step| format!("doctor-step-{}", step.id())));
    for step in Step::ALL {
        asked.extend(["step", "unknown"].map(|kind| format!("doctor-{kind}-{}", step.id())));
    }
    let catalogue: BTreeSet<String> = include_str!("../words/en/doctor.ftl")
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(id, _)| id.to_owned())
        .collect();
    assert_eq!(asked, catalogue);
}
