//! `ticket-host check`: can tickets be created with these settings?

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use ticket_plugin_api::Check;

use super::output::{error_json, print, print_json};
use super::report;
use crate::backend::Backend;
use crate::config::{BackendConfig, Config, Isolation};
use crate::error::{Error, Kind, Result};
use crate::terminal::safe;
use crate::worker;

const EXAMPLES: &str = "\
Examples:
  ticket-host check
  ticket-host check --backend noc-rt
  ticket-host check --json";

/// Asks the plugin of one backend, or of each, to check its settings. Nothing is created.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_exit_codes(EXAMPLES))]
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
    let host = Vec::from_iter(root_note());
    if !program.json {
        let notes = host.iter().map(|row| format!("{}: {}\n", row.grade.mark().trim(), row.detail));
        print(&notes.collect::<String>())?;
    }
    let mut backends = Vec::new();
    for name in names {
        let checked = check(&config, name, program).await.unwrap_or_else(|error| Checked {
            name: name.to_owned(),
            plugin: None,
            rows: Vec::new(),
            error: Some(error),
        });
        if !program.json {
            print(&safe(&checked.to_string()))?;
        }
        if let Some(error) = &checked.error {
            report(error);
        }
        backends.push(checked);
    }
    let worst = backends.iter().find_map(Checked::failed);
    if program.json {
        let backends: Vec<Value> = backends.iter().map(Checked::json).collect();
        print_json(&json!({"ok": worst.is_none(), "host": host, "backends": backends}))?;
    }
    Ok(ExitCode::from(worst.map_or(0, Kind::exit_code)))
}

/// What was found out about one backend.
#[derive(Debug)]
struct Checked {
    name: String,
    /// The plugin's name and version, if it could be loaded.
    plugin: Option<(String, String)>,
    rows: Vec<Row>,
    /// Why there are no rows.
    error: Option<Error>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Row {
    grade: Grade,
    /// What was looked at. Empty if `detail` says that too.
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    detail: String,
    /// What to do about it; or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    help: String,
    /// Whose problem it is, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Failed,
    /// Something to know.
    Note,
    /// Something to know that the operator most likely doesn't want.
    Warning,
}

impl Grade {
    const fn mark(self) -> &'static str {
        match self {
            Grade::Ok => "ok    ",
            Grade::Failed => "FAILED",
            Grade::Note => "note  ",
            Grade::Warning => "NOTE  ",
        }
    }
}

impl Row {
    /// A row that says something and is about nothing that can fail.
    fn new(grade: Grade, detail: impl Into<String>) -> Row {
        Row { grade, name: String::new(), detail: detail.into(), help: String::new(), kind: None }
    }
}

impl From<Check> for Row {
    fn from(check: Check) -> Row {
        let Check { name, ok, message: detail, help, kind } = check;
        if ok {
            return Row { name, ..Row::new(Grade::Ok, detail) };
        }
        let kind = Some(kind.map_or(Kind::Settings, Kind::from));
        Row { grade: Grade::Failed, name, detail, help, kind }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "" } else { &format!("{}: ", self.name) };
        writeln!(f, "  {}  {name}{}", self.grade.mark(), self.detail)?;
        if !self.help.is_empty() {
            writeln!(f, "          help: {}", self.help)?;
        }
        Ok(())
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plugin {
            Some((plugin, version)) => writeln!(f, "{}: plugin {plugin} {version}", self.name)?,
            None => writeln!(f, "{}: FAILED", self.name)?,
        }
        self.rows.iter().try_for_each(|row| row.fmt(f))
    }
}

impl Checked {
    /// The kind of what is not in order, if anything isn't: of the first thing.
    fn failed(&self) -> Option<Kind> {
        let error = self.error.as_ref().map(|error| error.kind);
        error.or_else(|| self.rows.iter().find_map(|row| row.kind))
    }

    fn json(&self) -> Value {
        let plugin = self.plugin.as_ref();
        json!({
            "name": self.name,
            "ok": self.failed().is_none(),
            "plugin": plugin.map(|(name, version)| json!({"name": name, "version": version})),
            "rows": self.rows,
            "error": self.error.as_ref().map(error_json),
        })
    }
}

async fn check(config: &Config, name: &str, program: &super::Arguments) -> Result<Checked> {
    let backend = program.backend(config, Some(name)).await?;
    let settings = config.backend(Some(name))?;
    let mut rows: Vec<Row> = backend.check().await?.into_iter().map(Row::from).collect();
    rows.extend(confinement(settings, &backend));
    let plugin = Some((backend.manifest.name.clone(), backend.manifest.version.clone()));
    Ok(Checked { name: name.to_owned(), plugin, rows, error: None })
}

/// A note if the host runs as root.
fn root_note() -> Option<Row> {
    #[cfg(unix)]
    if rustix::process::geteuid().is_root() {
        return Some(Row::new(
            Grade::Note,
            "the host runs as root, which it doesn't need; run it as a user of its own, as the service of the \
             Debian package does (User=ticket-host)",
        ));
    }
    None
}

/// What keeps the plugin from harming the host, and what it was granted.
fn confinement(settings: &BackendConfig, backend: &Backend) -> Vec<Row> {
    if settings.isolation == Isolation::InProcess {
        return vec![Row::new(
            Grade::Note,
            "the plugin runs in the host's process, with everything that the host has",
        )];
    }
    let granted = settings.permissions.granted();
    let granted = if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") };
    let asked: Vec<&str> =
        backend.manifest.permissions.iter().map(|asked| asked.permission.as_str()).collect();
    let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
    let mut rows = vec![Row::new(
        Grade::Note,
        format!(
            "the plugin runs in a worker process; beside HTTP to its endpoint it asks for {asked}; \
             granted: {granted}"
        ),
    )];
    if backend.unconfined.is_empty() {
        rows.push(Row::new(Grade::Note, "the sandbox keeps it from everything else"));
    }
    rows.extend(
        backend
            .unconfined
            .iter()
            .map(|lack| Row::new(Grade::Warning, format!("the sandbox is not whole: {lack}"))),
    );
    rows.push(match worker::watch::bounds() {
        Ok(bounds) => Row::new(Grade::Note, bounds),
        Err(lack) => Row::new(Grade::Warning, lack),
    });
    rows
}
