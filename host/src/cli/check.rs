//! `ticket-host check`: can tickets be created with these settings, and could `serve` work? Nothing is made.

mod row;
mod service;

use std::process::ExitCode;

use ticket_plugin_api::Check;

use self::row::{Grade, Row, first_failure};
use super::{meant, print, report};
use crate::backend::Backend;
use crate::config::{BackendConfig, Config, Isolation};
use crate::error::{Kind, Result};
use crate::terminal::safe;
use crate::worker::{self, Missing};

/// Asks the plugin of one backend, or of each, to check its settings, and looks whether `serve` could work with the
/// config. Nothing is created: no ticket, no file and no directory.
#[derive(Debug, clap::Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Arguments {
    /// The backend to check [default: all]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Ask no ticket system and no Argus: look only at what this machine has
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let config = program.load_config()?;
    let names: Vec<&str> = match &arguments.backend {
        Some(name) => vec![meant(&config, Some(name))?.name.as_str()],
        // Without any backend this is an error, which says how to add one.
        None if config.backends.is_empty() => vec![meant(&config, None)?.name.as_str()],
        None => config.backends.keys().map(String::as_str).collect(),
    };
    print(&heading(&config, program));
    let mut worst = None;
    for name in names {
        match check(&config, name, program, arguments.offline).await {
            Ok(failed) => worst = worst.or(failed),
            Err(error) => {
                print(&format!("{name}: FAILED\n"));
                report(&error);
                worst = worst.or(Some(error.kind));
            }
        }
    }
    if arguments.backend.is_none() {
        for service::Section { name, rows } in service::sections(&config, arguments.offline).await {
            print(&format!("{name}:\n{}", rows.iter().map(Row::text).collect::<String>()));
            worst = worst.or(first_failure(&rows));
        }
    }
    if arguments.offline {
        print("the ticket systems were not asked: --offline\n");
    }
    Ok(ExitCode::from(worst.map_or(0, Kind::exit_code)))
}

/// Which config and which store are looked at, and by whom.
fn heading(config: &Config, program: &super::Arguments) -> String {
    let mut out = format!("config: {}\nstore: {}\n", config.source(), config.queue.path.display());
    for shadowed in program.shadowed(config) {
        out.push_str(&format!("note: {shadowed}\n"));
    }
    out.push_str(root_note().unwrap_or_default());
    safe(&out)
}

/// Checks one backend, and prints a line for each thing that was looked at. If some are not in order,
/// the kind of error that the first of them is.
async fn check(
    config: &Config,
    name: &str,
    program: &super::Arguments,
    offline: bool,
) -> Result<Option<Kind>> {
    let backend = program.backend(config, Some(name), Missing::LeftOut).await?;
    let settings = config.backend(Some(name))?;
    let mut out =
        format!("{name}: plugin {} {}\n", backend.manifest.name, backend.manifest.version);
    let mut rows: Vec<Row> = backend
        .left_out()
        .iter()
        .map(|path| {
            let made = "isn't there yet; `serve` and `create` make it";
            Row::ok("permissions.write", format!("{} {made}", path.display()))
        })
        .collect();
    if offline {
        backend.open().await?;
        rows.push(Row::ok("settings", "the plugin takes them"));
    } else {
        rows.extend(backend.check().await?.into_iter().map(row));
    }
    out.extend(rows.iter().map(Row::text));
    out.push_str(&confinement(settings, &backend));
    print(&safe(&out));
    Ok(first_failure(&rows))
}

/// What the plugin looked at.
fn row(check: Check) -> Row {
    let grade = match check.ok {
        true => Grade::Ok,
        false => Grade::Failed(check.kind.map_or(Kind::Settings, Kind::from)),
    };
    let help = (!check.ok && !check.help.is_empty()).then_some(check.help);
    Row { grade, name: check.name, detail: check.message, help }
}

/// A note if the host runs as root.
fn root_note() -> Option<&'static str> {
    #[cfg(unix)]
    if rustix::process::geteuid().is_root() {
        return Some(
            "note: the host runs as root, which it doesn't need; run it as a user of its own, as the service of the \
             Debian package does (User=ticket-host)\n",
        );
    }
    None
}

/// What keeps the plugin from harming the host, and what it was granted.
fn confinement(settings: &BackendConfig, backend: &Backend) -> String {
    if settings.isolation == Isolation::InProcess {
        return "  note    the plugin runs in the host's process, with everything that the host has\n"
            .to_owned();
    }
    let granted = settings.permissions.granted();
    let granted = if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") };
    let asked: Vec<&str> =
        backend.manifest.permissions.iter().map(|asked| asked.permission.as_str()).collect();
    let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
    let mut out = format!(
        "  note    the plugin runs in a worker process; beside HTTP to its endpoint it asks for {asked}; \
         granted: {granted}\n"
    );
    if backend.unconfined.is_empty() {
        out.push_str("  note    the sandbox keeps it from everything else\n");
    }
    for lack in &backend.unconfined {
        out.push_str(&format!("  NOTE    the sandbox is not whole: {lack}\n"));
    }
    out.push_str(&match worker::watch::bounds() {
        Ok(bounds) => format!("  note    {bounds}\n"),
        Err(lack) => format!("  NOTE    {lack}\n"),
    });
    out
}
