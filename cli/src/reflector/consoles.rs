//! The same in the words of games consoles. What their makers publish, what others found out, and what is a guess is in
//! `docs/reflector.md`; here are the rules that follow from it.

use serde::Serialize;

use super::behavior::{Behavior, Kind};

/// What consoles in the place of this machine would say. Several, where a reflector with one address leaves it open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Consoles {
    /// NAT type 1, 2 or 3.
    pub(crate) playstation: Vec<&'static str>,
    /// NAT type A, B, C, D or F.
    pub(crate) switch: Vec<&'static str>,
    /// Open, moderate or strict.
    pub(crate) xbox: Vec<&'static str>,
}

impl Consoles {
    /// By what was seen; `None`: datagrams do not get through at all.
    pub(crate) fn of(behavior: Option<&Behavior>) -> Consoles {
        let Some(behavior) = behavior else {
            return Consoles { playstation: vec!["3"], switch: vec!["F"], xbox: vec!["strict"] };
        };
        let pairs: Vec<(Kind, Kind)> = behavior
            .mapping
            .iter()
            .flat_map(|mapping| behavior.filtering.iter().map(|filtering| (*mapping, *filtering)))
            .collect();
        let every = |word: &dyn Fn(Kind, Kind) -> &'static str| {
            let mut words: Vec<_> =
                pairs.iter().map(|(mapping, filtering)| word(*mapping, *filtering)).collect();
            words.sort_unstable();
            words.dedup();
            words
        };
        let predictable = behavior.port_step.is_some();
        Consoles {
            playstation: every(&|mapping, _| playstation(behavior.translated, mapping)),
            switch: every(&|mapping, filtering| switch(mapping, filtering, predictable)),
            xbox: every(&xbox),
        }
    }
}

fn playstation(translated: bool, mapping: Kind) -> &'static str {
    match (translated, mapping) {
        (false, _) => "1",
        (true, Kind::EndpointIndependent) => "2",
        (true, _) => "3",
    }
}

fn switch(mapping: Kind, filtering: Kind, predictable: bool) -> &'static str {
    match (mapping, filtering) {
        (Kind::EndpointIndependent, Kind::EndpointIndependent | Kind::AddressDependent) => "A",
        (Kind::EndpointIndependent, Kind::AddressAndPortDependent) => "B",
        _ if predictable => "C",
        _ => "D",
    }
}

fn xbox(mapping: Kind, filtering: Kind) -> &'static str {
    match (mapping, filtering) {
        (Kind::EndpointIndependent, Kind::EndpointIndependent) => "open",
        (Kind::EndpointIndependent, _) => "moderate",
        _ => "strict",
    }
}

#[cfg(test)]
mod tests {
    use super::Kind::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    use super::*;

    fn seen(mapping: &[Kind], filtering: &[Kind], port_step: Option<i32>) -> Behavior {
        let endpoint = |text: &str| text.parse().expect("an endpoint");
        Behavior {
            internal: endpoint("192.168.0.20:5000"),
            external: endpoint("203.0.113.1:5000"),
            translated: true,
            mapping: mapping.to_vec(),
            filtering: filtering.to_vec(),
            port_preserved: true,
            port_step,
            hairpin: None,
            two_addresses: mapping.len() == 1,
        }
    }

    fn words(behavior: &Behavior) -> String {
        let consoles = Consoles::of(Some(behavior));
        [consoles.playstation, consoles.switch, consoles.xbox].map(|words| words.join("/")).join(" ")
    }

    #[test]
    fn consoles_have_their_own_words() {
        let (all, by_address, by_port) =
            ([EndpointIndependent], [AddressDependent], [AddressAndPortDependent]);
        for (mapping, filtering, step, said) in [
            (&all[..], &all[..], None, "2 A open"),
            (&all, &by_address, None, "2 A moderate"),
            (&all, &by_port, None, "2 B moderate"),
            (&by_address, &all, None, "3 D strict"),
            (&by_port, &by_port, Some(1), "3 C strict"),
            (&by_port, &by_port, None, "3 D strict"),
            (&[EndpointIndependent, AddressDependent], &by_port, None, "2/3 B/D moderate/strict"),
            (
                &[EndpointIndependent, AddressDependent],
                &[EndpointIndependent, AddressDependent],
                None,
                "2/3 A/D moderate/open/strict",
            ),
        ] {
            assert_eq!(words(&seen(mapping, filtering, step)), said, "{mapping:?} {filtering:?}");
        }
        let direct = Behavior { translated: false, ..seen(&all, &all, None) };
        assert_eq!(words(&direct), "1 A open");
        assert_eq!(Consoles::of(None).switch, ["F"]);
    }
}
