//! Devices, lans and their names.

use std::collections::HashMap;

use genkan_engine::PortId;

use crate::error::{Code, Report, Span};
use crate::schema::{File, Lan};
use crate::suggest::closest;
use crate::validate::list;

/// Labels that listings and commands use for ports that are no lans.
const RESERVED: [&str; 3] = ["wan", "router", "*"];

/// Checks devices and names, and returns the name of each lan.
pub(super) fn check(file: &File, report: &mut Report) -> Vec<String> {
    same_device(file, report);
    if let Some(lan) = file.lan.get(PortId::MAX_LANS) {
        report
            .error(Code::BadValue, &lan.span, format!("there are {} lans", file.lan.len()))
            .label(format!("up to {} are accepted", PortId::MAX_LANS))
            .help("networks behind another router are `[[route]]`s, they need no device");
    }
    names(file, report)
}

/// One device is one port: a second use of it would take the frames of the first.
fn same_device(file: &File, report: &mut Report) {
    let wan = file.wan.iter().map(|wan| ("the wan", &wan.device));
    let lans = file.lan.iter().map(|lan| ("a lan", &lan.device));
    let tun = file.router.iter().map(|router| ("the box itself (`router.tun`)", &router.tun));
    let mut used: HashMap<&str, (&str, &Span)> = HashMap::new();
    for (owner, device) in wan.chain(lans).chain(tun) {
        let Some(device) = device else { continue };
        let name = device.value.0.as_str();
        if let Some((first, span)) = used.get(name) {
            report
                .error(Code::Conflict, &device.span, format!("the device `{name}` is used twice"))
                .label(format!("here for {owner}"))
                .related(span, format!("here for {first}"))
                .help("give each its own device; a VLAN sub-interface such as `eth1.20` is one too");
        } else {
            used.insert(name, (owner, &device.span));
        }
    }
}

/// Where a lan's name comes from.
fn name_of(lan: &Lan) -> Option<(&str, &Span)> {
    match (&lan.name, &lan.device) {
        (Some(name), _) => Some((&name.value.0, &name.span)),
        (None, Some(device)) => Some((&device.value.0, &device.span)),
        (None, None) => None,
    }
}

fn names(file: &File, report: &mut Report) -> Vec<String> {
    let mut used: HashMap<&str, &Span> = HashMap::new();
    for (name, span) in file.lan.iter().filter_map(name_of) {
        if RESERVED.contains(&name) {
            report
                .error(Code::BadValue, span, format!("a lan cannot be called `{name}`"))
                .label(format!("`{name}` already means something else"))
                .help("write `name = \"home\"`, for example");
        } else if let Some(first) = used.get(name) {
            // Two unnamed lans on one device were reported as that.
            let unnamed = |at: &Span| {
                file.lan
                    .iter()
                    .any(|lan| lan.name.is_none() && name_of(lan).is_some_and(|(_, span)| span == at))
            };
            if !(unnamed(span) && unnamed(first)) {
                report
                    .error(Code::Conflict, span, format!("two lans are called `{name}`"))
                    .label("the second one")
                    .related(first, "the first one")
                    .help("give each its own `name`");
            }
        } else {
            used.insert(name, span);
        }
    }
    file.lan.iter().map(|lan| name_of(lan).map_or_else(String::new, |(name, _)| name.to_owned())).collect()
}

/// Looks up `reaches`: for each lan the indices of the others that it may open sessions to.
pub(super) fn reaches(file: &File, names: &[String], report: &mut Report) -> Vec<Vec<usize>> {
    let all_but = |own: usize| (0..file.lan.len()).filter(move |other| *other != own).collect::<Vec<_>>();
    let mut result = Vec::with_capacity(file.lan.len());
    for (own, lan) in file.lan.iter().enumerate() {
        // `reaches = ["*"]` is the default.
        let Some(patterns) = &lan.reaches else {
            result.push(all_but(own));
            continue;
        };
        let mut reached = Vec::new();
        let star = patterns.value.items.iter().find(|pattern| pattern.value.0 == "*");
        for pattern in &patterns.value.items {
            let name = pattern.value.0.as_str();
            if let Some(star) = star {
                if pattern.span != star.span {
                    report
                        .error(
                            Code::Conflict,
                            &pattern.span,
                            format!("`lan.reaches` lists \"{name}\" beside \"*\""),
                        )
                        .label("\"*\" already means every lan")
                        .related(&star.span, "this one")
                        .help("write `reaches = [\"*\"]`, or only the names");
                }
                continue;
            }
            match names.iter().position(|other| other == name) {
                Some(index) if index == own => {
                    report
                        .error(
                            Code::BadValue,
                            &pattern.span,
                            format!("`lan.reaches` of \"{name}\" lists \"{name}\""),
                        )
                        .label("a lan always reaches itself")
                        .help("take it out of the list");
                }
                Some(index) if reached.contains(&index) => {
                    report
                        .error(Code::Conflict, &pattern.span, format!("`lan.reaches` lists \"{name}\" twice"))
                        .label("the second time")
                        .help("take it out of the list");
                }
                Some(index) => reached.push(index),
                None => {
                    let others =
                        names.iter().enumerate().filter(|(index, _)| *index != own).map(|(_, name)| name);
                    let diagnostic = report.error(
                        Code::NotFound,
                        &pattern.span,
                        format!("there is no lan called \"{name}\""),
                    );
                    diagnostic.label(format!("{} is accepted", {
                        list(others.clone().map(|name| format!("\"{name}\"")).chain(["\"*\"".to_owned()]))
                    }));
                    if name == "wan" {
                        diagnostic.help("every lan reaches the wan; `reaches` lists other lans only");
                    } else if let Some(guess) = closest(name, others.map(String::as_str)) {
                        diagnostic.help(format!("did you mean \"{guess}\"?"));
                    } else {
                        diagnostic.help("take it out of the list, or give that name to a `[[lan]]`");
                    }
                }
            }
        }
        if star.is_some() {
            reached = all_but(own);
        }
        reached.sort_unstable();
        result.push(reached);
    }
    result
}
