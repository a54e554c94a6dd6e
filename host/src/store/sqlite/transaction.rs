//! SQLite's statements and transactions, as the store's writer and readers use them.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::lock::{Files, Lock};
use super::{Clock, describe, gone, is_busy};
use crate::lock::lock;
use crate::machine::Moment;
use crate::store::sql::{Db, Fallible, Hold, Row, Sql, SqlError, Value, values};
use crate::store::writer::{Blame, Engine};
use crate::store::{New, StoreError, Timestamp};

/// The store's own time is written down when it has gone on for so long, in milliseconds.
const KEPT_EVERY: i64 = 1000;
/// One part in so many of the store takes no new incident: it is kept for what becomes of those in it.
const RESERVE: i64 = 10;

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::NoInteger | Value::Nothing => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(number),
            Value::Truth(truth) => ValueRef::Integer(truth.into()),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Row for rusqlite::Row<'_> {
    fn value(&self, column: usize) -> Fallible<Value<'_>> {
        let unreadable = |cause| SqlError::Unreadable { column, cause };
        match self.get_ref(column)? {
            ValueRef::Null => Ok(Value::Nothing),
            ValueRef::Integer(number) => Ok(Value::Integer(number)),
            ValueRef::Text(text) => {
                std::str::from_utf8(text).map(Value::Text).map_err(|cause| unreadable(cause.into()))
            }
            other => Err(unreadable(format!("it is a {}", other.data_type()).into())),
        }
    }
}

/// The statements of one transaction, or of one who reads.
pub(super) struct Statements<'a> {
    connection: &'a Connection,
    /// How many bytes may still come in, once somebody in the group has asked for that.
    left: Cell<Option<i64>>,
}

impl<'a> Statements<'a> {
    pub(super) fn of(connection: &'a Connection) -> Statements<'a> {
        Statements { connection, left: Cell::new(None) }
    }
}

impl Sql for Statements<'_> {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Fallible<usize> {
        Ok(self.connection.prepare_cached(sql)?.execute(params_from_iter(values))?)
    }

    fn insert(&self, sql: &str, values: &[Value<'_>]) -> Fallible<i64> {
        Ok(self.connection.prepare_cached(sql)?.insert(params_from_iter(values))?)
    }

    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        // Nobody else writes during a transaction.
        _: Hold,
        each: &mut dyn FnMut(&dyn Row) -> Fallible<bool>,
    ) -> Fallible<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if !each(row)? {
                break;
            }
        }
        Ok(())
    }

    /// There is one transaction at a time.
    fn hold(&self, _: &str) -> Fallible<()> {
        Ok(())
    }

    fn waits(&self) -> bool {
        true
    }

    fn kind_of_failure(&self) -> &'static str {
        "s.failure ->> 'kind'"
    }

    fn room(&self) -> Fallible<i64> {
        if let Some(left) = self.left.get() {
            return Ok(left);
        }
        // As statements of their own: a query that has a pragma for a table prepares it each time.
        let number = |sql| -> rusqlite::Result<i64> {
            self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
        };
        let used = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        let most = number("PRAGMA max_page_count")?;
        let size = number("PRAGMA page_size")?;
        let left = (most - most / RESERVE - used).saturating_mul(size);
        self.left.set(Some(left));
        Ok(left)
    }

    fn takes(&self, bytes: usize) -> Fallible<()> {
        // A row takes no more than that: it fills pages of its own, and its indexes may need new ones.
        let left = self.room()? - 2 * bytes as i64 - 4096;
        self.left.set(Some(left));
        Ok(())
    }

    /// No other host works on the store.
    fn knows(&self, new: &New) -> Fallible<bool> {
        Ok(new.certain)
    }

    fn known_since(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn at_once(&self) -> i64 {
        1000
    }

    /// It sees to that by itself.
    fn numbers_go_on(&self, _: &str) -> Fallible<()> {
        Ok(())
    }

    /// Nobody else claims anything.
    fn has_more(&self) {}

    /// The host knows, who has the store for itself.
    fn forgets(&self, _: Duration) -> Fallible<()> {
        Ok(())
    }
}

/// A transaction, which is rolled back when it is dropped, unless it was committed. The statements are prepared once, unlike
/// those of rusqlite's own.
struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    fn begin(connection: &'a Connection) -> rusqlite::Result<Transaction<'a>> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Transaction(connection))
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // When the disk is full, SQLite rolls back by itself.
        if !self.0.is_autocommit() {
            // An error means that it has done so in this moment.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

/// The connection that writes.
pub(super) struct SqliteEngine {
    pub connection: Connection,
    pub path: PathBuf,
    /// What people call the store.
    pub name: String,
    pub clock: Clock,
    pub kept: Arc<AtomicI64>,
    pub files: Arc<Mutex<Files>>,
    /// None for who works beside the host. It is the last field, so that it is dropped when SQLite has closed the file.
    pub lock: Option<Arc<Lock>>,
}

impl Engine for SqliteEngine {
    fn together(
        &mut self,
        _: bool,
        writes: &mut dyn FnMut(&Db<'_>) -> Fallible<()>,
    ) -> Fallible<()> {
        let transaction = Transaction::begin(&self.connection)?;
        let began = Instant::now();
        let now = self.clock.now();
        let db = Db {
            sql: &Statements::of(&self.connection),
            began,
            now,
            at: Timestamp::now(),
            opening: self.clock.opening,
            name: &self.name,
        };
        writes(&db)?;
        let kept = self.kept.load(Ordering::Relaxed);
        let keeps = self.lock.is_some()
            && (kept == Moment::NOW.millis() || now.millis() - kept >= KEPT_EVERY);
        if keeps {
            const KEEP: &str = "UPDATE clock SET now = ?1, opening = ?2";
            db.execute(KEEP, values![now.millis(), db.opening])?;
        }
        transaction.commit()?;
        if keeps {
            self.kept.store(now.millis(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// If another program holds the store, nothing is done now.
    fn blame(&self, cause: &SqlError) -> Blame {
        if is_busy(cause) { Blame::Store } else { Blame::Write }
    }

    fn describe(&self, cause: SqlError) -> StoreError {
        describe(&self.path, cause)
    }

    fn misplaced(&mut self) -> Option<StoreError> {
        (!lock(&self.files).are_in_place()).then(|| gone(&self.path))
    }

    /// Leaves all in the one file.
    fn close(self) {
        if self.lock.is_some() {
            // An error, for instance since somebody else reads from the store, leaves it in the log, where it is found.
            let now = self.clock.now().millis();
            let _ = self.connection.execute("UPDATE clock SET now = ?1", [now]);
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }
}
