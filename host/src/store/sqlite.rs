//! The store in one SQLite file: a single writer that commits in groups, and readers beside it.
//!
//! Invariant: what was answered is on disk: WAL with synchronous = FULL, answers after the commit.

mod inspect;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Row, SqlSafeStr};
use tokio::sync::{mpsc, oneshot};

use super::timestamp::millis;
use super::{
    Accepted, Advanced, Attempt, Claim, Count, Cursor, Failure, Filter, Job, New, Order, Outcome,
    Result, State, Store, StoreError, Timestamp,
};
use crate::error::Kind;

pub use inspect::{Found, inspect};

/// What makes the tables, step by step. Each is kept with its digest in the store: it is never edited. (sqlx's macro would
/// make this, for the price of compiling sqlx twice.)
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let first = include_str!("migrations/0001_tickets.sql").into_sql_str();
    Migrator::with_migrations(vec![Migration::new(
        1,
        "tickets".into(),
        MigrationType::Simple,
        first,
        false,
    )])
});

/// At most so many writes share a commit.
const GROUP: usize = 256;
/// At most so many writes wait for their turn; who comes with another one waits until there is room.
const WAITING: usize = 1024;
/// How long to wait for another host to let go of the store.
const LOCK: Duration = Duration::from_secs(2);
const PAGE: u64 = 4096;
/// One part in so many of the store takes no new incident: it is kept for what becomes of those in it.
const RESERVE: i64 = 10;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Tries of a ticket that are kept: the last ones.
const TRIES: i64 = 100;
/// Bytes of the failure that is kept of a try; all of the last one is kept with the ticket. A row of up to a
/// quarter of a page shares it, a larger one would take a page of its own.
const TRY: usize = 768;
/// Bytes of the failure that is kept with a ticket when the store is so full that it takes no new incident.
const SHORT: usize = 256;
/// At most so many rows are removed by one write, so that those behind it don't wait long.
const PRUNED_AT_ONCE: i64 = 1000;

const FULL: &str = "is full";
const FULL_HELP: &str = "free space on its disk, or raise queue.max_megabytes";
const LEFT: &str = "the host was ended, or lost its lease, during the call; there may be a ticket";

macro_rules! columns {
    () => {
        "id, backend, key, state, level, accepted_at, changed_at, due_at, expires_at, attempts, \
         ticket, made, failure, tell_argus"
    };
}

/// When a row that is tried anew is due: now, or, where there may be a ticket, after the settling time.
macro_rules! due {
    ($now:literal, $settle:literal) => {
        concat!(
            "CASE WHEN maybe <> 1 OR changed_at + ",
            $settle,
            " <= ",
            $now,
            " THEN 0 ELSE changed_at + ",
            $settle,
            " END"
        )
    };
}

/// The store in a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    readers: SqlitePool,
    writes: mpsc::Sender<Submitted>,
}

/// What the writer is asked to do.
#[derive(Debug)]
enum Write {
    Accept(New),
    Claim {
        backend: String,
        most: usize,
        lease: Duration,
    },
    Settle {
        id: i64,
        lease: i64,
        number: i64,
        started_at: Timestamp,
        outcome: Outcome,
    },
    /// What time has made due. With `all_leases` every lease ends, also one that would last longer.
    Advance {
        settle: Duration,
        all_leases: bool,
    },
    Order(i64, Order),
    Reopen {
        backend: String,
        kinds: Vec<Kind>,
        until: Timestamp,
        settle: Duration,
    },
    DueNow {
        backend: String,
        kinds: Vec<Kind>,
        since: Timestamp,
    },
    Told(i64),
    Prune {
        before: Timestamp,
    },
    Probe,
}

#[derive(Debug)]
enum Done {
    Accepted(Box<Accepted>),
    Claims(Vec<Claim>),
    Job(Box<Option<Job>>),
    Jobs(Vec<Job>),
    Rows(u64),
}

/// Why a write was not done.
enum Undone {
    /// SQLite failed: nothing of its group was done, and its connection may have to begin anew.
    Failed(sqlx::Error),
    /// It makes no sense, or there is no room for it. That changed nothing, and the group goes on.
    Refused(StoreError),
}

impl From<sqlx::Error> for Undone {
    fn from(cause: sqlx::Error) -> Undone {
        Undone::Failed(cause)
    }
}

