//! Values that are one word out of a few.

use std::borrow::Cow;

use genkan_engine::plan::{FilteringBehavior, MappingBehavior};
use genkan_engine::wire::ipv4::Protocol;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{Bad, List, Place, Text, Value, quoted};
use crate::Backend;
use crate::error::{Code, Report, Span};
use crate::later;
use crate::suggest::closest;

/// A set of words and what they stand for.
pub(crate) trait Words: Copy + PartialEq + 'static {
    /// As [`super::Scalar::TAKES`].
    const TAKES: &'static str;
    /// As [`super::Scalar::MANY`].
    const MANY: &'static str;
    /// The words.
    const WORDS: &'static [(&'static str, Self)];
    /// What people also call them, in lower case, and the word for it.
    const ALIASES: &'static [(&'static str, &'static str)];
}

/// One of the words of `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<T>(pub(crate) T);

impl<T: Words> Text for Word<T> {
    const TAKES: &'static str = T::TAKES;
    const MANY: &'static str = T::MANY;

    fn parse(text: &str) -> Result<Word<T>, Bad> {
        if let Some((_, meaning)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(Word(*meaning));
        }
        if let Some(what) = later::word(text) {
            return Err(Bad::not_yet(what, accepted::<T>()));
        }
        let flat = text.trim().to_lowercase();
        let meant = T::ALIASES
            .iter()
            .find(|(alias, _)| *alias == flat)
            .map(|(_, word)| *word)
            .or_else(|| closest(&flat, T::WORDS.iter().map(|(word, _)| *word)));
        let bad = Bad::new(format!("it is not {}", T::TAKES), accepted::<T>());
        Err(match meant {
            Some(word) => bad.fix(quoted(word)),
            None => bad,
        })
    }
}

/// How a meaning is written; of several words the most telling one, which is the last.
pub(crate) fn word_of<T: Words>(meaning: T) -> &'static str {
    T::WORDS.iter().rev().find(|(_, word)| *word == meaning).map_or("", |(word, _)| word)
}

/// `"a", "b" or "c" is accepted`.
fn accepted<T: Words>() -> String {
    let words: Vec<String> = T::WORDS.iter().map(|(word, _)| quoted(word)).collect();
    match words.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} or {last} is accepted", first.join(", ")),
        _ => format!("{} is accepted", words.join("")),
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

impl Words for Backend {
    const TAKES: &'static str = "a back end";
    const MANY: &'static str = "back ends";
    const WORDS: &'static [(&'static str, Backend)] = &[
        ("auto", Backend::Auto),
        ("af-packet", Backend::AfPacket),
        ("af-xdp", Backend::AfXdp),
        ("tap", Backend::Tap),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("packet", "af-packet"),
        ("raw", "af-packet"),
        ("xdp", "af-xdp"),
        ("xsk", "af-xdp"),
        ("default", "auto"),
        ("tun", "tap"),
    ];
}

impl Words for MappingBehavior {
    const TAKES: &'static str = "a mapping behaviour (RFC 4787 section 4.1)";
    const MANY: &'static str = "mapping behaviours";
    const WORDS: &'static [(&'static str, MappingBehavior)] = &[
        ("endpoint-independent", MappingBehavior::EndpointIndependent),
        ("address-dependent", MappingBehavior::AddressDependent),
        ("address-and-port-dependent", MappingBehavior::AddressAndPortDependent),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("eim", "endpoint-independent"),
        ("cone", "endpoint-independent"),
        ("full-cone", "endpoint-independent"),
        ("restricted-cone", "endpoint-independent"),
        ("port-restricted-cone", "endpoint-independent"),
        ("adm", "address-dependent"),
        ("apdm", "address-and-port-dependent"),
        ("symmetric", "address-and-port-dependent"),
        ("port-dependent", "address-and-port-dependent"),
    ];
}

