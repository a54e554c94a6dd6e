//! The store's transitions as the model calls them: as they are, or with one mistake in them.

use super::super::{Doubt, Moment, Result, State, Step};
use super::world::{LEASE, NOW, Outcome, POLICY, ticks};

/// A mistake that somebody could make: what its name says of the thing that it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    UnknownIsLater,
    UnknownIsDueAtOnce,
    LeaseIsNotChecked,
    LeaseEndIsNone,
    LeaseEndIsDueAtOnce,
    LeaseNeverEnds,
    AgainIsCertain,
    FailedIsCertain,
    CancelledIsCertain,
    GivenUpIsCertain,
    RetryIsCertain,
    RetryIsTooEarly,
    HastenIsTooEarly,
    ReopenIsCertain,
    ReopenForgetsThePerson,
    MoveIsUnchecked,
    FoundIsNotKept,
    CreatedBeginsAnew,
    TakenTwice,
    /// The host's own rule, not a transition's.
    NobodyLooksFirst,
    AcceptedIsCertain,
    OpenedIsCertain,
    FailedIsForgotten,
    AgainIsNever,
    NoneIsTheEnd,
}

impl Mutation {
    /// Those after which there can be two tickets.
    pub(super) const DOUBLES: [Mutation; 21] = [
        Mutation::UnknownIsLater,
        Mutation::UnknownIsDueAtOnce,
        Mutation::LeaseIsNotChecked,
        Mutation::LeaseEndIsNone,
        Mutation::LeaseEndIsDueAtOnce,
        Mutation::AgainIsCertain,
        Mutation::FailedIsCertain,
        Mutation::CancelledIsCertain,
        Mutation::GivenUpIsCertain,
        Mutation::RetryIsCertain,
        Mutation::RetryIsTooEarly,
        Mutation::HastenIsTooEarly,
        Mutation::ReopenIsCertain,
        Mutation::ReopenForgetsThePerson,
        Mutation::MoveIsUnchecked,
        Mutation::FoundIsNotKept,
        Mutation::CreatedBeginsAnew,
        Mutation::TakenTwice,
        Mutation::NobodyLooksFirst,
        Mutation::AcceptedIsCertain,
        Mutation::OpenedIsCertain,
    ];
    /// Those after which an incident can wait for ever, or end unseen.
    pub(super) const FORGETS: [Mutation; 4] = [
        Mutation::LeaseNeverEnds,
        Mutation::FailedIsForgotten,
        Mutation::AgainIsNever,
        Mutation::NoneIsTheEnd,
    ];
}

/// The transitions, perhaps with a mistake.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Machine {
    pub mistake: Option<Mutation>,
}

impl Machine {
    pub(super) fn has(self, mistake: Mutation) -> bool {
        self.mistake == Some(mistake)
    }

    pub(super) fn accepted(self, certain: bool) -> Step {
        Step::accepted(NOW, POLICY, certain || self.has(Mutation::AcceptedIsCertain))
    }

    /// The store was opened anew.
    pub(super) fn opened(self, step: &mut Step) {
        if !self.has(Mutation::OpenedIsCertain) {
            step.opened();
        }
    }

    pub(super) fn accepted_again(self, step: &mut Step, reopens: bool) {
        if self.has(Mutation::CreatedBeginsAnew) && step.state == State::Created {
            *step = Step { lease: step.lease, ..self.accepted(true) };
        } else if self.has(Mutation::ReopenForgetsThePerson) && step.state == State::Failed {
            step.doubt = if step.doubt == Doubt::Ask { Doubt::None } else { step.doubt };
        }
        step.accepted_again(reopens, NOW, POLICY);
    }

    pub(super) fn reopen(self, step: &mut Step) {
        if self.has(Mutation::ReopenIsCertain) && step.state == State::Failed {
            step.doubt = Doubt::None;
        }
        step.reopen(NOW, POLICY);
    }

    pub(super) fn is_ready(self, step: &Step) -> bool {
        let is_taken = step.state == State::Creating;
        step.is_ready() || self.has(Mutation::TakenTwice) && is_taken
    }

    pub(super) fn claim(self, step: &mut Step) {
        if self.has(Mutation::TakenTwice) {
            (step.state, step.due) = (State::Queued, Some(Moment::NOW));
        }
        step.claim(NOW, ticks(LEASE), POLICY);
    }