#[derive(Debug)]
struct Submitted {
    write: Write,
    reply: oneshot::Sender<Result<Done>>,
}

impl Sqlite {
    /// Opens the store that is there.
    pub async fn open(path: &Path, max_bytes: u64) -> Result<Sqlite> {
        if !path.exists() {
            let help = "`ticket-host serve` makes it; is queue.path right?".to_owned();
            return Err(broken(path, "does not exist", help, None));
        }
        Sqlite::connect(path, max_bytes, None).await
    }

    /// Opens the store, or makes it, as the only host that works on it. Rows that an earlier host left
    /// under way become `unknown`.
    pub async fn open_alone(path: &Path, max_bytes: u64, settle: Duration) -> Result<Sqlite> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let lock = make_private(directory)
            .and_then(|()| File::options().create(true).append(true).open(lock_file(path)));
        let lock = lock.map_err(|cause| {
            let help = format!("let the host's user write to {}", directory.display());
            broken(path, "can't be opened", help, Some(Box::new(cause)))
        })?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // The other host may just be ending; a worker that it had begun to start holds the lock, too.
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let help = "only one `ticket-host serve` at a time can work on a SQLite store";
                    return Err(broken(path, "is used by another host", help.to_owned(), None));
                }
                Err(TryLockError::Error(cause)) => {
                    let help = "is it on a file system that has no locks?".to_owned();
                    return Err(broken(path, "can't be locked", help, Some(Box::new(cause))));
                }
            }
        }
        make_private_file(path).map_err(|cause| {
            let help = format!("let the host's user read and write {}", path.display());
            broken(path, "can't be opened", help, Some(Box::new(cause)))
        })?;
        let store = Sqlite::connect(path, max_bytes, Some(lock)).await?;
        store.write(Write::Advance { settle, all_leases: true }).await?;
        Ok(store)
    }

    async fn connect(path: &Path, max_bytes: u64, lock: Option<File>) -> Result<Sqlite> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(lock.is_some())
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("max_page_count", (max_bytes / PAGE).max(1).to_string())
            .disable_statement_logging();
        let failed = |cause| describe(path, cause);
        let mut writer = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        MIGRATIONS.run(&mut writer).await.map_err(|cause| match cause {
            sqlx::migrate::MigrateError::Execute(cause) => failed(cause),
            sqlx::migrate::MigrateError::ExecuteMigration(cause, _) => failed(cause),
            other => {
                let help = "was it made by a newer ticket-host? run that one".to_owned();
                broken(path, "has a form that this version doesn't know", help, Some(other.into()))
            }
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(options.pragma("query_only", "on").create_if_missing(false));
        let (writes, queue) = mpsc::channel(WAITING);
        tokio::spawn(write_all(writer, queue, path.to_owned(), lock));
        Ok(Sqlite { path: path.to_owned(), readers, writes })
    }

    async fn write(&self, write: Write) -> Result<Done> {
        let ended = || {
            let help = "start the host again".to_owned();
            broken(&self.path, "is closed", help, None)
        };
        let (reply, answer) = oneshot::channel();
        self.writes.send(Submitted { write, reply }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    fn failed(&self, cause: sqlx::Error) -> StoreError {
        describe(&self.path, cause)
    }
}

/// The file whose lock says that a host works on the store `path`.
fn lock_file(path: &Path) -> PathBuf {
    path.with_added_extension("lock")
}

/// Makes a directory that only its owner may look into; one that is there stays as it is.
fn make_private(directory: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)
}

/// As [`make_private`], for a file. SQLite gives the files that it makes beside it the same permissions.
fn make_private_file(path: &Path) -> std::io::Result<()> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.create(true).append(true).open(path).map(drop)
}

#[async_trait]
impl Store for Sqlite {
    async fn accept(&self, new: New) -> Result<Accepted> {
        match self.write(Write::Accept(new)).await? {
            Done::Accepted(accepted) => Ok(*accepted),
            other => unreachable!("accept gave {other:?}"),
        }
    }

    async fn claim(&self, backend: &str, most: usize, lease: Duration) -> Result<Vec<Claim>> {
        match self.write(Write::Claim { backend: backend.to_owned(), most, lease }).await? {
            Done::Claims(claims) => Ok(claims),
            other => unreachable!("claim gave {other:?}"),
        }
    }

