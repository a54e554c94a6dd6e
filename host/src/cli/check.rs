//! `ticket-host check`: can tickets be created with these settings?

use std::process::ExitCode;

use super::{print, report};
use crate::backend::Backend;
use crate::config::{BackendConfig, Isolation};
use crate::error::{Kind, Result};
use crate::terminal::safe;

/// Runs the plugin's check of one backend, or of all. Creates nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Arguments {
    /// Which backend of the config [default: all]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let config = program.load_config()?;
    let names: Vec<&str> = match &arguments.backend {
        Some(name) => vec![config.backend(Some(name))?.name.as_str()],
        // An empty config is an error of backend()'s.
        None if config.backends.is_empty() => vec![config.backend(None)?.name.as_str()],
        None => config.backends.keys().map(String::as_str).collect(),
    };
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

/// Whose problem the first line is that is not ok, of one backend's check.
async fn check(
    config: &crate::config::Config,
    name: &str,
    program: &super::Arguments,
) -> Result<Option<Kind>> {
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
    out.push_str(&contained(settings, &backend));
    print(&safe(&out));
    let failed = checks.into_iter().find(|check| !check.ok);
    Ok(failed.map(|check| check.kind.map_or(Kind::Settings, Kind::from)))
}

/// What the plugin can do to the host, and what it was granted.
fn contained(settings: &BackendConfig, backend: &Backend) -> String {
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
    out
}
