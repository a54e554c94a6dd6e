//! The store in one SQLite file: a single writer that commits in groups, and readers beside it.
//!
//! Invariant: what a method has returned is on disk: WAL with synchronous = FULL, answers after the commit.

mod inspect;
mod lock;
mod readers;
mod schema;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};

use super::sql::{Db, Fallible, Hold, SqlError, values};
use super::tables::Tables;
use super::writer::Writer;
use super::{Advanced, FULL, FULL_HELP, Result, StoreError, changes};
use crate::machine::Moment;
use lock::{Files, Lock};
use readers::Readers;
use transaction::SqliteEngine;

pub use inspect::{Found, inspect};
pub(crate) use lock::{is_locked, make_private, open_private};

const PAGE: u64 = 4096;
/// How long a statement waits for another program that writes to the store.
const BUSY: Duration = Duration::from_secs(5);
/// The store's own time is written down so often while something waits, though nothing is written.
const KEPT: Duration = Duration::from_secs(5);

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

/// The store in a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    name: String,
    clock: Clock,
    files: Arc<Mutex<Files>>,
    /// The moment that was last written down.
    kept: Arc<AtomicI64>,
    writer: Writer,
    readers: Readers,
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
        while store.write(|db| Ok(changes::advance(db, true)?)).await? > 0 {}
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
        // The first write keeps the store's time, and how often it was opened.
        let kept = Arc::new(AtomicI64::new(Moment::NOW.millis()));
        let readers = Readers::new(path, clock, Arc::clone(&files), lock.clone());
        let engine = SqliteEngine {
            connection,
            path: path.to_owned(),
            name: path.display().to_string(),
            clock,
            kept: Arc::clone(&kept),
            files: Arc::clone(&files),
            lock,
        };
        let writer = Writer::start(engine).map_err(|cause| {
            let help = "may the host's user start another thread?".to_owned();
            broken(path, "can't be written to", help, Some(Box::new(cause)))
        })?;
        let name = path.display().to_string();
        Ok(Sqlite { path: path.to_owned(), name, clock, files, kept, writer, readers })
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
impl Tables for Sqlite {
    fn name(&self) -> &str {
        &self.name
    }

    fn writer(&self) -> &Writer {
        &self.writer
    }

    async fn reading<T: Send + 'static>(
        &self,
        does: impl for<'a, 'b> FnOnce(&'a Db<'b>) -> Fallible<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.read(does).await
    }

    async fn do_what_is_due(&self) -> Result<Advanced> {
        let next = || {
            self.readers.read(|db| {
                let at = db.first(changes::NEXT_DUE, &[], Hold::No, |columns| {
                    columns.take::<Option<i64>>()
                })?;
                Ok(at.flatten().map(Moment::from_millis))
            })
        };
        let at = next().await?;
        let now = self.clock.now();
        let is_due = at.is_some_and(|at| at <= now);
        let kept = Moment::from_millis(self.kept.load(Ordering::Relaxed));
        if !is_due && (at.is_none() || now.since(kept) < KEPT) {
            return Ok(Advanced { next: at.map(|at| at.since(now)), ..Advanced::default() });
        }
        let changed = self.write(|db| Ok(changes::advance(db, false)?)).await?;
        let next = match changed {
            0 => next().await?.map(|at| at.since(self.clock.now())),
            _ => Some(Duration::ZERO),
        };
        Ok(Advanced { changed: is_due, next })
    }

    async fn try_to_write(&self) -> Result<()> {
        self.write(|db| {
            changes::has_room(db)?;
            // It must reach the disk like everything else.
            Ok(db.execute("UPDATE clock SET now = ?1", values![db.now.millis()]).map(drop)?)
        })
        .await
    }

    async fn is_in_place(&self) -> Result<()> {
        if crate::lock::lock(&self.files).are_in_place() { Ok(()) } else { Err(gone(&self.path)) }
    }

    fn is_shared(&self) -> Option<Duration> {
        None
    }

    async fn told_by_others(&self) {
        std::future::pending().await
    }

    async fn take_lead(&self, _: &str, _: Duration) -> Result<bool> {
        Ok(true)
    }

    async fn end(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn broken(
    path: &Path,
    what: &'static str,
    help: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    super::broken(&path.display().to_string(), what, help, cause)
}

fn closed(path: &Path) -> StoreError {
    super::closed(&path.display().to_string())
}

/// What was written went to files that nobody will find any more.
fn gone(path: &Path) -> StoreError {
    let help = "stop the host, put the store's files back where they were, or restore a backup, and start it: tickets \
                that exist are found again by their keys"
        .to_owned();
    broken(path, "was deleted or replaced while the host worked on it", help, None)
}

/// SQLite's number for an error, without what it adds to that (https://www.sqlite.org/rescode.html).
fn code(cause: &SqlError) -> Option<i32> {
    match cause {
        SqlError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
            Some(error.extended_code & 0xff)
        }
        _ => None,
    }
}

/// Whether another program holds the store.
fn is_busy(cause: &SqlError) -> bool {
    matches!(code(cause), Some(5 | 6))
}

fn busy(path: &Path, cause: String) -> StoreError {
    let help = "another program holds it; is a backup running?".to_owned();
    broken(path, "is busy", help, Some(cause.into()))
}

/// What SQLite's error means for the operator.
fn describe(path: &Path, cause: impl Into<SqlError>) -> StoreError {
    let (file, cause) = (path.display(), cause.into());
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
