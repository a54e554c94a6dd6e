//! What was accepted and what became of it, on disk: the one trait that a store is used by.
//!
//! Invariants: an incident has one row, whichever way it comes in, and at most one ticket for each reason to make one. What a
//! method has returned Ok for is on disk. How a ticket's state changes is what [`crate::machine`] says, and nothing else.

mod audit;
mod back;
mod backends;
mod changes;
mod copy;
mod holds;
mod pasted;
mod place;
mod postgres;
mod reads;
mod rows;
mod sql;
mod sqlite;
mod stored;
mod tables;
#[cfg(test)]
mod tests;
mod timestamp;
mod updates;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use ticket_plugin_api::{Action, Difference, Ticket, TicketState};
use utoipa::ToSchema;

use crate::error::{Error, Kind};
pub use crate::incident::Identity;
use crate::life::{self, Snapshot};
use crate::lock::lock;
pub use crate::machine::State;
use crate::machine::{self, Doubt, Policy, Step};
use crate::sent::{Noted, Requests};
use crate::terminal::cut;
pub use audit::{By, Deed, Entries, Entry, Way};
pub use copy::{Copied, Rows, Table, copy};
pub(crate) use place::free;
pub use place::{look_at, open};
pub use postgres::Postgres;
pub use sqlite::{Found, Sqlite, inspect};
pub(crate) use sqlite::{is_locked, make_private, open_private};
use stored::Of;
pub use timestamp::Timestamp;

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

/// By how much the clock of who keeps incidents may differ from the clock of who sees them.
pub(crate) const CLOCKS: Duration = Duration::from_secs(60);

/// What is said of a try whose host is gone.
const LEFT: &str = "the host was ended, or lost its lease, during the call; there may be a ticket";
const LEFT_UPDATE: &str =
    "the host was ended, or lost its lease, during the call; the step may have been carried out";

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

impl Failure {
    /// The failure of a try whose host is gone.
    fn left(of: Of) -> Failure {
        let message = match of {
            Of::Creation => LEFT,
            Of::Update => LEFT_UPDATE,
        };
        Failure { kind: Kind::Plugin, message: message.to_owned(), help: None }
    }

    /// The failure of what was tried for too long.
    fn given_up(of: Of, step: &Step, last: &Failure) -> Failure {
        let tries = step.tries;
        let maybe = match (step.doubt, of) {
            (Doubt::None, _) => "",
            (_, Of::Creation) => " (there may be a ticket)",
            (_, Of::Update) => " (it may have been carried out)",
        };
        let message = format!("given up after {tries} tries{maybe}: {}", last.message);
        Failure::new(last.kind, &message, last.help.as_deref())
    }
}

/// An error with its others, in one text.
impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        let said = |error: &Error| {
            let cause =
                error.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static));
            with_causes(error.message.clone(), cause)
        };
        let all: Vec<String> = error.each().map(said).collect();
        Failure::new(error.kind, &all.join("; "), error.help.as_deref())
    }
}

/// As JSON.
fn text<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts, numbers and lists of them are always JSON")
}

