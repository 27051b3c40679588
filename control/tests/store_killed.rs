//! `kill -9` at random moments during changes: the file and the history are always one of the acknowledged states, or
//! the one that was just under way.
//!
//! The program runs itself again as the victim, which changes on and on and says so on its standard output, one line
//! per acknowledged revision.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use genkan_control::store::{About, Store, Target};

const VICTIM: &str = "GENKAN_TEST_STORE_VICTIM";
const KILLS: u32 = 200;

/// The text of a revision says which it is.
fn text(revision: u64) -> String {
    format!("revision = {revision}\n{}", "# padding\n".repeat((revision % 700) as usize))
}

fn open(folder: &Path) -> (Store, bool) {
    let file = folder.join("home.toml");
    let before = std::fs::read_to_string(&file).expect("there is always a file");
    let (store, found) = Store::open(&file, &folder.join("state"), &before, 1, |_| true)
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(found.damaged.is_empty(), "{found:?}");
    (store, found.reverted.is_some())
}

fn victim(folder: &Path) {
    let (mut store, _) = open(folder);
    let mut out = std::io::stdout();
    writeln!(out, "open {}", store.revision()).expect("the parent reads");
    loop {
        let next = store.revision() + 1;
        // Every seventh waits for a confirmation, which comes.
        let about =
            About { what: format!("to {next}"), unconfirmed: next.is_multiple_of(7), ..About::default() };
        let pending = store.stage(&text(next), about, Target::File).expect("staged");
        let revision = store.commit(pending).expect("committed");
        if store.unconfirmed().is_some() {
            store.confirm().expect("confirmed");
        }
        writeln!(out, "done {revision}").expect("the parent reads");
    }
}

#[test]
fn killed_at_any_moment() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        return victim(&PathBuf::from(folder));
    }
    let folder = std::env::temp_dir().join(format!("genkan-killed-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("home.toml"), text(1)).expect("written");
    let mut seed =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    println!("seed {seed}");
    let mut texts = BTreeMap::from([(1, text(1))]);
    let mut acknowledged = 1;
    let mut outcomes = [0; 3];
    for _ in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["killed_at_any_moment", "--exact", "--nocapture"])
            .env(VICTIM, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let opened = lines.by_ref().map_while(Result::ok).find(|line| line.contains("open "));
        assert!(opened.is_some(), "the victim opens its store");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((seed >> 33) % 12_000));
        child.kill().expect("it lives");
        child.wait().expect("it is ours");
        for line in lines.map_while(Result::ok) {
            if let Some(revision) = line.strip_prefix("done ") {
                acknowledged = revision.parse().expect("a number");
                texts.insert(acknowledged, text(acknowledged));
            }
        }

        let (store, reverted) = open(&folder);
        let file = std::fs::read_to_string(folder.join("home.toml")).expect("there");
        assert_eq!(store.text(), file);
        let revision = store.revision();
        let under_way = acknowledged + 1;
        if reverted {
            // The one under way was to be confirmed, and was not: the text before it, under the next number.
            assert_eq!((revision, file.as_str()), (under_way + 1, texts[&acknowledged].as_str()));
            texts.insert(under_way, text(under_way));
            outcomes[2] += 1;
        } else if revision == acknowledged {
            assert_eq!(file, texts[&acknowledged]);
            outcomes[0] += 1;
        } else {
            assert_eq!((revision, file.as_str()), (under_way, text(under_way).as_str()));
            outcomes[1] += 1;
        }
        texts.insert(revision, file);
        acknowledged = revision;
        let numbers: Vec<u64> = store.entries().iter().map(|entry| entry.revision).collect();
        assert_eq!(numbers, (revision.saturating_sub(49).max(1)..=revision).collect::<Vec<_>>());
        for number in numbers {
            assert_eq!(store.read(number).expect("kept"), texts[&number], "revision {number}");
        }
    }
    println!(
        "kills: {} left as acknowledged, {} completed, {} taken back",
        outcomes[0], outcomes[1], outcomes[2]
    );
    std::fs::remove_dir_all(folder).expect("cleaned");
}
