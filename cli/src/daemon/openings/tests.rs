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