    async fn settle(
        &self,
        claim: &Claim,
        started_at: Timestamp,
        outcome: Outcome,
    ) -> Result<Option<Job>> {
        let (id, lease, number) = (claim.job.id, claim.lease, claim.job.attempts);
        match self.write(Write::Settle { id, lease, number, started_at, outcome }).await? {
            Done::Job(job) => Ok(*job),
            other => unreachable!("settle gave {other:?}"),
        }
    }

    async fn advance(&self, settle: Duration) -> Result<Advanced> {
        const NEXT: &str = "SELECT min(at) FROM ( \
            SELECT min(due_at) AS at FROM tickets WHERE due_at > 0 UNION ALL \
            SELECT min(expires_at) FROM tickets WHERE due_at IS NOT NULL AND state <> 'creating')";
        let next = || async {
            let row = sqlx::query(NEXT).fetch_one(&self.readers).await;
            row.and_then(|row| row.try_get::<Option<Timestamp>, _>(0)).map_err(|e| self.failed(e))
        };
        let at = next().await?;
        if at.is_none_or(|at| at > Timestamp::now()) {
            return Ok(Advanced { next: at, ..Advanced::default() });
        }
        match self.write(Write::Advance { settle, all_leases: false }).await? {
            Done::Jobs(failed) => Ok(Advanced { changed: true, failed, next: next().await? }),
            other => unreachable!("advance gave {other:?}"),
        }
    }

    async fn order(&self, id: i64, order: Order) -> Result<Job> {
        match self.write(Write::Order(id, order)).await? {
            Done::Job(job) => job.ok_or(StoreError::NoSuch(id)),
            other => unreachable!("order gave {other:?}"),
        }
    }

    async fn reopen(
        &self,
        backend: &str,
        kinds: &[Kind],
        until: Timestamp,
        settle: Duration,
    ) -> Result<u64> {
        let (backend, kinds) = (backend.to_owned(), kinds.to_vec());
        rows(self.write(Write::Reopen { backend, kinds, until, settle }).await?)
    }

    async fn due_now(&self, backend: &str, kinds: &[Kind], since: Timestamp) -> Result<u64> {
        let (backend, kinds) = (backend.to_owned(), kinds.to_vec());
        rows(self.write(Write::DueNow { backend, kinds, since }).await?)
    }

    async fn get(&self, id: i64) -> Result<Option<Job>> {
        const GET: &str = concat!("SELECT ", columns!(), " FROM tickets WHERE id = ?");
        let row = sqlx::query(GET).bind(id).fetch_optional(&self.readers).await;
        row.and_then(|row| row.map(|row| job(&row)).transpose()).map_err(|e| self.failed(e))
    }

    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>> {
        const ATTEMPTS: &str = "SELECT number, started_at, ended_at, outcome, failure \
            FROM attempts WHERE ticket = ? ORDER BY number";
        let rows = sqlx::query(ATTEMPTS).bind(id).fetch_all(&self.readers).await;
        rows.and_then(|rows| rows.iter().map(attempt).collect()).map_err(|e| self.failed(e))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        let (from, id, order) = match filter.cursor {
            Cursor::After(id) => ("id > ", id, " ORDER BY id LIMIT "),
            Cursor::Before(id) => ("id < ", id, " ORDER BY id DESC LIMIT "),
        };
        let mut query = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM tickets WHERE "));
        query.push(from).push_bind(id);
        if let Some(backend) = &filter.backend {
            // Most rows are of the same few backends: reading them in their order is faster than an index
            // of the backend. The plus keeps SQLite from that index, unless the state or the key are asked for,
            // whose indexes leave few rows.
            let narrowed = filter.state.is_some() || filter.key.is_some();
            query.push(if narrowed { " AND backend = " } else { " AND +backend = " });
            query.push_bind(backend);
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.name());
        }
        if let Some(key) = &filter.key {
            query.push(" AND key = ").push_bind(key);
        }
        if let Some(since) = filter.since {
            query.push(" AND accepted_at >= ").push_bind(since);
        }
        query.push(order).push_bind(filter.most);
        let rows = query.build().fetch_all(&self.readers).await;
        rows.and_then(|rows| rows.iter().map(job).collect()).map_err(|e| self.failed(e))
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        // The oldest is the one with the smallest id.
        const COUNTS: &str = "SELECT state, backend, n, \
            (SELECT accepted_at FROM tickets WHERE id = first) AS oldest FROM ( \
            SELECT state, backend, count(*) AS n, min(id) AS first FROM tickets GROUP BY state, backend)";
        let rows = sqlx::query(COUNTS).fetch_all(&self.readers).await;
        let count = |row: &SqliteRow| {
            Ok(Count {
                backend: row.try_get("backend")?,
                state: state(row, "state")?,
                rows: row.try_get("n")?,
                oldest: row.try_get("oldest")?,
            })
        };
        rows.and_then(|rows| rows.iter().map(count).collect()).map_err(|e| self.failed(e))
    }

    async fn to_tell(&self, after: i64, most: i64) -> Result<Vec<Job>> {
        const TO_TELL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM tickets INDEXED BY tickets_to_tell \
              WHERE tell_argus IS NOT NULL AND state = 'created' AND id > ? \
              ORDER BY id LIMIT ?"
        );
        let rows = sqlx::query(TO_TELL).bind(after).bind(most).fetch_all(&self.readers).await;
        rows.and_then(|rows| rows.iter().map(job).collect()).map_err(|e| self.failed(e))
    }

    async fn told(&self, id: i64) -> Result<()> {
        self.write(Write::Told(id)).await.map(drop)
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        rows(self.write(Write::Prune { before }).await?)
    }

    async fn probe(&self) -> Result<()> {
        self.write(Write::Probe).await.map(drop)
    }
}

