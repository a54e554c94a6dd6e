//! The command line: what it takes, what it prints where, and how it ends.
//!
//! Standard output is for the answer alone; everything else goes to standard error.

mod check;
mod create;
mod init;
mod install;
mod log;
mod new;
mod plugins;
mod queue;
mod serve;
mod validate;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::backend::Backend;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plugins::catalog::Catalog;
use crate::report;
use crate::setup::{self, Sources};
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
  ticket-host serve
  ticket-host queue retry --state failed
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
    /// Accept incidents over HTTP and see to it that each gets its ticket, whatever breaks
    Serve(serve::Arguments),
    /// What `serve` accepted, and what became of it
    #[command(subcommand)]
    Queue(queue::Command),
    /// What plugins there are
    #[command(subcommand)]
    Plugins(plugins::Command),
}

/// Runs the program's command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Nobody sits before the service: its log is all there is to read.
    let serves = matches!(arguments.command, Command::Serve(_));
    let level = match arguments.verbose.saturating_add(u8::from(serves)) {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    log::start(level);
    // One thread is enough to wait for one ticket's plugin, and hears of it without waking another.
    let mut builder = if serves {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = match builder.enable_all().build() {
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
        Command::Serve(serve) => serve::run(serve, arguments).await,
        Command::Queue(command) => queue::run(command, arguments).await,
        Command::Plugins(command) => plugins::run(command, arguments).await,
    }
}

impl Arguments {
    fn load_config(&self) -> Result<Config> {
        let config = Config::load(self.config.as_deref())?;
        config.warnings.iter().for_each(|warning| warn(warning));
        Ok(config)
    }

    fn sources(&self) -> Sources {
        Sources { config: self.config.clone(), plugin_dirs: self.plugin_dirs.clone() }
    }

    async fn discover(&self, config: Option<&Config>) -> Catalog {
        let catalog = self.sources().discover(config).await;
        catalog.warnings.iter().for_each(|warning| warn(warning));
        catalog
    }

    /// The backend of that name, ready for use.
    async fn backend(&self, config: &Config, name: Option<&str>) -> Result<Backend> {
        let settings = config.backend(name)?;
        let catalog = self.discover(Some(config)).await;
        let backend = setup::backend(settings, &catalog, &Arc::default())?;
        for warning in &backend.warnings {
            warn(&format!("backend {}: {warning}", backend.name));
        }
        Ok(backend)
    }
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

fn report(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(report::text(error).as_bytes());
}
