//! A token bucket: it lets a burst through at once, and a steady rate in the long run.

use std::time::{Duration, Instant};

/// It holds at most `burst` tokens, and earns `rate` tokens a second.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    burst: f64,
    rate: f64,
    /// Tokens in the bucket at the time `at`; negative if more were taken than it held.
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(burst: f64, rate: f64, now: Instant) -> TokenBucket {
        TokenBucket { burst, rate, tokens: burst, at: now }
    }

    /// Takes tokens, also if there aren't so many. Gives how long it takes to earn what was missing: zero if nothing was.
    pub(crate) fn take(&mut self, tokens: f64, now: Instant) -> Duration {
        self.tokens = self.at(now) - tokens;
        self.at = now;
        Duration::from_secs_f64((-self.tokens / self.rate).max(0.0))
    }

    /// Takes tokens if there are so many. Tells whether there were.
    pub(crate) fn try_take(&mut self, tokens: f64, now: Instant) -> bool {
        let enough = self.at(now) >= tokens;
        if enough {
            self.take(tokens, now);
        }
        enough
    }

    /// Tokens in the bucket at the time `now`; negative if more were taken than it held.
    pub(crate) fn at(&self, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        (self.tokens + earned).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_decides() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 2.0, start);
        // At which second how many are taken, and how long it takes to earn what was missing.
        for (second, tokens, wait) in [
            (0.0, 10.0, 0.0),
            (0.0, 1.0, 0.5),
            (0.0, 1.0, 1.0),
            (1.0, 0.0, 0.0),
            (1.0, 3.0, 1.5),
            (3.0, 1.0, 0.0),
            (100.0, 10.0, 0.0),
            (100.0, 1.0, 0.5),
            // A clock that stands still, or is read in another order, gives nothing.
            (99.0, 1.0, 1.0),
        ] {
            let now = start + Duration::from_secs_f64(second);
            assert_eq!(bucket.take(tokens, now), Duration::from_secs_f64(wait), "at {second}");
        }
    }

    #[test]
    fn where_not_enough_is_there_nothing_is_taken() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 2.0, start);
        assert!(!bucket.try_take(11.0, start));
        assert!(bucket.try_take(10.0, start));
        let later = start + Duration::from_secs(1);
        assert!(!bucket.try_take(3.0, later));
        assert!(bucket.try_take(2.0, later));
    }
}