fn rows(done: Done) -> Result<u64> {
    match done {
        Done::Rows(rows) => Ok(rows),
        other => unreachable!("a count was asked for, not {other:?}"),
    }
}

/// The writer: takes what waits, does it in one transaction, answers when that is on disk. It
/// holds the lock of the store for as long as it runs.
async fn write_all(
    mut connection: SqliteConnection,
    mut queue: mpsc::Receiver<Submitted>,
    path: PathBuf,
    lock: Option<File>,
) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let (writes, replies): (Vec<Write>, Vec<_>) =
            group.drain(..).map(|submitted| (submitted.write, submitted.reply)).unzip();
        match together(&mut connection, &writes, &path).await {
            Ok(done) => {
                replies.into_iter().zip(done).for_each(|(reply, done)| drop(reply.send(done)));
            }
            // A write that fails must not keep the others of its group from being done: each is tried alone.
            Err(_) => {
                for (reply, write) in replies.into_iter().zip(&writes) {
                    let alone = std::slice::from_ref(write);
                    let done = together(&mut connection, alone, &path).await;
                    let done = done.map(|mut done| done.pop());
                    let _ = reply.send(match done {
                        Ok(Some(done)) => done,
                        Ok(None) => unreachable!("one write has one result"),
                        Err(cause) => Err(describe(&path, cause)),
                    });
                }
            }
        }
    }
    let _ = connection.close().await;
    drop(lock);
}

/// All of `writes` in one transaction, or none. What was refused among them is an error in the list.
async fn together(
    db: &mut SqliteConnection,
    writes: &[Write],
    path: &Path,
) -> sqlx::Result<Vec<Result<Done>>> {
    // Transactions are begun and ended by hand: when the disk is full, SQLite rolls back by itself, and
    // sqlx, which doesn't notice that, could never begin another transaction on the connection.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
    let mut left = None;
    let mut done = Vec::with_capacity(writes.len());
    let mut failed = None;
    for write in writes {
        match one(db, write, &mut left, path).await {
            Ok(result) => done.push(Ok(result)),
            Err(Undone::Refused(why)) => done.push(Err(why)),
            Err(Undone::Failed(cause)) => {
                failed = Some(cause);
                break;
            }
        }
    }
    if failed.is_none() {
        failed = sqlx::query("COMMIT").execute(&mut *db).await.err();
    }
    let Some(cause) = failed else { return Ok(done) };
    // An error means that SQLite has rolled it back already.
    let _ = sqlx::query("ROLLBACK").execute(db).await;
    Err(cause)
}

