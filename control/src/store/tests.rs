//! Every step of a change, cut off right behind it.

use super::*;

struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let folder = std::env::temp_dir().join(format!("genkan-store-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("home.toml"), "one\n").expect("written");
        Bench { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("home.toml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("it is there, whatever happened")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).expect("written");
    }

    #[track_caller]
    fn open(&self) -> (Store, Recovered) {
        let (store, found) = Store::open(&self.file(), &self.folder.join("state"), &self.text(), 7, |_| true)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(store.text(), self.text());
        assert!(!store.pending_path().exists());
        (store, found)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn about(what: &str) -> About {
    About { time: 5, uid: Some(1000), pid: Some(42), what: what.to_owned(), unconfirmed: false }
}

fn change(store: &mut Store, text: &str, about: About) -> u64 {
    let pending = store.stage(text, about, Target::File).expect("staged");
    store.commit(pending).expect("committed")
}

fn revisions(store: &Store) -> Vec<u64> {
    store.entries().iter().map(|entry| entry.revision).collect()
}

#[test]
fn changes_are_numbered_and_kept_over_restarts() {
    let bench = Bench::new("restart");
    let (mut store, found) = bench.open();
    assert_eq!((store.revision(), found), (1, Recovered::default()));
    assert_eq!(change(&mut store, "two\n", about("add \"two\"\nand more")), 2);
    assert_eq!(bench.text(), "two\n");
    assert!(matches!(
        Store::open(&bench.file(), &bench.folder.join("state"), "two\n", 0, |_| true),
        Err(StoreError::InUse { .. })
    ));
    drop(store);
    let (store, found) = bench.open();
    assert_eq!(found, Recovered::default());
    assert_eq!(revisions(&store), [1, 2]);
    assert_eq!(
        (store.entries()[1].uid, store.entries()[1].what.as_str()),
        (Some(1000), "add \"two\"\nand more")
    );
    assert_eq!(store.read(1).expect("kept"), "one\n");
    assert!(matches!(store.read(9), Err(StoreError::NotFound { revision: 9, first: 1, last: 2 })));
    let mode = std::fs::metadata(store.path(2)).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_change_that_never_reached_the_file_is_forgotten() {
    let bench = Bench::new("undone");
    let (store, _) = bench.open();
    let pending = store.stage("two\n", about("add"), Target::File).expect("staged");
    assert_eq!(bench.text(), "one\n");
    // As if killed: nothing is tidied up.
    std::mem::forget(pending);
    drop(store);
    let (store, found) = bench.open();
    assert_eq!((store.revision(), found.undone, bench.text().as_str()), (1, Some(2), "one\n"));
}

#[test]
fn a_change_that_reached_the_file_is_completed() {
    let bench = Bench::new("completed");
    let (store, _) = bench.open();
    let mut pending = store.stage("two\n", about("add"), Target::File).expect("staged");
    pending.staged.take().expect("for the file").commit().expect("in place");
    drop(store);
    let (store, found) = bench.open();
    assert_eq!((store.revision(), found.completed, store.text()), (2, Some(2), "two\n"));
    assert_eq!(store.entries()[1].what, "add");
}

#[test]
fn a_change_given_up_leaves_nothing() {
    let bench = Bench::new("abandon");
    let (store, _) = bench.open();
    let pending = store.stage("two\n", about("add"), Target::File).expect("staged");
    store.abandon(pending);
    assert!(!store.pending_path().exists());
    assert_eq!(std::fs::read_dir(&bench.folder).expect("there").count(), 2);
    assert_eq!(bench.text(), "one\n");
}

#[test]
fn a_commit_that_fails_puts_the_text_back() {
    let bench = Bench::new("failed");
    let (mut store, _) = bench.open();
    let pending = store.stage("two\n", about("add"), Target::File).expect("staged");
    std::fs::remove_file(store.pending_path()).expect("there");
    let error = store.commit(pending).expect_err("the entry is gone");
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_eq!((bench.text().as_str(), store.revision()), ("one\n", 1));
    assert_eq!(change(&mut store, "three\n", about("add")), 2);
}

#[test]
fn what_was_not_confirmed_comes_back_at_the_next_start() {
    let bench = Bench::new("confirm");
    let (mut store, _) = bench.open();
    let waiting = About { unconfirmed: true, ..about("risky") };
    change(&mut store, "two\n", waiting.clone());
    assert_eq!(store.unconfirmed().map(|(head, back)| (head.revision, back)), Some((2, 1)));
    drop(store);
    let (mut store, found) = bench.open();
    assert_eq!((found.reverted, bench.text().as_str(), store.revision()), (Some(2), "one\n", 3));
    assert_eq!(store.unconfirmed(), None);
    assert_eq!(store.read(2).expect("it can be had again"), "two\n");

    change(&mut store, "four\n", waiting.clone());
    store.confirm().expect("written");
    drop(store);
    let (mut store, found) = bench.open();
    assert_eq!((found, bench.text().as_str()), (Recovered::default(), "four\n"));

    // A person was there since: his text counts.
    change(&mut store, "five\n", waiting);
    drop(store);
    bench.write("by hand\n");
    let (store, found) = bench.open();
    assert_eq!((found.edited, found.reverted, store.text()), (Some(6), None, "by hand\n"));
    assert_eq!(store.unconfirmed(), None);
}

#[test]
fn an_old_text_that_is_no_longer_good_is_not_gone_back_to() {
    let bench = Bench::new("refused");
    let (mut store, _) = bench.open();
    change(&mut store, "two\n", About { unconfirmed: true, ..about("risky") });
    drop(store);
    let opened = Store::open(&bench.file(), &bench.folder.join("state"), "two\n", 7, |_| false);
    let (store, found) = opened.expect("opened");
    assert_eq!((found, store.revision(), store.unconfirmed()), (Recovered::default(), 2, None));
}

#[test]
fn edits_by_hand_are_seen() {
    let bench = Bench::new("edited");
    let (mut store, _) = bench.open();
    assert!(!store.is_edited().expect("readable"));
    bench.write("by hand\n");
    assert!(store.is_edited().expect("readable"));
    let pending = store.stage("by hand\n", about("reload"), Target::HistoryOnly).expect("staged");
    store.commit(pending).expect("committed");
    assert!(!store.is_edited().expect("readable"));
    drop(store);
    bench.write("again\n");
    let (store, found) = bench.open();
    assert_eq!((found.edited, store.revision()), (Some(3), 3));
}

#[test]
fn fifty_are_kept_and_damage_is_set_aside() {
    let bench = Bench::new("many");
    let (mut store, _) = bench.open();
    for number in 2..=60 {
        assert_eq!(change(&mut store, &format!("text {number}\n"), about("change")), number);
    }
    assert_eq!(revisions(&store), (11..=60).collect::<Vec<_>>());
    let (middle, head) = (store.path(30), store.path(60));
    drop(store);
    let whole = std::fs::read(&middle).expect("there");
    std::fs::write(&middle, &whole[..whole.len() - 2]).expect("torn");
    std::fs::write(&head, "what is this?").expect("torn");
    let (store, found) = bench.open();
    assert_eq!(found.damaged, [middle.with_extension("damaged"), head.with_extension("damaged")]);
    // The text in the file is known to nobody any more.
    assert_eq!((found.edited, store.text()), (Some(61), "text 60\n"));
    assert!(store.read(30).is_err() && store.read(31).is_ok());
    assert_eq!(store.entries().len(), 49);
}

#[test]
fn whatever_lies_in_the_folder_the_router_starts() {
    let bench = Bench::new("odd");
    let (mut store, _) = bench.open();
    change(&mut store, "two\n", about("second"));
    drop(store);
    let history = bench.folder.join("state/history");
    std::fs::create_dir(history.join("3.toml")).expect("made");
    for name in ["007.toml", "+5.toml", "18446744073709551615.toml", "x.toml", "toml", "9.toml~"] {
        std::fs::write(history.join(name), "not ours").expect("written");
    }
    let (store, found) = bench.open();
    assert_eq!(found.damaged, [history.join("3.damaged")]);
    assert_eq!(revisions(&store), [1, 2]);
    drop(store);
    let (mut store, _) = bench.open();
    assert_eq!(change(&mut store, "three\n", about("third")), 4, "3 was somebody's");
}

#[test]
fn a_pipe_in_place_of_the_file_holds_nobody_up() {
    let bench = Bench::new("pipe");
    let (store, _) = bench.open();
    std::fs::remove_file(bench.file()).expect("it is there");
    nix::unistd::mkfifo(&bench.file(), nix::sys::stat::Mode::S_IRWXU).expect("made");
    let error = store.is_edited().expect_err("nobody writes to it");
    assert!(error.to_string().contains("cannot be read"), "{error}");
}