/// A message with its causes.
fn with_causes(
    mut message: String,
    mut cause: Option<&(dyn std::error::Error + 'static)>,
) -> String {
    while let Some(why) = cause {
        message.push_str(&format!(": {why}"));
        cause = why.source();
    }
    message
}

/// An incident to be accepted.
#[derive(Debug, Clone)]
pub struct New {
    pub identity: Identity,
    /// By what plugins know the incident.
    pub key: String,
    /// When it began, as its source itself says: two incidents that began at different times are not the same one. Nothing if
    /// somebody else says it.
    pub began: String,
    /// The backend that makes its ticket.
    pub backend: String,
    /// Whether that backend was asked for by its name: its ticket is then another one than the one that every
    /// incident gets, unless both are in the same backend.
    pub is_named: bool,
    /// The incident's level: 1 is the worst. An incident without a level has a number behind all others.
    pub level: i64,
    /// The incident's JSON.
    pub incident: String,
    /// Whether somebody asked for its ticket. If not, it needs none when it has ended before that is made.
    pub wanted: bool,
    /// Whether the incident's source is to be told of the ticket.
    pub tell: bool,
    /// Whether a ticket that has failed is tried again.
    pub reopen: bool,
    /// Whether it began while this host had the store, by this host's clock: where no other host works on the store, nobody can
    /// have made its ticket before.
    pub certain: bool,
    /// When it began, if that can be told.
    pub began_at: Option<Timestamp>,
    /// Whether it goes on, as far as it says.
    pub open: bool,
    /// Whether a monitoring system tells by it how the incident is now, so that its tickets hear what changed. Else somebody asks for its
    /// ticket, and what that says otherwise changes nothing.
    pub reports: bool,
    /// Which ticket its source knows now, by its URL; empty: none. None if that isn't known.
    pub ticket_url: Option<String>,
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
}

/// The answer to an accepted incident.
#[derive(Debug)]
pub struct Accepted {
    pub job: Job,
    /// Whether this put the incident in the queue. If not, it was in the store already.
    pub new: bool,
    /// The ticket's first claim, if one was asked for and the ticket could be claimed at once.
    pub claim: Option<Claim>,
}

/// For whom tickets are claimed, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// How long nobody else takes a ticket for one that was left.
    pub lease: Duration,
    /// The policy of the backend that makes it.
    pub policy: Policy,
    /// Whether an incident that is just accepted is claimed only if it is certain that it has no ticket yet: others are looked for
    /// together.
    pub only_certain: bool,
    /// The claim is a try whether a held backend makes tickets again, and the hosts that hold it take turns in these. None: it isn't.
    pub tries: Option<Try>,
}

/// A try whether a backend that is held makes tickets again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// What the backend is held for.
    pub cause: &'static str,
    /// How long it may take. So long nobody else tries, unless it is over earlier.
    pub time: Duration,
}

/// What hosts that share a store have noted for each other of a backend that they hold, or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedHold {
    pub backend: String,
    pub cause: String,
    /// In what time the next of them may try.
    pub left: Duration,
    /// How often one has found that it makes tickets again.
    pub released: i64,
}

/// Which tickets are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    /// Those of which it is certain that there is none yet.
    Certain,
    /// Those that must be looked for.
    Uncertain,
}

/// A row that is this caller's until its lease ends.
#[derive(Debug, Clone)]
pub struct Claim {
    pub job: Job,
    /// The number of the row.
    pub step: i64,
    /// Which claim of the row this is.
    pub lease: i64,
    pub until: Until,
    /// Whether there may be a ticket already, since nobody knows what an earlier try did.
    pub unknown: bool,
    /// Since when a search that finds none is believed.
    pub settled: Timestamp,
    /// Whether it is certain that there is no ticket yet.
    pub certain: bool,
    /// Whether another backend has a row of the same key.
    pub elsewhere: bool,
    /// Since when the store knows of each ticket, if the host that has it doesn't know that.
    pub known_since: Timestamp,
    pub identity: Identity,
    /// Whether somebody asked for the ticket.
    pub wanted: bool,
    /// For how long the incident has waited since it was accepted.
    pub waited: Duration,
    /// How long ago the try before this one ended.
    pub rested: Duration,
    /// Whether it is the ticket that every incident gets, and not only one of a backend that was asked for by its name.
    pub is_main: bool,
    pub incident: String,
    /// Whether the incident has ended, as its source told.
    pub ended: bool,
    /// The ticket that the incident had in this backend before.
    pub former: Option<Ticket>,
    /// Whether the incident has changed since it was accepted, so that what the ticket is made with must be noted.
    changed: bool,
    /// What is to be done to the ticket. None: it is to be made.
    pub update: Option<Box<Update>>,
    /// Where it is noted what the try asks the ticket system for.
    pub requests: Noted,
}

/// One thing to do to a ticket after it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub action: Action,
    /// By what its comment is found on the ticket.
    pub mark: String,
    /// How the incident differs from what the ticket was told before.
    pub diff: BTreeMap<String, Difference>,
    /// What a person says, in the place of the template.
    pub said: Option<String>,
    /// What the ticket is told by it; None if a person wants it.
    told: Option<Snapshot>,
}

