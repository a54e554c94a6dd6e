//! The Argus whose incidents are filed without being asked to, and which hears of their tickets.
//!
//! Source: Argus's API v2, https://argus-server.readthedocs.io/en/latest/reference/api.html

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ticket_plugin_api::{Retry, json};
use url::Url;

use crate::backend::gateway;
use crate::config::ArgusConfig;
use crate::error::{Error, Kind, Result};
use crate::incident;
use crate::incident::{ARGUS, Identity};
use crate::queue::{self, Queue};
use crate::store::ToTell;
use crate::terminal::line;

/// How often to look whether the config names an Argus to watch by now.
const LOOK: Duration = Duration::from_secs(5);
const TIME: Duration = Duration::from_secs(30);
/// Incidents that Argus is asked for at once.
const PAGE: u32 = 1000;
/// Bytes that a page of incidents may have.
const LARGEST_PAGE: usize = 64 << 20;
/// At most so many errors of single incidents are logged in a round.
const ERRORS: usize = 100;
/// Tickets that Argus is told of in one go.
const TOLD_AT_ONCE: i64 = 100;

/// The number of an incident of the configured Argus's, by its argus_url.
pub(crate) fn number(config: Option<&ArgusConfig>, argus_url: &str) -> Option<i64> {
    let number = argus_url.rsplit('/').next()?.parse().ok()?;
    (page(config?, number).as_deref() == Some(argus_url)).then_some(number)
}

/// The incident's argus_url as Argus itself gives it to ticket plugins (argus/incident/ticket/utils.py):
/// so the watcher and the button in Argus's pages have one key for an incident.
fn page(config: &ArgusConfig, number: i64) -> Option<String> {
    config.frontend_url.join(&format!("incidents/{number}")).ok().map(String::from)
}

/// Files Argus's incidents and tells it of their tickets, again and again.
pub(crate) async fn watch(queue: Arc<Queue>) -> Result<()> {
    let mut client = None;
    let mut said = Said::default();
    loop {
        let setup = queue.setup();
        let Some(config) = &setup.config.argus else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let interval = config.interval;
        let errors = match connect(&mut client, config) {
            Ok(argus) => argus.round(&queue).await,
            Err(error) => vec![error],
        };
        let had_errors = !said.last.is_empty();
        let news = said.news(&errors);
        news.iter().for_each(|error| tracing::error!("{}", error.trim_end()));
        if errors.is_empty() && had_errors {
            tracing::info!("all goes well with Argus again");
        }
        drop(setup);
        tokio::time::sleep(interval).await;
    }
}

fn connect<'a>(client: &'a mut Option<Client>, config: &'a ArgusConfig) -> Result<Argus<'a>> {
    let client = match client {
        Some(client) => client,
        none => none.insert(gateway::plain_client()?),
    };
    Ok(Argus { client, config, token: config.token()? })
}

/// The errors of the last round, which were logged: they are not logged again while they stay the same.
#[derive(Debug, Default)]
struct Said {
    last: HashSet<String>,
}

impl Said {
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

/// Asks this Argus what the watcher asks it, for one incident, and does nothing with it. Gives its version, if it tells
/// one.
///
/// # Errors
/// It can't be reached, refuses the token, or is no Argus.
pub(crate) async fn look(config: &ArgusConfig) -> Result<Option<String>> {
    let mut client = None;
    let argus = connect(&mut client, config)?;
    argus.page(argus.first_page(1)?).await?;
    // Not every version has this address.
    let Ok(about) = config.url.join("api/") else { return Ok(None) };
    let about: Option<Value> = argus.ask(Method::GET, about, None).await.ok().flatten();
    Ok(about.and_then(|about| Some(about.get("server-version")?.as_str()?.to_owned())))
}

/// Puts one incident's error in `errors`: the others go on.
///
/// # Errors
/// It is about all of them: Argus can't be reached, or the token may not do this.
fn goes_on(done: Result<()>, errors: &mut Vec<Error>) -> Result<()> {
    let Err(error) = done else { return Ok(()) };
    let unreachable = error.kind == Kind::Client && error.retry == Retry::Later;
    if unreachable || error.kind == Kind::Settings {
        return Err(error);
    }
    if errors.len() < ERRORS {
        errors.push(error);
    }
    Ok(())
}

struct Argus<'a> {
    client: &'a Client,
    config: &'a ArgusConfig,
    token: String,
}

