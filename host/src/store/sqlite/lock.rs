//! Who works on a store's file, and whether that is still the file that it was.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::broken;
use crate::store::Result;

/// How long to wait for another host to let go of the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock that a host holds on its store for as long as it lives.
///
/// It is flock()'s, on the database's own inode, so it doesn't matter by which name a second host finds it. It must be
/// taken before SQLite opens the file and let go after SQLite has closed it: whoever closes any descriptor of a file loses
/// the locks of fcntl() that the process has there, which are SQLite's (https://www.sqlite.org/howtocorrupt.html).
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the store's file where there is none, and takes its lock.
    ///
    /// # Errors
    /// The file can't be made or locked, or another host has it.
    pub(super) fn take(path: &Path) -> Result<Lock> {
        let directory = match path.parent() {
            Some(directory) if directory.as_os_str().is_empty() => Path::new("."),
            Some(directory) => directory,
            None => Path::new("/"),
        };
        let unopened = |file: &Path, cause| {
            let help = format!("let the host's user read and write {}", file.display());
            broken(path, "can't be opened", help, Some(Box::new(cause)))
        };
        make_private(directory).map_err(|cause| {
            let help = format!("let the host's user write to {}", directory.display());
            broken(path, "can't be opened", help, Some(Box::new(cause)))
        })?;
        let file = open_private(path).map_err(|cause| unopened(path, cause))?;
        let file = match lock_file(path) {
            None => file,
            Some(beside) => open_private(&beside).map_err(|cause| unopened(&beside, cause))?,
        };
        let started = Instant::now();
        loop {
            match file.try_lock() {
                // Somebody may have put another file in its place since it was opened: then that one is the store.
                Ok(()) if is_at(&file, path) => return Ok(Lock { _file: file }),
                Ok(()) => return Lock::take(path),
                // The other host may just be ending; a worker that it had begun to start holds the lock, too.
                Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
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
    }
}

/// Whether a file is the one of that name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    let opened = file.metadata().ok().map(|file| of(&file));
    opened.is_some() && opened == inode(path)
}

/// A file that is open can't be replaced there.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Whether a host works on the store. To find that out its lock is held for a moment, for which a host that is being started
/// waits. Not for a process that has the store open.
pub(crate) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(lock_file(path).as_deref().unwrap_or(path)) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => return Err(cause),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

/// The file beside the store that is locked in its place, where a lock would keep SQLite from the file itself.
fn lock_file(path: &Path) -> Option<PathBuf> {
    (!cfg!(unix)).then(|| path.with_added_extension("lock"))
}

/// Makes a directory that only its owner may look into; one that is there stays as it is.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)
}

/// As [`make_private`], for a file. SQLite gives the files that it makes beside it the same permissions.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.create(true).read(true).append(true).open(path)
}

/// Which files a store lies in, so that it is noticed when somebody deletes or replaces them.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// The database and its log, each once it has been seen.
    known: [Option<Inode>; 2],
}

/// What tells a file from all others of the machine.
type Inode = (u64, u64);

impl Files {
    pub(super) fn of(path: &Path) -> Files {
        // The log lies beside the file itself, and not beside a link to it.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut files = Files { path, known: [None; 2] };
        files.are_in_place();
        files
    }

    /// Whether the files are those that they were. It only looks at their names: opening one and closing it again would
    /// cost SQLite its locks.
    pub(super) fn are_in_place(&mut self) -> bool {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let now = [inode(&self.path), inode(Path::new(&log))];
        let same = self.known.iter().zip(&now).all(|(known, now)| known.is_none() || known == now);
        if same {
            self.known = now;
        }
        same
    }
}

#[cfg(unix)]
fn inode(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|file| of(&file))
}

#[cfg(unix)]
fn of(file: &fs::Metadata) -> Inode {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// A file that is open can't be deleted or replaced there.
#[cfg(not(unix))]
fn inode(_: &Path) -> Option<Inode> {
    None
}
