//! `ticket-host serve`: the service, until it is told to stop.

use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::json;

use super::log::{Format, Layout};
use super::output::{print, print_json};
use crate::error::Result;
use crate::setup::Sources;

const EXAMPLES: &str = "\
Examples:
  ticket-host serve
  ticket-host serve --listen 127.0.0.1:8080";

/// Accepts incidents over HTTP, keeps them on disk, and sees to it that each gets its ticket.
/// Reads the config and the plugins again when they change, and on SIGHUP.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_exit_codes(EXAMPLES))]
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
    let sources = Sources { listen: arguments.listen, ..program.sources() };
    crate::serve::run(sources, |address| {
        // The service is no answer to anybody who waits: it goes on where nobody reads this.
        let url = format!("http://{address}");
        let said = if program.json {
            print_json(&json!({"listening": url}))
        } else {
            print(&format!("listening on {url}\n"))
        };
        if let Err(lost) = said {
            tracing::warn!("{lost}");
        }
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
