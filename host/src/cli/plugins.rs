//! `ticket-host plugins`: which plugins there are, and what one says of itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::{error_json, print, print_json};
use super::{install, new, sdk, validate};
use crate::backend::schema;
use crate::config::Config;
use crate::error::Result;
use crate::plugins::catalog::{self, Catalog, Entry, Found, Plugin};
use crate::plugins::manifest;
use crate::plugins::trust::{Signatures, Trust};
use crate::terminal::safe;

const LIST_EXAMPLES: &str = "\
Examples:
  ticket-host plugins list
  ticket-host plugins list --plugin-dir ./target/debug --json";
const SHOW_EXAMPLES: &str = "\
Examples:
  ticket-host plugins show rt
  ticket-host plugins show rt --json";
const VERIFY_EXAMPLES: &str = "\
Examples:
  ticket-host plugins verify libticket_plugin_acme.so";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the plugins that were found, also the broken ones
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Show what a plugin says of itself, its settings, its file and what it was compiled against
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The plugin's name or alias
        name: String,
    },
    /// Check who vouches for a library, and that nobody else could change it
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify {
        /// The library; its signature is the file beside it with .minisig after its name
        file: PathBuf,
    },
    Validate(validate::Arguments),
    New(new::Arguments),
    Sdk(sdk::Arguments),
    Install(install::InstallArguments),
    Rollback(install::RollbackArguments),
}

