//! What a ticket is told of its incident after it was made: decided, and nothing done.
//!
//! Nothing here knows a store, a network or a clock. Invariants: what was told once is not told again; a ticket that is closed is
//! never commented on; what was deleted, or belongs to another project, is left alone.

mod belief;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

pub use belief::{Belief, MANY, Seen, Sight, Witness};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use snapshot::Snapshot;
use ticket_plugin_api::{Action, TicketState};

use crate::machine::Moment;

/// What becomes of a ticket whose incident changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnChange {
    /// It gets a comment when the level or the description changes.
    #[default]
    Comment,
    /// It is told nothing of that.
    Nothing,
}

/// What becomes of a ticket whose incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnEnd {
    /// It gets a comment, and a person closes it.
    #[default]
    Comment,
    /// It is closed with a comment, if the incident is still ended after `close_after`.
    Close,
    /// It is told nothing of that, nor that the incident begins again.
    Nothing,
}

/// A state of a ticket in which it is not opened again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NeverReopen {
    /// It was done: resolved or closed.
    Closed,
    /// It was closed and not done: rejected, a duplicate.
    Cancelled,
}

/// What becomes of an incident whose ticket a person closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnTicketClosed {
    /// It goes on as it did.
    #[default]
    Nothing,
    /// It is acknowledged at its source: somebody has seen to it.
    Ack,
    /// It is ended at its source.
    End,
}

/// What becomes of a ticket that a person made, and whose URL a person gave to its incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnTicketPasted {
    /// It is left alone.
    Nothing,
    /// It gets the comments that a ticket of the host's own gets. People close it, and open it again.
    #[default]
    Comment,
    /// It is treated as a ticket of the host's own.
    Close,
}

/// A state of a ticket that counts as closed for its incident.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ClosedState {
    /// It was done: resolved or closed.
    Closed,
    /// It was closed and not done: rejected, a duplicate.
    Cancelled,
    /// It was deleted.
    Gone,
}

impl ClosedState {
    fn of(state: TicketState) -> Option<ClosedState> {
        match state {
            TicketState::Closed => Some(ClosedState::Closed),
            TicketState::Cancelled => Some(ClosedState::Cancelled),
            TicketState::Gone => Some(ClosedState::Gone),
            TicketState::Open | TicketState::Foreign | TicketState::Unknown => None,
        }
    }
}

/// What a backend's tickets are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub on_change: OnChange,
    /// How long a ticket is told nothing more of changes after it was told something.
    pub quiet: Duration,
    pub on_end: OnEnd,
    /// How long after its incident's end a ticket is closed.
    pub close_after: Duration,
    /// For how long a closed ticket is opened again when its incident begins again; after that it gets a new ticket.
    pub reopen_within: Duration,
    pub never_reopen: BTreeSet<NeverReopen>,
    pub on_ticket_closed: OnTicketClosed,
    /// In which states a ticket counts as closed for that.
    pub closed_states: BTreeSet<ClosedState>,
    pub on_ticket_pasted: OnTicketPasted,
}

impl Default for Policy {
    fn default() -> Policy {
        const MINUTES: u64 = 60;
        Policy {
            on_change: OnChange::default(),
            quiet: Duration::from_secs(15 * MINUTES),
            on_end: OnEnd::default(),
            close_after: Duration::from_secs(15 * MINUTES),
            reopen_within: Duration::from_secs(24 * 60 * MINUTES),
            never_reopen: BTreeSet::from([NeverReopen::Cancelled]),
            on_ticket_closed: OnTicketClosed::default(),
            closed_states: BTreeSet::from([ClosedState::Closed, ClosedState::Cancelled]),
            on_ticket_pasted: OnTicketPasted::default(),
        }
    }
}

impl Policy {
    /// What becomes of the incident of a ticket that is in this state from now on, which this host didn't bring about.
    pub fn of_closed(&self, state: TicketState) -> OnTicketClosed {
        let counts =
            ClosedState::of(state).is_some_and(|state| self.closed_states.contains(&state));
        if counts { self.on_ticket_closed } else { OnTicketClosed::Nothing }
    }

    /// Whether tickets are told anything at all.
    pub fn tells(&self) -> bool {
        self.on_change != OnChange::Nothing || self.on_end != OnEnd::Nothing
    }
}

/// For how long it is taken for granted that a ticket which was closed still is.
pub const TRUST: Duration = Duration::from_secs(60 * 60);

/// What can be done to a backend's tickets: what its policy wants, and its plugin is able to.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    pub policy: Policy,
    pub actions: Vec<Action>,
}