impl Words for FilteringBehavior {
    const TAKES: &'static str = "a filtering behaviour (RFC 4787 section 5)";
    const MANY: &'static str = "filtering behaviours";
    const WORDS: &'static [(&'static str, FilteringBehavior)] = &[
        ("endpoint-independent", FilteringBehavior::EndpointIndependent),
        ("address-dependent", FilteringBehavior::AddressDependent),
        ("address-and-port-dependent", FilteringBehavior::AddressAndPortDependent),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("eif", "endpoint-independent"),
        ("open", "endpoint-independent"),
        ("cone", "endpoint-independent"),
        ("full-cone", "endpoint-independent"),
        ("adf", "address-dependent"),
        ("restricted-cone", "address-dependent"),
        ("apdf", "address-and-port-dependent"),
        ("strict", "address-and-port-dependent"),
        ("symmetric", "address-and-port-dependent"),
        ("port-restricted-cone", "address-and-port-dependent"),
        ("port-dependent", "address-and-port-dependent"),
    ];
}

impl Words for Protocol {
    const TAKES: &'static str = "a protocol with ports";
    const MANY: &'static str = "protocols";
    const WORDS: &'static [(&'static str, Protocol)] = &[("tcp", Protocol::TCP), ("udp", Protocol::UDP)];
    const ALIASES: &'static [(&'static str, &'static str)] = &[("6", "tcp"), ("17", "udp")];
}

/// `"tcp"`, `"udp"`, or both in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocols(pub(crate) Vec<Protocol>);

impl Value for Protocols {
    fn read(value: &DeValue<'_>, span: &Span, place: Place<'_>, report: &mut Report) -> Option<Protocols> {
        if let DeValue::String(text) = value {
            let flat = text.trim().to_lowercase();
            if ["both", "all", "any", "*", "tcp+udp", "tcp/udp", "tcpudp", "tcp,udp", "tcp, udp", "udp/tcp"]
                .contains(&flat.as_str())
            {
                let bad = Bad::new("it is not a protocol", "\"tcp\", \"udp\" or a list of them is accepted")
                    .fix("[\"tcp\", \"udp\"]");
                super::report_bad(bad, span, place, report);
                return None;
            }
        }
        if !matches!(value, DeValue::Array(_)) {
            return Word::<Protocol>::read(value, span, place, report).map(|word| Protocols(vec![word.0]));
        }
        let words = List::<Word<Protocol>>::read(value, span, place, report)?;
        let mut protocols = Vec::new();
        for word in &words.items {
            if protocols.contains(&word.value.0) {
                report
                    .error(
                        Code::Conflict,
                        &word.span,
                        format!("`{}` names {} twice", place.path, word.value.0),
                    )
                    .label("the second one")
                    .help("take one of them away");
            } else {
                protocols.push(word.value.0);
            }
        }
        if matches!(value, DeValue::Array(array) if array.is_empty()) {
            let bad = Bad::new("a forward needs a protocol", "\"tcp\", \"udp\" or both are accepted")
                .fix("[\"tcp\", \"udp\"]");
            super::report_bad(bad, span, place, report);
            return None;
        }
        Some(Protocols(protocols))
    }
}

impl JsonSchema for Protocols {
    fn schema_name() -> Cow<'static, str> {
        "Protocols".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = Word::<Protocol>::json_schema(generator);
        json_schema!({
            "description": "\"tcp\", \"udp\", or a list of both.",
            "anyOf": [word, { "type": "array", "items": word, "minItems": 1, "uniqueItems": true }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_words_and_what_people_call_them() {
        assert_eq!(Word::<Backend>::parse("auto"), Ok(Word(Backend::Auto)));
        assert_eq!(Word::<Backend>::parse("af-xdp"), Ok(Word(Backend::AfXdp)));
        let bad = Word::<FilteringBehavior>::parse("full-cone").expect_err("no RFC word");
        assert_eq!(bad.fix.as_deref(), Some("\"endpoint-independent\""));
        let bad = Word::<MappingBehavior>::parse("adress-dependent").expect_err("a slip");
        assert_eq!(bad.fix.as_deref(), Some("\"address-dependent\""));
    }

    #[test]
    fn every_alias_leads_to_a_word() {
        fn check<T: Words + std::fmt::Debug>() {
            for (alias, word) in T::ALIASES {
                assert!(Word::<T>::parse(word).is_ok(), "{alias} -> {word}");
            }
        }
        check::<Backend>();
        check::<MappingBehavior>();
        check::<FilteringBehavior>();
        check::<Protocol>();
    }

    #[test]
    fn a_word_of_a_later_version_says_so() {
        assert_eq!(Word::<Backend>::parse("map-e").expect_err("later").code, Code::NotYet);
    }
}
