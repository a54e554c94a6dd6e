//! One backend's queue at work: claims what is due, has it made, records what came of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ticket_plugin_api::abi::MAX_KEYS;
use ticket_plugin_api::{Incident, Retry};
use tokio::sync::watch;
use tracing::Instrument;

use super::decide::{self, Health, Next, Trouble};
use super::lane::{Lane, Place, Purpose};
use super::retry::{self, Cause, Change};
use super::source::{self, Need};
use super::standing::{End, Heard};
use super::{Phase, Queue, agree, pasted, reached, search, update};
use crate::backend::{Answer, Backend, KeyedIncident};
use crate::config::WhenUnknown;
use crate::error::{Error, Kind, Result};
use crate::lock::lock;
use crate::machine::Policy;
use crate::store::{
    Claim, Count, Failure, Job, Lease, New, Outcome, State, Term, Timestamp, Which,
};
use crate::terminal::{counted, line};
use crate::tickets;

/// How often to look whether somebody else, such as the command line, changed the store.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait after the store failed, before it is asked again.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long a claim may take in addition to its calls, before its lease ends.
const MARGIN: Duration = Duration::from_secs(60);
/// What a ticket's last try failed with if it was for what its backend is held for.
const HELD: [Kind; 2] = [Kind::Client, Kind::Settings];

