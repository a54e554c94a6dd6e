//! The command line: its commands, a file each, and what they have in common.
//!
//! Invariant: standard output is for the answer alone; warnings and errors go to standard error.

mod check;
mod config;
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

use crate::backend::{Backend, bound_workers};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plugins::catalog::Catalog;
use crate::report;
use crate::setup::{self, Sources};
use crate::terminal::safe;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  2  usage: the command line or the incident is wrong
  3  settings: the config is wrong, and a person must change it
  4  client: the ticket system can't be reached, or is overloaded
  5  creation: the ticket system refused to create the ticket
  6  plugin: the plugin failed, or gave an answer that can't be understood; serve: a part of the host broke
  7  import: the plugin isn't there, or its library can't be used

Examples:
  ticket-host init
  ticket-host create incident.json
  curl -s https://argus.example.org/... | ticket-host create --backend noc-rt -
  ticket-host check
  ticket-host serve
  ticket-host queue retry --state failed
  ticket-host plugins show rt";

/// The heading of the options that every command has.
const EVERYWHERE: &str = "Options of every command";

/// Creates tickets from incidents, through plugins that are shared libraries.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    /// The config file [default: ~/.config/ticket-host/config.toml (on Windows in %APPDATA%), else
    /// /etc/ticket-host/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "TICKET_HOST_CONFIG", help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// A directory to look for plugins in; can be given several times. After it they are looked for in
    /// the config's plugin_dirs, in TICKET_HOST_PLUGIN_PATH, beside the program (only files whose names
    /// have ticket_plugin_ in them) and in the system's directories. The first of these that has a plugin of
    /// a name, or with that alias, is where it is taken from; in one directory a name goes before an alias
    #[arg(long = "plugin-dir", global = true, value_name = "DIR", help_heading = EVERYWHERE)]
    plugin_dirs: Vec<PathBuf>,
    /// Say more on standard error; give it twice to see every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
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
    /// See what can be set in the config file
    #[command(subcommand)]
    Config(config::Command),
    /// Accept incidents over HTTP and see to it that each gets its ticket, whatever breaks
    Serve(serve::Arguments),
    /// See what `serve` accepted and what became of it; try tickets again, or give them up
    #[command(subcommand)]
    Queue(queue::Command),
    /// See which plugins there are; install one, check one, start one of your own
    #[command(subcommand)]
    Plugins(plugins::Command),
}

/// Runs the program's command line.
pub fn main() -> ExitCode {
    keep_memory_private();
    let arguments = Arguments::parse();
    // The service has nobody who waits for its answers, so its log says more from the start.
    let serves = matches!(arguments.command, Command::Serve(_));
    let level = match arguments.verbose.saturating_add(u8::from(serves)) {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    log::start(level);
    // A command waits for one plugin: one thread is enough for that, and hears of its answer at once,
    // without another thread that would have to wake it.
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
    // A plugin in this process that doesn't return must not keep the program from ending.
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

/// Keeps the secrets that are going to be in this process's memory from core dumps, and from other processes of the
/// same user.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{self, DumpableBehavior, Resource, Rlimit};
        // Where core dumps go to a program, such as systemd's, the limit doesn't count.
        let done = process::set_dumpable_behavior(DumpableBehavior::NotDumpable).and_then(|()| {
            let none = Rlimit { current: Some(0), maximum: Some(0) };
            process::setrlimit(Resource::Core, none)
        });
        if let Err(cause) = done {
            warn(&format!(
                "core dumps can't be turned off ({cause}): one of this program would hold secrets"
            ));
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Init(init) => init::run(init, arguments.config.as_deref()).await,
        Command::Create(create) => create::run(create, arguments).await,
        Command::Check(check) => check::run(check, arguments).await,
        Command::Config(command) => config::run(command),
        Command::Serve(serve) => serve::run(serve, arguments).await,
        Command::Queue(command) => queue::run(command, arguments).await,
        Command::Plugins(command) => plugins::run(command, arguments).await,
    }
}

impl Arguments {
    fn load_config(&self) -> Result<Config> {
        let config = Config::load(self.config.as_deref())?;
        config.warnings.iter().for_each(|warning| warn(warning));
        bound_workers(&config.workers);
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

    /// The backend of that name, or the one that is meant without a name, ready for calls.
    async fn backend(&self, config: &Config, name: Option<&str>) -> Result<Backend> {
        let settings = config.backend(name)?;
        let catalog = self.discover(Some(config)).await;
        let backend = setup::backend(config, settings, &catalog, &Arc::default()).await?;
        for warning in &backend.warnings {
            warn(&format!("backend {}: {warning}", backend.name));
        }
        Ok(backend)
    }
}

/// Prints to standard output. If nobody reads it any more (`| head`), what is left is not printed.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How many there are of something: `1 warning`, `2 warnings`.
fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn warn(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "warning: {}", safe(text));
}

fn report(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(report::text(error).as_bytes());
}
