//! What rows of the tables say, as the host's types.

use std::time::{Duration, Instant};

use rusqlite::Row;
use rusqlite::types::{FromSql, Type, ValueRef};
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

/// A row's columns, read one after the other in the order in which they were selected. To find one by its name, SQLite's names of all
/// columns before it are asked for and compared.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    row: &'a Row<'a>,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row<'a>) -> Columns<'a> {
        Columns { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        T::column_result(self.take_ref()?).map_err(|cause| self.unreadable(Box::new(cause)))
    }

    pub(super) fn moment(&mut self) -> rusqlite::Result<Moment> {
        self.take().map(Moment::from_millis)
    }

    pub(super) fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.take().map(Timestamp::from_millis)
    }

    pub(super) fn state(&mut self) -> rusqlite::Result<State> {
        let name = self.take_ref()?.as_str().unwrap_or_default();
        State::of(name).ok_or_else(|| self.unreadable(format!("no state is {name:?}").into()))
    }

    /// What is kept as JSON, if there is any.
    pub(super) fn parsed<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        let json = self.take_ref()?.as_str_or_null();
        let json = json.map_err(|cause| self.unreadable(Box::new(cause)))?;
        json.map(serde_json::from_str).transpose().map_err(|cause| self.unreadable(Box::new(cause)))
    }

    fn take_ref(&mut self) -> rusqlite::Result<ValueRef<'a>> {
        self.next += 1;
        self.row.get_ref(self.next - 1)
    }

    /// The column that was taken last is not what was expected there.
    fn unreadable(&self, cause: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
        rusqlite::Error::FromSqlConversionFailure(self.next - 1, Type::Text, cause)
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
pub(super) fn job(columns: &mut Columns<'_>, now: Moment, at: Timestamp) -> rusqlite::Result<Job> {
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

fn due(columns: &mut Columns<'_>) -> rusqlite::Result<Option<Moment>> {
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
pub(super) fn step(columns: &mut Columns<'_>, opening: i64) -> rusqlite::Result<Step> {
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
    let mut columns = Columns::of(row);
    Ok(Attempt {
        number: columns.take()?,
        started_at: columns.time()?,
        ended_at: columns.time()?,
        outcome: columns.state()?,
        failure: columns.parsed()?,
    })
}