/// Does one write. `left` is how many bytes may still come in, once somebody in its group has asked for that.
async fn one(
    db: &mut SqliteConnection,
    write: &Write,
    left: &mut Option<i64>,
    path: &Path,
) -> std::result::Result<Done, Undone> {
    Ok(match write {
        Write::Accept(new) => return accept_unless_full(db, new, left, path).await,
        Write::Claim { backend, most, lease } => {
            Done::Claims(claim(db, backend, *most, *lease).await?)
        }
        Write::Settle { id, lease, number, started_at, outcome } => {
            let is_short = outcome.failure().is_some() && *left_of(db, left).await? < 0;
            let end = End { id: *id, lease: *lease, number: *number, started_at: *started_at };
            Done::Job(Box::new(settle(db, end, outcome, is_short).await?))
        }
        Write::Advance { settle, all_leases } => {
            Done::Jobs(advance(db, *settle, *all_leases).await?)
        }
        Write::Order(id, order) => return order_row(db, *id, *order).await,
        Write::Reopen { backend, kinds, until, settle } => {
            let done = sqlx::query(concat!(
                "UPDATE tickets SET state = CASE maybe WHEN 0 THEN 'queued' ELSE 'unknown' END, due_at = ",
                due!("?1", "?2"),
                ", expires_at = ?3, changed_at = ?1 WHERE state = 'failed' AND backend = ?4 AND maybe < 2 \
                 AND failure ->> 'kind' IN (SELECT value FROM json_each(?5))",
            ));
            let done = done.bind(Timestamp::now()).bind(millis(*settle)).bind(until);
            let done = done.bind(backend).bind(text(kinds)).execute(db).await?;
            Done::Rows(done.rows_affected())
        }
        Write::DueNow { backend, kinds, since } => {
            let done = sqlx::query(
                "UPDATE tickets SET due_at = 0 WHERE state = 'queued' AND due_at > 0 AND backend = ? \
                 AND changed_at >= ? AND failure ->> 'kind' IN (SELECT value FROM json_each(?))",
            );
            let done = done.bind(backend).bind(since).bind(text(kinds)).execute(db).await?;
            Done::Rows(done.rows_affected())
        }
        Write::Told(id) => {
            let told = sqlx::query("UPDATE tickets SET tell_argus = NULL WHERE id = ?");
            Done::Rows(told.bind(id).execute(db).await?.rows_affected())
        }
        Write::Prune { before } => {
            let prune = sqlx::query(
                "DELETE FROM tickets WHERE id IN (SELECT id FROM tickets \
                 WHERE due_at IS NULL AND seen_at < ? \
                 AND (tell_argus IS NULL OR state <> 'created') LIMIT ?)",
            );
            let done = prune.bind(before).bind(PRUNED_AT_ONCE).execute(db).await?;
            Done::Rows(done.rows_affected())
        }
        Write::Probe => {
            // It writes what is there already, and that must reach the disk like everything else.
            sqlx::query("PRAGMA user_version = 1").execute(db).await?;
            Done::Rows(0)
        }
    })
}

/// How many bytes of new incidents there is room for. It is negative when the part of the store is in use
/// that is kept for what becomes of the incidents in it.
async fn room(db: &mut SqliteConnection) -> sqlx::Result<i64> {
    const PAGES: &str = "SELECT (SELECT page_count FROM pragma_page_count) \
        - (SELECT freelist_count FROM pragma_freelist_count) AS used, \
        (SELECT max_page_count FROM pragma_max_page_count) AS most, \
        (SELECT page_size FROM pragma_page_size) AS size";
    let row = sqlx::query(PAGES).fetch_one(db).await?;
    let (used, most): (i64, i64) = (row.try_get("used")?, row.try_get("most")?);
    Ok((most - most / RESERVE - used).saturating_mul(row.try_get("size")?))
}

/// As [`room`], asked once for all writes of a group.
async fn left_of<'a>(
    db: &mut SqliteConnection,
    left: &'a mut Option<i64>,
) -> sqlx::Result<&'a mut i64> {
    match left {
        Some(left) => Ok(left),
        unknown => Ok(unknown.insert(room(db).await?)),
    }
}

