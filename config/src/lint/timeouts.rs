//! Timeouts below the floors of the RFCs.

use std::time::Duration;

use genkan_engine::nat::timeouts::{ICMP_FLOOR, TCP_ESTABLISHED_FLOOR, TCP_TRANSITORY_FLOOR, UDP_FLOOR};

use crate::error::{Code, Report};
use crate::schema::File;
use crate::value::Field;
use crate::value::duration::{Humane, humane};

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
        UDP_FLOOR,
        "RFC 4787 REQ-5",
        "calls and games that are silent for a while lose their way back",
    );
    check(
        "tcp_established",
        &timeouts.tcp_established,
        TCP_ESTABLISHED_FLOOR,
        "RFC 5382 REQ-5",
        "connections that are idle for longer hang: keep-alives come every two hours",
    );
    check(
        "tcp_transitory",
        &timeouts.tcp_transitory,
        TCP_TRANSITORY_FLOOR,
        "RFC 5382 REQ-5",
        "slow connections fail to open, and late segments of closed ones go astray",
    );
    check("icmp", &timeouts.icmp, ICMP_FLOOR, "RFC 5508 REQ-2", "slow echo replies do not come back");
}
