//! What is written down about a lab that stands, so that other commands find it.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use genkan_lab::description::Kind;
use genkan_lab::{Description, Lab, LabError};
use serde::{Deserialize, Serialize};

use crate::output::Failure;

/// Where labs keep their files. In a private lab `/run` is its own.
const FILES: &str = "/run/genkan-lab";

/// Tells the programs in a private lab which one it is.
pub(crate) const LAB_VARIABLE: &str = "GENKAN_LAB";

/// What a lab is called when nobody says otherwise.
pub(crate) const DEFAULT_NAME: &str = "lab";

/// A lab that stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What it is called.
    pub(crate) name: String,
    /// The topology or the file that it was built from.
    pub(crate) source: String,
    /// What it is made of.
    pub(crate) description: Description,
}

/// Where a lab keeps its files.
pub(crate) fn directory(name: &str) -> PathBuf {
    Path::new(FILES).join(name)
}

fn file(name: &str) -> PathBuf {
    directory(name).join("lab.json")
}

/// The name that is meant: what is typed, what the lab around us says, or `lab`.
pub(crate) fn name(typed: Option<&str>) -> String {
    let around = || env::var(LAB_VARIABLE).ok().filter(|name| !name.is_empty());
    typed.map(str::to_owned).or_else(around).unwrap_or_else(|| DEFAULT_NAME.to_owned())
}

impl Record {
    /// Writes it down, before the lab is built: whoever comes second finds the name taken.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        fs::create_dir_all(directory(&self.name))?;
        let mut options = OpenOptions::new();
        let path = file(&self.name);
        let mut file = match options.write(true).create_new(true).open(&path) {
            // Left by a command that was killed before any of the lab had a name.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.is_gone() => {
                options.create_new(false).truncate(true).open(&path)?
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(LabError::Taken(self.name.clone()).into());
            }
            result => result?,
        };
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        Ok(())
    }

    /// The one of this name.
    pub(crate) fn read(name: &str) -> Result<Record, Failure> {
        match fs::read_to_string(file(name)) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Failure::message(format!(
                "there is no lab '{name}'; genkan lab list shows those that are up"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// Every one, by name.
    pub(crate) fn all() -> Result<Vec<Record>, Failure> {
        let entries = match fs::read_dir(FILES) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            result => result?,
        };
        let mut names: Vec<_> = entries
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| file(name).exists())
            .collect();
        names.sort();
        names.iter().map(|name| Record::read(name)).collect()
    }

    /// Forgets it, with all its files.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(directory(&self.name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Its namespaces.
    pub(crate) fn lab(&self) -> Result<Lab, LabError> {
        Lab::find(&self.name, &self.description)
    }

    /// Whether none of it has a name under `/run/netns`.
    fn is_gone(&self) -> bool {
        let name = |node: &str| PathBuf::from(format!("/run/netns/{}-{node}", self.name));
        !self.description.namespaces().into_iter().any(|node| name(node).exists())
    }

    /// Who is called so, or a refusal that says who there is.
    pub(crate) fn computer(&self, name: &str) -> Result<&str, Failure> {
        let nodes = &self.description.nodes;
        match nodes.iter().find(|node| node.name == name) {
            Some(node) => Ok(&node.name),
            None => {
                let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
                Err(Failure::message(format!(
                    "there is nobody called '{name}' in the lab {}; there are {}",
                    self.name,
                    names.join(", ")
                )))
            }
        }
    }

    /// Whether Genkan runs there, or is to.
    pub(crate) fn is_genkan(&self, computer: &str) -> bool {
        self.description.find(computer).is_some_and(|node| node.kind == Kind::Genkan)
    }
}

/// Where the Genkan at a computer keeps its configuration, socket and state.
pub(crate) fn router_directory(lab: &str, computer: &str) -> PathBuf {
    directory(lab).join(computer)
}