impl Terms {
    /// Whether this can be done to a ticket, and is the host's to do.
    fn can(&self, known: &Known, action: Action) -> bool {
        let is_allowed = !known.is_pasted
            || action == Action::Comment
            || self.policy.on_ticket_pasted == OnTicketPasted::Close;
        is_allowed && self.actions.contains(&action)
    }
}

/// A ticket, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// What it was told last, or made with.
    pub told: Snapshot,
    /// When it was told that.
    pub told_at: Option<Moment>,
    /// When it was last told that its incident ended, or began again.
    pub turned_at: Option<Moment>,
    /// The state that it was in when it was last written to.
    pub state: TicketState,
    /// Since when that is known.
    pub since: Moment,
    /// Whether it is a person's, who gave it to its incident.
    pub is_pasted: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing, until something changes.
    Rest,
    /// Nothing before that moment; then it is decided anew.
    Wait(Moment),
    /// Nothing, and what is so now counts as told.
    Note,
    /// A step.
    Do(Action),
    /// A new ticket, which links this one.
    Successor,
}

/// What is to be done for a ticket of incidents that are `now` so, and ended then if they did.
pub fn plan(known: &Known, now_is: &Snapshot, ended: Moment, terms: &Terms, now: Moment) -> Plan {
    if *now_is == known.told {
        return Plan::Rest;
    }
    if known.is_pasted && terms.policy.on_ticket_pasted == OnTicketPasted::Nothing {
        return Plan::Note;
    }
    let turns = known.told.open != now_is.open;
    if turns && terms.policy.on_end == OnEnd::Nothing {
        return Plan::Note;
    }
    let begins = turns && now_is.open;
    // A person may have opened it again: the plugin looks, and writes nothing to one that is closed.
    let is_trusted = begins || now.since(known.since) < TRUST;
    let state = match known.state {
        TicketState::Closed | TicketState::Cancelled if !is_trusted => TicketState::Unknown,
        state => state,
    };
    match state {
        TicketState::Open | TicketState::Unknown if turns => {
            of_turn(known, now_is, ended, terms, now)
        }
        TicketState::Open | TicketState::Unknown if now_is.open => of_change(known, terms, now),
        TicketState::Closed | TicketState::Cancelled if begins => again(known, terms, now),
        // A person has said that it is the incident's, wherever it is.
        TicketState::Foreign if known.is_pasted => Plan::Note,
        TicketState::Gone | TicketState::Foreign if begins => Plan::Successor,
        // What an ended incident says, and what a ticket that nobody reads is about, is known and not told.
        _ => Plan::Note,
    }
}

fn of_change(known: &Known, terms: &Terms, now: Moment) -> Plan {
    match terms.policy.on_change {
        OnChange::Comment if terms.can(known, Action::Comment) => {
            after(known.told_at, terms, now, Plan::Do(Action::Comment))
        }
        OnChange::Comment | OnChange::Nothing => Plan::Note,
    }
}

/// The incident of an open ticket ended, or began again.
fn of_turn(known: &Known, now_is: &Snapshot, ended: Moment, terms: &Terms, now: Moment) -> Plan {
    if !now_is.open && terms.policy.on_end == OnEnd::Close && terms.can(known, Action::Close) {
        let due = ended + terms.policy.close_after;
        return if due <= now { Plan::Do(Action::Close) } else { Plan::Wait(due) };
    }
    match terms.can(known, Action::Comment) {
        true => after(known.turned_at, terms, now, Plan::Do(Action::Comment)),
        false => Plan::Note,
    }
}

/// The incident begins again, and its ticket is closed.
fn again(known: &Known, terms: &Terms, now: Moment) -> Plan {
    let Policy { reopen_within, never_reopen, .. } = &terms.policy;
    let is_kept = match known.state {
        TicketState::Cancelled => never_reopen.contains(&NeverReopen::Cancelled),
        _ => never_reopen.contains(&NeverReopen::Closed),
    };
    let is_recent = now.since(known.since) < *reopen_within;
    if is_recent && !is_kept && terms.can(known, Action::Reopen) {
        Plan::Do(Action::Reopen)
    } else {
        Plan::Successor
    }
}

/// The plan, once the ticket has been told nothing of that kind for long enough.
fn after(last: Option<Moment>, terms: &Terms, now: Moment, plan: Plan) -> Plan {
    match last.map(|last| last + terms.policy.quiet) {
        Some(due) if due > now => Plan::Wait(due),
        _ => plan,
    }
}
