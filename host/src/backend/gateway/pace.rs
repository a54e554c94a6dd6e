//! Says when a backend's next request may leave.
//!
//! Three things decide: the interval that the operator's rate limit asks for, the pauses that the ticket system
//! asks for (Retry-After, or 429 without it), and the gap. The gap is an interval that the host finds by
//! itself, so that a limit that nobody told it is met by few requests: it grows with each pause and shrinks
//! with each answer.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The longest pause. A ticket system that asks for more gets a request again after this.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The pause after a 429 that doesn't say how long to wait.
const UNSAID_PAUSE: Duration = Duration::from_secs(1);

/// A pause multiplies the gap by this.
const LONGER: f64 = 1.25;
/// An answer multiplies the gap by this. 149 answers undo one pause (1.25 * 0.9985^149 = 1), so at a limit
/// about one request in 150 is refused.
const SHORTER: f64 = 0.9985;
/// What the gaps may cost. Refusals can have nothing to do with how fast requests leave; then a longer gap
/// takes time and helps nothing. So a pause doesn't raise the gap above the value at which the gaps between
/// this pause and the one before, all together, take this many times as long as the pause.
const COST: u32 = 2;
/// The gap after the first pause.
const FIRST_GAP: Duration = Duration::from_millis(4);
/// The gap never grows longer than this.
const LONGEST_GAP: Duration = Duration::from_millis(100);
/// A gap that would shrink below this ends: requests leave without a gap again.
const SHORTEST_GAP: Duration = Duration::from_millis(1);

/// The pace of one backend's requests, which all its calls share.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time between two requests that the settings ask for; zero if they set no limit.
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The turn of the next request that asks for one.
    next: Instant,
    /// The latest end of all pauses so far. Until then nothing leaves, not even a request that has been given its turn.
    paused: Instant,
    /// When a refusal last counted. Refusals of requests that had left before then don't count.
    refused: Option<Instant>,
    /// The time between two requests that the pauses so far have taught.
    gap: Duration,
    /// Requests that the ticket system took since a refusal last counted.
    taken: u32,
}

impl Pace {
    pub(super) fn new(requests_per_second: Option<f64>) -> Pace {
        let interval = requests_per_second.map_or(Duration::ZERO, |rate| {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(LONGEST_PAUSE)
        });
        let now = Instant::now();
        let state = State { next: now, paused: now, refused: None, gap: Duration::ZERO, taken: 0 };
        Pace { interval, state: Mutex::new(state) }
    }

    /// Gives a request its turn: the moment from which it may leave. None if that would be after `deadline`;
    /// then the turn is left to another request.
    pub(super) fn turn(&self, deadline: Instant) -> Option<Instant> {
        let mut state = self.state();
        let turn = state.next.max(Instant::now());
        if turn > deadline {
            return None;
        }
        state.next = turn + self.interval.max(state.gap);
        Some(turn)
    }

    /// Whether a pause lasts now, so that nothing may leave. It can have begun after a request was given its turn.
    pub(super) fn paused(&self) -> bool {
        Instant::now() < self.state().paused
    }

    /// When the next request would have its turn.
    pub(super) fn next(&self) -> Instant {
        self.state().next
    }

    /// Begins a pause: the ticket system asked for it in its answer to a request that left at `left`. `asked`
    /// is how long it is to be, if the answer says so. How long it is.
    pub(super) fn pause(&self, left: Instant, asked: Option<Duration>) -> Duration {
        let asked = asked.filter(|asked| !asked.is_zero()).unwrap_or(UNSAID_PAUSE);
        let pause = asked.min(LONGEST_PAUSE);
        let now = Instant::now();
        let mut state = self.state();
        state.paused = state.paused.max(now + pause);
        state.next = state.next.max(state.paused);
        // All requests that were under way when the limit was met are refused. Together they count as one refusal.
        if state.refused.is_none_or(|refused| left > refused) {
            state.refused = Some(now);
            let worth = pause * COST / state.taken.max(1);
            let longer = state.gap.mul_f64(LONGER).max(FIRST_GAP).min(worth);
            state.gap = state.gap.max(longer).min(LONGEST_GAP);
            state.taken = 0;
        }
        pause
    }

