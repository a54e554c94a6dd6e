//! The watcher's loop: files what has no ticket, and tells Argus of the tickets that were made.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use ticket_plugin_api::Retry;

use super::backlog::{self, Decided, Waiting};
use super::client::{self, Argus, Current, FilterCheck};
use super::follow::{Followed, reported};
use super::identity::{self, page};
use super::progress::Progress;
use crate::config::{ArgusConfig, Backlog};
use crate::error::{Error, Kind, Result};
use crate::incident::ARGUS;
use crate::queue::Queue;
use crate::store::{Becomes, Filter, ToTell, ToTellBack};
use crate::terminal::{counted, line};

/// How often to look whether the config names an Argus to watch by now, or another one.
const LOOK: Duration = Duration::from_secs(5);
/// How often to look whether this host is the one, of those that share the store, that watches Argus.
const LEAD: Duration = Duration::from_millis(100);
/// At most so many errors of single incidents are logged in a round.
const ERRORS: usize = 100;
/// Tickets that Argus is told of in one go.
const TOLD_AT_ONCE: i64 = 100;

/// Files Argus's incidents and tells it of their tickets, again and again.
pub(crate) async fn watch(queue: Arc<Queue>, progress: Arc<Progress>) -> Result<()> {
    let mut watcher = Watcher {
        queue,
        progress,
        watched: None,
        in_vain: None,
        knows_filter: false,
        refused: HashSet::new(),
        refused_back: HashSet::new(),
        followed: Followed::default(),
    };
    let mut said = Said::default();
    loop {
        let Some(config) = watcher.queue.setup().config.argus.clone() else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        if !watcher.queue.leads() {
            // Another host watches it, or this one does so in a moment, and knows nothing of what the other one reported.
            watcher.followed = Followed::default();
            tokio::time::sleep(LEAD).await;
            continue;
        }
        if watcher.watched.as_ref() != Some(&config) {
            watcher.progress.begin_anew();
            watcher.knows_filter = false;
            watcher.followed = Followed::default();
            watcher.watched = Some(config.clone());
        }
        let mut errors = Vec::new();
        watcher.in_vain = None;
        let answers = match Argus::new(&config).await {
            Ok(argus) => watcher.round(&argus, &mut errors).await,
            Err(error) => {
                watcher.in_vain = Some(error.message.clone());
                errors.push(error);
                false
            }
        };
        watcher.progress.ended(errors.first(), watcher.in_vain.take());
        said.say(&errors);
        watcher.rest(&config, answers).await;
    }
}

/// The errors of the last round, which were logged: they are not logged again while they stay the same.
#[derive(Debug, Default)]
struct Said {
    last: HashSet<String>,
}

impl Said {
    fn say(&mut self, errors: &[Error]) {
        let had_errors = !self.last.is_empty();
        self.news(errors).iter().for_each(|error| tracing::error!("{}", error.trim_end()));
        if errors.is_empty() && had_errors {
            tracing::info!("all goes well with Argus again");
        }
    }

    /// Those of this round's errors that the round before did not have.
    fn news(&mut self, errors: &[Error]) -> Vec<String> {
        let mut texts = HashSet::new();
        let mut news = Vec::new();
        for text in errors.iter().map(crate::report::text) {
            if texts.insert(text.clone()) && !self.last.contains(&text) {
                news.push(text);
            }
        }
        self.last = texts;
        news
    }
}

/// Whether an error is about all incidents: Argus can't be reached, or the token may not do this.
fn is_about_all(error: &Error) -> bool {
    let is_unreachable = error.kind == Kind::Client && error.retry == Retry::Later;
    is_unreachable || error.kind == Kind::Settings
}

/// Puts one incident's error in `errors`: the others go on.
///
/// # Errors
/// It is about all of them.
pub(super) fn goes_on(done: Result<()>, errors: &mut Vec<Error>) -> Result<()> {
    match done {
        Err(error) if is_about_all(&error) => return Err(error),
        Err(error) if errors.len() < ERRORS => errors.push(error),
        Ok(()) | Err(_) => {}
    }
    Ok(())
}

