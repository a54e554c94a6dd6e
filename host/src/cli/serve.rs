//! `ticket-host serve`: the service, until it is told to stop.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::log::{Format, Layout};
use super::output::print;
use crate::error::Result;

/// Accepts incidents over HTTP, keeps them on disk, and sees to it that each gets its ticket.
/// Reads the config and the plugins again when they change, and on SIGHUP.
#[derive(Debug, clap::Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Arguments {
    /// Where to listen [default: the config's serve.listen, else 127.0.0.1:8620]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// What the log on standard error is written in
    #[arg(long, value_enum, default_value = "text", env = "TICKET_HOST_LOG_FORMAT")]
    log_format: Format,
}

impl Arguments {
    pub(super) fn log_layout(&self) -> Layout {
        Layout::of_service(self.log_format)
    }
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    crate::serve::run(program.sources(), arguments.listen, |address| {
        // The service is no answer to anybody who waits: it goes on where nobody reads this.
        if let Err(lost) = print(&format!("listening on http://{address}\n")) {
            tracing::warn!("{lost}");
        }
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
