//! `ticket-host check`: can tickets be created with these settings?

use std::process::ExitCode;

use super::{print, report};
use crate::backend::Backend;
use crate::config::{BackendConfig, Config, Isolation};
use crate::error::{Kind, Result};
use crate::terminal::safe;
use crate::worker;

/// Asks the plugin of one backend, or of each, to check its settings. Nothing is created.
#[derive(Debug, clap::Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Arguments {
    /// The backend to check [default: all]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let config = program.load_config()?;
    let names: Vec<&str> = match &arguments.backend {
        Some(name) => vec![config.backend(Some(name))?.name.as_str()],
        // Without any backend this is an error, which says how to add one.
        None if config.backends.is_empty() => vec![config.backend(None)?.name.as_str()],
        None => config.backends.keys().map(String::as_str).collect(),
    };
    if let Some(note) = root_note() {
        print(note);
    }
    let mut worst = None;
    for name in names {
        match check(&config, name, program).await {
            Ok(failed) => worst = worst.or(failed),
            Err(error) => {
                print(&format!("{name}: FAILED\n"));
                report(&error);
                worst = worst.or(Some(error.kind));
            }
        }
    }
    Ok(ExitCode::from(worst.map_or(0, Kind::exit_code)))
}

/// Checks one backend, and prints a line for each thing that was looked at. If some are not in order,
/// the kind of error that the first of them is.
async fn check(config: &Config, name: &str, program: &super::Arguments) -> Result<Option<Kind>> {
    let backend = program.backend(config, Some(name)).await?;
    let settings = config.backend(Some(name))?;
    let mut out =
        format!("{name}: plugin {} {}\n", backend.manifest.name, backend.manifest.version);
    let checks = backend.check().await?;
    for check in &checks {
        let mark = if check.ok { "ok    " } else { "FAILED" };
        out.push_str(&format!("  {mark}  {}: {}\n", check.name, check.message));
        if !check.ok && !check.help.is_empty() {
            out.push_str(&format!("          help: {}\n", check.help));
        }
    }
    out.push_str(&confinement(settings, &backend));
    print(&safe(&out));
    let failed = checks.into_iter().find(|check| !check.ok);
    Ok(failed.map(|check| check.kind.map_or(Kind::Settings, Kind::from)))
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
