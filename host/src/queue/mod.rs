//! From an accepted incident to its ticket, however long that takes: the store's rows at work.
//!
//! Invariant: what `accept` returned Ok for gets exactly one ticket, or stays where a person sees it.

mod retry;
mod runner;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use ticket_plugin_api::{Incident, unix_time};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::QueueConfig;
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::setup::Setup;
use crate::store::{self, Accepted, Failure, Job, Millis, New, Order, State, Store, millis, now};

/// Looks at least that often what time has made due.
const TICK: Duration = Duration::from_millis(500);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Where an incident without a level stands in the order; Argus's worst is 1, its mildest 5.
const NO_LEVEL: i64 = 6;
/// By how much the clock of who sees incidents and this one's may differ,
const CLOCKS: Millis = 60_000;
/// and by how much this one may have been set since the store was opened.
const SET: Millis = 10_000;

/// A backend and a key.
type Place = (String, String);

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// What is under way ends, nothing new begins.
    Stopping,
    /// What is under way is given up.
    Killed,
    /// Nothing is under way any more.
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    /// Since when nothing else worked with the store, by both clocks.
    opened: (Instant, Millis),
    /// What was last asked for before this may have been removed from the store.
    pruned: AtomicI64,
    setup: RwLock<Arc<Setup>>,
    phase: watch::Sender<Phase>,
    /// Rises when there is something to claim, or backends changed.
    changes: watch::Sender<u64>,
    /// Who waits for which (backend, key).
    waiting: Mutex<HashMap<Place, watch::Sender<Option<Job>>>>,
    /// Which rows calls of this process are at work on.
    under_way: Mutex<HashSet<i64>>,
}

/// What came of an incident within the time that somebody waited.
#[derive(Debug)]
pub struct Filed {
    pub job: Job,
    /// Whether this request put it in the queue.
    pub new: bool,
}

impl Queue {
    pub fn new(store: Arc<dyn Store>, setup: Setup, metrics: Arc<Metrics>) -> Arc<Queue> {
        Arc::new(Queue {
            store,
            metrics,
            opened: (Instant::now(), now()),
            pruned: AtomicI64::new(0),
            setup: RwLock::new(Arc::new(setup)),
            phase: watch::Sender::new(Phase::Running),
            changes: watch::Sender::new(0),
            waiting: Mutex::default(),
            under_way: Mutex::default(),
        })
    }

    /// Works until [`Queue::stop`]; returns when all that was under way has ended.
    pub async fn run(self: &Arc<Queue>) {
        let mut runners = JoinSet::new();
        let mut names = HashSet::new();
        let mut phase = self.phase();
        let mut pruned = None::<Instant>;
        let mut failing = false;
        self.reopen().await;
        while *phase.borrow_and_update() == Phase::Running {
            // A backend that the config no longer has keeps its runner, which finds nothing to do.
            for name in self.setup().backends.keys() {
                if names.insert(name.clone()) {
                    runners.spawn(runner::run(Arc::clone(self), name.clone()));
                }
            }
            let mut pause = TICK;
            match self.store.advance(self.policy().settle).await {
                Ok(advanced) => {
                    failing = false;
                    for job in advanced.failed {
                        self.metrics.ticket(&job.backend, "failed");
                        tracing::warn!("ticket {} ({}): given up", job.id, job.key);
                        self.settled(job);
                    }
                    if advanced.changed {
                        self.wake();
                    }
                    if let Some(next) = advanced.next {
                        let until = u64::try_from(next - now()).unwrap_or(0);
                        pause = pause.min(Duration::from_millis(until.max(1)));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!("{}", Failure::from(&Error::from(error)).message);
                    }
                }
            }
            if pruned.is_none_or(|at| at.elapsed() > PRUNE_EVERY) {
                pruned = Some(Instant::now());
                let before = now() - millis(self.policy().keep_for);
                self.pruned.fetch_max(before, Ordering::Relaxed);
                while let Ok(1..) = self.store.prune(before).await {}
            }
            tokio::select! {
                _ = phase.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        while runners.join_next().await.is_some() {}
        self.phase.send_replace(Phase::Over);
    }

    /// Begins nothing new, and gives up what is still under way after `deadline`.
    pub fn stop(self: &Arc<Queue>, deadline: Duration) {
        self.phase.send_replace(Phase::Stopping);
        let queue = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(deadline).await;
            queue.kill();
        });
    }

