//! The tables, and how a store of an earlier version comes to them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite_migration::{Error as MigrationError, M, MigrationDefinitionError, Migrations};

use super::{broken, describe};
use crate::store::{Result, StoreError};

/// What makes the tables, step by step. A step that a release has is never edited. How many were done is kept as the
/// database's user_version.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("../migrations/0001_tickets.sql")),
    M::up(include_str!("../migrations/0002_steps.sql")),
    M::up(include_str!("../migrations/0003_certain.sql")),
    M::up(include_str!("../migrations/0004_life.sql")),
    M::up(include_str!("../migrations/0005_back.sql")),
    M::up(include_str!("../migrations/0006_pasted.sql")),
    M::up(include_str!("../migrations/0007_audit.sql")),
    M::up(include_str!("../migrations/0008_requests.sql")),
];

/// The version that this program brings a store to.
pub(super) const NEWEST: i64 = STEPS.len() as i64;

/// The version of a store. 0 is one that has no tables yet.
pub(super) fn version(store: &Connection) -> rusqlite::Result<i64> {
    let version: i64 = store.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // The first version noted what it had done in a table of its own, and its user_version only when it looked whether the
    // store can be written to.
    let first = version == 0
        && store.table_exists(None, "_sqlx_migrations")?
        && store.table_exists(None, "attempts")?;
    Ok(if first { 1 } else { version })
}

/// Refuses a store that isn't of this program's version.
pub(super) fn check(store: &Connection, path: &Path) -> Result<()> {
    match version(store).map_err(|cause| describe(path, cause))? {
        NEWEST => Ok(()),
        newer if newer > NEWEST => Err(too_new(path, None)),
        _ => {
            let help = "start the service once, which brings it to this version".to_owned();
            Err(broken(path, "is of an earlier version", help, None))
        }
    }
}

/// Brings a store to this program's version. What it was before is kept in a file beside it, whose name is returned. Only for
/// who holds the store's lock.
///
/// # Errors
/// It is of a newer version, another host of an earlier version works on it, or it can't be written to.
pub(super) fn migrate(store: &mut Connection, path: &Path) -> Result<Option<PathBuf>> {
    let failed = |cause| describe(path, cause);
    let version = version(store).map_err(failed)?;
    let _lock = if version == 1 { lock_of_first_version(path)? } else { None };
    let is_older = (1..NEWEST).contains(&version);
    let copy = if is_older { Some(keep_copy(store, path, version)?) } else { None };
    if version == 1 {
        store.pragma_update(None, "user_version", 1).map_err(failed)?;
        to_latest(store, path)?;
        // An error leaves a file that nobody looks at any more.
        let _ = fs::remove_file(old_lock(path));
    } else {
        to_latest(store, path)?;
    }
    Ok(copy)
}

fn to_latest(store: &mut Connection, path: &Path) -> Result<()> {
    let failed = |cause| describe(path, cause);
    // With foreign keys a table that is dropped takes with it what refers to it, also where another takes its name.
    store.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    let done = Migrations::from_slice(STEPS).to_latest(store);
    store.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    done.map_err(|error| match error {
        MigrationError::RusqliteError { err, .. } => describe(path, err),
        MigrationError::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            too_new(path, Some(error))
        }
        other => {
            let help = "report this with the log: the store was not changed".to_owned();
            broken(path, "can't be brought to this version", help, Some(Box::new(other)))
        }
    })
}

fn too_new(path: &Path, cause: Option<MigrationError>) -> StoreError {
    let help = "was it made by a newer ticket-host? run that one".to_owned();
    let cause = cause.map(|cause| Box::new(cause) as Box<_>);
    broken(path, "has a form that this version doesn't know", help, cause)
}

/// Copies a store, as it is, to a file beside it.
fn keep_copy(store: &Connection, path: &Path, version: i64) -> Result<PathBuf> {
    let kept = path.with_added_extension(format!("version-{version}"));
    // What an earlier attempt left, which the store has been spared by since.
    let _ = fs::remove_file(&kept);
    copy(store, path, &kept)?;
    Ok(kept)
}

/// Writes all of a store to a new file that only its owner may read, as of one moment; others may go on to write to the store.
///
/// # Errors
/// The file exists, or can't be written.
pub(super) fn copy(store: &Connection, path: &Path, to: &Path) -> Result<()> {
    let unwritten = |cause: std::io::Error| {
        let help = format!("is there room on its disk, and may {} be made?", to.display());
        broken(path, "can't be copied", help, Some(Box::new(cause)))
    };
    let Some(name) = to.to_str() else {
        return Err(unwritten(std::io::Error::other("its name is not UTF-8, which SQLite wants")));
    };
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create_new(true).open(to).map_err(unwritten)?;
    let into = store.execute("VACUUM INTO ?1", [name]);
    let done = into.map_err(|cause| describe(path, cause));
    let done = done.and_then(|_| file.sync_all().map_err(unwritten));
    if done.is_err() {
        // An error: there is a file that isn't whole, of which this error tells.
        let _ = fs::remove_file(to);
    }
    done
}

/// The file by whose lock hosts of the first version found out whether another one is at work.
fn old_lock(path: &Path) -> PathBuf {
    path.with_added_extension("lock")
}

/// Holds off hosts of the first version.
///
/// # Errors
/// One works on the store.
fn lock_of_first_version(path: &Path) -> Result<Option<File>> {
    // On Windows it is the lock of this version, too.
    if !cfg!(unix) {
        return Ok(None);
    }
    let Ok(file) = File::open(old_lock(path)) else { return Ok(None) };
    file.try_lock().map_err(|cause| {
        let help = "end the host of the earlier version that works on it".to_owned();
        broken(path, "is used by another host", help, Some(Box::new(cause)))
    })?;
    Ok(Some(file))
}
