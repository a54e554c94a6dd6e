//! When what failed is tried again: a ticket by itself, and a whole backend that is down.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(2);
/// Failures in a row after which a ticket system counts as down.
pub(super) const DOWN: u32 = 5;
const LONGEST_BREAK: Duration = Duration::from_secs(60);

/// How long to wait after try number `attempt` (from 1): doubled each time up to `longest`, with
/// jitter so that what failed together isn't tried together.
pub(super) fn wait(attempt: i64, longest: Duration) -> Duration {
    let doublings = attempt.saturating_sub(1).clamp(0, 20) as u32;
    jitter((FIRST * 2_u32.pow(doublings)).min(longest))
}

/// A random time between half of `time` and all of it.
fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Holds the calls to a ticket system that is down. One call now and then is let through, to find out whether it
/// is back.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    until: Option<Instant>,
}

impl Breaker {
    /// A call reached the ticket system and was answered.
    pub(super) fn up(&mut self) {
        *self = Breaker::default();
    }

    /// A call found it down. Returns whether that was the one after which the others are held.
    pub(super) fn down(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= DOWN {
            let doublings = (self.failures - DOWN).min(6);
            let pause = Duration::from_secs(1 << doublings).min(LONGEST_BREAK);
            self.until = Some(Instant::now() + jitter(pause));
        }
        self.failures == DOWN
    }

    /// Until when no call may begin.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// How many calls may be under way, of `all`.
    pub(super) fn most(&self, all: usize) -> usize {
        if self.until.is_some() { 1 } else { all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        for (attempt, seconds) in [(1, 2.0), (2, 4.0), (3, 8.0), (10, 600.0), (i64::MAX, 600.0)] {
            let wait = wait(attempt, Duration::from_secs(600)).as_secs_f64();
            assert!((seconds / 2.0..=seconds).contains(&wait), "{attempt}: {wait}");
        }
    }

    #[test]
    fn a_backend_that_is_down_gets_one_call_at_a_time_until_one_succeeds() {
        let mut breaker = Breaker::default();
        for _ in 1..DOWN {
            assert!(!breaker.down());
        }
        assert_eq!((breaker.most(8), breaker.until()), (8, None));
        assert!(breaker.down(), "that is said once");
        assert_eq!(breaker.most(8), 1);
        assert!(breaker.until().is_some_and(|until| until > Instant::now()));
        for _ in 0..100 {
            assert!(!breaker.down());
        }
        assert!(breaker.until().is_some_and(|until| until <= Instant::now() + LONGEST_BREAK));
        breaker.up();
        assert_eq!((breaker.most(8), breaker.until()), (8, None));
    }
}