pub(super) async fn run(command: &Command, program: &super::Arguments) -> Result<ExitCode> {
    match command {
        Command::Validate(arguments) => return validate::run(arguments, program).await,
        Command::New(arguments) => return new::run(arguments, program),
        Command::Sdk(arguments) => return sdk::run(arguments, program),
        Command::Install(arguments) => {
            return install::install(arguments, program, config(program)?).await;
        }
        Command::Rollback(arguments) => {
            return install::rollback(arguments, program, config(program)?).await;
        }
        Command::Verify { file } => {
            let config = config(program)?;
            let trust = config.map(|config| config.trust).unwrap_or_default();
            let plugin = verify(file, trust).await?;
            if program.json {
                print_json(&verified_json(&plugin))?;
            } else {
                print(&safe(&verified(&plugin)))?;
            }
        }
        Command::List => {
            let catalog = program.discover(config(program)?.as_ref()).await;
            if program.json {
                print_json(&list_json(&catalog))?;
            } else {
                print(&safe(&list(&catalog)))?;
            }
        }
        Command::Show { name } => {
            let config = config(program)?;
            let catalog = program.discover(config.as_ref()).await;
            let plugin = catalog.find(name)?;
            let behind = catalog.behind(plugin);
            if program.json {
                print_json(&show_json(plugin, &behind))?;
            } else {
                print(&safe(&show(plugin, &behind, config.as_ref())))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The config, which names directories and keys of plugins, or None if there is none: plugins can be looked
/// at without one. A config that is there and can't be used is an error all the same.
fn config(program: &super::Arguments) -> Result<Option<Config>> {
    let config = Config::load_if_any(program.config.as_deref())?;
    config.iter().for_each(super::tell);
    Ok(config)
}

/// The plugin of a library that somebody vouches for.
///
/// # Errors
/// Whatever would keep the library from being loaded if signatures were required.
async fn verify(file: &Path, trust: Trust) -> Result<Plugin> {
    let trust = Trust { signatures: Signatures::Require, ..trust };
    catalog::inspect(file, &trust).await
}

/// Who vouches for the library, in a sentence.
fn verified(plugin: &Plugin) -> String {
    let by = match &plugin.vouched.signed_by {
        Some(key) => format!("signed by the key {key}"),
        None => {
            let names: Vec<&str> = plugin.vouched.pinned_as.iter().map(String::as_str).collect();
            let names = names.join(", ");
            format!("pinned by backends as {names}")
        }
    };
    let Plugin { manifest, image, .. } = plugin;
    format!(
        "{} {}: {by}; nobody else can write to it; its SHA-256 is {}\n",
        manifest.name, manifest.version, image.sha256
    )
}

fn verified_json(plugin: &Plugin) -> Value {
    json!({
        "name": plugin.manifest.name,
        "version": plugin.manifest.version,
        "file": plugin.path.display().to_string(),
        "sha256": plugin.image.sha256,
        "signed_by": plugin.vouched.signed_by,
        "pinned_as": plugin.vouched.pinned_as,
    })
}

/// Why a plugin isn't used by its own name; nothing if it is.
fn unused(catalog: &Catalog, plugin: &Plugin) -> Option<String> {
    match catalog.named(&plugin.manifest.name) {
        Found::One(used) if used.path == plugin.path => None,
        Found::One(used) => Some(format!("not used: {} goes before it", used.path.display())),
        Found::Several(_) => Some("two libraries have this name: it can't be used".to_owned()),
        Found::None(refused) => Some(format!("not used: {}", refused.join("; "))),
    }
}

fn list(catalog: &Catalog) -> String {
    let mut out = String::new();
    let width = catalog.plugins().map(|p| p.manifest.name.len()).max().unwrap_or(0);
    for plugin in catalog.plugins() {
        let m = &plugin.manifest;
        let unused = unused(catalog, plugin).map_or_else(String::new, |why| format!("  ({why})"));
        out.push_str(&format!("{:width$}  {:8}  {}{unused}\n", m.name, m.version, m.description));
    }
    for Entry { path, plugin, .. } in &catalog.entries {
        if let Err(error) = plugin {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            out.push_str(&format!("broken: {file}\n  {error}\n"));
        }
    }
    if out.is_empty() {
        let looked: Vec<_> =
            catalog.directories.iter().map(|p| p.directory.display().to_string()).collect();
        out = format!("no plugins were found in {}\n", looked.join(", "));
    }
    out
}

fn list_json(catalog: &Catalog) -> Value {
    let entries = catalog.entries.iter().map(|Entry { path, plugin, .. }| match plugin {
        Ok(plugin) => {
            let mut entry = json!({
                "name": plugin.manifest.name,
                "version": plugin.manifest.version,
                "description": plugin.manifest.description,
                "aliases": plugin.manifest.aliases,
                "file": path.display().to_string(),
            });
            let unused = unused(catalog, plugin);
            entry["ok"] = unused.is_none().into();
            if let Some(why) = unused {
                entry["unused"] = why.into();
            }
            entry
        }
        Err(error) => {
            json!({"file": path.display().to_string(), "ok": false, "error": error_json(error)})
        }
    });
    json!({"plugins": entries.collect::<Vec<_>>()})
}

fn show_json(plugin: &Plugin, behind: &[&Plugin]) -> Value {
    json!({
        "manifest": plugin.manifest,
        "file": plugin.path.display().to_string(),
        "sha256": plugin.image.sha256,
        "compiled_against": compiled_against(plugin),
        "offers": plugin.offers,
        "goes_before": behind.iter().map(|other| other.path.display().to_string()).collect::<Vec<_>>(),
    })
}

/// The functions that a plugin may be without and that this one has.
fn offers(plugin: &Plugin) -> String {
    let actions = match plugin.manifest.actions.as_slice() {
        [] => String::new(),
        actions => format!(" ({})", actions.join(", ")),
    };
    let functions = plugin.offers.iter().map(|name| match *name {
        "update" => format!("update{actions}"),
        name => name.to_owned(),
    });
    functions.collect::<Vec<_>>().join(", ")
}

fn compiled_against(plugin: &Plugin) -> String {
    let abi = ticket_plugin_api::abi::ABI_VERSION;
    match (&plugin.sdk, plugin.manifest.sdk.as_str()) {
        (Some(version), _) => format!("ABI {abi}, ticket-plugin-api {version} (layout compared)"),
        (None, "") => format!("ABI {abi}, the C header"),
        (None, sdk) => format!("ABI {abi}, {sdk} (layout not compared)"),
    }
}

fn show(plugin: &Plugin, behind: &[&Plugin], config: Option<&Config>) -> String {
    let m = &plugin.manifest;
    let mut out = format!("{} {}\n", m.name, m.version);
    let not_done: Vec<String> = m.not_done.iter().map(u16::to_string).collect();
    let settle = m.settle_seconds.map_or_else(String::new, |seconds| format!("{seconds} s"));
    let facts = [
        ("description", m.description.clone()),
        ("aliases", m.aliases.join(", ")),
        ("vendor", m.vendor.clone()),
        ("license", m.license.clone()),
        ("homepage", m.homepage.clone()),
        ("file", plugin.path.display().to_string()),
        ("sha256", plugin.image.sha256.to_string()),
        ("compiled against", compiled_against(plugin)),
        ("offers", offers(plugin)),
        ("lists lag by", settle),
        ("not done after", not_done.join(", ")),
    ];
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!("  {name:17}{value}\n"));
    }
    for other in behind {
        let (what, file) = ("goes before", other.path.display());
        out.push_str(&format!("  {what:17}{file}, which is not used by the names of both\n"));
    }
    out.push_str("\nBeside HTTP to its endpoint it needs:\n");
    if m.permissions.is_empty() {
        out.push_str("  nothing\n");
    }
    for p in &m.permissions {
        out.push_str(&format!("  {}: {}: {}\n", p.permission, p.what, p.why));
    }
    let backends = config.into_iter().flat_map(|config| config.backends.values());
    for backend in backends.filter(|backend| manifest::answers_to(m, &backend.plugin)) {
        let granted = backend.permissions.granted();
        let granted = if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") };
        out.push_str(&format!("  granted to {}: {granted}\n", backend.name));
    }
    for (title, schema) in [("secret", &m.secret_schema), ("information", &m.information_schema)] {
        out.push_str(&format!("\n{title}:\n"));
        let shapes = schema::settings(schema);
        if shapes.is_empty() {
            out.push_str("  nothing\n");
        }
        for (nth, settings) in shapes.iter().enumerate() {
            match (nth, shapes.len()) {
                (_, 1) => {}
                (0, _) => out.push_str("  either\n"),
                _ => out.push_str("  or\n"),
            }
            let indent = if shapes.len() > 1 { "  " } else { "" };
            for setting in settings {
                let required = if setting.required { ", required" } else { "" };
                out.push_str(&format!("  {indent}{} ({}{required})\n", setting.name, setting.kind));
                if !setting.description.is_empty() {
                    out.push_str(&format!("      {indent}{}\n", setting.description));
                }
            }
        }
    }
    out
}
