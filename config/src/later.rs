//! What the design has and this version does not: every such key and word, in one place.
//!
//! They are refused with a sentence that says so; nothing that a person wrote is ever ignored. A function that
//! arrives leaves this list.

/// Keys by table (`""` is the top of the file) and what they are for.
const KEYS: &[(&str, &str, &str)] = &[
    ("", "pcp", "port mapping by PCP and NAT-PMP comes with a later version"),
    ("", "qos", "sharing of bandwidth comes with a later version"),
    ("", "upnp", "port mapping by UPnP comes with a later version"),
    ("", "web", "the web pages come with a later version"),
];

/// Words that some key takes later.
const WORDS: &[(&str, &str)] = &[
    ("pppoe", "PPPoE comes with a later version"),
    ("map-e", "MAP-E comes with a later version"),
    ("ds-lite", "DS-Lite comes with a later version"),
];

/// Why a key does not work yet; `table` is its table's path.
pub(crate) fn key(table: &str, key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(of, name, _)| *of == table && *name == key).map(|(_, _, what)| *what)
}

/// Why a word does not work yet.
pub(crate) fn word(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(name, _)| *name == word).map(|(_, what)| *what)
}
