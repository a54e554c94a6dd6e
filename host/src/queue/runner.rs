//! One backend's queue at work: claims what is due, has it made, records what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ticket_plugin_api::{Incident, Retry, Ticket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::decide::{self, Health, Newness, Next, Trouble};
use super::retry::{self, Cause, Change};
use super::source::{self, Need};
use super::standing::{End, Heard};
use super::{Phase, Queue, reached};
use crate::backend::{Answer, Backend, KeyedIncident};
use crate::config::WhenUnknown;
use crate::error::{Error, Kind, Result};
use crate::lock::lock;
use crate::machine::Policy;
use crate::store::{Claim, Count, Failure, Outcome, State, Timestamp};
use crate::terminal::{counted, line};
use crate::tickets;

/// How often to look whether somebody else, such as the command line, changed the store.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait after the store failed, before it is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long a claim may take in addition to its calls, before its lease ends.
const MARGIN: Duration = Duration::from_secs(60);
/// What a ticket's last try failed with if it was for what its backend is held for.
const HELD: [Kind; 2] = [Kind::Client, Kind::Settings];

/// Runs until the queue stops and what was under way has ended.
pub(super) async fn run(queue: Arc<Queue>, name: String) -> Result<()> {
    let mut calls: JoinSet<()> = JoinSet::new();
    // The call that finds out how a held backend is.
    let mut probe = None;
    let mut phase = queue.phase();
    let mut changed = queue.changed();
    loop {
        if *phase.borrow_and_update() != Phase::Running {
            while calls.join_next().await.is_some() {}
            return Ok(());
        }
        changed.borrow_and_update();
        let mut pause = LOOK;
        if let Some(Ok(backend)) = queue.setup().backends.get(&name) {
            let now = Instant::now();
            let (until, free) = queue.record(&name, |record| {
                let breaker = &record.breaker;
                let free =
                    breaker.may_begin(backend.concurrency, calls.len(), probe.is_some(), now);
                (breaker.until(), free)
            });
            let hold = until.map_or(backend.next_turn(), |until| until.max(backend.next_turn()));
            let held = hold.saturating_duration_since(now);
            if !held.is_zero() {
                pause = held;
            } else if free > 0 {
                let lease = backend.longest_try() + MARGIN;
                let policy = Policy { settle: queue.settle(backend), ..queue.setup().policy() };
                match queue.store.claim(&name, free, lease, policy).await {
                    Ok(claims) => {
                        let stamp = queue.record(&name, |record| record.breaker.generation());
                        for claim in claims {
                            let backend = Arc::clone(backend);
                            let call =
                                calls.spawn(attempt(Arc::clone(&queue), backend, claim, stamp));
                            probe = until.map(|_| call.id());
                        }
                    }
                    // Who made the store logs its failures.
                    Err(_) => pause = STORE_PAUSE,
                }
            }
        }
        tokio::select! {
            Some(ended) = calls.join_next_with_id() => {
                let id = ended.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                probe = probe.filter(|probe| *probe != id);
            }
            _ = changed.changed() => {}
            _ = phase.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tries to make one ticket, and records what came of that. The call has this stamp of its backend's breaker.
async fn attempt(queue: Arc<Queue>, backend: Arc<Backend>, claim: Claim, stamp: u64) {
    let started = Timestamp::now();
    let mut phase = queue.phase();
    let under_way = UnderWay::begin(&queue, claim.job.id);
    let (outcome, heard) = tokio::select! {
        done = try_once(&queue, &backend, &claim), if under_way.is_some() => {
            conclude(&queue, &backend, stamp, done)
        }
        // A call of an earlier claim still goes on, whose lease has ended: the call hung for longer than any may last (this process was
        // suspended during it, or its thread had no turn). Nothing may be done for the ticket before that call has ended.
        () = std::future::ready(()), if under_way.is_none() => {
            let failure = claim.job.failure.clone().unwrap_or_else(|| {
                Failure::from(&Error::plugin("an earlier call for it goes on; there may be a ticket"))
            });
            let settle = queue.settle(&backend).max(STORE_PAUSE);
            (outcome(Next::Look(settle), failure), None)
        }
        () = reached(&mut phase, Phase::Killed) => {
            let why = "the host was stopped during the call; there may be a ticket";
            let failure = Failure::new(Kind::Plugin, why, None);
            let settle = queue.settle(&backend);
            (outcome(Next::Look(settle), failure), None)
        }
    };
    tell(&queue, &backend, &claim, &outcome, heard);
    let failure = outcome.failure().cloned();
    record(&queue, &claim, started, outcome, &mut phase).await;
    // What was under way when the config lost the backend didn't move then.
    if !queue.setup().backends.contains_key(&backend.name) {
        queue.reassign().await;
    }
    announce(&queue, &backend.name, failure, heard).await;
}

/// How a try ended.
enum Tried {
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
                    let wait = queue.record(&backend.name, |record| {
                        record.breaker.wait(own_wait, heard.change, Instant::now())
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
    let (said, more): (_, &str) = match outcome {
        Outcome::Created { made: true, ticket } => ("created", &ticket.url),
        Outcome::Created { made: false, ticket } => ("existing", &ticket.url),
        Outcome::Again { failure, .. } | Outcome::Postponed { failure, .. } => {
            ("retried", &failure.message)
        }
        Outcome::Unknown { failure, .. } => ("unknown", &failure.message),
        Outcome::NoTicket => ("none", &claim.job.backend),
        Outcome::Suppressed => {
            ("suppressed", "the incident has ended, and nobody asked for its ticket")
        }
        Outcome::Failed(failure) | Outcome::Lost(failure) => ("failed", &failure.message),
    };
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
        Outcome::Created { ticket, .. } => match tickets::remarks(ticket) {
            Some(remarks) => tracing::warn!("ticket {id} ({key}): {said}: {more} ({remarks})"),
            None => tracing::info!("ticket {id} ({key}): {said}: {more}"),
        },
        Outcome::NoTicket => tracing::info!("ticket {id} ({key}): {said}: {more}"),
        _ if is_news => tracing::warn!("ticket {id} ({key}): {said}: {more}"),
        _ => tracing::debug!("ticket {id} ({key}): {said}: {more}"),
    }
}

/// Says what a call changed for its whole backend, and has what waited for that go on.
async fn announce(queue: &Queue, name: &str, failure: Option<Failure>, heard: Option<Heard>) {
    let failed = failure.is_some();
    let why = failure.map_or_else(String::new, |failure| line(&failure.message));
    match heard.and_then(|heard| heard.change) {
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
        Some(Change::Released { told: Some(cause), since }) => {
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
    claim: &Claim,
    started: Timestamp,
    outcome: Outcome,
    phase: &mut watch::Receiver<Phase>,
) {
    let id = claim.job.id;
    let mut failed = false;
    loop {
        match queue.store.settle(claim, started, outcome.clone(), queue.setup().policy()).await {
            Ok(Some(job)) => {
                if job.state == State::Failed && outcome.would_go_on() {
                    queue.metrics.ticket(&job.backend, "failed");
                    let why = job.failure.as_ref().map_or("", |failure| failure.message.as_str());
                    tracing::warn!("ticket {id} ({}): failed: {}", line(&job.key), line(why));
                }
                return queue.settled(job);
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

/// A ticket that a call of this process is at work on.
struct UnderWay<'a> {
    queue: &'a Queue,
    id: i64,
}

impl UnderWay<'_> {
    /// None if another call is at work on it.
    fn begin(queue: &Queue, id: i64) -> Option<UnderWay<'_>> {
        let mut ids = queue.under_way.lock().expect("nobody panics with this lock");
        ids.insert(id).then(|| UnderWay { queue, id })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "ticket {}: the host's own code panicked; it is looked for when its lease ends",
                self.id
            );
        }
        if let Ok(mut ids) = self.queue.under_way.lock() {
            ids.remove(&self.id);
        }
    }
}

async fn try_once(queue: &Queue, backend: &Arc<Backend>, claim: &Claim) -> Tried {
    let incident: Incident = match serde_json::from_str(&claim.incident) {
        Ok(incident) => incident,
        Err(cause) => {
            let error = Error::usage(format!("the stored incident can't be read: {cause}"));
            return Tried::Apart(Outcome::Failed(Failure::from(&error)));
        }
    };
    let wanted = KeyedIncident {
        incident: Arc::new(incident),
        key: claim.job.key.clone(),
        accepted_at: claim.job.accepted_at,
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
                    let ticket = Ticket { url, ..Ticket::default() };
                    return Tried::Apart(Outcome::Created { ticket, made: false });
                }
                Need::Nothing => return Tried::Apart(Outcome::Suppressed),
            };
        let newness = Newness {
            is_first: claim.lease == 1,
            elsewhere: claim.elsewhere,
            is_new: queue.has_begun_since(&wanted.incident.start_time),
        };
        let look = decide::look(backend.look_first, newness);
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
        Err(error) => {
            let trouble = trouble(queue, backend, &error, claim).await;
            let (next, health) = decide::decide(&trouble);
            Tried::Failed { next, health, failure: Failure::from(&error), own_wait: trouble.wait }
        }
    }
}

/// What is known about a try that failed.
async fn trouble(queue: &Queue, backend: &Arc<Backend>, error: &Error, claim: &Claim) -> Trouble {
    Trouble {
        kind: error.kind,
        retry: error.retry,
        retry_after: error.retry_after,
        is_of_machine: error.is_of_machine,
        is_alone: is_alone(queue, claim),
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

fn outcome(next: Next, failure: Failure) -> Outcome {
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
    // If the store can't say, the ticket is tried again.
    let tries = queue.store.attempts(claim.job.id).await.unwrap_or_default();
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
    }
}