/// Runs until the queue stops and what was under way has ended.
pub(super) async fn run(queue: Arc<Queue>, name: String) -> Result<()> {
    let lane = queue.lane(&name);
    let mut phase = queue.phase();
    let mut changed = queue.changed();
    let mut last = Last::default();
    loop {
        if *phase.borrow_and_update() != Phase::Running {
            lane.empty().await;
            return Ok(());
        }
        changed.borrow_and_update();
        let pause = match queue.setup().backends.get(&name) {
            Some(Ok(backend)) => begin_due(&queue, backend, &lane, &mut last).await,
            _ => LOOK,
        };
        tokio::select! {
            () = lane.ended() => {}
            _ = changed.changed() => {}
            _ = phase.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What a runner did last.
#[derive(Debug, Default)]
struct Last {
    /// When it looked for what is due.
    looked: Option<Instant>,
    /// Whether it then began a search: that and tickets take turns where there is room for one of them.
    searched: bool,
}

/// Begins what is due, as far as there is room for it. Returns when to look again, if nothing happens before.
async fn begin_due(
    queue: &Arc<Queue>,
    backend: &Arc<Backend>,
    lane: &Arc<Lane>,
    last: &mut Last,
) -> Duration {
    let now = Instant::now();
    let busy = lane.busy();
    let (until, mut free) = queue.record(&backend.name, |record| {
        let breaker = &record.breaker;
        let free = breaker.may_begin(backend.concurrency, busy.calls, busy.probes, now);
        (breaker.until(), free)
    });
    let hold = until.map_or(backend.next_turn(), |until| until.max(backend.next_turn()));
    let held = hold.saturating_duration_since(now);
    if !held.is_zero() {
        return held;
    }
    let is_time = last.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK);
    let has_more = lane.waits() || lane.has_more_updates() || lane.has_heard();
    if free == 0 || !has_more && !is_time {
        return LOOK;
    }
    last.looked = Some(now);
    // What other hosts put in line is looked for all the time, and through a network. If all who come meanwhile stood in line for that, each
    // host would have the others look for what it claims itself in a moment.
    let peeks = queue.store.shared().is_some() && !lane.waits();
    let look = if peeks { lane.peek() } else { lane.look() };
    let (turn, tries) = until.and_then(|_| agree::turn(queue, backend)).unzip();
    let purpose = until.map_or(Purpose::Plain, |_| Purpose::Probe(turn));
    let term = Term { tries, ..term(queue, backend) };
    let mut which = Which::All;
    if search::is_for(backend) {
        which = Which::Certain;
        let has_turn = free > 1 || !std::mem::take(&mut last.searched);
        if !busy.searches && has_turn {
            match queue.store.claim(&backend.name, Which::Uncertain, MAX_KEYS, term).await {
                Ok(claims) if claims.is_empty() => {}
                Ok(claims) => {
                    let stamp = stamp(queue, backend);
                    let (queue, backend) = (Arc::clone(queue), Arc::clone(backend));
                    let place = lane.begin_search(purpose);
                    tokio::spawn(search::run(queue, backend, claims, stamp, place));
                    (free, last.searched) = (free - 1, true);
                }
                Err(_) => return STORE_PAUSE,
            }
        }
    }
    if free == 0 {
        return LOOK;
    }
    // Who made the store logs its failures.
    let Ok(claims) = queue.store.claim(&backend.name, which, free, term).await else {
        return STORE_PAUSE;
    };
    // Else there may be more.
    if claims.len() < free {
        lane.saw_all(look);
    } else if peeks {
        lane.note_waiting();
    }
    free -= claims.len();
    let stamp = stamp(queue, backend);
    for claim in claims {
        let (queue, backend) = (Arc::clone(queue), Arc::clone(backend));
        let place = lane.begin(purpose);
        tokio::spawn(attempt(queue, backend, claim, stamp, place));
    }
    // What is done to tickets that are made has the places that those to be made leave.
    let room = update::room(free, busy.updates, backend.concurrency);
    if room == 0 || !update::may_begin(queue, backend) {
        return LOOK;
    }
    let life = Arc::clone(&backend.life);
    let Ok(claims) = queue.store.claim_updates(&backend.name, room, term, life).await else {
        return STORE_PAUSE;
    };
    lane.note_updates(claims.len() == room);
    for claim in claims {
        let (queue, backend) = (Arc::clone(queue), Arc::clone(backend));
        let place = lane.begin_update(purpose);
        tokio::spawn(attempt(queue, backend, claim, stamp, place));
    }
    LOOK
}

/// For how long a backend's tickets are claimed.
fn term(queue: &Queue, backend: &Backend) -> Term {
    let policy = Policy { settle: queue.settle(backend), ..queue.setup().policy() };
    let only_certain = search::is_for(backend);
    Term { lease: lease(queue, backend), policy, only_certain, tries: None }
}

/// For how long nobody else takes a claim for one that was left. Where it is renewed, so long that the call which makes a ticket has all its
/// time.
fn lease(queue: &Queue, backend: &Backend) -> Duration {
    let shared = queue.store.shared().is_some();
    MARGIN + if shared { backend.call_timeout } else { backend.longest_try() }
}

/// Renews claims again and again, where another host would take them for left when this one may still be at work on them.
pub(super) async fn renewing(
    queue: &Queue,
    backend: &Backend,
    claims: impl IntoIterator<Item = &Claim>,
) -> Infallible {
    if queue.store.shared().is_none() {
        return std::future::pending().await;
    }
    let leases: Arc<[Lease]> = claims.into_iter().map(Claim::lease).collect();
    loop {
        tokio::time::sleep(MARGIN / 3).await;
        // Without that no creation leaves after the lease. Who made the store logs its failures.
        let _ = queue.store.renew(Arc::clone(&leases), lease(queue, backend)).await;
    }
}

/// What a call of the backend that begins now is stamped with.
fn stamp(queue: &Queue, backend: &Backend) -> u64 {
    queue.record(&backend.name, |record| record.breaker.generation())
}

/// Room for a call that begins as soon as its incident is kept.
pub(super) struct Room {
    pub backend: Arc<Backend>,
    pub place: Place,
    pub stamp: u64,
    pub term: Term,
}

/// Room for the call of a new incident, if nothing of its backend waits. None: it waits for its turn, or is looked for together with others.
pub(super) fn room(queue: &Queue, new: &New) -> Option<Room> {
    let name = new.backend.as_str();
    if *queue.phase.borrow() != Phase::Running {
        return None;
    }
    // Before the runner has begun nothing is claimed.
    let lane = lock(&queue.lanes).get(name).map(Arc::clone)?;
    let setup = queue.setup();
    let backend = setup.ready(name)?;
    // Where hosts share a store, that knows better than this one.
    if !new.certain && search::is_for(backend) && queue.store.shared().is_none() {
        return None;
    }
    let now = Instant::now();
    let is_held = queue.record(name, |record| record.breaker.until().is_some());
    if is_held || backend.next_turn() > now {
        return None;
    }
    let place = lane.begin_at_once(backend.concurrency)?;
    // A stop that began meanwhile waits for this place, or has not seen it.
    if *queue.phase.borrow() != Phase::Running {
        return None;
    }
    let (stamp, term) = (stamp(queue, backend), term(queue, backend));
    Some(Room { backend: Arc::clone(backend), place, stamp, term })
}

/// Tries to make one ticket, and records what came of that. The call has this stamp of its backend's breaker.
pub(super) async fn attempt(
    queue: Arc<Queue>,
    backend: Arc<Backend>,
    claim: Claim,
    stamp: u64,
    place: Place,
) {
    // What is logged until it has ended, also by the plugin, is about this.
    let about = tracing::info_span!(
        "try",
        ticket = claim.job.id,
        backend = backend.name.as_str(),
        attempt = claim.job.attempts,
        action = claim.update.as_ref().map_or("create", |update| update.action.name()),
    );
    carry_out(queue, backend, claim, stamp, place).instrument(about).await;
}

async fn carry_out(
    queue: Arc<Queue>,
    backend: Arc<Backend>,
    claim: Claim,
    stamp: u64,
    place: Place,
) {
    let started = Timestamp::now();
    let mut phase = queue.phase();
    let mut under_way = UnderWay::begin(&queue, claim.job.id);
    let tried = tokio::select! {
        tried = try_claimed(&queue, &backend, &claim), if under_way.is_some() => tried,
        () = std::future::ready(()), if under_way.is_none() => not_alone(&queue, &backend, &claim),
        () = reached(&mut phase, Phase::Killed) => stopped(&queue, &backend, &claim),
        never = renewing(&queue, &backend, [&claim]) => match never {},
    };
    let turn = place.turn();
    let _record = place.free();
    if let Some(under_way) = &mut under_way {
        under_way.end_call();
    }
    let pause = finish(&queue, &backend, claim, under_way, started, stamp, tried).await;
    agree::end(&queue, &backend.name, turn, pause).await;
}

/// A call of an earlier claim still goes on, whose lease has ended: the call hung for longer than any may last (this process was
/// suspended during it, or its thread had no turn). Nothing may be done for the ticket before that call has ended.
pub(super) fn not_alone(queue: &Queue, backend: &Backend, claim: &Claim) -> Tried {
    let failure = claim.job.failure.clone().unwrap_or_else(|| {
        let why = format!("an earlier call for it goes on; {}", maybe(claim));
        Failure::from(&Error::plugin(why))
    });
    let settle = queue.settle(backend).max(STORE_PAUSE);
    Tried::Apart(outcome(Next::Look(settle), failure))
}

/// What a call may have done of which nobody knows how it ended.
fn maybe(claim: &Claim) -> &'static str {
    match claim.update {
        Some(_) => "the step may have been carried out",
        None => "there may be a ticket",
    }
}

/// The call was given up, since the host ends.
pub(super) fn stopped(queue: &Queue, backend: &Backend, claim: &Claim) -> Tried {
    let why = format!("the host was stopped during the call; {}", maybe(claim));
    let failure = Failure::new(Kind::Plugin, &why, None);
    Tried::Apart(outcome(Next::Look(queue.settle(backend)), failure))
}

/// Says and records what a try came to. Returns how long the next one of its backend has to wait for that.
pub(super) async fn finish(
    queue: &Arc<Queue>,
    backend: &Arc<Backend>,
    claim: Claim,
    under_way: Option<UnderWay>,
    started: Timestamp,
    stamp: u64,
    tried: Tried,
) -> Duration {
    let mut phase = queue.phase();
    let (outcome, heard) = conclude(queue, backend, stamp, tried);
    let change = heard.and_then(|heard| heard.change);
    let pause = change.map_or(Duration::ZERO, |change| {
        queue.record(&backend.name, |record| record.breaker.pause(change))
    });
    tell(queue, backend, &claim, &outcome, heard);
    let failure = outcome.failure().cloned();
    let early = backend.finds().then(|| made(&claim, &outcome)).flatten();
    let recording = record(queue, claim, started, outcome, &mut phase);
    match early {
        // Who waits for the ticket hears of it while its record is on the way to the disk: should that be lost, the ticket is
        // found. The record is asked for first, so that nobody who has heard of it reads that it isn't made.
        Some(job) => {
            let mut recording = std::pin::pin!(recording);
            tokio::select! {
                biased;
                () = &mut recording => {}
                () = std::future::ready(()) => {
                    queue.tell(job);
                    recording.await;
                }
            }
        }
        None => recording.await,
    }
    drop(under_way);
    // What was under way when the config lost the backend didn't move then.
    if !queue.setup().backends.contains_key(&backend.name) {
        queue.undecide([]);
        queue.decide().await;
    }
    if let Some(Change::Held(cause)) = change {
        agree::hold(queue, &backend.name, cause, pause, false).await;
    }
    announce(queue, &backend.name, failure, change).await;
    pause
}

/// The job of a ticket that was made, as it will be recorded.
fn made(claim: &Claim, outcome: &Outcome) -> Option<Job> {
    let (ticket, made) = match outcome {
        Outcome::Created { ticket, made } => (ticket, *made),
        Outcome::Pasted { ticket, .. } => (ticket, false),
        _ => return None,
    };
    Some(Job {
        state: State::Created,
        changed_at: Timestamp::now(),
        due_at: None,
        ticket: Some(ticket.clone()),
        made,
        failure: None,
        ..claim.job.clone()
    })
}

/// How a try ended.
pub(super) enum Tried {
    /// With an outcome that says nothing about its backend.
    Apart(Outcome),
    /// There is a ticket, or there certainly is none.
    Told {
        outcome: Outcome,
        made: bool,
    },
    Failed {
        next: Next,
        health: Health,
        failure: Failure,
        own_wait: Duration,
    },
}

/// What a try comes to, and what its backend's record learned by it.
fn conclude(
    queue: &Queue,
    backend: &Arc<Backend>,
    stamp: u64,
    tried: Tried,
) -> (Outcome, Option<Heard>) {
    match tried {
        Tried::Apart(outcome) => (outcome, None),
        Tried::Told { outcome, made } => {
            let heard =
                queue.heard(backend, stamp, End { failure: None, health: Health::Up, made });
            (outcome, heard)
        }
        Tried::Failed { next, health, failure, own_wait } => {
            let end = End { failure: Some(&failure), health, made: false };
            let heard = queue.heard(backend, stamp, end);
            let next = match (heard, health) {
                (Some(heard), Health::Failing(_)) => {
                    let is_shared = queue.store.shared().is_some();
                    let wait = queue.record(&backend.name, |record| {
                        record.breaker.wait(own_wait, heard.change, is_shared, Instant::now())
                    });
                    next.with_wait(wait, queue.settle(backend))
                }
                _ => next,
            };
            (outcome(next, failure), heard)
        }
    }
}

/// Counts and logs what a try came to. Of the tickets that wait for the same thing only the first is logged.
fn tell(queue: &Queue, backend: &Backend, claim: &Claim, outcome: &Outcome, heard: Option<Heard>) {
    if let Some(update) = &claim.update {
        // What fails for the same again and again is said once.
        let is_news = heard.map_or(claim.job.attempts == 1, |heard| heard.is_news);
        return update::tell(queue, backend, claim, update, outcome, is_news);
    }
    let (said, more): (_, &str) = match outcome {
        Outcome::Created { made: true, ticket } => ("created", &ticket.url),
        Outcome::Created { made: false, ticket } | Outcome::Pasted { ticket, .. } => {
            ("existing", &ticket.url)
        }
        Outcome::Again { failure, .. } | Outcome::Postponed { failure, .. } => {
            ("retried", &failure.message)
        }
        Outcome::Unknown { failure, .. } => ("unknown", &failure.message),
        Outcome::NoTicket => ("none", &claim.job.backend),
        Outcome::Suppressed => {
            ("suppressed", "the incident has ended, and nobody asked for its ticket")
        }
        Outcome::Failed(failure) | Outcome::Lost(failure) => ("failed", &failure.message),
        // Of updates alone.
        Outcome::Done { .. } | Outcome::Needless { .. } | Outcome::Overtaken => return,
    };
    // That a ticket isn't there yet which nobody had tried to make is no news.
    if matches!(outcome, Outcome::NoTicket) && !claim.unknown {
        return;
    }
    queue.metrics.ticket(&backend.name, said);
    let (id, key, more) = (claim.job.id, line(&claim.job.key), line(more));
    let is_news = match outcome {
        Outcome::Again { .. } | Outcome::Postponed { .. } => {
            heard.is_none_or(|heard| heard.is_news)
        }
        Outcome::Unknown { .. } => !claim.unknown || heard.is_none_or(|heard| heard.is_news),
        _ => true,
    };
    match outcome {
        Outcome::Created { ticket, .. } | Outcome::Pasted { ticket, .. } => {
            match tickets::remarks(ticket) {
                Some(remarks) => tracing::warn!("ticket {id} ({key}): {said}: {more} ({remarks})"),
                None => tracing::info!("ticket {id} ({key}): {said}: {more}"),
            }
        }
        Outcome::NoTicket => tracing::info!("ticket {id} ({key}): {said}: {more}"),
        _ if is_news => tracing::warn!("ticket {id} ({key}): {said}: {more}"),
        _ => tracing::debug!("ticket {id} ({key}): {said}: {more}"),
    }
}

/// Says what a call changed for its whole backend, and has what waited for that go on.
async fn announce(queue: &Queue, name: &str, failure: Option<Failure>, change: Option<Change>) {
    let failed = failure.is_some();
    let why = failure.map_or_else(String::new, |failure| line(&failure.message));
    match change {
        Some(Change::Held(Cause::Down)) => {
            tracing::warn!(
                "{name}: the ticket system is down; one call at a time finds out when it is back: {why}"
            );
        }
        Some(Change::Held(Cause::Machine)) => {
            tracing::warn!("{name}: tickets wait, and the ticket system isn't the reason: {why}");
        }
        Some(Change::Held(Cause::Settings)) => {
            let waiting = waiting(queue, name).await;
            let need = if waiting == 1 { "needs" } else { "need" };
            tracing::error!(
                "{name}: {} {need} a person: {why}; mend that (`ticket-host check` tells whether it is): one ticket is tried \
                 every few minutes and after a reload, and when it is made, all go on",
                counted(waiting, "ticket")
            );
        }
        Some(Change::Released { told: Some(cause), since, is_first }) => {
            if is_first {
                agree::release(queue, name, cause).await;
            }
            queue.hasten(name, &HELD, since.elapsed()).await;
            let waiting = counted(waiting(queue, name).await, "ticket");
            let seconds = since.elapsed().as_secs();
            match cause {
                Cause::Down => tracing::info!(
                    "{name}: the ticket system is back after {seconds} s; what waits ({waiting}) goes on"
                ),
                Cause::Machine => tracing::info!(
                    "{name}: this machine has room again after {seconds} s; what waits ({waiting}) goes on"
                ),
                Cause::Settings => tracing::info!(
                    "{name}: what needed a person works after {seconds} s; what waits ({waiting}) goes on"
                ),
            }
        }
        Some(Change::Suspected | Change::StillHeld | Change::Released { .. }) | None => {}
    }
    if failed {
        // Who waits for a ticket looks again whether that makes sense.
        queue.holds.send_modify(|holds| *holds = holds.wrapping_add(1));
    }
}

/// How many tickets of a backend are not made yet. If the store can't say, the one that is asked for.
async fn waiting(queue: &Queue, name: &str) -> u64 {
    let counts = queue.store.counts().await.unwrap_or_default();
    let waits = |count: &&Count| count.backend == name && !count.state.is_final();
    let rows: i64 = counts.iter().filter(waits).map(|count| count.rows).sum();
    rows.cast_unsigned().max(1)
}

/// Ends a claim in the store, however often that has to be tried.
async fn record(
    queue: &Queue,
    claim: Claim,
    started: Timestamp,
    outcome: Outcome,
    phase: &mut watch::Receiver<Phase>,
) {
    let id = claim.job.id;
    let claim = Arc::new(claim);
    let mut failed = false;
    loop {
        let policy = queue.setup().policy();
        match queue.store.settle(Arc::clone(&claim), started, outcome.clone(), policy).await {
            Ok(Some(job)) => {
                if job.state == State::Failed && outcome.would_go_on() {
                    match &claim.update {
                        Some(update) => {
                            queue.metrics.step(&job.backend, update.action.name(), "failed");
                        }
                        None => queue.metrics.ticket(&job.backend, "failed"),
                    }
                    let why = job.failure.as_ref().map_or("", |failure| failure.message.as_str());
                    let step =
                        claim.update.as_ref().map(|update| format!(": {}", update.action.name()));
                    let (key, step) = (line(&job.key), step.unwrap_or_default());
                    tracing::warn!("ticket {id} ({key}){step}: failed: {}", line(why));
                }
                if claim.update.is_none() {
                    queue.settled(job);
                }
                return;
            }
            Ok(None) => {
                return tracing::warn!("ticket {id}: its lease was over before its call");
            }
            // It is tried again: if what happened were forgotten, the ticket would be looked for only when
            // the lease ends. That is what happens if the host is killed meanwhile.
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::error!("ticket {id} can't be recorded yet: {}", line(&error.said()));
                }
                tokio::select! {
                    () = tokio::time::sleep(STORE_PAUSE) => {}
                    () = reached(phase, Phase::Killed) => {
                        lock(&queue.given_up).insert(id);
                        return;
                    }
                }
            }
        }
    }
}

