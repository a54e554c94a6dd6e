//! `[limits]`: the bounds of all backends, which each backend may set for itself, and of an incident.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::source::Source;
use crate::error::{Error, Result};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    call_timeout_seconds: Option<Spanned<u64>>,
    max_response_bytes: Option<Spanned<u64>>,
    max_incident_bytes: Option<Spanned<u64>>,
    concurrency: Option<Spanned<u64>>,
    max_workers: Option<Spanned<u64>>,
    workers_memory_megabytes: Option<Spanned<u64>>,
}

/// What a call, an HTTP answer and an incident may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long one call of a plugin may take.
    pub call_timeout: Duration,
    /// Bytes that the body of one HTTP answer may have.
    pub max_response_bytes: usize,
    /// Bytes that an incident may have.
    pub max_incident_bytes: usize,
    /// Calls of one backend at the same time.
    pub concurrency: usize,
}

/// What the workers of all backends may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerLimits {
    /// How many there may be at once, those that are idle too.
    pub most: usize,
    /// Bytes of memory that they may have together. None is half of what the machine has.
    pub memory: Option<u64>,
}

impl Default for WorkerLimits {
    fn default() -> WorkerLimits {
        WorkerLimits { most: 128, memory: None }
    }
}

impl WorkerLimits {
    pub(super) fn read(source: &Source, raw: &RawLimits) -> Result<WorkerLimits> {
        let most = WorkerLimits::default().most as u64;
        let most = bounded(source, "max_workers", raw.max_workers.as_ref(), most, 1..=4096)?;
        let memory = raw.workers_memory_megabytes.as_ref();
        let given = memory.is_some();
        let memory = bounded(source, "workers_memory_megabytes", memory, 0, 64..=16 << 20)?;
        Ok(WorkerLimits { most: most as usize, memory: given.then_some(memory << 20) })
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            call_timeout: Duration::from_secs(30),
            max_response_bytes: 4 << 20,
            max_incident_bytes: 1 << 20,
            concurrency: 4,
        }
    }
}

impl Limits {
    pub(super) fn read(source: &Source, raw: &RawLimits) -> Result<Limits> {
        let default = Limits::default();
        Ok(Limits {
            max_incident_bytes: bounded(
                source,
                "max_incident_bytes",
                raw.max_incident_bytes.as_ref(),
                default.max_incident_bytes as u64,
                1 << 10..=16 << 20,
            )? as usize,
            ..default.overridden_by(
                source,
                raw.call_timeout_seconds.as_ref(),
                raw.max_response_bytes.as_ref(),
                raw.concurrency.as_ref(),
            )?
        })
    }

    /// These limits, with those in place of them that a table of the file gives.
    pub(super) fn overridden_by(
        self,
        source: &Source,
        call_timeout_seconds: Option<&Spanned<u64>>,
        max_response_bytes: Option<&Spanned<u64>>,
        concurrency: Option<&Spanned<u64>>,
    ) -> Result<Limits> {
        let seconds = self.call_timeout.as_secs();
        let seconds =
            bounded(source, "call_timeout_seconds", call_timeout_seconds, seconds, 1..=3600)?;
        let response = self.max_response_bytes as u64;
        let response = bounded(
            source,
            "max_response_bytes",
            max_response_bytes,
            response,
            1 << 10..=32 << 20,
        )?;
        let calls = bounded(source, "concurrency", concurrency, self.concurrency as u64, 1..=256)?;
        Ok(Limits {
            call_timeout: Duration::from_secs(seconds),
            max_response_bytes: response as usize,
            concurrency: calls as usize,
            ..self
        })
    }
}

/// The number that the setting `name` gives, or its default where it is absent.
///
/// # Errors
/// A settings error: the number is out of bounds.
pub(super) fn bounded(
    source: &Source,
    name: &str,
    value: Option<&Spanned<u64>>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64> {
    let within = |&number: &u64| {
        if range.contains(&number) {
            return Ok(number);
        }
        Err(Error::settings(format!("{name} is out of bounds: {number}")).help(format!(
            "give a number from {} to {}",
            range.start(),
            range.end()
        )))
    };
    Ok(source.read_if_given(value, within)?.unwrap_or(default))
}