/// A claim, as far as its lease goes.
#[derive(Debug, Clone)]
pub struct Lease {
    of: Of,
    step: i64,
    number: i64,
    until: Until,
}

impl Claim {
    pub fn lease(&self) -> Lease {
        Lease { of: self.of(), step: self.step, number: self.lease, until: self.until.clone() }
    }

    /// In which table its step is.
    fn of(&self) -> Of {
        if self.update.is_some() { Of::Update } else { Of::Creation }
    }
}

/// When a claim's lease ends at the earliest, by this host's clock that nobody can set. It is later once the claim was renewed.
#[derive(Debug, Clone)]
pub struct Until(Arc<Mutex<Instant>>);

impl Until {
    fn new(until: Instant) -> Until {
        Until(Arc::new(Mutex::new(until)))
    }

    pub fn get(&self) -> Instant {
        *lock(&self.0)
    }

    fn renewed(&self, until: Instant) {
        *lock(&self.0) = until;
    }
}

/// What a claim led to.
#[derive(Debug, Clone)]
pub enum Outcome {
    Created {
        ticket: Ticket,
        made: bool,
    },
    /// A person has given the incident this ticket meanwhile, which is in that state if that is known.
    Pasted {
        ticket: Ticket,
        state: Option<TicketState>,
    },
    /// There is certainly no ticket yet: again after that time.
    Again {
        after: Duration,
        failure: Failure,
    },
    /// Nothing could be done for it, for what lies neither with it nor with its backend: again after that time.
    Postponed {
        after: Duration,
        failure: Failure,
    },
    /// There may be a ticket: to be looked for after that time, and not before its settling time is over.
    Unknown {
        after: Duration,
        failure: Failure,
    },
    /// It was looked for, and there is none: to be made now.
    NoTicket,
    /// The incident ended before its ticket was made, and needs none.
    Suppressed,
    Failed(Failure),
    /// There may be a ticket, and only a person can look for it.
    Lost(Failure),
    /// The update was carried out, and the ticket is in that state.
    Done {
        state: TicketState,
        warnings: Vec<String>,
    },
    /// Nothing was written, since the ticket was in that state.
    Needless {
        state: TicketState,
    },
    /// Nothing was done, since the incident isn't any more as the ticket was to be told.
    Overtaken,
}

impl Outcome {
    /// Why there is no ticket yet, if something failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Outcome::Again { failure, .. }
            | Outcome::Postponed { failure, .. }
            | Outcome::Unknown { failure, .. } => Some(failure),
            Outcome::Failed(failure) | Outcome::Lost(failure) => Some(failure),
            Outcome::Created { .. }
            | Outcome::Pasted { .. }
            | Outcome::NoTicket
            | Outcome::Suppressed
            | Outcome::Done { .. }
            | Outcome::Needless { .. }
            | Outcome::Overtaken => None,
        }
    }

    /// Whether the ticket is tried again, or looked for, unless it was tried for long enough.
    pub fn would_go_on(&self) -> bool {
        matches!(self, Outcome::Again { .. } | Outcome::Unknown { .. })
    }

    /// What it means for the ticket's state.
    fn result(&self) -> machine::Result {
        match *self {
            Outcome::Created { .. } | Outcome::Pasted { .. } | Outcome::Done { .. } => {
                machine::Result::Created
            }
            Outcome::Again { after, .. } => machine::Result::Again(after),
            Outcome::Postponed { after, .. } => machine::Result::Postponed(after),
            Outcome::Unknown { after, .. } => machine::Result::Unknown(after),
            Outcome::NoTicket => machine::Result::NoTicket,
            Outcome::Suppressed | Outcome::Needless { .. } | Outcome::Overtaken => {
                machine::Result::Suppressed
            }
            Outcome::Failed(_) => machine::Result::Failed,
            Outcome::Lost(_) => machine::Result::Lost,
        }
    }
}

