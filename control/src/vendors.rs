//! Who made a network card, by the prefix of its address.

use std::sync::LazyLock;

use genkan_engine::wire::ethernet::MacAddr;

use crate::devices::is_random;

/// By prefix, ascending.
static PREFIXES: LazyLock<Vec<(u32, &'static str)>> = LazyLock::new(|| {
    let lines = include_str!("vendors.txt").lines().filter(|line| !line.starts_with('#'));
    let of_line = |line: &'static str| {
        let (name, prefixes) = line.split_once(": ").unwrap_or_default();
        prefixes.split(' ').filter_map(move |prefix| Some((u32::from_str_radix(prefix, 16).ok()?, name)))
    };
    let mut prefixes: Vec<_> = lines.flat_map(of_line).collect();
    prefixes.sort_unstable();
    prefixes
});

/// The maker of a network card with this address, if it is a common one; `random` for an address that a device has made up
/// (IEEE 802c), as telephones do on each network.
pub fn vendor(mac: MacAddr) -> Option<&'static str> {
    let [a, b, c, ..] = mac.0;
    let prefix = u32::from_be_bytes([0, a, b, c]);
    let found = PREFIXES.binary_search_by_key(&prefix, |(prefix, _)| *prefix).ok();
    found.map(|index| PREFIXES[index].1).or_else(|| is_random(mac).then_some("random"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_makers_are_known() {
        let of = |text: &str| vendor(text.parse().expect("a MAC address"));
        assert_eq!(of("b8:27:eb:01:02:03"), Some("Raspberry Pi"));
        assert_eq!(of("52:54:00:12:34:56"), Some("QEMU/KVM"));
        assert_eq!(of("d2:54:00:12:34:56"), Some("random"));
        assert_eq!(of("00:00:5e:00:01:01"), None);
    }

    #[test]
    fn each_prefix_has_one_maker() {
        assert!(PREFIXES.len() > 4_000);
        assert!(PREFIXES.is_sorted_by(|one, next| one.0 < next.0));
    }
}
