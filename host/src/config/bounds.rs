//! Numbers of the config file that have bounds: a type for each pair of bounds, which can't hold anything else.
//!
//! The bounds stand once, in the type of the setting. The reader, the schema and the reference have them from there.

use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number from `MIN` to `MAX` in the unit `U`, such as `Bounded<Seconds, 1, 3600>`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded<U, const MIN: u64, const MAX: u64>(u64, PhantomData<U>);

/// What a number counts, and how the host holds that.
pub(super) trait Unit {
    type Value;
    fn value(number: u64) -> Self::Value;
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Seconds {}
#[derive(Debug, Clone, Copy)]
pub(super) enum Days {}
#[derive(Debug, Clone, Copy)]
pub(super) enum Bytes {}
/// Its value is in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Megabytes {}
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {}
/// The status of an HTTP answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum HttpStatus {}

impl Unit for Seconds {
    type Value = Duration;
    fn value(number: u64) -> Duration {
        Duration::from_secs(number)
    }
}

impl Unit for Days {
    type Value = Duration;
    fn value(number: u64) -> Duration {
        Duration::from_secs(number * 24 * 60 * 60)
    }
}

impl Unit for Bytes {
    type Value = usize;
    fn value(number: u64) -> usize {
        number as usize
    }
}

impl Unit for Megabytes {
    type Value = u64;
    fn value(number: u64) -> u64 {
        number << 20
    }
}

impl Unit for Count {
    type Value = usize;
    fn value(number: u64) -> usize {
        number as usize
    }
}

impl Unit for HttpStatus {
    type Value = u16;
    fn value(number: u64) -> u16 {
        number as u16
    }
}

impl<U: Unit, const MIN: u64, const MAX: u64> Bounded<U, MIN, MAX> {
    /// The number `N`, of which the compiler proves that it is within the bounds.
    pub(super) const fn of<const N: u64>() -> Self {
        const { assert!(MIN <= N && N <= MAX) };
        Bounded(N, PhantomData)
    }

    /// What the number says, as the host holds it.
    pub(super) fn value(self) -> U::Value {
        U::value(self.0)
    }
}

impl<'de, U, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<U, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&number) {
            return Ok(Bounded(number, PhantomData));
        }
        Err(D::Error::custom(out_of_bounds(MIN, MAX, number)))
    }
}

impl<U, const MIN: u64, const MAX: u64> Serialize for Bounded<U, MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<U, const MIN: u64, const MAX: u64> JsonSchema for Bounded<U, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Bounded_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

/// How many times in a second something may happen, from once in about 17 minutes to 10,000 times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Rate(f64);

impl Rate {
    const MIN: f64 = 0.001;
    const MAX: f64 = 10_000.0;

    pub(super) fn per_second(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        let rate = f64::deserialize(deserializer)?;
        if (Rate::MIN..=Rate::MAX).contains(&rate) {
            return Ok(Rate(rate));
        }
        Err(D::Error::custom(out_of_bounds(Rate::MIN, Rate::MAX, rate)))
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": Rate::MIN, "maximum": Rate::MAX})
    }
}

/// Why a number is refused, as what a setting does: `must be 1 to 64; this is 0`.
pub(super) fn out_of_bounds(min: impl Display, max: impl Display, number: impl Display) -> String {
    format!("must be {min} to {max}; this is {number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seats = Bounded<Count, 1, 64>;

    #[test]
    fn a_number_out_of_its_bounds_is_refused_with_a_plain_sentence() {
        for number in ["1", "64"] {
            assert!(serde_json::from_str::<Seats>(number).is_ok(), "{number}");
        }
        for number in ["0", "65"] {
            let error = serde_json::from_str::<Seats>(number).unwrap_err().to_string();
            assert!(error.contains(&format!("must be 1 to 64; this is {number}")), "{error}");
        }
        for rate in ["0.001", "10000", "7"] {
            assert!(serde_json::from_str::<Rate>(rate).is_ok(), "{rate}");
        }
        for rate in ["0", "-1", "10000.1"] {
            let error = serde_json::from_str::<Rate>(rate).unwrap_err().to_string();
            assert!(error.contains("must be 0.001 to 10000; this is "), "{error}");
        }
    }

    #[test]
    fn a_number_says_what_its_unit_makes_of_it() {
        assert_eq!(Bounded::<Seconds, 0, 9>::of::<9>().value(), Duration::from_secs(9));
        assert_eq!(Bounded::<Days, 0, 9>::of::<2>().value(), Duration::from_secs(172_800));
        assert_eq!(Bounded::<Bytes, 0, 9>::of::<9>().value(), 9);
        assert_eq!(Bounded::<Megabytes, 0, 9>::of::<9>().value(), 9 << 20);
        assert_eq!(Seats::of::<9>().value(), 9);
        assert_eq!(Bounded::<HttpStatus, 400, 599>::of::<503>().value(), 503);
    }
}