/// A ticket, as far as its incidents and what it was told of them go.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// The state that it was in when it was last written to.
    pub status: Option<TicketState>,
    /// Whether a person made it, and gave it to its incident.
    pub pasted: bool,
    /// Whether it may have been made though that failed, and only a person can look.
    pub doubtful: bool,
    /// The number of the ticket that its incident had before.
    pub former: Option<i64>,
    pub incidents: Vec<Incident>,
    pub updates: Vec<UpdateRow>,
}

/// An incident that a ticket is of.
#[derive(Debug, Clone)]
pub struct Incident {
    pub identity: Identity,
    pub key: String,
    /// How it is, as far as it was told.
    pub now: Snapshot,
}

/// What was done to a ticket after it was made, or is to be done.
#[derive(Debug, Clone)]
pub struct UpdateRow {
    pub id: i64,
    pub update: Update,
    pub state: State,
    pub accepted_at: Timestamp,
    pub changed_at: Timestamp,
    /// When it is tried again: [`Timestamp::EPOCH`] is now, None never.
    pub due_at: Option<Timestamp>,
    pub failure: Option<Failure>,
    pub warnings: Vec<String>,
    pub attempts: Vec<Attempt>,
}

/// An incident that goes on, as far as its source has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoingOn {
    /// Its number in the store.
    pub incident: i64,
    /// Its number at its source.
    pub number: String,
    /// When it began, as it said.
    pub began: String,
}

/// A ticket of an incident that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTicket {
    /// Its number in the store.
    pub id: i64,
    pub url: String,
    /// What the ticket system calls it; empty if nobody knows.
    pub remote: String,
    /// The key that it was made with.
    pub key: String,
    /// The state that it is known to be in.
    pub known: TicketState,
    pub known_by: KnownBy,
}

/// How it is known in which state a ticket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// It was believed, or this host brought it about.
    Belief,
    /// A step that was to write to it met it so, and nobody was told.
    Step,
    /// Its incident has begun again since: that it was closed before is no news.
    Before,
}

impl KnownBy {
    /// As it is kept.
    fn number(self) -> i64 {
        match self {
            KnownBy::Belief => 0,
            KnownBy::Step => 1,
            KnownBy::Before => 2,
        }
    }

    fn of(number: i64) -> KnownBy {
        match number {
            1 => KnownBy::Step,
            2 => KnownBy::Before,
            _ => KnownBy::Belief,
        }
    }
}

/// Some of a backend's tickets whose incidents go on. One that is of several incidents may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenTickets {
    pub tickets: Vec<OpenTicket>,
    /// Behind which place there may be more.
    pub next: Option<Place>,
}

/// A place in the order of incidents that go on; the default is before the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub source: String,
    pub incident: i64,
    pub ticket: i64,
}

/// A ticket's state, which is believed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its number in the store.
    pub ticket: i64,
    /// The state that was known when it was asked for, and how.
    pub known: TicketState,
    pub known_by: KnownBy,
    pub state: TicketState,
    /// What the incident's source is to be told of it.
    pub back: Option<Back>,
    /// For how long after this host wrote to a ticket the ticket system may still tell what was before.
    pub settle: Duration,
}

/// What an incident's source is to be told of its ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// What becomes of the incident.
    pub becomes: Becomes,
    /// What is said of the ticket.
    pub why: String,
}

/// What becomes of an incident whose ticket was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Becomes {
    Acknowledged,
    Ended,
}

/// An incident whose source is to be told of its ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToTellBack {
    /// Its number in the store.
    pub incident: i64,
    /// Its number at its source.
    pub number: String,
    /// When it began, as it said.
    pub began: String,
    pub back: Back,
}

/// What time has made due.
#[derive(Debug, Default)]
pub struct Advanced {
    /// Whether there is more to claim than before.
    pub changed: bool,
    /// How long until the next row is due.
    pub next: Option<Duration>,
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
    /// What it asked the ticket system for, as far as that was noted.
    pub requests: Option<Requests>,
}

