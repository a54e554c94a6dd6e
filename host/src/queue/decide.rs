//! What becomes of a ticket after a try, and what the try told about the ticket system: decided, and nothing done.

use std::time::Duration;

use ticket_plugin_api::Retry;

use super::retry::Cause;
use crate::backend::gateway::LONGEST_PAUSE;
use crate::config::LookFirst;
use crate::error::Kind;
use crate::store::{Attempt, State};
use crate::tickets::Look;

/// A plugin that asks to be called again sooner is called again after this.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// A ticket whose plugin breaks is tried again so many times; when it breaks once more in a row, the ticket fails.
const BROKEN_TRIES: usize = 4;

/// What a try told about the ticket system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Up,
    /// It failed for what would fail any ticket.
    Failing(Cause),
    /// It told nothing.
    Unsaid,
}

/// What is done next about a ticket whose try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is tried again after that time.
    Again(Duration),
    /// This was no try of it, which is done after that time.
    Postpone(Duration),
    /// There may be a ticket: it is looked for after that time.
    Look(Duration),
    /// A person is needed.
    Fail,
}

impl Next {
    /// The same, after that time, or the settling time if that is longer.
    pub(super) fn with_wait(self, wait: Duration, settle: Duration) -> Next {
        match self {
            Next::Again(_) => Next::Again(wait),
            Next::Postpone(_) => Next::Postpone(wait),
            Next::Look(_) => Next::Look(settle.max(wait)),
            Next::Fail => Next::Fail,
        }
    }
}

/// A try that failed, and what is known about its ticket and its backend.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub kind: Kind,
    pub retry: Retry,
    /// How long the ticket system asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether this machine lacked what the call needed, whatever the error's kind is.
    pub is_of_machine: bool,
    /// Whether its last try failed for the settings, too, and another ticket was made with them since.
    pub is_alone: bool,
    /// Whether there may have been a ticket before this try.
    pub was_unknown: bool,
    /// Whether the gateway holds the backend's requests, since the ticket system asked for that.
    pub is_paused: bool,
    /// How long until the backend's next request can leave.
    pub next_turn: Duration,
    /// Whether the backend has other settings, or another plugin, by now.
    pub is_replaced: bool,
    /// How many tries in a row before this one ended with a broken plugin.
    pub broke_before: usize,
    /// How long a ticket that was tried so often waits, if nobody asks for anything else.
    pub wait: Duration,
    /// How long after an unknown outcome "there is no ticket" is believed.
    pub settle: Duration,
}

/// Decides about a ticket whose try failed.
pub(super) fn decide(trouble: &Trouble) -> (Next, Health) {
    (next(trouble), health(trouble))
}

