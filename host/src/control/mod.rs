//! How `create` on the command line and a service on the same store keep out of each other's way: while the service runs
//! `create` hands the incident to it, through a socket beside the store; while none runs, it holds a lock of the ticket's key.
//!
//! Invariant: while `create` makes a ticket by itself (and not by force), no service with the same config makes one of that key.

pub(crate) mod exchange;
pub(crate) mod key_locks;
#[cfg(unix)]
pub(crate) mod socket;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::store;
use key_locks::{Attempt, KeyLock, Making};
#[cfg(unix)]
pub(crate) use tokio::net::UnixStream as Stream;

/// The header of a request that says which config the sender has read: see [`config_name`].
pub(crate) const CONFIG: &str = "ticket-host-config";
/// The header of a request whose incident was taken from the Argus of the config.
pub(crate) const FROM_ARGUS: &str = "ticket-host-from-argus";
/// The longest time that somebody waits for a ticket: the service's, or the one that another `create` is making.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long a service may take from when it has the store until it listens. One that ends may hold the store as long.
const STARTING: Duration = Duration::from_secs(5);
/// How long the service may take to write down what it knows.
const CATCHING_UP: Duration = Duration::from_secs(1);
/// Bytes that its answer may have.
const LONGEST_ANSWER: u64 = 1 << 20;
/// How long to wait before it is looked again what others do.
const PAUSE: Duration = Duration::from_millis(20);

/// Where there are no such sockets, nobody has a connection.
#[cfg(not(unix))]
pub(crate) type Stream = tokio::io::DuplexStream;

/// Who makes a ticket.
pub(crate) enum Turn {
    /// The service, which listens.
    Service(Stream),
    /// Who asked, as long as this lock is held. None: no service has been at work there, and none can be.
    Myself(Option<KeyLock>),
}

/// Why it can't be told who makes a ticket.
#[derive(Debug)]
pub(crate) enum Unclear {
    /// This user may not look at what the service has beside its store.
    Closed(io::Error),
    /// Somebody works on the store, and nobody listens.
    Silent,
    /// Another `create` has been making the ticket of this key for all the time that was waited.
    Busy,
}

/// Connects to the service that works on a store. None if there is none.
///
/// # Errors
/// [`Unclear::Closed`], or [`Unclear::Silent`]: too many others wait for it to take their connections.
#[cfg(unix)]
pub(crate) async fn connect(store: &Path) -> Result<Option<Stream>, Unclear> {
    let began = Instant::now();
    loop {
        match socket::connect(store).await {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                if began.elapsed() > STARTING {
                    return Err(Unclear::Silent);
                }
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected.map_err(Unclear::Closed),
        }
    }
}

/// Connects to nobody: there are no such sockets here.
#[cfg(not(unix))]
pub(crate) async fn connect(_: &Path) -> Result<Option<Stream>, Unclear> {
    Ok(None)
}

/// Has the service that works on a store, if there is one, write down what it knows: what was answered a moment ago is then in its file.
pub(crate) async fn catch_up(store: &Path) {
    // The service writes all that waits before it reads anything.
    const READ: &[u8] =
        b"GET /v1/tickets?limit=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let asking = async {
        let mut stream = connect(store).await.ok().flatten()?;
        stream.write_all(READ).await.ok()?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await.ok()
    };
    // A service that doesn't answer is looked at as it is on the disk.
    let _ = tokio::time::timeout(CATCHING_UP, asking).await;
}

/// Waits until it is clear who makes the ticket of that key.
///
/// The lock is taken before it is looked whether the store is held: a service that takes the store after that waits for the lock
/// before it makes a ticket. A service of an older version doesn't, and has no socket; beside that one nothing is made.
pub(crate) async fn turn(store: &Path, key: &str) -> Result<Turn, Unclear> {
    let (began, mut is_told) = (Instant::now(), false);
    loop {
        if let Some(stream) = connect(store).await? {
            return Ok(Turn::Service(stream));
        }
        let attempt = key_locks::attempt(store, key_locks::slot(key), Making::InOwnDirectory);
        let attempt = attempt.map_err(Unclear::Closed)?;
        let is_held = store::is_locked(store).map_err(Unclear::Closed)?;
        match attempt {
            Attempt::Taken(lock) if !is_held => return Ok(Turn::Myself(Some(lock))),
            Attempt::Nowhere if !is_held => return Ok(Turn::Myself(None)),
            _ if is_held && began.elapsed() > STARTING => return Err(Unclear::Silent),
            Attempt::Busy if began.elapsed() > LONGEST_WAIT => return Err(Unclear::Busy),
            _ if !is_told => {
                is_told = true;
                tracing::info!(
                    "waiting: another create, or a service that starts or ends, makes tickets now"
                );
            }
            _ => {}
        }
        // Held no longer than it was looked: the service that holds the store may be waiting for it.
        drop(attempt);
        tokio::time::sleep(PAUSE).await;
    }
}

/// A config file's name, by which two processes tell whether they have the same one, as a header can hold it. None is what the
/// environment says.
pub(crate) fn config_name(file: Option<&Path>) -> String {
    let Some(file) = file else { return String::new() };
    let whole = file.canonicalize().or_else(|_| std::path::absolute(file));
    let whole = whole.unwrap_or_else(|_| file.to_owned());
    percent_encode(whole.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC).to_string()
}
