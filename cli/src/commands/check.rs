//! `genkan check`: validates and lints a configuration.

use std::io;
use std::path::PathBuf;

use clap::ValueEnum;
use genkan_config::Diagnostic;

use crate::output::{self, Exit, Failure};

const AFTER_HELP: &str = "\
Exit status: 0 when the file has no errors (warnings are allowed), 2 when it has.

Examples:
  genkan check /etc/genkan/home.toml
  genkan check home.toml --format json | jq '.diagnostics[].message'
  genkan check --schema > genkan.schema.json      for editors that know JSON Schema";

/// Validate a configuration file: every error and warning at once, nothing is changed
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The configuration
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Shape of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Shape,
    /// Print the JSON Schema of configurations instead of checking one
    #[arg(long, conflicts_with = "file")]
    schema: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Shape {
    /// As compilers print them
    #[default]
    Text,
    /// One object: `valid`, `file`, `diagnostics`
    Json,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Some(file) = arguments.file.as_ref().filter(|_| !arguments.schema) else {
        output::print_json(&genkan_config::schema_json())?;
        return Ok(Exit::Done);
    };
    let (valid, diagnostics) = match genkan_config::load(file) {
        Ok(loaded) => (true, loaded.warnings),
        Err(errors) => (false, errors),
    };
    match arguments.format {
        Shape::Text => print_text(&file.display().to_string(), &diagnostics)?,
        Shape::Json => output::print_json(&serde_json::json!({
            "valid": valid,
            "file": file.display().to_string(),
            "diagnostics": genkan_config::json(&diagnostics),
        }))?,
    }
    Ok(if valid { Exit::Done } else { Exit::Misuse })
}

fn print_text(name: &str, diagnostics: &[Diagnostic]) -> Result<(), Failure> {
    if diagnostics.is_empty() {
        return output::print(&format!("{name}: no errors, no warnings\n"));
    }
    output::print(&genkan_config::render(diagnostics, output::color(&io::stdout())))
}
