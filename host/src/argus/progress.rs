//! What the watcher did last, and what Argus's own button gave away: for /readyz and /metrics.

use std::sync::Mutex;
use std::time::Instant;

use ticket_plugin_api::Incident;
use url::Url;

use super::page;
use crate::config::ArgusConfig;
use crate::error::{Error, Kind};
use crate::lock::lock;
use crate::store::{Failure, Timestamp};

#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Done>);

/// What was done so far with the Argus that the config names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// When Argus last listed its incidents.
    pub last_poll: Option<Timestamp>,
    /// When Argus was last told of a ticket.
    pub last_told: Option<Timestamp>,
    /// How many incidents without a ticket it listed then.
    pub listed: usize,
    /// How many of them are not filed, since they were there before Argus was watched.
    pub skipped: usize,
    /// What went wrong since.
    pub failure: Option<Failure>,
    /// Why the last round was broken off, if it was.
    pub away: Option<String>,
    /// When it was begun to watch it, and when a round last ended.
    pub began: Option<Instant>,
    pub ended: Option<Instant>,
    /// Argus's pages are elsewhere than the config says: where, and what to do.
    pub elsewhere: Option<(String, Failure)>,
}

impl Done {
    /// What is wrong, if anything is.
    pub(crate) fn error(&self) -> Option<&Failure> {
        self.failure.as_ref().or(self.elsewhere.as_ref().map(|(_, failure)| failure))
    }
}

impl Progress {
    pub(crate) fn done(&self) -> Done {
        lock(&self.0).clone()
    }

    /// Another Argus is watched, or the same one in another way.
    pub(super) fn begin_anew(&self) {
        *lock(&self.0) = Done { began: Some(Instant::now()), ..Done::default() };
    }

    pub(super) fn polled(&self, listed: usize, skipped: usize) {
        let mut done = lock(&self.0);
        (done.last_poll, done.listed, done.skipped) = (Some(Timestamp::now()), listed, skipped);
    }

    pub(super) fn told(&self) {
        lock(&self.0).last_told = Some(Timestamp::now());
    }

    /// How the last round ended. `away`: why it was broken off, if it was.
    pub(super) fn ended(&self, error: Option<&Error>, away: Option<String>) {
        let mut done = lock(&self.0);
        done.failure = error.map(Failure::from);
        done.away = away;
        done.ended = Some(Instant::now());
    }

    /// Compares an incident's page as Argus itself gave it with the one that the watcher gives it. The error is to be
    /// logged, and comes once.
    pub(crate) fn compare(&self, config: &ArgusConfig, incident: &Incident) -> Compared {
        let Some((base, error)) = elsewhere(config, incident) else {
            lock(&self.0).elsewhere = None;
            return Compared::Same;
        };
        let mut done = lock(&self.0);
        let is_known = done.elsewhere.as_ref().is_some_and(|(known, _)| *known == base);
        done.elsewhere = Some((base, Failure::from(&error)));
        Compared::Elsewhere((!is_known).then_some(error))
    }
}

/// Whether Argus's pages are where the config says.
#[derive(Debug)]
pub(crate) enum Compared {
    Same,
    /// With the error, if it is new.
    Elsewhere(Option<Error>),
}

/// Where Argus's pages are, if that isn't where the config says.
fn elsewhere(config: &ArgusConfig, incident: &Incident) -> Option<(String, Error)> {
    let told = incident.argus_url.trim().trim_end_matches('/');
    let expected = page(config, incident.pk.parse().ok()?)?;
    if told.is_empty() || Url::parse(told).is_ok_and(|told| told.as_str() == expected) {
        return None;
    }
    let base = told.strip_suffix(&format!("incidents/{}", incident.pk)).unwrap_or_default();
    let help = match base {
        "" => "set argus.frontend_url to Argus's FRONTEND_URL".to_owned(),
        base => format!("set argus.frontend_url = {base:?}"),
    };
    let what = format!(
        "Argus's own page of an incident is {told}, and by argus.frontend_url it is {expected}: links in tickets lead astray, \
         and who has only the URL gets a second ticket"
    );
    Some((base.to_owned(), Error::new(Kind::Settings, what).help(help)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config;
    use super::*;

    #[test]
    fn a_frontend_url_that_is_not_arguss_is_told_once_until_it_is_mended() {
        let progress = Progress::default();
        let config = config("https://api.example.org/", "https://argus.example.org/");
        let incident = |pk: i64, base: &str| -> Incident {
            serde_json::from_value(json!({"pk": pk, "argus_url": format!("{base}incidents/{pk}")}))
                .unwrap()
        };
        let told = |pk, base: &str| match progress.compare(&config, &incident(pk, base)) {
            Compared::Same => None,
            Compared::Elsewhere(error) => Some(error.map(|error| error.help.unwrap())),
        };
        assert_eq!(told(1, "https://argus.example.org/"), None);
        let mend = |base: &str| Some(Some(format!("set argus.frontend_url = {base:?}")));
        assert_eq!(told(1, "https://noc.example.org/"), mend("https://noc.example.org/"));
        assert_eq!(told(2, "https://noc.example.org/"), Some(None));
        assert!(progress.done().error().unwrap().message.contains("noc.example.org/incidents/2"));
        assert_eq!(told(3, "http://noc.example.org/"), mend("http://noc.example.org/"));
        assert_eq!(told(4, "https://argus.example.org/"), None);
        assert!(progress.done().error().is_none());
    }
}
