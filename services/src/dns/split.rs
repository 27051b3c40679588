//! Which names of the outside have their server inside, so that lan clients reach it without a detour (split DNS).

use std::net::Ipv4Addr;

/// What an open forward does, as far as a name is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardTarget {
    /// The internal host.
    pub address: Ipv4Addr,
    /// Whether the ports outside are those inside.
    pub same_ports: bool,
}

/// The host for which the external address's names can stand on the lans: where every open forward of that address goes,
/// to ports of the same numbers. Otherwise nothing: then the names stay as they are outside, and hairpin serves them.
pub fn direct_target(forwards: &[ForwardTarget]) -> Option<Ipv4Addr> {
    let first = forwards.first()?;
    forwards
        .iter()
        .all(|forward| forward.same_ports && forward.address == first.address)
        .then_some(first.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_host_with_its_own_ports_can_stand_for_the_name() {
        let to = |last, same_ports| ForwardTarget { address: Ipv4Addr::new(192, 168, 0, last), same_ports };
        assert_eq!(direct_target(&[]), None);
        assert_eq!(direct_target(&[to(10, true), to(10, true)]), Some(Ipv4Addr::new(192, 168, 0, 10)));
        assert_eq!(direct_target(&[to(10, true), to(11, true)]), None);
        assert_eq!(direct_target(&[to(10, true), to(10, false)]), None);
    }
}
