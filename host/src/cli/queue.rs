//! `ticket-host queue`: what was accepted and what became of it, on the store itself.

mod list;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::output::{error_json, print, print_json};
use super::{note, report};
use crate::config::QueueConfig;
use crate::control;
use crate::error::{Error, Result};
use crate::machine::Policy;
use crate::serve::JobView;
use crate::store::{self, Cursor, Filter, Job, Order, Sqlite, State, Store, StoreError};
use crate::terminal::safe;

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
const MIGRATE_EXAMPLES: &str = "\
Examples:
  ticket-host queue migrate
  ticket-host queue migrate --print | psql --set ON_ERROR_STOP=1 tickets";
const CANCEL_EXAMPLES: &str = "\
Examples:
  ticket-host queue cancel 17
  ticket-host queue cancel --state queued --backend noc-rt";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(list::Arguments),
    /// Show one ticket with all its tries. Times are in UTC
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its number, as `queue list` shows it
        id: i64,
    },
    /// Try tickets now: also what failed, was cancelled or suppressed
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
    /// With this key
    #[arg(long)]
    key: Option<String>,
}

/// Some by number, or all of a kind.
#[derive(Debug, clap::Args)]
pub(super) struct Several {
    /// Their numbers; what is said beside them must be true of each
    #[arg(required_unless_present_any = ["backend", "state", "key"])]
    ids: Vec<i64>,
    #[command(flatten)]
    which: Which,
}

fn state(name: &str) -> std::result::Result<State, String> {
    State::of(name).ok_or_else(|| {
        let all: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
        format!("a state is one of {}", all.join(", "))
    })
}

/// Brings the tables of the config's database to this version.
async fn migrate(settings: &QueueConfig) -> Result<ExitCode> {
    if settings.database.is_none() {
        let help = "`ticket-host serve` brings it to its version, and keeps it as it was beside it";
        return Err(Error::usage("the store lies in a file").help(help));
    }
    store::open(settings).await?.close().await;
    note("the tables are of this version");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(command: &Command, program: &super::Arguments) -> Result<ExitCode> {
    if let Command::Migrate { print: true } = command {
        print(&store::script())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = program.load_config()?;
    let settings = &config.queue;
    if let Command::Migrate { .. } = command {
        return migrate(settings).await;
    }
    control::catch_up(&settings.path).await;
    // Most often it is another config's store that is meant.
    let store = store::look_at(settings).await.map_err(|error| error.at(&config.source()))?;
    let policy = Policy { retry_for: settings.retry_for, settle: settings.settle, least_tries: 1 };
    let host = Host { store, policy };
    let store = host.store.as_ref();
    match command {
        Command::List(list) => return list::run(store, &config, list, program.json).await,
        Command::Show { id } => {
            let job = store.get(*id).await?.ok_or(StoreError::NoSuch(*id))?;
            let attempts = store.attempts(*id).await?;
            if program.json {
                print_json(&json!(JobView::with(job, attempts)))?;
            } else {
                print(&show::text(&job, &attempts, &config))?;
            }
        }
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
        Command::Migrate { .. } => {}
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
struct Host {
    store: Arc<dyn Store>,
    policy: Policy,
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
            match host.store.get(*id).await?.and_then(|job| which.which.lacks(&job)) {
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
                if filter.state.is_some() || states.contains(&job.state) {
                    self.give_one(host, job.id, order).await?;
                }
            }
        }
        Ok(())
    }

    async fn give_one(&mut self, host: &Host, id: i64, order: Order) -> Result<()> {
        match host.store.order(id, order, host.policy).await {
            Ok(job) => {
                self.done.push(json!({"id": id, "state": job.state}));
                if !self.as_json && self.printed.is_ok() {
                    self.printed = print(&format!("{id}: {}\n", job.state.name()));
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
