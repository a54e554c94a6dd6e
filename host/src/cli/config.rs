//! `ticket-host config`: what there is to know of the config file.

use std::process::ExitCode;

use clap::Subcommand;

use super::print;
use crate::config;
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the JSON Schema of the config file, with which editors complete and check it
    #[command(after_help = SCHEMA_EXAMPLE)]
    Schema,
    /// Print the reference of all settings, as Markdown
    Reference,
}

const SCHEMA_EXAMPLE: &str = "\
Example:
  ticket-host config schema > ticket-host.schema.json
  and as the first line of the config file beside it, for taplo and Even Better TOML:
  #:schema ./ticket-host.schema.json";

pub(super) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Schema => print(&format!("{:#}\n", config::schema())),
        Command::Reference => print(&config::reference()),
    }
    Ok(ExitCode::SUCCESS)
}
