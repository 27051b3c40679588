//! ICMP errors about UDP: RFC 4787 section 9.

use crate::conformance::finding::{Outcome, judge, met, not_met, require};
use crate::conformance::packet::Packet;
use crate::conformance::site::{Kind, SERVICE, Site};

/// Octets of the transport header that an error quotes at least (RFC 792).
pub(crate) const QUOTED: usize = 8;

/// RFC 4787 REQ-12.
pub(crate) fn errors_do_not_end_a_mapping(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let port = site.port();
    let sent = Packet::udp(inner.at(port), remote.at(SERVICE), &site.token());
    let seen = site.pass_out(&inner, &sent, &remote)?;
    let answer = Packet::udp(seen.to(), seen.from(), &site.token());
    let answer = site.brings(&remote, &answer, &inner, |packet| packet.data() == answer.data())?;
    let answer = answer.ok_or_else(|| not_met("the answer does not get in"))?;
    for kind in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (4, 0), (5, 1), (11, 0), (12, 0)] {
        remote.send(&Packet::error(remote.address, kind, &seen, QUOTED));
        inner.send(&Packet::error(inner.address, kind, &answer, QUOTED));
    }
    let open = site.arrives(Kind::Udp, (&remote, SERVICE), seen.from(), &inner)?.is_some();
    let same = site.mapped(Kind::Udp, (&inner, port), (&remote, SERVICE))? == seen.from();
    Ok(judge(
        open && same,
        "nine kinds of errors from each side: the mapping is still there, open both ways",
        "after errors the mapping is gone",
    ))
}

/// RFC 4787 REQ-12a.
pub(crate) fn errors_from_any_address(site: &Site) -> Outcome {
    let (inner, remote, hop) = (site.inside_host()?, site.outside_host()?, site.outside_host()?);
    let sent = Packet::udp(inner.at(site.port()), remote.at(SERVICE), &site.token());
    let seen = site.pass_out(&inner, &sent, &remote)?;
    let error = Packet::error(hop.address, (11, 0), &seen, QUOTED);
    let told = site.brings(&hop, &error, &inner, |packet| packet.icmp_kind() == Some((11, 0)))?;
    Ok(judge(
        told.is_some_and(|told| told.source == hop.address),
        "an error from a router on the way arrives, with that router as its source",
        "an error from a router on the way does not arrive",
    ))
}

/// RFC 4787 REQ-12b.
pub(crate) fn unreachable_about_udp(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let sent = Packet::udp(inner.at(site.port()), remote.at(SERVICE), &site.token());
    let seen = site.pass_out(&inner, &sent, &remote)?;
    for code in [0, 1, 2, 3, 9, 10, 13] {
        let error = Packet::error(remote.address, (3, code), &seen, QUOTED);
        let told = site.brings(&remote, &error, &inner, |packet| packet.icmp_kind() == Some((3, code)))?;
        let told = told.ok_or_else(|| not_met(format!("code {code} does not arrive")))?;
        let quoted =
            told.quoted().is_some_and(|quoted| (quoted.from(), quoted.to()) == (sent.from(), sent.to()));
        require(
            quoted && told.checksum_is_right(),
            &format!("code {code} arrives, but not about the host's own packet"),
        )?;
    }
    Ok(met("seven codes arrive, each about the packet as its sender sent it"))
}
