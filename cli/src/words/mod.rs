//! What Genkan says to people, in the language of their environment: one catalogue per language, in Fluent's format
//! (<https://projectfluent.org>), with a file for each command that speaks.

use fluent_bundle::{FluentArgs, FluentBundle, FluentResource};
use unic_langid::{LanguageIdentifier, langid};

/// A language that Genkan speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Japanese,
}

impl Language {
    /// Every one.
    #[cfg(test)]
    pub(crate) const ALL: [Language; 2] = [Language::English, Language::Japanese];

    /// What the environment asks for, in the order of POSIX: `LC_ALL`, `LC_MESSAGES`, `LANG`. English unless it is a
    /// language that Genkan speaks.
    pub(crate) fn of_environment() -> Language {
        let asked = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty());
        Language::of_locale(asked.as_deref().unwrap_or_default())
    }

    /// The language of these two letters (ISO 639), if it is one that Genkan speaks.
    pub(crate) fn of_code(code: &str) -> Option<Language> {
        [Language::English, Language::Japanese].into_iter().find(|language| language.code() == code)
    }

    /// Its two letters (ISO 639).
    pub(crate) fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Japanese => "ja",
        }
    }

    /// The language of a locale's name, as `ja_JP.UTF-8`.
    fn of_locale(name: &str) -> Language {
        match name.split(['_', '.', '@']).next() {
            Some("ja") => Language::Japanese,
            _ => Language::English,
        }
    }

    fn catalogue(self) -> &'static [&'static str] {
        match self {
            Language::English => &[
                include_str!("en/conformance.ftl"),
                include_str!("en/drops.ftl"),
                include_str!("en/outside.ftl"),
                include_str!("en/trace.ftl"),
                include_str!("en/audit.ftl"),
                include_str!("en/doctor.ftl"),
                include_str!("en/test.ftl"),
            ],
            Language::Japanese => &[
                include_str!("ja/conformance.ftl"),
                include_str!("ja/drops.ftl"),
                include_str!("ja/outside.ftl"),
                include_str!("ja/trace.ftl"),
                include_str!("ja/audit.ftl"),
                include_str!("ja/doctor.ftl"),
                include_str!("ja/test.ftl"),
            ],
        }
    }

    fn id(self) -> LanguageIdentifier {
        match self {
            Language::English => langid!("en"),
            Language::Japanese => langid!("ja"),
        }
    }
}

/// The catalogue of one language.
pub(crate) struct Words(FluentBundle<FluentResource>);

impl Words {
    /// That of `language`.
    pub(crate) fn new(language: Language) -> Words {
        let mut bundle = FluentBundle::new(vec![language.id()]);
        // Marks of writing direction around arguments: both languages run one way, and addresses are to be copied.
        bundle.set_use_isolating(false);
        for file in language.catalogue() {
            // A test reads every file without errors; where one had some, the rest of it would still be used.
            let (Ok(resource) | Err((resource, _))) = FluentResource::try_new((*file).to_owned());
            bundle.add_resource_overriding(resource);
        }
        Words(bundle)
    }

    /// The message `id` with its arguments. One that is missing is said by its name: a test finds that none is.
    pub(crate) fn say(&self, id: &str, arguments: &[(&str, String)]) -> String {
        let Some(pattern) = self.0.get_message(id).and_then(|message| message.value()) else {
            return id.to_owned();
        };
        let arguments: FluentArgs<'_> =
            arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.0.format_pattern(pattern, Some(&arguments), &mut Vec::new()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use genkan_engine::DropReason;

    use super::*;

    /// The messages of a catalogue, each with the arguments that it names.
    fn messages(language: Language) -> BTreeMap<String, BTreeSet<String>> {
        for file in language.catalogue() {
            let parsed = FluentResource::try_new((*file).to_owned());
            parsed.unwrap_or_else(|(_, errors)| panic!("{language:?}: {errors:?}"));
        }
        let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = String::new();
        let lines = language.catalogue().iter().flat_map(|file| file.lines());
        for line in lines.filter(|line| !line.starts_with('#')) {
            if let Some((id, _)) = line.split_once(" =").filter(|_| !line.starts_with(' ')) {
                current = id.to_owned();
                assert!(messages.insert(current.clone(), BTreeSet::new()).is_none(), "{id} twice");
            }
            let named = line.split("{ $").skip(1).filter_map(|rest| rest.split([' ', '}']).next());
            messages.entry(current.clone()).or_default().extend(named.map(str::to_owned));
        }
        messages.remove("");
        messages
    }

    #[test]
    fn every_language_has_every_message_with_the_same_arguments() {
        let english = messages(Language::English);
        assert!(english.len() > 80, "{}", english.len());
        assert_eq!(messages(Language::Japanese), english);
    }

    #[test]
    fn every_reason_for_a_drop_has_its_words() {
        for language in Language::ALL {
            let words = Words::new(language);
            for reason in DropReason::ALL {
                let id = format!("drop-{}", reason.name());
                let text = words.say(&id, &[]);
                assert_ne!(text, id, "{language:?}");
                if language == Language::English {
                    assert_eq!(text, reason.description().trim(), "{id}");
                } else {
                    assert!(!text.is_ascii(), "{id}: {text}");
                }
            }
        }
    }

    #[test]
    fn the_environment_is_asked_as_posix_says() {
        let languages = ["ja_JP.UTF-8", "ja", "en_US.UTF-8", "C", "", "jam_JM"].map(Language::of_locale);
        let [japanese, english] = [Language::Japanese, Language::English];
        assert_eq!(languages, [japanese, japanese, english, english, english, english]);
    }
}
