//! The store's own time, which no clock can set.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment of the store's own time: for how many milliseconds hosts have worked on the store until then.
///
/// It stands still while no host runs, and goes on at the pace of a clock that nobody can set. So a machine's clock that
/// jumps makes no ticket older, and a service that was off for a month gives nothing up when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// The first one. What is due then is due now, whenever that is.
    pub const NOW: Moment = Moment(0);

    pub const fn from_millis(millis: i64) -> Moment {
        Moment(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long this is after an earlier one; none at all if it is not.
    pub fn since(self, earlier: Moment) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(duration)))
    }
}

/// What was so long ago may be before the first moment.
impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(duration)))
    }
}

/// A duration in milliseconds: the most that fit, if it has more.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
