//! Leases that machines can hardly keep.

use std::time::Duration;

use crate::error::{Code, Report};
use crate::plan::LEASE;
use crate::schema::{File, Told};
use crate::value::duration::humane;

/// Some clients get along badly with a minute or less; dnsmasq gives nothing shorter than this either.
const SHORT: Duration = Duration::from_secs(120);

pub(super) fn lint(file: &File, report: &mut Report) {
    let lans = file.lan.iter().filter_map(|lan| Some(("lan.dhcp", &lan.dhcp.as_ref()?.told)));
    let relayed = file.relayed().map(|relayed| ("relayed", &relayed.told));
    lans.chain(relayed).for_each(|(table, told)| lease(table, told, report));
}

fn lease(table: &str, told: &Told, report: &mut Report) {
    let Some(lease) = told.lease.as_ref().filter(|lease| lease.value.0 < SHORT) else { return };
    let (written, short, default) = (humane(lease.value.0), humane(SHORT), humane(LEASE));
    report
        .warning(
            Code::ShortLease,
            &lease.span,
            format!("`{table}.lease` is {written}, which machines can hardly keep"),
        )
        .label(format!("\"{short}\" or more is recommended"))
        .note("a machine asks for more time after half of it, and each answer is written to the disk first")
        .note(format!(
            "while the router is away for {written}, as for a restart, machines lose their addresses"
        ))
        .note("some machines take no lease of a minute or less")
        .help(format!("write `lease = \"{short}\"`, or leave it out: then it is {default}"));
}
