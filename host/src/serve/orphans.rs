//! Tickets that wait for a backend which the config no longer has: nothing happens to them until it has it again.

use std::collections::BTreeMap;

use crate::setup::Setup;
use crate::store::Count;
use crate::terminal::line;

/// How many there are of each such backend.
pub(super) fn of(counts: &[Count], setup: &Setup) -> BTreeMap<String, i64> {
    let mut orphans = BTreeMap::new();
    for count in counts {
        if !count.state.is_final() && !setup.config.backends.contains_key(&count.backend) {
            *orphans.entry(count.backend.clone()).or_default() += count.rows;
        }
    }
    orphans
}

/// What the log says of them, and what to do.
pub(super) fn text(backend: &str, tickets: i64) -> String {
    let backend = line(backend);
    let wait = match tickets {
        1 => "1 ticket waits".to_owned(),
        several => format!("{several} tickets wait"),
    };
    format!(
        "{wait} for the backend {backend}, which the config doesn't have: give it one of that name again, or cancel with: \
         ticket-host queue cancel --backend {backend}"
    )
}