/// A ticket that a call of this process is at work on, or of which the end of one is not recorded yet.
pub(super) struct UnderWay {
    queue: Arc<Queue>,
    id: i64,
    is_called: bool,
}

impl UnderWay {
    /// A call for it begins. None if another one goes on.
    pub(super) fn begin(queue: &Arc<Queue>, id: i64) -> Option<UnderWay> {
        let mut rows = lock(&queue.under_way);
        if !rows.called.insert(id) {
            return None;
        }
        *rows.all.entry(id).or_default() += 1;
        Some(UnderWay { queue: Arc::clone(queue), id, is_called: true })
    }

    /// The call has ended: as soon as that is recorded another one may begin.
    pub(super) fn end_call(&mut self) {
        if std::mem::take(&mut self.is_called) {
            lock(&self.queue.under_way).called.remove(&self.id);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "ticket {}: the host's own code panicked; it is looked for when its lease ends",
                self.id
            );
        }
        self.end_call();
        let mut rows = lock(&self.queue.under_way);
        if let Some(claims) = rows.all.get_mut(&self.id) {
            *claims -= 1;
            if *claims == 0 {
                rows.all.remove(&self.id);
            }
        }
    }
}

async fn try_claimed(queue: &Queue, backend: &Arc<Backend>, claim: &Claim) -> Tried {
    match &claim.update {
        Some(update) => update::try_once(queue, backend, claim, update).await,
        None => try_once(queue, backend, claim).await,
    }
}

