//! What is read from the tables.

use std::time::{Duration, Instant};

use ticket_plugin_api::Ticket;

use super::rows::{self, attempt, job_columns, job_tables};
use super::sql::{Columns, Db, Fallible, Hold, Value, values};
use super::stored::{Of, either};
use super::{
    Attempt, Count, Cursor, Failed, Failure, Filter, GoingOn, Incident, Job, Life, Minute, Search,
    Searched, Timestamp, ToTell, UpdateRow, updates,
};
use crate::incident::Identity;
use crate::life::Snapshot;
use crate::machine::State;

/// How many of the newest rows are looked at to tell what came in which minute.
const MINUTES_OF: i64 = 100_000;
/// How many rows are looked at for a text at once, and for how long at most, since others wait for who reads.
const LOOKED_AT: i64 = 200;
const LOOKING: Duration = Duration::from_millis(20);
/// Bytes of a failure that are told where there are many.
const TOLD: usize = 1000;

pub(super) fn get(db: &Db<'_>, id: i64) -> Fallible<Option<Job>> {
    const GET: &str = concat!("SELECT ", job_columns!(), job_tables!(), "WHERE t.id = ?1");
    db.first(GET, values![id], Hold::No, |columns| rows::job(columns, db))
}

pub(super) fn attempts(db: &Db<'_>, id: i64) -> Fallible<Vec<Attempt>> {
    const ATTEMPTS: &str = "SELECT number, started_at, ended_at, outcome, failure, requests FROM attempts \
        WHERE step = (SELECT id FROM steps WHERE ticket = ?1) ORDER BY number";
    db.all(ATTEMPTS, values![id], Hold::No, attempt)
}

pub(super) fn list(db: &Db<'_>, filter: &Filter) -> Fallible<Vec<Job>> {
    let (from, number, order) = match filter.cursor {
        Cursor::After(number) => ("s.ticket > ?1", number, " ORDER BY s.ticket"),
        Cursor::Before(number) => ("s.ticket < ?1", number, " ORDER BY s.ticket DESC"),
    };
    const JOBS: &str = concat!("SELECT ", job_columns!(), job_tables!(), "WHERE ");
    let mut which = from.to_owned();
    let mut values: Vec<Value<'_>> = vec![number.into()];
    let mut narrow = |column: &str, value| {
        values.push(value);
        which.push_str(&format!(" AND {column} ?{}", values.len()));
    };
    if let Some(backend) = &filter.backend {
        if backend.contains('\0') {
            return Ok(Vec::new());
        }
        // Most rows are of the same few backends: reading them in their order is faster than an index
        // of the backend. The empty text keeps engines from that index, unless the state or the key are asked for,
        // whose indexes leave few rows.
        let narrowed = filter.state.is_some() || filter.key.is_some();
        narrow(if narrowed { "s.backend =" } else { "s.backend || '' =" }, backend.into());
    }
    if let Some(state) = filter.state.map(State::name) {
        narrow("s.state =", state.into());
    }
    if let Some(key) = &filter.key {
        // No key has one, and PostgreSQL can't even be asked.
        if key.contains('\0') {
            return Ok(Vec::new());
        }
        narrow("t.key =", key.into());
    }
    if let Some(since) = filter.since.map(Timestamp::millis) {
        narrow("s.accepted_at >=", since.into());
    }
    if let Some(step) = filter.step.map(State::name) {
        values.push(step.into());
        which.push_str(&format!(
            " AND t.id IN (SELECT ticket FROM updates WHERE state = ?{})",
            values.len()
        ));
    }
    values.push(filter.most.into());
    let limit = format!("{order} LIMIT ?{}", values.len());
    let of_state_alone = filter.state.is_some()
        && filter.key.is_none()
        && filter.since.is_none()
        && filter.step.is_none();
    let sql = if of_state_alone {
        // All of a state are put in order by their numbers alone, which the index has: the rows are read of those that are given.
        let steps = "SELECT s.ticket FROM steps AS s WHERE";
        format!("{JOBS} s.ticket IN ({steps} {which}{limit}){order}")
    } else {
        format!("{JOBS}{which}{limit}")
    };
    db.all(&sql, &values, Hold::No, |columns| rows::job(columns, db))
}

