//! Since when each forward is open, and who opened it: from the history at the start, then change by change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use genkan_config::Loaded;
use genkan_control::api::Opened;
use genkan_control::store::{Entry, Store};
use genkan_engine::Plan;

/// Most octets of old texts that a start reads: some dozens of revisions of a usual configuration, in little time.
const MOST_OCTETS: usize = 1 << 20;

/// By the forwards' names; what is not known is left out.
#[derive(Debug, Default)]
pub(crate) struct Openers {
    /// The change that enabled it.
    changes: HashMap<String, Opened>,
    /// When the hours of its schedule began, in seconds since 1970, as far as this run has seen it.
    hours: HashMap<String, i64>,
}

/// The forwards of a plan that are not disabled.
fn enabled(plan: &Plan) -> impl Iterator<Item = &String> {
    plan.forwards.iter().filter(|rule| rule.enabled).map(|rule| &rule.name)
}

fn opened(entry: &Entry) -> Opened {
    Opened { since: entry.time, revision: entry.revision, uid: entry.uid }
}

impl Openers {
    /// What the history tells of the configuration that is in force; `now` in seconds since 1970.
    pub(crate) fn of(store: &Store, loaded: &Loaded, now: i64) -> Openers {
        let rules = loaded.plan.forwards.iter().zip(&loaded.config.schedules);
        let scheduled = rules.filter(|(_, schedule)| schedule.is_some());
        let hours = scheduled.map(|(rule, _)| (rule.name.clone(), now)).collect();
        let mut openers = Openers { changes: HashMap::new(), hours };
        // Open in all revisions from `newer` on.
        let mut unsettled: BTreeSet<&String> = enabled(&loaded.plan).collect();
        let (mut newer, mut octets): (Option<&Entry>, usize) = (None, 0);
        for entry in store.entries().iter().rev() {
            if unsettled.is_empty() {
                break;
            }
            let Ok(text) = store.read(entry.revision) else { return openers };
            octets += text.len();
            // A text of another version of the program may not be understood.
            let Some(old) = genkan_config::parse(&text, "").ok().filter(|_| octets <= MOST_OCTETS) else {
                return openers;
            };
            let known: HashSet<&String> = enabled(&old.plan).collect();
            if let Some(newer) = newer {
                let closed = unsettled.iter().filter(|name| !known.contains(*name));
                openers.changes.extend(closed.map(|name| ((*name).clone(), opened(newer))));
            }
            unsettled.retain(|name| known.contains(*name));
            newer = Some(entry);
        }
        // Before the first one there was nothing; before the oldest that is kept, nobody knows.
        if let Some(first) = newer.filter(|first| first.revision == 1) {
            openers.changes.extend(unsettled.into_iter().map(|name| (name.clone(), opened(first))));
        }
        openers
    }

    /// Another configuration is in force.
    pub(super) fn follow(&mut self, before: &Plan, after: &Plan, change: Opened) {
        let (old, new): (HashSet<&String>, HashSet<&String>) =
            (enabled(before).collect(), enabled(after).collect());
        self.changes.retain(|name, _| new.contains(name));
        self.hours.retain(|name, _| new.contains(name));
        let fresh = new.difference(&old).map(|name| ((*name).clone(), change));
        self.changes.extend(fresh);
    }

    /// The hours of a forward have begun.
    pub(crate) fn hours_begin(&mut self, forward: &str, now: i64) {
        self.hours.insert(forward.to_owned(), now);
    }

    /// For the API.
    pub(crate) fn told(&self) -> Arc<HashMap<String, Opened>> {
        let since = |name: &String, change: &Opened| {
            self.hours.get(name).map_or(change.since, |hours| change.since.max(*hours))
        };
        let told = self
            .changes
            .iter()
            .map(|(name, change)| (name.clone(), Opened { since: since(name, change), ..*change }));
        Arc::new(told.collect())
    }
}

#[cfg(test)]
mod tests {
    use genkan_control::store::{About, Target};

    use super::*;

    fn text(forwards: &[(&str, &str)]) -> String {
        let mut text = "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\n[[lan]]\ndevice = \"eth1\"\n\
             address = \"192.168.0.1/24\"\n"
            .to_owned();
        for (port, (name, keys)) in forwards.iter().enumerate() {
            text += &format!(
                "[[forward]]\nname = \"{name}\"\nprotocol = \"tcp\"\nport = {}\nto = \"192.168.0.2\"\n{keys}\n",
                port + 80
            );
        }
        text
    }

    fn loaded(text: &str) -> Loaded {
        genkan_config::parse(text, "test.toml").expect("a good file")
    }

    #[test]
    fn the_history_and_each_change_say_who_opened_what() {
        let folder = std::env::temp_dir().join(format!("genkan-opened-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("made");
        let file = folder.join("genkan.toml");
        let texts = [
            text(&[("a", ""), ("b", ""), ("hours", "schedule = \"00:00-24:00\"")]),
            text(&[("a", ""), ("b", "enabled = false"), ("hours", "schedule = \"00:00-24:00\"")]),
            text(&[("a", ""), ("b", ""), ("hours", "schedule = \"00:00-24:00\""), ("c", "")]),
            text(&[("a", "log = true"), ("b", ""), ("hours", "schedule = \"00:00-24:00\""), ("c", "")]),
        ];
        std::fs::write(&file, &texts[0]).expect("written");
        let (mut store, _) = Store::open(&file, &folder, &texts[0], 100, |_| true).expect("opened");
        let mut running = Openers::of(&store, &loaded(&texts[0]), 100);
        for (index, texts) in texts.windows(2).enumerate() {
            let (time, uid) = (200 + 100 * index as i64, Some(1000 + index as u32));
            let about = About { time, uid, ..About::default() };
            let pending = store.stage(&texts[1], about, Target::File).expect("staged");
            let revision = store.commit(pending).expect("committed");
            let change = Opened { since: time, revision, uid };
            running.follow(&loaded(&texts[0]).plan, &loaded(&texts[1]).plan, change);
        }
        let read = Openers::of(&store, &loaded(&texts[3]), 100);
        for openers in [&running, &read] {
            let told = openers.told();
            assert_eq!(told["a"], Opened { since: 100, revision: 1, uid: None }, "a change left it open");
            assert_eq!(told["b"], Opened { since: 300, revision: 3, uid: Some(1001) });
            assert_eq!(told["c"], told["b"]);
            assert_eq!(told["hours"], told["a"]);
            assert_eq!(told.len(), 4);
        }
        running.hours_begin("hours", 700);
        assert_eq!(running.told()["hours"], Opened { since: 700, revision: 1, uid: None });
        let closed = loaded(&text(&[("a", "")]));
        running.follow(&loaded(&texts[3]).plan, &closed.plan, Opened { since: 900, revision: 5, uid: None });
        assert_eq!(running.told().len(), 1);
        std::fs::remove_dir_all(folder).expect("cleaned");
    }
}
