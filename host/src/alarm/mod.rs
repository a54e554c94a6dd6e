//! Tells people when ticketing itself fails, and when that is over: an incident in Argus, a webhook; and a dead man's switch.
//!
//! Here it is looked; `standing` decides, and `tell` tells: each who is told has a loop of its own, so that one that hangs holds up no other.

mod standing;
mod tell;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::argus::Progress;
use crate::config::{AlarmConfig, ArgusConfig};
use crate::error::Result;
use crate::queue::Queue;
use crate::store::Timestamp;
use crate::terminal::{cut, line};
use standing::{Sight, Since, Standing, Watcher};
use tell::{ToArgus, ToPing, ToWebhook};

/// How often to look, at most and at least; in between thirty times until it is an alarm.
const LOOK: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(20);
/// How long the store may take until it counts as one that takes no incident.
const SLOW: Duration = Duration::from_secs(10);
/// How much longer than its interval a round of the watcher may take until it counts as one that hangs.
const STUCK: Duration = Duration::from_secs(5 * 60);
/// Bytes that are told of why a backend can't make tickets.
const SHOWN: usize = 300;
const HELP: &str = "`ticket-host queue list` and `ticket-host check` on the host say more";

/// How it stands now, for those who tell.
#[derive(Debug, Clone)]
struct Now {
    /// None: this host tells nobody.
    config: Option<AlarmConfig>,
    argus: Option<ArgusConfig>,
    standing: Standing,
    /// What was last sure.
    works: Option<bool>,
}

/// Looks, and tells, again and again.
pub(crate) async fn watch(queue: Arc<Queue>, progress: Arc<Progress>) -> Result<()> {
    let nothing = Now { config: None, argus: None, standing: Standing::Unsure, works: None };
    let (tells, now) = watch::channel(nothing);
    let looking = async {
        let mut look = Look { queue: Arc::clone(&queue), progress, known: Known::default() };
        loop {
            let now = look.once().await;
            let after = now.config.as_ref().map(|config| config.after);
            tells.send_replace(now);
            tokio::time::sleep(after.map_or(LOOK, |after| (after / 30).clamp(LOOK, REST))).await;
        }
    };
    tokio::join!(
        looking,
        tell::run(ToArgus::default(), now.clone()),
        tell::run(ToWebhook::new(Arc::clone(&queue)), now.clone()),
        tell::run(ToPing::default(), now),
    );
    Ok(())
}

struct Look {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    known: Known,
}

/// What is known from before. It begins anew with another config.
#[derive(Debug, Default)]
struct Known {
    config: Option<AlarmConfig>,
    since: Since,
    works: Option<bool>,
    /// Of hosts that share a store one tells: that which leads, or led when the store was last heard of.
    tells: bool,
}

impl Look {
    async fn once(&mut self) -> Now {
        let setup = self.queue.setup();
        let config = setup.config.alarm.clone();
        if self.known.config != config {
            self.known = Known { config: config.clone(), ..Known::default() };
        }
        let argus = setup.config.argus.clone();
        let Some(config) = config else {
            self.queue.metrics.alarm(false);
            return Now { config: None, argus, standing: Standing::Unsure, works: None };
        };
        let sight = self.look(argus.as_ref()).await;
        let (now, time) = (Instant::now(), Timestamp::now());
        let standing = self.known.since.see(&sight, config.after, now, time);
        if self.queue.leads() {
            self.known.tells = true;
        } else if sight.store.is_none() {
            (self.known.tells, self.known.works) = (false, None);
        }
        if self.known.tells {
            self.note(&standing);
        }
        let works = self.known.works;
        self.queue.metrics.alarm(works == Some(false));
        Now { config: self.known.tells.then_some(config), argus, standing, works }
    }

    async fn look(&self, argus: Option<&ArgusConfig>) -> Sight {
        let store = &self.queue.store;
        let asked = async {
            let unfinished = store.unfinished().await?;
            Ok::<_, crate::store::StoreError>((unfinished, store.probe().await))
        };
        let (rows, store) = match tokio::time::timeout(SLOW, asked).await {
            Ok(Ok((rows, probed))) => (Some(rows), probed.err().map(|error| error.said())),
            Ok(Err(error)) => (None, Some(error.said())),
            Err(_) => (None, Some(format!("no answer within {} s", SLOW.as_secs()))),
        };
        let setup = self.queue.setup();
        let standings = self.queue.standings(&setup).into_iter();
        let why = standings.filter_map(|it| Some((it.name, it.failure?.message)));
        Sight {
            rows,
            store,
            watcher: argus.map_or(Watcher::Well, |argus| self.watcher(argus)),
            backends: why.map(|(name, why)| (name, line(&cut(&why, SHOWN)))).collect(),
        }
    }

    fn watcher(&self, argus: &ArgusConfig) -> Watcher {
        // Another host watches it, or nobody can know.
        if !self.queue.leads() {
            return Watcher::Unknown;
        }
        let done = self.progress.done();
        let Some(since) = done.ended.or(done.began) else { return Watcher::Unknown };
        if since.elapsed() > argus.interval + STUCK {
            return Watcher::Fails("its last round doesn't end".to_owned());
        }
        match (done.away, done.ended) {
            (Some(why), _) => Watcher::Fails(line(&why)),
            (None, Some(_)) => Watcher::Well,
            (None, None) => Watcher::Unknown,
        }
    }

    /// Notes, and logs, what is sure.
    fn note(&mut self, standing: &Standing) {
        let before = self.known.works;
        match standing {
            Standing::Unsure => {}
            Standing::Fails(problems) => {
                self.known.works = Some(false);
                if before != Some(false) {
                    let problems = line(&problems.join("; "));
                    tracing::error!("ticketing fails: {problems}\nhelp: {HELP}");
                }
            }
            Standing::Works => {
                self.known.works = Some(true);
                if before == Some(false) {
                    tracing::info!("ticketing works again");
                }
            }
        }
    }
}

fn message(problems: &[String]) -> String {
    format!("Ticketing fails: {}. {HELP}", problems.join("; "))
}
