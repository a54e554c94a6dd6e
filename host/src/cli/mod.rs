//! The command line: its commands, a file each, and what they have in common.
//!
//! Invariant: standard output is for the answer alone; warnings and errors go to standard error.

mod check;
mod completions;
mod config;
mod create;
mod folder;
mod init;
mod install;
mod log;
mod man;
mod new;
mod output;
mod plugins;
mod progress;
mod queue;
mod sdk;
mod serve;
mod ticket;
mod top;
mod user;
mod validate;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use ticket_plugin_api::abi::ABI_VERSION;
use tracing::level_filters::LevelFilter;

use crate::backend::{Backend, bound_workers};
use crate::config::{BackendConfig, Config};
use crate::error::{Error, Kind, Result};
use crate::plugins::catalog::Catalog;
use crate::report;
use crate::setup::{self, Sources, Which};
use crate::terminal::{line, safe};
use crate::worker::Missing;
use output::{error_json, lost, print_json};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  2  usage: the command line or the incident is wrong
  3  settings: the config is wrong, and a person must change it
  4  client: the ticket system can't be reached, or is overloaded
  5  creation: the ticket system refused to create the ticket
  6  plugin: the plugin failed, or gave an answer that can't be understood; serve: a part of the host broke
  7  import: the plugin isn't there, or its library can't be used
  8  output: the answer could not be written (a full disk, `| head`); standard error says what was done";

const EXAMPLES: &str = "\
Examples:
  ticket-host init
  ticket-host check
  ticket-host create incident.json
  ticket-host serve";

/// The end of a help text: examples, and what the exit codes mean.
fn with_exit_codes(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES}")
}

/// What `--version` says after the program's name; `-V` says only the first line.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\nrevision: {}\nplugin ABI: {ABI_VERSION}\nplugin SDK: {}\ntarget: {}",
        env!("CARGO_PKG_VERSION"),
        env!("TICKET_HOST_REVISION"),
        ticket_plugin_api::VERSION,
        env!("TICKET_HOST_TARGET"),
    )
});

/// The heading of the options that every command has.
const EVERYWHERE: &str = "Options of every command";

/// Creates tickets from incidents, through plugins that are shared libraries.
#[derive(Debug, Parser)]
#[command(version, long_version = &**VERSION, after_help = with_exit_codes(EXAMPLES), max_term_width = 100)]
struct Arguments {
    /// The config file [default: ~/.config/ticket-host/config.toml (on Windows in %APPDATA%), else
    /// /etc/ticket-host/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "TICKET_HOST_CONFIG", help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// A directory to look for plugins in; can be given several times. After it they are looked for in
    /// the config's plugin_dirs, in TICKET_HOST_PLUGIN_PATH, beside the program (only files whose names
    /// have ticket_plugin_ in them) and in the system's directories. The first of these that has a plugin of
    /// a name, or with that alias, is where it is taken from; in one directory a name goes before an alias, and of
    /// several with one name the library whose file is called ticket_plugin_NAME
    #[arg(long = "plugin-dir", global = true, value_name = "DIR", help_heading = EVERYWHERE)]
    plugin_dirs: Vec<PathBuf>,
    /// Say more on standard error: -vv shows every request to a ticket system, -vvv also the headers and bodies of
    /// requests and answers, with secrets struck out
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
    verbose: u8,
    /// Print JSON instead of text on standard output: the answer, or {"error": ...} if there is none
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
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
    /// See how it goes with a service: what needs a person, each backend, the last hour
    Top(top::Arguments),
    /// See what can be set in the config file; make one of an Argus's settings
    #[command(subcommand)]
    Config(config::Command),
    /// See what `serve` accepted and what became of it; try tickets again, or give them up
    #[command(subcommand)]
    Queue(queue::Command),
    /// See a ticket with all that was done to it; comment on it, close it, or say which one it is
    #[command(subcommand)]
    Ticket(ticket::Command),
    /// See which plugins there are; install one, check one, start one of your own
    #[command(subcommand)]
    Plugins(plugins::Command),
    /// Print the completions of a shell
    Completions(completions::Arguments),
    /// Write the man pages
    Man(man::Arguments),
}

