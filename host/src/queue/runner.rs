//! One backend's queue at work: claims what is due, has it made, records what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ticket_plugin_api::{Incident, Retry};
use tokio::task::JoinSet;

use super::retry::{self, Breaker};
use super::{Phase, Queue, reached};
use crate::backend::gateway::LONGEST_PAUSE;
use crate::backend::{Answer, Backend, KeyedIncident};
use crate::config::LookFirst;
use crate::error::{Error, Kind};
use crate::store::{Claim, Failure, Outcome, millis, now};
use crate::terminal::safe;
use crate::tickets::{self, Look};

/// Looks that often whether somebody else, such as the command line, changed the store.
const LOOK: Duration = Duration::from_secs(1);
/// After the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Tries more of a ticket whose plugin breaks each time.
const BROKEN_TRIES: usize = 4;
/// What a claim may take beside its calls.
const MARGIN: Duration = Duration::from_secs(60);

/// What a call told about the ticket system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Up,
    Down,
    Unsaid,
}

/// Runs until the queue stops and what was under way has ended.
pub(super) async fn run(queue: Arc<Queue>, name: String) {
    let mut breaker = Breaker::default();
    let mut calls: JoinSet<Health> = JoinSet::new();
    let mut phase = queue.phase();
    let mut changed = queue.changed();
    let mut store_failed = false;
    loop {
        if *phase.borrow_and_update() != Phase::Running {
            while calls.join_next().await.is_some() {}
            return;
        }
        changed.borrow_and_update();
        let mut pause = LOOK;
        if let Some(Ok(backend)) = queue.setup().backends.get(&name) {
            let hold = breaker.until().map_or(backend.next_turn(), |u| u.max(backend.next_turn()));
            let held = hold.saturating_duration_since(Instant::now());
            let free = breaker.most(backend.concurrency).saturating_sub(calls.len());
            if !held.is_zero() {
                pause = held;
            } else if free > 0 {
                // find, create, find: each with the backend's time.
                let lease = 3 * backend.call_timeout + MARGIN;
                match queue.store.claim(&name, free, lease).await {
                    Ok(claims) => {
                        store_failed = false;
                        for claim in claims {
                            calls.spawn(attempt(Arc::clone(&queue), Arc::clone(backend), claim));
                        }
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut store_failed, true) {
                            tracing::error!(
                                "{name}: {}",
                                Failure::from(&Error::from(error)).message
                            );
                        }
                        pause = STORE_PAUSE;
                    }
                }
            }
        }
        tokio::select! {
            Some(ended) = calls.join_next() => match ended {
                Ok(Health::Up) => breaker.up(),
                Ok(Health::Down) => if breaker.down() {
                    tracing::warn!("{name}: the ticket system is down; one call at a time finds out when it is back");
                },
                Ok(Health::Unsaid) | Err(_) => {}
            },
            _ = changed.changed() => {}
            _ = phase.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One try of one ticket, and its record.
async fn attempt(queue: Arc<Queue>, backend: Arc<Backend>, claim: Claim) -> Health {
    let started = now();
    let mut phase = queue.phase();
    let under_way = UnderWay::begin(&queue, claim.job.id);
    let (outcome, health) = tokio::select! {
        done = try_once(&queue, &backend, &claim), if under_way.is_some() => done,
        // Its lease ended while its call went on: the machine slept, or its clock was set. Nothing
        // may be done for it before that call has ended.
        () = std::future::ready(()), if under_way.is_none() => {
            let failure = claim.job.failure.clone().unwrap_or_else(|| {
                Failure::from(&Error::plugin("an earlier call for it goes on; there may be a ticket"))
            });
            let settle = millis(queue.policy().settle.max(STORE_PAUSE));
            (Outcome::Unknown { at: now() + settle, failure }, Health::Unsaid)
        }
        () = reached(&mut phase, Phase::Killed) => {
            let failure = Failure {
                kind: Kind::Plugin,
                message: "the host was stopped during the call; there may be a ticket".to_owned(),
                help: None,
            };
            (Outcome::Unknown { at: now() + millis(queue.policy().settle), failure }, Health::Unsaid)
        }
    };
    let (said, more) = match &outcome {
        Outcome::Created { made: true, ticket } => ("created", Ok(&ticket.url)),
        Outcome::Created { made: false, ticket } => ("existing", Ok(&ticket.url)),
        Outcome::Again { failure, .. } => ("retried", Err(&failure.message)),
        Outcome::Unknown { failure, .. } => ("unknown", Err(&failure.message)),
        Outcome::NoTicket => ("none", Ok(&claim.job.backend)),
        Outcome::Failed(failure) | Outcome::Lost(failure) => ("failed", Err(&failure.message)),
    };
    queue.metrics.ticket(&backend.name, said);
    let (id, key) = (claim.job.id, &claim.job.key);
    match more {
        Ok(more) => tracing::info!("ticket {id} ({}): {said}: {}", safe(key), safe(more)),
        Err(why) => tracing::warn!("ticket {id} ({}): {said}: {}", safe(key), safe(why)),
    }
    let mut failed = false;
    loop {
        match queue.store.settle(&claim, started, outcome.clone()).await {
            Ok(Some(job)) => {
                queue.settled(job);
                return health;
            }
            Ok(None) => {
                tracing::warn!("ticket {id}: its lease was over before its call");
                return health;
            }
            // What happened must not be forgotten: the ticket would be looked for only after the
            // lease. If the host is killed meanwhile, it will be.
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    let why = Failure::from(&Error::from(error)).message;
                    tracing::error!("ticket {id} can't be recorded yet: {why}");
                }
                tokio::select! {
                    () = tokio::time::sleep(STORE_PAUSE) => {}
                    () = reached(&mut phase, Phase::Killed) => return health,
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
    /// None: another call is.
    fn begin(queue: &Queue, id: i64) -> Option<UnderWay<'_>> {
        let mut ids = queue.under_way.lock().expect("nobody panics with this lock");
        ids.insert(id).then(|| UnderWay { queue, id })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Ok(mut ids) = self.queue.under_way.lock() {
            ids.remove(&self.id);
        }
    }
}

async fn try_once(queue: &Queue, backend: &Arc<Backend>, claim: &Claim) -> (Outcome, Health) {
    let incident: Incident = match serde_json::from_str(&claim.incident) {
        Ok(incident) => incident,
        Err(cause) => {
            let error = Error::usage(format!("the stored incident can't be read: {cause}"));
            return (Outcome::Failed(Failure::from(&error)), Health::Unsaid);
        }
    };
    let wanted = KeyedIncident { incident: Arc::new(incident), key: claim.job.key.clone() };
    let made = if claim.unknown {
        match backend.find(&wanted).await {
            Ok(Answer::Given(ticket)) => Ok((ticket, true)),
            Ok(Answer::NotFound) => return (Outcome::NoTicket, Health::Up),
            Ok(Answer::Unsupported) => return (lost(claim), Health::Unsaid),
            Err(error) => Err(error.retry(Retry::Unknown)),
        }
    } else {
        let look = match backend.look_first {
            // Nor may a backend of another name have made it.
            LookFirst::WhenInDoubt
                if claim.lease == 1
                    && !claim.elsewhere
                    && queue.has_begun_since(&wanted.incident.start_time) =>
            {
                Look::InDoubt
            }
            _ => Look::First,
        };
        let outcome = tickets::create(backend, &wanted, look).await;
        outcome.map(|outcome| (outcome.ticket, outcome.created))
    };
    match made {
        Ok((ticket, made)) => (Outcome::Created { ticket, made }, Health::Up),
        Err(error) => failed(queue, backend, &error, claim).await,
    }
}

/// A ticket that may be there, of a plugin that can't look for it.
fn lost(claim: &Claim) -> Outcome {
    let last = claim.job.failure.as_ref().map_or("", |failure| failure.message.as_str());
    Outcome::Lost(Failure {
        kind: Kind::Plugin,
        message: format!("there may be a ticket, and the plugin can't look for it: {last}"),
        help: Some(
            "look for it in the ticket system: if there is none, `queue retry` makes one; else \
             `queue cancel`"
                .to_owned(),
        ),
    })
}

/// What becomes of a ticket whose try failed.
async fn failed(
    queue: &Queue,
    backend: &Arc<Backend>,
    error: &Error,
    claim: &Claim,
) -> (Outcome, Health) {
    let failure = Failure::from(error);
    let health = match (error.kind, error.retry_after) {
        // It said when to come back: the gateway holds all calls until then.
        (Kind::Client, Some(_)) => Health::Unsaid,
        // Its requests had no turn within the call's time.
        (Kind::Client, None) if backend.paused() => Health::Unsaid,
        (Kind::Client, None) => Health::Down,
        (Kind::Settings | Kind::Creation, _) => Health::Up,
        _ => Health::Unsaid,
    };
    let again = || {
        // What the ticket system asked for, though its plugin may not have said so.
        let paused = backend.next_turn().saturating_duration_since(Instant::now());
        let asked = error.retry_after.filter(|asked| !asked.is_zero());
        let wait = asked.map_or_else(
            || retry::wait(claim.job.attempts, queue.policy().longest_wait),
            |asked| asked.min(LONGEST_PAUSE),
        );
        now() + millis(wait.max(paused))
    };
    let outcome = match (error.retry, error.kind) {
        (Retry::Unknown, Kind::Settings | Kind::Creation) if claim.unknown => {
            Outcome::Failed(failure)
        }
        (Retry::Unknown, _) => {
            let settle = millis(queue.policy().settle);
            Outcome::Unknown { at: (now() + settle).max(again()), failure }
        }
        (Retry::Later, _) | (_, Kind::Client) => Outcome::Again { at: again(), failure },
        (Retry::Never, Kind::Settings | Kind::Import) if is_replaced(queue, backend) => {
            Outcome::Again { at: now(), failure }
        }
        (Retry::Never, Kind::Plugin | Kind::Import)
            if breaks_before(queue, claim).await < BROKEN_TRIES =>
        {
            Outcome::Again { at: again(), failure }
        }
        (Retry::Never, _) => Outcome::Failed(failure),
    };
    (outcome, health)
}

/// Whether the settings that a call failed with are no longer those of its backend.
fn is_replaced(queue: &Queue, backend: &Arc<Backend>) -> bool {
    match queue.setup().backends.get(&backend.name) {
        Some(Ok(current)) => !Arc::ptr_eq(current, backend),
        _ => false,
    }
}

/// How many tries in a row before this one ended with a broken plugin.
async fn breaks_before(queue: &Queue, claim: &Claim) -> usize {
    // A store that can't say doesn't keep it from being tried again.
    let tries = queue.store.attempts(claim.job.id).await.unwrap_or_default();
    let broke = |failure: &Failure| matches!(failure.kind, Kind::Plugin | Kind::Import);
    tries.iter().rev().take_while(|t| t.failure.as_ref().is_some_and(broke)).count()
}

#[cfg(test)]
mod tests {
    use super::super::tests::queue;
    use super::*;

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
