//! The store of several hosts, in PostgreSQL: one connection that writes in groups, and some that read.
//!
//! Invariant: what is decided by time is decided by the database's clock; and nothing is certain that was certain before the
//! database was started anew, or a backup was put back.

mod engine;
mod listening;
mod schema;
mod session;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::sql::{Db, Fallible, Hold, SqlError, values};
use super::tables::Tables;
use super::writer::{Undone, Writer};
use super::{Advanced, Result, StoreError, broken, changes, closed};
use crate::lock::lock;
use crate::machine::Moment;
use engine::PgEngine;
use listening::Listening;
use session::{Asking, Reach, Runtime, Session};

/// So many read at once.
const READERS: usize = 4;
/// How soon it is looked again at what time has made due, where not all of it could be done.
const AGAIN: Duration = Duration::from_millis(50);
/// How often a host looks what others did.
const POLL: Duration = Duration::from_secs(1);

/// The store in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    reach: Arc<Reach>,
    writer: Writer,
    turns: Arc<Semaphore>,
    /// Connections that nobody reads from now.
    idle: Arc<Mutex<Vec<Session>>>,
    /// None for who only looks at what is there, and where nobody could be heard.
    listening: Option<Listening>,
}

impl Postgres {
    /// Opens the store, and makes its tables, or brings them to this version. `is_pooled`: each transaction may get another connection.
    ///
    /// # Errors
    /// The database can't be reached or used, or its tables are of a newer version that this one can't work with.
    pub async fn open(options: PgConnectOptions, is_pooled: bool) -> Result<Postgres> {
        Postgres::start(Reach::new(options, is_pooled), true).await
    }

    /// Opens the store that is there.
    ///
    /// # Errors
    /// As for [`Postgres::open`]; or there are no tables of this version.
    pub async fn look_at(options: PgConnectOptions, is_pooled: bool) -> Result<Postgres> {
        Postgres::start(Reach::new(options, is_pooled), false).await
    }

    /// SQL that brings the tables that there are to this version, for an administrator to run.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn missing(options: PgConnectOptions, is_pooled: bool) -> Result<String> {
        once(&Arc::new(Reach::new(options, is_pooled)), schema::missing).await
    }

    async fn start(reach: Reach, migrates: bool) -> Result<Postgres> {
        let reach = Arc::new(reach);
        once(&reach, move |session, name| schema::prepare(session, name, migrates)).await?;
        let writer = Writer::start(PgEngine::new(Arc::clone(&reach))).map_err(|cause| {
            let help = "may the host's user start another thread?".to_owned();
            broken(&reach.name, "can't be written to", help, Some(Box::new(cause)))
        })?;
        let turns = Arc::new(Semaphore::new(READERS));
        let listening = if migrates { reach.listen() } else { None };
        Ok(Postgres { reach, writer, turns, idle: Arc::default(), listening })
    }
}

/// Does something on a connection that is for nothing else.
async fn once<T: Send + 'static>(
    reach: &Arc<Reach>,
    does: impl FnOnce(&Session, &str) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (to, runtime) = (Arc::clone(reach), Runtime::Host(Handle::current()));
    let doing = tokio::task::spawn_blocking(move || {
        let session = to.connect(&runtime).map_err(|cause| describe(&to.name, cause))?;
        does(&session, &to.name)
    });
    doing.await.unwrap_or_else(|_| Err(closed(&reach.name)))
}

#[async_trait]
impl Tables for Postgres {
    fn name(&self) -> &str {
        &self.reach.name
    }

    fn writer(&self) -> &Writer {
        &self.writer
    }

