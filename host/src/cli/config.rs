//! `ticket-host config`: configs, as files.

mod django;
mod import;

use std::process::ExitCode;

use crate::error::Result;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a config of the TICKET_* settings of an Argus, and print it
    Import(import::Arguments),
}

pub(super) fn run(command: &Command, as_json: bool) -> Result<ExitCode> {
    match command {
        Command::Import(arguments) => import::run(arguments, as_json),
    }
}
