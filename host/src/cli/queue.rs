//! `ticket-host queue`: what was accepted and what became of it, on the store itself.

mod audit;
mod list;
pub(super) mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::output::{error_json, print, print_json};
use super::user::operator;
use super::{note, report};
use crate::config::{Config, QueueConfig};
use crate::control;
use crate::error::{Error, Result};
use crate::machine::{Policy, StepState};
use crate::store::{
    self, Copied, Cursor, Filter, Job, Order, Postgres, Sqlite, State, Store, StoreError,
};
use crate::terminal::{counted, safe};

/// Who leads the hosts meanwhile.
const COPYING: &str = "queue copy";
/// How long a copy may take before a host that is started during it would begin to work.
const LONGEST_COPY: Duration = Duration::from_secs(60 * 60);
/// Rows that are read at a time.
const PAGE: i64 = 500;

const SHOW_EXAMPLES: &str = "\
Examples:
  ticket-host queue show 17
  ticket-host queue show 17 --json";
const RETRY_EXAMPLES: &str = "\
Examples:
  ticket-host queue retry 17 18
  ticket-host queue retry --state failed --backend noc-rt";
const BACKUP_EXAMPLES: &str = "\
Examples:
  ticket-host queue backup /var/backups/ticket-host.db";
const COPY_EXAMPLES: &str = "\
Examples:
  ticket-host queue copy --to /etc/ticket-host/postgres.toml";
const MIGRATE_EXAMPLES: &str = "\
Examples:
  ticket-host queue migrate
  ticket-host queue migrate --print > tables.sql";
