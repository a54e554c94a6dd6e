//! When a backend's next request may leave: its rate limit, and the pauses that its ticket system
//! asks for.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A ticket system that asks for more is asked again after this.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// After a 429 that doesn't say for how long.
const UNSAID_PAUSE: Duration = Duration::from_secs(1);

/// Shared by all calls of a backend.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two requests.
    interval: Duration,
    /// Before this none may leave.
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(requests_per_second: Option<f64>) -> Pace {
        let interval = requests_per_second.map_or(Duration::ZERO, |rate| {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(LONGEST_PAUSE)
        });
        Pace { interval, next: Mutex::new(Instant::now()) }
    }

    /// A request's turn: when it may leave. None if that is after `deadline`; then it has no turn.
    pub(super) fn turn(&self, deadline: Instant) -> Option<Instant> {
        let mut next = self.next.lock().expect("nobody panics with this lock");
        let turn = (*next).max(Instant::now());
        if turn > deadline {
            return None;
        }
        *next = turn + self.interval;
        Some(turn)
    }

    /// When the next request would have its turn.
    pub(super) fn next(&self) -> Instant {
        *self.next.lock().expect("nobody panics with this lock")
    }

    /// Nothing leaves for so long: the ticket system said so, or said 429 without a time.
    pub(super) fn pause(&self, asked: Option<Duration>) {
        let asked = asked.filter(|asked| !asked.is_zero()).unwrap_or(UNSAID_PAUSE);
        let until = Instant::now() + asked.min(LONGEST_PAUSE);
        let mut next = self.next.lock().expect("nobody panics with this lock");
        *next = (*next).max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn requests_leave_an_interval_apart_without_a_burst() {
        let pace = Pace::new(Some(50.0));
        let turns: Vec<Instant> = (0..4).filter_map(|_| pace.turn(in_a_minute())).collect();
        let apart: Vec<Duration> = turns.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(apart, [Duration::from_millis(20); 3]);
    }

    #[test]
    fn without_a_limit_every_turn_is_now() {
        let pace = Pace::new(None);
        for _ in 0..1000 {
            assert!(pace.turn(Instant::now() + Duration::from_millis(1)).is_some());
        }
    }

    #[test]
    fn a_pause_holds_all_and_who_cannot_wait_takes_no_turn() {
        let pace = Pace::new(Some(1.0));
        pace.pause(Some(Duration::from_secs(30)));
        assert_eq!(pace.turn(Instant::now() + Duration::from_secs(29)), None);
        let turn = pace.turn(in_a_minute()).unwrap();
        assert!(turn > Instant::now() + Duration::from_secs(29));
    }

    #[test]
    fn a_pause_never_ends_an_older_one_early_and_has_a_bound() {
        let pace = Pace::new(None);
        pace.pause(Some(Duration::from_secs(30)));
        pace.pause(None);
        assert!(pace.next() > Instant::now() + Duration::from_secs(29));
        pace.pause(Some(Duration::MAX));
        assert!(pace.next() < Instant::now() + LONGEST_PAUSE + Duration::from_secs(1));
    }
}
