//! A step as it lies in the tables: a ticket's making, or what comes after it. Read, given to the machine, and written back.

use super::rows::{self, doubt, job_columns, job_tables};
use super::sql::{Columns, Db, Fallible, Hold, SqlError, values};
use crate::machine::{Moment, Step};
use crate::sent::Requests;
use crate::store::{Failure, Job, Timestamp, text};

/// Tries of a step that are kept: the last ones.
const TRIES: i64 = 100;
/// Bytes of the failure that is kept of a try; all of the last one is kept with the step. A row of up to a
/// quarter of a page shares it, a larger one would take a page of its own.
const TRY: usize = 768;

/// What a step is: the making of a ticket, or what comes after that. Each has its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Creation,
    Update,
}

impl Of {
    pub(super) const ALL: [Of; 2] = [Of::Creation, Of::Update];

    /// The first statement is for the table of creations.
    pub(super) fn pick(self, [creation, update]: [&'static str; 2]) -> &'static str {
        match self {
            Of::Creation => creation,
            Of::Update => update,
        }
    }
}

/// The same statement for both tables, whose name stands between the two parts.
macro_rules! either {
    ($before:literal, $behind:literal) => {
        [concat!($before, "steps", $behind), concat!($before, "updates", $behind)]
    };
}
pub(super) use either;

/// A step as it lies in the tables.
pub(super) struct Stored {
    pub of: Of,
    pub id: i64,
    pub ticket: i64,
    pub incident: i64,
    pub backend: String,
    pub seen: Moment,
    pub failure: Option<Failure>,
    pub step: Step,
}

/// Selects what [`Stored::read`] reads, from the table of that name.
macro_rules! stored {
    ($table:literal, $from:literal) => {
        concat!(
            "SELECT s.id, s.ticket, s.incident, s.backend, s.seen, s.failure, ",
            $crate::store::rows::step_columns!(),
            " FROM ",
            $table,
            " AS s ",
            $from
        )
    };
}
pub(super) use stored;

/// The same for both tables.
macro_rules! stored_either {
    ($from:literal) => {
        [
            $crate::store::stored::stored!("steps", $from),
            $crate::store::stored::stored!("updates", $from),
        ]
    };
}
pub(super) use stored_either;

impl Stored {
    pub(super) fn read(of: Of, db: &Db<'_>, columns: &mut Columns<'_>) -> Fallible<Stored> {
        Ok(Stored {
            of,
            id: columns.take()?,
            ticket: columns.take()?,
            incident: columns.take()?,
            backend: columns.take()?,
            seen: columns.moment()?,
            failure: columns.parsed()?,
            step: Step { looks_and_writes: of == Of::Update, ..rows::step(columns, db.opening)? },
        })
    }

    /// The making of a ticket.
    pub(super) fn of_ticket(db: &Db<'_>, ticket: i64) -> Fallible<Option<Stored>> {
        const OF_TICKET: &str = stored!("steps", "WHERE s.ticket = ?1");
        let read = |columns: &mut Columns<'_>| Stored::read(Of::Creation, db, columns);
        db.first(OF_TICKET, values![ticket], Hold::Wait, read)
    }

    pub(super) fn of_step(db: &Db<'_>, of: Of, step: i64) -> Fallible<Option<Stored>> {
        const OF_STEP: [&str; 2] = stored_either!("WHERE s.id = ?1");
        let read = |columns: &mut Columns<'_>| Stored::read(of, db, columns);
        db.first(of.pick(OF_STEP), values![step], Hold::Wait, read)
    }

    /// Writes it back after a change.
    pub(super) fn save(&self, db: &Db<'_>) -> Fallible<()> {
        const SAVE: [&str; 2] = either!(
            "UPDATE ",
            " SET backend = ?1, state = ?2, doubt = ?3, certain = ?4, settled = ?5, due = ?6, \
            expires = ?7, lease = ?8, tries = ?9, tried_before = ?10, failure = ?11, seen = ?12, changed_at = ?13 WHERE id = ?14"
        );
        let step = &self.step;
        let failure = self.failure.as_ref().map(text);
        let values = values![
            &self.backend,
            step.state.name(),
            doubt(step.doubt),
            db.certain(step),
            step.settled.millis(),
            step.due.map(Moment::millis),
            step.expires.millis(),
            step.lease,
            step.tries,
            step.tried_before,
            failure.as_deref(),
            db.now.millis(),
            db.at.millis(),
            self.id,
        ];
        db.execute(self.of.pick(SAVE), values).map(drop)
    }

    /// Writes back when it is due, if nothing else changed.
    pub(super) fn save_due(&self, db: &Db<'_>) -> Fallible<()> {
        const DUE: [&str; 2] = either!("UPDATE ", " SET due = ?1 WHERE id = ?2");
        db.execute(self.of.pick(DUE), values![self.step.due.map(Moment::millis), self.id]).map(drop)
    }

    /// Brings what a claim knew of it up to date.
    pub(super) fn describe(self, db: &Db<'_>, job: &mut Job) {
        let Step { state, due, expires, tries, .. } = self.step;
        job.backend = self.backend;
        (job.state, job.attempts, job.changed_at) = (state, tries, db.at);
        job.due_at = due.map(|due| rows::due_at(due, db.now, db.at));
        job.expires_at = rows::time_of_day(expires, db.now, db.at);
        job.failure = self.failure;
    }

    pub(super) fn job(&self, db: &Db<'_>) -> Fallible<Job> {
        const JOB: &str = concat!("SELECT ", job_columns!(), job_tables!(), "WHERE t.id = ?1");
        let job =
            db.first(JOB, values![self.ticket], Hold::No, |columns| rows::job(columns, db))?;
        job.ok_or(SqlError::Gone)
    }

    /// Keeps one try, as it ended.
    pub(super) fn note_try(
        &self,
        db: &Db<'_>,
        started_at: Timestamp,
        failure: Option<&Failure>,
        requests: Option<&Requests>,
    ) -> Fallible<()> {
        const NOTE: [&str; 2] = [
            "INSERT INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            "INSERT INTO update_attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        ];
        const INSTEAD: [&str; 2] = [
            "UPDATE attempts SET started_at = ?3, ended_at = ?4, outcome = ?5, failure = ?6, requests = ?7 \
            WHERE step = ?1 AND number = ?2",
            "UPDATE update_attempts SET started_at = ?3, ended_at = ?4, outcome = ?5, failure = ?6, requests = ?7 \
            WHERE step = ?1 AND number = ?2",
        ];
        let failure = failure.map(|failure| text(&failure.cut(TRY)));
        let requests = requests.map(text);
        let (started_at, ended_at) = (started_at.millis(), db.at.millis());
        let state = self.step.state.name();
        let values = values![
            self.id,
            self.step.tries,
            started_at,
            ended_at,
            state,
            failure.as_deref(),
            requests.as_deref()
        ];
        db.put(self.of.pick(NOTE), self.of.pick(INSTEAD), values)?;
        self.forget_old_tries(db)
    }

    pub(super) fn forget_old_tries(&self, db: &Db<'_>) -> Fallible<()> {
        const FORGET: [&str; 2] = [
            "DELETE FROM attempts WHERE step = ?1 AND number <= ?2",
            "DELETE FROM update_attempts WHERE step = ?1 AND number <= ?2",
        ];
        if self.step.tries > TRIES {
            db.execute(self.of.pick(FORGET), values![self.id, self.step.tries - TRIES])?;
        }
        Ok(())
    }
}
