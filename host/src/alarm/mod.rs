//! Tells people when ticketing itself fails, and when that is over: an incident in Argus, a webhook; and a dead man's switch.
//!
//! What Argus was told stands in Argus: a host that is started anew, or in another's place, finds there the incident that was raised. What
//! the webhook was told is noted in the store.

mod standing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::task::spawn_blocking;
use url::Url;

use crate::argus::{Argus, Progress};
use crate::backend::gateway;
use crate::config::{AlarmConfig, AlarmText};
use crate::error::{Error, Kind, Result};
use crate::queue::Queue;
use crate::store::Timestamp;
use crate::terminal::{cut, line};
use standing::{Sight, Since, Standing};

/// How often to look, at most and at least; in between thirty times until it is an alarm.
const LOOK: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(30);
/// How often who waits for a sign of life gets one.
const PING: Duration = Duration::from_secs(60);
/// How long a webhook, or whoever is pinged, may take.
const TIME: Duration = Duration::from_secs(10);
/// How long the store may take until it counts as one that takes no incident.
const SLOW: Duration = Duration::from_secs(10);
/// Bytes that are told of why a backend can't make tickets.
const SHOWN: usize = 300;
/// By which name it is noted in the store that the webhook was told of a failure.
const NOTE: &str = "alarm.webhook";
const HELP: &str = "`ticket-host queue list` and `ticket-host check` on the host say more";

/// Looks, and tells, again and again.
pub(crate) async fn watch(queue: Arc<Queue>, progress: Arc<Progress>) -> Result<()> {
    let mut alarm = Alarm { queue, progress, told: Told::default() };
    loop {
        let pause = alarm.turn().await;
        tokio::time::sleep(pause).await;
    }
}

struct Alarm {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    told: Told,
}

/// What is known of what is wrong, and of what was told. It begins anew with another config, and where another host did this before.
#[derive(Default)]
struct Told {
    config: Option<AlarmConfig>,
    since: Since,
    /// What Argus was told last; None: it is to be asked.
    argus: Option<Standing>,
    /// Whether the webhook was told of a failure that isn't over; None: the store is to be asked.
    webhook: Option<bool>,
    pinged: Option<Instant>,
    /// What is wrong by the log.
    logged: bool,
    /// What went wrong when each of them was told last, which was logged.
    errors: HashMap<&'static str, String>,
}

impl Alarm {
    /// Looks once. How long to rest until the next time.
    async fn turn(&mut self) -> Duration {
        let config = self.queue.setup().config.alarm.clone();
        // Of hosts that share a store one tells.
        let config = config.filter(|_| self.queue.leads());
        if self.told.config != config {
            self.told = Told { config: config.clone(), ..Told::default() };
        }
        let Some(config) = config else { return LOOK };
        let sight = self.look().await;
        let (now, time) = (Instant::now(), Timestamp::now());
        let standing = self.told.since.see(&sight, config.after, now, time);
        self.log(&standing);
        let argus = self.tell_argus(&config, &standing).await;
        self.heard("argus", argus);
        let webhook = self.tell_webhook(&config, &standing).await;
        self.heard("webhook", webhook);
        let ping = self.ping(&config, &standing).await;
        self.heard("ping", ping);
        (config.after / 30).clamp(LOOK, REST)
    }

    async fn look(&self) -> Sight {
        let store = &self.queue.store;
        let slow = || format!("no answer within {} s", SLOW.as_secs());
        let asked = async {
            let rows = (store.counts().await?, store.update_counts().await?);
            Ok::<_, crate::store::StoreError>((rows, store.probe().await))
        };
        let (rows, store) = match tokio::time::timeout(SLOW, asked).await {
            Ok(Ok((rows, probed))) => (Some(rows), probed.err().map(|error| error.said())),
            Ok(Err(error)) => (None, Some(error.said())),
            Err(_) => (None, Some(slow())),
        };
        let setup = self.queue.setup();
        let standings = self.queue.standings(&setup).into_iter();
        let why = standings.filter_map(|it| Some((it.name, it.failure?.message)));
        Sight {
            rows,
            store,
            watcher: self.progress.done().failure.map(|failure| line(&failure.message)),
            backends: why.map(|(name, why)| (name, line(&cut(&why, SHOWN)))).collect(),
        }
    }