    async fn reading<T: Send + 'static>(
        &self,
        does: impl for<'a, 'b> FnOnce(&'a Db<'b>) -> Fallible<T> + Send + 'static,
    ) -> Result<T> {
        // An error means that the store is closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let Ok(turn) = turn else { return Err(closed(self.name())) };
        let (reach, idle) = (Arc::clone(&self.reach), Arc::clone(&self.idle));
        let runtime = Runtime::Host(Handle::current());
        let reading = tokio::task::spawn_blocking(move || {
            // Also when nobody waits for the result any more, it is somebody's turn until it was read.
            let _turn = turn;
            let mut session = lock(&idle).pop();
            let mut does = Some(does);
            let mut result = None;
            let read =
                session::transaction(&mut session, &reach, &runtime, Asking::Read, &mut |db| {
                    if let Some(does) = does.take() {
                        result = Some(does(db)?);
                    }
                    Ok(())
                });
            lock(&idle).extend(session);
            read.map_err(|cause| describe(&reach.name, cause))?;
            result.ok_or_else(|| describe(&reach.name, SqlError::Gone))
        });
        reading.await.unwrap_or_else(|cause| match cause.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(closed(self.name())),
        })
    }

    async fn do_what_is_due(&self) -> Result<Advanced> {
        let next = |db: &Db<'_>| {
            let at = db
                .first(changes::NEXT_DUE, &[], Hold::No, |columns| columns.take::<Option<i64>>())?;
            Ok((at.flatten().map(Moment::from_millis), db.now))
        };
        let (at, now) = self.reading(next).await?;
        let is_due = at.is_some_and(|at| at <= now);
        if !is_due {
            return Ok(Advanced { next: at.map(|at| at.since(now)), ..Advanced::default() });
        }
        let changed = self.write(|db| Ok(changes::advance(db, false)?)).await? > 0;
        self.write(keep).await?;
        let (at, now) = self.reading(next).await?;
        // What another host holds, or what more than one write is for, is looked at again soon.
        Ok(Advanced { changed, next: at.map(|at| at.since(now).max(AGAIN)) })
    }

    async fn try_to_write(&self) -> Result<()> {
        // It must reach the disk like everything else.
        self.write(keep).await
    }

    /// What is gone is noticed by who asks for it.
    async fn is_in_place(&self) -> Result<()> {
        Ok(())
    }

    fn is_shared(&self) -> Option<Duration> {
        Some(POLL)
    }

    async fn told_by_others(&self) {
        match &self.listening {
            Some(listening) => listening.told().await,
            None => std::future::pending().await,
        }
    }

    async fn take_lead(&self, host: &str, time: Duration) -> Result<bool> {
        // In a row, and not by an advisory lock: that would stay with a host that is cut off until the server notices, and
        // with a pooler's connection.
        const LEAD: &str = "UPDATE leader SET host = ?1, until = ?2 WHERE host = ?1 OR until <= ?3";
        let host = host.to_owned();
        let lead = move |db: &Db<'_>| {
            let values = values![&host, (db.now + time).millis(), db.now.millis()];
            Ok(db.execute(LEAD, values)? > 0)
        };
        self.write(lead).await
    }

    async fn end(&self) {
        // An error means that they were ended before.
        if let Ok(_turns) = self.turns.acquire_many(READERS as u32).await {
            self.turns.close();
            lock(&self.idle).clear();
        }
        self.writer.close().await;
    }
}

/// Writes the store's time down, unless another host does so now.
fn keep(db: &Db<'_>) -> std::result::Result<(), Undone> {
    const HELD: &str = "SELECT s.now FROM clock AS s";
    const KEEP: &str = "UPDATE clock SET now = ?1 WHERE now < ?1";
    if db.first(HELD, &[], Hold::Skip, |_| Ok(()))?.is_some() {
        db.execute(KEEP, values![db.now.millis()])?;
    }
    Ok(())
}

/// PostgreSQL's code of an error (https://www.postgresql.org/docs/current/errcodes-appendix.html).
fn code(cause: &SqlError) -> Option<String> {
    match cause {
        SqlError::Postgres(cause) => Some(cause.as_database_error()?.code()?.into_owned()),
        _ => None,
    }
}

/// What PostgreSQL's error means for the operator.
fn describe(store: &str, cause: SqlError) -> StoreError {
    const WAITS: &str = "until it is there again, incidents are refused (503) and nothing is lost that was accepted";
    let code = code(&cause);
    let (what, help) = match code.as_deref() {
        Some("53100") => (super::FULL, "free space on the database's disk".to_owned()),
        Some("28P01" | "28000") => (
            "refuses this user",
            "are user and password in queue.url and queue.password right, and does pg_hba.conf let them in?".to_owned(),
        ),
        Some("3D000") => ("does not exist", "have it created (createdb), or mend queue.url".to_owned()),
        Some("42501") => (
            "can't be used by this user",
            "have a database administrator run what `ticket-host queue migrate --print` prints".to_owned(),
        ),
        Some("25006") => (
            "can only be read",
            "is it a standby? name the primary in queue.url".to_owned(),
        ),
        Some(code) if is_of_server(code) => (super::GOING, WAITS.to_owned()),
        Some(_) => ("can't be read or written", "see the database's own log".to_owned()),
        None if is_of_connection(&cause) => {
            (super::AWAY, format!("is the database up, and the network to it? {WAITS}"))
        }
        None => ("can't be read or written", "report this with the log".to_owned()),
    };
    broken(store, what, help, Some(Box::new(cause)))
}

/// Whether another host did something at the same time: a deadlock, a row that it made or removed, or that this host was held up for so
/// long that the server gave its transaction up.
fn is_of_others(cause: &SqlError) -> bool {
    matches!(cause, SqlError::Raced | SqlError::Elsewhere)
        || matches!(code(cause).as_deref(), Some("40P01" | "40001" | "23505" | "23503" | "25P03"))
}

/// Whether the connection is what failed.
fn is_of_connection(cause: &SqlError) -> bool {
    use sqlx::Error::{Configuration, Io, Protocol, Tls, WorkerCrashed};
    match cause {
        SqlError::Silent(_) | SqlError::Down(_) => true,
        SqlError::Postgres(cause) => {
            matches!(cause, Io(_) | Tls(_) | Protocol(_) | Configuration(_) | WorkerCrashed)
        }
        _ => false,
    }
}

/// Whether the server can do nothing at all now: it is shut down, has no connection or room to give, or is a standby.
fn is_of_server(code: &str) -> bool {
    matches!(&code[..code.len().min(2)], "08" | "53" | "58" | "28" | "3D")
        || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25006")
}
