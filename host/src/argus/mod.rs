//! The Argus whose incidents are filed without being asked to, and which hears of their tickets.
//!
//! `client` asks it, `identity` tells which of its incidents one is, `filter` whether it knows the filter's parameters,
//! `backlog` which incidents were there before it was watched, `follow` how those with tickets go on; `watcher` is the loop, `progress` what that did last.

mod backlog;
mod client;
mod filter;
mod follow;
mod identity;
mod progress;
mod watcher;

pub(crate) use client::{Argus, Current, FilterCheck};
pub(crate) use follow::{began_together, has_ended, reported};
pub(crate) use identity::{as_filed, identify, page};
pub(crate) use progress::{Compared, Done, Progress};
pub(crate) use watcher::watch;

#[cfg(test)]
fn config(url: &str, frontend: &str) -> crate::config::ArgusConfig {
    crate::config::ArgusConfig {
        url: url::Url::parse(url).unwrap(),
        frontend_url: url::Url::parse(frontend).unwrap(),
        token: crate::config::SecretSource { value: "t".into(), base: Default::default() },
        place: None,
        filter: String::new(),
        interval: std::time::Duration::from_secs(30),
        backend: None,
        ended: Default::default(),
        backlog: Default::default(),
    }
}
