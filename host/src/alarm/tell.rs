//! Who is told when ticketing fails: each by itself, as long as it takes.
//!
//! What Argus was told stands in Argus: a host that is started anew, or in another's place, finds there the incident that was raised. What
//! the webhook was told is noted in the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use url::Url;

use super::standing::Standing;
use super::{Now, SLOW, message};
use crate::argus::Argus;
use crate::backend::gateway;
use crate::config::{AlarmText, ArgusConfig};
use crate::error::{Error, Kind, Result};
use crate::queue::Queue;

/// How often who waits for a sign of life gets one: as soon after that as it is looked.
const PING: Duration = Duration::from_secs(50);
/// How long a webhook, or whoever is pinged, may take.
const TIME: Duration = Duration::from_secs(10);
/// How often it is looked whether nobody has told of a failure since: a host that led before, and was cut off from the store.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// By which name it is noted in the store that the webhook was told of a failure.
const NOTE: &str = "alarm.webhook";
const OVER: &str = "ticketing works again";

/// Somebody who is told.
#[async_trait]
pub(super) trait Told: Send {
    /// Tells what isn't told yet.
    ///
    /// # Errors
    /// That can't be told now. It is tried again.
    async fn tell(&mut self, now: &Now) -> Result<()>;
}

/// Tells, each time that it was looked. What goes wrong is logged when it comes, and not again while it stays.
pub(super) async fn run(mut who: impl Told, mut now: watch::Receiver<Now>) {
    let mut said = None;
    while now.changed().await.is_ok() {
        let current = now.borrow_and_update().clone();
        let text = who.tell(&current).await.err().map(|error| crate::report::text(&error));
        if let Some(text) = text.as_ref().filter(|text| said.as_ref() != Some(*text)) {
            let why = text.trim_start_matches("error: ").trim_end();
            tracing::error!("the alarm can't be told: {why}");
        }
        said = text;
    }
}

/// Whether it fails, if that is sure.
fn fails(now: &Now) -> Option<bool> {
    match now.standing {
        Standing::Works => Some(false),
        Standing::Unsure => None,
        Standing::Fails(_) => Some(true),
    }
}

/// One incident, which is raised when ticketing fails, and ended when it works again.
#[derive(Debug, Default)]
pub(super) struct ToArgus {
    /// What was told last, which Argus, and when.
    told: Option<(ArgusConfig, bool, Instant)>,
}

#[async_trait]
impl Told for ToArgus {
    async fn tell(&mut self, now: &Now) -> Result<()> {
        let token = now.config.as_ref().and_then(|config| config.argus_token.clone());
        let Some((token, config)) = token.zip(now.argus.clone()) else {
            self.told = None;
            return Ok(());
        };
        let Some(fails) = fails(now) else { return Ok(()) };
        let is_told = |(of, told, at): &(ArgusConfig, bool, Instant)| {
            *of == config && *told == fails && (fails || at.elapsed() < AGAIN)
        };
        if self.told.as_ref().is_some_and(is_told) {
            return Ok(());
        }
        let argus = Argus::with(&config, move || token.read()).await?;
        match &now.standing {
            Standing::Fails(problems) => argus.raise_alarm(&message(problems)).await?,
            _ => argus.end_alarms(OVER).await?,
        }
        self.told = Some((config, fails, Instant::now()));
        Ok(())
    }
}

/// A URL that gets a POST when it begins, and when it is over.
#[derive(Debug)]
pub(super) struct ToWebhook {
    queue: Arc<Queue>,
    /// Whether it was told of a failure that isn't over; None: the store is to be asked.
    told: Option<bool>,
    /// That isn't noted in the store yet.
    is_to_be_noted: bool,
}

impl ToWebhook {
    pub(super) fn new(queue: Arc<Queue>) -> ToWebhook {
        ToWebhook { queue, told: None, is_to_be_noted: false }
    }

    async fn was_told(&self) -> Result<bool> {
        let note = tokio::time::timeout(SLOW, self.queue.store.note(NOTE)).await;
        let note = note.map_err(|_| Error::plugin("the store gave no answer"))??;
        Ok(note.is_some_and(|note| !note.is_empty()))
    }

    async fn note(&mut self, fails: bool) {
        let noted = self.queue.store.set_note(NOTE, if fails { "failing" } else { "" });
        self.is_to_be_noted = !matches!(tokio::time::timeout(SLOW, noted).await, Ok(Ok(())));
    }
}

#[async_trait]
impl Told for ToWebhook {
    async fn tell(&mut self, now: &Now) -> Result<()> {
        if let (true, Some(told)) = (self.is_to_be_noted, self.told) {
            // Who tells after this host is to know.
            self.note(told).await;
        }
        let Some(webhook) = now.config.as_ref().and_then(|config| config.webhook.clone()) else {
            if !self.is_to_be_noted {
                self.told = None;
            }
            return Ok(());
        };
        let Some(fails) = fails(now) else { return Ok(()) };
        let was_told = match self.told {
            Some(true) => true,
            Some(false) if self.is_to_be_noted || fails => false,
            // Another host may have told of a failure since, which was cut off from the store.
            _ => match self.was_told().await {
                Ok(was_told) => was_told,
                // It may be the store that fails: better told twice.
                Err(_) if fails => false,
                Err(error) => return Err(error),
            },
        };
        if was_told == fails {
            self.told = Some(fails);
            return Ok(());
        }
        let body = match &now.standing {
            Standing::Fails(problems) => {
                json!({"status": "failing", "message": message(problems), "problems": problems})
            }
            _ => json!({"status": "working", "message": OVER, "problems": []}),
        };
        call("alarm.webhook", &url(webhook).await?, |client, url| {
            client.post(url).header("Content-Type", "application/json").body(body.to_string())
        })
        .await?;
        self.told = Some(fails);
        self.note(fails).await;
        Ok(())
    }
}

/// A dead man's switch: a URL that is called as long as ticketing works.
#[derive(Debug, Default)]
pub(super) struct ToPing {
    at: Option<Instant>,
}

#[async_trait]
impl Told for ToPing {
    async fn tell(&mut self, now: &Now) -> Result<()> {
        let Some(ping) = now.config.as_ref().and_then(|config| config.ping.clone()) else {
            self.at = None;
            return Ok(());
        };
        // What isn't sure yet is as it was last; of a host that was just started nothing is known.
        if now.works != Some(true) || self.at.is_some_and(|at| at.elapsed() < PING) {
            return Ok(());
        }
        self.at = Some(Instant::now());
        call("alarm.ping", &url(ping).await?, |client, url| client.get(url)).await
    }
}

/// The URL that a setting gives. Its file may be on a disk that hangs.
async fn url(text: AlarmText) -> Result<Url> {
    spawn_blocking(move || text.url()).await.unwrap_or_else(|_| {
        Err(Error::plugin("a URL of [alarm] could not be read: the host broke off"))
    })
}

/// Makes a request to the URL of a setting, which no error shows.
async fn call(
    name: &str,
    url: &Url,
    request: impl FnOnce(&Client, Url) -> RequestBuilder,
) -> Result<()> {
    let failed = |what: &str| Error::new(Kind::Client, format!("{name}: {what}"));
    let client = gateway::plain_client()?;
    let request = request(&client, url.clone()).timeout(TIME);
    let response = request.send().await;
    let response = response.map_err(|cause| failed(&gateway::root(&cause.without_url())))?;
    match response.status().as_u16() {
        200..=299 => Ok(()),
        status => Err(failed(&format!("answered {status}"))),
    }
}