async fn try_once(queue: &Queue, backend: &Arc<Backend>, claim: &Claim) -> Tried {
    let wanted = match keyed(claim) {
        Ok(wanted) => wanted,
        Err(tried) => return *tried,
    };
    let made = if claim.unknown {
        match backend.find(&wanted).await {
            Ok(Answer::Given(ticket)) => Ok((ticket, true)),
            Ok(Answer::NotFound) => return Tried::Told { outcome: Outcome::NoTicket, made: false },
            Ok(Answer::Unsupported) => {
                return Tried::Apart(unfindable(queue, backend, claim).await);
            }
            // A search that failed tells nothing: it is as unknown as before whether there is a ticket.
            Err(error) => Err(error.retry(Retry::Unknown)),
        }
    } else {
        let config = &queue.setup().config;
        let warning =
            match source::need(config, claim, &wanted.incident.start_time, &queue.silence).await {
                Need::Ticket { warning } => warning,
                Need::Has(url) => {
                    return Tried::Apart(pasted::given(backend, url).await);
                }
                Need::Nothing => return Tried::Apart(Outcome::Suppressed),
            };
        let certain = claim.certain && queue.is_steady();
        let look = decide::look(backend.look_first, certain, claim.elsewhere);
        let made = tickets::create(backend, &wanted, look).await;
        made.map(|mut delivery| {
            delivery.ticket.warnings.extend(warning);
            (delivery.ticket, delivery.created)
        })
    };
    match made {
        Ok((ticket, made)) => {
            // One that was only found doesn't prove that another could be made now.
            Tried::Told { outcome: Outcome::Created { ticket, made }, made: made && !claim.unknown }
        }
        Err(error) => failed(queue, backend, claim, &error, error.retry).await,
    }
}