/// As [`super::Store::search`].
pub(super) fn search(db: &Db<'_>, search: &Search) -> Fallible<Searched> {
    const ROWS: &str = concat!(
        "SELECT ",
        job_columns!(),
        ", CASE WHEN octet_length(i.body) <= 65536 THEN i.body ELSE '' END, \
         ?2 = '' OR EXISTS (SELECT 1 FROM updates AS u WHERE u.ticket = t.id AND u.state = ?2)",
        job_tables!(),
        "JOIN incidents AS i ON i.id = s.incident WHERE "
    );
    const EXACT: &str = "t.id IN (SELECT id FROM tickets WHERE key = ?1 UNION SELECT id FROM tickets WHERE remote = ?1)";
    if search.text.contains('\0') {
        return Ok(Searched::default());
    }
    let step = search.step.map_or("", State::name);
    let (began, wanted) = (Instant::now(), Wanted::new(&search.text));
    let (mut found, mut last, mut looked_at): (Vec<Job>, _, _) = (Vec::new(), None, 0);
    // What isn't wanted is left out here, so that no statement reads on and on for a row that is.
    let look = |columns: &mut Columns<'_>, found: &mut Vec<Job>, anything: bool| {
        let job = rows::job(columns, db)?;
        let (body, has_step): (String, bool) = (columns.take()?, columns.take()?);
        let fits = search.backend.as_ref().is_none_or(|backend| *backend == job.backend)
            && search.state.is_none_or(|state| state == job.state)
            && has_step;
        let id = job.id;
        let is_known = found.iter().any(|known| known.id == id);
        if fits && !is_known && (anything || wanted.is_in(&job, &body)) {
            found.push(job);
        }
        Ok(id)
    };
    if search.before == i64::MAX {
        // What is called so is found at once, however old it is.
        let sql = format!("{ROWS}{EXACT} ORDER BY s.ticket DESC LIMIT ?3");
        let most = i64::try_from(search.most).unwrap_or(i64::MAX);
        db.all(&sql, values![&search.text, step, most], Hold::No, |columns| {
            look(columns, &mut found, true)
        })?;
    }
    let exact = found.len();
    let sql = format!("{ROWS}s.ticket < ?1 ORDER BY s.ticket DESC LIMIT ?3");
    db.all_while(&sql, values![search.before, step, LOOKED_AT], Hold::No, |columns| {
        last = Some(look(columns, &mut found, false)?);
        looked_at += 1;
        Ok(((), found.len() < search.most.max(exact + 1) && began.elapsed() < LOOKING))
    })?;
    let is_cut = looked_at == LOOKED_AT || found.len() >= search.most || began.elapsed() >= LOOKING;
    Ok(Searched { jobs: found, next: last.filter(|_| is_cut) })
}

/// A text that is looked for, whatever the case of its letters: as it is, and as it stands in JSON.
struct Wanted {
    plain: String,
    in_json: String,
}

impl Wanted {
    fn new(text: &str) -> Wanted {
        let plain = text.to_lowercase();
        let json = super::text(&plain);
        Wanted { in_json: json[1..json.len() - 1].to_owned(), plain }
    }

    fn is_in(&self, job: &Job, body: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.plain);
        let in_ticket = |ticket: &Ticket| has(&ticket.url) || has(&ticket.id);
        has(&job.key)
            || job.ticket.as_ref().is_some_and(in_ticket)
            || job.failure.as_ref().is_some_and(|failure| has(&failure.message))
            || body.to_lowercase().contains(&self.in_json)
    }
}

/// As [`super::Store::failed`].
pub(super) fn failed(db: &Db<'_>, backend: &str, most: i64) -> Fallible<Vec<Failed>> {
    if backend.contains('\0') {
        return Ok(Vec::new());
    }
    const CREATIONS: &str = "SELECT ticket, id, NULL, changed_at, failure, doubt FROM steps \
        WHERE state = 'failed' AND backend = ?1 ORDER BY ticket DESC LIMIT ?2";
    const UPDATES: &str = "SELECT ticket, id, action, changed_at, failure, doubt FROM updates \
        WHERE state = 'failed' AND backend = ?1 ORDER BY id DESC LIMIT ?2";
    let mut all = Vec::new();
    for sql in [CREATIONS, UPDATES] {
        all.extend(db.all(sql, values![backend, most], Hold::No, |columns| {
            Ok(Failed {
                ticket: columns.take()?,
                step: columns.take()?,
                backend: backend.to_owned(),
                action: columns.word_if_any()?,
                changed_at: columns.time()?,
                failure: columns.parsed::<Failure>()?.map(|failure| failure.cut(TOLD)),
                doubtful: columns.take::<i64>()? > 1,
            })
        })?);
    }
    Ok(all)
}