/// What came of a ticket that a person gave an incident.
#[derive(Debug, Clone, PartialEq)]
pub enum Adoption {
    Adopted(Box<Job>),
    /// The incident has a ticket, or is to get one and nobody has given that up.
    HasOther,
    /// It is one that the incident had before, or can't be kept beside what there is.
    Refused,
}

/// Which rows are listed, in which order, and how many.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub backend: Option<String>,
    pub state: Option<State>,
    /// Only rows to whose tickets something was done, or is to be done, that is in this state.
    pub step: Option<State>,
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

/// Something that failed and is left to a person: a ticket's making, or what was to be done to it later.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    pub ticket: i64,
    /// The number of the step, which is one of its kind.
    pub step: i64,
    pub backend: String,
    /// What was to be done to the ticket; None: it was to be made.
    pub action: Option<Action>,
    pub changed_at: Timestamp,
    pub failure: Option<Failure>,
    /// Whether it may have been done all the same, and only a person can look.
    pub doubtful: bool,
}

/// A text that is looked for in rows, the newest first: in their incidents (of those with 64 KiB at most), keys, tickets and failures.
#[derive(Debug, Clone, Default)]
pub struct Search {
    pub text: String,
    pub backend: Option<String>,
    pub state: Option<State>,
    /// As that of [`Filter`].
    pub step: Option<State>,
    /// Only rows with a smaller number than this.
    pub before: i64,
    /// How many rows are wanted.
    pub most: usize,
}

/// What was found, and before which number it can be looked further.
#[derive(Debug, Default)]
pub struct Searched {
    pub jobs: Vec<Job>,
    pub next: Option<i64>,
}

/// How many rows were accepted in a minute that are in a state now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since 1970.
    pub minute: i64,
    pub backend: String,
    pub state: State,
    pub rows: i64,
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
    /// Try it now. What may have a ticket is looked for, and not before its settling time is over.
    Retry,
    Cancel,
}

impl Order {
    pub const fn name(self) -> &'static str {
        match self {
            Order::Retry => "retry",
            Order::Cancel => "cancel",
        }
    }
}

/// The store can't do what it was asked. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store {store} {what}")]
    Broken {
        /// Its file, or the database without its password.
        store: String,
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
    /// Nothing can be done to a ticket that isn't there.
    #[error("ticket {0} is not made yet")]
    NotMade(i64),
}

/// What a store says that takes no new incident.
const FULL: &str = "is full";
/// What a database is that gives no answer, or that is started or shut down.
const AWAY: &str = "can't be reached";
const GOING: &str = "is going down or has no room";
const FULL_HELP: &str = "free space on its disk, or raise queue.max_megabytes";

fn broken(
    store: &str,
    what: &'static str,
    help: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Broken { store: store.to_owned(), what, help, cause }
}

fn closed(store: &str) -> StoreError {
    broken(store, "is closed", "start the host again".to_owned(), None)
}