#[derive(Deserialize)]
struct Page {
    next: Option<String>,
    results: Vec<Map<String, Value>>,
}

impl Argus<'_> {
    /// Files Argus's incidents without a ticket, and tells Argus of the tickets that it doesn't know. Returns all
    /// that went wrong.
    async fn round(&self, queue: &Queue) -> Vec<Error> {
        let mut errors = Vec::new();
        if let Err(error) = self.file_all(queue, &mut errors).await {
            // If Argus can't be reached, or refuses the token, telling it of tickets would fail as well.
            let answers = error.kind != Kind::Settings && error.retry != Retry::Later;
            errors.push(error);
            if !answers {
                return errors;
            }
        }
        let told = self.tell_all(queue, &mut errors).await;
        errors.extend(told.err());
        errors
    }

    /// Files all incidents of the filter that have no ticket; those that can't be filed are put in `errors`.
    ///
    /// # Errors
    /// Argus can't be asked.
    async fn file_all(&self, queue: &Queue, errors: &mut Vec<Error>) -> Result<()> {
        let mut url = self.first_page(PAGE)?;
        let mut seen = HashSet::new();
        loop {
            let page = self.page(url.clone()).await?;
            let before = seen.len();
            for attributes in page.results {
                seen.insert(attributes.get("pk").and_then(Value::as_i64));
                goes_on(self.file(queue, attributes).await, errors)?;
            }
            let Some(next) = page.next else { return Ok(()) };
            // Among incidents that began at the same time Argus's cursor comes to a standstill; the
            // next round sees the others, when these have their tickets.
            if seen.len() == before {
                return Ok(());
            }
            let next = Url::parse(&next).ok().filter(|next| next.path() == url.path());
            // Behind a proxy Argus may call itself otherwise: only its cursor counts.
            let query = next.as_ref().and_then(Url::query).ok_or_else(|| {
                Error::new(Kind::Client, "the address of Argus's next page is not valid")
            })?;
            url.set_query(Some(query));
        }
    }

    /// Where the incidents of the filter that have no ticket are listed, so many at once.
    fn first_page(&self, size: u32) -> Result<Url> {
        let mut url = self.url("incidents/")?;
        let filter = format!("open=true&ticket=false&page_size={size}&{}", self.config.filter);
        url.set_query(Some(filter.trim_end_matches('&')));
        Ok(url)
    }

    async fn page(&self, url: Url) -> Result<Page> {
        self.ask(Method::GET, url, None).await?.ok_or_else(|| {
            Error::settings("argus.url: there is no Argus API (404)")
                .help("argus.url is the base of its API, like https://argus.example.org/")
        })
    }

    async fn file(&self, queue: &Queue, mut attributes: Map<String, Value>) -> Result<()> {
        let pk = attributes.get("pk").and_then(Value::as_i64).ok_or_else(|| {
            Error::usage("Argus listed an incident without a number; it is not filed")
        })?;
        let argus_url = page(self.config, pk);
        attributes.insert("argus_url".to_owned(), argus_url.clone().into());
        let incident = incident::of(attributes.into(), &format!("Argus's incident {pk}"))?;
        let setup = queue.setup();
        let identity = Identity { source: ARGUS.to_owned(), id: pk.to_string() };
        let key = incident::key(&incident, None)?;
        let mut new = queue::new(&setup, &incident, (identity, key), None)?;
        new.wanted = false;
        // A person has to look at what failed. Argus lists it again in each round, which changes nothing.
        new.reopen = false;
        queue.keep(new, Duration::ZERO).await?;
        Ok(())
    }

    /// Tells of all tickets of which Argus has not been told; what it refuses is put in `errors`.
    ///
    /// # Errors
    /// Argus can't be asked, or the store can't be read.
    async fn tell_all(&self, queue: &Queue, errors: &mut Vec<Error>) -> Result<()> {
        let mut after = 0;
        loop {
            let incidents = queue.store.to_tell(ARGUS, after, TOLD_AT_ONCE).await?;
            let Some(last) = incidents.last() else { return Ok(()) };
            after = last.incident;
            for incident in &incidents {
                goes_on(self.tell(queue, incident).await, errors)?;
            }
        }
    }

    /// Tells of one ticket, unless the incident has one: a person's stays.
    async fn tell(&self, queue: &Queue, told: &ToTell) -> Result<()> {
        let (pk, ticket) = (&told.number, &told.ticket);
        let incident: Option<Map<String, Value>> =
            self.ask(Method::GET, self.url(&format!("incidents/{pk}/"))?, None).await?;
        let has = |incident: &Map<String, Value>| {
            incident.get("ticket_url").and_then(Value::as_str).is_some_and(|url| !url.is_empty())
        };
        // An incident of another Argus, which the config had before, began at another time.
        let is_it = |incident: &Map<String, Value>| {
            incident.get("start_time").and_then(Value::as_str).unwrap_or_default() == told.began
        };
        // An incident that Argus doesn't have any more needs no URL.
        if incident.is_some_and(|incident| is_it(&incident) && !has(&incident)) {
            let of_incident = self.url(&format!("incidents/{pk}/ticket_url/"))?;
            let url = json!({"ticket_url": ticket.url});
            if self.ask::<Value>(Method::PUT, of_incident, Some(url)).await?.is_some() {
                tracing::info!("Argus's incident {pk} has the ticket {}", line(&ticket.url));
            }
        }
        Ok(queue.store.told(told.incident).await?)
    }

    fn url(&self, path: &str) -> Result<Url> {
        let joined = self.config.url.join(&format!("api/v2/{path}"));
        joined.map_err(|cause| Error::settings("argus.url: can't be used").cause(cause))
    }

    /// One request and its answer. None if the answer was a 404.
    ///
    /// # Errors
    /// Those whose `retry` is [`Retry::Later`] are about all incidents: Argus can't be reached.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Value>,
    ) -> Result<Option<T>> {
        let request_line = format!("Argus ({method} {})", url.path());
        let failed = |what: &str| Error::new(Kind::Client, format!("{request_line}: {what}"));
        let mut request: RequestBuilder = self.client.request(method, url).timeout(TIME);
        request = request.header("Authorization", format!("Token {}", self.token));
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let broken = |cause: reqwest::Error| failed(&gateway::root(&cause)).retry(Retry::Later);
        let mut response = request.send().await.map_err(broken)?;
        match response.status().as_u16() {
            200..=299 => {}
            404 => return Ok(None),
            status @ (401 | 403) => {
                return Err(Error::settings(format!("{request_line}: answered {status}"))
                    .help("is argus.token a token of a user who may see and change incidents?"));
            }
            status @ 502..=504 => {
                return Err(failed(&format!("answered {status}")).retry(Retry::Later));
            }
            status => return Err(failed(&format!("answered {status}"))),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > LARGEST_PAGE {
                return Err(failed("answered more than can be read"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let parsed = json::read(&bytes);
        parsed
            .map(Some)
            .map_err(|cause| failed("answered what is not valid JSON of Argus's").cause(cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(frontend: &str) -> ArgusConfig {
        ArgusConfig {
            url: Url::parse("https://api.example.org/").unwrap(),
            frontend_url: Url::parse(frontend).unwrap(),
            token: crate::config::SecretSource { value: "t".into(), base: Default::default() },
            place: None,
            filter: String::new(),
            interval: TIME,
            backend: None,
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

    /// What Python's urljoin makes of them, which Argus uses.
    #[test]
    fn an_incidents_page_is_the_one_that_argus_gives_to_its_plugins() {
        for (frontend, expected) in [
            ("https://argus.example.org", "https://argus.example.org/incidents/16"),
            ("https://argus.example.org/", "https://argus.example.org/incidents/16"),
            ("https://argus.example.org/sub/", "https://argus.example.org/sub/incidents/16"),
            ("https://argus.example.org/sub", "https://argus.example.org/incidents/16"),
        ] {
            let config = config(frontend);
            assert_eq!(page(&config, 16).as_deref(), Some(expected));
            assert_eq!(number(Some(&config), expected), Some(16));
            for other in [
                "https://other.example.org/incidents/16",
                "16",
                "",
                expected.trim_end_matches("16"),
            ] {
                assert_eq!(number(Some(&config), other), None, "{other}");
            }
            assert_eq!(number(None, expected), None);
        }
    }
}
