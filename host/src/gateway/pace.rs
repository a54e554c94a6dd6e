//! When a backend's next request may leave: its rate limit, and the pauses that its ticket system
//! asks for.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A ticket system that asks for more is asked again after this.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// After a 429 that doesn't say for how long.
const UNSAID_PAUSE: Duration = Duration::from_secs(1);

/// What is learned of a ticket system's limit makes requests wait at most so long for each other.
const LONGEST_LEARNED: Duration = Duration::from_secs(1);
/// What was learned is held for so long, then for a twentieth less, and so on: limits change.
const FORGETTING: Duration = Duration::from_secs(10);

/// Shared by all calls of a backend.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two requests, by the config.
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Before this none may leave.
    next: Instant,
    /// Before this the ticket system wants none.
    paused: Instant,
    /// The interval that the ticket system keeps up with, and when that was learned.
    learned: Option<(Duration, Instant)>,
    /// When it last refused the first of many, and how many it took since.
    refused: Option<(Instant, u32)>,
}

impl State {
    /// Between two requests, as far as the ticket system taught it.
    fn learned(&self, now: Instant) -> Duration {
        self.learned.map_or(Duration::ZERO, |(interval, since)| {
            let steps = now.saturating_duration_since(since).as_secs() / FORGETTING.as_secs();
            interval.mul_f64(0.95_f64.powf(steps as f64))
        })
    }

    fn pause(&mut self, asked: Option<Duration>, now: Instant) {
        let asked = asked.filter(|asked| !asked.is_zero()).unwrap_or(UNSAID_PAUSE);
        self.paused = self.paused.max(now + asked.min(LONGEST_PAUSE));
        self.next = self.next.max(self.paused);
    }
}

impl Pace {
    pub(super) fn new(requests_per_second: Option<f64>) -> Pace {
        let interval = requests_per_second.map_or(Duration::ZERO, |rate| {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(LONGEST_PAUSE)
        });
        let now = Instant::now();
        let state = State { next: now, paused: now, learned: None, refused: None };
        Pace { interval, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with this lock")
    }

    /// A request's turn: when it may leave. None if that is after `deadline`; then it has no turn.
    pub(super) fn turn(&self, deadline: Instant) -> Option<Instant> {
        let (now, mut state) = (Instant::now(), self.state());
        let turn = state.next.max(now);
        if turn > deadline {
            return None;
        }
        state.next = turn + self.interval.max(state.learned(now));
        Some(turn)
    }

    /// Whether a pause began after a request got its turn, so that it needs another.
    pub(super) fn paused(&self) -> bool {
        self.state().paused > Instant::now()
    }

    /// When the next request would have its turn.
    pub(super) fn next(&self) -> Instant {
        self.state().next
    }

    /// The ticket system took a request.
    pub(super) fn taken(&self) {
        if let Some((_, taken)) = &mut self.state().refused {
            *taken = taken.saturating_add(1);
        }
    }

    /// The ticket system refused a request for coming too soon (429). What it took since it last
    /// did, pauses included, is what it keeps up with: sent evenly, that many are hardly refused.
    pub(super) fn refused(&self, asked: Option<Duration>) {
        let (now, mut state) = (Instant::now(), self.state());
        // Those that were under way with the first one teach nothing.
        if state.paused <= now {
            if let Some((since, taken)) = state.refused.filter(|(_, taken)| *taken > 0) {
                let kept_up = now.saturating_duration_since(since) / taken;
                let interval = kept_up.max(state.learned(now)).min(LONGEST_LEARNED);
                state.learned = Some((interval, now));
            }
            state.refused = Some((now, 0));
        }
        state.pause(asked, now);
    }

    /// Nothing leaves for so long: the ticket system said so.
    pub(super) fn pause(&self, asked: Option<Duration>) {
        self.state().pause(asked, Instant::now());
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

    #[test]
    fn what_a_ticket_system_takes_between_two_refusals_is_sent_evenly() {
        let pace = Pace::new(None);
        let (ago, now) = (Duration::from_secs(10), Instant::now());
        pace.state().refused = Some((now.checked_sub(ago).unwrap(), 500));
        pace.refused(Some(Duration::from_millis(1)));
        let turns: Vec<Instant> = (0..3).filter_map(|_| pace.turn(in_a_minute())).collect();
        let apart = (turns[2] - turns[0]).as_secs_f64() / 2.0;
        assert!((0.020..0.021).contains(&apart), "{apart}");
    }

    #[test]
    fn refusals_of_what_was_under_way_teach_nothing() {
        let pace = Pace::new(None);
        pace.refused(Some(Duration::from_secs(5)));
        pace.taken();
        pace.refused(None);
        assert_eq!(pace.state().learned, None);
    }

    #[test]
    fn one_that_refuses_for_long_holds_later_requests_no_longer_than_a_second_apart() {
        let pace = Pace::new(None);
        let ago = Duration::from_secs(600);
        pace.state().refused = Some((Instant::now().checked_sub(ago).unwrap(), 1));
        pace.refused(None);
        assert_eq!(pace.state().learned.unwrap().0, LONGEST_LEARNED);
    }

    #[test]
    fn what_was_learned_is_forgotten_step_by_step() {
        let pace = Pace::new(None);
        let now = Instant::now();
        pace.state().learned = Some((Duration::from_millis(20), now));
        let learned = |seconds| pace.state().learned(now + Duration::from_secs(seconds));
        assert_eq!(learned(9), Duration::from_millis(20));
        assert_eq!(learned(10), Duration::from_millis(19));
        assert!(learned(1000) < Duration::from_micros(150));
    }

    #[test]
    fn a_pause_that_begins_after_the_turn_is_seen() {
        let pace = Pace::new(None);
        pace.turn(in_a_minute()).unwrap();
        assert!(!pace.paused());
        pace.refused(None);
        assert!(pace.paused());
    }
}
