//! From an accepted incident to its ticket, however long that takes: the store's rows at work.
//!
//! Invariant: what `accept` returned Ok for gets exactly one ticket, or stays where a person sees it.

mod agree;
mod clock;
mod decide;
mod inbox;
mod lane;
mod lead;
mod pasted;
mod retry;
mod runner;
mod search;
mod source;
mod standing;
mod states;
mod update;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use ticket_plugin_api::message::TicketName;
use ticket_plugin_api::{Action, Incident, Ticket, unix_time};
use tokio::sync::{Notify, oneshot, watch};
use tracing::Instrument;

use crate::backend::Backend;
use crate::config::QueueConfig;
use crate::error::{Error, Kind, Result};
pub use crate::incident::Identified;
use crate::incident::{self, ARGUS};
use crate::life::{OnTicketClosed, OnTicketPasted};
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::setup::Setup;
use crate::store::{
    self, Accepted, By, CLOCKS, Failed, Failure, Job, New, Order, State, Store, Timestamp,
};
use crate::tasks::{Pulses, Tasks};
use crate::terminal::counted;
use clock::Clock;
use inbox::Inbox;
use lane::Lane;
use lead::Lead;
use runner::Room;
use standing::{End, Heard, Record};
pub use standing::{Standing, Unfit};
pub(crate) use states::believe;

/// How often to look at what time has made due, at least.
const TICK: Duration = Duration::from_millis(500);
/// When it is first looked whether another host has made a ticket that is waited for here.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const REMIND_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// By how much this machine's clock may have been set since the store was opened.
const SET: Duration = Duration::from_secs(10);

/// Why config and plugins were read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A file changed, which may happen all the time.
    Changed,
    /// A person asked for it, who may have mended what can't be seen from here.
    Asked,
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Calls that are under way go on; no new ones begin.
    Stopping,
    /// Calls that are under way are given up.
    Killed,
    /// No call is under way any more.
    Over,
}

/// The rows of a store at work, with the backends that make their tickets.
#[derive(Debug)]
pub struct Queue {
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    /// The pulses of the queue's own tasks, and of those who work beside it.
    pub(crate) pulses: Pulses,
    /// When the store was opened, after which no other host worked with it: by the clock that nobody can set, and
    /// by the machine's.
    opened: (Instant, Timestamp),
    /// What was last asked for before this may have been removed from the store: a [`Timestamp`].
    pruned: AtomicI64,
    setup: RwLock<Arc<Setup>>,
    /// The backends of which what waits, or failed, is still to be looked at, since they are new or may have been mended; None if
    /// the store has been told all that the setup means for it.
    undecided: Mutex<Option<BTreeSet<String>>>,
    /// What each backend's ticket system told by webhooks.
    inboxes: Mutex<HashMap<String, Arc<Inbox>>>,
    /// The tickets that people gave to incidents, which are to be looked at.
    offers: pasted::Offers,
    /// The places for calls of each backend.
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
    phase: watch::Sender<Phase>,
    /// Is raised when there is something new to claim, and when the backends were replaced.
    changes: watch::Sender<u64>,
    /// Who waits for which ticket.
    waiting: Mutex<HashMap<i64, watch::Sender<Option<Job>>>>,
    /// The numbers of the rows that calls of this process are at work on, and those whose ends are not recorded yet.
    under_way: Mutex<Rows>,
    /// The numbers of the rows of which the store didn't let a call's end be recorded before the host ended.
    given_up: Mutex<HashSet<i64>>,
    /// What the calls of each backend have told about it.
    records: Mutex<HashMap<String, Record>>,
    /// Is raised when a backend is held, or asked to wait: nobody need wait for its tickets.
    holds: watch::Sender<u64>,
    /// Is told of what an incident's source is to hear: a ticket that was made or found, or closed by a person.
    news: Notify,
    lead: Lead,
    /// Whether Argus let the last question about an incident go unanswered.
    silence: source::Silence,
}

/// Rows that are under way.
#[derive(Debug, Default)]
struct Rows {
    /// For these a plugin is called.
    called: HashSet<i64>,
    /// These, and those whose calls have ended and are not recorded yet: how many claims of each.
    all: HashMap<i64, usize>,
}

