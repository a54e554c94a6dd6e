//! `ticket-host config`: what there is to know of the config file, and one made of an Argus's settings.

mod django;
mod import;

use std::process::ExitCode;

use clap::Subcommand;

use super::output::{print_json, print_text};
use crate::config;
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the JSON Schema of the config file, with which editors complete and check it
    #[command(after_help = SCHEMA_EXAMPLE)]
    Schema,
    /// Print the reference of all settings, as Markdown
    #[command(after_help = "Examples:\n  ticket-host config reference > config.md")]
    Reference,
    /// Make a config of the TICKET_* settings of an Argus, and print it
    Import(import::Arguments),
}

const SCHEMA_EXAMPLE: &str = "\
Examples:
  ticket-host config schema > ticket-host.schema.json

As the first line of the config file beside it, for taplo and Even Better TOML:
  #:schema ./ticket-host.schema.json";

pub(super) fn run(command: &Command, as_json: bool) -> Result<ExitCode> {
    match command {
        Command::Schema => print_json(&config::schema())?,
        Command::Reference => print_text(&config::reference(), as_json)?,
        Command::Import(arguments) => import::run(arguments, as_json)?,
    }
    Ok(ExitCode::SUCCESS)
}
