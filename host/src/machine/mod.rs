//! What becomes of a ticket that is to be made: its states, and every change from one to the next.
//!
//! Nothing here knows a store, a network or a clock: who calls says what time it is, and keeps what comes out. `model`
//! walks through everything that can happen to two hosts, and finds that no second ticket comes of it.
//!
//! Invariants: a creation begins only under a claim, and only while there is certainly no ticket. What may have a ticket
//! is looked for, and "there is none" is believed only after the settling time. What the store can't know, since the incident
//! is older than the store's opening, is looked for, too. Only who holds the newest claim ends it.

#[cfg(test)]
mod model;
mod moment;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use moment::Moment;
pub(crate) use moment::millis;

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
    /// It ended before its ticket was made, and nobody had asked for that.
    Suppressed,
}

impl State {
    pub const ALL: [State; 7] = [
        State::Queued,
        State::Creating,
        State::Unknown,
        State::Created,
        State::Failed,
        State::Cancelled,
        State::Suppressed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Creating => "creating",
            State::Unknown => "unknown",
            State::Created => "created",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Suppressed => "suppressed",
        }
    }

    pub fn of(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it has no ticket, and gets none unless somebody asks for it again.
    pub const fn is_given_up(self) -> bool {
        matches!(self, State::Failed | State::Cancelled | State::Suppressed)
    }

    /// Whether nothing more happens to it by itself.
    pub const fn is_final(self) -> bool {
        self.is_given_up() || matches!(self, State::Created)
    }
}

/// What became so far of something that is done to a ticket after it was made: the same states, by the names that fit that.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Waits for its turn, or for its next try
    Queued,
    /// A plugin is at work on it
    Working,
    /// It may have been carried out: that will be looked for
    Unknown,
    Done,
    /// A person is needed
    Failed,
    /// A person said that it isn't done
    Cancelled,
    /// A person was faster, the ticket is gone, or the incident changed meanwhile: nothing was done
    Needless,
}

impl From<State> for StepState {
    fn from(state: State) -> StepState {
        match state {
            State::Queued => StepState::Queued,
            State::Creating => StepState::Working,
            State::Unknown => StepState::Unknown,
            State::Created => StepState::Done,
            State::Failed => StepState::Failed,
            State::Cancelled => StepState::Cancelled,
            State::Suppressed => StepState::Needless,
        }
    }
}

impl From<StepState> for State {
    fn from(state: StepState) -> State {
        match state {
            StepState::Queued => State::Queued,
            StepState::Working => State::Creating,
            StepState::Unknown => State::Unknown,
            StepState::Done => State::Created,
            StepState::Failed => State::Failed,
            StepState::Cancelled => State::Cancelled,
            StepState::Needless => State::Suppressed,
        }
    }
}

impl StepState {
    pub const fn name(self) -> &'static str {
        match self {
            StepState::Queued => "queued",
            StepState::Working => "working",
            StepState::Unknown => "unknown",
            StepState::Done => "done",
            StepState::Failed => "failed",
            StepState::Cancelled => "cancelled",
            StepState::Needless => "needless",
        }
    }
}

/// Whether there may be a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// There is certainly none, or certainly the one that is kept.
    None,
    /// There may be one, which can be looked for.
    Look,
    /// There may be one, which only a person can look for.
    Ask,
}

/// What a claim led to, as far as the ticket's state is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Result {
    /// It has its ticket.
    Created,
    /// There is certainly no ticket yet: again after that time.
    Again(Duration),
    /// Nothing could be done for it: again after that time. That was no try of it, and is never the last one.
    Postponed(Duration),
    /// There may be a ticket: to be looked for after that time, and not before its settling time is over.
    Unknown(Duration),
    /// It was looked for, and there is none: to be made now.
    NoTicket,
    /// It needs none any more.
    Suppressed,
    /// There is certainly no ticket, or it is as unknown as before whether there is, and a person is needed.
    Failed,
    /// There may be a ticket, and only a person can look for it.
    Lost,
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// For how long a ticket is tried.
    pub retry_for: Duration,
    /// How long after an unknown outcome "there is no ticket" is believed.
    pub settle: Duration,
    /// After how many tries that failed, at least, a ticket is given up: time alone, in which it may not have had its turn,
    /// gives nothing up.
    pub least_tries: i64,
}

