//! The store in one SQLite file: a single writer that commits in groups, and readers beside it.
//!
//! Invariant: what a method has returned is on disk: WAL with synchronous = FULL, answers after the commit.

mod changes;
mod inspect;
mod lock;
mod readers;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};

use super::{
    Accepted, Advanced, Attempt, Claim, Count, Cursor, Decision, FULL, Filter, Job, New, Order,
    Outcome, Result, Store, StoreError, Term, Timestamp, ToTell, Which,
};
use crate::error::Kind;
use crate::machine::{Moment, Policy};
use changes::{Kinds, Part};
use lock::{Files, Lock};
use readers::Readers;
use rows::{Clock, Columns, attempt, job_columns, job_tables};
use writer::{Db, Writer};

pub use inspect::{Found, inspect};
pub(crate) use lock::{is_locked, make_private, open_private};

const PAGE: u64 = 4096;
/// How long a statement waits for another program that writes to the store.
const BUSY: Duration = Duration::from_secs(5);
/// The store's own time is written down so often while something waits, though nothing is written.
const KEPT: Duration = Duration::from_secs(5);

const FULL_HELP: &str = "free space on its disk, or raise queue.max_megabytes";

/// The store in a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    clock: Clock,
    files: Arc<Mutex<Files>>,
    writer: Writer,
    readers: Readers,
}

/// Why a write was not done.
enum Undone {
    /// SQLite failed: nothing of its group was done.
    Failed(rusqlite::Error),
    /// It makes no sense, or there is no room for it. That changed nothing, and the group goes on.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Undone {
    fn from(cause: rusqlite::Error) -> Undone {
        Undone::Failed(cause)
    }
}

impl Sqlite {
    /// Opens the store that is there, beside a host that may be at work on it.
    ///
    /// # Errors
    /// It isn't there, can't be used, or is of another version.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Sqlite> {
        if !path.exists() {
            let help = "`ticket-host serve` makes it; is queue.path right?".to_owned();
            return Err(broken(path, "does not exist", help, None));
        }
        let connection = connect(path, max_bytes)?;
        schema::check(&connection, path)?;
        Sqlite::start(connection, path, None)
    }

    /// Opens the store, or makes it, as the only host that works on it. What an earlier host left under way becomes `unknown`.
    ///
    /// # Errors
    /// It can't be made or used, is of a newer version, or another host works on it.
    pub async fn open_alone(path: &Path, max_bytes: u64) -> Result<Sqlite> {
        let owned = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let path = owned.as_path();
            let lock = Lock::take(path)?;
            // Without a bound until it has its form: for that it needs more room than later.
            let mut connection = connect(path, u64::MAX)?;
            if let Some(kept) = schema::migrate(&mut connection, path)? {
                tracing::warn!(
                    "the store {} was brought to this version's form; as it was it is kept as {}: delete that when you \
                     won't go back",
                    path.display(),
                    kept.display()
                );
            }
            bound(&connection, max_bytes).map_err(|cause| describe(path, cause))?;
            Sqlite::start(connection, path, Some(lock))
        });
        let store = match opened.await {
            Ok(opened) => opened?,
            Err(cause) => std::panic::resume_unwind(cause.into_panic()),
        };
        while store.write(|db| Ok(changes::advance(db, true)?)).await? {}
        Ok(store)
    }

    fn start(connection: Connection, path: &Path, lock: Option<Lock>) -> Result<Sqlite> {
        const NOW: &str = "SELECT now, opening FROM clock";
        let read = connection.query_row(NOW, [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
        let (now, opening) = read.map_err(|cause| describe(path, cause))?;
        // Who works beside the host works on what that has opened.
        let opening = opening + i64::from(lock.is_some());
        let clock = Clock::from(Moment::from_millis(now), opening);
        let lock = lock.map(Arc::new);
        let files = Arc::new(Mutex::new(Files::of(path)));
        let readers = Readers::new(path, clock, Arc::clone(&files), lock.clone());
        let writing = Writer::start(connection, path.to_owned(), clock, Arc::clone(&files), lock);
        let writer = writing.map_err(|cause| {
            let help = "may the host's user start another thread?".to_owned();
            broken(path, "can't be written to", help, Some(Box::new(cause)))
        })?;
        Ok(Sqlite { path: path.to_owned(), clock, files, writer, readers })
    }

    async fn write<T: Send + 'static>(
        &self,
        does: impl Fn(&Db<'_>) -> std::result::Result<T, Undone> + Send + 'static,
    ) -> Result<T> {
        self.writer.write(does).await.unwrap_or_else(|| Err(closed(&self.path)))
    }

    /// Reads what there is, and what was asked to be written before.
    async fn read<T: Send + 'static>(
        &self,
        does: impl FnOnce(&readers::Reader<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.catch_up().await;
        self.readers.read(does).await
    }

    /// Does something with what failed for one of the kinds in a backend, part by part, so that other writes have their turn in between.
    /// How many rows that changed.
    async fn in_parts(
        &self,
        backend: &str,
        kinds: &[Kind],
        does: impl Fn(&Db<'_>, &Kinds) -> rusqlite::Result<Part> + Copy + Send + 'static,
    ) -> Result<u64> {
        let mut changed = 0;
        let mut next = Some(0);
        while let Some(after) = next {
            let of = Kinds { backend: backend.to_owned(), kinds: changes::text(kinds), after };
            let part = self.write(move |db| Ok(does(db, &of)?)).await?;
            changed += part.changed;
            next = part.next;
        }
        Ok(changed)
    }

    /// Writes all of the store to a new file, as of one moment, while a host may go on to work on it.
    ///
    /// # Errors
    /// The file exists, or can't be written.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        let (path, to) = (self.path.clone(), to.to_owned());
        // On a connection of its own: one that only reads may not write to another file either.
        let copy = move |_: &Connection| schema::copy(&connect(&path, u64::MAX)?, &path, &to);
        self.readers.with(copy).await
    }
}

/// Opens SQLite's file, with the pragmas that all connections have.
fn connect(path: &Path, max_bytes: u64) -> Result<Connection> {
    let failed = |cause| describe(path, cause);
    // Threads don't share a connection; and a file that is gone isn't made anew.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    let set = || {
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        bound(&connection, max_bytes)
    };
    set().map_err(failed)?;
    Ok(connection)
}

