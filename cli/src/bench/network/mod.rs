//! The router in a network of namespaces, beside the kernel's own NAT.
//!
//! * [`stage`] is a contender between two hosts; [`contender`] says who there is.
//! * [`load`] is what the hosts do; [`counter`] counts what arrives, [`cpu`] what it costs.
//! * [`options`] is what can be chosen, [`metric`] names what is measured, [`measure`] does it once, [`mod@run`] does it in turns, [`progress`] shows it.
//! * [`ndr`] searches for the highest rate without loss, [`many`] opens very many sessions, for which [`conntrack`] has
//!   to let the kernel take part; [`tap`] is another kind of stage.
//! * [`program`] runs other programs (nft, iperf3).

pub(crate) mod conntrack;
pub(crate) mod contender;
pub(crate) mod counter;
pub(crate) mod cpu;
pub(crate) mod load;
pub(crate) mod many;
pub(crate) mod measure;
pub(crate) mod metric;
pub(crate) mod ndr;
pub(crate) mod options;
pub(crate) mod program;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod stage;
pub(crate) mod tap;

use genkan_lab::{Sandbox, sandbox};

use self::options::Options;
use super::Turns;
use super::noise::Watch;
use super::report::{About, Delivery, Report};
use crate::output::{Exit, Failure};

/// Measures in private namespaces; the copy of the program outside only passes on how it ended.
pub(crate) fn run(options: &Options, turns: &Turns, delivery: &Delivery) -> Result<Exit, Failure> {
    let raised = options.raise_limits();
    match Sandbox::enter()? {
        Sandbox::Inside => inside(options, turns, delivery),
        Sandbox::Ended(status) => {
            drop(raised);
            std::process::exit(sandbox::exit_code(status).into())
        }
    }
}

fn inside(options: &Options, turns: &Turns, delivery: &Delivery) -> Result<Exit, Failure> {
    let plan = options.plan(turns);
    let about = About::here(Options::place());
    let watch = Watch::start()?;
    delivery.admit(&watch.before())?;
    let outcome = run::run(&plan)?;
    let noise = watch.finish(&outcome.metrics, delivery.force)?;
    let notes = [plan.notes(), outcome.notes].concat();
    let report = Report { about, settings: plan.settings(), metrics: outcome.metrics, notes, noise };
    delivery.deliver(&report)
}
