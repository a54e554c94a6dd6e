//! `[queue]`: where accepted incidents are kept, and for how long their tickets are tried.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::{Bounded, Days, Megabytes, Seconds};
use super::locations;

/// The settings of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    /// The store's file.
    pub path: PathBuf,
    /// Bytes that the store may have.
    pub max_bytes: u64,
    /// How long after it was accepted an incident's ticket is still tried.
    pub retry_for: Duration,
    /// The longest time between two tries.
    pub longest_wait: Duration,
    /// How long an incident whose ticket is created, cancelled or suppressed is kept.
    pub keep_for: Duration,
    /// How long after a call of which nobody knows what it did the plugin's "there is no ticket" is
    /// believed: until then the ticket system may still be at work on the request.
    pub settle: Duration,
}

/// Where `serve` keeps the incidents that it accepted, and for how long their tickets are tried.
///
/// ```toml
/// [queue]
/// path = "/var/lib/ticket-host/queue.db"
/// retry_days = 14
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawQueue {
    /// The store's file. Without this setting it is `/var/lib/ticket-host/queue.db` with the config
    /// `/etc/ticket-host/config.toml`, else `~/.local/state/ticket-host/queue.db`. A relative path counts from the config
    /// file's directory.
    path: Option<PathBuf>,
    /// Megabytes that the store may have. A store that has nine tenths of them accepts no more incidents; the rest is for what
    /// becomes of those that it has.
    max_megabytes: Bounded<Megabytes, 1, { 1 << 20 }>,
    /// Days after which an incident's ticket is tried no more. It has then failed, and a person can retry it.
    retry_days: Bounded<Days, 1, 365>,
    /// Seconds that lie between two tries at most. The first ones lie closer together.
    longest_wait_seconds: Bounded<Seconds, 1, 86_400>,
    /// Days for which an incident is kept after its ticket was created, cancelled or suppressed.
    keep_days: Bounded<Days, 1, 3650>,
    /// Seconds after a lost answer until "there is no such ticket" is believed. Until then the ticket system may still be
    /// at work on the request. A plugin can say that its system needs longer, and a backend can have a `settle_seconds` of its own.
    settle_seconds: Bounded<Seconds, 0, 3600>,
}

impl Default for RawQueue {
    fn default() -> RawQueue {
        RawQueue {
            path: None,
            max_megabytes: Bounded::of::<{ 16 << 10 }>(),
            retry_days: Bounded::of::<7>(),
            longest_wait_seconds: Bounded::of::<600>(),
            keep_days: Bounded::of::<30>(),
            settle_seconds: Bounded::of::<10>(),
        }
    }
}

impl QueueConfig {
    /// The settings of a queue of which nothing is said, beside the config file `file` if there is one.
    pub(super) fn beside(file: Option<&Path>) -> QueueConfig {
        QueueConfig::new(locations::store(file), &RawQueue::default())
    }

    /// The settings of the queue in the config file `file`.
    pub(super) fn read(file: &Path, raw: RawQueue) -> QueueConfig {
        let base = file.parent().unwrap_or(Path::new(""));
        let path = raw.path.as_ref().map(|path| base.join(path));
        QueueConfig::new(path.unwrap_or_else(|| locations::store(Some(file))), &raw)
    }

    fn new(path: PathBuf, raw: &RawQueue) -> QueueConfig {
        QueueConfig {
            path,
            max_bytes: raw.max_megabytes.value(),
            retry_for: raw.retry_days.value(),
            longest_wait: raw.longest_wait_seconds.value(),
            keep_for: raw.keep_days.value(),
            settle: raw.settle_seconds.value(),
        }
    }
}
