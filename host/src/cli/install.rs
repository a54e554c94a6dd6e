//! `ticket-host plugins install` and `rollback`: put a plugin in its directory, and bring its earlier version back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::output::{print, print_json};
use super::progress::Progress;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plugins::install::{self, Installed};
use crate::terminal::safe;
use crate::validate::{self, Event, Grade, Options, Settings};

const INSTALL_EXAMPLES: &str = "\
Examples:
  ticket-host plugins install acme-1.2.tar.gz
  ticket-host plugins install libticket_plugin_acme.so --settings acme.toml";
const ROLLBACK_EXAMPLES: &str = "\
Examples:
  ticket-host plugins rollback acme
  ticket-host plugins rollback acme --to /usr/local/lib/ticket-host/plugins";

/// Put a plugin into a plugin directory, after its signature and its behaviour were checked. The version
/// that was there is kept. A plugin that has a name or an alias of another one there is refused
#[derive(Debug, clap::Args)]
#[command(after_help = INSTALL_EXAMPLES)]
pub(super) struct InstallArguments {
    /// A plugin's library, with its signature beside it if it has one; or a .tar.gz that holds both
    file: PathBuf,
    /// The plugin directory [default: the first --plugin-dir, else the first of the config's plugin_dirs]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// How the ticket system answers while the plugin is checked: see `plugins validate --help`
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Bring back the version that the last `install` replaced
#[derive(Debug, clap::Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub(super) struct RollbackArguments {
    /// The plugin's name
    name: String,
    /// The plugin directory [default: the first --plugin-dir, else the first of the config's plugin_dirs]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

pub(super) async fn install(
    arguments: &InstallArguments,
    program: &super::Arguments,
    config: Option<Config>,
) -> Result<ExitCode> {
    let directory = directory(arguments.to.as_deref(), program, config.as_ref())?;
    let trust = config.map(|config| config.trust).unwrap_or_default();
    let settings = arguments.settings.as_deref().map(Settings::load).transpose()?;
    let staged = install::stage(&arguments.file, &directory, &trust).await?;
    let mut broken = Vec::new();
    let options = Options {
        library: &staged.library,
        settings,
        in_process: false,
        only: &[],
        excluded: &BTreeMap::new(),
    };
    let mut progress = Progress::new(program.json);
    validate::run(options, |event| {
        match event {
            Event::Begins { name, number, all } => progress.is_at(number, all, name),
            Event::Ended(result) if matches!(result.grade, Grade::Fail | Grade::Crash) => {
                broken.push(format!("  {}: {}", result.name, result.message));
            }
            Event::Ended(_) => {}
        }
        Ok(())
    })
    .await?;
    progress.erase();
    if !broken.is_empty() {
        return Err(Error::import(format!(
            "{} breaks the rules for plugins, so nothing was installed\n{}",
            arguments.file.display(),
            broken.join("\n")
        ))
        .help("show its vendor what `ticket-host plugins validate` prints of it"));
    }
    tell(&staged.install(&trust).await?, program.json)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn rollback(
    arguments: &RollbackArguments,
    program: &super::Arguments,
    config: Option<Config>,
) -> Result<ExitCode> {
    let directory = directory(arguments.to.as_deref(), program, config.as_ref())?;
    let trust = config.map(|config| config.trust).unwrap_or_default();
    tell(&install::rollback(&arguments.name, &directory, &trust).await?, program.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Says which plugin is in its directory now, and which one it replaced.
///
/// # Errors
/// That could not be said; it is in its directory all the same.
fn tell(installed: &Installed, as_json: bool) -> Result<()> {
    let Installed { path, manifest, replaced } = installed;
    let (name, version) = (&manifest.name, &manifest.version);
    let kept = match replaced {
        Some(version) => {
            format!(" instead of {version}, which `plugins rollback {name}` brings back")
        }
        None => String::new(),
    };
    let told = if as_json {
        print_json(
            &json!({"name": name, "version": version, "file": path.display().to_string(), "replaced": replaced}),
        )
    } else {
        print(&safe(&format!("{name} {version}: {}{kept}\n", path.display())))
    };
    told.map_err(|lost| lost.at(&format!("{name} {version} is in place as {}", path.display())))
}

/// The directory that a plugin is put into.
fn directory(
    named: Option<&Path>,
    program: &super::Arguments,
    config: Option<&Config>,
) -> Result<PathBuf> {
    let first = program.plugin_dirs.first().or_else(|| config?.plugin_dirs.first());
    named.or(first.map(PathBuf::as_path)).map(Path::to_owned).ok_or_else(|| {
        Error::usage("no plugin directory is named")
            .help("name one with --to, or as plugin_dirs in the config")
    })
}
