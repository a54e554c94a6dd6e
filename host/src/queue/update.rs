//! One try to do something to a ticket after it was made: a comment, closing it, opening it again.
//!
//! What comes of it never holds the making of tickets, unless the ticket system is down for both.

use std::sync::Arc;
use std::time::Duration;

use ticket_plugin_api::{Action, TicketState, Updated};

use super::Queue;
use super::decide::Health;
use super::retry::Cause;
use super::runner::{self, Tried, keyed, outcome};
use super::source::{self, Still};
use crate::backend::{Backend, WantedUpdate};
use crate::error::Kind;
use crate::store::{Claim, Failure, Outcome, Update};
use crate::terminal::line;

/// How long a closing waits for an Argus that doesn't tell whether the incident is still ended.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// How many updates may begin, where so many calls of `concurrency` may and so many `updates` are under way: never so many that no place is
/// left for the making of a ticket, where a backend has more than one.
pub(super) fn room(free: usize, updates: usize, concurrency: usize) -> usize {
    let most = (concurrency / 2).max(1);
    free.min(most.saturating_sub(updates))
}

/// What is done first for an update.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// Nothing: only a person can find out whether it was carried out.
    Lost,
    /// Nothing: its incident goes on.
    Overtaken,
    AskWhetherEnded,
    Write,
}

/// `unknown`: it may have been carried out, which a plugin that `marks` can look for. `closes`: it closes the ticket since its incident has
/// `ended`.
fn first(unknown: bool, marks: bool, closes: bool, ended: bool) -> First {
    match (unknown, closes) {
        (true, _) if !marks => First::Lost,
        // What may have been closed is seen to its end.
        (true, _) | (false, false) => First::Write,
        (false, true) if ended => First::AskWhetherEnded,
        (false, true) => First::Overtaken,
    }
}

/// Whether updates can be done now: no call but that which makes a ticket tells whether settings were mended.
pub(super) fn may_begin(queue: &Queue, backend: &Backend) -> bool {
    queue.record(&backend.name, |record| record.breaker.cause()) != Some(Cause::Settings)
}

pub(super) async fn try_once(
    queue: &Queue,
    backend: &Arc<Backend>,
    claim: &Claim,
    update: &Update,
) -> Tried {
    let wanted = match keyed(claim) {
        Ok(wanted) => wanted,
        Err(tried) => return *tried,
    };
    let closes = update.action == Action::Close && update.said.is_none();
    match first(claim.unknown, backend.manifest.marks, closes, claim.ended) {
        First::Write => {}
        First::Lost => return Tried::Apart(lost(claim)),
        First::Overtaken => return Tried::Apart(Outcome::Overtaken),
        First::AskWhetherEnded => {
            match source::still(queue, claim, &wanted.incident.start_time).await {
                Still::Ended => {}
                Still::GoesOn => return Tried::Apart(Outcome::Overtaken),
                Still::Unsaid(failure) => {
                    return Tried::Apart(Outcome::Postponed { after: ASK_AGAIN, failure });
                }
            }
        }
    }
    let ticket = claim.job.ticket.clone().unwrap_or_default();
    // What a store that was put back from a backup takes for undone may have been done.
    let again = claim.unknown || !claim.certain && backend.manifest.marks;
    let asked = WantedUpdate { of: &wanted, ticket: &ticket, update, again };
    match backend.update(&asked).await {
        Ok(answer) => {
            let outcome = match answer {
                Some(Updated { done: true, state, warnings, .. }) => {
                    Outcome::Done { state, warnings }
                }
                Some(Updated { state, .. }) => Outcome::Needless { state },
                None => Outcome::Needless { state: TicketState::Gone },
            };
            // That it can be written to proves nothing about making another.
            Tried::Told { outcome, made: false }
        }
        Err(error) => {
            let retry = error.retry;
            match runner::failed(queue, backend, claim, &error, retry).await {
                // Who may not comment may still make tickets: only that is held which would fail these, too.
                Tried::Failed { next, health, failure, .. }
                    if !matches!(health, Health::Failing(Cause::Down | Cause::Machine)) =>
                {
                    Tried::Apart(outcome(next, failure))
                }
                tried => tried,
            }
        }
    }
}

