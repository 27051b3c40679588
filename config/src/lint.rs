//! Warnings: what works, but probably not as meant, or with a risk worth knowing.

use crate::error::{Code, Report};
use crate::facts::ABSENT;
use crate::schema::File;
use crate::validate::{Checked, Topology};
use crate::value::target::Machine;

mod forwards;
mod leases;
mod names;
mod ports;
mod shadow;
mod timeouts;

/// Looks for all of them in a file without errors.
pub(crate) fn lint(file: &File, checked: &Checked, report: &mut Report) {
    let topology = Topology::new(file, &checked.lan_names);
    dmz(file, checked, &topology, report);
    forwards::lint(file, checked, &topology, report);
    shadow::lint(file, checked, &topology, report);
    ports::lint(file, checked, &topology, report);
    timeouts::lint(file, report);
    leases::lint(file, report);
    names::lint(file, &topology, report);
}

fn dmz(file: &File, checked: &Checked, topology: &Topology<'_>, report: &mut Report) {
    let (Some(dmz), Some(to)) = (&file.dmz, checked.dmz) else { return };
    let span = dmz.to.as_ref().map_or(&dmz.span, |to| &to.span);
    let to_is_found = to == ABSENT;
    let name = dmz.to.as_ref().and_then(|to| match &to.value.0 {
        Machine::Name(name) if to_is_found => Some(format!("`{name}`")),
        _ => None,
    });
    let machine = name.unwrap_or_else(|| to.to_string());
    report
        .warning(Code::DmzOpen, span, format!("the DMZ opens every unused port of {machine} to everybody"))
        .label("whatever listens on this machine can be reached from the internet")
        .help("forward the ports that are needed with `[[forward]]`s instead")
        .note("keep a firewall on that machine, and better put it on a `[[lan]]` of its own with `reaches = []`");
    if !to_is_found && !topology.is_inside(to) {
        forwards::outside("the DMZ leads", to, span, topology, report);
    }
    forwards::in_pool("the DMZ leads", to, span, file, report);
}
