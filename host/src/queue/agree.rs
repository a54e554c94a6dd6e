//! What the hosts that share a store do together: how fast they ask a backend's ticket system, and which of them finds out whether one that made
//! no tickets does again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::Queue;
use super::retry::Cause;
use crate::backend::{Agreement, Backend};
use crate::setup::Setup;
use crate::store::{Store, Try};

/// Agrees in the store.
#[derive(Debug)]
struct InStore(Arc<dyn Store>);

#[async_trait]
impl Agreement for InStore {
    async fn take(
        &self,
        backend: &str,
        interval: Duration,
        turns: u32,
        most: Duration,
    ) -> Option<Duration> {
        // Who made the store logs its failures. Without it nothing new is claimed either.
        self.0.take_turns(backend, interval, turns, most).await.ok().flatten()
    }

    async fn pause(&self, backend: &str, time: Duration) {
        // An error leaves each host to find out by itself.
        let _ = self.0.set_pause(backend, time).await;
    }
}

/// Has the setup's backends agree with other hosts, if there are any.
pub(super) fn with(store: &Arc<dyn Store>, setup: &Setup) {
    if store.shared().is_some() {
        for backend in setup.backends.values().flatten() {
            backend.agree(Arc::new(InStore(Arc::clone(store))));
        }
    }
}

/// Heeds what other hosts have noted. Who calls this rouses the lanes then.
pub(super) async fn heed(queue: &Queue) {
    let setup = queue.setup();
    // Errors are told by whoever made the store.
    for (name, time) in queue.store.pauses().await.unwrap_or_default() {
        if let Some(Ok(backend)) = setup.backends.get(&name) {
            backend.rest(time);
        }
    }
    let asked = Instant::now();
    for hold in queue.store.holds().await.unwrap_or_default() {
        if let Some(cause) = Cause::of_shared(&hold.cause)
            && setup.backends.contains_key(&hold.backend)
        {
            queue.note(&hold.backend, |record| record.hear(cause, hold.left, hold.released, asked));
        }
    }
}

/// The turn that this host takes with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    cause: Cause,
    until: Instant,
}

/// The turn to take, and how the store is told.
pub(super) fn turn(queue: &Queue, backend: &Backend) -> Option<(Turn, Try)> {
    queue.store.shared()?;
    let cause = queue.record(&backend.name, |record| record.breaker.shared_cause())?;
    let time = cause.turn(backend.call_timeout);
    Some((Turn { cause, until: Instant::now() + time }, Try { cause: cause.shared()?, time }))
}

/// The turn ends: the next one may try after this pause.
pub(super) async fn end(queue: &Queue, backend: &str, turn: Option<Turn>, pause: Duration) {
    if let Some(turn) = turn {
        // Else another one may have its turn by now.
        let is_own = Instant::now() < turn.until;
        hold(queue, backend, turn.cause, pause, is_own).await;
    }
}

/// This host holds a backend for this cause, and the next one may try after this pause. `ends`: this host's turn ends.
pub(super) async fn hold(queue: &Queue, backend: &str, cause: Cause, pause: Duration, ends: bool) {
    let Some(shared) = cause.shared() else { return };
    // Without it the next host tries when this one's turn would have been over at the latest.
    if queue.store.hold(backend, shared, pause, ends).await.is_ok() {
        queue.note(backend, |record| record.breaker.is_noted(Instant::now()));
    }
}

/// This host has found that a backend which it held for this cause makes tickets again.
pub(super) async fn release(queue: &Queue, backend: &str, cause: Cause) {
    let Some(shared) = cause.shared() else { return };
    // An error leaves each host to find out by itself.
    if let Ok(released) = queue.store.release(backend, shared).await {
        queue.note(backend, |record| record.knows_released(cause, released));
    }
}
