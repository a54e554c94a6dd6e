//! What was accepted and what became of it, on disk: the one trait that a store is used by.
//!
//! Invariants: there is one row for each (backend, key). What a method has returned Ok for is on
//! disk. A row is worked on only by who holds its newest claim, and that until its lease ends: then
//! the row is `unknown`, since nobody knows what that claim led to.

mod sqlite;
mod timestamp;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use ticket_plugin_api::Ticket;
use utoipa::ToSchema;

use crate::error::{Error, Kind};
use crate::terminal::cut;
pub use sqlite::{Found, Sqlite, inspect};
pub use timestamp::Timestamp;

/// What became of an accepted incident so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its turn, or for its next try.
    Queued,
    /// A plugin is at work on it.
    Creating,
    /// There may be a ticket: it will be looked for.
    Unknown,
    /// It has its ticket.
    Created,
    /// A person is needed.
    Failed,
    /// A person said that it needs none.
    Cancelled,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Queued,
        State::Creating,
        State::Unknown,
        State::Created,
        State::Failed,
        State::Cancelled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Creating => "creating",
            State::Unknown => "unknown",
            State::Created => "created",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    pub fn of(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more happens to it by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, State::Created | State::Failed | State::Cancelled)
    }
}

/// Why a try did not give a ticket. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// What the operator does about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub help: Option<String>,
}

/// Bytes that a failure's message and help may have together.
const LONGEST_FAILURE: usize = 8 << 10;
/// Bytes that are set aside to say how many more there were.
const CUT: usize = 40;

impl Failure {
    /// A failure of at most 8 KiB.
    pub fn new(kind: Kind, message: &str, help: Option<&str>) -> Failure {
        Failure::within(LONGEST_FAILURE, kind, message, help)
    }

    /// This failure in at most so many bytes (and no fewer than 200).
    pub fn cut(&self, most: usize) -> Failure {
        Failure::within(most, self.kind, &self.message, self.help.as_deref())
    }

    fn within(most: usize, kind: Kind, message: &str, help: Option<&str>) -> Failure {
        let help = help.map(|help| cut(help, (most / 4).saturating_sub(CUT)));
        let left = most.saturating_sub(help.as_ref().map_or(0, String::len) + CUT);
        Failure { kind, message: cut(message, left), help }
    }
}

/// An error with its others, in one text.
impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        let all: Vec<String> = error.each().map(with_causes).collect();
        Failure::new(error.kind, &all.join("; "), error.help.as_deref())
    }
}

/// An error's message, with its causes.
fn with_causes(error: &Error) -> String {
    let mut message = error.message.clone();
    let mut cause = error.cause.as_deref().map(|cause| cause as &dyn std::error::Error);
    while let Some(why) = cause {
        message.push_str(&format!(": {why}"));
        cause = why.source();
    }
    message
}

/// An incident to be accepted.
#[derive(Debug, Clone)]
pub struct New {
    pub backend: String,
    pub key: String,
    /// The incident's level: 1 is the worst. An incident without a level has a number behind all others.
    pub level: i64,
    /// The incident's JSON.
    pub incident: String,
    /// Until when the host tries to make the ticket.
    pub expires_at: Timestamp,
    /// The incident's argus_url, if Argus is to be told of the ticket.
    pub tell_argus: Option<String>,
    /// Whether a ticket that is in the store and has failed is tried again.
    pub reopen: bool,
    /// If there may be a ticket, it is looked for so long after that became unknown, and not earlier.
    pub settle: Duration,
}

/// What a row says, without its incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: i64,
    pub backend: String,
    pub key: String,
    pub state: State,
    pub level: i64,
    pub accepted_at: Timestamp,
    pub changed_at: Timestamp,
    /// When it is tried again: [`Timestamp::EPOCH`] is now, None never.
    pub due_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub attempts: i64,
    pub ticket: Option<Ticket>,
    /// Whether the host made the ticket. If not, the ticket was there before.
    pub made: bool,
    pub failure: Option<Failure>,
    pub tell_argus: Option<String>,
}

/// The answer to an accepted incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    pub job: Job,
    /// Whether this put the incident in the queue. If not, it was in the store already.
    pub new: bool,
}

/// A row that is this caller's until its lease ends.
#[derive(Debug)]
pub struct Claim {
    pub job: Job,
    /// Which claim of the row this is.
    pub lease: i64,
    /// Whether there may be a ticket already.
    pub unknown: bool,
    /// Whether another backend has a row of the same key.
    pub elsewhere: bool,
    pub incident: String,
}

/// What a claim led to.
#[derive(Debug, Clone)]
pub enum Outcome {
    Created {
        ticket: Ticket,
        made: bool,
    },
    /// There is certainly no ticket yet: again at that time.
    Again {
        at: Timestamp,
        failure: Failure,
    },
    /// There may be a ticket: to be looked for at that time.
    Unknown {
        at: Timestamp,
        failure: Failure,
    },
    /// It was looked for, and there is none: to be made now.
    NoTicket,
    Failed(Failure),
    /// There may be a ticket, and only a person can look for it.
    Lost(Failure),
}

impl Outcome {
    /// Why there is no ticket yet, if something failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Outcome::Again { failure, .. } | Outcome::Unknown { failure, .. } => Some(failure),
            Outcome::Failed(failure) | Outcome::Lost(failure) => Some(failure),
            Outcome::Created { .. } | Outcome::NoTicket => None,
        }
    }
}

/// What time has made due.
#[derive(Debug, Default)]
pub struct Advanced {
    /// Whether there is more to claim than before.
    pub changed: bool,
    /// What was given up.
    pub failed: Vec<Job>,
    /// When the next row will be due.
    pub next: Option<Timestamp>,
}