/// The making of one ticket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Step {
    pub state: State,
    pub doubt: Doubt,
    /// Whether it is certain that there is no ticket, so that one can be made without a look. It is only for as long as the store stays open:
    /// what was closed may come back as a copy of what it was before.
    pub certain: bool,
    /// From when on a search that finds none is believed, if there is doubt.
    pub settled: Moment,
    /// When something is to be done about it: [`Moment::NOW`] is at once; while a claim is held, the end of its lease; None
    /// is never.
    pub due: Option<Moment>,
    /// From when on a try that fails is the last one.
    pub expires: Moment,
    /// Counts the claims: only who holds the last one may end it.
    pub lease: i64,
    /// Counts the tries.
    pub tries: i64,
    /// How many of them there were when it began anew.
    pub tried_before: i64,
    /// How long after the claim's end "there is no ticket" is believed, should nobody know what the claim led to. It is kept with
    /// the claim, since who notices its end may not know the backend.
    pub settle: Duration,
    /// Whether each try looks what is there and then writes what is missing, as what is done to a ticket after its making is: so each may
    /// have written something. The making of a ticket is looked for by tries that write nothing.
    pub looks_and_writes: bool,
}

impl Step {
    /// An incident was accepted. `certain` is whether it began while the store was open, so that nobody can have made its ticket before.
    pub fn accepted(now: Moment, policy: Policy, certain: bool) -> Step {
        Step {
            state: State::Queued,
            doubt: Doubt::None,
            certain,
            settled: now,
            due: Some(Moment::NOW),
            expires: now + policy.retry_for,
            lease: 0,
            tries: 0,
            tried_before: 0,
            settle: policy.settle,
            looks_and_writes: false,
        }
    }

    /// Something is to be done to a ticket that was made. That nobody has done it yet is certain for as long as the store stays open.
    pub fn of_update(now: Moment, policy: Policy) -> Step {
        Step { looks_and_writes: true, ..Step::accepted(now, policy, true) }
    }

    /// The incident came in again, and is open. What failed is tried anew if that is wanted, and what was suppressed in any
    /// case. Returns whether that changed anything.
    pub fn accepted_again(&mut self, reopens: bool, now: Moment, policy: Policy) -> bool {
        match self.state {
            State::Failed if reopens => self.reopen(now, policy),
            State::Suppressed => {
                self.begin_anew(now, policy);
                true
            }
            _ => false,
        }
    }

    /// What it failed for may be mended. What only a person can look for stays as it is. Returns whether that changed
    /// anything.
    pub fn reopen(&mut self, now: Moment, policy: Policy) -> bool {
        let changes = self.state == State::Failed && self.doubt != Doubt::Ask;
        if changes {
            self.begin_anew(now, policy);
        }
        changes
    }

