//! `ticket-host queue`: what was accepted and what became of it, on the store itself.

use std::process::ExitCode;

use serde_json::json;

use super::print;
use crate::error::{Error, Result};
use crate::serve::JobView;
use crate::store::{Filter, Job, Order, Sqlite, State, Store, StoreError, Timestamp};
use crate::terminal::safe;

/// Rows that are read at a time.
const PAGE: i64 = 500;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List tickets, oldest first
    #[command(after_help = super::EXIT_CODES)]
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one ticket with all its tries, as JSON
    Show { id: i64 },
    /// Try tickets now: also what failed or was cancelled
    Retry {
        #[command(flatten)]
        which: Several,
    },
    /// Never try tickets again, until somebody says otherwise
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
    /// In this state: queued, creating, unknown, created, failed or cancelled
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// With this key
    #[arg(long)]
    key: Option<String>,
}

/// Some by number, or all of a kind.
#[derive(Debug, clap::Args)]
#[command(after_help = super::EXIT_CODES)]
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

pub(super) async fn run(command: &Command, program: &super::Arguments) -> Result<ExitCode> {
    let config = program.load_config()?;
    let settings = &config.queue;
    let store = Sqlite::open(&settings.path, settings.max_bytes).await;
    // Most often it is another config's store that is meant.
    let store = store.map_err(|error| Error::from(error).at(&config.source()))?;
    match command {
        Command::List { which, limit, json } => {
            let most = i64::try_from(*limit).unwrap_or(i64::MAX);
            let jobs = store.list(&Filter { most, ..which.filter() }).await?;
            if *json {
                let views: Vec<JobView> = jobs.into_iter().map(JobView::from).collect();
                print(&format!("{:#}\n", json!(views)));
            } else {
                print(&safe(&table(&jobs)));
            }
        }
        Command::Show { id } => {
            let job = store.get(*id).await?.ok_or(StoreError::NoSuch(*id))?;
            let view = JobView::with(job, store.attempts(*id).await?);
            print(&format!("{:#}\n", json!(view)));
        }
        Command::Retry { which } => {
            let until = Timestamp::now() + settings.retry_for;
            let order = Order::Retry { until, settle: settings.settle };
            all(&store, which, order, &[State::Queued, State::Unknown, State::Failed]).await?;
        }
        Command::Cancel { which } => {
            let states = [State::Queued, State::Unknown, State::Failed];
            all(&store, which, Order::Cancel, &states).await?;
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
            after: 0,
            most: PAGE,
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

/// Gives the order for those with the numbers, or for all of the kind that are in one of `states`,
/// unless the kind says another one. Those with the numbers must be of the kind, too.
async fn all(store: &Sqlite, which: &Several, order: Order, states: &[State]) -> Result<()> {
    let mut refused = false;
    for id in &which.ids {
        refused |= match store.get(*id).await?.and_then(|job| which.which.lacks(&job)) {
            Some(lack) => {
                super::report(&Error::usage(format!("ticket {id} {lack}")));
                true
            }
            None => !one(store, *id, order).await?,
        };
    }
    let mut filter = which.which.filter();
    while which.ids.is_empty() {
        let page = store.list(&filter).await?;
        let Some(last) = page.last() else { break };
        filter.after = last.id;
        for job in &page {
            if filter.state.is_some() || states.contains(&job.state) {
                refused |= !one(store, job.id, order).await?;
            }
        }
    }
    if refused {
        return Err(Error::usage("not all of that could be done; see above"));
    }
    Ok(())
}

/// Whether it could be done.
async fn one(store: &Sqlite, id: i64, order: Order) -> Result<bool> {
    match store.order(id, order).await {
        Ok(job) => {
            print(&format!("{id}: {}\n", job.state.name()));
            Ok(true)
        }
        Err(error @ (StoreError::NoSuch(_) | StoreError::Conflict { .. })) => {
            super::report(&Error::from(error));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn table(jobs: &[Job]) -> String {
    let mut out = String::new();
    for job in jobs {
        let view = match (&job.ticket, &job.failure) {
            (Some(ticket), _) => ticket.url.clone(),
            (None, Some(failure)) => failure.message.lines().next().unwrap_or_default().to_owned(),
            (None, None) => String::new(),
        };
        let state = job.state.name();
        out.push_str(&format!("{:>6}  {state:<9}  {}  {}  {view}\n", job.id, job.backend, job.key));
    }
    if jobs.is_empty() { "nothing\n".to_owned() } else { out }
}
