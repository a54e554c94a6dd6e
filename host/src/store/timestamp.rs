//! Times of day, for people. What is decided is decided by [`crate::machine::Moment`]; a length of time is a [`Duration`].

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::machine::millis;

/// A time of day: milliseconds since 1970. One that would be out of its bounds is the nearest that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The moment that RFC 3339 writes so, or None if it writes none so.
    pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
        let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
        i64::try_from(nanos / 1_000_000).ok().map(Timestamp)
    }

    /// As RFC 3339 writes it, in UTC. Empty if the year has more than four digits.
    pub fn rfc3339(self) -> String {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000);
        at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
    }

    /// The second that it is in.
    pub const fn second(self) -> Timestamp {
        Timestamp(self.0 - self.0.rem_euclid(1000))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_as_rfc_3339_has_them() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(at.rfc3339(), "2023-11-14T22:13:20.123Z");
        assert_eq!(at.second().rfc3339(), "2023-11-14T22:13:20Z");
        assert_eq!(Timestamp::from_rfc3339("2023-11-14T23:13:20.123+01:00"), Some(at));
        assert_eq!(Timestamp::from_rfc3339("2023-11-14"), None);
        assert_eq!(Timestamp::END.rfc3339(), "");
    }

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