/// The stored incident of a claim. If it can't be read: what that comes to.
pub(super) fn keyed(claim: &Claim) -> std::result::Result<KeyedIncident, Box<Tried>> {
    let incident: Incident = serde_json::from_str(&claim.incident).map_err(|cause| {
        let error = Error::usage(format!("the stored incident can't be read: {cause}"));
        Box::new(Tried::Apart(Outcome::Failed(Failure::from(&error))))
    })?;
    let incident = match &claim.former {
        Some(former) => with_former(incident, &former.url),
        None => incident,
    };
    let (key, accepted_at) = (claim.job.key.clone(), claim.job.accepted_at);
    let leave_by = Some(claim.until.clone());
    let (incident, requests) = (Arc::new(incident), claim.requests.clone());
    Ok(KeyedIncident { incident, key, accepted_at, leave_by, requests })
}

/// The incident that had another ticket before, which its new one links.
fn with_former(incident: Incident, url: &str) -> Incident {
    let mut attributes = incident.attributes;
    if attributes.get("ticket_url").and_then(serde_json::Value::as_str) == Some(url) {
        attributes.remove("ticket_url");
    }
    attributes.insert("former_ticket_url".to_owned(), url.into());
    attributes.into()
}

/// What a try that failed comes to. `retry` is whether there may be a ticket.
pub(super) async fn failed(
    queue: &Queue,
    backend: &Arc<Backend>,
    claim: &Claim,
    error: &Error,
    retry: Retry,
) -> Tried {
    let trouble = Trouble { retry, ..trouble(queue, backend, error, claim).await };
    let (next, health) = decide::decide(&trouble);
    Tried::Failed { next, health, failure: Failure::from(error), own_wait: trouble.wait }
}

