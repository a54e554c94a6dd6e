//! The locks by which a `create` without a service, another one, and a service that starts wait for each other.
//!
//! Beside the store is a directory with a fixed number of files, which are only ever locked (flock). `create` holds the one that
//! its ticket's key leads to, from before it looks for a ticket until it has made one. A service takes all of them before it
//! makes its first ticket, and keeps them until it makes none any more. What can happen:
//!
//! - Two `create` of one key: the second waits, and finds the ticket of the first.
//! - A service starts meanwhile: it waits for those who hold a lock. Who comes after it finds the lock taken, and the socket.
//! - Who holds a lock was stopped, or hangs: the service waits no longer than anybody waits for a ticket, says so, and goes on.
//! - Two services: the store's own lock, which a service takes before these, lets only one go on.
//! - One that holds a lock is killed: the system lets go of it.
//! - Somebody removes the directory: a lock counts only if its file is still the one of that name. Those who hold locks of
//!   removed files are no longer heeded, which is why `create` looks first whether a service listens, or holds the store.
//! - Root runs `create` beside a service of another user: it makes no file there, since the service could not open it. The service
//!   has made all of them; where it never ran, no row of it waits that it could make a ticket of.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ticket_host_worker::Digest;

use super::LONGEST_WAIT;
use crate::store::{make_private, open_private};

/// How many keys can be locked at the same time, if no two of them lead to the same file.
const SLOTS: u8 = 64;
/// How often a service looks whether a lock is free.
const PAUSE: Duration = Duration::from_millis(20);
/// For how long nobody wants to hear of a service that waits.
const SOON: Duration = Duration::from_secs(1);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct KeyLock {
    _file: File,
}

/// What came of trying to take a lock.
#[derive(Debug)]
pub(crate) enum Attempt {
    Taken(KeyLock),
    Busy,
    /// There is no such file, and it can't be made.
    Nowhere,
}

/// Who makes the directory and the files where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Making {
    Always,
    /// Only who the store's directory belongs to.
    InOwnDirectory,
}

/// The number of the file that a key leads to.
pub(crate) fn slot(key: &str) -> u8 {
    Digest::of(key.as_bytes()).bytes()[0] % SLOTS
}

/// Takes all locks of a store, for as long as others take to let go of them, but no longer than [`LONGEST_WAIT`]. A lock that can't be
/// taken doesn't keep the service from its work.
pub(crate) async fn take_all(store: &Path) -> Vec<KeyLock> {
    let (began, mut is_told) = (Instant::now(), false);
    let mut held = Vec::new();
    for slot in 0..SLOTS {
        loop {
            match attempt(store, slot, Making::Always) {
                Ok(Attempt::Taken(lock)) => {
                    held.push(lock);
                    break;
                }
                Ok(Attempt::Busy) if began.elapsed() > LONGEST_WAIT => {
                    tracing::warn!(
                        "a `ticket-host create` that began before this service has not ended for {} s; tickets are made all \
                         the same, and if it goes on it can make a second one of its incident: end it",
                        LONGEST_WAIT.as_secs()
                    );
                    break;
                }
                Ok(Attempt::Busy) => {
                    if !is_told && began.elapsed() > SOON {
                        is_told = true;
                        tracing::info!(
                            "no ticket is made until a `ticket-host create` has ended that began before this service"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Attempt::Nowhere) => {
                    tell_unlocked(store, &io::Error::from(ErrorKind::NotFound));
                    return held;
                }
                Err(cause) => {
                    tell_unlocked(store, &cause);
                    return held;
                }
            }
        }
    }
    held
}

fn tell_unlocked(store: &Path, cause: &io::Error) {
    tracing::warn!(
        "a `ticket-host create` that is at work while the service starts can make the same ticket: {} can't be locked: \
         {cause}; let the host's user write there",
        directory(store).display()
    );
}

/// Takes a lock if it is free.
///
/// # Errors
/// Its file is there, and can't be opened or locked.
pub(crate) fn attempt(store: &Path, slot: u8, making: Making) -> io::Result<Attempt> {
    let path = directory(store).join(format!("{slot:02}"));
    loop {
        let Some(file) = open(store, &path, making)? else { return Ok(Attempt::Nowhere) };
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => return Ok(Attempt::Taken(KeyLock { _file: file })),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Busy),
            // Such as a file system without locks. A service couldn't lock its store there, either.
            Err(TryLockError::Error(_)) => return Ok(Attempt::Nowhere),
        }
    }
}

fn directory(store: &Path) -> PathBuf {
    let whole = fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    whole.with_added_extension("locks")
}

/// Opens a lock's file, or makes it. None if it isn't there and can't be made, or isn't to be made by this user.
fn open(store: &Path, path: &Path, making: Making) -> io::Result<Option<File>> {
    let mut options = File::options();
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // Root opens them in another user's directory.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    match options.read(true).open(path) {
        Ok(file) => return Ok(Some(file)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) if cause.kind() == ErrorKind::NotADirectory => return Ok(None),
        Err(cause) => return Err(cause),
    }
    let (locks, whole) = (path.parent(), path.ancestors().nth(2));
    let (Some(locks), Some(whole)) = (locks, whole) else { return Ok(None) };
    if making == Making::InOwnDirectory && !is_own(whole) {
        return Ok(None);
    }
    tracing::debug!("{}: the locks are made for {}", locks.display(), store.display());
    Ok(make_private(locks).and_then(|()| open_private(path)).ok())
}

/// Whether a directory is this user's, or isn't there and would be. Of one that root makes nobody knows whose it is to be.
#[cfg(unix)]
fn is_own(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid();
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    match fs::metadata(directory) {
        Ok(found) => found.uid() == own.as_raw(),
        Err(_) => !own.is_root(),
    }
}

#[cfg(not(unix))]
fn is_own(_: &Path) -> bool {
    true
}

/// Whether a file is the one of that name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode =
        |found: io::Result<fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    let opened = inode(file.metadata());
    opened.is_some() && opened == inode(fs::symlink_metadata(path))
}

/// A file that is open can't be replaced there.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(store: &Path, slot: u8) -> Attempt {
        attempt(store, slot, Making::InOwnDirectory).unwrap()
    }

    #[test]
    fn a_lock_is_held_once_until_it_is_dropped_and_others_are_free() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("queue.db");
        let held = take(&store, 3);
        assert!(matches!(held, Attempt::Taken(_)), "{held:?}");
        assert!(matches!(take(&store, 3), Attempt::Busy));
        assert!(matches!(take(&store, 4), Attempt::Taken(_)));
        drop(held);
        assert!(matches!(take(&store, 3), Attempt::Taken(_)));
        assert!(!store.exists());
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_not_heeded() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("queue.db");
        let _held = take(&store, 3);
        fs::remove_dir_all(super::directory(&store)).unwrap();
        assert!(matches!(take(&store, 3), Attempt::Taken(_)));
    }

    #[tokio::test]
    async fn a_service_waits_for_every_lock_and_then_has_all_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("queue.db");
        let held = take(&store, 63);
        let mut all = Box::pin(take_all(&store));
        let soon = Duration::from_millis(100);
        assert!(tokio::time::timeout(soon, &mut all).await.is_err(), "one is held");
        drop(held);
        let all = all.await;
        assert_eq!(all.len(), usize::from(SLOTS));
        assert!((0..SLOTS).all(|slot| matches!(take(&store, slot), Attempt::Busy)));
    }

    #[test]
    fn where_nothing_can_be_made_there_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(take(&file.join("queue.db"), 1), Attempt::Nowhere));
    }
}
