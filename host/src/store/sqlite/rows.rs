//! What rows of the tables say, as the host's types.

use std::time::{Duration, Instant};

use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;

use crate::machine::{Doubt, Moment, State, Step};
use crate::store::{Attempt, Job, Timestamp};

/// Tells the store's own time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Moment,
    opened: Instant,
    /// How often a host has opened the store: this one, or the one that it is looked at beside.
    pub opening: i64,
}

impl Clock {
    /// One that goes on from a moment.
    pub(super) fn from(start: Moment, opening: i64) -> Clock {
        Clock { start, opened: Instant::now(), opening }
    }

    pub(super) fn now(self) -> Moment {
        self.start + self.opened.elapsed()
    }
}

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

/// A job as it is at a moment, at that time of day.
pub(super) fn job(row: &Row<'_>, now: Moment, at: Timestamp) -> rusqlite::Result<Job> {
    let due = row.get::<_, Option<i64>>("due")?.map(Moment::from_millis);
    Ok(Job {
        id: row.get("id")?,
        backend: row.get("backend")?,
        key: row.get("key")?,
        state: state(row, "state")?,
        level: row.get("level")?,
        accepted_at: time(row, "accepted_at")?,
        changed_at: time(row, "changed_at")?,
        due_at: due.map(|due| due_at(due, now, at)),
        expires_at: time_of_day(moment(row, "expires")?, now, at),
        attempts: row.get("tries")?,
        ticket: parsed(row, "ticket")?,
        made: row.get("made")?,
        failure: parsed(row, "failure")?,
    })
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
pub(super) fn step(row: &Row<'_>, opening: i64) -> rusqlite::Result<Step> {
    Ok(Step {
        state: state(row, "state")?,
        doubt: match row.get::<_, i64>("doubt")? {
            0 => Doubt::None,
            1 => Doubt::Look,
            _ => Doubt::Ask,
        },
        certain: row.get::<_, i64>("certain")? == opening,
        settled: moment(row, "settled")?,
        due: row.get::<_, Option<i64>>("due")?.map(Moment::from_millis),
        expires: moment(row, "expires")?,
        lease: row.get("lease")?,
        tries: row.get("tries")?,
        tried_before: row.get("tried_before")?,
        settle: Duration::from_millis(row.get::<_, i64>("settle")?.max(0).cast_unsigned()),
    })
}

pub(super) const fn doubt(doubt: Doubt) -> i64 {
    match doubt {
        Doubt::None => 0,
        Doubt::Look => 1,
        Doubt::Ask => 2,
    }
}

pub(super) fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        number: row.get("number")?,
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
        outcome: state(row, "outcome")?,
        failure: parsed(row, "failure")?,
    })
}

pub(super) fn state(row: &Row<'_>, column: &str) -> rusqlite::Result<State> {
    let name = row.get_ref(column)?.as_str()?;
    State::of(name).ok_or_else(|| unreadable(format!("no state is {name:?}").into()))
}

pub(super) fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Moment> {
    row.get(column).map(Moment::from_millis)
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

pub(super) fn parsed<T: DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<T>> {
    let json: Option<&str> = row.get_ref(column)?.as_str_or_null()?;
    let parsed = json.map(serde_json::from_str).transpose();
    parsed.map_err(|cause| unreadable(Box::new(cause)))
}

fn unreadable(cause: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, cause)
}

/// For how long something has waited: by the store's own time, or by the clock if a host was away meanwhile.
pub(super) fn waited(row: &Row<'_>, now: Moment, at: Timestamp) -> rusqlite::Result<Duration> {
    let by_host = now.since(moment(row, "accepted")?);
    Ok(by_host.max(at.since(time(row, "accepted_at")?)))
}