impl StoreError {
    /// The same for another who asked at the same time.
    fn again(&self) -> StoreError {
        match self {
            StoreError::Broken { store, what, help, cause } => {
                let cause = cause.as_ref().map(|cause| {
                    let cause: &(dyn std::error::Error + 'static) = cause.as_ref();
                    with_causes(cause.to_string(), cause.source()).into()
                });
                StoreError::Broken { store: store.clone(), what, help: help.clone(), cause }
            }
            StoreError::NoSuch(id) => StoreError::NoSuch(*id),
            StoreError::NotMade(id) => StoreError::NotMade(*id),
            StoreError::Conflict { id, wanted, state } => {
                StoreError::Conflict { id: *id, wanted, state: *state }
            }
        }
    }

    /// What failed, and why.
    pub(crate) fn said(&self) -> String {
        with_causes(self.to_string(), std::error::Error::source(self))
    }

    /// Whether only room is lacking: what becomes of the incidents in the store is recorded all the same.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Broken { what: FULL, .. })
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let message = error.to_string();
        match error {
            // It may be there in a moment, without that anybody changes the settings.
            StoreError::Broken { what: AWAY | GOING, help, cause, .. } => {
                Error { cause, kind: Kind::Client, ..Error::settings(message).help(help) }
            }
            StoreError::Broken { help, cause, .. } => {
                Error { cause, ..Error::settings(message).help(help) }
            }
            StoreError::NoSuch(_) => {
                Error::usage(message).help("`ticket-host queue list` shows what there is")
            }
            StoreError::NotMade(_) => {
                Error::usage(message).help("`ticket-host ticket show` shows why")
            }
            StoreError::Conflict { .. } => Error::usage(message),
        }
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// A ticket of which its incident's source is to hear.
#[derive(Debug, Clone, PartialEq)]
pub struct ToTell {
    /// The incident's number in the store.
    pub incident: i64,
    /// Who reported it, or nothing if nobody has said that yet: it was accepted by a host that didn't keep it.
    pub source: String,
    /// The incident's number at its source; its key, if the source isn't known.
    pub number: String,
    /// By what plugins know the incident.
    pub key: String,
    /// When it began, as it said.
    pub began: String,
    pub ticket: Ticket,
    /// The ticket that it had before, which its source may still name.
    pub former: Option<Ticket>,
}

/// Which backend makes the ticket that every incident gets.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// For incidents of that source.
    pub of: BTreeMap<String, String>,
    /// For all others, if that can be told.
    pub default: Option<String>,
}

impl Decision {
    /// The backend for an incident of that source.
    pub fn backend(&self, source: &str) -> Option<&str> {
        self.of.get(source).or(self.default.as_ref()).map(String::as_str)
    }
}

/// Where accepted incidents are kept. Several hosts may share one.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Keeps an incident. If the store has it already, gives its row. One that waits in another backend than the one that is to
    /// make its ticket now changes to that, if it certainly has no ticket yet. With a term it is claimed at once, if it is new and its ticket
    /// is that of the backend of `new`.
    async fn accept(&self, new: New, policy: Policy, claimed: Option<Term>) -> Result<Accepted>;

    /// Takes at most `most` rows of a backend that are due, the worst level first, then the oldest; of those that must be looked for since the
    /// store was opened anew, each opening's for themselves. They are `creating` now.
    async fn claim(
        &self,
        backend: &str,
        which: Which,
        most: usize,
        term: Term,
    ) -> Result<Vec<Claim>>;

    /// Notes how an incident is now that the store has, and that its tickets are to hear of it: that it ended, if `new` says so. Nothing is
    /// accepted, but a ticket that was not needed any more is needed again if it goes on. None: the store doesn't have it.
    async fn report(&self, new: New, policy: Policy) -> Result<Option<i64>>;

    /// Notes that an incident has ended of which its source says no more.
    async fn incident_ended(&self, incident: i64) -> Result<()>;

    /// The tickets of an incident, but not those that it had before: the newest twenty.
    async fn tickets_of(&self, incident: i64) -> Result<Vec<Job>>;

    /// Takes at most `most` things to do to a backend's tickets: first what is due again, then what its tickets are to be told by `life`. What is
    /// to be told is sealed by that: what changes from then on is another update.
    async fn claim_updates(
        &self,
        backend: &str,
        most: usize,
        term: Term,
        life: Arc<life::Terms>,
    ) -> Result<Vec<Claim>>;

    /// Puts something that a person wants to be done to a ticket in its line.
    ///
    /// # Errors
    /// There is no such ticket, or it isn't made.
    async fn add_update(
        &self,
        ticket: i64,
        action: Action,
        said: String,
        policy: Policy,
        by: &By,
    ) -> Result<i64>;

    /// A person says that an incident's ticket is this one.
    ///
    /// # Errors
    /// There is no such row, it has its ticket, or is being worked on.
    async fn adopt(&self, id: i64, ticket: Ticket, by: &By) -> Result<Job>;

    /// A person has given an incident a ticket in the backend of `new`, which is in that state. It is that of the incident from now on, and of
    /// others that have it.
    async fn adopt_pasted(
        &self,
        new: New,
        ticket: Ticket,
        state: TicketState,
        policy: Policy,
    ) -> Result<Adoption>;

    /// The tries of an update.
    async fn update_attempts(&self, update: i64) -> Result<Vec<Attempt>>;