/// One try, as it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub number: i64,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    /// The state that it led to.
    pub outcome: State,
    pub failure: Option<Failure>,
}

/// Which rows are listed, in which order, and how many.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub backend: Option<String>,
    pub state: Option<State>,
    pub key: Option<String>,
    /// Only rows that were accepted then or later.
    pub since: Option<Timestamp>,
    pub cursor: Cursor,
    pub most: i64,
}

/// In which order rows are listed, and from which number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The oldest first; only rows with a larger number than this.
    After(i64),
    /// The newest first; only rows with a smaller number than this.
    Before(i64),
}

impl Default for Cursor {
    fn default() -> Cursor {
        Cursor::After(0)
    }
}

/// How many rows a backend has in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub backend: String,
    pub state: State,
    pub rows: i64,
    /// When the oldest of them was accepted.
    pub oldest: Timestamp,
}

/// What a person wants of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Try it now, until that time. What may have a ticket is looked for, at the earliest `settle`
    /// after that became unknown.
    Retry {
        until: Timestamp,
        settle: Duration,
    },
    Cancel,
}

/// The store can't do what it was asked. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store {} {what}", path.display())]
    Broken {
        path: PathBuf,
        what: &'static str,
        help: String,
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    #[error("there is no ticket {0} in the store")]
    NoSuch(i64),
    /// A ticket in that state can't be retried, or cancelled.
    #[error("ticket {id} can't be {wanted}: it is {}", state.name())]
    Conflict { id: i64, wanted: &'static str, state: State },
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let message = error.to_string();
        match error {
            StoreError::Broken { help, cause, .. } => {
                Error { cause, ..Error::settings(message).help(help) }
            }
            StoreError::NoSuch(_) => {
                Error::usage(message).help("`ticket-host queue list` shows what there is")
            }
            StoreError::Conflict { .. } => Error::usage(message),
        }
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// Where accepted incidents are kept. Several hosts may share one.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Keeps an incident. If there is a row of its backend and key already, gives that.
    async fn accept(&self, new: New) -> Result<Accepted>;

    /// Takes at most `most` rows of a backend that are due, the worst level first, then the oldest. They
    /// are `creating` now.
    async fn claim(&self, backend: &str, most: usize, lease: Duration) -> Result<Vec<Claim>>;

    /// Ends a claim. None means that the claim's lease was over, and that nothing was changed.
    async fn settle(
        &self,
        claim: &Claim,
        started_at: Timestamp,
        outcome: Outcome,
    ) -> Result<Option<Job>>;

    /// Does what time has made due: rows become claimable, leases end, what is too old fails. A row
    /// whose lease ended is looked for after `settle`.
    async fn advance(&self, settle: Duration) -> Result<Advanced>;

    /// A person's order. Returns the row as it is then.
    async fn order(&self, id: i64, order: Order) -> Result<Job>;

    /// Puts what failed for one of the reasons back in the queue of a backend; how many. What may have a
    /// ticket is looked for, at the earliest `settle` after it failed.
    async fn reopen(
        &self,
        backend: &str,
        kinds: &[Kind],
        until: Timestamp,
        settle: Duration,
    ) -> Result<u64>;

    /// Makes due at once what waits in the queue of a backend since a try failed for one of the reasons, at that time or
    /// later; how many.
    async fn due_now(&self, backend: &str, kinds: &[Kind], since: Timestamp) -> Result<u64>;

    async fn get(&self, id: i64) -> Result<Option<Job>>;

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>>;

    async fn list(&self, filter: &Filter) -> Result<Vec<Job>>;

    async fn counts(&self) -> Result<Vec<Count>>;

    /// At most `most` created rows, behind `after`, of which Argus has not been told.
    async fn to_tell(&self, after: i64, most: i64) -> Result<Vec<Job>>;

    /// Notes that Argus knows of the ticket.
    async fn told(&self, id: i64) -> Result<()>;

    /// Removes some of the rows that are finished and were last asked for before that time; how many.
    async fn prune(&self, before: Timestamp) -> Result<u64>;

    /// Writes to the store, to find out whether that can be done.
    async fn probe(&self) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_cut_to_eight_kilobytes_and_says_so() {
        let long = |letter: &str| letter.repeat(1 << 20);
        for (message, help) in [
            (long("m"), None),
            (long("m"), Some(long("h"))),
            ("short".to_owned(), Some(long("h"))),
            (long("\u{20ac}"), Some(long("\u{20ac}"))),
        ] {
            let mut error = Error::plugin("it failed").cause(std::io::Error::other(message));
            error.help = help;
            let failure = Failure::from(&error);
            let bytes = failure.message.len() + failure.help.as_ref().map_or(0, String::len);
            assert!(bytes <= 8 << 10, "{bytes}");
            assert!(failure.message.starts_with("it failed: "));
            let all = format!("{}{}", failure.message, failure.help.unwrap_or_default());
            assert!(all.ends_with(" bytes more)"), "{}", &all[all.len() - 40..]);
            assert!(failure.kind == Kind::Plugin);
        }
        let mut error = Error::usage("the reason").cause(std::io::Error::other("its cause"));
        error.others = vec![Error::plugin("another"), Error::settings("a third").help("more")];
        let failure = Failure::from(&error);
        assert_eq!(failure.message, "the reason: its cause; another; a third");
        assert_eq!(failure.kind, Kind::Usage);
        error.others = (0..1000).map(|_| Error::plugin("x".repeat(100))).collect();
        let failure = Failure::from(&error);
        assert!(failure.message.len() <= 8 << 10 && failure.message.ends_with(" bytes more)"));
        let error = Error::usage("the reason").help("what to do");
        let failure = Failure::from(&error);
        assert_eq!(
            (failure.message.as_str(), failure.help.as_deref()),
            ("the reason", Some("what to do"))
        );
    }
}
