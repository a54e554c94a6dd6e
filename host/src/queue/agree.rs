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

/// Heeds what other hosts have noted.
pub(super) async fn heed(queue: &Queue) {
    let setup = queue.setup();
    // Errors are told by whoever made the store.
    for (name, time) in queue.store.pauses().await.unwrap_or_default() {
        if let Some(Ok(backend)) = setup.backends.get(&name) {
            backend.rest(time);
        }
    }
    let mut may_begin = false;
    for hold in queue.store.holds().await.unwrap_or_default() {
        let cause = SHARED.into_iter().find(|cause| cause.shared() == Some(hold.cause.as_str()));
        if let Some(cause) = cause {
            may_begin |= queue.note(&hold.backend, |record| {
                record.hear(cause, hold.left, hold.released, Instant::now())
            });
        }
    }
    if may_begin {
        queue.wake();
    }
}

const SHARED: [Cause; 2] = [Cause::Down, Cause::Settings];

/// The try that a claim of a held backend is, if hosts take turns in these.
pub(super) fn tries(queue: &Queue, backend: &Backend) -> Option<Try> {
    queue.store.shared()?;
    let cause = queue.record(&backend.name, |record| record.breaker.shared_cause())?;
    Some(Try { cause: cause.shared()?, time: backend.call_timeout })
}

/// This host holds a backend for this cause: it has just found so, or its try of that has ended (`ends`).
pub(super) async fn holds(queue: &Queue, backend: &str, cause: Cause, ends: bool) {
    let Some(shared) = cause.shared() else { return };
    let left = queue.record(backend, |record| record.breaker.left(cause, Instant::now()));
    // Without it the next host tries when this one's call would have been over at the latest.
    let _ = queue.store.hold(backend, shared, left, ends).await;
}

/// This host has found that a backend which it held for this cause makes tickets again.
pub(super) async fn release(queue: &Queue, backend: &str, cause: Cause) {
    let Some(shared) = cause.shared() else { return };
    // An error leaves each host to find out by itself.
    if let Ok(released) = queue.store.release(backend, shared).await {
        queue.note(backend, |record| record.knows_released(cause, released));
    }
}
