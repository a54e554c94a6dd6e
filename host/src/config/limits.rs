//! `[limits]`: the bounds of all backends, which each backend may set for itself, and of an incident.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::{Bounded, Bytes, Count, Megabytes, Seconds};

pub(super) type CallTimeout = Bounded<Seconds, 1, 3600>;
pub(super) type ResponseBytes = Bounded<Bytes, { 1 << 10 }, { 32 << 20 }>;
pub(super) type Concurrency = Bounded<Count, 1, 256>;

/// What each backend may take, and what the workers of all may take together. A backend can have a `call_timeout_seconds`,
/// `max_response_bytes` and `concurrency` of its own.
///
/// ```toml
/// [limits]
/// call_timeout_seconds = 60
/// max_workers = 32
/// workers_memory_megabytes = 4096
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLimits {
    /// Seconds that one call of a plugin may take. A plugin that takes longer is killed, and the call fails.
    call_timeout_seconds: CallTimeout,
    /// Bytes that the body of one HTTP answer may have. A longer one is refused, and the plugin's request fails.
    max_response_bytes: ResponseBytes,
    /// Bytes that an incident may have. A larger one is refused.
    max_incident_bytes: Bounded<Bytes, { 1 << 10 }, { 16 << 20 }>,
    /// How many calls of one backend may be under way at the same time. Each takes a worker.
    concurrency: Concurrency,
    /// How many workers there may be at once, the idle ones too. Where one more is needed, the one that has been idle for
    /// the longest time makes room.
    max_workers: Bounded<Count, 1, 4096>,
    /// Megabytes of memory that all workers may have together. Where they take more, the largest is killed. Without this
    /// setting it is half of the machine's memory.
    workers_memory_megabytes: Option<Bounded<Megabytes, 64, { 16 << 20 }>>,
}

impl Default for RawLimits {
    fn default() -> RawLimits {
        RawLimits {
            call_timeout_seconds: Bounded::of::<30>(),
            max_response_bytes: Bounded::of::<{ 4 << 20 }>(),
            max_incident_bytes: Bounded::of::<{ 1 << 20 }>(),
            concurrency: Bounded::of::<4>(),
            max_workers: Bounded::of::<128>(),
            workers_memory_megabytes: None,
        }
    }
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
        WorkerLimits::from(&RawLimits::default())
    }
}

impl From<&RawLimits> for WorkerLimits {
    fn from(raw: &RawLimits) -> WorkerLimits {
        WorkerLimits {
            most: raw.max_workers.value(),
            memory: raw.workers_memory_megabytes.map(Bounded::value),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::from(&RawLimits::default())
    }
}

impl From<&RawLimits> for Limits {
    fn from(raw: &RawLimits) -> Limits {
        Limits {
            call_timeout: raw.call_timeout_seconds.value(),
            max_response_bytes: raw.max_response_bytes.value(),
            max_incident_bytes: raw.max_incident_bytes.value(),
            concurrency: raw.concurrency.value(),
        }
    }
}
