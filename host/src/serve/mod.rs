//! `ticket-host serve`: the queue at work, with HTTP in front of it, until it is told to stop.

mod api;
mod auth;
mod live;
mod problem;
mod systemd;

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::argus;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::report;
use crate::setup::{Setup, Sources};
use crate::store::{Sqlite, Store as _};
pub(crate) use api::JobView;
use auth::Auth;
use live::Live;

/// How long a connection may take to send a request's head, or may be idle.
const HEAD: Duration = Duration::from_secs(15);
/// Connections at once; who comes then waits.
const CONNECTIONS: usize = 8192;
/// A probe of the store writes to its disk.
const PROBE: Duration = Duration::from_secs(1);
/// How long answers may take to leave when the service stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Service {
    queue: Arc<Queue>,
    auth: RwLock<Arc<Auth>>,
    /// Where it listens, whatever the config says by now.
    address: SocketAddr,
    /// What the last probe of the store gave, and when.
    probed: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Service {
    fn auth(&self) -> Arc<Auth> {
        Arc::clone(&self.auth.read().expect("nobody panics with this lock"))
    }

    /// Whether the store can be written to. Looks once a second, however many ask.
    async fn store_works(&self) -> bool {
        let mut probed = self.probed.lock().await;
        match *probed {
            Some((at, works)) if at.elapsed() < PROBE => works,
            _ => {
                let result = self.queue.store.probe().await;
                if let Err(error) = &result {
                    tracing::error!("{error}");
                }
                *probed = Some((Instant::now(), result.is_ok()));
                result.is_ok()
            }
        }
    }

    /// Goes on with another config and other plugins.
    ///
    /// # Errors
    /// They can't be used: then nothing is changed.
    async fn replace(&self, setup: Setup) -> Result<()> {
        let auth = Auth::new(&setup.config.serve)?;
        let older = self.queue.setup();
        auth.may_listen(self.address)?;
        let setup = setup.after(&older)?;
        for fixed in [
            (setup.config.serve.listen != older.config.serve.listen).then_some("serve.listen"),
            (setup.config.queue.path != older.config.queue.path).then_some("queue.path"),
            (setup.config.queue.max_bytes != older.config.queue.max_bytes)
                .then_some("queue.max_megabytes"),
        ]
        .into_iter()
        .flatten()
        {
            tracing::warn!("{fixed} was changed: that takes effect when the service is started");
        }
        say(&setup);
        *self.auth.write().expect("nobody panics with this lock") = Arc::new(auth);
        self.queue.replace(setup).await;
        Ok(())
    }
}

/// What is odd about a setup, in the log.
fn say(setup: &Setup) {
    setup.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    for (_, error) in &setup.errors {
        tracing::error!("a backend is not ready; its incidents wait\n{}", report::text(error));
    }
}

/// Runs the service. `listening` hears the address once it is served.
pub(crate) async fn run(
    sources: Sources,
    listen: Option<SocketAddr>,
    listening: impl FnOnce(SocketAddr),
) -> Result<()> {
    let metrics = Arc::new(Metrics::default());
    let mut live = Live::new(sources);
    let mut setup = live.load(&metrics).await?;
    if let Some(listen) = listen {
        setup.config.serve.listen = listen;
    }
    say(&setup);
    let address = setup.config.serve.listen;
    let auth = Auth::new(&setup.config.serve)?;
    auth.may_listen(address)?;
    let settings = &setup.config.queue;
    let store = Sqlite::open_alone(&settings.path, settings.max_bytes, settings.settle).await?;
    store.probe().await?;
    raise_open_files();
    let listener = TcpListener::bind(address).await.map_err(|cause| {
        Error::settings(format!("{address} can't be listened on"))
            .help("is another one running? choose another with --listen or serve.listen")
            .cause(cause)
    })?;
    let address = listener.local_addr().unwrap_or(address);
    if auth.is_open() {
        tracing::warn!(
            "there are no tokens: everybody on this machine may make tickets, and nobody else"
        );
    }
    let mut signals = systemd::Signals::new()?;
    let queue = Queue::new(Arc::new(store), setup, metrics);
    let working = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.run().await }
    });
    let service = Arc::new(Service {
        queue: Arc::clone(&queue),
        auth: RwLock::new(Arc::new(auth)),
        address,
        probed: tokio::sync::Mutex::default(),
    });
    let (reloads, reload) = tokio::sync::mpsc::channel(1);
    let live = tokio::spawn(live.follow(Arc::clone(&service), listen, reload));
    let argus = tokio::spawn(argus::watch(Arc::clone(&queue)));
    let watchdog = tokio::spawn(systemd::watchdog(Arc::clone(&queue)));
    let (stop, stopped) = watch::channel(false);
    let accepting = tokio::spawn(accept(listener, api::router(Arc::clone(&service)), stopped));
    listening(address);
    systemd::ready();
    while let systemd::Signal::Reload = signals.next().await {
        // One that waits already is enough.
        let _ = reloads.try_send(());
    }
    systemd::stopping();
    for task in [live, argus, watchdog] {
        task.abort();
    }
    let deadline = queue.setup().config.serve.shutdown;
    queue.stop(deadline);
    tracing::info!("stopping; what is under way may take {} s", deadline.as_secs());
    let _ = stop.send(true);
    tokio::pin!(working);
    loop {
        tokio::select! {
            // An error: it panicked; there is nothing left to wait for.
            _ = &mut working => break,
            signal = signals.next() => if signal == systemd::Signal::Stop {
                queue.kill();
            },
        }
    }
    if let Ok(connections) = accepting.await {
        let _ = tokio::time::timeout(FAREWELL, connections.shutdown()).await;
    }
    Ok(())
}

/// Serves each connection that comes, until `stopped`; then those that are open.
async fn accept(
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> GracefulShutdown {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let open = GracefulShutdown::new();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            _ = stopped.changed() => return open,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small answers leave at once.
                let _ = stream.set_nodelay(true);
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .serve_connection(
                        TokioIo::new(stream),
                        TowerToHyperService::new(router.clone()),
                    );
                let serving = open.watch(serving);
                tokio::spawn(async move {
                    // A client that goes away, or talks nonsense, is its own affair.
                    let _ = serving.await;
                    drop(permit);
                });
            }
            // Such as too many open files: others must end first.
            Err(cause) => {
                tracing::warn!("a connection could not be taken: {cause}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Each connection and each worker needs some: as many as may be had.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // Who may not is no worse off.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}
