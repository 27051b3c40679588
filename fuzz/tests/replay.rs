//! The kept corpus through every target, without a fuzzer: failures that were once found stay fixed.

use std::fs;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use genkan_fuzz::Timeline;

fn corpus(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus of this target") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        run(&fs::read(&path).expect("an input"));
        count += 1;
    }
    assert!(count > 0, "no inputs in {}", folder.display());
}

#[test]
fn parse() {
    corpus("parse", genkan_fuzz::parse);
}

#[test]
fn router() {
    corpus("router", |bytes| {
        if let Ok(timeline) = Timeline::arbitrary_take_rest(Unstructured::new(bytes)) {
            timeline.run();
        }
    });
}

#[test]
fn config() {
    corpus("config", |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            genkan_fuzz::config(text);
        }
    });
}
