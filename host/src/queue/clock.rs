//! Notices that this machine's clock was set, or that the machine slept.

use std::fmt;
use std::time::{Duration, Instant};

use crate::store::Timestamp;

/// By how much a clock may be set without a word: that is done all the time, to keep it right.
const UNSAID: Duration = Duration::from_secs(10);

/// The clock of the machine beside one that nobody can set. While a machine sleeps, that one may stand still (on Linux it does): afterwards
/// that looks as if the clock had been set ahead.
#[derive(Debug)]
pub(super) struct Clock {
    last: (Instant, Timestamp),
}

/// A clock that was set, or a machine that slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    pub by: Duration,
    pub is_ahead: bool,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, waits) =
            (self.by.as_secs(), "what waits goes on to wait as long as it would have");
        match self.is_ahead {
            true => write!(
                f,
                "this machine's clock was set ahead by {by} s, or the machine slept for so long: {waits}"
            ),
            false => write!(f, "this machine's clock was set back by {by} s: {waits}"),
        }
    }
}

impl Clock {
    pub(super) fn new(moment: Instant, at: Timestamp) -> Clock {
        Clock { last: (moment, at) }
    }

    /// What happened since the last look.
    pub(super) fn look(&mut self, moment: Instant, at: Timestamp) -> Option<Jump> {
        let (before, was) = std::mem::replace(&mut self.last, (moment, at));
        let expected = was + moment.saturating_duration_since(before);
        let by = at.apart(expected);
        (by > UNSAID).then_some(Jump { by, is_ahead: at > expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed_once_and_one_that_is_kept_right_is_not() {
        let (start, at) = (Instant::now(), Timestamp::from_millis(1_700_000_000_000));
        let mut clock = Clock::new(start, at);
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        for (passed, shown, expected) in [
            (second, second, None),
            (second, second + Duration::from_secs(5), None),
            (second, second + hour, Some(Jump { by: hour, is_ahead: true })),
            (second, second, None),
            // The process was held: both clocks went on.
            (hour, hour, None),
        ] {
            let (moment, at) = (clock.last.0 + passed, clock.last.1 + shown);
            assert_eq!(clock.look(moment, at), expected);
        }
        let (moment, at) = (clock.last.0 + second, clock.last.1 + second - 2 * hour);
        assert_eq!(clock.look(moment, at), Some(Jump { by: 2 * hour, is_ahead: false }));
    }

    #[test]
    fn a_clock_that_is_ahead_may_mean_that_the_machine_slept() {
        for (is_ahead, said) in [
            (true, "set ahead by 60 s, or the machine slept for so long: "),
            (false, "set back by 60 s: "),
        ] {
            let text = Jump { by: Duration::from_secs(60), is_ahead }.to_string();
            assert!(text.contains(said), "{text}");
        }
    }
}