    /// What is known of a ticket beside its making.
    async fn life(&self, ticket: i64) -> Result<Life>;

    /// At most `most` incidents of a source that have a ticket and go on, behind the number `after` in the store.
    async fn going_on(&self, source: &str, after: i64, most: i64) -> Result<Vec<GoingOn>>;

    /// At most `most` of a backend's tickets whose incidents go on, behind that place.
    async fn open_tickets(&self, backend: &str, after: &Place, most: i64) -> Result<OpenTickets>;

    /// Notes in which state a ticket is, and what its incidents' source is to be told of that. False, and nothing is noted, if another state is
    /// known of it by now, or this host closes or opens it at the moment.
    async fn sighted(&self, sighting: Sighting) -> Result<bool>;

    /// At most `most` incidents of Argus's that it is to be told something of their tickets, behind the number `after` in the store.
    async fn to_tell_back(&self, after: i64, most: i64) -> Result<Vec<ToTellBack>>;

    /// Notes that an incident's source knows what it was to be told of its ticket, if that still is this.
    async fn told_back(&self, to_tell: ToTellBack) -> Result<()>;

    /// How many bytes new incidents may take until none is accepted. None: that isn't bounded.
    async fn room(&self) -> Result<Option<i64>>;

    /// How many tickets, and updates of these, each backend has that aren't done, in each of those states.
    async fn unfinished(&self) -> Result<[Vec<Count>; 2]>;

    /// How many updates each backend has in each state.
    async fn update_counts(&self) -> Result<Vec<Count>>;

    /// Ends a claim. None means that the claim's lease was over, and that nothing was changed. It may wait some milliseconds for
    /// other writes, with which it is committed; what this store reads meanwhile is as if it were done.
    async fn settle(
        &self,
        claim: Arc<Claim>,
        started_at: Timestamp,
        outcome: Outcome,
        policy: Policy,
    ) -> Result<Option<Job>>;

    /// Has leases last for that time from now on. What was ended meanwhile, or taken for left, stays so.
    async fn renew(&self, leases: Arc<[Lease]>, time: Duration) -> Result<()>;

    /// Does what time has made due: rows become claimable, and leases end.
    async fn advance(&self) -> Result<Advanced>;

    /// A person's order. Returns the row as it is then.
    async fn order(&self, id: i64, order: Order, policy: Policy, by: &By) -> Result<Job>;

    /// Keeps that somebody did something. What the orders above do they keep themselves, in one write.
    async fn keep_deed(&self, deed: Deed) -> Result<()>;

    /// What was done, and by whom: the newest first.
    async fn deeds(&self, which: &Entries) -> Result<Vec<Entry>>;

    /// Puts what failed for one of the reasons back in the queue of a backend; how many. What may have a
    /// ticket is looked for, and not before its settling time is over.
    async fn reopen(&self, backend: &str, kinds: &[Kind], policy: Policy) -> Result<u64>;

    /// Makes due what waits in the queue of a backend since a try failed for one of the reasons, within that time; how many. What
    /// may have a ticket is looked for no earlier than its settling time is over.
    async fn hasten(&self, backend: &str, kinds: &[Kind], within: Duration) -> Result<u64>;

    /// Gives the tickets that every incident gets to the backends that are to make them now, where they wait or failed in another
    /// one and there is certainly none yet. Gives how many left each backend.
    async fn reassign(&self, decision: &Decision, policy: Policy) -> Result<Vec<(String, u64)>>;

    async fn get(&self, id: i64) -> Result<Option<Job>>;

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>>;

    async fn list(&self, filter: &Filter) -> Result<Vec<Job>>;

    async fn counts(&self) -> Result<Vec<Count>>;

    /// Looks at a few hundred rows for a text, and for a bounded time.
    async fn search(&self, search: &Search) -> Result<Searched>;

    /// Tries those of these again that are still failed, and no other steps of their tickets; how many.
    async fn retry_failed(&self, failed: &[Failed], policy: Policy, by: &By) -> Result<u64>;

