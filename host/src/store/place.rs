//! Opens the store that the config names.

use std::path::Path;
use std::sync::Arc;

use super::{Postgres, Sqlite, Store, make_private};
use crate::config::QueueConfig;
use crate::error::{Error, Result};

/// How many bytes are left on the disk on which a file, or directory, is. None: that can't be told.
#[cfg(unix)]
pub(crate) fn free(file: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(file).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
pub(crate) fn free(_: &Path) -> Option<u64> {
    None
}

/// Opens the store to work on it: makes it where there is none, and brings it to this version.
///
/// # Errors
/// It can't be made, reached or used, is of a newer version, or another host has the file.
pub async fn open(settings: &QueueConfig) -> Result<Arc<dyn Store>> {
    let Some(database) = &settings.database else {
        return Ok(Arc::new(Sqlite::open_alone(&settings.path, settings.max_bytes).await?));
    };
    // Beside where the file would be lie the service's socket and locks.
    if let Some(directory) = settings.path.parent() {
        make_private(directory).map_err(|cause| {
            let what = format!("{} can't be made", directory.display());
            let help = "let the host's user make it, or choose another place for the service's socket: queue.path";
            Error::settings(what).cause(cause).help(help)
        })?;
    }
    Ok(Arc::new(Postgres::open(database.options()?, database.is_pooled()).await?))
}

/// Opens the store that is there, beside hosts that may be at work on it.
///
/// # Errors
/// It isn't there, can't be reached or used, or is of another version.
pub async fn look_at(settings: &QueueConfig) -> Result<Arc<dyn Store>> {
    match &settings.database {
        None => Ok(Arc::new(Sqlite::open(&settings.path, settings.max_bytes)?)),
        Some(database) => {
            Ok(Arc::new(Postgres::look_at(database.options()?, database.is_pooled()).await?))
        }
    }
}