/// Bounds how large a connection makes the file.
fn bound(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    const MOST: u64 = 0xffff_fffe;
    let pages = (max_bytes / PAGE).clamp(1, MOST);
    connection.pragma_update(None, "max_page_count", pages.cast_signed())
}

#[async_trait]
impl Store for Sqlite {
    async fn accept(&self, new: New, policy: Policy, claimed: Option<Term>) -> Result<Accepted> {
        self.write(move |db| changes::accept(db, &new, policy, claimed)).await
    }

    async fn claim(
        &self,
        backend: &str,
        which: Which,
        most: usize,
        term: Term,
    ) -> Result<Vec<Claim>> {
        let backend = backend.to_owned();
        self.write(move |db| Ok(changes::claim(db, &backend, which, most, term)?)).await
    }

    async fn settle(
        &self,
        claim: Arc<Claim>,
        started_at: Timestamp,
        outcome: Outcome,
        policy: Policy,
    ) -> Result<Option<Job>> {
        let does =
            move |db: &Db<'_>| Ok(changes::settle(db, &claim, started_at, &outcome, policy)?);
        self.writer.write_later(does).await.unwrap_or_else(|| Err(closed(&self.path)))
    }

    async fn advance(&self) -> Result<Advanced> {
        const NEXT: &str = "SELECT min(due) FROM steps WHERE due > 0";
        let next = || {
            self.readers.read(|reader| {
                let at: Option<i64> = reader.sql.query_row(NEXT, [], |row| row.get(0))?;
                Ok(at.map(Moment::from_millis))
            })
        };
        let at = next().await?;
        let now = self.clock.now();
        let is_due = at.is_some_and(|at| at <= now);
        if !is_due && (at.is_none() || now.since(self.writer.kept()) < KEPT) {
            return Ok(Advanced { next: at.map(|at| at.since(now)), ..Advanced::default() });
        }
        let more = self.write(|db| Ok(changes::advance(db, false)?)).await?;
        let next = if more {
            Some(Duration::ZERO)
        } else {
            next().await?.map(|at| at.since(self.clock.now()))
        };
        Ok(Advanced { changed: is_due, next })
    }

    async fn order(&self, id: i64, order: Order, policy: Policy) -> Result<Job> {
        self.write(move |db| changes::order(db, id, order, policy)).await
    }

