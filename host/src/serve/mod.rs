//! `ticket-host serve`: the queue at work, with HTTP in front of it, until it is told to stop.

mod admission;
mod api;
mod auth;
mod body;
mod budget;
mod connections;
mod console;
#[cfg(unix)]
mod control;
mod docs;
mod document;
mod history;
mod hooks;
mod live;
mod measure;
mod orphans;
mod outage;
mod overview;
mod patience;
mod problem;
mod request_id;
mod schema;
mod swap;
mod systemd;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use crate::backend::bound_workers;
use crate::control::key_locks;
use crate::error::{Error, Errors, Kind, Result};
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::queue::{Occasion, Queue};
use crate::report;
use crate::setup::{InUse, Setup, Sources};
use crate::store::{self, Store};
use crate::tasks::Tasks;
use crate::terminal::line;
use crate::{alarm, argus};
use auth::Auth;
use budget::Budget;
use connections::{Routes, Stage};
use live::Live;
use orphans::Counted;
use outage::Observed;
pub(crate) use overview::{BackendNow, MinuteNow, Overview};
pub(crate) use schema::{JobView, WholeJob};
use systemd::{Signal, Signals};

/// Connections that the system keeps until they are accepted. Who comes then tries again only a second later.
const BACKLOG: u32 = 4096;
/// How long all may take to be written to the store's one file at the end.
const CLOSING: Duration = Duration::from_secs(2);
/// How long the result of a probe of the store is good, since each probe writes to its disk.
const PROBE: Duration = Duration::from_secs(1);
/// How long a probe of the store may take.
const SLOW: Duration = Duration::from_secs(5);
/// Bytes of all requests together that have come and are not in the store yet.
const BODIES: u32 = 128 << 20;
/// Bytes of all lists of tickets together that are read from the store, or on their way to who asked. Three of the
/// largest lists at once: the store has four readers, and one is left for the probes.
const ANSWERS: u32 = 48 << 20;
/// How long a request waits for memory that others still use, before it is refused.
const TURN: Duration = Duration::from_secs(10);

/// How long calls that were given up may take to be recorded, when the service stops.
const GRACE: Duration = Duration::from_secs(5);

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Service {
    queue: Arc<Queue>,
    /// What the watcher of Argus did last.
    argus: Arc<argus::Progress>,
    auth: RwLock<Arc<Auth>>,
    /// Where it listens. The config may name another address by now.
    address: SocketAddr,
    /// What the last probe of the store gave, and when.
    probed: tokio::sync::Mutex<Option<(Instant, bool)>>,
    overview: overview::Looked,
    /// Which backends make the tickets of which, as a person said, and who is to hear when that changes.
    swaps: Mutex<swap::Swaps>,
    swapped: Notify,
    console: console::Console,
    /// How many tickets had no backend when they were last counted.
    orphans: Mutex<Option<Counted>>,
    bodies: Budget,
    answers: Budget,
    /// What webhooks may take beside that.
    hooks: Budget,
    webhooks: hooks::Rates,
}

impl Service {
    fn auth(&self) -> Arc<Auth> {
        Arc::clone(&self.auth.read().expect("nobody panics with this lock"))
    }

    /// Whether the store takes incidents. Looks once a second, however many ask. A store that takes longer than
    /// somebody waits takes none.
    async fn store_works(&self) -> bool {
        let mut probed = self.probed.lock().await;
        if let Some((_, works)) = probed.filter(|(at, _)| at.elapsed() < PROBE) {
            return works;
        }
        let probe = tokio::time::timeout(SLOW, self.queue.store.probe()).await;
        let works = matches!(probe, Ok(Ok(())));
        *probed = Some((Instant::now(), works));
        works
    }

    /// How many tickets wait for a backend that the config doesn't have, as far as that is known. Nobody waits for that on a store
    /// that doesn't work.
    async fn orphans(&self, store_works: bool) -> i64 {
        let count = async {
            if !store_works {
                return None;
            }
            let counts = self.queue.store.counts().await.ok()?;
            Some(orphans::of(&counts, &self.queue.setup()))
        };
        orphans::known(&self.orphans, count).await
    }

