//! What is written down about a lab that stands, so that other commands find it.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
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
    /// The process that built it.
    pub(crate) builder: u32,
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
    /// Writes it down, before the lab is built: whoever comes second finds the name taken. It is there whole or not at all.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        fs::create_dir_all(directory(&self.name))?;
        let path = file(&self.name);
        let draft = path.with_extension(std::process::id().to_string());
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&draft, text)?;
        let placed = match fs::hard_link(&draft, &path) {
            // Left by a command that was killed before any of the lab had a name.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_left(&self.name) => {
                return Ok(fs::rename(&draft, &path)?);
            }
            result => result,
        };
        fs::remove_file(&draft)?;
        match placed {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(LabError::Taken(self.name.clone()).into())
            }
            result => Ok(result?),
        }
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
        let mut records = Vec::new();
        for name in names {
            match fs::read_to_string(file(&name)) {
                Ok(text) => records.push(serde_json::from_str(&text)?),
                // Taken down meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(records)
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

/// Whether a record is all that there is of a lab: nobody builds it, and none of it has a name under `/run/netns`.
fn is_left(name: &str) -> bool {
    let Ok(record) = Record::read(name) else { return false };
    let namespace = |node: &str| PathBuf::from(format!("/run/netns/{name}-{node}"));
    let is_built = Path::new("/proc").join(record.builder.to_string()).exists();
    !is_built && !record.description.namespaces().into_iter().any(|node| namespace(node).exists())
}

/// Where the Genkan at a computer keeps its configuration, socket and state.
pub(crate) fn router_directory(lab: &str, computer: &str) -> PathBuf {
    directory(lab).join(computer)
}
