//! What can be told of a store without changing anything about it: no file is made or migrated.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::lock::is_locked;
use super::{broken, describe, schema};
use crate::store::Result;

/// What is where a store should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    Nothing,
    /// A store that a running host works on.
    InUse,
    /// A store that no host works on, and the version of its tables. None if it has none yet, or has them in its
    /// journal only, which the next host reads.
    AtRest(Option<i64>),
}

impl Found {
    /// The version that this program brings a store's tables to.
    pub fn newest() -> i64 {
        schema::NEWEST
    }
}

/// Looks at the store `path`, which this process must not have open.
///
/// # Errors
/// It can't be read, or is not a store.
pub fn inspect(path: &Path) -> Result<Found> {
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
    let failed = |cause| describe(path, cause);
    // Opened so, SQLite makes none of its files beside the store, and reads none.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let store = Connection::open_with_flags(immutable(path), flags).map_err(failed)?;
    let version = schema::version(&store).map_err(failed)?;
    Ok(Found::AtRest(Some(version).filter(|version| *version > 0)))
}

/// The URI by which SQLite takes a file as one that nobody changes (https://www.sqlite.org/uri.html).
fn immutable(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // Of Windows' own writing SQLite takes the slashes both ways, and wants one before the drive's letter.
    let path = if cfg!(windows) { format!("/{}", path.replace('\\', "/")) } else { path };
    format!("file:{path}?immutable=1")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::super::Sqlite;
    use super::*;
    use crate::store::Store;

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
        let path = directory.path().join("50% of #1?.db");
        assert_eq!(inspect(&path).unwrap(), Found::Nothing);
        assert!(listing(directory.path()).is_empty());
        let store = Sqlite::open_alone(&path, 1 << 30).await.unwrap();
        assert_eq!(inspect(&path).unwrap(), Found::InUse);
        store.close().await;
        let before = listing(directory.path());
        assert_eq!(before.len(), 1, "all is in the one file: {before:?}");
        assert_eq!(inspect(&path).unwrap(), Found::AtRest(Some(Found::newest())));
        assert_eq!(listing(directory.path()), before);
        fs::write(&path, "this is not a database, but a text of some length".repeat(100)).unwrap();
        assert!(inspect(&path).unwrap_err().to_string().contains("is corrupt"));
    }
}