/// Runs the program's command line.
pub fn main() -> ExitCode {
    let private = keep_memory_private();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(instead) => return say_instead(&instead),
    };
    // The service has nobody who waits for its answers, so its log says more from the start.
    let (serves, layout, stderr) = match &arguments.command {
        Command::Serve(serve) => (true, serve.log_layout(), log::Stderr::of_service()),
        _ => (false, log::Layout::Plain, log::Stderr::Direct),
    };
    let level = match (arguments.verbose, serves) {
        (0, false) => LevelFilter::WARN,
        (0, true) | (1, false) => LevelFilter::INFO,
        (1, true) | (2, _) => LevelFilter::DEBUG,
        (3.., _) => LevelFilter::TRACE,
    };
    log::start(level, layout, stderr.clone());
    if let Err(lack) = private {
        tracing::warn!("{lack}");
    }
    // A command waits for one plugin: one thread is enough for that, and hears of its answer at once,
    // without another thread that would have to wake it.
    let mut builder = if serves {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let result = match builder.enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(run(&arguments));
            // A plugin in this process that doesn't return must not keep the program from ending.
            runtime.shutdown_background();
            result
        }
        Err(cause) => Err(Error::plugin("the program can't wait for its plugins").cause(cause)),
    };
    let code = result.unwrap_or_else(|error| {
        // Where the answer could not be written, the error can't be either.
        if arguments.json && error.kind != Kind::Output {
            print_error(&error);
        }
        if serves {
            log::last_words(&error);
        } else {
            report(&error);
        }
        ExitCode::from(error.kind.exit_code())
    });
    stderr.finish();
    code
}

/// What clap has to say instead of arguments: a help text, the version, or what is wrong with the command line.
fn say_instead(said: &clap::Error) -> ExitCode {
    if said.use_stderr() {
        if std::env::args_os().any(|argument| argument == "--json") {
            let text = said.render().to_string();
            let what = text.strip_prefix("error: ").and_then(|text| text.split("\n\n").next());
            print_error(&Error::usage(
                what.unwrap_or("the command line is not complete").trim_end(),
            ));
        }
        // There is no third place to say that this could not be said.
        let _ = said.print();
        return ExitCode::from(Kind::Usage.exit_code());
    }
    match output::is_open().and_then(|()| said.print()).and_then(|()| std::io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            report(&lost(cause));
            ExitCode::from(Kind::Output.exit_code())
        }
    }
}

/// Prints an error as a program's answer. The exit code stays the error's if nobody reads that.
fn print_error(error: &Error) {
    let all: Vec<Value> = error.each().map(error_json).collect();
    if let Err(lost) =
        print_json(&json!({"error": error_json(error), "errors": all, "more_errors": error.more}))
    {
        report(&lost);
    }
}

/// Keeps the secrets that are going to be in this process's memory from core dumps, and from other processes of the
/// same user.
///
/// # Errors
/// A sentence for the log, which has not begun when this is done.
fn keep_memory_private() -> std::result::Result<(), String> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{self, DumpableBehavior, Resource, Rlimit};
        // Where core dumps go to a program, such as systemd's, the limit doesn't count.
        let done = process::set_dumpable_behavior(DumpableBehavior::NotDumpable).and_then(|()| {
            let none = Rlimit { current: Some(0), maximum: Some(0) };
            process::setrlimit(Resource::Core, none)
        });
        done.map_err(|cause| {
            format!(
                "core dumps can't be turned off ({cause}): one of this program would hold secrets"
            )
        })?;
    }
    Ok(())
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Init(init) => init::run(init, arguments).await,
        Command::Create(create) => create::run(create, arguments).await,
        Command::Check(check) => check::run(check, arguments).await,
        Command::Config(command) => config::run(command, arguments.json),
        Command::Serve(serve) => serve::run(serve, arguments).await,
        Command::Top(top) => top::run(top, arguments).await,
        Command::Queue(command) => queue::run(command, arguments).await,
        Command::Ticket(command) => ticket::run(command, arguments).await,
        Command::Plugins(command) => plugins::run(command, arguments).await,
        Command::Completions(completions) => completions::run(completions, arguments.json),
        Command::Man(man) => man::run(man, arguments.json),
    }
}

impl Arguments {
    fn load_config(&self) -> Result<Config> {
        Config::load(self.config.as_deref()).inspect(use_config)
    }