/// As [`super::Store::minutes`].
pub(super) fn minutes(db: &Db<'_>, since: Timestamp) -> Fallible<Vec<Minute>> {
    const NEWEST: &str = "SELECT max(ticket) FROM steps";
    const ACCEPTED: &str =
        "SELECT accepted_at FROM steps WHERE ticket >= ?1 ORDER BY ticket LIMIT 1";
    const MINUTES: &str = "SELECT accepted_at / 60000, backend, state, count(*) FROM steps \
        WHERE ticket >= ?1 AND accepted_at >= ?2 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let newest: Option<i64> =
        db.first(NEWEST, values![], Hold::No, |columns| columns.take())?.flatten();
    let Some(newest) = newest else { return Ok(Vec::new()) };
    // Numbers are given in the order of time: the first one of that time is looked for by halves, and not by reading all.
    let (mut low, mut high) = ((newest - MINUTES_OF).max(0), newest + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let at: Option<i64> =
            db.first(ACCEPTED, values![middle], Hold::No, |columns| columns.take())?;
        match at.is_some_and(|at| at < since.millis()) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    db.all(MINUTES, values![low, since.millis()], Hold::No, |columns| {
        Ok(Minute {
            minute: columns.take()?,
            backend: columns.take()?,
            state: columns.state()?,
            rows: columns.take()?,
        })
    })
}

/// As [`super::Store::incident`].
pub(super) fn incident(db: &Db<'_>, ticket: i64) -> Fallible<Option<String>> {
    const INCIDENT: &str = "SELECT i.body FROM steps AS s JOIN incidents AS i ON i.id = s.incident WHERE s.ticket = ?1";
    db.first(INCIDENT, values![ticket], Hold::No, |columns| columns.take())
}

/// As [`super::Store::incidents`].
pub(super) fn incidents(db: &Db<'_>, tickets: &[i64]) -> Fallible<Vec<(i64, String)>> {
    if tickets.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<String> = tickets.iter().map(i64::to_string).collect();
    let sql = format!(
        "SELECT s.ticket, i.body FROM steps AS s JOIN incidents AS i ON i.id = s.incident \
        WHERE s.ticket IN ({}) AND octet_length(i.body) <= 65536",
        numbers.join(", ")
    );
    db.all(&sql, &[], Hold::No, |columns| Ok((columns.take()?, columns.take()?)))
}

pub(super) fn counts(db: &Db<'_>) -> Fallible<Vec<Count>> {
    // The oldest is the one with the smallest number.
    const COUNTS: &str = "SELECT backend, state, n, \
        (SELECT accepted_at FROM steps WHERE ticket = of_state.first) AS oldest FROM ( \
        SELECT state, backend, count(*) AS n, min(ticket) AS first FROM steps GROUP BY state, backend) AS of_state";
    db.all(COUNTS, &[], Hold::No, count)
}

pub(super) fn to_tell(db: &Db<'_>, source: &str, after: i64, most: i64) -> Fallible<Vec<ToTell>> {
    const TO_TELL: &str = "SELECT i.id, i.source, i.number, i.key, i.began, t.ticket, \
        (SELECT f.ticket FROM tickets AS f WHERE f.id = t.former), \
        (SELECT b.url FROM assignments AS b WHERE b.incident = i.id AND b.slot = 'former:' || t.former) \
        FROM incidents AS i INDEXED BY incidents_to_tell \
        JOIN assignments AS a ON a.incident = i.id AND a.slot = '' JOIN tickets AS t ON t.id = a.ticket \
        WHERE i.tell = 2 AND i.source IN (?1, '') AND i.id > ?2 AND t.ticket IS NOT NULL ORDER BY i.id LIMIT ?3";
    db.all(TO_TELL, values![source, after, most], Hold::No, |columns| {
        Ok(ToTell {
            incident: columns.take()?,
            source: columns.take()?,
            number: columns.take()?,
            key: columns.take()?,
            began: columns.take()?,
            ticket: columns.parsed()?.unwrap_or_default(),
            former: rows::former(columns)?,
        })
    })
}

/// The tickets of an incident, but not those that it had before.
pub(super) fn tickets_of(db: &Db<'_>, incident: i64) -> Fallible<Vec<Job>> {
    const OF_INCIDENT: &str = concat!(
        "SELECT ",
        job_columns!(),
        job_tables!(),
        "WHERE t.id IN (SELECT ticket FROM assignments WHERE incident = ?1 AND slot NOT LIKE 'former:%') ORDER BY t.id DESC LIMIT 20"
    );
    db.all(OF_INCIDENT, values![incident], Hold::No, |columns| rows::job(columns, db))
}

/// What is known of a ticket beside its making, of what was done to it the last hundred.
pub(super) fn life(db: &Db<'_>, ticket: i64) -> Fallible<Life> {
    const TICKET: &str = "SELECT t.status, t.pasted, t.former, s.doubt FROM tickets AS t JOIN steps AS s ON s.ticket = t.id WHERE t.id = ?1";
    const INCIDENTS: &str = "SELECT i.source, i.number, i.key, i.body, i.ended IS NULL FROM assignments AS a \
        JOIN incidents AS i ON i.id = a.incident WHERE a.ticket = ?1 ORDER BY i.id LIMIT 100";
    const UPDATES: &str = "SELECT id, action, mark, diff, said, told, state, accepted_at, changed_at, due, failure, warnings \
        FROM updates WHERE ticket = ?1 ORDER BY id DESC LIMIT 100";
    let (status, pasted, former, doubt): (_, _, _, i64) = db
        .first(TICKET, values![ticket], Hold::No, |columns| {
            Ok((columns.word_if_any()?, columns.take()?, columns.take()?, columns.take()?))
        })?
        .unwrap_or_default();
    let doubtful = doubt > 1;
    let incidents = db.all(INCIDENTS, values![ticket], Hold::No, |columns| {
        let identity = Identity { source: columns.take()?, id: columns.take()? };
        let (key, body): (_, String) = (columns.take()?, columns.take()?);
        Ok(Incident { identity, key, now: Snapshot::of(&body, columns.take()?) })
    })?;
    let mut updates = db.all(UPDATES, values![ticket], Hold::No, |columns| {
        Ok(UpdateRow {
            id: columns.take()?,
            update: updates::update(columns)?,
            state: columns.state()?,
            accepted_at: columns.time()?,
            changed_at: columns.time()?,
            due_at: rows::due(columns)?.map(|due| rows::due_at(due, db.now, db.at)),
            failure: columns.parsed()?,
            warnings: columns.parsed()?.unwrap_or_default(),
            attempts: Vec::new(),
        })
    })?;
    updates.reverse();
    for update in &mut updates {
        update.attempts = update_attempts(db, update.id)?;
    }
    Ok(Life { status, pasted, doubtful, former, incidents, updates })
}

/// The last tries of an update.
pub(super) fn update_attempts(db: &Db<'_>, update: i64) -> Fallible<Vec<Attempt>> {
    const ATTEMPTS: &str = "SELECT number, started_at, ended_at, outcome, failure, requests FROM update_attempts \
        WHERE step = ?1 ORDER BY number DESC LIMIT 20";
    let mut attempts = db.all(ATTEMPTS, values![update], Hold::No, attempt)?;
    attempts.reverse();
    Ok(attempts)
}

/// Incidents of a source that have a ticket and go on.
pub(super) fn going_on(db: &Db<'_>, source: &str, after: i64, most: i64) -> Fallible<Vec<GoingOn>> {
    const GOING_ON: &str = "SELECT i.id, i.number, i.began FROM incidents AS i INDEXED BY incidents_going_on \
        WHERE i.source = ?1 AND i.ended IS NULL AND i.followed = 1 AND i.id > ?2 ORDER BY i.id LIMIT ?3";
    db.all(GOING_ON, values![source, after, most], Hold::No, |columns| {
        Ok(GoingOn { incident: columns.take()?, number: columns.take()?, began: columns.take()? })
    })
}

pub(super) fn update_counts(db: &Db<'_>) -> Fallible<Vec<Count>> {
    // Nobody asks for the oldest.
    const COUNTS: &str =
        "SELECT backend, state, count(*), CAST(0 AS BIGINT) FROM updates GROUP BY state, backend";
    db.all(COUNTS, &[], Hold::No, count)
}

/// As [`super::Store::unfinished`].
pub(super) fn unfinished(db: &Db<'_>) -> Fallible<[Vec<Count>; 2]> {
    const UNFINISHED: [&str; 2] = either!(
        "SELECT backend, state, count(*), min(accepted_at) FROM ",
        " WHERE state IN ('queued', 'creating', 'unknown', 'failed') GROUP BY state, backend"
    );
    let of = |of: Of| db.all(of.pick(UNFINISHED), &[], Hold::No, count);
    Ok([of(Of::Creation)?, of(Of::Update)?])
}

fn count(columns: &mut Columns<'_>) -> Fallible<Count> {
    Ok(Count {
        backend: columns.take()?,
        state: columns.state()?,
        rows: columns.take()?,
        oldest: columns.time()?,
    })
}

pub(super) fn note(db: &Db<'_>, name: &str) -> Fallible<Option<String>> {
    const NOTE: &str = "SELECT value FROM notes WHERE name = ?1";
    db.first(NOTE, values![name], Hold::No, |columns| columns.take())
}
