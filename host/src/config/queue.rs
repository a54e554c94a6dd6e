//! `[queue]`: where accepted incidents are kept, and for how long their tickets are tried.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::limits::bounded;
use super::locations;
use super::source::Source;
use crate::error::Result;

const DAY: u64 = 24 * 60 * 60;

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
    /// How long an incident whose ticket is created or cancelled is kept.
    pub keep_for: Duration,
    /// How long after a call of which nobody knows what it did the plugin's "there is no ticket" is
    /// believed: until then the ticket system may still be at work on the request.
    pub settle: Duration,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQueue {
    path: Option<PathBuf>,
    max_megabytes: Option<Spanned<u64>>,
    retry_days: Option<Spanned<u64>>,
    longest_wait_seconds: Option<Spanned<u64>>,
    keep_days: Option<Spanned<u64>>,
    settle_seconds: Option<Spanned<u64>>,
}

impl QueueConfig {
    /// The settings of a queue of which nothing is said, beside the config file `file` if there is one.
    pub(super) fn beside(file: Option<&Path>) -> QueueConfig {
        QueueConfig {
            path: locations::store(file),
            max_bytes: 16 << 30,
            retry_for: Duration::from_secs(7 * DAY),
            longest_wait: Duration::from_secs(600),
            keep_for: Duration::from_secs(30 * DAY),
            settle: Duration::from_secs(10),
        }
    }

    /// The settings of the queue in the config file `file`.
    ///
    /// # Errors
    /// A settings error: a number is out of bounds.
    pub(super) fn read(source: &Source, file: &Path, raw: RawQueue) -> Result<QueueConfig> {
        let number = |name, value: &Option<Spanned<u64>>, default, range: RangeInclusive<u64>| {
            bounded(source, name, value.as_ref(), default, range)
        };
        let base = file.parent().unwrap_or(Path::new(""));
        let default = QueueConfig::beside(Some(file));
        let days = |time: Duration| time.as_secs() / DAY;
        let retry = number("retry_days", &raw.retry_days, days(default.retry_for), 1..=365)?;
        let keep = number("keep_days", &raw.keep_days, days(default.keep_for), 1..=3650)?;
        let settle = default.settle.as_secs();
        let settle = number("settle_seconds", &raw.settle_seconds, settle, 0..=3600)?;
        let wait = default.longest_wait.as_secs();
        let wait = number("longest_wait_seconds", &raw.longest_wait_seconds, wait, 1..=86_400)?;
        let most = default.max_bytes >> 20;
        let most = number("max_megabytes", &raw.max_megabytes, most, 1..=1 << 20)?;
        Ok(QueueConfig {
            path: raw.path.map_or(default.path, |path| base.join(path)),
            max_bytes: most << 20,
            retry_for: Duration::from_secs(retry * DAY),
            longest_wait: Duration::from_secs(wait),
            keep_for: Duration::from_secs(keep * DAY),
            settle: Duration::from_secs(settle),
        })
    }
}
