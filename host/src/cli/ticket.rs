//! `ticket-host ticket`: one ticket, and what a person wants to be done to it.

use std::process::ExitCode;

use serde_json::json;
use ticket_plugin_api::Action;

use super::output::{print, print_json};
use super::queue::{Host, show};
use super::user::operator;
use crate::error::Result;
use crate::queue::believe;
use crate::store::{Deed, StoreError, Timestamp};
use crate::tickets;

const SHOW_EXAMPLES: &str = "\
Examples:
  ticket-host ticket show 17
  ticket-host ticket show 17 --json";
const COMMENT_EXAMPLES: &str = "\
Examples:
  ticket-host ticket comment 17 'The provider knows of it'";
const CLOSE_EXAMPLES: &str = "\
Examples:
  ticket-host ticket close 17
  ticket-host ticket close 17 'A planned outage'";
const BELIEVE_EXAMPLES: &str = "\
Examples:
  ticket-host ticket believe noc-rt";
const ADOPT_EXAMPLES: &str = "\
Examples:
  ticket-host ticket adopt 17 'https://jira.example.org/browse/NOC-7'";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show a ticket: its incidents, its tries, and all that was done to it. Times are in UTC
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its number, as `queue list` shows it
        id: i64,
    },
    /// Comment on a ticket
    ///
    /// The service does it, as reliably as it makes tickets: `ticket show` tells what became of it.
    #[command(after_help = super::with_exit_codes(COMMENT_EXAMPLES))]
    Comment {
        /// Its number, as `queue list` shows it
        id: i64,
        /// What it is told
        text: String,
    },
    /// Close a ticket, whether or not its incident has ended
    ///
    /// The service does it, as reliably as it makes tickets: `ticket show` tells what became of it.
    #[command(after_help = super::with_exit_codes(CLOSE_EXAMPLES))]
    Close {
        /// Its number, as `queue list` shows it
        id: i64,
        /// What it is told with that
        #[arg(default_value = "Closed by hand.")]
        text: String,
    },
    /// Say that so many tickets are closed or gone as a backend's ticket system tells
    ///
    /// If more than 20 are at once, the service makes nothing of it (`on_ticket_closed`) until a person has looked: a permission that was lost can
    /// look the same. `ticket_host_ticket_states_held` and the log tell that it waits for this.
    #[command(after_help = super::with_exit_codes(BELIEVE_EXAMPLES))]
    Believe {
        /// The backend, as the config names it
        backend: String,
    },
    /// Say which ticket an incident has that was made by somebody else
    ///
    /// No other ticket is made then, and what becomes of the incident is told to this one.
    #[command(after_help = super::with_exit_codes(ADOPT_EXAMPLES))]
    Adopt {
        /// The number of the ticket that wasn't made, as `queue list` shows it
        id: i64,
        /// The URL of the one that is there
        url: String,
    },
}

pub(super) async fn run(command: &Command, program: &super::Arguments) -> Result<ExitCode> {
    let config = program.load_config()?;
    let host = Host::of(&config).await?;
    match command {
        Command::Show { id } => show::run(&*host.store, &config, *id, program.json).await?,
        Command::Comment { id, text } => {
            add(&host, *id, Action::Comment, text, program.json).await?;
        }
        Command::Close { id, text } => add(&host, *id, Action::Close, text, program.json).await?,
        Command::Believe { backend } => {
            config.backend(Some(backend))?;
            let now = Timestamp::now();
            host.store.set_note(&believe(backend), &now.millis().to_string()).await?;
            let detail = format!("what {backend} tells of tickets");
            let what = "believe";
            host.store.keep_deed(Deed { by: operator(), what, ticket: None, detail }).await?;
            match program.json {
                true => print_json(&json!({"backend": backend, "believed_at": now.rfc3339()}))?,
                false => print(&format!("{backend}: what it tells of tickets is believed\n"))?,
            }
        }
        Command::Adopt { id, url } => {
            let job = host.store.get(*id).await?.ok_or(StoreError::NoSuch(*id))?;
            let backend = config.backends.get(&job.backend);
            let scheme = backend.map_or("https", |backend| backend.endpoint.scheme());
            let ticket = tickets::made_by_hand(url, scheme)?;
            let job = host.store.adopt(*id, ticket, &operator()).await?;
            match program.json {
                true => print_json(&json!({"id": id, "state": job.state}))?,
                false => print(&format!("{id}: {}\n", job.state.name()))?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the service do something to a ticket.
async fn add(host: &Host, id: i64, action: Action, text: &str, as_json: bool) -> Result<()> {
    let text = tickets::said(text)?;
    let step = host.store.add_update(id, action, text.to_owned(), host.policy, &operator()).await?;
    match as_json {
        true => print_json(&json!({"id": id, "step": step, "action": action.name()})),
        false => print(&format!("{id}: {} {step} is in the queue\n", action.name())),
    }
}