async fn accept_unless_full(
    db: &mut SqliteConnection,
    new: &New,
    left: &mut Option<i64>,
    path: &Path,
) -> std::result::Result<Done, Undone> {
    let left = left_of(db, left).await?;
    if *left < 0 {
        return Err(Undone::Refused(broken(path, FULL, FULL_HELP.to_owned(), None)));
    }
    // A row takes no more than that: it fills pages of its own, and its indexes may need new ones.
    *left -= 2 * new.incident.len() as i64 + 4096;
    Ok(Done::Accepted(Box::new(accept(db, new).await?)))
}

async fn accept(db: &mut SqliteConnection, new: &New) -> sqlx::Result<Accepted> {
    const INSERT: &str = concat!(
        "INSERT INTO tickets (backend, key, state, level, incident, accepted_at, changed_at, due_at, \
         seen_at, expires_at, tell_argus) VALUES (?1, ?2, 'queued', ?3, ?4, ?5, ?5, 0, ?5, ?6, ?7) \
         ON CONFLICT (backend, key) DO UPDATE SET \
         state = CASE maybe WHEN 0 THEN 'queued' ELSE 'unknown' END, level = excluded.level, \
         incident = excluded.incident, changed_at = excluded.changed_at, due_at = ",
        due!("?5", "?9"),
        ", seen_at = excluded.seen_at, expires_at = excluded.expires_at \
         WHERE ?8 AND tickets.state = 'failed' AND maybe < 2 RETURNING ",
        columns!()
    );
    let insert = sqlx::query(INSERT).bind(&new.backend).bind(&new.key).bind(new.level);
    let insert = insert.bind(&new.incident).bind(Timestamp::now()).bind(new.expires_at);
    let insert = insert.bind(&new.tell_argus).bind(new.reopen).bind(millis(new.settle));
    if let Some(row) = insert.fetch_optional(&mut *db).await? {
        return Ok(Accepted { job: job(&row)?, new: true });
    }
    const KNOWN: &str =
        concat!("SELECT seen_at, ", columns!(), " FROM tickets WHERE backend = ? AND key = ?");
    let row = sqlx::query(KNOWN).bind(&new.backend).bind(&new.key).fetch_one(&mut *db).await?;
    let job = job(&row)?;
    // Pruning counts in days: it is enough to note once a day that somebody asked for the row.
    if job.state.is_final() && row.try_get::<Timestamp, _>("seen_at")? < Timestamp::now() - DAY {
        let seen = sqlx::query("UPDATE tickets SET seen_at = ? WHERE id = ?");
        seen.bind(Timestamp::now()).bind(job.id).execute(db).await?;
    }
    Ok(Accepted { job, new: false })
}

async fn claim(
    db: &mut SqliteConnection,
    backend: &str,
    most: usize,
    lease: Duration,
) -> sqlx::Result<Vec<Claim>> {
    const READY: &str = concat!(
        "SELECT lease, incident, EXISTS (SELECT 1 FROM tickets AS other \
         WHERE other.key = tickets.key AND other.id <> tickets.id) AS elsewhere, ",
        columns!(),
        " FROM tickets WHERE due_at = 0 AND backend = ? ORDER BY level, id LIMIT ?"
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = sqlx::query(READY).bind(backend).bind(most).fetch_all(&mut *db).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.try_get("id")).collect::<sqlx::Result<_>>()?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let until = Timestamp::now() + lease;
    // One statement for all rows, since each statement goes to SQLite's thread and back.
    let taken = sqlx::query(
        "UPDATE tickets SET state = 'creating', due_at = ?, lease = lease + 1, \
         attempts = attempts + 1, changed_at = ? WHERE id IN (SELECT value FROM json_each(?))",
    );
    taken.bind(until).bind(Timestamp::now()).bind(text(&ids)).execute(db).await?;
    let mut claims = Vec::with_capacity(rows.len());
    for row in rows {
        let mut job = job(&row)?;
        let unknown = job.state == State::Unknown;
        job.attempts += 1;
        (job.state, job.due_at) = (State::Creating, Some(until));
        let lease = row.try_get::<i64, _>("lease")? + 1;
        let (elsewhere, incident) = (row.try_get("elsewhere")?, row.try_get("incident")?);
        claims.push(Claim { job, lease, unknown, elsewhere, incident });
    }
    Ok(claims)
}

/// A claim of a row, which ends.
struct End {
    id: i64,
    lease: i64,
    /// The number of the try that it was for.
    number: i64,
    started_at: Timestamp,
}

