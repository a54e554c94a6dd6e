//! `ticket-host create`: an incident in, its ticket's URL out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use ticket_plugin_api::Incident;

use super::output::{print, print_json};
use super::warn;
use crate::argus::{self, Argus};
use crate::backend::{KeyedIncident, Step};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::incident::{self, Identified};
use crate::setup::Which;
use crate::store::Timestamp;
use crate::terminal::safe;
use crate::tickets::{self, Delivery, Look, Plan};
use crate::worker::Missing;

const EXAMPLES: &str = "\
Examples:
  ticket-host create incident.json
  ticket-host create --backend noc-rt --dry-run incident.json
  ticket-host create --argus 266
  echo '{\"description\": \"gw1 is down\"}' | ticket-host create --key gw1";

/// Prints the URL of the incident's ticket. If there is a ticket already it is that one, so running this
/// twice does no harm.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_exit_codes(EXAMPLES))]
pub(super) struct Arguments {
    /// The backend to create the ticket in [default: for an incident of the config's Argus its argus.backend; else the
    /// config's default_backend, or its only one]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Send the ticket system nothing; print each HTTP request that would be sent, without secrets
    #[arg(long)]
    dry_run: bool,
    /// Create a ticket without looking whether there is one
    #[arg(long)]
    force: bool,
    /// What identifies the incident's ticket [default: its page in the Argus of the config, if it is there; else the
    /// incident's argus_url, else its source and pk]
    #[arg(long)]
    key: Option<String>,
    /// Take the incident with this number from the Argus of the config
    #[arg(long, value_name = "PK", conflicts_with = "file")]
    argus: Option<i64>,
    /// The file with the incident's JSON, or `-` for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let which = Which::Meant(arguments.backend.as_deref());
    let config = program.load_config_for(which).await?;
    let mut incident = match arguments.argus {
        Some(pk) => of_argus(&config, pk).await?,
        None => read(&arguments.file, config.max_incident_bytes)?,
    };
    let (watched, given) = (config.argus.as_ref(), arguments.key.as_deref());
    let is_from_argus = arguments.argus.is_some();
    let Identified { identity, key, .. } =
        argus::identify(watched, &mut incident, given, is_from_argus).await?;
    let wanted = KeyedIncident { incident: Arc::new(incident), key, accepted_at: Timestamp::now() };
    let missing = if arguments.dry_run { Missing::LeftOut } else { Missing::Made };
    // The watcher would make it there, too.
    let backend = arguments.backend.as_deref().or(config.backend_of(&identity.source));
    let backend = program.backend(&config, backend, missing).await?;
    let look = if arguments.force { Look::Never } else { Look::First };
    if arguments.dry_run {
        match tickets::plan(&backend, &wanted, look).await? {
            plan if program.json => print_json(&json!(plan))?,
            Plan::Existing(ticket) => {
                print(&format!("nothing: the incident has the ticket {}\n", safe(&ticket.url)))?;
            }
            Plan::Steps(steps) => {
                let steps: Vec<String> = steps.iter().map(Step::to_string).collect();
                print(&format!("{}\n", safe(steps.join("\n").trim_end())))?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let delivery = tickets::create(&backend, &wanted, look).await?;
    show(&delivery, program.json).map_err(|lost| {
        let what = if delivery.created { "the ticket was made" } else { "there is a ticket" };
        lost.at(&format!("{what}: {}", delivery.ticket.url))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The incident in a file, or in what is piped in.
fn read(file: &Path, max: usize) -> Result<Incident> {
    if file.as_os_str() == "-" {
        return incident::read(std::io::stdin().lock(), "standard input", max);
    }
    let name = file.display().to_string();
    let file = File::open(file)
        .map_err(|cause| Error::usage(format!("{name}: can't be opened")).cause(cause))?;
    incident::read(file, &name, max)
}

/// The incident of that number, as the watcher would file it.
async fn of_argus(config: &Config, pk: i64) -> Result<Incident> {
    let config = config.argus.as_ref().ok_or_else(|| {
        Error::settings("the config has no [argus], so nobody can be asked for the incident").help(
            "add [argus] with the url and a token of your Argus, or give the incident as a file",
        )
    })?;
    let attributes = Argus::new(config).await?.incident(pk).await?.ok_or_else(|| {
        Error::usage(format!("{} has no incident {pk}", config.url))
            .help("the number is the last part of the URL of the incident's page")
    })?;
    argus::as_filed(config, pk, attributes)
}

fn show(delivery: &Delivery, as_json: bool) -> Result<()> {
    let ticket = &delivery.ticket;
    if !ticket.missing_fields.is_empty() {
        warn(&format!("the incident lacks: {}", ticket.missing_fields.join(", ")));
    }
    ticket.warnings.iter().for_each(|warning| warn(warning));
    if as_json { print_json(&json!(delivery)) } else { print(&format!("{}\n", safe(&ticket.url))) }
}