fn next(trouble: &Trouble) -> Next {
    let asked = trouble.retry_after.filter(|asked| !asked.is_zero());
    let wait = asked.map_or(trouble.wait, |asked| asked.clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    // What the ticket system asked for counts though its plugin may not have passed it on.
    let wait = wait.max(trouble.next_turn);
    // A search that this machine couldn't do leaves everything as it was.
    let did_nothing = trouble.was_unknown || trouble.retry != Retry::Unknown;
    match (trouble.retry, trouble.kind) {
        _ if trouble.is_of_machine && did_nothing => Next::Postpone(wait),
        // It was looked for, and a person must do something before that can succeed.
        (Retry::Unknown, Kind::Creation) if trouble.was_unknown => Next::Fail,
        (Retry::Unknown, Kind::Settings) if trouble.was_unknown && trouble.is_alone => Next::Fail,
        (Retry::Unknown, _) => Next::Look(trouble.settle.max(wait)),
        (Retry::Later, _) | (_, Kind::Client) => Next::Again(wait),
        (Retry::Never, Kind::Settings | Kind::Import) if trouble.is_replaced => {
            Next::Again(Duration::ZERO)
        }
        // It concerns all tickets of the backend, which wait for a person: see `Health::Failing`.
        (Retry::Never, Kind::Settings) if !trouble.is_alone => Next::Again(wait),
        (Retry::Never, Kind::Plugin | Kind::Import) if trouble.broke_before < BROKEN_TRIES => {
            Next::Again(wait)
        }
        (Retry::Never, _) => Next::Fail,
    }
}

fn health(trouble: &Trouble) -> Health {
    match (trouble.kind, trouble.retry_after) {
        _ if trouble.is_of_machine => Health::Failing(Cause::Machine),
        // It said when to come back: the gateway holds all calls until then.
        (Kind::Client, Some(_)) => Health::Unsaid,
        // Its requests had no turn within the call's time.
        (Kind::Client, None) if trouble.is_paused => Health::Unsaid,
        (Kind::Client, None) => Health::Failing(Cause::Down),
        (Kind::Settings, _) if !trouble.is_alone => Health::Failing(Cause::Settings),
        // It answered.
        (Kind::Settings | Kind::Creation, _) => Health::Up,
        (Kind::Plugin | Kind::Import | Kind::Usage | Kind::Output, _) => Health::Unsaid,
    }
}

/// Whether "there is none" was taken for granted once before for a ticket that can't be looked for. A system that makes the ticket and
/// loses its answer would else get another one each time.
pub(super) fn was_made_again(tries: &[Attempt]) -> bool {
    // The only try that leaves a ticket waiting to be made, and that didn't fail.
    tries.iter().any(|t| t.outcome == State::Queued && t.failure.is_none())
}

/// When a ticket is looked for that is about to be made: whether the store is certain that there is none, and whether another backend has a
/// row of the same key, and so may have made it in the same ticket system.
pub(super) fn look(look_first: LookFirst, certain: bool, elsewhere: bool) -> Look {
    match look_first {
        LookFirst::WhenInDoubt if certain && !elsewhere => Look::InDoubt,
        LookFirst::WhenInDoubt | LookFirst::Always => Look::First,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Failure, Timestamp};

    const DOWN: Health = Health::Failing(Cause::Down);
    const HELD: Health = Health::Failing(Cause::Settings);
    const WAIT: Duration = Duration::from_secs(4);
    const SETTLE: Duration = Duration::from_secs(10);
    const LONG: Duration = Duration::from_secs(100);

    fn trouble(kind: Kind, retry: Retry) -> Trouble {
        Trouble {
            kind,
            retry,
            retry_after: None,
            is_of_machine: false,
            is_alone: false,
            was_unknown: false,
            is_paused: false,
            next_turn: Duration::ZERO,
            is_replaced: false,
            broke_before: 0,
            wait: WAIT,
            settle: SETTLE,
        }
    }

    /// What a ticket whose try failed so comes to, if `change` is true of it beside.
    #[track_caller]
    fn comes_to(
        kind: Kind,
        retry: Retry,
        change: impl Fn(&mut Trouble),
        next: Next,
        health: Health,
    ) {
        let mut trouble = trouble(kind, retry);
        change(&mut trouble);
        assert_eq!(decide(&trouble), (next, health), "{trouble:?}");
    }

    fn as_it_is(_: &mut Trouble) {}

    #[test]
    fn a_ticket_system_that_is_down_is_tried_again_whatever_the_error_says() {
        for retry in [Retry::Later, Retry::Never] {
            comes_to(Kind::Client, retry, as_it_is, Next::Again(WAIT), DOWN);
        }
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_and_says_nothing_of_health() {
        let asks = |time| move |trouble: &mut Trouble| trouble.retry_after = Some(time);
        let again = Next::Again(LONG);
        comes_to(Kind::Client, Retry::Later, asks(LONG), again, Health::Unsaid);
        let none = asks(Duration::ZERO);
        comes_to(Kind::Client, Retry::Later, none, Next::Again(WAIT), Health::Unsaid);
        let soon = asks(Duration::from_millis(1));
        let shortest = Next::Again(SHORTEST_PAUSE);
        comes_to(Kind::Client, Retry::Later, soon, shortest, Health::Unsaid);
        let longest = Next::Again(LONGEST_PAUSE);
        comes_to(Kind::Client, Retry::Later, asks(Duration::MAX), longest, Health::Unsaid);
    }

    #[test]
    fn a_call_that_had_no_turn_says_nothing_of_health_and_waits_for_its_turn() {
        let paused = |trouble: &mut Trouble| {
            (trouble.is_paused, trouble.next_turn) = (true, LONG);
        };
        comes_to(Kind::Client, Retry::Later, paused, Next::Again(LONG), Health::Unsaid);
    }

    #[test]
    fn what_may_be_there_is_looked_for_after_the_settling_time() {
        for (kind, health) in [
            (Kind::Client, DOWN),
            (Kind::Plugin, Health::Unsaid),
            (Kind::Settings, HELD),
            (Kind::Creation, Health::Up),
        ] {
            comes_to(kind, Retry::Unknown, as_it_is, Next::Look(SETTLE), health);
        }
        let later = |trouble: &mut Trouble| trouble.next_turn = LONG;
        comes_to(Kind::Client, Retry::Unknown, later, Next::Look(LONG), DOWN);
    }

    #[test]
    fn a_search_that_only_a_person_can_mend_fails_and_others_are_made_again() {
        let unknown = |trouble: &mut Trouble| trouble.was_unknown = true;
        comes_to(Kind::Creation, Retry::Unknown, unknown, Next::Fail, Health::Up);
        comes_to(Kind::Settings, Retry::Unknown, unknown, Next::Look(SETTLE), HELD);
        let alone = |trouble: &mut Trouble| (trouble.was_unknown, trouble.is_alone) = (true, true);
        comes_to(Kind::Settings, Retry::Unknown, alone, Next::Fail, Health::Up);
        comes_to(Kind::Client, Retry::Unknown, unknown, Next::Look(SETTLE), DOWN);
        comes_to(Kind::Plugin, Retry::Unknown, unknown, Next::Look(SETTLE), Health::Unsaid);
    }

    #[test]
    fn what_the_ticket_system_refuses_fails() {
        comes_to(Kind::Creation, Retry::Never, as_it_is, Next::Fail, Health::Up);
        comes_to(Kind::Usage, Retry::Never, as_it_is, Next::Fail, Health::Unsaid);
    }

    #[test]
    fn wrong_settings_hold_the_backend_and_fail_a_ticket_only_if_others_are_made_with_them() {
        comes_to(Kind::Settings, Retry::Never, as_it_is, Next::Again(WAIT), HELD);
        let alone = |trouble: &mut Trouble| trouble.is_alone = true;
        comes_to(Kind::Settings, Retry::Never, alone, Next::Fail, Health::Up);
        let replaced = |trouble: &mut Trouble| trouble.is_replaced = true;
        let now = Next::Again(Duration::ZERO);
        comes_to(Kind::Settings, Retry::Never, replaced, now, HELD);
        comes_to(Kind::Import, Retry::Never, replaced, now, Health::Unsaid);
        comes_to(Kind::Creation, Retry::Never, replaced, Next::Fail, Health::Up);
    }

    #[test]
    fn what_this_machine_lacks_is_no_try_of_a_ticket_and_not_the_ticket_systems_fault() {
        let lacks = |trouble: &mut Trouble| {
            (trouble.is_of_machine, trouble.broke_before) = (true, 100);
        };
        let health = Health::Failing(Cause::Machine);
        comes_to(Kind::Client, Retry::Later, lacks, Next::Postpone(WAIT), health);
        comes_to(Kind::Client, Retry::Unknown, lacks, Next::Look(SETTLE), health);
        let search = |trouble: &mut Trouble| {
            (trouble.is_of_machine, trouble.was_unknown) = (true, true);
        };
        comes_to(Kind::Client, Retry::Unknown, search, Next::Postpone(WAIT), health);
    }

    #[test]
    fn a_plugin_that_breaks_gets_five_tries_in_a_row() {
        for kind in [Kind::Plugin, Kind::Import] {
            for broke_before in 0..=5 {
                let broke = |trouble: &mut Trouble| trouble.broke_before = broke_before;
                let next = if broke_before < 4 { Next::Again(WAIT) } else { Next::Fail };
                comes_to(kind, Retry::Never, broke, next, Health::Unsaid);
            }
        }
    }

    #[test]
    fn a_ticket_that_cannot_be_looked_for_is_made_again_once() {
        let tried = |outcome, fails: bool| Attempt {
            number: 1,
            started_at: Timestamp::EPOCH,
            ended_at: Timestamp::EPOCH,
            outcome,
            failure: fails.then(|| Failure::new(Kind::Client, "no", None)),
            requests: None,
        };
        let (later, unknown) = (tried(State::Queued, true), tried(State::Unknown, true));
        let again = tried(State::Queued, false);
        for (tries, expected) in [
            (&[][..], false),
            (std::slice::from_ref(&unknown), false),
            (&[later.clone(), unknown.clone()], false),
            (&[unknown.clone(), again.clone()], true),
            (&[unknown.clone(), again, later, unknown.clone()], true),
        ] {
            assert_eq!(was_made_again(tries), expected, "{tries:?}");
        }
    }

    #[test]
    fn a_ticket_is_made_without_a_look_only_if_nothing_can_have_made_it() {
        for (look_first, certain, elsewhere, expected) in [
            (LookFirst::WhenInDoubt, true, false, Look::InDoubt),
            (LookFirst::WhenInDoubt, true, true, Look::First),
            (LookFirst::WhenInDoubt, false, false, Look::First),
            (LookFirst::Always, true, false, Look::First),
        ] {
            let looks = look(look_first, certain, elsewhere);
            assert_eq!(looks, expected, "{look_first:?} {certain} {elsewhere}");
        }
    }
}
