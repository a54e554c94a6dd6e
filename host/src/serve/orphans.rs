//! Tickets that wait for a backend which the config no longer has: nothing happens to them until it has it again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::setup::Setup;
use crate::store::Count;
use crate::terminal::line;

/// How long a count is good, since it reads all of the store's index.
const GOOD: Duration = Duration::from_secs(10);

/// What the last count gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// When it began: also one that failed is not tried again at once.
    at: Instant,
    tickets: i64,
}

impl Counted {
    pub(super) fn now(orphans: &BTreeMap<String, i64>) -> Counted {
        Counted { at: Instant::now(), tickets: orphans.values().sum() }
    }
}

/// How many there are, as far as that is known. Has them counted now and then, however many ask; who asks meanwhile doesn't wait.
pub(super) async fn known(
    counted: &Mutex<Option<Counted>>,
    count: impl Future<Output = Option<BTreeMap<String, i64>>>,
) -> i64 {
    let tickets = {
        let mut counted = lock(counted);
        let tickets = counted.map_or(0, |counted| counted.tickets);
        if counted.is_some_and(|counted| counted.at.elapsed() < GOOD) {
            return tickets;
        }
        *counted = Some(Counted { at: Instant::now(), tickets });
        tickets
    };
    let Some(orphans) = count.await else { return tickets };
    let now = Counted::now(&orphans);
    *lock(counted) = Some(now);
    now.tickets
}

/// How many there are of each such backend.
pub(super) fn of(counts: &[Count], setup: &Setup) -> BTreeMap<String, i64> {
    let mut orphans = BTreeMap::new();
    for count in counts {
        if !count.state.is_final() && !setup.config.backends.contains_key(&count.backend) {
            *orphans.entry(count.backend.clone()).or_default() += count.rows;
        }
    }
    orphans
}

/// What the log says of them, and what to do.
pub(super) fn text(backend: &str, tickets: i64) -> String {
    let backend = line(backend);
    let wait = match tickets {
        1 => "1 ticket waits".to_owned(),
        several => format!("{several} tickets wait"),
    };
    format!(
        "{wait} for the backend {backend}, which the config doesn't have: give it one of that name again, or cancel with: \
         ticket-host queue cancel --backend {backend}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_while_they_are_counted_or_could_not_be_does_not_wait_for_the_store() {
        let three = || BTreeMap::from([("gone".to_owned(), 3)]);
        let counted = Mutex::new(None);
        let never = || async { unreachable!("it was just counted") };
        assert_eq!(known(&counted, async { Some(three()) }).await, 3);
        assert_eq!(known(&counted, never()).await, 3);
        let make_old = || {
            lock(&counted).as_mut().unwrap().at -= GOOD;
        };
        // One who asks a store that hangs, and many who ask meanwhile.
        make_old();
        tokio::select! {
            biased;
            _ = known(&counted, std::future::pending()) => unreachable!("its store hangs"),
            known = known(&counted, never()) => assert_eq!(known, 3),
        }
        // A store that fails is not asked again at once.
        make_old();
        assert_eq!(known(&counted, async { None }).await, 3);
        assert_eq!(known(&counted, never()).await, 3);
    }
}