/// What is known about a try that failed.
async fn trouble(queue: &Queue, backend: &Arc<Backend>, error: &Error, claim: &Claim) -> Trouble {
    Trouble {
        kind: error.kind,
        retry: error.retry,
        retry_after: error.retry_after,
        is_of_machine: error.is_of_machine,
        // That tickets are made says nothing of whether they may be commented on.
        is_alone: claim.update.is_none() && is_alone(queue, claim),
        was_unknown: claim.unknown,
        is_paused: backend.paused(),
        next_turn: backend.next_turn().saturating_duration_since(Instant::now()),
        is_replaced: queue.is_replaced(backend),
        broke_before: if is_break(error.kind) { breaks_before(queue, claim).await } else { 0 },
        wait: retry::wait(claim.job.attempts, queue.settings().longest_wait),
        settle: queue.settle(backend),
    }
}

/// Whether a ticket that failed for its backend's settings had to be made since, as another one was.
fn is_alone(queue: &Queue, claim: &Claim) -> bool {
    let failed = claim.job.failure.as_ref().is_some_and(|failure| failure.kind == Kind::Settings);
    let others = || queue.record(&claim.job.backend, |record| record.has_made_within(claim.rested));
    failed && others()
}

pub(super) fn outcome(next: Next, failure: Failure) -> Outcome {
    match next {
        Next::Again(after) => Outcome::Again { after, failure },
        Next::Postpone(after) => Outcome::Postponed { after, failure },
        Next::Look(after) => Outcome::Unknown { after, failure },
        Next::Fail => Outcome::Failed(failure),
    }
}