    /// Logs what waits for backends that the config doesn't have.
    async fn tell_orphans(&self) {
        // An error is logged where all errors of the store are.
        let Ok(counts) = self.queue.store.counts().await else { return };
        let orphans = orphans::of(&counts, &self.queue.setup());
        for (backend, tickets) in &orphans {
            tracing::warn!("{}", orphans::text(backend, *tickets));
        }
        *lock(&self.orphans) = Some(Counted::now(&orphans));
    }

    /// Goes on with another config and other plugins.
    ///
    /// # Errors
    /// They can't be used. Then nothing was changed.
    async fn replace(&self, mut setup: Setup, occasion: Occasion) -> Result<()> {
        let older = self.queue.setup();
        let swaps = swap::noted(&*self.queue.store).await;
        let lacking = swap::apply(&swaps, &mut setup.config);
        let mut errors = Errors::default();
        let auth = errors.keep(Auth::new(&setup.config.serve, self.address));
        let setup = errors.keep(setup.after(&older));
        let (auth, setup) = errors.or(auth.zip(setup))?;
        for fixed in [
            (setup.config.serve.listen != older.config.serve.listen).then_some("serve.listen"),
            (setup.config.queue.path != older.config.queue.path).then_some("queue.path"),
            (setup.config.queue.database != older.config.queue.database).then_some("queue.url"),
            (setup.config.queue.max_bytes != older.config.queue.max_bytes)
                .then_some("queue.max_megabytes"),
        ]
        .into_iter()
        .flatten()
        {
            tracing::warn!("{fixed} was changed: that takes effect when the service is started");
        }
        bound_workers(&setup.config.workers);
        say(&setup);
        lacking.iter().for_each(|lack| tracing::warn!("{}", line(lack)));
        *lock(&self.swaps) = swaps;
        *self.auth.write().expect("nobody panics with this lock") = Arc::new(auth);
        self.queue.replace(setup, occasion).await;
        history::keep(&*self.queue.store, &self.queue.setup()).await;
        Ok(())
    }
}

/// Logs where a setup came from, and what is odd about it.
fn say(setup: &Setup) {
    tracing::info!("{}", line(&setup.config.places()));
    setup.config.notes.iter().for_each(|note| tracing::info!("{}", line(note)));
    setup.warnings().iter().for_each(|warning| tracing::warn!("{}", line(warning)));
    for (_, error) in &setup.errors {
        tracing::error!("a backend is not ready; its incidents wait\n{}", report::text(error));
    }
}

/// Runs the service. `listening` hears the address once it is served.
///
/// # Errors
/// It can't start, or one of its tasks broke while it ran.
pub(crate) async fn run(sources: Sources, listening: impl FnOnce(SocketAddr)) -> Result<()> {
    let metrics = Arc::new(Metrics::default());
    let mut live = Live::new(sources);
    let mut setup = live.load(&metrics, &InUse::new()).await?;
    bound_workers(&setup.config.workers);
    say(&setup);
    let auth = Auth::new(&setup.config.serve, setup.config.serve.listen)?;
    let store = store::open(&setup.config.queue).await?;
    match store.probe().await {
        // What is in it is worked on all the same.
        Err(full) if full.is_full() => {}
        probed => probed?,
    }
    let store = Arc::new(Observed::new(store));
    history::keep(&*store, &setup).await;
    let swaps = swap::noted(&*store).await;
    let lacking = swap::apply(&swaps, &mut setup.config);
    lacking.iter().for_each(|lack| tracing::warn!("{}", line(lack)));
    let (listener, address) = listen_on(setup.config.serve.listen)?;
    let doors = Doors {
        #[cfg(unix)]
        socket: control::listen_on(&setup.config.queue.path),
        listener,
    };
    if auth.is_open() {
        tracing::warn!(
            "there are no tokens: everybody on this machine may make tickets, and nobody else"
        );
    }
    let mut signals = Signals::new()?;
    let service = Arc::new(Service {
        queue: Queue::new(Arc::clone(&store) as Arc<dyn Store>, setup, metrics),
        argus: Arc::default(),
        auth: RwLock::new(Arc::new(auth)),
        address,
        probed: tokio::sync::Mutex::default(),
        overview: overview::Looked::default(),
        swaps: Mutex::new(swaps),
        swapped: Notify::new(),
        console: console::Console::new()?,
        orphans: Mutex::default(),
        bodies: Budget::new(BODIES, TURN),
        answers: Budget::new(ANSWERS, TURN),
        hooks: Budget::new(hooks::BODIES, TURN),
        webhooks: hooks::Rates::default(),
    });
    let mut running = Running::start(service, store, live, doors);
    listening(address);
    systemd::ready();
    let store = Arc::clone(&running.queue.store);
    let broken = running.until_stopped(&mut signals).await;
    systemd::stopping();
    let stopped = running.stop(&mut signals).await;
    // What isn't in the store's file by then is in its log, where the next host finds it.
    if stopped.is_ok() {
        let _ = tokio::time::timeout(CLOSING, store.close()).await;
    }
    broken.and(stopped)
}

