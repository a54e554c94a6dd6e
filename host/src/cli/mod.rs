//! The command line: what it takes, what it prints where, and how it ends.
//!
//! Standard output is for the answer alone; everything else goes to standard error.

mod check;
mod create;
mod init;
mod plugins;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};
use ticket_plugin_api::Retry;
use tracing::level_filters::LevelFilter;

use crate::backend::Backend;
use crate::catalog::{self, Catalog};
use crate::config::{Config, Setting};
use crate::error::{Error, Kind, Result};
use crate::terminal::safe;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  2  usage: the command line, or an incident that is none
  3  settings: a person must change them
  4  client: the ticket system can't be reached, or is overloaded
  5  creation: the ticket system refused
  6  plugin: a plugin broke, or an answer that nobody understands
  7  import: no such plugin, or a library that is none

Examples:
  ticket-host init
  ticket-host create incident.json
  curl -s https://argus.example.org/... | ticket-host create --backend noc-rt -
  ticket-host check
  ticket-host plugins show rt";

/// Creates tickets from incidents, through plugins that are shared libraries.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    /// The config file [default: ~/.config/ticket-host/config.toml, or what the platform has
    /// instead, then /etc/ticket-host/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "TICKET_HOST_CONFIG")]
    config: Option<PathBuf>,
    /// Look for plugins here first; may be given several times. Then: the config's plugin_dirs,
    /// TICKET_HOST_PLUGIN_PATH, beside the program (only *ticket_plugin_*), the system's places
    #[arg(long = "plugin-dir", global = true, value_name = "DIR")]
    plugin_dirs: Vec<PathBuf>,
    /// Say more on standard error; twice: every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented config file to start from
    Init(init::Arguments),
    /// Create the ticket of an incident and print its URL
    Create(create::Arguments),
    /// Find out whether tickets can be created, without creating one
    Check(check::Arguments),
    /// What plugins there are
    #[command(subcommand)]
    Plugins(plugins::Command),
}

/// Runs the program's command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = match arguments.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(colour())
        .without_time()
        .with_target(false)
        .init();
    // One thread is enough to wait for plugins, and hears of them without waking another.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("error: the program can't wait for its plugins: {cause}");
            return ExitCode::FAILURE;
        }
    };
    let json = matches!(&arguments.command, Command::Create(create) if create.json);
    let result = runtime.block_on(run(&arguments));
    // An in-process plugin that doesn't return must not keep the program.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            if json {
                print(&create::error_json(&error));
            }
            report(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Init(init) => init::run(init, arguments.config.as_deref()),
        Command::Create(create) => create::run(create, arguments).await,
        Command::Check(check) => check::run(check, arguments).await,
        Command::Plugins(command) => plugins::run(command, arguments).await,
    }
}

impl Arguments {
    fn load_config(&self) -> Result<Config> {
        let config = Config::load(self.config.as_deref())?;
        config.warnings.iter().for_each(|warning| warn(warning));
        Ok(config)
    }

    /// The plugins in the search path: named directories, the config's, the environment's, then
    /// the usual ones.
    async fn discover(&self, config: Option<&Config>) -> Catalog {
        let environment: OsString = std::env::var_os("TICKET_HOST_PLUGIN_PATH").unwrap_or_default();
        let named = self.plugin_dirs.iter().cloned();
        let named = named.chain(config.into_iter().flat_map(|c| c.plugin_dirs.iter().cloned()));
        let named =
            named.chain(std::env::split_paths(&environment).filter(|p| !p.as_os_str().is_empty()));
        let catalog = Catalog::discover(catalog::search_path(named)).await;
        catalog.warnings.iter().for_each(|warning| warn(warning));
        catalog
    }

    /// The backend of that name, ready for use.
    async fn backend(&self, config: &Config, name: Option<&str>) -> Result<Backend> {
        let settings = config.backend(name)?;
        let catalog = self.discover(Some(config)).await;
        let plugin = catalog.find(&settings.plugin).map_err(|error| {
            settings.pointing(Setting::Plugin, error.at(&format!("backend {}", settings.name)))
        })?;
        let backend = Backend::new(settings, plugin)?;
        for warning in &backend.warnings {
            warn(&format!("backend {}: {warning}", backend.name));
        }
        Ok(backend)
    }
}

/// Whether standard error may have colours (https://no-color.org).
fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Prints to standard output. A reader that went away is not an error worth a panic.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn warn(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "warning: {}", safe(text));
}

/// An error on standard error: what, where in the config file, why, whether there may be a ticket,
/// and what to do.
fn report(error: &Error) {
    let mut out = format!("error: {}\n", safe(&error.message));
    if let Some(snippet) = &error.snippet {
        let theme =
            if colour() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let diagnostic = miette::MietteDiagnostic::new("")
            .with_label(LabeledSpan::underline(snippet.span.clone()));
        let source = NamedSource::new(&snippet.file, snippet.text.to_string());
        let report = miette::Report::new(diagnostic).with_source_code(source);
        let mut shown = String::new();
        let handler = GraphicalReportHandler::new_themed(theme);
        if handler.render_report(&mut shown, report.as_ref()).is_ok() {
            // Without the line of miette's own that has no message in it.
            let frame = shown.lines().skip_while(|line| !line.contains('╭'));
            frame.for_each(|line| out.push_str(&format!("{line}\n")));
        }
    }
    let mut cause = error.cause.as_deref().map(|cause| cause as &dyn std::error::Error);
    while let Some(why) = cause {
        out.push_str(&format!("  because: {}\n", safe(&why.to_string())));
        cause = why.source();
    }
    if error.retry == Retry::Unknown {
        out.push_str(
            "  the ticket may exist: wait a little and run the same command again; it looks for the ticket before it creates one\n",
        );
    } else if error.retry == Retry::Later && error.kind == Kind::Client {
        out.push_str("  no ticket was created; trying again can help\n");
    }
    if let Some(wait) = error.retry_after {
        out.push_str(&format!("  the ticket system asks to wait for {} s\n", wait.as_secs()));
    }
    if let Some(help) = &error.help {
        out.push_str(&format!("  help: {}\n", safe(help)));
    }
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(out.as_bytes());
}
