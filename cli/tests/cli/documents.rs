//! Who types along with the documents gets what stands there.

use std::path::Path;
use std::process::Command;

use crate::support::{Scratch, binary, said};

/// A document of the repository.
fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    std::fs::read_to_string(path).expect("the document is in the tree")
}

/// Its blocks in this language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let (text, begin) = (read(document), format!("```{language}\n"));
    let blocks = text.split(&begin).skip(1);
    blocks.map(|rest| rest.split("```").next().expect("there is one").to_owned()).collect()
}

/// What its first command says.
fn typed(document: &str, folder: &Scratch) -> String {
    let text = read(document);
    let line = text.lines().find_map(|line| line.strip_prefix("    genkan ")).expect("there is a command");
    let mut command = Command::new(binary());
    command.args(line.split(' ')).current_dir(folder.path("")).env("LC_ALL", "C");
    said(command.output().expect("the program starts")).stdout
}

/// The `home.toml` of the README, with more below it.
fn home(name: &str, more: &str) -> Scratch {
    let folder = Scratch::new(name);
    folder.file("home.toml", format!("{}{more}", blocks("README.md", "toml")[0]));
    folder
}

#[test]
fn a_trace_says_what_stands_in_its_document() {
    let document = "docs/trace.md";
    let folder = home("documents-trace", &blocks(document, "toml")[0]);
    assert_eq!(typed(document, &folder), blocks(document, "text")[0]);
}

#[test]
fn tests_say_what_stands_in_their_document() {
    let document = "docs/rule-tests.md";
    let files = blocks(document, "toml");
    let folder = home("documents-tests", &files[0]);
    folder.file("home.test.toml", &files[1]);
    let said = typed(document, &folder);
    let mut lines = said.lines();
    // The document leaves something out, and the time that it took is another one.
    for expected in blocks(document, "text")[0].lines().filter(|line| line.trim() != "...") {
        let expected = expected.split(" finished in").next().expect("there is one");
        assert!(lines.any(|line| line.starts_with(expected)), "{expected}\nis not in its place in\n{said}");
    }
}