const CANCEL_EXAMPLES: &str = "\
Examples:
  ticket-host queue cancel 17
  ticket-host queue cancel --state queued --backend noc-rt";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(list::Arguments),
    Audit(audit::Arguments),
    /// Show one ticket with all its tries, as `ticket show` does. Times are in UTC
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its number, as `queue list` shows it
        id: i64,
    },
    /// Try tickets now: also what failed, was cancelled or suppressed, and what failed of what is done to a ticket later
    #[command(after_help = super::with_exit_codes(RETRY_EXAMPLES))]
    Retry {
        #[command(flatten)]
        which: Several,
    },
    /// Write all of the store to a new file, also while the service runs
    ///
    /// It can take the store's place when the service is stopped. Tickets that were made since are found by their keys.
    #[command(after_help = super::with_exit_codes(BACKUP_EXAMPLES))]
    Backup {
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Copy the store to that of another config, from a file to PostgreSQL or back, while no service works on either
    ///
    /// Tickets keep their numbers. What waits goes on to wait as long as it would have; what was not made before the copy is looked
    /// for first.
    #[command(after_help = super::with_exit_codes(COPY_EXAMPLES))]
    Copy {
        /// A config file whose store is empty, or isn't there
        #[arg(long, value_name = "CONFIG")]
        to: PathBuf,
    },
    /// Make the tables of a PostgreSQL store, or bring them to this version
    ///
    /// The service does that by itself where its user may make tables.
    #[command(after_help = super::with_exit_codes(MIGRATE_EXAMPLES))]
    Migrate {
        /// Only print the SQL, for a database administrator to run
        #[arg(long)]
        print: bool,
    },
    /// Never try tickets again, until somebody says otherwise
    #[command(after_help = super::with_exit_codes(CANCEL_EXAMPLES))]
    Cancel {
        #[command(flatten)]
        which: Several,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Of this backend
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// In this state: queued, creating, unknown, created, failed, cancelled or suppressed
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// With a step (a comment, or what closes or opens the ticket) in this state: queued, working, unknown, done, failed,
    /// cancelled or needless
    #[arg(long, value_name = "STATE", value_parser = step)]
    step: Option<StepState>,
    /// With this key
    #[arg(long)]
    key: Option<String>,
}

/// Some by number, or all of a kind.
#[derive(Debug, clap::Args)]
pub(super) struct Several {
    /// Their numbers; what is said beside them must be true of each
    #[arg(required_unless_present_any = ["backend", "state", "step", "key"])]
    ids: Vec<i64>,
    #[command(flatten)]
    which: Which,
}

impl Several {
    /// Whether they are picked by a step for which there is nothing to order.
    fn of_no_use(&self) -> bool {
        self.which.step.is_some_and(|step| State::from(step) != State::Failed)
    }
}

fn state(name: &str) -> std::result::Result<State, String> {
    State::of(name).ok_or_else(|| {
        let all: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
        format!("a state is one of {}", all.join(", "))
    })
}

fn step(name: &str) -> std::result::Result<StepState, String> {
    serde_json::from_value(name.into()).map_err(|_| {
        "a step is queued, working, unknown, done, failed, cancelled or needless".to_owned()
    })
}

/// Copies everything to the store of the config `to`.
async fn copy(settings: &QueueConfig, to: &Path, as_json: bool) -> Result<ExitCode> {
    let to = Config::load(Some(to))?.queue;
    if to.place() == settings.place() {
        return Err(Error::usage("both configs name the same store"));
    }
    if settings.database.is_none() && !settings.path.exists() {
        return Err(Error::usage(format!("there is no store at {}", settings.path.display())));
    }
    let (from, to) = (alone(settings).await?, alone(&to).await?);
    let copied = store::copy(&*from, &*to).await;
    // So that hosts begin to work at once.
    for store in [&from, &to] {
        store.lead(COPYING, Duration::ZERO).await?;
    }
    to.close().await;
    from.close().await;
    let Copied { incidents, tickets } = copied?;
    if as_json {
        print_json(&json!({"incidents": incidents, "tickets": tickets}))?;
    } else {
        let (incidents, tickets) =
            (counted(incidents as u64, "incident"), counted(tickets as u64, "ticket"));
        print(&format!("copied {incidents} and {tickets}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a store on which no host works.
async fn alone(settings: &QueueConfig) -> Result<Arc<dyn Store>> {
    let store = store::open(settings).await?;
    // No host can lead meanwhile, and one that works on it leads.
    if !store.lead(COPYING, LONGEST_COPY).await? {
        let what = format!("a service works on the store {}", settings.place());
        return Err(Error::usage(what).help("stop all of them, and try it again ten seconds later"));
    }
    Ok(store)
}

/// Brings the tables of the config's database to this version.
async fn migrate(settings: &QueueConfig, prints: bool, as_json: bool) -> Result<ExitCode> {
    let Some(database) = &settings.database else {
        let help = "`ticket-host serve` brings it to its version, and keeps it as it was beside it";
        return Err(Error::usage("the store lies in a file").help(help));
    };
    if prints {
        let sql = Postgres::missing(database.options()?, database.is_pooled()).await?;
        if as_json {
            print_json(&json!({"sql": sql}))?
        } else {
            print(&sql)?
        }
        return Ok(ExitCode::SUCCESS);
    }
    store::open(settings).await?.close().await;
    match as_json {
        true => print_json(&json!({"store": settings.place()}))?,
        false => note("the tables are of this version"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(command: &Command, program: &super::Arguments) -> Result<ExitCode> {
    let config = program.load_config()?;
    let settings = &config.queue;
    match command {
        Command::Migrate { print } => return migrate(settings, *print, program.json).await,
        Command::Copy { to } => return copy(settings, to, program.json).await,
        _ => {}
    }
    let host = Host::of(&config).await?;
    let store = host.store.as_ref();
    match command {
        Command::Audit(audit) => return audit::run(store, audit, program.json).await,
        Command::List(list) => return list::run(store, &config, list, program.json).await,
        Command::Show { id } => show::run(store, &config, *id, program.json).await?,
        Command::Backup { file } => {
            if settings.database.is_some() {
                let help = "back the database up with its own tools, such as pg_dump";
                return Err(Error::usage("the store lies in a database").help(help));
            }
            Sqlite::open(&settings.path, settings.max_bytes)?.backup(file).await?;
            if program.json {
                print_json(&json!({"file": file}))?;
            } else {
                print(&format!("{}\n", safe(&file.display().to_string())))?;
            }
        }
        Command::Migrate { .. } | Command::Copy { .. } => {}
        Command::Retry { which } | Command::Cancel { which } if which.of_no_use() => {
            let help = "what waits is given up by the ticket's number: `queue cancel 17`";
            return Err(Error::usage("only --step failed can be retried or cancelled").help(help));
        }
        Command::Retry { which } => {
            let states = [State::Queued, State::Unknown, State::Failed];
            return order_all(&host, which, Order::Retry, &states, program.json).await;
        }
        Command::Cancel { which } => {
            let states = [State::Queued, State::Unknown, State::Failed];
            return order_all(&host, which, Order::Cancel, &states, program.json).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            backend: self.backend.clone(),
            state: self.state,
            step: self.step.map(State::from),
            key: self.key.clone(),
            most: PAGE,
            ..Filter::default()
        }
    }

    /// Why a ticket is not of this kind. None: it is.
    fn lacks(&self, job: &Job) -> Option<String> {
        if let Some(backend) = self.backend.as_ref().filter(|backend| **backend != job.backend) {
            return Some(format!("is of the backend {:?}, not {backend:?}", job.backend));
        }
        if let Some(key) = self.key.as_ref().filter(|key| **key != job.key) {
            return Some(format!("has the key {:?}, not {key:?}", job.key));
        }
        let state = self.state.filter(|state| *state != job.state)?;
        Some(format!("is {}, not {}", job.state.name(), state.name()))
    }
}

/// The store, and how long its host takes for things.
pub(super) struct Host {
    pub(super) store: Arc<dyn Store>,
    pub(super) policy: Policy,
}

impl Host {
    /// That of a config, also while a service works on it.
    pub(super) async fn of(config: &Config) -> Result<Host> {
        let settings = &config.queue;
        control::catch_up(&settings.path).await;
        // Most often it is another config's store that is meant.
        let store = store::look_at(settings).await.map_err(|error| error.at(&config.source()))?;
        let policy =
            Policy { retry_for: settings.retry_for, settle: settings.settle, least_tries: 1 };
        Ok(Host { store, policy })
    }
}

/// Gives the order for those with the numbers, or for all of the kind that are in one of `states`,
/// unless the kind says another one. Those with the numbers must be of the kind, too.
async fn order_all(
    host: &Host,
    which: &Several,
    order: Order,
    states: &[State],
    as_json: bool,
) -> Result<ExitCode> {
    let mut orders = Orders { as_json, ..Orders::default() };
    let ended = orders.give(host, which, order, states).await;
    let refused = match ended {
        Ok(()) if orders.refused.is_empty() => None,
        Ok(()) => Some(Error::usage("not all of that could be done; see above")),
        Err(error) => Some(error),
    };
    if as_json {
        orders.printed = print_json(&json!({
            "tickets": orders.done,
            "refused": orders.refused,
            "error": refused.as_ref().map(error_json),
        }));
    } else if orders.done.is_empty() && refused.is_none() {
        note("there are no such tickets: nothing was done");
    }
    if let Some(error) = &refused {
        report(error);
    }
    orders.printed.map_err(|lost| lost.at("the orders were given"))?;
    Ok(ExitCode::from(refused.map_or(0, |error| error.kind.exit_code())))
}

/// Orders that are being given, and what came of each.
#[derive(Debug)]
struct Orders {
    as_json: bool,
    done: Vec<Value>,
    refused: Vec<Value>,
    /// Whether all could be told so far. Where it can't, the orders are given all the same.
    printed: Result<()>,
}

impl Default for Orders {
    fn default() -> Orders {
        Orders { as_json: false, done: Vec::new(), refused: Vec::new(), printed: Ok(()) }
    }
}

impl Orders {
    /// # Errors
    /// The store broke: the rest was not done.
    async fn give(
        &mut self,
        host: &Host,
        which: &Several,
        order: Order,
        states: &[State],
    ) -> Result<()> {
        for id in &which.ids {
            // Whether it has such a step the list tells.
            let filter = Filter { cursor: Cursor::After(*id - 1), most: 1, ..which.which.filter() };
            let has_step = which.which.step.is_none()
                || host.store.list(&filter).await?.iter().any(|job| job.id == *id);
            let no_step = || (!has_step).then(|| "has no such step".to_owned());
            let job = host.store.get(*id).await?;
            let lack = job.and_then(|job| which.which.lacks(&job).or_else(no_step));
            match lack {
                Some(lack) => self.refuse(*id, &Error::usage(format!("ticket {id} {lack}"))),
                None => self.give_one(host, *id, order).await?,
            }
        }
        let mut filter = which.which.filter();
        while which.ids.is_empty() {
            let page = host.store.list(&filter).await?;
            let Some(last) = page.last() else { break };
            filter.cursor = Cursor::After(last.id);
            for job in &page {
                let is_meant = filter.state.is_some() || filter.step.is_some();
                if is_meant || states.contains(&job.state) {
                    self.give_one(host, job.id, order).await?;
                }
            }
        }
        Ok(())
    }

    async fn give_one(&mut self, host: &Host, id: i64, order: Order) -> Result<()> {
        match host.store.order(id, order, host.policy, &operator()).await {
            Ok(job) => {
                self.done.push(json!({"id": id, "state": job.state}));
                if !self.as_json && self.printed.is_ok() {
                    // One that has its ticket isn't tried again itself.
                    let what = match job.state {
                        State::Created => "its steps",
                        state => state.name(),
                    };
                    self.printed = print(&format!("{id}: {what}\n"));
                }
            }
            Err(error @ (StoreError::NoSuch(_) | StoreError::Conflict { .. })) => {
                self.refuse(id, &Error::from(error));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn refuse(&mut self, id: i64, error: &Error) {
        report(error);
        self.refused.push(json!({"id": id, "error": error_json(error)}));
    }
}