struct Watcher {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    /// What the last round was with.
    watched: Option<ArgusConfig>,
    /// Why this round was broken off.
    in_vain: Option<String>,
    /// Argus knows each parameter of that filter, or doesn't tell which it knows.
    knows_filter: bool,
    /// The incidents of whose tickets Argus wouldn't be told in this round.
    refused: HashSet<i64>,
    /// Those of which it wouldn't be told that their tickets were closed.
    refused_back: HashSet<i64>,
    followed: Followed,
}

impl Watcher {
    /// Files Argus's incidents without a ticket, and tells Argus of the tickets that it doesn't know. All that went wrong
    /// is put in `errors`. Whether Argus answers.
    async fn round(&mut self, argus: &Argus<'_>, errors: &mut Vec<Error>) -> bool {
        if let Err(error) = self.file_all(argus, errors).await {
            self.in_vain = Some(error.message.clone());
            // Telling it of tickets would fail as well.
            let is_unreachable = error.retry == Retry::Later;
            errors.push(error);
            if is_unreachable {
                return false;
            }
        }
        self.refused.clear();
        self.refused_back.clear();
        let Err(error) = self.tell_all(argus, errors).await else { return true };
        self.in_vain.get_or_insert_with(|| error.message.clone());
        // A token that is refused is refused for everything.
        if !(error.kind == Kind::Settings && errors.iter().any(|e| e.kind == Kind::Settings)) {
            errors.push(error);
        }
        false
    }