/// What becomes of a ticket that may be there, of a plugin that can't look for it: the operator's setting says so.
async fn unfindable(queue: &Queue, backend: &Backend, claim: &Claim) -> Outcome {
    let tries = match backend.unknown {
        WhenUnknown::Ask => return lost(claim, ""),
        WhenUnknown::Again => queue.store.attempts(claim.job.id).await,
    };
    let (id, key) = (claim.job.id, line(&claim.job.key));
    match tries {
        Ok(tries) if decide::was_made_again(&tries) => {
            lost(claim, ", and it was made again once already")
        }
        Ok(_) => {
            tracing::warn!(
                "ticket {id} ({key}): there may be a ticket; it is made again, as unknown = \"again\" says"
            );
            Outcome::NoTicket
        }
        Err(error) => {
            let last = claim.job.failure.clone();
            let failure = last.unwrap_or_else(|| Failure::from(&Error::from(error)));
            Outcome::Postponed { after: STORE_PAUSE, failure }
        }
    }
}

/// A ticket that may be there, of which a person must say what becomes of it.
fn lost(claim: &Claim, more: &str) -> Outcome {
    let last = claim.job.failure.as_ref().map_or("", |failure| failure.message.as_str());
    Outcome::Lost(Failure::new(
        Kind::Plugin,
        &format!("there may be a ticket, and the plugin can't look for it{more}: {last}"),
        Some(
            "look for it in the ticket system: if there is none, `queue retry` makes one; else \
             `queue cancel`. `unknown = \"again\"` in the backend makes such a ticket again once by itself",
        ),
    ))
}