/// A step that may have been carried out, of a plugin that can't find that out.
fn lost(claim: &Claim) -> Outcome {
    let last = claim.job.failure.as_ref().map_or("", |failure| failure.message.as_str());
    Outcome::Lost(Failure::new(
        Kind::Plugin,
        &format!("the step may have been carried out, and the plugin can't look for that: {last}"),
        Some("look at the ticket: `queue retry` does it again, `queue cancel` doesn't"),
    ))
}

/// Counts and logs what a try came to.
pub(super) fn tell(
    queue: &Queue,
    backend: &Backend,
    claim: &Claim,
    update: &Update,
    outcome: &Outcome,
    is_news: bool,
) {
    let url = claim.job.ticket.as_ref().map_or("", |ticket| ticket.url.as_str());
    let action = update.action.name();
    let (came, more) = match outcome {
        Outcome::Done { .. } => ("done", url),
        Outcome::Needless { state } => match state {
            TicketState::Gone => ("gone", url),
            TicketState::Foreign => ("foreign", url),
            _ => ("needless", url),
        },
        Outcome::Overtaken => ("overtaken", url),
        Outcome::Unknown { failure, .. } => ("unknown", failure.message.as_str()),
        Outcome::Again { failure, .. } | Outcome::Postponed { failure, .. } => {
            ("retried", failure.message.as_str())
        }
        Outcome::Failed(failure) | Outcome::Lost(failure) => ("failed", failure.message.as_str()),
        Outcome::Created { .. }
        | Outcome::Pasted { .. }
        | Outcome::NoTicket
        | Outcome::Suppressed => {
            return;
        }
    };
    queue.metrics.step(&backend.name, action, came);
    let (id, more) = (claim.job.id, line(more));
    match outcome {
        Outcome::Done { warnings, .. } if !warnings.is_empty() => {
            let warnings = line(&warnings.join("; "));
            tracing::warn!("ticket {id}: {action} is done: {more} ({warnings})");
        }
        Outcome::Done { .. } => tracing::info!("ticket {id}: {action} is done: {more}"),
        Outcome::Needless { state: TicketState::Gone } => tracing::warn!(
            "ticket {id}: {action}: the ticket was deleted, and is told nothing any more: {more}"
        ),
        Outcome::Needless { state: TicketState::Foreign } => tracing::warn!(
            "ticket {id}: {action}: the ticket is no longer where {} makes tickets, and is left alone: {more}",
            backend.name
        ),
        Outcome::Needless { .. } => {
            tracing::info!("ticket {id}: {action} isn't needed, a person was faster: {more}");
        }
        Outcome::Overtaken => {
            tracing::info!("ticket {id}: {action} isn't needed, the incident began again: {more}");
        }
        Outcome::Failed(_) | Outcome::Lost(_) => {
            tracing::warn!("ticket {id}: {action}: failed: {more}");
        }
        _ if is_news => tracing::warn!("ticket {id}: {action}: {came}: {more}"),
        _ => tracing::debug!("ticket {id}: {action}: {came}: {more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_leave_a_place_for_tickets_to_be_made_where_there_is_more_than_one() {
        for (free, updates, concurrency, expected) in
            [(4, 0, 4, 2), (4, 2, 4, 0), (1, 0, 4, 1), (1, 0, 1, 1), (0, 0, 4, 0), (5, 0, 5, 2)]
        {
            assert_eq!(
                room(free, updates, concurrency),
                expected,
                "{free} {updates} {concurrency}"
            );
        }
    }

    #[test]
    fn what_may_have_been_done_is_looked_for_or_left_to_a_person_and_an_end_is_looked_at_again() {
        for (unknown, marks, closes, ended, expected) in [
            (false, true, false, false, First::Write),
            (false, false, false, true, First::Write),
            (true, true, false, false, First::Write),
            (true, false, false, false, First::Lost),
            (true, false, true, true, First::Lost),
            (false, true, true, true, First::AskWhetherEnded),
            (false, true, true, false, First::Overtaken),
            (true, true, true, false, First::Write),
        ] {
            let does = first(unknown, marks, closes, ended);
            assert_eq!(does, expected, "{unknown} {marks} {closes} {ended}");
        }
    }
}
