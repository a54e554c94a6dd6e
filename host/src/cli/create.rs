//! `ticket-host create`: an incident in, its ticket's URL out.

mod handover;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use ticket_plugin_api::{Incident, Retry};

use super::output::{print, print_json};
use super::warn;
use crate::argus::{self, Argus};
use crate::backend::{KeyedIncident, Step};
use crate::config::Config;
use crate::control::{self, Turn, Unclear};
use crate::error::{Error, Kind, Result};
use crate::incident::{self, Identified};
use crate::sent::Noted;
use crate::setup::Which;
use crate::store::Timestamp;
use crate::terminal::safe;
use crate::tickets::{self, Delivery, Look, Plan};
use crate::worker::Missing;
use handover::Handover;

const EXAMPLES: &str = "\
Examples:
  ticket-host create incident.json
  ticket-host create --backend noc-rt --dry-run incident.json
  ticket-host create --argus 266
  echo '{\"description\": \"gw1 is down\"}' | ticket-host create --key gw1";

/// Prints the URL of the incident's ticket. If there is a ticket already it is that one, so running this
/// twice does no harm.
///
/// Where `serve` runs with the same config, it makes the ticket: it keeps the incident, and makes the ticket later if
/// the ticket system is down now. Then this ends with the failure's exit code, and `queue show` shows what became of it.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_exit_codes(EXAMPLES))]
pub(super) struct Arguments {
    /// The backend to create the ticket in [default: for an incident of the config's Argus its argus.backend; else the
    /// config's default_backend, or its only one]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Send the ticket system nothing; print each HTTP request that would be sent, without secrets. Not through `serve`
    #[arg(long)]
    dry_run: bool,
    /// Create a ticket without looking whether there is one, and without `serve`, which never hears of it
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
    let handover = (!arguments.dry_run && !arguments.force).then(|| {
        let backend = arguments.backend.as_deref();
        Handover::new(&incident, given, backend, is_from_argus, config.file.as_deref())
    });
    if let Some(handover) = &handover
        && let Some(delivery) = through_service(handover, &config.queue.path).await?
    {
        return tell(&delivery, program.json);
    }
    let Identified { identity, key, .. } =
        argus::identify(watched, &mut incident, given, is_from_argus).await?;
    // Held until there is a ticket, or none could be made.
    let mut _lock = None;
    if let Some(handover) = &handover {
        let store = &config.queue.path;
        match control::turn(store, &key).await.map_err(|why| unclear(store, why))? {
            Turn::Service(stream) => return tell(&handover.to(stream).await?, program.json),
            Turn::Myself(_) if config.queue.database.is_some() => {
                let help = "start it (`ticket-host serve`), post the incident to the service of another machine, or, where no host \
                            can be at work on it, --force";
                return Err(Error::usage(
                    "no service runs on this machine, and those of others may be making this ticket",
                )
                .help(help));
            }
            Turn::Myself(lock) => _lock = lock,
        }
    }
    let (incident, accepted_at) = (Arc::new(incident), Timestamp::now());
    let wanted =
        KeyedIncident { incident, key, accepted_at, leave_by: None, requests: Noted::default() };
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
    tell(&tickets::create(&backend, &wanted, look).await?, program.json)
}

/// What came of handing the incident to the service. None if none works on the store.
async fn through_service(handover: &Handover, store: &Path) -> Result<Option<Delivery>> {
    match control::connect(store).await.map_err(|why| unclear(store, why))? {
        Some(stream) => handover.to(stream).await.map(Some),
        None => Ok(None),
    }
}

/// Whether the service makes the ticket can't be found out, so this process makes none.
fn unclear(store: &Path, why: Unclear) -> Error {
    let shown = store.display();
    match why {
        Unclear::Closed(cause) => {
            let user = owner(store).map_or_else(String::new, |user| format!(" ({user})"));
            Error::settings(format!("whether a service works on {shown} can't be found out"))
                .help(format!(
                    "run create as the service's user{user} or as root, so that the service makes the ticket; --force makes one \
                     beside it, without looking whether there is one"
                ))
                .cause(cause)
        }
        Unclear::Silent => Error::settings(format!("a service works on {shown}, and can't be reached from here"))
            .help(
                "is it of an older version, just being stopped, or could it not listen (its log says so)? restart it, or send it the \
                 incident over HTTP; --force makes a ticket beside it, without looking whether there is one",
            ),
        Unclear::Busy => {
            Error::new(Kind::Client, "another `ticket-host create` is still making the ticket of this key")
                .retry(Retry::Later)
                .help("run it again when that one has ended")
        }
    }
}

/// Whose service it is: who the store, or the directory that it is in, belongs to.
#[cfg(unix)]
fn owner(store: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let found = store.ancestors().find_map(|path| std::fs::metadata(path).ok())?;
    Some(super::user::user_name(found.uid()))
}

#[cfg(not(unix))]
fn owner(_: &Path) -> Option<String> {
    None
}

fn tell(delivery: &Delivery, as_json: bool) -> Result<ExitCode> {
    show(delivery, as_json).map_err(|lost| {
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
