//! What rows of the tables say, as the host's types.

use std::time::Duration;

use ticket_plugin_api::Ticket;

use super::sql::{Columns, Db, Fallible};
use crate::machine::{Doubt, Moment, Step};
use crate::store::{Attempt, Job, Timestamp};

/// The columns that [`job`] reads, of steps as s and tickets as t.
macro_rules! job_columns {
    () => {
        "t.id, s.backend, t.key, s.state, s.level, s.accepted_at, s.changed_at, s.due, s.expires, \
         s.tries, t.ticket, t.made, s.failure"
    };
}
/// What these columns are of.
macro_rules! job_tables {
    () => {
        " FROM steps AS s JOIN tickets AS t ON t.id = s.ticket "
    };
}
/// The columns that [`step`] reads.
macro_rules! step_columns {
    () => {
        "s.state, s.doubt, s.certain, s.settled, s.due, s.expires, s.lease, s.tries, s.tried_before, s.settle"
    };
}
pub(super) use {job_columns, job_tables, step_columns};

/// The ticket that an incident had before, with the URL by which its source knows that, if a person gave it.
pub(super) fn former(columns: &mut Columns<'_>) -> Fallible<Option<Ticket>> {
    let (ticket, url): (Option<Ticket>, Option<String>) = (columns.parsed()?, columns.take()?);
    Ok(ticket.map(|ticket| Ticket { url: url.unwrap_or(ticket.url), ..ticket }))
}

/// A job as it is now.
pub(super) fn job(columns: &mut Columns<'_>, db: &Db<'_>) -> Fallible<Job> {
    let (now, at) = (db.now, db.at);
    Ok(Job {
        id: columns.take()?,
        backend: columns.take()?,
        key: columns.take()?,
        state: columns.state()?,
        level: columns.take()?,
        accepted_at: columns.time()?,
        changed_at: columns.time()?,
        due_at: due(columns)?.map(|due| due_at(due, now, at)),
        expires_at: time_of_day(columns.moment()?, now, at),
        attempts: columns.take()?,
        ticket: columns.parsed()?,
        made: columns.take()?,
        failure: columns.parsed()?,
    })
}

pub(super) fn due(columns: &mut Columns<'_>) -> Fallible<Option<Moment>> {
    Ok(columns.take::<Option<i64>>()?.map(Moment::from_millis))
}

/// The time of day at a moment, where it is `at` now.
pub(super) fn time_of_day(moment: Moment, now: Moment, at: Timestamp) -> Timestamp {
    at - now.since(moment) + moment.since(now)
}

/// When something is due, for people.
pub(super) fn due_at(due: Moment, now: Moment, at: Timestamp) -> Timestamp {
    if due <= now { Timestamp::EPOCH } else { time_of_day(due, now, at) }
}

/// A step, in a store that was opened so many times. What was certain when it was opened before is certain no more.
pub(super) fn step(columns: &mut Columns<'_>, opening: i64) -> Fallible<Step> {
    Ok(Step {
        state: columns.state()?,
        doubt: match columns.take::<i64>()? {
            0 => Doubt::None,
            1 => Doubt::Look,
            _ => Doubt::Ask,
        },
        certain: columns.take::<i64>()? == opening,
        settled: columns.moment()?,
        due: due(columns)?,
        expires: columns.moment()?,
        lease: columns.take()?,
        tries: columns.take()?,
        tried_before: columns.take()?,
        settle: Duration::from_millis(columns.take::<i64>()?.max(0).cast_unsigned()),
        looks_and_writes: false,
    })
}

pub(super) const fn doubt(doubt: Doubt) -> i64 {
    match doubt {
        Doubt::None => 0,
        Doubt::Look => 1,
        Doubt::Ask => 2,
    }
}

pub(super) fn attempt(columns: &mut Columns<'_>) -> Fallible<Attempt> {
    Ok(Attempt {
        number: columns.take()?,
        started_at: columns.time()?,
        ended_at: columns.time()?,
        outcome: columns.state()?,
        failure: columns.parsed()?,
        requests: columns.parsed()?,
    })
}