    /// Waits for the next round, and tells Argus of the tickets that are made meanwhile, if it `answers`. What goes wrong
    /// then is left for that round. Another config is not waited for.
    async fn rest(&mut self, config: &ArgusConfig, mut answers: bool) {
        let until = Instant::now() + config.interval;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(left)) => {
                    if self.queue.setup().config.argus.as_ref() != Some(config) {
                        return;
                    }
                }
                () = self.queue.news(), if answers => {
                    let Ok(argus) = Argus::new(config).await else { return };
                    answers = self.tell_all(&argus, &mut Vec::new()).await.is_ok();
                }
            }
        }
    }

    /// Files all incidents of the filter that have no ticket; those that can't be filed are put in `errors`.
    ///
    /// # Errors
    /// Argus can't be asked, or would ignore a part of the filter.
    async fn file_all(&mut self, argus: &Argus<'_>, errors: &mut Vec<Error>) -> Result<()> {
        if !self.knows_filter {
            // Where there is no schema, Argus may only not have been there: it is asked again in the next round.
            self.knows_filter = argus.knows_filter().await? != FilterCheck::NoSchema;
        }
        let decided = self.decided(argus).await?;
        let mut listing = argus.list()?;
        let mut skipped = 0;
        let mut without = HashSet::new();
        while let Some(page) = listing.next().await? {
            for attributes in page {
                without.extend(client::pk(&attributes));
                if client::is_alarm(&attributes) {
                    continue;
                }
                if client::pk(&attributes).is_some_and(|pk| !decided.files(pk)) {
                    skipped += 1;
                    continue;
                }
                goes_on(self.file(argus, attributes).await, errors)?;
            }
        }
        self.progress.polled(listing.listed(), skipped);
        if self.queue.follows() {
            self.followed.round(&self.queue, argus, without, errors).await?;
        }
        Ok(())
    }

    /// Which incidents are filed, of those that were there before this Argus was watched.
    async fn decided(&self, argus: &Argus<'_>) -> Result<Decided> {
        let (store, setting) = (&self.queue.store, argus.config.backlog);
        let name = backlog::name(argus.config);
        let (of_this, of_any) = (store.note(&name).await?, store.note(backlog::OF_ANY).await?);
        let before = backlog::before(of_this.as_deref(), of_any.as_deref());
        let decided = match backlog::decided(setting, before) {
            Some(decided) => decided,
            None => {
                let waiting = self.waiting(argus).await?;
                let decided = backlog::decide(setting, waiting);
                if decided != Decided::All {
                    say_skipped(setting, waiting);
                }
                decided
            }
        };
        if before != Some(decided) {
            store.set_note(&name, &decided.note()).await?;
        }
        Ok(decided)
    }

    /// The open incidents without a ticket that aren't in the store either.
    async fn waiting(&self, argus: &Argus<'_>) -> Result<Waiting> {
        let mut waiting = Waiting::default();
        let mut listing = argus.list()?;
        let mut counted = HashSet::new();
        while let Some(incidents) = listing.next().await? {
            let others = incidents.iter().filter(|incident| !client::is_alarm(incident));
            for pk in others.filter_map(client::pk).filter(|pk| counted.insert(*pk)) {
                let filter = Filter { key: page(argus.config, pk), most: 1, ..Filter::default() };
                if self.queue.store.list(&filter).await?.is_empty() {
                    waiting.count += 1;
                    waiting.newest = waiting.newest.max(pk);
                }
            }
        }
        Ok(waiting)
    }

    async fn file(&self, argus: &Argus<'_>, attributes: Map<String, Value>) -> Result<()> {
        let pk = client::pk(&attributes).ok_or_else(|| {
            Error::usage("Argus listed an incident without a number; it is not filed")
        })?;
        let new = reported(&self.queue, argus.config, pk, attributes)?;
        self.queue.keep(new, Duration::ZERO).await?;
        Ok(())
    }

    /// Tells of all tickets of which Argus has not been told, that they were made or closed; what it refuses is put in `errors`.
    ///
    /// # Errors
    /// Argus can't be asked, or the store can't be read.
    async fn tell_all(&mut self, argus: &Argus<'_>, errors: &mut Vec<Error>) -> Result<()> {
        self.tell_of_made(argus, errors).await?;
        self.tell_of_closed(argus, errors).await
    }

    async fn tell_of_made(&mut self, argus: &Argus<'_>, errors: &mut Vec<Error>) -> Result<()> {
        let mut after = 0;
        loop {
            let incidents = self.queue.store.to_tell(ARGUS, after, TOLD_AT_ONCE).await?;
            let Some(last) = incidents.last() else { return Ok(()) };
            after = last.incident;
            for to_tell in incidents {
                if self.refused.contains(&to_tell.incident) {
                    continue;
                }
                let told = self.tell(argus, &to_tell).await;
                if told.is_err() {
                    self.refused.insert(to_tell.incident);
                }
                goes_on(told, errors)?;
            }
        }
    }

    async fn tell_of_closed(&mut self, argus: &Argus<'_>, errors: &mut Vec<Error>) -> Result<()> {
        let mut after = 0;
        loop {
            let incidents = self.queue.store.to_tell_back(after, TOLD_AT_ONCE).await?;
            let Some(last) = incidents.last() else { return Ok(()) };
            after = last.incident;
            for to_tell in incidents {
                if self.refused_back.contains(&to_tell.incident) {
                    continue;
                }
                let told = self.tell_back(argus, &to_tell).await;
                if told.is_err() {
                    self.refused_back.insert(to_tell.incident);
                }
                goes_on(told, errors)?;
            }
        }
    }

    async fn tell_back(&self, argus: &Argus<'_>, to_tell: &ToTellBack) -> Result<()> {
        // It may be open again by now, or its incident have begun again.
        let now = self.queue.store.to_tell_back(to_tell.incident - 1, 1).await?;
        if now.first() != Some(to_tell) {
            return Ok(());
        }
        let number = &to_tell.number;
        if let Ok(pk) = number.parse()
            && argus.tell_back(pk, &to_tell.began, &to_tell.back).await?
        {
            let becomes = match to_tell.back.becomes {
                Becomes::Acknowledged => "acknowledged",
                Becomes::Ended => "closed",
            };
            tracing::info!("Argus's incident {pk} is {becomes}: {}", line(&to_tell.back.why));
        }
        Ok(self.queue.store.told_back(to_tell.clone()).await?)
    }

    /// Tells of one ticket, unless the incident has one: a person's stays. An incident that Argus doesn't have any more, or
    /// that is another's, needs no URL.
    async fn tell(&self, argus: &Argus<'_>, to_tell: &ToTell) -> Result<()> {
        if let Some(pk) = number_of(argus.config, to_tell)?
            && let Current::Open | Current::Ended =
                argus.current(pk, &to_tell.began, to_tell.former.as_ref()).await?
            && argus.set_ticket_url(pk, &to_tell.ticket.url).await?
        {
            self.progress.told();
            tracing::info!("Argus's incident {pk} has the ticket {}", line(&to_tell.ticket.url));
        }
        Ok(self.queue.store.told(to_tell.incident).await?)
    }
}

