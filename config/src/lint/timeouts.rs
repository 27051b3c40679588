//! Timeouts below the floors of the RFCs.

use std::time::Duration;

use crate::error::{Code, Report};
use crate::schema::File;
use crate::value::Field;
use crate::value::duration::{Humane, humane};

/// RFC 4787 REQ-5: a UDP mapping lives at least 2 minutes.
const UDP: Duration = Duration::from_secs(120);
/// RFC 5382 REQ-5: an established connection lives at least 2 hours 4 minutes.
const TCP_ESTABLISHED: Duration = Duration::from_secs(7_440);
/// RFC 5382 REQ-5: one that opens or closes lives at least 4 minutes.
const TCP_TRANSITORY: Duration = Duration::from_secs(240);
/// RFC 5508 REQ-2: an ICMP query session lives at least 60 seconds.
const ICMP: Duration = Duration::from_secs(60);

pub(super) fn lint(file: &File, report: &mut Report) {
    let Some(timeouts) = file.nat.as_ref().and_then(|nat| nat.timeouts.as_ref()) else { return };
    let mut check = |key: &str, field: &Field<Humane>, floor: Duration, requirement: &str, effect: &str| {
        let Some(timeout) = field.as_ref().filter(|timeout| timeout.value.0 < floor) else { return };
        let (written, floor) = (humane(timeout.value.0), humane(floor));
        report
            .warning(
                Code::ShortTimeout,
                &timeout.span,
                format!("`nat.timeouts.{key}` is {written}, {requirement} asks for at least {floor}"),
            )
            .label(format!("\"{floor}\" or more is recommended"))
            .note(effect)
            .help(format!("write `{key} = \"{floor}\"`, or leave it out"));
    };
    check(
        "udp",
        &timeouts.udp,
        UDP,
        "RFC 4787 REQ-5",
        "calls and games that are silent for a while lose their way back",
    );
    check(
        "tcp_established",
        &timeouts.tcp_established,
        TCP_ESTABLISHED,
        "RFC 5382 REQ-5",
        "connections that are idle for longer hang: keep-alives come every two hours",
    );
    check(
        "tcp_transitory",
        &timeouts.tcp_transitory,
        TCP_TRANSITORY,
        "RFC 5382 REQ-5",
        "slow connections fail to open, and late segments of closed ones go astray",
    );
    check("icmp", &timeouts.icmp, ICMP, "RFC 5508 REQ-2", "slow echo replies do not come back");
}
