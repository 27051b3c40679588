use std::path::PathBuf;

use super::*;

/// 2030-01-01T00:00:00Z, a Tuesday.
const MIDNIGHT: u64 = 1_893_456_000;

/// A state folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("genkan-openings-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn configured(keys: &str) -> Loaded {
    let text = format!(
        "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\n[[lan]]\ndevice = \"eth1\"\n\
         address = \"192.168.0.1/24\"\n[router]\ntimezone = \"UTC\"\n[[forward]]\nname = \"web\"\n\
         protocol = \"tcp\"\nport = 8080\nto = \"192.168.0.2\"\n{keys}\n"
    );
    genkan_config::parse(&text, "test.toml").expect("a good file")
}

fn opened() -> Vec<Event> {
    vec![Event::ForwardOpened { forward: "web".to_owned() }]
}

fn closed() -> Vec<Event> {
    vec![Event::ForwardClosed { forward: "web".to_owned() }]
}

/// Both clocks, `milliseconds` after those of `start`.
fn after(start: Now, milliseconds: u64) -> Now {
    let passed = Duration::from_millis(milliseconds);
    Now { monotonic: start.monotonic + passed, wall: start.wall + passed }
}

fn midnight() -> Now {
    Now { monotonic: Instant::now(), wall: Duration::from_secs(MIDNIGHT) }
}

#[test]
fn it_looks_at_the_very_moment() {
    let folder = Folder::new("moment");
    let loaded = configured("schedule = \"00:01-00:02\"");
    let start = midnight();
    let mut hours = Hours::new(&folder.0, &loaded, start);
    assert!(!hours.plan().forwards[0].enabled);
    // A second at most between two looks, and one at the opening.
    let mut now;
    let mut looks = 0;
    let events = loop {
        now = after(start, (hours.due() - start.monotonic).as_millis() as u64);
        looks += 1;
        if let Some(events) = hours.look(&loaded, now) {
            break events;
        }
    };
    assert_eq!((events, looks, now.wall), (opened(), 60, Duration::from_secs(MIDNIGHT + 60)));
    assert!(hours.plan().forwards[0].enabled);
    assert_eq!(hours.look(&loaded, after(start, 119_999)), None);
    assert_eq!(hours.due(), start.monotonic + Duration::from_secs(120));
    assert_eq!(hours.look(&loaded, after(start, 120_000)), Some(closed()));
    assert!(!hours.plan().forwards[0].enabled);
}

#[test]
fn a_clock_that_is_set_is_noticed() {
    let folder = Folder::new("set");
    let loaded = configured("schedule = \"12:00-13:00\"");
    let start = midnight();
    let mut hours = Hours::new(&folder.0, &loaded, start);
    let noon = Now { wall: start.wall + Duration::from_secs(12 * 3_600), ..after(start, 1_000) };
    assert_eq!(hours.look(&loaded, noon), Some(opened()));
    assert_eq!(hours.look(&loaded, after(noon, 1_000)), None);
    // Back again, over days of a clock that goes a little wrong.
    let back = Now { wall: start.wall, ..after(noon, 2_000) };
    assert_eq!(hours.look(&loaded, back), Some(closed()));

    // The engine has to count anew to an `expires`, and only then.
    let temporary = configured("expires = 2030-01-01T06:00:00Z");
    let mut hours = Hours::new(&folder.0, &temporary, start);
    let slow = |seconds: u64, millis: u64| Now {
        wall: after(start, seconds * 1_000 - millis).wall,
        ..after(start, seconds * 1_000)
    };
    assert_eq!(hours.look(&temporary, slow(1_000, 499)), None);
    assert_eq!(hours.look(&temporary, slow(2_000, 500)), Some(Vec::new()));
    assert_eq!(hours.look(&temporary, slow(3_000, 500)), None);
}

#[test]
fn a_box_without_a_clock_remembers() {
    let folder = Folder::new("memory");
    let loaded = configured("schedule = \"00:00-24:00\"\nexpires = 2030-01-01T01:00:00Z");
    let start = midnight();
    let mut hours = Hours::new(&folder.0, &loaded, start);
    assert!(hours.plan().forwards[0].enabled);
    assert_eq!(hours.problem(), None);
    let expired = after(start, 3_600_000);
    hours.keep(start, false);
    // Told by the engine.
    assert_eq!(hours.look(&loaded, expired), None);
    hours.keep(expired, false);

    let booted = Now { wall: Duration::from_secs(7), ..expired };
    let again = configured("schedule = \"00:00-24:00\"\nexpires = 2030-01-01T02:00:00Z");
    let mut hours = Hours::new(&folder.0, &again, booted);
    assert!(!hours.plan().forwards[0].enabled);
    let problem = hours.problem().expect("a wrong clock");
    assert!(problem.ends_with("until it shows 2030-01-01T01:00:00Z"), "{problem}");
    // Nothing of 1970 is kept.
    hours.keep(booted, true);
    let set = Now { wall: Duration::from_secs(MIDNIGHT + 5_000), ..after(booted, 1_000) };
    assert_eq!(hours.look(&again, set), Some(opened()));
    assert_eq!(hours.problem(), None);
    // The first one stays closed in 1970.
    let hours = Hours::new(&folder.0, &configured("expires = 2030-01-01T01:00:00Z"), booted);
    assert!(!hours.plan().forwards[0].enabled);
    // Without schedules nobody is bothered.
    assert_eq!(hours.problem(), None);
}