    fn log(&mut self, standing: &Standing) {
        match standing {
            Standing::Fails(problems) if !self.told.logged => {
                self.told.logged = true;
                tracing::error!("ticketing fails: {}\nhelp: {HELP}", line(&problems.join("; ")));
            }
            Standing::Works if std::mem::take(&mut self.told.logged) => {
                tracing::info!("ticketing works again");
            }
            _ => {}
        }
        self.queue.metrics.alarm(self.told.logged);
    }

    /// Logs what went wrong when somebody was told, and not again while it stays.
    fn heard(&mut self, who: &'static str, told: Result<()>) {
        let Err(error) = told else {
            self.told.errors.remove(who);
            return;
        };
        let text = crate::report::text(&error);
        if self.told.errors.get(who) != Some(&text) {
            let said = text.trim_start_matches("error: ").trim_end();
            tracing::error!("the alarm can't be told: {said}");
            self.told.errors.insert(who, text);
        }
    }

    /// Raises one incident in Argus when ticketing fails, and ends it when it works again.
    async fn tell_argus(&mut self, config: &AlarmConfig, standing: &Standing) -> Result<()> {
        let is_told = match (&self.told.argus, standing) {
            (_, Standing::Unsure) => true,
            (Some(Standing::Fails(_)), Standing::Fails(_)) => true,
            (told, standing) => told.as_ref() == Some(standing),
        };
        let setup = self.queue.setup();
        let (Some(token), Some(argus)) = (&config.argus_token, &setup.config.argus) else {
            return Ok(());
        };
        if is_told {
            return Ok(());
        }
        let token = token.clone();
        let argus = Argus::with(argus, move || token.read()).await?;
        match standing {
            Standing::Fails(problems) => argus.raise_alarm(&message(problems)).await?,
            _ => argus.end_alarms("ticketing works again").await?,
        }
        self.told.argus = Some(standing.clone());
        Ok(())
    }

    async fn tell_webhook(&mut self, config: &AlarmConfig, standing: &Standing) -> Result<()> {
        let Some(webhook) = &config.webhook else { return Ok(()) };
        let was_told = match self.told.webhook {
            Some(was_told) => was_told,
            None => self.queue.store.note(NOTE).await?.is_some_and(|note| !note.is_empty()),
        };
        let (status, message, problems): (_, _, &[String]) = match standing {
            Standing::Fails(problems) if !was_told => ("failing", message(problems), problems),
            Standing::Works if was_told => ("working", "ticketing works again".to_owned(), &[]),
            _ => return Ok(()),
        };
        let body = json!({"status": status, "message": message, "problems": problems}).to_string();
        let url = url(webhook).await?;
        call("alarm.webhook", &url, |client, url| {
            client.post(url).header("Content-Type", "application/json").body(body)
        })
        .await?;
        let fails = status == "failing";
        self.told.webhook = Some(fails);
        // If that fails, a host after this one tells it again at worst.
        self.queue.store.set_note(NOTE, if fails { "failing" } else { "" }).await?;
        Ok(())
    }

    async fn ping(&mut self, config: &AlarmConfig, standing: &Standing) -> Result<()> {
        let Some(ping) = &config.ping else { return Ok(()) };
        let is_due = self.told.pinged.is_none_or(|at| at.elapsed() >= PING);
        if !is_due || matches!(standing, Standing::Fails(_)) {
            return Ok(());
        }
        self.told.pinged = Some(Instant::now());
        call("alarm.ping", &url(ping).await?, |client, url| client.get(url)).await
    }
}

fn message(problems: &[String]) -> String {
    format!("Ticketing fails: {}. {HELP}", problems.join("; "))
}

/// The URL that a setting gives. Its file may be on a disk that hangs.
async fn url(text: &AlarmText) -> Result<Url> {
    let text = text.clone();
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
    let response = request.send().await.map_err(|cause| failed(&gateway::root(&cause)))?;
    match response.status().as_u16() {
        200..=299 => Ok(()),
        status => Err(failed(&format!("answered {status}"))),
    }
}