/// What came of an incident within the time that somebody waited.
#[derive(Debug)]
pub struct Filed {
    pub job: Job,
    /// Whether this request put it in the queue.
    pub new: bool,
}

/// An incident that the store has.
#[derive(Debug)]
pub struct Kept {
    queue: Arc<Queue>,
    pub job: Job,
    new: bool,
    deadline: Instant,
    phase: watch::Receiver<Phase>,
    holds: watch::Receiver<u64>,
    /// None if nobody waits for its ticket.
    watched: Option<Watched>,
}

impl Kept {
    /// Waits for its ticket.
    pub async fn filed(mut self) -> Filed {
        let (mut job, new) = (self.job, self.new);
        if let Some(watched) = &mut self.watched {
            let mut look = FIRST_LOOK;
            while !job.state.is_final() {
                self.holds.borrow_and_update();
                let waits =
                    !self.queue.keeps(&job) && self.queue.rests_until(&job) <= Some(self.deadline);
                if waits {
                    let shared = self.queue.store.shared().map(|every| every.min(look));
                    tokio::select! {
                        Some(later) = watched.changed() => {
                            job = later;
                            continue;
                        }
                        Ok(()) = self.holds.changed() => continue,
                        () = reached(&mut self.phase, Phase::Over) => {}
                        () = tokio::time::sleep_until(self.deadline.into()) => {}
                        // Another host may make the ticket, and tells nobody here.
                        () = tokio::time::sleep(shared.unwrap_or_default()), if shared.is_some() => {
                            look *= 2;
                            job = self.queue.store.get(job.id).await.ok().flatten().unwrap_or(job);
                            continue;
                        }
                    }
                }
                // The ticket may have been made in this moment, or somebody else may have changed its row. If
                // that can't be read, the incident is kept all the same.
                job = self.queue.store.get(job.id).await.ok().flatten().unwrap_or(job);
                break;
            }
        }
        Filed { job, new }
    }
}

impl Queue {
    pub fn new(store: Arc<dyn Store>, setup: Setup, metrics: Arc<Metrics>) -> Arc<Queue> {
        agree::with(&store, &setup);
        Arc::new(Queue {
            store,
            metrics,
            pulses: Pulses::default(),
            opened: (Instant::now(), Timestamp::now()),
            pruned: AtomicI64::new(Timestamp::EPOCH.millis()),
            setup: RwLock::new(Arc::new(setup)),
            undecided: Mutex::default(),
            inboxes: Mutex::default(),
            offers: pasted::Offers::default(),
            lanes: Mutex::default(),
            phase: watch::Sender::new(Phase::Running),
            changes: watch::Sender::new(0),
            waiting: Mutex::default(),
            under_way: Mutex::default(),
            given_up: Mutex::default(),
            records: Mutex::default(),
            holds: watch::Sender::new(0),
            news: Notify::new(),
            lead: Lead::new(),
            silence: source::Silence::default(),
        })
    }

    /// Works until [`Queue::stop`]; returns when all that was under way has ended.
    ///
    /// # Errors
    /// The runner of a backend broke: its tickets would wait for ever.
    pub async fn run(self: &Arc<Queue>) -> Result<()> {
        self.run_with(runner::run).await
    }