/// Ends a claim. With `is_short` only the beginning of a failure is kept, and nothing in the list of tries.
async fn settle(
    db: &mut SqliteConnection,
    end: End,
    outcome: &Outcome,
    is_short: bool,
) -> sqlx::Result<Option<Job>> {
    let End { id, lease, number, started_at } = end;
    const SETTLE: &str = concat!(
        "UPDATE tickets SET state = ?1, due_at = ?2, ticket = ?3, made = ?4, failure = ?5, \
         changed_at = ?6, seen_at = ?6, maybe = coalesce(?9, maybe) \
         WHERE id = ?7 AND lease = ?8 AND state = 'creating' RETURNING ",
        columns!()
    );
    let (state, due_at, maybe) = match outcome {
        Outcome::Created { .. } => (State::Created, None, Some(0)),
        Outcome::Again { at, .. } => (State::Queued, Some(*at), None),
        Outcome::Unknown { at, .. } => (State::Unknown, Some(*at), Some(1)),
        Outcome::NoTicket => (State::Queued, Some(Timestamp::EPOCH), Some(0)),
        Outcome::Failed(_) => (State::Failed, None, None),
        Outcome::Lost(_) => (State::Failed, None, Some(2)),
    };
    let (ticket, made) = match outcome {
        Outcome::Created { ticket, made } => (Some(ticket), *made),
        _ => (None, false),
    };
    let failure = outcome.failure();
    let kept = failure.map(|failure| if is_short { failure.cut(SHORT) } else { failure.clone() });
    let query = sqlx::query(SETTLE).bind(state.name()).bind(due_at).bind(ticket.map(text));
    let query = query.bind(made).bind(kept.as_ref().map(text)).bind(Timestamp::now());
    let query = query.bind(id).bind(lease).bind(maybe);
    let Some(row) = query.fetch_optional(&mut *db).await? else { return Ok(None) };
    if !is_short {
        let failure = failure.map(|failure| text(&failure.cut(TRY)));
        let attempt = sqlx::query("INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?)");
        let attempt = attempt.bind(id).bind(number).bind(started_at).bind(Timestamp::now());
        attempt.bind(state.name()).bind(failure).execute(&mut *db).await?;
    }
    if number > TRIES {
        let old = sqlx::query("DELETE FROM attempts WHERE ticket = ? AND number <= ?");
        old.bind(id).bind(number - TRIES).execute(db).await?;
    }
    Ok(Some(job(&row)?))
}

async fn advance(
    db: &mut SqliteConnection,
    settle: Duration,
    all_leases: bool,
) -> sqlx::Result<Vec<Job>> {
    let left = text(&Failure { kind: Kind::Plugin, message: LEFT.to_owned(), help: None });
    let lease_end = if all_leases { Timestamp::END } else { Timestamp::now() };
    sqlx::query(
        "INSERT OR REPLACE INTO attempts SELECT id, attempts, changed_at, ?1, 'unknown', ?2 \
         FROM tickets WHERE due_at > 0 AND due_at <= ?3 AND state = 'creating'",
    )
    .bind(Timestamp::now())
    .bind(&left)
    .bind(lease_end)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "UPDATE tickets SET state = 'unknown', maybe = 1, due_at = ?1 + ?4, changed_at = ?1, \
         failure = ?2 \
         WHERE due_at > 0 AND due_at <= ?3 AND state = 'creating'",
    )
    .bind(Timestamp::now())
    .bind(&left)
    .bind(lease_end)
    .bind(millis(settle))
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "UPDATE tickets SET due_at = 0 WHERE due_at > 0 AND due_at <= ? AND state <> 'creating'",
    )
    .bind(Timestamp::now())
    .execute(&mut *db)
    .await?;
    const EXPIRE: &str = concat!(
        "UPDATE tickets SET state = 'failed', due_at = NULL, changed_at = ?1, seen_at = ?1, \
         failure = json_object( \
         'kind', coalesce(failure ->> 'kind', 'client'), 'help', failure ->> 'help', 'message', \
         'given up after ' || attempts || ' tries' \
         || CASE state WHEN 'unknown' THEN ' (there may be a ticket): ' ELSE ': ' END \
         || coalesce(substr(failure ->> 'message', 1, 8000), 'its turn never came')) \
         WHERE due_at IS NOT NULL AND state <> 'creating' AND expires_at <= ?1 RETURNING ",
        columns!()
    );
    let expired = sqlx::query(EXPIRE).bind(Timestamp::now()).fetch_all(db).await?;
    expired.iter().map(job).collect()
}

