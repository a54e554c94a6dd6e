//! What the hosts that share a store do together: how fast they ask a backend's ticket system, and which of them finds out whether one that made
//! no tickets does again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Queue;
use super::retry::Cause;
use crate::backend::Agreement;
use crate::setup::Setup;
use crate::store::Store;

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
    let mut is_news = false;
    // An error is told by whoever made the store.
    for shared in queue.store.backends().await.unwrap_or_default() {
        if let Some(Ok(backend)) = setup.backends.get(&shared.backend) {
            backend.rest(shared.paused);
            is_news |= queue.hear(&shared.backend, shared.released);
        }
    }
    if is_news {
        queue.wake();
    }
}

/// Notes that a backend which was held for this makes tickets again.
pub(super) async fn release(queue: &Queue, backend: &str, cause: Cause) {
    if cause != Cause::Machine {
        // An error leaves each host to find out by itself.
        let _ = queue.store.release(backend).await;
    }
}
