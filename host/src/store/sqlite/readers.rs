//! The connections that only read from a store, beside its writer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::lock::{Files, Lock};
use super::transaction::Statements;
use super::{Clock, closed, connect, describe, gone};
use crate::lock::lock;
use crate::store::sql::{Db, Fallible};
use crate::store::{Result, Timestamp};

/// So many read at once.
const MOST: usize = 4;

/// Reads on threads that may wait for the disk.
#[derive(Clone)]
pub(super) struct Readers(Arc<Shared>);

struct Shared {
    path: PathBuf,
    clock: Clock,
    files: Arc<Mutex<Files>>,
    turns: Arc<Semaphore>,
    /// Connections that nobody reads from now.
    idle: Mutex<Vec<Connection>>,
    /// None for who works beside the host, and when all connections have ended. It is the last field, so that it is dropped
    /// when SQLite has closed the file.
    lock: Mutex<Option<Arc<Lock>>>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readers").field(&self.0.path).finish()
    }
}

impl Readers {
    pub(super) fn new(
        path: &Path,
        clock: Clock,
        files: Arc<Mutex<Files>>,
        lock: Option<Arc<Lock>>,
    ) -> Readers {
        let (turns, idle) = (Arc::new(Semaphore::new(MOST)), Mutex::default());
        Readers(Arc::new(Shared {
            path: path.to_owned(),
            clock,
            files,
            turns,
            idle,
            lock: Mutex::new(lock),
        }))
    }

    /// Reads something.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        does: impl FnOnce(&Db<'_>) -> Fallible<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.0);
        self.with(move |connection| {
            let name = shared.path.display().to_string();
            let db = Db {
                sql: &Statements::of(connection),
                began: Instant::now(),
                now: shared.clock.now(),
                at: Timestamp::now(),
                opening: shared.clock.opening,
                name: &name,
            };
            does(&db).map_err(|cause| describe(&shared.path, cause))
        })
        .await
    }

    /// Does something with a connection that only reads.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        does: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.0);
        // An error means that the store is closed.
        let turn = Arc::clone(&self.0.turns).acquire_owned().await;
        let Ok(turn) = turn else { return Err(closed(&self.0.path)) };
        let reading = tokio::task::spawn_blocking(move || {
            // Also when nobody waits for the result any more, it is somebody's turn until it was read.
            let _turn = turn;
            // Of files that are gone SQLite goes on to show what it knows.
            if !lock(&shared.files).are_in_place() {
                return Err(gone(&shared.path));
            }
            let idle = lock(&shared.idle).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => shared.connect()?,
            };
            let done = does(&connection);
            lock(&shared.idle).push(connection);
            done
        });
        reading.await.unwrap_or_else(|cause| match cause.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(closed(&self.0.path)),
        })
    }

    /// Ends all connections, when those who read now have read.
    pub(super) async fn close(&self) {
        // An error means that they were ended before.
        if let Ok(_turns) = self.0.turns.acquire_many(MOST as u32).await {
            self.0.turns.close();
            lock(&self.0.idle).clear();
            lock(&self.0.lock).take();
        }
    }
}

impl Shared {
    fn connect(&self) -> Result<Connection> {
        let connection = connect(&self.path, u64::MAX)?;
        let only = connection.pragma_update(None, "query_only", true);
        only.map_err(|cause| describe(&self.path, cause))?;
        Ok(connection)
    }
}