    /// What failed in a backend, in the making of tickets and after it: of each the newest `most`.
    async fn failed(&self, backend: &str, most: i64) -> Result<Vec<Failed>>;

    /// What was accepted since then, by minutes: of the newest hundred thousand rows.
    async fn minutes(&self, since: Timestamp) -> Result<Vec<Minute>>;

    /// The JSON of the incident that a ticket is made for, as it was told last.
    async fn incident(&self, ticket: i64) -> Result<Option<String>>;

    /// The same of some tickets, of each with its number: of those whose incidents have 64 KiB at most.
    async fn incidents(&self, tickets: &[i64]) -> Result<Vec<(i64, String)>>;

    /// At most `most` incidents of a source, or of none that is known, that have a ticket, behind the number `after` in the store, and whose source has
    /// not been told of it.
    async fn to_tell(&self, source: &str, after: i64, most: i64) -> Result<Vec<ToTell>>;

    /// Notes that an incident's source knows of the ticket.
    async fn told(&self, incident: i64) -> Result<()>;

    /// What was noted by a name.
    async fn note(&self, name: &str) -> Result<Option<String>>;

    /// Notes something by a name, in the place of what was noted before.
    async fn set_note(&self, name: &str, value: &str) -> Result<()>;

    /// Removes those of some rows behind a place, 0 being before the first, that are created, cancelled or suppressed, and that nobody has asked
    /// for in that time. Returns the next place, if there may be more behind it.
    async fn prune(&self, unseen: Duration, after: i64) -> Result<Option<i64>>;

    /// Writes to the store, to find out whether an incident would be accepted now. Fails as [`Store::accept`] would.
    async fn probe(&self) -> Result<()>;

    /// Whether the store is still where it was. Writes nothing.
    async fn look(&self) -> Result<()>;

    /// How often to look what other hosts did to the store. None: no other host works on it.
    fn shared(&self) -> Option<Duration>;

    /// Returns when another host has said that there is more to claim. It may not be told, and has to look.
    async fn woken(&self);

    /// Whether this host, of that name among those that share the store, does from now on, for that time, what one host does for
    /// all of them.
    async fn lead(&self, host: &str, time: Duration) -> Result<bool>;

    /// Takes so many turns of a backend's requests, one `interval` after the other, where several hosts share its limit: how long until the first. None:
    /// that would be later than in `most`, and nothing was taken.
    async fn take_turns(
        &self,
        backend: &str,
        interval: Duration,
        turns: u32,
        most: Duration,
    ) -> Result<Option<Duration>>;

    /// Notes for other hosts that a backend's ticket system wants to be left alone for that time.
    async fn set_pause(&self, backend: &str, time: Duration) -> Result<()>;

    /// The backends whose ticket systems want to be left alone now, and for how long, as far as hosts were told.
    async fn pauses(&self) -> Result<Vec<(String, Duration)>>;

    /// Notes when the next of the hosts that hold a backend for a cause may try whether it makes tickets again: after that time. With `ends`
    /// this host's own try ended; without, a moment that was noted before, and is still to come, stays.
    async fn hold(
        &self,
        backend: &str,
        cause: &'static str,
        time: Duration,
        ends: bool,
    ) -> Result<()>;

    /// Notes that a backend which this host held makes tickets again: how often that was noted by now.
    async fn release(&self, backend: &str, cause: &'static str) -> Result<i64>;

    /// What hosts have noted of the backends that they hold, or held.
    async fn holds(&self) -> Result<Vec<SharedHold>>;

    /// What people call the store.
    fn called(&self) -> &str;

    /// Whether it has no incidents.
    async fn is_empty(&self) -> Result<bool>;

    /// The names of all that was noted.
    async fn notes(&self) -> Result<Vec<String>>;

    /// Some rows of a table behind the number `after`, for another store, and the number behind which there may be more.
    async fn export(&self, table: &'static Table, after: i64) -> Result<Option<(Rows, i64)>>;

    /// Writes rows of another store.
    async fn import(&self, rows: Rows) -> Result<()>;

    /// Ends all work on the store. A file then has everything.
    async fn close(&self);
}
