//! `genkan conformance`: docs/rfc-compliance.md is what it says, and it can be asked for less.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cases;
use crate::outcome::Outcome;
use crate::programs::{Said, need};
use crate::setup;

cases![
    ;
    only_genkan:
    the_document_is_what_is_found,
    one_requirement_of_one_device,
];

/// The column of the document that another kernel may write otherwise, and the line that says which kernel wrote it.
const KERNEL: (&str, &str) = ("the kernel's NAT", "The kernel of this document: ");

fn conformance(arguments: &[&str]) -> Said {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "120"]).arg(setup::binary()).arg("conformance").args(arguments);
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().expect("timeout(1) is there");
    Said::from(output)
}

/// The document without what depends on the kernel.
fn without_kernel(text: &str) -> Vec<String> {
    let mut column = None;
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(KERNEL.1)) {
        let mut cells: Vec<&str> = line.split(" | ").collect();
        column = match line.starts_with('|') {
            true => column.or_else(|| cells.iter().position(|cell| *cell == KERNEL.0)),
            false => None,
        };
        if let Some(column) = column.filter(|column| *column < cells.len()) {
            cells.remove(column);
        }
        lines.push(cells.join(" | "));
    }
    lines
}

fn kernel_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(KERNEL.1))
}

fn the_document_is_what_is_found() -> Outcome {
    need("nft")?;
    let written =
        std::fs::read_to_string(setup::root().join("docs/rfc-compliance.md")).expect("the document");
    let said = conformance(&["--device", "both", "--format", "md"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    let found = said.stdout.as_str();
    let (ours, theirs) = match kernel_of(found) == kernel_of(&written) {
        true => (written.lines().map(str::to_owned).collect(), found.lines().map(str::to_owned).collect()),
        false => (without_kernel(&written), without_kernel(found)),
    };
    let differing: Vec<String> = ours
        .iter()
        .zip(&theirs)
        .filter(|(written, found)| written != found)
        .map(|(written, found)| format!("- {written}\n+ {found}"))
        .collect();
    let how = "genkan conformance --device both --format md >docs/rfc-compliance.md";
    assert!(differing.is_empty(), "- the document, + what is found:\n{}\n{how}", differing.join("\n"));
    assert_eq!(ours.len(), theirs.len(), "{how}");
    Ok(())
}

fn one_requirement_of_one_device() -> Outcome {
    need("nft")?;
    for (device, code, verdict) in [("genkan", 0, "met"), ("kernel", 1, "not_met")] {
        let said = conformance(&["--device", device, "--rfc", "4787", "--req", "REQ-3", "--format", "json"]);
        assert_eq!(said.code, Some(code), "{said:#?}");
        let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
        let [only] = report["requirements"].as_array().expect("a list").as_slice() else {
            panic!("one requirement: {report:#}")
        };
        assert_eq!((&only["requirement"], &only["keyword"]), (&Value::from("3"), &Value::from("MUST")));
        assert_eq!(only["devices"][device]["verdict"], verdict, "{only:#}");
        assert_eq!(only["devices"][device]["live"], true, "{only:#}");
    }
    assert_eq!(conformance(&["--req", "REQ-99"]).code, Some(2));
    Ok(())
}
