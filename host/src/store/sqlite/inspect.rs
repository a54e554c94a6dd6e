//! What can be told of a store without changing anything about it: no file is made or migrated.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::{MIGRATIONS, broken, describe, lock_file};
use crate::store::Result;

/// What is where a store should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    Nothing,
    /// A store that a running host works on.
    InUse,
    /// A store that no host works on, and the version of its schema. None if it has no schema yet, or has it in its
    /// journal only, which the next host reads.
    AtRest(Option<i64>),
}

impl Found {
    /// The version that this program brings a store's schema to.
    pub fn newest() -> i64 {
        MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
    }
}

/// Looks at the store `path`.
///
/// # Errors
/// It can't be read, or is not a store.
pub async fn inspect(path: &Path) -> Result<Found> {
    let unreadable = |cause: std::io::Error| {
        let help = format!("let the host's user read {} and its directory", path.display());
        broken(path, "can't be read", help, Some(Box::new(cause)))
    };
    if !fs::exists(path).map_err(unreadable)? {
        return Ok(Found::Nothing);
    }
    if is_locked(path).map_err(unreadable)? {
        return Ok(Found::InUse);
    }
    // Opened so, SQLite makes none of its files beside the store, and reads none.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(true)
        .disable_statement_logging();
    let failed = |cause| describe(path, cause);
    let mut store = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let version = version(&mut store).await.map_err(failed)?;
    // An error while a connection is closed that only read changes nothing.
    let _ = store.close().await;
    Ok(Found::AtRest(version))
}

async fn version(store: &mut SqliteConnection) -> sqlx::Result<Option<i64>> {
    const HAS: &str = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    const VERSION: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    let has: i64 = sqlx::query(HAS).fetch_one(&mut *store).await?.try_get(0)?;
    if has == 0 {
        return Ok(None);
    }
    sqlx::query(VERSION).fetch_one(store).await?.try_get(0)
}

/// Whether a running host holds the store's lock. To find that out it is held for a moment, for which a host that is
/// being started waits.
fn is_locked(path: &Path) -> std::io::Result<bool> {
    let lock = match File::open(lock_file(path)) {
        Ok(lock) => lock,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => return Err(cause),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::super::Sqlite;
    use super::*;

    fn listing(directory: &Path) -> Vec<(PathBuf, SystemTime)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        files.sort();
        files
    }

    #[tokio::test]
    async fn a_store_is_looked_at_and_nothing_beside_it_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue.db");
        assert_eq!(inspect(&path).await.unwrap(), Found::Nothing);
        assert!(listing(directory.path()).is_empty());
        let store = Sqlite::open_alone(&path, 1 << 30, Duration::ZERO).await.unwrap();
        assert_eq!(inspect(&path).await.unwrap(), Found::InUse);
        drop(store);
        // The writer ends, and lets go of the lock, in its own time.
        while inspect(&path).await.unwrap() == Found::InUse {
            tokio::task::yield_now().await;
        }
        let before = listing(directory.path());
        assert_eq!(inspect(&path).await.unwrap(), Found::AtRest(Some(Found::newest())));
        assert_eq!(listing(directory.path()), before);
        fs::write(&path, "this is not a database, but a text of some length".repeat(100)).unwrap();
        assert!(inspect(&path).await.unwrap_err().to_string().contains("is corrupt"));
    }
}
