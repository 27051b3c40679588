//! Names as octets of the wire: labels with their lengths, no compression (RFC 1035 section 3.1).

/// The longest name in octets, with the root's.
pub(crate) const MAX_NAME: usize = 255;
/// The longest label in octets.
const MAX_LABEL: usize = 63;

/// A name in lower case that ends with the root: what tables are keyed by.
pub(crate) type LowerName = Box<[u8]>;

/// The length in octets of the uncompressed name that `octets` begin with.
pub(crate) fn length(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let label = usize::from(*octets.get(at)?);
        at += 1 + label;
        if label > MAX_LABEL || at > MAX_NAME || at > octets.len() {
            return None;
        }
        if label == 0 {
            return Some(at);
        }
    }
}

/// From text such as `nas.home.arpa`, with or without a dot at its end. Nothing when a label is empty or too long, when
/// the name is, or when it has white space, a control character or one outside ASCII.
pub(crate) fn from_text(text: &str) -> Option<LowerName> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.len() + 2 > MAX_NAME {
        return None;
    }
    let mut name = Vec::with_capacity(text.len() + 2);
    for label in text.split('.') {
        if label.is_empty() || label.len() > MAX_LABEL || !label.bytes().all(|octet| octet.is_ascii_graphic())
        {
            return None;
        }
        name.push(label.len() as u8);
        name.extend(label.bytes().map(|octet| octet.to_ascii_lowercase()));
    }
    name.push(0);
    Some(name.into())
}

/// The name and what it lies under, without the root: `a.b.c`, `b.c`, `c`.
pub(crate) fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let label = usize::from(*rest.first()?);
        if label == 0 {
            return None;
        }
        let suffix = rest;
        rest = rest.get(1 + label..)?;
        Some(suffix)
    })
}

/// How many labels it has, without the root.
pub(crate) fn labels(name: &[u8]) -> usize {
    suffixes(name).count()
}

/// `name` with `domain` in place of its root; nothing when that is too long.
pub(crate) fn join(name: &[u8], domain: &[u8]) -> Option<LowerName> {
    let stem = name.strip_suffix(&[0])?;
    (stem.len() + domain.len() <= MAX_NAME).then(|| [stem, domain].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_octets_in_lower_case() {
        assert_eq!(*from_text("Nas.HOME.arpa.").unwrap(), *b"\x03nas\x04home\x04arpa\0");
        for wrong in ["", ".", "a..b", "a b.c", "日本", &"a".repeat(64), &"a.".repeat(130)] {
            assert_eq!(from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_length_is_found_only_for_whole_names_without_pointers() {
        assert_eq!(length(b"\x01a\0rest"), Some(3));
        assert_eq!(length(b"\0"), Some(1));
        for wrong in [&b""[..], b"\x01a", b"\x05abc", b"\xc0\x0c", b"\x40"] {
            assert_eq!(length(wrong), None);
        }
        assert_eq!(length(&[&[1, b'a'].repeat(127)[..], &[0]].concat()), Some(255));
        assert_eq!(length(&[&[1, b'a'].repeat(128)[..], &[0]].concat()), None);
    }

    #[test]
    fn suffixes_go_from_the_name_to_its_last_label() {
        let name = from_text("a.bc.d").unwrap();
        assert_eq!(
            suffixes(&name).collect::<Vec<_>>(),
            [&b"\x01a\x02bc\x01d\0"[..], b"\x02bc\x01d\0", b"\x01d\0"]
        );
        assert_eq!((labels(&name), labels(&[0])), (3, 0));
        assert_eq!(join(&from_text("nas").unwrap(), &from_text("lan").unwrap()), from_text("nas.lan"));
    }
}