#[test]
fn the_disk_is_written_once_an_hour() {
    let folder = Folder::new("hour");
    let loaded = configured("");
    let start = midnight();
    let mut hours = Hours::new(&folder.0, &loaded, start);
    let file = folder.0.join("clock");
    hours.keep(start, false);
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "{\"seen\":1893456000}\n");
    std::fs::remove_file(&file).expect("it is there");
    hours.keep(after(start, 3_599_999), false);
    assert!(!file.exists());
    hours.keep(after(start, 3_600_000), false);
    assert!(file.exists());
    std::fs::remove_file(&file).expect("it is there");
    hours.keep(after(start, 3_600_001), true);
    assert!(file.exists());
}

#[test]
fn a_damaged_memory_is_as_good_as_none() {
    let folder = Folder::new("damaged");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    std::fs::write(folder.0.join("clock"), "{\"seen\":18934").expect("a file");
    let hours = Hours::new(&folder.0, &configured("schedule = \"00:00-24:00\""), midnight());
    assert!(hours.plan().forwards[0].enabled);
}

/// One that is over leaves the file when a clock says so that can be right, and nobody can take back.
mod removal {
    use super::*;

    const TEMPORARY: &str = "temporary = true\nexpires = 2030-01-01T01:00:00Z";
    const HOUR: u64 = 3_600;

    fn at(start: Now, seconds: u64, wall: u64) -> Now {
        Now { wall: Duration::from_secs(wall), ..after(start, seconds * 1_000) }
    }

    #[track_caller]
    fn expect(hours: &Hours, loaded: &Loaded, now: Now, leaves: bool) {
        let expected: &[&str] = if leaves { &["web"] } else { &[] };
        assert_eq!(hours.removable_at(loaded, now.monotonic), expected);
    }

    #[test]
    fn at_once_when_its_time_comes() {
        for keys in [TEMPORARY.to_owned(), format!("{TEMPORARY}\nenabled = false")] {
            let (folder, loaded, start) = (Folder::new("removal"), configured(&keys), midnight());
            let mut hours = Hours::new(&folder.0, &loaded, start);
            let before = at(start, HOUR - 1, MIDNIGHT + HOUR - 1);
            hours.look(&loaded, before);
            expect(&hours, &loaded, before, false);
            let over = at(start, HOUR, MIDNIGHT + HOUR);
            hours.look(&loaded, over);
            expect(&hours, &loaded, over, true);
            // What is not temporary stays.
            let lasting = configured("expires = 2030-01-01T01:00:00Z");
            expect(&hours, &lasting, over, false);
        }
    }

    #[test]
    fn a_clock_of_1970_removes_nothing() {
        let (folder, loaded, start) = (Folder::new("removal-1970"), configured(TEMPORARY), midnight());
        Hours::new(&folder.0, &loaded, start).keep(start, true);
        let booted = at(start, 2 * HOUR, 7);
        let mut hours = Hours::new(&folder.0, &loaded, booted);
        expect(&hours, &loaded, booted, false);
        expect(&hours, &loaded, after(booted, 3_600_000), false);
        // Set right, it was over at the first look: but who knows whether it is right now.
        let set = at(start, 2 * HOUR + 10, MIDNIGHT + 2 * HOUR);
        hours.look(&loaded, set);
        expect(&hours, &loaded, set, false);
        expect(&hours, &loaded, after(set, 599_999), false);
        expect(&hours, &loaded, after(set, 600_000), true);
    }

    #[test]
    fn a_clock_that_was_in_the_future_removes_nothing() {
        let (folder, loaded, start) = (Folder::new("removal-future"), configured(TEMPORARY), midnight());
        // It finds one at its start, and it is set right; then one comes, and goes after a while.
        let mut hours = Hours::new(&folder.0, &loaded, at(start, 0, MIDNIGHT + 1_000 * HOUR));
        expect(&hours, &loaded, start, false);
        for (second, wall) in [(100, 100), (200, 1_000 * HOUR), (790, 790)] {
            let now = at(start, second, MIDNIGHT + wall);
            hours.look(&loaded, now);
            expect(&hours, &loaded, now, false);
        }
        // It stays closed for good, as any that once was past its `expires`, and leaves when its time comes.
        assert!(!hours.plan().forwards[0].enabled);
        let over = at(start, HOUR, MIDNIGHT + HOUR);
        hours.look(&loaded, over);
        expect(&hours, &loaded, over, true);
    }

    #[test]
    fn one_that_was_over_at_the_start_waits_for_the_clock_to_settle() {
        let (folder, loaded) = (Folder::new("removal-start"), configured(TEMPORARY));
        let start = at(midnight(), 0, MIDNIGHT + 5 * HOUR);
        let hours = Hours::new(&folder.0, &loaded, start);
        expect(&hours, &loaded, after(start, 599_999), false);
        expect(&hours, &loaded, after(start, 600_000), true);
    }
}