    /// Whether it can be claimed.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Queued | State::Unknown) && self.due == Some(Moment::NOW)
    }

    /// Somebody takes it, until the lease ends.
    pub fn claim(&mut self, now: Moment, lease: Duration, policy: Policy) {
        debug_assert!(self.is_ready(), "only what is ready is claimed: {self:?}");
        self.state = State::Creating;
        self.due = Some(now + lease);
        self.lease += 1;
        self.tries += 1;
        self.settle = policy.settle;
    }

    /// Who holds the claim number `lease` ends it. What would be tried again fails, if it was tried for long enough and often
    /// enough. Returns false, and changes nothing, if that claim is not the newest, or its lease was taken for over: by then it
    /// counts as unknown what it led to.
    #[must_use]
    pub fn settle(&mut self, lease: i64, result: Result, now: Moment, policy: Policy) -> bool {
        if self.state != State::Creating || self.lease != lease {
            return false;
        }
        let was_search = result == Result::NoTicket && self.doubt == Doubt::None;
        match result {
            Result::Created => self.doubt = Doubt::None,
            Result::NoTicket => (self.doubt, self.certain) = (Doubt::None, true),
            Result::Unknown(_) => self.doubts(now + self.settle),
            Result::Lost => (self.doubt, self.certain) = (Doubt::Ask, false),
            // These say nothing about a ticket that there may have been before.
            Result::Again(_) | Result::Postponed(_) | Result::Suppressed | Result::Failed => {}
        }
        (self.state, self.due) = match result {
            Result::Created => (State::Created, None),
            Result::Again(after) | Result::Postponed(after) => (self.waiting(), Some(now + after)),
            // A search before that would prove nothing.
            Result::Unknown(after) => (State::Unknown, Some((now + after).max(self.settled))),
            Result::NoTicket => (State::Queued, Some(Moment::NOW)),
            Result::Suppressed => (State::Suppressed, None),
            Result::Failed | Result::Lost => (State::Failed, None),
        };
        // It is given up by a try that failed, and never because time went by.
        let goes_on = matches!(result, Result::Again(_) | Result::Unknown(_));
        let tries = self.tries - self.tried_before;
        if goes_on && self.expires <= now && tries >= policy.least_tries {
            (self.state, self.due) = (State::Failed, None);
        }
        // Neither was a try to make it.
        if was_search || matches!(result, Result::Postponed(_)) {
            self.tries -= 1;
        }
        true
    }

    /// Time has come for what was due: it can be claimed, or its lease is over, and nobody knows what that claim led to.
    pub fn time_came(&mut self, now: Moment) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        match self.state {
            State::Creating => self.lease_over(now),
            _ => self.due = Some(Moment::NOW),
        }
    }

    /// Who held the claim is gone.
    pub fn lease_over(&mut self, now: Moment) {
        if self.state != State::Creating {
            return;
        }
        self.state = State::Unknown;
        self.doubts(now + self.settle);
        self.due = Some(self.settled.max(now));
    }

    /// What it waited for has come. Returns whether it waits less than it would have.
    pub fn hasten(&mut self, now: Moment) -> bool {
        let waits = matches!(self.state, State::Queued | State::Unknown);
        let due = self.next_due(now);
        let changes = waits && self.due > Some(due);
        if changes {
            self.due = Some(due);
        }
        changes
    }

    /// A person wants it to be tried now. What only a person could look for was looked for then.
    ///
    /// # Errors
    /// It has its ticket, or is being worked on.
    pub fn retry(&mut self, now: Moment, policy: Policy) -> std::result::Result<(), State> {
        if matches!(self.state, State::Creating | State::Created) {
            return Err(self.state);
        }
        if self.doubt == Doubt::Ask {
            self.doubt = Doubt::None;
        }
        self.begin_anew(now, policy);
        Ok(())
    }

    /// A person wants it not to be tried any more.
    ///
    /// # Errors
    /// It has its ticket, is being worked on, or needs none anyhow.
    pub fn cancel(&mut self) -> std::result::Result<(), State> {
        match self.state {
            State::Queued | State::Unknown | State::Failed => {
                (self.state, self.due) = (State::Cancelled, None);
                Ok(())
            }
            other => Err(other),
        }
    }

    /// It failed, and is not done any more: something else is done in its place.
    pub fn overtake(&mut self) {
        if self.state == State::Failed {
            (self.state, self.due) = (State::Suppressed, None);
        }
    }

    /// A person says which ticket it is: it isn't made any more.
    ///
    /// # Errors
    /// It has its ticket, or is being worked on.
    pub fn adopt(&mut self) -> std::result::Result<(), State> {
        if matches!(self.state, State::Creating | State::Created) {
            return Err(self.state);
        }
        (self.state, self.doubt, self.due) = (State::Created, Doubt::None, None);
        Ok(())
    }

    /// Another backend is to make the ticket. That changes only what certainly has none and waits, or failed; returns
    /// whether it did.
    pub fn change_backend(&mut self, now: Moment, policy: Policy) -> bool {
        let changes =
            matches!(self.state, State::Queued | State::Failed) && self.doubt == Doubt::None;
        if changes {
            self.begin_anew(now, policy);
        }
        changes
    }

    /// The store was opened anew: it may be a copy of what it was before.
    pub fn opened(&mut self) {
        self.certain = false;
    }

    /// What happened meanwhile isn't all known: a person may have made the ticket, and another backend may have it.
    fn begin_anew(&mut self, now: Moment, policy: Policy) {
        self.certain = false;
        self.state = self.waiting();
        self.due = Some(self.next_due(now));
        self.expires = now + policy.retry_for;
        self.tried_before = self.tries;
    }

    /// When it can be tried next: a search that is too early would prove nothing.
    fn next_due(&self, now: Moment) -> Moment {
        let is_early = self.doubt == Doubt::Look && self.settled > now;
        if is_early { self.settled } else { Moment::NOW }
    }

    /// The state in which it waits for its next try.
    fn waiting(&self) -> State {
        if self.doubt == Doubt::Look { State::Unknown } else { State::Queued }
    }

    /// What was to be done may have been carried out. Where that was so before, this was a search, which changes nothing about it, unless it
    /// would have written.
    fn doubts(&mut self, settled: Moment) {
        self.certain = false;
        if self.doubt == Doubt::None || self.looks_and_writes {
            (self.doubt, self.settled) = (Doubt::Look, settled);
        }
    }
}