    /// As [`Arguments::load_config`], for a command that uses these backends: where the config can't be used, the error
    /// also tells what is wrong with them.
    async fn load_config_for(&self, which: Which<'_>) -> Result<Config> {
        self.sources().config(which).await.inspect(use_config)
    }

    fn sources(&self) -> Sources {
        let (config, plugin_dirs) = (self.config.clone(), self.plugin_dirs.clone());
        Sources { config, plugin_dirs, listen: None }
    }

    async fn discover(&self, config: Option<&Config>) -> Catalog {
        let catalog = self.sources().discover(config).await;
        catalog.warnings.iter().for_each(|warning| warn(warning));
        catalog
    }

    /// The backend of that name, or the one that is meant without a name, ready for calls. `missing` says what becomes
    /// of directories that it is granted and that aren't there.
    async fn backend(
        &self,
        config: &Config,
        name: Option<&str>,
        missing: Missing,
    ) -> Result<Backend> {
        let settings = meant(config, name)?;
        let (catalog, loaded) = self.sources().discover_for(config, settings).await;
        catalog.warnings.iter().for_each(|warning| warn(warning));
        let backend = prepare(config, settings, &catalog, missing).await?;
        if let Some(worker) = loaded {
            backend.begin_with(worker);
        }
        Ok(backend)
    }
}

/// As [`Arguments::backend`], with plugins that were found before.
async fn prepare(
    config: &Config,
    settings: &BackendConfig,
    catalog: &Catalog,
    missing: Missing,
) -> Result<Backend> {
    let backend = setup::backend(config, settings, catalog, missing, &Arc::default()).await?;
    for warning in &backend.warnings {
        warn(&format!("backend {}: {warning}", backend.name));
    }
    Ok(backend)
}

/// Says what there is to say of a config, and keeps to its bounds from now on.
fn use_config(config: &Config) {
    tell(config);
    bound_workers(&config.workers);
}

/// Says which config was read, what is odd about it, and, to those who ask for it with -v, what was not read.
fn tell(config: &Config) {
    tracing::info!("{}", line(&config.places()));
    config.notes.iter().for_each(|note| tracing::info!("{}", line(note)));
    config.warnings.iter().for_each(|warning| warn(warning));
}

/// The backend that is meant, or an error that says which config doesn't have it.
fn meant<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a BackendConfig> {
    config.backend(name).map_err(|error| error.at(&config.source()))
}

fn warn(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "warning: {}", safe(text));
}

fn note(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "note: {}", safe(text));
}

fn report(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(report::text_in(error, report::colour()).as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The words of a command as a shell reads them: quotes keep blanks in them together.
    fn words(command: &str) -> Vec<String> {
        let (mut words, mut quote, mut word) = (Vec::new(), None, None::<String>);
        for c in command.chars() {
            match (c, quote) {
                ('\'' | '"', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (c, Some(open)) if c == open => quote = None,
                (' ', None) => words.extend(word.take()),
                (c, _) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    /// The names of the commands that have none below them, and their help texts' ends.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        let below = || command.get_subcommands().filter(|below| below.get_name() != "help");
        if below().next().is_none() {
            let end = command.get_after_help().map(ToString::to_string);
            found.push((path.clone(), end.unwrap_or_default()));
        }
        below().for_each(|below| leaves(below, &path, found));
    }

    #[test]
    fn every_command_has_examples_of_its_own_and_they_are_command_lines_that_it_takes() {
        let (program, mut found) = (Arguments::command(), Vec::new());
        leaves(&program, "", &mut found);
        assert!(found.len() >= 15, "{found:?}");
        found.push(("ticket-host".to_owned(), with_exit_codes(EXAMPLES)));
        for (path, end) in found {
            let lines = end.lines().skip_while(|line| *line != "Examples:").skip(1);
            let lines: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
            assert!(!lines.is_empty(), "no examples: {path}");
            for line in lines {
                // A pipe leads to the program, or a redirection from it.
                let line = line.split(" > ").next().unwrap_or_default();
                let call = &line[line.rfind("ticket-host ").expect(line)..];
                let given = words(call);
                if let Err(refused) = Arguments::try_parse_from(&given) {
                    panic!("{path}: {line}: {refused}");
                }
                assert!(call.starts_with(&path), "not of {path}: {line}");
                assert!(line.len() <= 80, "too long for most terminals: {line}");
            }
        }
    }
}