async fn order_row(
    db: &mut SqliteConnection,
    id: i64,
    order: Order,
) -> std::result::Result<Done, Undone> {
    const RETRY: &str = concat!(
        "UPDATE tickets SET state = CASE maybe WHEN 1 THEN 'unknown' ELSE 'queued' END, due_at = ",
        due!("?2", "?1"),
        ", maybe = maybe & 1, \
         changed_at = CASE state WHEN 'unknown' THEN changed_at ELSE ?2 END, seen_at = ?2, \
         expires_at = ?4 \
         WHERE id = ?3 AND state IN ('queued', 'unknown', 'failed', 'cancelled') RETURNING ",
        columns!()
    );
    const CANCEL: &str = concat!(
        "UPDATE tickets SET state = 'cancelled', due_at = NULL, changed_at = ?1, seen_at = ?1 \
         WHERE id = ?2 AND state IN ('queued', 'unknown', 'failed') RETURNING ",
        columns!()
    );
    let (wanted, query) = match order {
        Order::Retry { until, settle } => {
            let query =
                sqlx::query(RETRY).bind(millis(settle)).bind(Timestamp::now()).bind(id).bind(until);
            ("retried", query)
        }
        Order::Cancel => ("cancelled", sqlx::query(CANCEL).bind(Timestamp::now()).bind(id)),
    };
    if let Some(row) = query.fetch_optional(&mut *db).await? {
        return Ok(Done::Job(Box::new(Some(job(&row)?))));
    }
    let row = sqlx::query("SELECT state FROM tickets WHERE id = ?").bind(id);
    Err(Undone::Refused(match row.fetch_optional(db).await? {
        Some(row) => StoreError::Conflict { id, wanted, state: state(&row, "state")? },
        None => StoreError::NoSuch(id),
    }))
}

fn text<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts, numbers and lists of them are always JSON")
}

fn state(row: &SqliteRow, column: &str) -> sqlx::Result<State> {
    let name: &str = row.try_get(column)?;
    State::of(name).ok_or_else(|| sqlx::Error::Decode(format!("no state is {name:?}").into()))
}

fn parsed<T: serde::de::DeserializeOwned>(
    row: &SqliteRow,
    column: &str,
) -> sqlx::Result<Option<T>> {
    let json: Option<&str> = row.try_get(column)?;
    let parsed = json.map(serde_json::from_str).transpose();
    parsed.map_err(|cause| sqlx::Error::Decode(Box::new(cause)))
}

fn job(row: &SqliteRow) -> sqlx::Result<Job> {
    Ok(Job {
        id: row.try_get("id")?,
        backend: row.try_get("backend")?,
        key: row.try_get("key")?,
        state: state(row, "state")?,
        level: row.try_get("level")?,
        accepted_at: row.try_get("accepted_at")?,
        changed_at: row.try_get("changed_at")?,
        due_at: row.try_get("due_at")?,
        expires_at: row.try_get("expires_at")?,
        attempts: row.try_get("attempts")?,
        ticket: parsed(row, "ticket")?,
        made: row.try_get("made")?,
        failure: parsed(row, "failure")?,
        tell_argus: row.try_get("tell_argus")?,
    })
}

fn attempt(row: &SqliteRow) -> sqlx::Result<Attempt> {
    Ok(Attempt {
        number: row.try_get("number")?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        outcome: state(row, "outcome")?,
        failure: parsed(row, "failure")?,
    })
}

fn broken(
    path: &Path,
    what: &'static str,
    help: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Broken { path: path.to_owned(), what, help, cause }
}

/// What SQLite's error means for the operator (https://www.sqlite.org/rescode.html).
fn describe(path: &Path, cause: sqlx::Error) -> StoreError {
    let code = match &cause {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
        _ => None,
    };
    let file = path.display();
    let (what, help) = match code.map(|code| code & 0xff) {
        Some(5 | 6) => ("is busy", "another program holds it; is a backup running?".to_owned()),
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

#[cfg(test)]
mod tests;
