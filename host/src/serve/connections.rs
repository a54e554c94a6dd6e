//! Accepts the service's connections and serves each, in full or, beyond the bounds, with the probes only.
//!
//! Invariant: every connection is accepted at once, and is closed when its client stops sending or reading. So
//! however many clients do neither, everybody can ask whether the service is alive.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::admission::{Admission, Bounds, Open, peer};
use super::patience::Patient;
use crate::error::{Error, Result};

/// How long a client may take to send a request's head, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(15);
/// How long an answer waits for a client that doesn't read on.
const UNREAD: Duration = Duration::from_secs(15);
/// How long a connection of the reserve lasts, whatever its client does.
const PROBE: Duration = Duration::from_secs(5);
/// Bytes of requests that are read ahead. A request's head may have no more.
const BUFFER: usize = 64 << 10;
/// How long answers may take to leave when the service stops.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);
/// How long to wait after a connection could not be accepted.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// How often it is logged that there are too many connections, at most.
const SAID: Duration = Duration::from_secs(60);

/// How far the service's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// No new connections; those that are open are served.
    Closing,
    /// Each connection ends after the answer that is under way.
    Closed,
}

/// What clients can ask for.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    pub all: Router,
    /// What is answered however many connections there are.
    pub probes: Router,
}

/// Serves each connection that comes, until the stage says otherwise.
///
/// # Errors
/// Nobody is there any more who could tell the stage.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Routes,
    mut stage: watch::Receiver<Stage>,
) -> Result<()> {
    let gone = |_| Error::plugin("nobody tells when to stop accepting connections");
    let mut connections = Connections {
        routes,
        open: Open::new(Bounds::of(raise_open_files())),
        tasks: JoinSet::new(),
        reserve: HashMap::new(),
        graceful: GracefulShutdown::new(),
        said: None,
    };
    while *stage.borrow_and_update() == Stage::Open {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => connections.take(stream, address.ip()),
                // Such as too many open files: others must end first.
                Err(cause) => {
                    tracing::warn!("a connection could not be accepted: {cause}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = connections.tasks.join_next_with_id() => connections.ended(ended),
            changed = stage.changed() => changed.map_err(gone)?,
        }
    }
    drop(listener);
    stage.wait_for(|stage| *stage == Stage::Closed).await.map_err(gone)?;
    let _ = tokio::time::timeout(FAREWELL, connections.graceful.shutdown()).await;
    Ok(())
}

/// The connections that are open, each a task.
struct Connections {
    routes: Routes,
    open: Open<Id>,
    tasks: JoinSet<()>,
    /// The tasks of the reserve, which may have to make room.
    reserve: HashMap<Id, AbortHandle>,
    graceful: GracefulShutdown,
    /// When it was last said that there are too many.
    said: Option<Instant>,
}

impl Connections {
    fn take(&mut self, stream: TcpStream, address: IpAddr) {
        let peer = peer(address);
        let admission = self.open.admit(peer);
        let task = match &admission {
            Admission::Full => {
                let serving = self.serving(stream, true, &self.routes.all);
                self.tasks.spawn(serving)
            }
            Admission::Reserve { instead_of } => {
                self.say(peer);
                if let Some(oldest) = instead_of.and_then(|id| self.reserve.remove(&id)) {
                    oldest.abort();
                }
                let serving = self.serving(stream, false, &self.routes.probes);
                let task = self.tasks.spawn(async {
                    let _ = tokio::time::timeout(PROBE, serving).await;
                });
                self.reserve.insert(task.id(), task.clone());
                task
            }
        };
        self.open.opened(task.id(), peer, &admission);
    }

    fn serving(
        &self,
        stream: TcpStream,
        keep_alive: bool,
        router: &Router,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Small answers leave at once.
        let _ = stream.set_nodelay(true);
        exchange(stream, keep_alive, router, &self.graceful)
    }

    fn ended(&mut self, ended: std::result::Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!("a request broke the service's own code: {error}");
                }
                error.id()
            }
        };
        self.open.closed(id);
        self.reserve.remove(&id);
    }

    fn say(&mut self, peer: IpAddr) {
        if self.said.is_none_or(|at| at.elapsed() > SAID) {
            self.said = Some(Instant::now());
            tracing::warn!(
                "there are too many connections, of {peer} or in all: new ones get /healthz, /readyz and \
                 /metrics, and 503 for all else"
            );
        }
    }
}

/// Answers what comes on a connection, within the bounds of time and size that all connections have.
pub(super) fn exchange<S>(
    stream: S,
    keep_alive: bool,
    router: &Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .keep_alive(keep_alive)
        .serve_connection(
            TokioIo::new(Patient::new(stream, UNREAD)),
            TowerToHyperService::new(router.clone()),
        );
    let connection = graceful.watch(connection);
    async move {
        // A client that goes away, or talks nonsense, is its own affair.
        let _ = connection.await;
    }
}

/// Each connection and each worker needs some open files: lets this process have as many as it may, and
/// says how many these are.
fn raise_open_files() -> u64 {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // Where that is refused, there are as many as before.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        // None: there is no limit.
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }
    #[cfg(not(unix))]
    u64::MAX
}