    pub fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().expect("nobody panics with this lock"))
    }

    /// Goes on with another setup. What failed for reasons that lie in the setup is tried again.
    pub async fn replace(&self, setup: Setup) {
        *self.setup.write().expect("nobody panics with this lock") = Arc::new(setup);
        self.reopen().await;
    }

    /// What failed for reasons that lie in the setup is tried again with this one.
    async fn reopen(&self) {
        for name in self.setup().backends.keys() {
            match self.store.reopen(name, &[Kind::Settings, Kind::Import], self.until()).await {
                Ok(0) => {}
                Ok(reopened) => tracing::info!(
                    "{name}: {reopened} tickets that failed for their settings are tried again"
                ),
                Err(error) => tracing::error!(
                    "{name}: what failed for its settings is not tried again: {}",
                    Failure::from(&Error::from(error)).message
                ),
            }
        }
        self.wake();
    }

    /// Keeps an incident and waits at most `wait` for its ticket.
    ///
    /// # Errors
    /// It is not kept: the store can't.
    pub async fn file(&self, new: New, wait: Duration) -> store::Result<Filed> {
        let deadline = Instant::now() + wait;
        let place = (new.backend.clone(), new.key.clone());
        // Before it is accepted: nothing that happens to it is missed.
        let mut phase = self.phase();
        let mut watched = (!wait.is_zero()).then(|| Watched::new(self, place));
        let Accepted { mut job, new } = self.store.accept(new).await?;
        if new {
            self.wake();
        }
        if let Some(watched) = &mut watched {
            while !job.state.is_final() {
                if self.rests_until(&job) > Some(deadline) {
                    break;
                }
                tokio::select! {
                    Some(later) = watched.changed() => {
                        job = later;
                        continue;
                    }
                    () = reached(&mut phase, Phase::Over) => {}
                    () = tokio::time::sleep_until(deadline.into()) => {}
                }
                // It may have been made meanwhile, or somebody else changed it. It is kept, whether
                // this can be read or not.
                job = self.store.get(job.id).await.ok().flatten().unwrap_or(job);
                break;
            }
        }
        Ok(Filed { job, new })
    }

    /// Before this nothing will happen to a ticket, if that is known.
    fn rests_until(&self, job: &Job) -> Option<Instant> {
        if job.state == State::Creating {
            return None;
        }
        let due = u64::try_from(job.due_at? - now()).unwrap_or(0);
        let due = Instant::now() + Duration::from_millis(due);
        let setup = self.setup();
        let paused = setup.backends.get(&job.backend)?.as_ref().ok()?.next_turn();
        Some(due.max(paused))
    }

    /// Whether an incident began so that no earlier host, and no row that isn't in the store any
    /// more, can have had it.
    ///
    /// A store can't tell: it may have been lost, restored or pruned.
    fn has_begun_since(&self, start_time: &str) -> bool {
        let Some(began) = unix_time(start_time).map(|seconds| seconds.saturating_mul(1000)) else {
            return false;
        };
        let (now, (moment, opened)) = (now(), self.opened);
        let steady = (now - opened).abs_diff(millis(moment.elapsed())) <= SET as u64;
        let known = opened.max(self.pruned.load(Ordering::Relaxed)) + CLOCKS..=now + CLOCKS;
        steady && known.contains(&began)
    }

    /// Does what a person wants of a ticket.
    pub async fn order(&self, id: i64, order: Order) -> store::Result<Job> {
        let job = self.store.order(id, order).await?;
        self.settled(job.clone());
        self.wake();
        Ok(job)
    }

    /// What a person's retry is.
    pub fn retry(&self) -> Order {
        Order::Retry { until: self.until(), settle: self.policy().settle }
    }

    /// Until when a ticket is tried that is tried anew now.
    fn until(&self) -> Millis {
        now() + millis(self.policy().retry_for)
    }

    /// What is under way is given up now.
    pub fn kill(&self) {
        self.phase.send_if_modified(|phase| {
            let stopping = *phase == Phase::Stopping;
            if stopping {
                *phase = Phase::Killed;
            }
            stopping
        });
    }

    fn policy(&self) -> QueueConfig {
        self.setup().config.queue.clone()
    }

    fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn wake(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Tells who waits for a ticket what became of it.
    fn settled(&self, job: Job) {
        let waiting = self.waiting.lock().expect("nobody panics with this lock");
        if let Some(sender) = waiting.get(&(job.backend.clone(), job.key.clone())) {
            sender.send_replace(Some(job));
        }
    }
}

