//! One rate limit for several hosts: turns are taken from what they share, some at a time.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

/// For how long turns are taken at once. Those that are not used are lost for the other hosts, too.
const AHEAD: Duration = Duration::from_millis(100);

/// Where several hosts agree how fast a backend's requests leave.
#[async_trait]
pub(crate) trait Agreement: fmt::Debug + Send + Sync {
    /// Takes so many turns, one `interval` after the other: how long until the first. None: it would be later than in `most`, and
    /// nothing was taken; or nobody can be asked.
    async fn take(
        &self,
        backend: &str,
        interval: Duration,
        turns: u32,
        most: Duration,
    ) -> Option<Duration>;

    /// Tells the others that the ticket system wants to be left alone for that time.
    async fn pause(&self, backend: &str, time: Duration);
}

/// The turns of one backend's requests that this host has taken.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    /// None as long as no other host is known.
    agreement: OnceLock<Arc<dyn Agreement>>,
    taken: Mutex<Option<Taken>>,
    /// How many requests wait for a turn.
    waiting: AtomicU32,
}

#[derive(Debug)]
struct Taken {
    next: Instant,
    left: u32,
}

impl Taken {
    /// The next turn that is not over yet.
    fn turn(&mut self, interval: Duration, now: Instant) -> Option<Instant> {
        while self.left > 0 {
            let turn = self.next;
            self.next += interval;
            self.left -= 1;
            // What another host took since comes after it.
            if turn + interval > now {
                return Some(turn);
            }
        }
        None
    }
}

/// How many turns are taken at once, if so many requests wait for one.
fn at_once(waiting: u32, interval: Duration) -> u32 {
    let most = AHEAD.as_secs_f64() / interval.as_secs_f64().max(1e-6);
    waiting.clamp(1, most.max(1.0) as u32)
}

impl Agreed {
    pub(super) fn with(&self, agreement: Arc<dyn Agreement>) {
        // One that was told of before is of the same store.
        let _ = self.agreement.set(agreement);
    }

    /// Waits for a turn; false if that would be after `deadline`.
    pub(super) async fn turn(&self, backend: &str, interval: Duration, deadline: Instant) -> bool {
        let Some(agreement) = self.agreement.get().filter(|_| !interval.is_zero()) else {
            return true;
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = self.next(&**agreement, backend, interval, deadline).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let Some(turn) = turn else { return false };
        tokio::time::sleep_until(turn.into()).await;
        true
    }

    async fn next(
        &self,
        agreement: &dyn Agreement,
        backend: &str,
        interval: Duration,
        deadline: Instant,
    ) -> Option<Instant> {
        // The longest that others may hold it is the time of a question.
        let mut taken = tokio::time::timeout_at(deadline.into(), self.taken.lock()).await.ok()?;
        if let Some(turn) = taken.as_mut().and_then(|taken| taken.turn(interval, Instant::now())) {
            return Some(turn);
        }
        let left = at_once(self.waiting.load(Ordering::Relaxed), interval);
        let most = deadline.saturating_duration_since(Instant::now());
        let until = agreement.take(backend, interval, left, most).await?;
        let mut turns = Taken { next: Instant::now() + until, left };
        let turn = turns.turn(interval, Instant::now());
        *taken = Some(turns);
        turn
    }

    /// Tells other hosts of a pause.
    pub(super) fn pause(&self, backend: &str, time: Duration) {
        if let Some(agreement) = self.agreement.get() {
            let (agreement, backend) = (Arc::clone(agreement), backend.to_owned());
            tokio::spawn(async move { agreement.pause(&backend, time).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    #[test]
    fn turns_that_are_over_are_left_out() {
        let now = Instant::now();
        let mut taken = Taken { next: now, left: 4 };
        assert_eq!(taken.turn(INTERVAL, now), Some(now));
        // The second one is over, the third one has just begun.
        assert_eq!(taken.turn(INTERVAL, now + 2 * INTERVAL), Some(now + 2 * INTERVAL));
        assert_eq!(taken.turn(INTERVAL, now + 9 * INTERVAL), None);
    }

    #[test]
    fn so_many_turns_are_taken_as_requests_wait_and_for_a_tenth_of_a_second_at_most() {
        for (waiting, millis, expected) in
            [(1, 20, 1), (3, 20, 3), (100, 20, 5), (100, 1000, 1), (0, 20, 1), (9, 0, 9)]
        {
            let interval = Duration::from_millis(millis);
            assert_eq!(at_once(waiting, interval), expected, "{waiting} {millis}");
        }
    }
}