    /// A pause that another host was asked for. It teaches this one no gap: its requests were not refused.
    pub(super) fn rest(&self, time: Duration) {
        let mut state = self.state();
        state.paused = state.paused.max(Instant::now() + time.min(LONGEST_PAUSE));
        state.next = state.next.max(state.paused);
    }

    /// The time between two requests that the settings ask for.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Notes that the ticket system took a request, which shortens the gap.
    pub(super) fn taken(&self) {
        let mut state = self.state();
        state.taken = state.taken.saturating_add(1);
        let gap = state.gap.mul_f64(SHORTER);
        state.gap = if gap < SHORTEST_GAP { Duration::ZERO } else { gap };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with this lock")
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
        pace.pause(Instant::now(), Some(Duration::from_secs(30)));
        assert_eq!(pace.turn(Instant::now() + Duration::from_secs(29)), None);
        let turn = pace.turn(in_a_minute()).unwrap();
        assert!(turn > Instant::now() + Duration::from_secs(29));
    }

    #[test]
    fn a_pause_never_ends_an_older_one_early_and_has_a_bound() {
        let pace = Pace::new(None);
        pace.pause(Instant::now(), Some(Duration::from_secs(30)));
        pace.pause(Instant::now(), None);
        assert!(pace.next() > Instant::now() + Duration::from_secs(29));
        pace.pause(Instant::now(), Some(Duration::MAX));
        assert!(pace.next() < Instant::now() + LONGEST_PAUSE + Duration::from_secs(1));
    }

    #[test]
    fn a_pause_also_holds_those_that_had_their_turn() {
        let pace = Pace::new(Some(10.0));
        pace.turn(in_a_minute());
        pace.turn(in_a_minute());
        assert!(!pace.paused());
        pace.pause(Instant::now(), Some(Duration::from_secs(30)));
        assert!(pace.paused());
    }

    /// A ticket system's token bucket, and requests that leave as their turns come, in a made time
    /// that starts at the pace's.
    fn refused_of(requests: u32, limit: f64) -> u32 {
        let pace = Pace::new(None);
        let (mut tokens, mut last, mut refused) = (limit, pace.next(), 0);
        for _ in 0..requests {
            // What `turn` does, without its clock.
            let turn = {
                let mut state = pace.state();
                let turn = state.next;
                state.next = turn + state.gap.max(Duration::from_millis(1));
                turn
            };
            tokens = (tokens + (turn - last).as_secs_f64() * limit).min(limit);
            last = turn;
            if tokens < 1.0 {
                refused += 1;
                pace.pause(Instant::now(), Some(Duration::from_secs(1)));
                pace.state().next = turn + Duration::from_secs(1);
            } else {
                tokens -= 1.0;
                pace.taken();
            }
        }
        refused
    }

    #[test]
    fn the_gap_finds_a_limit_that_nobody_told() {
        for limit in [20.0, 50.0, 200.0] {
            let refused = refused_of(10_000, limit);
            assert!(refused < 200, "{refused} of 10000 refused at {limit}/s");
        }
    }

    #[test]
    fn requests_refused_together_teach_once_and_a_gap_has_a_bound() {
        let pace = Pace::new(None);
        let left = Instant::now();
        for _ in 0..32 {
            pace.pause(left, None);
        }
        assert_eq!(pace.state().gap, FIRST_GAP);
        for _ in 0..100 {
            pace.state().refused = None;
            pace.pause(Instant::now(), None);
        }
        assert_eq!(pace.state().gap, LONGEST_GAP);
    }

    #[test]
    fn refusals_by_chance_cost_no_more_in_gaps_than_twice_their_pauses() {
        let pace = Pace::new(None);
        for _ in 0..100 {
            for _ in 0..100 {
                pace.taken();
            }
            pace.pause(Instant::now(), Some(Duration::from_secs(1)));
        }
        assert!(pace.state().gap <= Duration::from_millis(20), "{:?}", pace.state().gap);
    }

    #[test]
    fn answers_without_a_refusal_end_the_gap() {
        let pace = Pace::new(None);
        pace.pause(Instant::now(), None);
        for _ in 0..1000 {
            pace.taken();
        }
        assert_eq!(pace.state().gap, Duration::ZERO);
    }
}
