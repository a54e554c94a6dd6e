//! Which of the hosts that share a store does what one of them does for all: files what Argus has, ends leases, removes what is old.
//!
//! Two may think for a moment that it is them, which does no harm: all of it can be done twice.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::store::Store;

/// For how long a host leads without being heard of.
const TERM: Duration = Duration::from_secs(10);
/// How often it says that it still does, and how often others ask.
const RENEW: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Lead {
    /// This host's name among the others.
    host: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: Option<Instant>,
    until: Option<Instant>,
}

impl Lead {
    pub(super) fn new() -> Lead {
        let host = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        Lead { host, state: Mutex::default() }
    }

    /// Whether it is this host.
    pub(super) fn is_here(&self) -> bool {
        lock(&self.state).until.is_some_and(|until| Instant::now() < until)
    }

    /// Asks the store, if that is due.
    pub(super) async fn renew(&self, store: &dyn Store) {
        let now = Instant::now();
        let is_due = lock(&self.state).asked.is_none_or(|asked| now - asked >= RENEW);
        if is_due {
            let leads = store.lead(&self.host, TERM).await;
            let mut state = lock(&self.state);
            state.asked = Some(now);
            match leads {
                Ok(true) => state.until = Some(now + TERM),
                Ok(false) => state.until = None,
                // It is this host until its time is over. Who made the store logs its failures.
                Err(_) => {}
            }
        }
    }
}