/// A socket that has the address. Nobody can connect to it yet.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A service that is started again need not wait for the connections of the one before to be forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Why nobody can listen at the address.
pub(crate) fn unbindable(address: SocketAddr, cause: std::io::Error) -> Error {
    // systemd starts the service again, but not if settings are to blame. An address that another program has, or that
    // this machine doesn't have yet, may be there at the next start.
    let kind = match cause.kind() {
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable => Kind::Plugin,
        _ => Kind::Settings,
    };
    Error::new(kind, format!("{address} can't be listened on"))
        .help("is another one running? choose another with --listen or serve.listen")
        .cause(cause)
}

fn listen_on(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = bind(address).and_then(|socket| socket.listen(BACKLOG));
    let listener = listener.map_err(|cause| unbindable(address, cause))?;
    // Where any port was wanted, it has one now.
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

/// Where the service listens.
struct Doors {
    /// The socket beside the store, if it can be listened on.
    #[cfg(unix)]
    socket: Option<crate::control::socket::Listener>,
    listener: TcpListener,
}

/// Makes tickets of what is in the queue, as soon as nobody makes one on the command line who began before this service.
///
/// # Errors
/// As [`Queue::run`].
async fn work(queue: Arc<Queue>, mut stage: watch::Receiver<Stage>) -> Result<()> {
    let store = queue.setup().config.queue.path.clone();
    let locks = tokio::select! {
        locks = key_locks::take_all(&store) => locks,
        // The queue sees by itself that it has nothing to begin any more.
        _ = stage.wait_for(|stage| *stage != Stage::Open) => Vec::new(),
    };
    let ended = queue.run().await;
    drop(locks);
    ended
}

/// The service at work: its tasks, and how to tell them to end.
struct Running {
    queue: Arc<Queue>,
    tasks: Tasks,
    queueing: AbortHandle,
    /// The tasks that can be ended at any time.
    others: Vec<AbortHandle>,
    /// Asks for config and plugins to be read again.
    reloads: mpsc::Sender<()>,
    stage: watch::Sender<Stage>,
}

impl Running {
    fn start(service: Arc<Service>, store: Arc<Observed>, live: Live, doors: Doors) -> Running {
        let (queue, progress) = (Arc::clone(&service.queue), Arc::clone(&service.argus));
        let (reloads, reload) = mpsc::channel(1);
        let (stage, stages) = watch::channel(Stage::Open);
        let routes = Routes {
            all: api::router(Arc::clone(&service)),
            probes: api::probes_alone(Arc::clone(&service)),
        };
        let mut tasks = Tasks::with(queue.pulses.clone());
        let queueing = tasks.start("the queue", work(Arc::clone(&queue), stages.clone()));
        #[cfg(unix)]
        if let Some(socket) = doors.socket {
            let router = control::router(&routes.all, Arc::clone(&service));
            let serving = control::serve(socket, router, stages.clone());
            tasks.start("listening on the socket", serving);
        }
        tasks.start("accepting connections", connections::serve(doors.listener, routes, stages));
        let others = vec![
            tasks.start("reading changed settings", live.follow(service, reload)),
            tasks.start("watching the store", store.watch()),
            tasks.start("watching Argus", argus::watch(Arc::clone(&queue), Arc::clone(&progress))),
            tasks.start(
                "looking whether ticketing works",
                alarm::watch(Arc::clone(&queue), progress),
            ),
            tasks.start("telling systemd", systemd::watchdog(queue.pulses.clone())),
        ];
        Running { queue, tasks, queueing, others, reloads, stage }
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// A task has ended by itself: without it the service can't keep what it promises.
    async fn until_stopped(&mut self, signals: &mut Signals) -> Result<()> {
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => return Ok(()),
                    // An error: one that waits already is enough.
                    Signal::Reload => drop(self.reloads.try_send(())),
                },
                Some(ended) = self.tasks.next() => {
                    let error = ended.unasked();
                    tracing::error!("{}", line(&error.message));
                    return Err(error);
                }
            }
        }
    }

    /// Ends all tasks; what is under way may take its time, until a second signal.
    ///
    /// # Errors
    /// A task broke while it ended, or did not end in time.
    async fn stop(mut self, signals: &mut Signals) -> Result<()> {
        self.others.iter().for_each(AbortHandle::abort);
        let deadline = self.queue.setup().config.serve.shutdown;
        self.queue.stop(deadline);
        tracing::info!("stopping; what is under way may take {} s", deadline.as_secs());
        self.stage.send_replace(Stage::Closing);
        let mut result = Ok(());
        let mut latest = pin!(tokio::time::sleep(deadline + GRACE));
        loop {
            // Until then, who waits for a ticket may still get it.
            if self.queueing.is_finished() {
                self.stage.send_replace(Stage::Closed);
            }
            tokio::select! {
                ended = self.tasks.next() => match ended {
                    Some(ended) => result = result.and(ended.asked()),
                    None => {
                        let unrecorded = self.queue.unrecorded();
                        let all = unrecorded.is_empty();
                        return if all { result } else { result.and(Err(unfinished(&unrecorded))) };
                    }
                },
                signal = signals.next() => if signal == Signal::Stop {
                    self.queue.kill();
                    let soon = tokio::time::Instant::now() + GRACE;
                    let sooner = soon.min(latest.deadline());
                    latest.as_mut().reset(sooner);
                },
                () = &mut latest => return result.and(Err(unfinished(&self.queue.unrecorded()))),
            }
        }
    }
}