    async fn run_with<Running>(
        self: &Arc<Queue>,
        runner: impl Fn(Arc<Queue>, String) -> Running,
    ) -> Result<()>
    where
        Running: Future<Output = Result<()>> + Send + 'static,
    {
        let mut runners = Tasks::with(self.pulses.clone());
        let mut names = HashSet::new();
        let mut phase = self.phase();
        let mut pruned = None::<Instant>;
        let mut reminded = None::<Instant>;
        let mut clock = Clock::new(Instant::now(), Timestamp::now());
        // What other hosts did, which may be more to claim.
        let mut looked = Instant::now();
        self.undecide(self.setup().backends.keys().cloned());
        runners.start("the tickets that people gave".to_owned(), pasted::run(Arc::clone(self)));
        while *phase.borrow_and_update() == Phase::Running {
            // Before a runner claims what another backend is to make by now.
            self.decide().await;
            // A backend that the config no longer has keeps its runner, which finds nothing to do.
            for name in self.setup().backends.keys() {
                if names.insert(name.clone()) {
                    let running = runner(Arc::clone(self), name.clone());
                    runners.start(format!("the queue of {name}"), running);
                    let asking = states::run(Arc::clone(self), name.clone());
                    runners.start(format!("the states of {name}'s tickets"), asking);
                }
            }
            if let Some(jump) = clock.look(Instant::now(), Timestamp::now()) {
                tracing::warn!("{jump}");
            }
            self.lead.renew(&*self.store).await;
            let leads = self.leads();
            let pause = if leads { self.advance().await } else { TICK };
            if self.store.shared().is_some_and(|every| looked.elapsed() >= every) {
                looked = Instant::now();
                agree::heed(self).await;
                self.heard_of_more();
            }
            if leads && pruned.is_none_or(|at| at.elapsed() > PRUNE_EVERY) {
                pruned = Some(Instant::now());
                self.prune().await;
            }
            if leads && reminded.is_none_or(|at| at.elapsed() > REMIND_EVERY) {
                reminded = Some(Instant::now());
                self.remind().await;
            }
            let rested = tokio::time::sleep(pause);
            tokio::pin!(rested);
            loop {
                tokio::select! {
                    _ = phase.changed() => {}
                    () = &mut rested => {}
                    () = self.store.woken() => {
                        self.heard_of_more();
                        continue;
                    }
                    Some(ended) = runners.next() => match *phase.borrow() {
                        Phase::Running => return Err(ended.unasked()),
                        _ => ended.asked()?,
                    }
                }
                break;
            }
        }
        while let Some(ended) = runners.next().await {
            ended.asked()?;
        }
        self.phase.send_replace(Phase::Over);
        Ok(())
    }

    /// Does what time has made due; how long until there can be more.
    async fn advance(&self) -> Duration {
        match self.store.advance().await {
            Ok(advanced) => {
                if advanced.changed {
                    self.wake();
                }
                advanced.next.map_or(TICK, |next| TICK.min(next.max(Duration::from_millis(1))))
            }
            // Who made the store logs its failures.
            Err(_) => TICK,
        }
    }

    /// Removes what was finished long ago.
    async fn prune(&self) {
        let keep_for = self.settings().keep_for;
        let before = Timestamp::now() - keep_for;
        self.pruned.fetch_max(before.millis(), Ordering::Relaxed);
        let mut after = 0;
        while let Ok(Some(next)) = self.store.prune(keep_for, after).await
            && *self.phase.borrow() == Phase::Running
        {
            after = next;
        }
    }