/// Waits until the queue is in that phase.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error: there is no queue any more, which is beyond any phase.
    let _ = phase.wait_for(|phase| *phase == wanted).await;
}

/// Somebody who waits for a ticket.
#[derive(Debug)]
struct Watched<'a> {
    queue: &'a Queue,
    place: Place,
    /// None: it is being dropped.
    receiver: Option<watch::Receiver<Option<Job>>>,
}

impl Watched<'_> {
    fn new(queue: &Queue, place: Place) -> Watched<'_> {
        let mut waiting = queue.waiting.lock().expect("nobody panics with this lock");
        let sender = waiting.entry(place.clone()).or_insert_with(|| watch::Sender::new(None));
        let receiver = Some(sender.subscribe());
        drop(waiting);
        Watched { queue, place, receiver }
    }

    /// The next change; None: nobody will tell any more.
    async fn changed(&mut self) -> Option<Job> {
        let receiver = self.receiver.as_mut()?;
        receiver.changed().await.ok()?;
        receiver.borrow_and_update().clone()
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Ok(mut waiting) = self.queue.waiting.lock() {
            // Under the lock: of two that are dropped together, one is the last.
            self.receiver = None;
            if waiting.get(&self.place).is_some_and(|sender| sender.receiver_count() == 0) {
                waiting.remove(&self.place);
            }
        }
    }
}

/// An incident as the store keeps it.
///
/// # Errors
/// A usage error: nothing identifies its ticket, or there is no such backend.
pub fn new(
    setup: &Setup,
    incident: &Incident,
    key: Option<&str>,
    backend: Option<&str>,
) -> Result<New> {
    let backend = setup.config.backend(backend)?;
    let key = crate::incident::key(incident, key)?;
    let json = serde_json::to_string(&incident.attributes)
        .map_err(|cause| Error::usage("the incident can't be kept").cause(cause))?;
    Ok(New {
        backend: backend.name.clone(),
        key,
        level: incident.level.unwrap_or(NO_LEVEL),
        incident: json,
        expires_at: now() + millis(setup.config.queue.retry_for),
        tell_argus: None,
        reopen: true,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;
    use crate::plugins::catalog::Catalog;
    use crate::store::Sqlite;

    /// A queue without backends.
    pub(super) async fn queue(directory: &std::path::Path) -> Arc<Queue> {
        let config = directory.join("config.toml");
        std::fs::write(&config, "").unwrap();
        let setup = Setup {
            config: Config::load(Some(&config)).unwrap(),
            catalog: Catalog { entries: Vec::new(), warnings: Vec::new(), directories: Vec::new() },
            backends: BTreeMap::new(),
            errors: Vec::new(),
        };
        let path = directory.join("queue.db");
        let store = Sqlite::open_alone(&path, 1 << 30, Duration::ZERO).await.unwrap();
        Queue::new(Arc::new(store), setup, Arc::default())
    }

    /// RFC 3339, so many seconds from now.
    fn in_seconds(seconds: i64) -> String {
        let time = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        time.format(&time::format_description::well_known::Rfc3339).unwrap()
    }

    #[tokio::test]
    async fn an_incident_is_new_if_nothing_that_is_not_in_the_store_can_have_had_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut queue = queue(directory.path()).await;
        let queue = Arc::get_mut(&mut queue).unwrap();
        // Open for two minutes.
        let two_minutes_ago = Instant::now().checked_sub(Duration::from_secs(120)).unwrap();
        queue.opened = (two_minutes_ago, now() - 120_000);
        assert!(queue.has_begun_since(&in_seconds(0)));
        assert!(queue.has_begun_since(&in_seconds(-55)));
        for too_old_or_early in [in_seconds(-65), in_seconds(65), "infinity".into(), "".into()] {
            assert!(!queue.has_begun_since(&too_old_or_early), "{too_old_or_early}");
        }
        // Removed from the store is what was last asked for a moment ago.
        queue.pruned.store(now() - 10_000, Ordering::Relaxed);
        assert!(!queue.has_begun_since(&in_seconds(0)));
        queue.pruned.store(0, Ordering::Relaxed);
        // The clock was set by a minute since.
        queue.opened.1 -= 60_000;
        assert!(!queue.has_begun_since(&in_seconds(0)));
    }
}
