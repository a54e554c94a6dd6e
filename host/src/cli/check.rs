//! `ticket-host check`: can tickets be created with these settings, and could `serve` work? Nothing is made.

mod row;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Map, Value, json};

use self::row::{Row, first_failure, json_of};
use super::output::{error_json, print, print_json};
use super::{meant, prepare, report};
use crate::backend::Backend;
use crate::config::{BackendConfig, Config, Isolation};
use crate::error::{Error, Kind, Result};
use crate::plugins::catalog::Catalog;
use crate::setup::Which;
use crate::terminal::safe;
use crate::worker::{self, Missing};

const EXAMPLES: &str = "\
Examples:
  ticket-host check
  ticket-host check --backend noc-rt
  ticket-host check --offline --json";

/// Asks the plugin of one backend, or of each, to check its settings, and looks whether `serve` could work with the
/// config. Nothing is created: no ticket, no file and no directory.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_exit_codes(EXAMPLES))]
pub(super) struct Arguments {
    /// The backend to check [default: all]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Ask no ticket system and no Argus: look only at what this machine has
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let which = match arguments.backend.as_deref() {
        None => Which::All,
        name => Which::Meant(name),
    };
    let config = program.load_config_for(which).await?;
    let names: Vec<&str> = match &arguments.backend {
        Some(name) => vec![meant(&config, Some(name))?.name.as_str()],
        // Without any backend this is an error, which says how to add one.
        None if config.backends.is_empty() => vec![meant(&config, None)?.name.as_str()],
        None => config.backends.keys().map(String::as_str).collect(),
    };
    let host = Host::of(&config);
    if !program.json {
        print(&host.text())?;
    }
    let catalog = program.discover(Some(&config)).await;
    let mut backends = Vec::new();
    for name in names {
        let checked = check(&config, name, &catalog, arguments.offline).await;
        let checked = checked.unwrap_or_else(|error| Checked::not_ready(name, error));
        if !program.json {
            print(&checked.text())?;
        }
        if let Some(error) = &checked.error {
            report(error);
        }
        backends.push(checked);
    }
    let mut first = backends.iter().find_map(Checked::failed);
    let mut sections = Map::new();
    if arguments.backend.is_none() {
        for service::Section { name, rows } in service::sections(&config, arguments.offline).await {
            if !program.json {
                print(&format!("{name}:\n{}", rows.iter().map(Row::text).collect::<String>()))?;
            }
            first = first.or(first_failure(&rows));
            sections.insert(name.to_owned(), json_of(&rows));
        }
    }
    if program.json {
        let backends: Vec<Value> = backends.iter().map(Checked::json).collect();
        print_json(&json!({
            "ok": first.is_none(),
            "offline": arguments.offline,
            "host": host,
            "backends": backends,
            "service": sections,
        }))?;
    } else if arguments.offline {
        print("the ticket systems were not asked: --offline\n")?;
    }
    Ok(ExitCode::from(first.map_or(0, Kind::exit_code)))
}

/// What was found out about one backend.
struct Checked {
    name: String,
    /// The plugin's name and version, if it could be loaded.
    plugin: Option<(String, String)>,
    rows: Vec<Row>,
    /// Why there are no rows.
    error: Option<Error>,
}

impl Checked {
    fn not_ready(name: &str, error: Error) -> Checked {
        Checked { name: name.to_owned(), plugin: None, rows: Vec::new(), error: Some(error) }
    }

    /// The kind of what is not in order, if anything isn't: of the first thing.
    fn failed(&self) -> Option<Kind> {
        self.error.as_ref().map(|error| error.kind).or_else(|| first_failure(&self.rows))
    }

    fn text(&self) -> String {
        let plugin = match &self.plugin {
            Some((plugin, version)) => format!("plugin {plugin} {version}"),
            None => "FAILED".to_owned(),
        };
        let rows: String = self.rows.iter().map(Row::text).collect();
        format!("{}: {}\n{rows}", self.name, safe(&plugin))
    }

    fn json(&self) -> Value {
        let plugin = self.plugin.as_ref();
        json!({
            "name": self.name,
            "ok": self.failed().is_none(),
            "plugin": plugin.map(|(name, version)| json!({"name": name, "version": version})),
            "rows": json_of(&self.rows),
            "error": self.error.as_ref().map(error_json),
            "errors": self.error.iter().flat_map(Error::each).map(error_json).collect::<Vec<_>>(),
            "more_errors": self.error.as_ref().map_or(0, |error| error.more),
        })
    }
}

/// Which config and which store are looked at, and what there is to know of who looks.
#[derive(Serialize)]
struct Host {
    config: String,
    store: String,
    notes: Vec<String>,
}

impl Host {
    fn of(config: &Config) -> Host {
        let mut notes = config.notes.clone();
        notes.extend(root_note());
        Host { config: config.source(), store: config.queue.place(), notes }
    }

    fn text(&self) -> String {
        let Host { config, store, notes } = self;
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        safe(&format!("config: {config}\nstore: {store}\n{notes}"))
    }
}

async fn check(config: &Config, name: &str, catalog: &Catalog, offline: bool) -> Result<Checked> {
    let settings = meant(config, Some(name))?;
    let backend = prepare(config, settings, catalog, Missing::LeftOut).await?;
    let made_later = |path: &PathBuf| {
        let detail = format!("{} isn't there yet; `serve` and `create` make it", path.display());
        Row::ok("permissions.write", detail)
    };
    let mut rows: Vec<Row> = backend.left_out().iter().map(made_later).collect();
    if offline {
        backend.open().await?;
        rows.push(Row::ok("settings", "the plugin takes them"));
    } else {
        rows.extend(backend.check().await?.into_iter().map(Row::from));
    }
    rows.extend(confinement(settings, &backend));
    let plugin = Some((backend.manifest.name.clone(), backend.manifest.version.clone()));
    Ok(Checked { name: name.to_owned(), plugin, rows, error: None })
}

/// A note if the host runs as root.
fn root_note() -> Option<String> {
    #[cfg(unix)]
    if rustix::process::geteuid().is_root() {
        return Some(
            "the host runs as root, which it doesn't need; run it as a user of its own, as the service of the \
             Debian package does (User=ticket-host)"
                .to_owned(),
        );
    }
    None
}

/// What keeps the plugin from harming the host, and what it was granted.
fn confinement(settings: &BackendConfig, backend: &Backend) -> Vec<Row> {
    if settings.isolation == Isolation::InProcess {
        return vec![Row::note(
            "",
            "the plugin runs in the host's process, with everything that the host has",
        )];
    }
    let granted = settings.permissions.granted();
    let granted = if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") };
    let asked: Vec<&str> =
        backend.manifest.permissions.iter().map(|asked| asked.permission.as_str()).collect();
    let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
    let mut rows = vec![Row::note(
        "",
        format!(
            "the plugin runs in a worker process; beside HTTP to its endpoint it asks for {asked}; \
             granted: {granted}"
        ),
    )];
    if backend.unconfined.is_empty() {
        rows.push(Row::note("", "the sandbox keeps it from everything else"));
    }
    rows.extend(
        backend
            .unconfined
            .iter()
            .map(|lack| Row::warning("", format!("the sandbox is not whole: {lack}"))),
    );
    rows.push(match worker::watch::bounds() {
        Ok(bounds) => Row::note("", bounds),
        Err(lack) => Row::warning("", lack),
    });
    rows
}