    /// Tells of what waits for a person, which is kept until one has looked at it.
    async fn remind(&self) {
        // An error is told by what writes to the store.
        let counts = self.store.counts().await.unwrap_or_default();
        for count in counts.iter().filter(|count| count.state == State::Failed) {
            tracing::warn!(
                "{}: {} failed, which is for a person to look at: `ticket-host queue list --state failed` shows why; `queue retry` or \
                 `queue cancel` ends that",
                count.backend,
                counted(count.rows.unsigned_abs(), "ticket")
            );
        }
        let counts = self.store.update_counts().await.unwrap_or_default();
        for count in counts.iter().filter(|count| count.state == State::Failed) {
            tracing::warn!(
                "{}: {} of tickets failed, which is for a person to look at: `ticket-host queue list --step failed` shows which; \
                 `queue retry` or `queue cancel` ends that",
                count.backend,
                counted(count.rows.unsigned_abs(), "step")
            );
        }
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

    /// Whether this host does what one does for all that share the store.
    pub(crate) fn leads(&self) -> bool {
        self.store.shared().is_none() || self.lead.is_here()
    }

    pub fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().expect("nobody panics with this lock"))
    }

    /// Goes on with another setup. What failed for reasons that lie in the setup is tried again in the backends of which these may
    /// have been mended: those that are others now, or all if a person asks for it.
    pub async fn replace(&self, setup: Setup, occasion: Occasion) {
        agree::with(&self.store, &setup);
        let renewed = {
            // A call that ends now is heard either before this or, as one of the setup before, not at all.
            let mut records = lock(&self.records);
            let setup = Arc::new(setup);
            let older = std::mem::replace(
                &mut *self.setup.write().expect("nobody panics with this lock"),
                Arc::clone(&setup),
            );
            let stays = |name: &str| match (older.backends.get(name), setup.backends.get(name)) {
                (Some(Ok(old)), Some(Ok(new))) => Arc::ptr_eq(old, new),
                _ => false,
            };
            let is_renewed = |name: &&String| occasion == Occasion::Asked || !stays(name);
            let renewed: Vec<String> = setup.backends.keys().filter(is_renewed).cloned().collect();
            for name in &renewed {
                if let Some(record) = records.get_mut(name) {
                    record.renew(Instant::now());
                }
            }
            renewed
        };
        self.undecide(renewed);
        self.decide().await;
    }

    /// Has [`Queue::decide`] do what a new setup means for what is in the store. What the last calls of the `renewed` backends told
    /// may have been mended.
    fn undecide(&self, renewed: impl IntoIterator<Item = String>) {
        lock(&self.undecided).get_or_insert_default().extend(renewed);
    }

    /// Does what a new setup means for what is in the store. What the store refuses is asked for again at the next tick.
    async fn decide(&self) {
        let Some(renewed) = lock(&self.undecided).take() else { return };
        let decided = match self.reassign().await {
            Ok(()) => self.reopen(&renewed).await,
            refused => refused,
        };
        match decided {
            Ok(()) => self.wake(),
            // Who made the store logs its failures.
            Err(_) => self.undecide(renewed),
        }
    }

    /// What certainly has no ticket yet goes to the backend that makes it by this setup.
    async fn reassign(&self) -> store::Result<()> {
        let setup = self.setup();
        for (name, moved) in self.store.reassign(&setup.decision(), setup.policy()).await? {
            let tickets = counted(moved, "ticket");
            tracing::info!("{tickets} of {name} will be made by the backend that makes them now");
        }
        Ok(())
    }

    /// What failed, or waits, for reasons that lie in the setup is tried again with this one.
    async fn reopen(&self, backends: &BTreeSet<String>) -> store::Result<()> {
        for name in backends {
            self.store.hasten(name, &[Kind::Settings], Duration::MAX).await?;
            let kinds = [Kind::Settings, Kind::Import];
            let reopened = self.store.reopen(name, &kinds, self.setup().policy()).await?;
            if reopened > 0 {
                tracing::info!(
                    "{name}: trying {} again that failed for the settings",
                    counted(reopened, "ticket")
                );
            }
        }
        Ok(())
    }

    /// What is known about each backend of the setup.
    pub fn standings(&self, setup: &Setup) -> Vec<Standing> {
        let records = lock(&self.records);
        let standing = |(name, backend): (&String, &std::result::Result<_, Failure>)| {
            let backend: std::result::Result<&Arc<Backend>, &Failure> = backend.as_ref();
            let by_calls = || records.get(name).and_then(Record::unfit);
            let (unfit, failure) = match backend {
                Err(failure) => (Some(Unfit::Unprepared), Some(failure.clone())),
                Ok(backend) => match by_calls() {
                    Some((unfit, failure)) => (Some(unfit), Some(failure)),
                    None => (backend.paused().then_some(Unfit::Paused), None),
                },
            };
            Standing { name: name.clone(), unfit, failure }
        };
        setup.backends.iter().map(standing).collect()
    }

    /// A call of a backend ended. None: what settings that were replaced meanwhile came to says nothing about those that there
    /// are now.
    fn heard(&self, backend: &Arc<Backend>, stamp: u64, end: End<'_>) -> Option<Heard> {
        let mut records = lock(&self.records);
        if self.is_replaced(backend) {
            return None;
        }
        let record = records.entry(backend.name.clone()).or_default();
        Some(record.add(end, stamp, Instant::now()))
    }

    /// What the record of a backend says.
    fn record<T>(&self, backend: &str, says: impl FnOnce(&Record) -> T) -> T {
        self.note(backend, |record| says(record))
    }

    /// Adds something to the record of a backend.
    fn note<T>(&self, backend: &str, adds: impl FnOnce(&mut Record) -> T) -> T {
        adds(lock(&self.records).entry(backend.to_owned()).or_default())
    }

    /// What a person must do before a ticket can be made that nobody need wait for until then.
    pub fn needs_person(&self, job: &Job) -> Option<Failure> {
        let failed = job.failure.as_ref();
        let needs =
            || self.record(&job.backend, |record| record.needs_person(failed, Instant::now()));
        if job.state.is_final() { None } else { needs() }
    }

    /// Whether it is known that a ticket can't be made now.
    fn keeps(&self, job: &Job) -> bool {
        let held = |record: &Record| record.breaker.keeps_from(Instant::now()).is_some();
        self.record(&job.backend, held) || self.needs_person(job).is_some()
    }

    /// Makes due at once what waits in a backend's queue since it failed, within that time, with an error of these kinds.
    async fn hasten(&self, backend: &str, kinds: &[Kind], within: Duration) {
        match self.store.hasten(backend, kinds, within).await {
            Ok(_) => self.wake(),
            // Each of them is due in some minutes anyway.
            Err(error) => tracing::warn!("{backend}: what waits is not tried at once: {error}"),
        }
    }

    /// Whether the settings that a call was made with are no longer those of its backend.
    fn is_replaced(&self, backend: &Arc<Backend>) -> bool {
        match self.setup().backends.get(&backend.name) {
            Some(Ok(current)) => !Arc::ptr_eq(current, backend),
            _ => false,
        }
    }

    /// Keeps an incident. Its ticket can then be waited for, until the time `wait` from now is over.
    ///
    /// # Errors
    /// The store can't keep it.
    pub async fn keep(self: &Arc<Queue>, new: New, wait: Duration) -> store::Result<Kept> {
        let deadline = Instant::now() + wait;
        let (phase, holds) = (self.phase(), self.holds.subscribe());
        let waits = !wait.is_zero();
        let (job, is_new, watched) = match runner::room(self, &new) {
            Some(room) => self.begin(new, room, waits).await?,
            None => self.put_in_line(new, waits).await?,
        };
        Ok(Kept { queue: Arc::clone(self), job, new: is_new, deadline, phase, holds, watched })
    }

    /// Notes how an incident is now that the store has; its tickets hear of it. Its number in the store, if it has it.
    ///
    /// # Errors
    /// The store can't keep it.
    pub(crate) async fn report(&self, new: New) -> store::Result<Option<i64>> {
        // What is to be done for that the runners find within a second.
        self.store.report(new, self.setup().policy()).await
    }

    /// Whether any backend's tickets are told how their incidents go on, or these of their tickets.
    pub(crate) fn follows(&self) -> bool {
        let setup = self.setup();
        let follows = |backend: &Arc<Backend>| {
            let policy = &backend.life.policy;
            let hears = policy.on_ticket_closed != OnTicketClosed::Nothing
                || policy.on_ticket_pasted != OnTicketPasted::Nothing;
            policy.tells() && !backend.life.actions.is_empty() || hears && backend.tells_states()
        };
        setup.backends.values().flatten().any(follows)
    }

    /// Keeps an incident whose turn comes later.
    async fn put_in_line(self: &Arc<Queue>, new: New, waits: bool) -> store::Result<Begun> {
        let began = Instant::now();
        let accepted = self.store.accept(new, self.setup().policy(), None).await?;
        self.metrics.accept(began.elapsed());
        Ok(self.stands_in_line(accepted, waits).await)
    }

    /// An incident was accepted whose ticket somebody else makes.
    async fn stands_in_line(self: &Arc<Queue>, accepted: Accepted, waits: bool) -> Begun {
        let Accepted { mut job, new, .. } = accepted;
        if new {
            self.wake();
        }
        let watched = self.watched(&job, waits);
        if watched.is_some() {
            // What happened to it before it was watched.
            job = self.store.get(job.id).await.ok().flatten().unwrap_or(job);
        }
        (job, new, watched)
    }

    /// Keeps an incident together with the claim of its ticket, which is made at once.
    async fn begin(self: &Arc<Queue>, new: New, room: Room, waits: bool) -> store::Result<Begun> {
        let (tell, told) = oneshot::channel();
        let queue = Arc::clone(self);
        // A task of its own: what was claimed is made, whether or not who brought it is still there.
        let begun = async move {
            let began = Instant::now();
            let accepted = queue.store.accept(new, queue.setup().policy(), Some(room.term)).await;
            if accepted.is_ok() {
                queue.metrics.accept(began.elapsed());
            }
            // To tell fails where nobody waits for it any more.
            match accepted {
                Ok(Accepted { job, new, claim: Some(claim) }) => {
                    let watched = queue.watched(&job, waits);
                    let _ = tell.send(Ok((job, new, watched)));
                    runner::attempt(queue, room.backend, claim, room.stamp, room.place).await;
                }
                Ok(accepted) => {
                    drop(room);
                    let _ = tell.send(Ok(queue.stands_in_line(accepted, waits).await));
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        };
        tokio::spawn(begun.in_current_span());
        told.await.expect("whoever accepts an incident answers")
    }

    /// Has an incident's ticket waited for.
    fn watched(self: &Arc<Queue>, job: &Job, waits: bool) -> Option<Watched> {
        (waits && !job.state.is_final()).then(|| Watched::new(Arc::clone(self), job.id))
    }

    /// Until when nothing can happen to a ticket, as far as that is known.
    fn rests_until(&self, job: &Job) -> Option<Instant> {
        if job.state == State::Creating {
            return None;
        }
        let due = Instant::now() + job.due_at?.since(Timestamp::now());
        let setup = self.setup();
        let paused = setup.ready(&job.backend)?.next_turn();
        Some(due.max(paused))
    }

    /// Whether an incident began so late that no host before this one can have made its ticket, nor this one
    /// for a row that was removed since.
    ///
    /// That there is no row of it doesn't tell: the store may have been lost, restored or pruned.
    fn has_begun_since(&self, start_time: &str) -> bool {
        let known = self.knows_since() + CLOCKS..=Timestamp::now() + CLOCKS;
        self.is_steady() && began_at(start_time).is_some_and(|began| known.contains(&began))
    }

    /// The time since when this host knows of all tickets that this installation made.
    fn knows_since(&self) -> Timestamp {
        let pruned = Timestamp::from_millis(self.pruned.load(Ordering::Relaxed));
        self.opened.1.max(pruned)
    }

    /// Whether no clock was set since the store was opened, nor this machine put back to what it was before.
    fn is_steady(&self) -> bool {
        let (moment, opened) = self.opened;
        Timestamp::now().apart(opened + moment.elapsed()) <= SET
    }

    /// Does what a person wants of a ticket.
    pub async fn order(&self, id: i64, order: Order, by: &By) -> store::Result<Job> {
        let job = self.store.order(id, order, self.setup().policy(), by).await?;
        if let (Order::Retry, Some(record)) = (order, lock(&self.records).get_mut(&job.backend)) {
            // A person who wants it tried may have mended what the backend is held for.
            record.renew(Instant::now());
        }
        self.settled(job.clone());
        self.wake();
        Ok(job)
    }

    /// Tries those of these steps again that are still failed, which are of one backend.
    ///
    /// # Errors
    /// As [`Store::retry_failed`].
    pub(crate) async fn retry_failed(&self, failed: &[Failed], by: &By) -> store::Result<()> {
        self.store.retry_failed(failed, self.setup().policy(), by).await?;
        if let Some(Failed { backend, .. }) = failed.first() {
            // Who wants them tried may have mended what the backend is held for.
            self.note(backend, |record| record.renew(Instant::now()));
        }
        self.wake();
        Ok(())
    }

    /// Has something done to a ticket that a person wants.
    ///
    /// # Errors
    /// As [`Store::add_update`].
    pub(crate) async fn add_update(
        &self,
        id: i64,
        action: Action,
        said: &str,
        by: &By,
    ) -> store::Result<i64> {
        let policy = self.setup().policy();
        let step = self.store.add_update(id, action, said.to_owned(), policy, by).await?;
        self.wake();
        Ok(step)
    }

    /// A person says that an incident's ticket is this one.
    ///
    /// # Errors
    /// As [`Store::adopt`].
    pub(crate) async fn adopt(&self, id: i64, ticket: Ticket, by: &By) -> store::Result<Job> {
        let job = self.store.adopt(id, ticket, by).await?;
        self.settled(job.clone());
        self.news.notify_one();
        self.wake();
        Ok(job)
    }

    /// The numbers of the tickets that calls are at work on, or whose calls have ended and are not recorded.
    pub(crate) fn unrecorded(&self) -> Vec<i64> {
        let under_way = lock(&self.under_way);
        let mut numbers: Vec<i64> =
            under_way.all.keys().chain(&*lock(&self.given_up)).copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Gives up the calls that are still under way after a stop.
    pub fn kill(&self) {
        self.phase.send_if_modified(|phase| {
            let stopping = *phase == Phase::Stopping;
            if stopping {
                *phase = Phase::Killed;
            }
            stopping
        });
    }

    fn settings(&self) -> QueueConfig {
        self.setup().config.queue.clone()
    }

    /// How long after a call of a backend of which nobody knows what it did "there is no ticket" is believed.
    fn settle(&self, backend: &Backend) -> Duration {
        backend.settle(self.setup().config.queue.settle)
    }

    /// The places for calls of a backend.
    fn lane(&self, backend: &str) -> Arc<Lane> {
        Arc::clone(lock(&self.lanes).entry(backend.to_owned()).or_default())
    }

    fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// There may be something new to claim.
    fn wake(&self) {
        self.rouse(Lane::note_waiting);
    }

    /// Another host may have left something to claim.
    fn heard_of_more(&self) {
        self.rouse(Lane::note_heard);
    }

    /// Has each backend's runner look again, once its lane was told why.
    fn rouse(&self, note: fn(&Lane)) {
        lock(&self.lanes).values().for_each(|lane| note(lane));
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Waits until there is something to tell an incident's source that wasn't there when this was last called. Only one may wait.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn has_news(&self) {
        self.news.notify_one();
    }

    fn inbox(&self, backend: &str) -> Arc<Inbox> {
        Arc::clone(lock(&self.inboxes).entry(backend.to_owned()).or_default())
    }

    /// A webhook of a backend's ticket system named these tickets: they are asked for soon.
    pub(crate) fn changed_by_others(&self, backend: &str, tickets: Vec<TicketName>) {
        self.inbox(backend).add(tickets);
    }

    /// What became of a ticket is on disk.
    fn settled(&self, job: Job) {
        if job.state == State::Created {
            self.has_news();
        }
        self.tell(job);
    }

    /// Tells who waits for a ticket what became of it.
    fn tell(&self, job: Job) {
        let waiting = self.waiting.lock().expect("nobody panics with this lock");
        if let Some(sender) = waiting.get(&job.id) {
            sender.send_replace(Some(job));
        }
    }
}

/// Waits until the queue is in that phase, or in a later one.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that there is no queue any more, which is as good as the last phase.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

/// Somebody who waits for a ticket.
#[derive(Debug)]
struct Watched {
    queue: Arc<Queue>,
    /// The job's number.
    id: i64,
    /// None while it is being dropped.
    receiver: Option<watch::Receiver<Option<Job>>>,
}

impl Watched {
    fn new(queue: Arc<Queue>, id: i64) -> Watched {
        let mut waiting = queue.waiting.lock().expect("nobody panics with this lock");
        let sender = waiting.entry(id).or_insert_with(|| watch::Sender::new(None));
        let receiver = Some(sender.subscribe());
        drop(waiting);
        Watched { queue, id, receiver }
    }

    /// What the next change made of it. None if nobody will tell of changes any more.
    async fn changed(&mut self) -> Option<Job> {
        let receiver = self.receiver.as_mut()?;
        receiver.changed().await.ok()?;
        receiver.borrow_and_update().clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Ok(mut waiting) = self.queue.waiting.lock() {
            // Under the lock, so that of two that are dropped at the same time one sees that it is the last.
            self.receiver = None;
            if waiting.get(&self.id).is_some_and(|sender| sender.receiver_count() == 0) {
                waiting.remove(&self.id);
            }
        }
    }
}

/// The job of an incident that was kept, whether it is new, and who waits for its ticket.
type Begun = (Job, bool, Option<Watched>);

/// When an incident began, if its time can be read.
fn began_at(start_time: &str) -> Option<Timestamp> {
    unix_time(start_time).map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// An incident as the queue keeps it. `backend` is the one that was asked for by its name, if one was.
///
/// # Errors
/// There is no such backend, or it can't be told which one is meant.
pub fn new(
    queue: &Queue,
    setup: &Setup,
    incident: &Incident,
    Identified { identity, key, began }: Identified,
    backend: Option<&str>,
) -> Result<New> {
    let by_source = setup.config.backend_of(&identity.source);
    let made_by = setup.config.backend(backend.or(by_source))?;
    let json = serde_json::to_string(&incident.attributes)
        .map_err(|cause| Error::usage("the incident can't be kept").cause(cause))?;
    Ok(New {
        tell: identity.source == ARGUS,
        identity,
        key,
        began,
        backend: made_by.name.clone(),
        is_named: backend.is_some(),
        level: incident.level.unwrap_or(incident::NO_LEVEL),
        incident: json,
        wanted: true,
        reopen: true,
        certain: queue.has_begun_since(&incident.start_time),
        began_at: began_at(&incident.start_time),
        open: !incident::has_ended(incident, Timestamp::now()),
        reports: false,
        ticket_url: None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;
    use crate::plugins::catalog::Catalog;
    use crate::store::Sqlite;

    /// A queue with one backend, which isn't ready.
    pub(crate) async fn queue(directory: &std::path::Path) -> Arc<Queue> {
        let config = directory.join("config.toml");
        std::fs::write(&config, "").unwrap();
        let setup = Setup {
            config: Config::load(Some(&config)).unwrap(),
            catalog: Catalog { entries: Vec::new(), warnings: Vec::new(), directories: Vec::new() },
            backends: BTreeMap::from([("b".to_owned(), Err(Failure::new(Kind::Import, "", None)))]),
            errors: Vec::new(),
            kept: Vec::new(),
        };
        let path = directory.join("queue.db");
        let store = Sqlite::open_alone(&path, 1 << 30).await.unwrap();
        Queue::new(Arc::new(store), setup, Arc::default())
    }

    /// RFC 3339, so many seconds from now.
    fn in_seconds(seconds: i64) -> String {
        let time = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        time.format(&time::format_description::well_known::Rfc3339).unwrap()
    }

    #[tokio::test]
    async fn a_runner_that_panics_ends_the_queue_with_an_error_that_says_which() {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(directory.path()).await;
        let soon = Duration::from_secs(60);
        let running = queue.run_with(|_, _| async { panic!("on purpose") });
        let error = tokio::time::timeout(soon, running).await.unwrap().unwrap_err();
        assert_eq!(error.message, "the queue of b panicked: on purpose");
        let running = queue.run_with(|_, _| async { Ok(()) });
        let error = tokio::time::timeout(soon, running).await.unwrap().unwrap_err();
        assert_eq!(error.message, "the queue of b ended, though nobody asked it to");
    }

    #[tokio::test]
    async fn a_queue_that_is_told_to_stop_ends_without_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(directory.path()).await;
        let running = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.run().await }
        });
        queue.stop(Duration::ZERO);
        running.await.unwrap().unwrap();
        assert_eq!(*queue.phase.borrow(), Phase::Over);
    }

    #[tokio::test]
    async fn an_incident_is_new_if_nothing_that_is_not_in_the_store_can_have_had_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut queue = queue(directory.path()).await;
        let queue = Arc::get_mut(&mut queue).unwrap();
        // Open for two minutes.
        let two_minutes_ago = Instant::now().checked_sub(Duration::from_secs(120)).unwrap();
        let before = |seconds| Timestamp::now() - Duration::from_secs(seconds);
        queue.opened = (two_minutes_ago, before(120));
        assert!(queue.has_begun_since(&in_seconds(0)));
        assert!(queue.has_begun_since(&in_seconds(-55)));
        for too_old_or_early in [in_seconds(-65), in_seconds(65), "infinity".into(), "".into()] {
            assert!(!queue.has_begun_since(&too_old_or_early), "{too_old_or_early}");
        }
        // Removed from the store is what was last asked for a moment ago.
        queue.pruned.store(before(10).millis(), Ordering::Relaxed);
        assert!(!queue.has_begun_since(&in_seconds(0)));
        queue.pruned.store(0, Ordering::Relaxed);
        // The clock was set by a minute since.
        queue.opened.1 = before(180);
        assert!(!queue.has_begun_since(&in_seconds(0)));
    }
}