/// How many tries in a row before this one ended with a broken plugin.
async fn breaks_before(queue: &Queue, claim: &Claim) -> usize {
    // If the store can't say, it is tried again.
    let tries = match claim.update {
        Some(_) => queue.store.update_attempts(claim.step).await,
        None => queue.store.attempts(claim.job.id).await,
    };
    let tries = tries.unwrap_or_default();
    let broke = |failure: &Failure| is_break(failure.kind);
    tries.iter().rev().take_while(|t| t.failure.as_ref().is_some_and(broke)).count()
}

/// Whether an error means that the plugin broke.
fn is_break(kind: Kind) -> bool {
    matches!(kind, Kind::Plugin | Kind::Import)
}

#[cfg(test)]
mod tests {
    use super::super::tests::queue;
    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_try_that_panics_is_logged_and_its_ticket_can_be_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(directory.path()).await;
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let panics = std::panic::AssertUnwindSafe(|| {
                let _under_way = UnderWay::begin(&queue, 7).unwrap();
                panic!("on purpose");
            });
            std::panic::catch_unwind(panics).unwrap_err();
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("ticket 7: the host's own code panicked"), "{text}");
        assert!(UnderWay::begin(&queue, 7).is_some());
    }

    #[tokio::test]
    async fn nothing_is_done_for_a_ticket_while_an_earlier_call_for_it_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(directory.path()).await;
        let earlier = UnderWay::begin(&queue, 7).unwrap();
        assert!(UnderWay::begin(&queue, 7).is_none());
        assert!(UnderWay::begin(&queue, 8).is_some());
        drop(earlier);
        assert!(UnderWay::begin(&queue, 7).is_some());
        assert!(queue.unrecorded().is_empty());
    }

    #[tokio::test]
    async fn another_call_may_begin_when_the_earlier_one_has_ended_and_is_about_to_be_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(directory.path()).await;
        let mut earlier = UnderWay::begin(&queue, 7).unwrap();
        earlier.end_call();
        assert_eq!(queue.unrecorded(), [7]);
        let later = UnderWay::begin(&queue, 7).unwrap();
        drop(earlier);
        assert_eq!(queue.unrecorded(), [7]);
        assert!(UnderWay::begin(&queue, 7).is_none());
        drop(later);
        assert!(queue.unrecorded().is_empty());
    }
}
