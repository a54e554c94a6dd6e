//! Moments as the store keeps them. A length of time is a [`Duration`], and nothing else.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment: milliseconds since 1970. One that would be out of its bounds is the nearest that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The beginning of 1970. What is due then is due now, whenever that is.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// Later than all others.
    pub const END: Timestamp = Timestamp(i64::MAX);

    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(Timestamp::EPOCH, |since| Timestamp::EPOCH + since)
    }

    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long this is after an earlier one; none at all if it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// How far apart two are, whichever is the earlier one.
    pub fn apart(self, other: Timestamp) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis(duration)))
    }
}

/// A duration as the store's statements take it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_durations_stay_within_their_bounds() {
        let (early, late) = (Timestamp::from_millis(1000), Timestamp::from_millis(3500));
        let between = Duration::from_millis(2500);
        assert_eq!((late.since(early), early.since(late)), (between, Duration::ZERO));
        assert_eq!((late.apart(early), early.apart(late)), (between, between));
        assert_eq!((early + between, late - between), (late, early));
        assert_eq!(late + Duration::MAX, Timestamp::END);
        assert!(early - Duration::MAX < Timestamp::EPOCH);
    }
}