/// The number of an incident in that Argus. One that a host accepted which kept no source is Argus's if its key is a page
/// there.
///
/// # Errors
/// It is none: the store was written to by somebody else.
fn number_of(config: &ArgusConfig, to_tell: &ToTell) -> Result<Option<i64>> {
    if to_tell.source.is_empty() {
        return Ok(identity::number(Some(config), &to_tell.key));
    }
    let number = &to_tell.number;
    let odd = |cause| Error::plugin(format!("{number:?} is no number of Argus's")).cause(cause);
    number.parse().map(Some).map_err(odd)
}

/// Says that incidents are not filed since they were there before.
fn say_skipped(setting: Backlog, waiting: Waiting) {
    let what = format!(
        "Argus had {} without a ticket before it was watched for the first time; they get none, nor does any incident up \
         to the number {}, also if it is opened again",
        counted(waiting.count as u64, "open incident"),
        waiting.newest
    );
    if setting == Backlog::Ask {
        tracing::warn!(
            "{what}; what comes now is filed\nhelp: argus.backlog = \"file\" files them all, \"skip\" leaves them; \
             `ticket-host create --argus PK` files a single one"
        );
    } else {
        tracing::info!("{what}");
    }
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::Ticket;

    use super::super::config;
    use super::*;

    #[test]
    fn what_an_earlier_host_accepted_is_arguss_if_its_key_is_a_page_there() {
        let config = config("https://api.example.org/", "https://argus.example.org/");
        let page = "https://argus.example.org/incidents/5";
        for (source, number, key, expected) in [
            (ARGUS, "7", page, Some(Some(7))),
            (ARGUS, "7", "mine", Some(Some(7))),
            (ARGUS, "x", page, None),
            ("", page, page, Some(Some(5))),
            ("", "7", "https://other.example.org/incidents/7", Some(None)),
            ("", "nav#7", "nav#7", Some(None)),
        ] {
            let [source, number, key] = [source, number, key].map(str::to_owned);
            let (ticket, began) = (Ticket::default(), String::new());
            let to_tell = ToTell { incident: 1, source, number, key, began, ticket, former: None };
            assert_eq!(number_of(&config, &to_tell).ok(), expected, "{to_tell:?}");
        }
    }

    #[test]
    fn an_error_is_said_when_it_comes_and_not_again_while_it_stays() {
        let mut said = Said::default();
        for (errors, expected) in [
            (&["a"][..], &["a"][..]),
            (&["a"], &[]),
            (&["a", "b", "b"], &["b"]),
            (&["b"], &[]),
            (&[], &[]),
            (&["b"], &["b"]),
        ] {
            let errors: Vec<Error> = errors.iter().map(|text| Error::usage(*text)).collect();
            let news = said.news(&errors);
            let news: Vec<&str> = news.iter().map(|text| &text["error: ".len()..]).collect();
            assert_eq!(news.iter().map(|text| text.trim()).collect::<Vec<_>>(), expected);
        }
    }
}
