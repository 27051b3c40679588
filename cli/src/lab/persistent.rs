//! `genkan lab up`: a lab that stays.

use std::fs;

use genkan_lab::topology::Role;
use genkan_lab::{Options, Topology};

use crate::output::{self, Exit, Failure};

/// Builds it, writes a configuration for its router and says how to go on.
pub(crate) fn up(name: &str, options: &Options) -> Result<Exit, Failure> {
    let lab = Topology::up(name, options)?;
    let directory = super::directory(name);
    fs::create_dir_all(&directory)?;
    let file = directory.join("genkan.toml");
    let config = format!("{}\n{}", super::configuration(&lab), super::web_forward(&lab));
    if !file.exists() {
        fs::write(&file, config)?;
    }
    let lab = lab.keep();
    let roles = Role::ALL.into_iter().filter(|role| lab.namespace(*role).is_ok());
    let names: Vec<_> = roles.map(|role| format!("{name}-{}", role.name())).collect();
    let (file, socket) = (file.display(), directory.join("control.sock"));
    output::print(&format!(
        "The lab {name} is up: {}.\n\
         \n\
         ip netns exec {name}-router genkan run --config {file} --socket {}\n\
         genkan lab shell remote --name {name}\n\
         genkan lab shell laptop --name {name}\n\
         genkan lab down {name}\n",
        names.join(", "),
        socket.display()
    ))?;
    Ok(Exit::Done)
}