    pub(super) fn settle(self, step: &mut Step, lease: i64, outcome: Outcome) -> bool {
        let lease = if self.has(Mutation::LeaseIsNotChecked) { step.lease } else { lease };
        if self.has(Mutation::UnknownIsDueAtOnce) {
            step.settle = ticks(0);
        }
        let done = step.settle(lease, self.result(outcome), NOW, POLICY);
        match outcome {
            Outcome::Again if done && self.has(Mutation::AgainIsCertain) => {
                (step.state, step.doubt) = (State::Queued, Doubt::None);
            }
            Outcome::Again if done && self.has(Mutation::AgainIsNever) => step.due = None,
            Outcome::Failed if done && self.has(Mutation::FailedIsCertain) => {
                step.doubt = Doubt::None;
            }
            Outcome::Unknown | Outcome::Again
                if done && step.state == State::Failed && self.has(Mutation::GivenUpIsCertain) =>
            {
                step.doubt = Doubt::None;
            }
            Outcome::NoTicket if done && self.has(Mutation::NoneIsTheEnd) => {
                (step.state, step.due) = (State::Created, None);
            }
            _ => {}
        }
        done
    }

    fn result(self, outcome: Outcome) -> Result {
        match outcome {
            Outcome::Created if self.has(Mutation::FoundIsNotKept) => Result::NoTicket,
            Outcome::Created => Result::Created,
            Outcome::Again => Result::Again(ticks(0)),
            Outcome::Unknown if self.has(Mutation::UnknownIsLater) => Result::Again(ticks(0)),
            Outcome::Unknown => Result::Unknown(ticks(0)),
            Outcome::NoTicket => Result::NoTicket,
            Outcome::Suppressed => Result::Suppressed,
            Outcome::Failed => Result::Failed,
            Outcome::Lost => Result::Lost,
        }
    }

    pub(super) fn time_came(self, step: &mut Step) {
        let is_taken = step.state == State::Creating;
        if is_taken && self.has(Mutation::LeaseNeverEnds) {
            return;
        }
        step.time_came(NOW);
        if is_taken && step.state != State::Creating {
            self.lease_was_over(step);
        }
    }

    /// The one host knows that whoever held the claim is gone.
    pub(super) fn lease_over(self, step: &mut Step) {
        if step.state == State::Creating && !self.has(Mutation::LeaseNeverEnds) {
            step.lease_over(NOW);
            self.lease_was_over(step);
        }
    }

    fn lease_was_over(self, step: &mut Step) {
        if self.has(Mutation::LeaseEndIsNone) {
            (step.state, step.doubt) = (State::Queued, Doubt::None);
        } else if self.has(Mutation::LeaseEndIsDueAtOnce) {
            step.due = Some(Moment::NOW);
        }
    }

    /// What it waited for has come, such as the ticket system.
    pub(super) fn hasten(self, step: &mut Step) {
        if self.has(Mutation::HastenIsTooEarly) && step.state == State::Unknown {
            step.settled = NOW;
        }
        step.hasten(NOW);
    }

    pub(super) fn retry(self, step: &mut Step) {
        let is_finished = matches!(step.state, State::Creating | State::Created);
        if self.has(Mutation::RetryIsCertain) && !is_finished {
            step.doubt = Doubt::None;
        }
        if self.has(Mutation::RetryIsTooEarly) {
            step.settled = NOW;
        }
        // What can't be tried again stays as it is, and its person is told.
        let _ = step.retry(NOW, POLICY);
    }

    pub(super) fn cancel(self, step: &mut Step) {
        if step.cancel().is_ok() && self.has(Mutation::CancelledIsCertain) {
            step.doubt = Doubt::None;
        }
    }

    pub(super) fn change_backend(self, step: &mut Step) -> bool {
        let waits = matches!(step.state, State::Queued | State::Unknown | State::Failed);
        if waits && self.has(Mutation::MoveIsUnchecked) {
            (step.state, step.doubt) = (State::Queued, Doubt::None);
        }
        step.change_backend(NOW, POLICY)
    }

    /// Whether the store removes such a row some day, without a word.
    pub(super) fn is_removed(self, step: &Step) -> bool {
        match step.state {
            State::Created | State::Cancelled | State::Suppressed => true,
            State::Failed => self.has(Mutation::FailedIsForgotten),
            State::Queued | State::Creating | State::Unknown => false,
        }
    }
}