/// Why the service ends though not all has ended: the store doesn't let it record what became of these tickets.
fn unfinished(tickets: &[i64]) -> Error {
    let said = match tickets {
        [] => "it is told to stop, and the store doesn't answer".to_owned(),
        tickets => {
            let numbers: Vec<String> = tickets.iter().map(i64::to_string).collect();
            format!(
                "it is told to stop, and the store doesn't answer: what became of these tickets is not recorded: {}",
                numbers.join(", ")
            )
        }
    };
    Error::plugin(said).help(
        "look whether another program holds the store, or its disk hangs. When the service is started again, it looks for \
         the tickets of all calls that were under way",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unit says RestartPreventExitStatus= for the exit code of settings errors.
    #[tokio::test]
    async fn settings_are_not_to_blame_for_an_address_that_another_program_has() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = listen_on(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind, Kind::Plugin, "{error:?}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_task_that_panics_ends_the_service_with_an_error_that_says_which() {
        let directory = tempfile::tempdir().unwrap();
        let queue = crate::queue::tests::queue(directory.path()).await;
        let mut tasks = Tasks::default();
        let queueing = tasks.start("the queue", {
            let queue = Arc::clone(&queue);
            async move { queue.run().await }
        });
        let others = vec![tasks.start("watching Argus", std::future::pending())];
        tasks.start("accepting connections", async { panic!("on purpose") });
        let (reloads, _reload) = mpsc::channel(1);
        let stage = watch::Sender::new(Stage::Open);
        let mut running = Running { queue, tasks, queueing, others, reloads, stage };
        let mut signals = Signals::new().unwrap();
        let error = running.until_stopped(&mut signals).await.unwrap_err();
        assert_eq!(error.message, "accepting connections panicked: on purpose");
        assert_ne!(error.kind.exit_code(), 0);
        // The others end as if it had been told to.
        running.stop(&mut signals).await.unwrap();
    }
}
