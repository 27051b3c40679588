//! The kept corpus through every target, without a fuzzer: failures that were once found stay fixed.

use std::fs;
use std::path::Path;

fn corpus(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus of this target") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        check(&fs::read(&path).expect("an input"));
        count += 1;
    }
    assert!(count > 0, "no inputs in {}", folder.display());
}

#[test]
fn parse() {
    corpus("parse", genkan_fuzz::parse::check);
}

#[test]
fn router() {
    corpus("router", genkan_fuzz::router::check);
}

#[test]
fn lab() {
    corpus("lab", genkan_fuzz::lab::check);
}

#[test]
fn dns() {
    corpus("dns", genkan_fuzz::dns::check);
}

#[test]
fn dhcp() {
    corpus("dhcp", genkan_fuzz::dhcp::check);
}

#[test]
fn ddns() {
    corpus("ddns", genkan_fuzz::ddns::check);
}

#[test]
fn config() {
    corpus("config", genkan_fuzz::config::check);
}
