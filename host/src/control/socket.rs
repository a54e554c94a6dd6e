//! The socket beside a store: its name, who may connect, and how both ends reach it however long its path is.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Bytes of the path in a socket's address, the NUL at its end included (unix(7); other systems have less).
const LONGEST: usize = if cfg!(target_os = "linux") { 108 } else { 104 };
/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 256;

/// A socket that is listened on. Its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// What tells its file from one that a later service has put in its place.
    inode: (u64, u64),
}

/// Where the socket of a store is: beside the file itself, and not beside a link to it.
pub(crate) fn path(store: &Path) -> PathBuf {
    let whole = fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    whole.with_added_extension("socket")
}

/// Listens on the socket of a store, whose lock this process has: a socket that is there is the one of a service that was killed.
///
/// # Errors
/// There is something else, or it can't be made.
pub(crate) fn listen(store: &Path) -> io::Result<Listener> {
    let path = path(store);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, "it is no socket")),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => return Err(cause),
    }
    let socket = UnixSocket::new_stream()?;
    let (address, directory) = address(&path)?;
    socket.bind(&address)?;
    drop(directory);
    // Nobody can connect before it is listened on.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let made = fs::symlink_metadata(&path)?;
    Ok(Listener { listener: socket.listen(BACKLOG)?, path, inode: (made.dev(), made.ino()) })
}

impl Listener {
    /// The next connection, and whether it is of the service's own user or root.
    pub(crate) async fn accept(&self) -> io::Result<(UnixStream, bool)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?.uid();
        let may = peer == 0 || peer == rustix::process::geteuid().as_raw();
        Ok((stream, may))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.inode) {
            // Where it stays, the next service removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the service that listens on the socket of a store. None if none does.
///
/// # Errors
/// It can't be told: this user may not look there, or not connect.
pub(super) async fn connect(store: &Path) -> io::Result<Option<UnixStream>> {
    let path = path(store);
    let connected = match address(&path) {
        Ok((address, _directory)) => UnixStream::connect(address).await,
        Err(cause) => Err(cause),
    };
    match connected {
        Ok(stream) if is_trusted(&stream, &path)? => Ok(Some(stream)),
        Ok(_) => {
            let why = "somebody listens there who is neither root, nor this user, nor the directory's owner";
            Err(io::Error::new(ErrorKind::PermissionDenied, why))
        }
        Err(cause) => match cause.kind() {
            // The last: nobody can listen where the name is too long.
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::ConnectionRefused
            | ErrorKind::InvalidFilename => Ok(None),
            _ => Err(cause),
        },
    }
}

/// Whether who listens may be told of incidents, and believed: in a directory that others may write to anybody can listen.
fn is_trusted(stream: &UnixStream, path: &Path) -> io::Result<bool> {
    let listener = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let owner = path.parent().map(fs::metadata).transpose()?.map(|directory| directory.uid());
    Ok(listener == 0 || listener == own || owner == Some(listener))
}

/// The path as an address has room for it. A longer one leads through its directory, which is open for as long as the second
/// is kept (https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html).
fn address(path: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() < LONGEST {
        return Ok((path.to_owned(), None));
    }
    #[cfg(target_os = "linux")]
    if let (Some(directory), Some(name)) = (path.parent(), path.file_name()) {
        use rustix::fs::{Mode, OFlags};
        use std::os::fd::AsRawFd;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        if short.as_os_str().len() < LONGEST {
            return Ok((short, Some(directory)));
        }
    }
    Err(io::Error::new(ErrorKind::InvalidFilename, "its path is too long for a socket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_has_a_socket_however_long_the_path_is_that_leads_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        for store in [directory.path().join("queue.db"), deep.join("queue.db")] {
            assert!(connect(&store).await.unwrap().is_none());
            let listener = listen(&store).unwrap();
            let (accepted, connected) = tokio::join!(listener.accept(), connect(&store));
            assert!(accepted.unwrap().1 && connected.unwrap().is_some());
            assert_eq!(fs::metadata(path(&store)).unwrap().mode() & 0o7777, 0o600);
            drop(listener);
            assert!(!path(&store).exists());
        }
        let unnamed = directory.path().join("n".repeat(200));
        assert!(listen(&unnamed).is_err());
        assert!(connect(&unnamed).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_later_service_takes_the_place_of_a_killed_one_and_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("queue.db");
        let killed = listen(&store).unwrap();
        let later = listen(&store).unwrap();
        drop(killed);
        assert!(connect(&store).await.unwrap().is_some());
        drop(later);
        // Its file is there, and nobody listens.
        drop(std::os::unix::net::UnixListener::bind(path(&store)).unwrap());
        assert!(connect(&store).await.unwrap().is_none());
        fs::remove_file(path(&store)).unwrap();
        fs::write(path(&store), "").unwrap();
        assert_eq!(listen(&store).unwrap_err().to_string(), "it is no socket");
    }
}
