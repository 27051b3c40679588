//! `genkan help-files`: manual pages and completions, for packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::output::{Exit, Failure};

/// Write manual pages and shell completions into a folder
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The folder, made when it is not there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Does it, for the commands of `C`.
pub(crate) fn run<C: CommandFactory>(arguments: &Arguments) -> Result<Exit, Failure> {
    write::<C>(&arguments.directory)
        .map_err(|error| Failure::new(&arguments.directory.display().to_string(), &error))?;
    Ok(Exit::Done)
}

fn write<C: CommandFactory>(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(C::command(), directory)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut C::command(), "genkan", directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let directory = std::env::temp_dir().join(format!("genkan-help-{}", std::process::id()));
        write::<crate::Cli>(&directory).expect("a folder for temporary files");
        let read = |name: &str| fs::read_to_string(directory.join(name)).expect(name);
        let (page, status, bash) = (read("genkan.1"), read("genkan-status.1"), read("genkan.bash"));
        read("_genkan");
        read("genkan.fish");
        fs::remove_dir_all(&directory).expect("it is ours");
        assert!(page.contains("status") && status.contains("socket"));
        assert!(bash.contains("status"));
        assert!(!page.contains("help\\-files"), "it is for packages only");
    }
}
