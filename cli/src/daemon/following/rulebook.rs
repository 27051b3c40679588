//! By what packets were judged: a plan says it to the engine, a file to people.

use std::sync::{Arc, Mutex, PoisonError};

use genkan_config::Loaded;
use genkan_config::openings::Judgement;
use genkan_engine::{Plan, UnixTime};

/// Most plans that are kept at once; with each packet that waits to be told of, the one that it was judged by is held.
const MOST: usize = 16;

/// What a plan was made of.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) loaded: Loaded,
    pub(crate) judgement: Judgement,
    pub(crate) wall: UnixTime,
}

/// The rules of every plan that packets are judged by, while somebody follows them.
#[derive(Debug, Default)]
pub(crate) struct Rulebook(Mutex<Vec<(Arc<Plan>, Arc<Rules>)>>);

impl Rulebook {
    /// Puts down what `plan` is made of. A file that says the same elsewhere has the same plan: the newer one counts.
    pub(crate) fn put(&self, plan: &Arc<Plan>, rules: Rules) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody else has judge no packet any more, and none waits that they have judged.
        all.retain(|(known, _)| !Arc::ptr_eq(known, plan) && Arc::strong_count(known) > 1);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push((plan.clone(), Arc::new(rules)));
    }

    /// What a plan is made of.
    pub(crate) fn of(&self, plan: &Arc<Plan>) -> Option<Arc<Rules>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(known, _)| Arc::ptr_eq(known, plan)).map(|(_, rules)| rules.clone())
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use genkan_config::openings::Openings;

    use super::*;
    use crate::replay::tests::plan;

    const FILE: &str = "[wan]\ndevice = \"a\"\naddress = \"203.0.113.1/24\"\ngateway = \"203.0.113.2\"\n\
                        [[lan]]\nname = \"home\"\ndevice = \"b\"\naddress = \"192.168.0.1/24\"\n";

    fn rules(name: &str) -> Rules {
        let loaded = genkan_config::parse(FILE, name).expect("a good file");
        let wall = UnixTime(0);
        let judgement = Openings::new(None, []).judge(&loaded, wall);
        Rules { loaded, judgement, wall }
    }

    fn name(book: &Rulebook, plan: &Arc<Plan>) -> Option<String> {
        book.of(plan).map(|rules| rules.loaded.places.file.name().to_owned())
    }

    #[test]
    fn a_plan_is_known_as_long_as_somebody_has_it() {
        let (book, first, second) = (Rulebook::default(), Arc::new(plan()), Arc::new(plan()));
        book.put(&first, rules("first"));
        assert_eq!((name(&book, &first), name(&book, &second)), (Some("first".to_owned()), None));
        book.put(&second, rules("second"));
        assert_eq!(name(&book, &first), Some("first".to_owned()));
        // The same rules on other lines.
        book.put(&first, rules("moved"));
        assert_eq!(name(&book, &first), Some("moved".to_owned()));
        drop(first);
        book.put(&second, rules("again"));
        assert_eq!(book.0.lock().expect("no panic").len(), 1);
        let held: Vec<_> = (0..2 * MOST).map(|_| Arc::new(plan())).collect();
        held.iter().for_each(|plan| book.put(plan, rules("held")));
        assert_eq!(book.0.lock().expect("no panic").len(), MOST);
        assert_eq!(name(&book, &held[2 * MOST - 1]), Some("held".to_owned()));
    }
}