    async fn reopen(&self, backend: &str, kinds: &[Kind], policy: Policy) -> Result<u64> {
        self.in_parts(backend, kinds, move |db, of| changes::reopen(db, of, policy)).await
    }

    async fn hasten(&self, backend: &str, kinds: &[Kind], within: Duration) -> Result<u64> {
        let since = self.clock.now() - within;
        self.in_parts(backend, kinds, move |db, of| changes::hasten(db, of, since)).await
    }

    async fn reassign(&self, decision: &Decision, policy: Policy) -> Result<Vec<(String, u64)>> {
        let mut left: Vec<(String, u64)> = Vec::new();
        let mut after = Some(0);
        while let Some(from) = after {
            let decision = decision.clone();
            let (moved, next) =
                self.write(move |db| Ok(changes::reassign(db, &decision, from, policy)?)).await?;
            for backend in moved {
                match left.iter_mut().find(|(name, _)| *name == backend) {
                    Some((_, count)) => *count += 1,
                    None => left.push((backend, 1)),
                }
            }
            after = next;
        }
        Ok(left)
    }

    async fn get(&self, id: i64) -> Result<Option<Job>> {
        const GET: &str = concat!("SELECT ", job_columns!(), job_tables!(), "WHERE t.id = ?");
        self.read(move |reader| Ok(reader.jobs(GET, &[&id])?.pop())).await
    }

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>> {
        const ATTEMPTS: &str = "SELECT number, started_at, ended_at, outcome, failure FROM attempts \
            WHERE step = (SELECT id FROM steps WHERE ticket = ?) ORDER BY number";
        self.read(move |reader| reader.all(ATTEMPTS, [id], attempt)).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        let filter = filter.clone();
        self.read(move |reader| list(reader, &filter)).await
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        // The oldest is the one with the smallest number.
        const COUNTS: &str = "SELECT backend, state, n, \
            (SELECT accepted_at FROM steps WHERE ticket = first) AS oldest FROM ( \
            SELECT state, backend, count(*) AS n, min(ticket) AS first FROM steps GROUP BY state, backend)";
        let count = |row: &rusqlite::Row<'_>| {
            let mut columns = Columns::of(row);
            Ok(Count {
                backend: columns.take()?,
                state: columns.state()?,
                rows: columns.take()?,
                oldest: columns.time()?,
            })
        };
        self.read(move |reader| reader.all(COUNTS, [], count)).await
    }

    async fn to_tell(&self, source: &str, after: i64, most: i64) -> Result<Vec<ToTell>> {
        const TO_TELL: &str = "SELECT i.id, i.source, i.number, i.key, i.began, t.ticket \
            FROM incidents AS i INDEXED BY incidents_to_tell \
            JOIN assignments AS a ON a.incident = i.id AND a.slot = '' JOIN tickets AS t ON t.id = a.ticket \
            WHERE i.tell = 2 AND i.source IN (?, '') AND i.id > ? AND t.ticket IS NOT NULL ORDER BY i.id LIMIT ?";
        let source = source.to_owned();
        let told = |row: &rusqlite::Row<'_>| {
            let mut columns = Columns::of(row);
            Ok(ToTell {
                incident: columns.take()?,
                source: columns.take()?,
                number: columns.take()?,
                key: columns.take()?,
                began: columns.take()?,
                ticket: columns.parsed()?.unwrap_or_default(),
            })
        };
        self.read(move |reader| reader.all(TO_TELL, (source, after, most), told)).await
    }

    async fn told(&self, incident: i64) -> Result<()> {
        const TOLD: &str = "UPDATE incidents SET tell = 0 WHERE id = ?";
        self.write(move |db| Ok(db.execute(TOLD, [incident]).map(drop)?)).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>> {
        const NOTE: &str = "SELECT value FROM notes WHERE name = ?";
        let name = name.to_owned();
        self.readers.read(move |reader| Ok(reader.all(NOTE, [name], |row| row.get(0))?.pop())).await
    }

    async fn set_note(&self, name: &str, value: &str) -> Result<()> {
        const SET: &str = "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)";
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |db| Ok(db.execute(SET, (&name, &value)).map(drop)?)).await
    }

    async fn prune(&self, unseen: Duration, after: i64) -> Result<Option<i64>> {
        self.write(move |db| Ok(changes::prune(db, db.now - unseen, after)?)).await
    }

    async fn probe(&self) -> Result<()> {
        self.write(|db| {
            if db.room()? < 0 {
                return Err(Undone::Refused(broken(db.path(), FULL, FULL_HELP.to_owned(), None)));
            }
            // It must reach the disk like everything else.
            Ok(db.execute("UPDATE clock SET now = ?", [db.now.millis()]).map(drop)?)
        })
        .await
    }

    async fn look(&self) -> Result<()> {
        if crate::lock::lock(&self.files).are_in_place() { Ok(()) } else { Err(gone(&self.path)) }
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn list(reader: &readers::Reader<'_>, filter: &Filter) -> rusqlite::Result<Vec<Job>> {
    let (from, number, order) = match filter.cursor {
        Cursor::After(number) => ("s.ticket > ?", number, " ORDER BY s.ticket LIMIT ?"),
        Cursor::Before(number) => ("s.ticket < ?", number, " ORDER BY s.ticket DESC LIMIT ?"),
    };
    let mut sql =
        format!("{}{}", concat!("SELECT ", job_columns!(), job_tables!(), "WHERE "), from);
    let state = filter.state.map(crate::machine::State::name);
    let since = filter.since.map(Timestamp::millis);
    let mut values: Vec<&dyn rusqlite::ToSql> = vec![&number];
    if let Some(backend) = &filter.backend {
        // Most rows are of the same few backends: reading them in their order is faster than an index
        // of the backend. The plus keeps SQLite from that index, unless the state or the key are asked for,
        // whose indexes leave few rows.
        let narrowed = filter.state.is_some() || filter.key.is_some();
        sql.push_str(if narrowed { " AND s.backend = ?" } else { " AND +s.backend = ?" });
        values.push(backend);
    }
    if let Some(state) = &state {
        sql.push_str(" AND s.state = ?");
        values.push(state);
    }
    if let Some(key) = &filter.key {
        sql.push_str(" AND t.key = ?");
        values.push(key);
    }
    if let Some(since) = &since {
        sql.push_str(" AND s.accepted_at >= ?");
        values.push(since);
    }
    sql.push_str(order);
    values.push(&filter.most);
    reader.jobs(&sql, &values)
}

fn broken(
    path: &Path,
    what: &'static str,
    help: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Broken { path: path.to_owned(), what, help, cause }
}

/// What was written went to files that nobody will find any more.
fn gone(path: &Path) -> StoreError {
    let help = "stop the host, put the store's files back where they were, or restore a backup, and start it: tickets \
                that exist are found again by their keys"
        .to_owned();
    broken(path, "was deleted or replaced while the host worked on it", help, None)
}

fn closed(path: &Path) -> StoreError {
    broken(path, "is closed", "start the host again".to_owned(), None)
}

/// SQLite's number for an error, without what it adds to that (https://www.sqlite.org/rescode.html).
fn code(cause: &rusqlite::Error) -> Option<i32> {
    match cause {
        rusqlite::Error::SqliteFailure(error, _) => Some(error.extended_code & 0xff),
        _ => None,
    }
}

/// Whether another program holds the store.
fn is_busy(cause: &rusqlite::Error) -> bool {
    matches!(code(cause), Some(5 | 6))
}

fn busy(path: &Path, cause: String) -> StoreError {
    let help = "another program holds it; is a backup running?".to_owned();
    broken(path, "is busy", help, Some(cause.into()))
}

/// What SQLite's error means for the operator.
fn describe(path: &Path, cause: rusqlite::Error) -> StoreError {
    let file = path.display();
    let (what, help) = match code(&cause) {
        Some(5 | 6) => return busy(path, cause.to_string()),
        Some(8) => (
            "can't be written to",
            format!("let the host's user write to {file} and its directory"),
        ),
        Some(11 | 26) => (
            "is corrupt",
            format!(
                "stop the host, keep {file} and its -wal file, and restore a backup, or move them \
                 away to begin anew: tickets that exist are found again by their keys"
            ),
        ),
        Some(13) => (FULL, FULL_HELP.to_owned()),
        Some(14) => (
            "can't be opened",
            format!("let the host's user read and write {file} and its directory"),
        ),
        _ => ("can't be read or written", "is its disk in order?".to_owned()),
    };
    broken(path, what, help, Some(Box::new(cause)))
}
