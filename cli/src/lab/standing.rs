//! A lab and the routers in it, being built.

use std::fs;
use std::thread;

use genkan_lab::{Lab, RouterError, RouterProcess};

use super::record::{self, Record};
use super::topologies::Plan;
use super::wires;
use crate::output::Failure;

/// Builds it and writes down what it is; the routers get their configurations, but are not started.
pub(crate) fn build(name: &str, plan: &Plan) -> Result<(Record, Lab), Failure> {
    let record = Record {
        name: name.to_owned(),
        source: plan.source.clone(),
        description: plan.description.clone(),
        builder: std::process::id(),
    };
    record.write()?;
    let built = Lab::up(name, &plan.description).map_err(Failure::from).and_then(|lab| {
        for gateway in plan.genkans() {
            let directory = record::router_directory(name, &gateway.name);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("genkan.toml"), &gateway.config)?;
        }
        plan.file.links.iter().try_for_each(|link| wires::change(&record, &lab, link))?;
        Ok(lab)
    });
    if built.is_err() {
        record.remove()?;
    }
    Ok((record, built?))
}

/// Starts Genkan at every gateway where it is to run, all at the same time; returns when all are ready.
pub(crate) fn start(lab: &Lab, plan: &Plan) -> Result<Vec<RouterProcess>, Failure> {
    let routers: Result<Vec<_>, Failure> = thread::scope(|scope| {
        let starting: Vec<_> = plan
            .genkans()
            .map(|gateway| {
                scope.spawn(move || -> Result<RouterProcess, Failure> {
                    let directory = record::router_directory(lab.prefix(), &gateway.name);
                    let namespace = lab.namespace(&gateway.name)?;
                    let router =
                        RouterProcess::start(&namespace, &super::binary(), &directory, &gateway.config);
                    router.map_err(|error: RouterError| {
                        Failure::new(&format!("no router at {}", gateway.name), &error)
                    })
                })
            })
            .collect();
        let started = starting.into_iter();
        started.map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    routers
}
