//! What Argus is asked and told: a function for each.
//!
//! Source: Argus's API v2, https://argus-server.readthedocs.io/en/latest/reference/api.html

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ticket_plugin_api::{Incident, Retry, Ticket, json};
use tokio::task::spawn_blocking;
use url::Url;

use super::filter::Parameters;
use crate::backend::gateway;
use crate::config::ArgusConfig;
use crate::error::{Error, Kind, Result};
use crate::incident;
use crate::store::{Back, Becomes, Timestamp};
use crate::terminal::cut;

const TIME: Duration = Duration::from_secs(30);
/// Incidents that Argus is asked for at once.
const PAGE: u32 = 1000;
/// Bytes that a page of incidents may have.
const LARGEST_PAGE: usize = 64 << 20;
/// Bytes that are shown of what Argus says about a request that it refuses.
const SHOWN: usize = 500;

/// The Argus of the config.
pub(crate) struct Argus<'a> {
    client: Client,
    pub(super) config: &'a ArgusConfig,
    token: String,
}

/// What Argus says of the filter's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterCheck {
    /// It knows each of them.
    Known,
    /// Its schema doesn't tell.
    Untold,
    /// There is no schema, or something before Argus says so while Argus itself isn't there.
    NoSchema,
}

/// What came of a request that was neither refused nor failed.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Given(Vec<u8>),
    /// Argus itself says that it doesn't have this.
    NotThere,
    /// Something else says so: a proxy while Argus is away, or whatever is where Argus isn't. It tells nothing of what Argus has.
    NoArgus,
}

/// How an incident of Argus's stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Current {
    /// It goes on, or is of a kind that doesn't end.
    Open,
    /// It has ended, and has no ticket.
    Ended,
    /// It has a ticket, with this URL.
    HasTicket(String),
    /// Argus doesn't have it any more.
    Gone,
}

impl Current {
    /// By the incident as Argus gives it. One that `began` at another time is another one: of an Argus that was set up anew,
    /// or that the config had before. `now` is compared with the end of one that doesn't say whether it is open.
    /// The URL of a `former` ticket is none.
    fn of(
        incident: Option<Map<String, Value>>,
        began: &str,
        former: Option<&str>,
        now: Timestamp,
    ) -> Current {
        let Some(attributes) = incident else { return Current::Gone };
        let incident = Incident::from(attributes);
        if !incident::may_have_begun_together(began, &incident.start_time) {
            return Current::Gone;
        }
        let url = incident.ticket_url.trim();
        if !url.is_empty() && former.map(str::trim) != Some(url) {
            Current::HasTicket(url.to_owned())
        } else if incident::has_ended(&incident, now) {
            Current::Ended
        } else {
            Current::Open
        }
    }
}

#[derive(Deserialize)]
struct Page {
    next: Option<String>,
    results: Vec<Map<String, Value>>,
}

/// The open incidents of the filter that have no ticket, page by page.
pub(super) struct Listing<'a> {
    argus: &'a Argus<'a>,
    next: Option<Url>,
    /// The numbers of those that were listed so far.
    seen: HashSet<Option<i64>>,
}

impl Listing<'_> {
    /// How many incidents were listed so far.
    pub(super) fn listed(&self) -> usize {
        self.seen.len()
    }

    /// The next page, or None after the last.
    ///
    /// # Errors
    /// Argus can't be asked.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Map<String, Value>>>> {
        let Some(mut url) = self.next.take() else { return Ok(None) };
        let page = self.argus.page(url.clone()).await?;
        let before = self.seen.len();
        self.seen.extend(page.results.iter().map(pk));
        // Among incidents that began at the same time Argus's cursor comes to a standstill; the next round sees the
        // others, when these have their tickets.
        if let Some(next) = page.next.filter(|_| self.seen.len() > before) {
            let next = Url::parse(&next).ok().filter(|next| next.path() == url.path());
            // Behind a proxy Argus may call itself otherwise: only its cursor counts.
            let query = next.as_ref().and_then(Url::query).ok_or_else(|| {
                Error::new(Kind::Client, "the address of Argus's next page is not valid")
            })?;
            url.set_query(Some(query));
            self.next = Some(url);
        }
        Ok(Some(page.results))
    }
}

/// Whether an incident, as Argus gives it, is to become so.
fn needs(incident: &Map<String, Value>, began: &str, becomes: Becomes, now: Timestamp) -> bool {
    let is_acked = incident.get("acked").and_then(Value::as_bool) == Some(true);
    let is_stateless = incident::is_stateless(incident);
    let incident = Incident::from(incident.clone());
    let is_it = incident::may_have_begun_together(began, &incident.start_time);
    is_it
        && !incident::has_ended(&incident, now)
        && match becomes {
            Becomes::Acknowledged => !is_acked,
            Becomes::Ended => !is_stateless,
        }
}

/// What to do about it, of what Argus refuses to the alarm's source.
fn to_source(error: Error) -> Error {
    match error.kind {
        Kind::Settings | Kind::Usage => {
            error.help("alarm.argus_token must be the token of a source system in Argus")
        }
        _ => error,
    }
}

/// With what the source's own name of an incident begins that says that ticketing itself fails.
const ALARM: &str = "ticket-host-alarm-";

/// Whether an incident says that ticketing itself fails. It gets no ticket.
pub(super) fn is_alarm(incident: &Map<String, Value>) -> bool {
    let id = incident.get("source_incident_id").and_then(Value::as_str);
    id.is_some_and(|id| id.starts_with(ALARM))
}

/// The number of an incident that Argus gave.
pub(super) fn pk(incident: &Map<String, Value>) -> Option<i64> {
    incident.get("pk").and_then(Value::as_i64)
}

impl<'a> Argus<'a> {
    /// # Errors
    /// A settings error: the token can't be read, or no HTTP client be made.
    pub(crate) async fn new(config: &'a ArgusConfig) -> Result<Argus<'a>> {
        let its = config.clone();
        Argus::with(config, move || its.token()).await
    }

    /// That Argus, asked with another token than the watcher's.
    ///
    /// # Errors
    /// As [`Argus::new`].
    pub(crate) async fn with(
        config: &'a ArgusConfig,
        token: impl FnOnce() -> Result<String> + Send + 'static,
    ) -> Result<Argus<'a>> {
        let client = gateway::plain_client()?;
        // Its file may be on a disk that hangs, which must hold up nobody else.
        let token = spawn_blocking(token).await.unwrap_or_else(|_| {
            Err(Error::plugin("Argus's token could not be read: the host broke off"))
        })?;
        Ok(Argus { client, config, token })
    }

    /// Lists the open incidents of the filter that have no ticket.
    pub(super) fn list(&self) -> Result<Listing<'_>> {
        self.list_those("ticket=false")
    }

    /// Lists the open incidents of the filter that have a ticket.
    pub(super) fn list_with_tickets(&self) -> Result<Listing<'_>> {
        self.list_those("ticket=true")
    }

    fn list_those(&self, which: &str) -> Result<Listing<'_>> {
        let next = Some(self.first_page(which, PAGE)?);
        Ok(Listing { argus: self, next, seen: HashSet::new() })
    }

    /// Asks what the watcher asks, with the filter, for one incident. Gives Argus's version, if it tells one.
    ///
    /// # Errors
    /// It can't be reached, refuses the token or the filter, or is no Argus.
    pub(crate) async fn look(&self) -> Result<Option<String>> {
        self.page(self.first_page("ticket=false", 1)?).await?;
        // Not every version has this address.
        let Ok(about) = self.config.url.join("api/") else { return Ok(None) };
        let about: Option<Value> = self.ask(Method::GET, about, None).await.ok().flatten();
        Ok(about.and_then(|about| Some(about.get("server-version")?.as_str()?.to_owned())))
    }

    /// Whether Argus knows each parameter of the filter, if it tells which it knows.
    ///
    /// # Errors
    /// A settings error: it would ignore one. One that may be gone later: it can't be reached.
    pub(crate) async fn knows_filter(&self) -> Result<FilterCheck> {
        if self.config.filter.is_empty() {
            return Ok(FilterCheck::Known);
        }
        let mut url = self.url("schema/")?;
        url.set_query(Some("format=json"));
        let bytes = match self.send(Method::GET, url, None).await {
            Ok(Reply::Given(bytes)) => bytes,
            // An Argus without a schema says this in its web server's words.
            Ok(Reply::NotThere | Reply::NoArgus) => return Ok(FilterCheck::NoSchema),
            Err(error) if error.retry == Retry::Later => return Err(error),
            Err(_) => return Ok(FilterCheck::Untold),
        };
        match json::read(&bytes).ok().as_ref().and_then(Parameters::of) {
            Some(parameters) => parameters.check(&self.config.filter).map(|()| FilterCheck::Known),
            None => Ok(FilterCheck::Untold),
        }
    }

    /// Where Argus's pages are by its own FRONTEND_URL, if the front page of its API tells. No part of the API does.
    pub(crate) async fn frontend(&self) -> Option<Url> {
        let bytes = self.fetch(Method::GET, self.config.url.clone(), None).await.ok()??;
        frontend_in(&String::from_utf8_lossy(&bytes))
    }

    /// One incident, or None if Argus doesn't have it.
    ///
    /// # Errors
    /// Argus can't be asked.
    pub(crate) async fn incident(&self, pk: i64) -> Result<Option<Map<String, Value>>> {
        self.ask(Method::GET, self.url(&format!("incidents/{pk}/"))?, None).await
    }

    /// How an incident stands now, that `began` then, and had that ticket before.
    ///
    /// # Errors
    /// Argus can't be asked.
    pub(crate) async fn current(
        &self,
        pk: i64,
        began: &str,
        former: Option<&Ticket>,
    ) -> Result<Current> {
        let former = former.map(|ticket| ticket.url.as_str());
        Ok(Current::of(self.incident(pk).await?, began, former, Timestamp::now()))
    }

    /// Writes a ticket's URL to an incident. False if Argus doesn't have the incident.
    ///
    /// # Errors
    /// Argus can't be asked, or refuses.
    pub(super) async fn set_ticket_url(&self, pk: i64, ticket_url: &str) -> Result<bool> {
        let url = self.url(&format!("incidents/{pk}/ticket_url/"))?;
        let body = json!({"ticket_url": ticket_url});
        Ok(self.fetch(Method::PUT, url, Some(body)).await?.is_some())
    }

    /// Acknowledges an incident that goes on and isn't acknowledged, or closes one that goes on. False if there is nothing to be done: Argus
    /// doesn't have it, it `began` at another time, or it is so already.
    ///
    /// # Errors
    /// Argus can't be asked, or refuses.
    pub(super) async fn tell_back(&self, pk: i64, began: &str, back: &Back) -> Result<bool> {
        let Some(incident) = self.incident(pk).await? else { return Ok(false) };
        if !needs(&incident, began, back.becomes, Timestamp::now()) {
            return Ok(false);
        }
        let now = Timestamp::now().rfc3339();
        let (path, body) = match back.becomes {
            Becomes::Acknowledged => {
                ("acks", json!({"timestamp": now, "description": back.why, "expiration": null}))
            }
            // What a person can do to an incident; ending one is its source's.
            Becomes::Ended => {
                ("events", json!({"timestamp": now, "type": "CLO", "description": back.why}))
            }
        };
        let url = self.url(&format!("incidents/{pk}/{path}/"))?;
        let told = self.fetch(Method::POST, url, Some(body)).await.map_err(|error| {
            let help = "the token of [argus] must be a person's, not a source's, who may acknowledge and close incidents";
            if error.kind == Kind::Usage { error.help(help) } else { error }
        })?;
        Ok(told.is_some())
    }

    /// Raises an incident of level 1 as the source whose token this is, unless one that it raised so is open.
    ///
    /// # Errors
    /// Argus can't be asked, or refuses.
    pub(crate) async fn raise_alarm(&self, description: &str) -> Result<()> {
        if !self.alarms().await?.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        let incident = json!({
            "start_time": now.rfc3339(), "end_time": "infinity", "level": 1, "description": description,
            "source_incident_id": format!("{ALARM}{}", now.millis()), "details_url": "", "tags": [],
        });
        let raised = self.fetch(Method::POST, self.url("incidents/")?, Some(incident)).await;
        match raised.map_err(to_source)? {
            Some(_) => Ok(()),
            None => {
                Err(Error::new(Kind::Client, "Argus says that incidents can't be raised (404)"))
            }
        }
    }

    /// Ends, as the source whose token this is, what it raised by [`Argus::raise_alarm`].
    ///
    /// # Errors
    /// Argus can't be asked, or refuses.
    pub(crate) async fn end_alarms(&self, why: &str) -> Result<()> {
        for pk in self.alarms().await? {
            let now = Timestamp::now().rfc3339();
            let event = json!({"timestamp": now, "type": "END", "description": why});
            let url = self.url(&format!("incidents/{pk}/events/"))?;
            self.fetch(Method::POST, url, Some(event)).await.map_err(to_source)?;
        }
        Ok(())
    }

    /// The numbers of those that are open.
    ///
    /// # Errors
    /// As [`Argus::raise_alarm`].
    pub(crate) async fn alarms(&self) -> Result<Vec<i64>> {
        let mut url = self.url("incidents/mine/")?;
        url.set_query(Some(&format!("open=true&page_size={PAGE}")));
        let page: Option<Page> = self.ask(Method::GET, url, None).await.map_err(to_source)?;
        let results = page.map(|page| page.results).unwrap_or_default();
        Ok(results.iter().filter(|incident| is_alarm(incident)).filter_map(pk).collect())
    }

    /// Where the open incidents of the filter are listed of which this is so, too, so many at once.
    fn first_page(&self, which: &str, size: u32) -> Result<Url> {
        let mut url = self.url("incidents/")?;
        let filter = format!("open=true&{which}&page_size={size}&{}", self.config.filter);
        url.set_query(Some(filter.trim_end_matches('&')));
        Ok(url)
    }

    async fn page(&self, url: Url) -> Result<Page> {
        let page = self.ask(Method::GET, url, None).await.map_err(|error| match error.kind {
            Kind::Usage => Error { kind: Kind::Settings, ..error }
                .at("argus.filter")
                .help("mend it as Argus says; until then nothing is filed"),
            _ => error,
        });
        // Argus says so of a page that it doesn't have, and of a version of its API.
        page?.ok_or_else(|| {
            Error::new(
                Kind::Client,
                "Argus doesn't have the list of incidents, or its next page (404)",
            )
            .help("the next round asks again; if this stays, that Argus has no API v2")
        })
    }

    fn url(&self, path: &str) -> Result<Url> {
        let joined = self.config.url.join(&format!("api/v2/{path}"));
        joined.map_err(|cause| Error::settings("argus.url: can't be used").cause(cause))
    }

    /// One request and its answer. None if Argus says that it doesn't have this.
    ///
    /// # Errors
    /// Those whose `retry` is [`Retry::Later`] are about all incidents: Argus can't be reached.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Value>,
    ) -> Result<Option<T>> {
        let request_line = line_of(&method, &url);
        let Some(bytes) = self.fetch(method, url, body).await? else { return Ok(None) };
        let parsed = json::read(&bytes);
        parsed.map(Some).map_err(|cause| {
            let what = format!("{request_line}: answered what is not valid JSON of Argus's");
            Error::new(Kind::Client, what).cause(cause)
        })
    }

    /// As [`Argus::ask`], with the answer as it came.
    async fn fetch(
        &self,
        method: Method,
        url: Url,
        body: Option<Value>,
    ) -> Result<Option<Vec<u8>>> {
        let request_line = line_of(&method, &url);
        match self.send(method, url, body).await? {
            Reply::Given(bytes) => Ok(Some(bytes)),
            Reply::NotThere => Ok(None),
            Reply::NoArgus => {
                let what = format!("{request_line}: answered 404, and not as Argus does");
                Err(Error::new(Kind::Client, what).retry(Retry::Later).help(
                    "a proxy says so while Argus is away; if this stays, argus.url is not the base of Argus's API, like \
                     https://argus.example.org/",
                ))
            }
        }
    }

    async fn send(&self, method: Method, url: Url, body: Option<Value>) -> Result<Reply> {
        let request_line = line_of(&method, &url);
        let failed = |what: &str| Error::new(Kind::Client, format!("{request_line}: {what}"));
        let mut request: RequestBuilder = self.client.request(method, url).timeout(TIME);
        request = request.header("Authorization", format!("Token {}", self.token));
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let broken = |cause: reqwest::Error| failed(&gateway::root(&cause)).retry(Retry::Later);
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get("Content-Type").and_then(|v| v.to_str().ok());
        let is_json = is_json(content_type.unwrap_or_default());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > LARGEST_PAGE {
                return Err(failed("answered more than can be read"));
            }
            bytes.extend_from_slice(&chunk);
        }
        reply(&request_line, status, is_json, bytes)
    }
}

/// What an answer means. What Argus refuses as wrong (400) is a usage error.
fn reply(request_line: &str, status: u16, is_json: bool, bytes: Vec<u8>) -> Result<Reply> {
    let failed = |what: &str| Error::new(Kind::Client, format!("{request_line}: {what}"));
    match status {
        200..=299 => Ok(Reply::Given(bytes)),
        400 => {
            let said = String::from_utf8_lossy(&bytes);
            let refused = failed(format!("answered 400 {}", cut(&said, SHOWN)).trim_end());
            Err(Error { kind: Kind::Usage, ..refused })
        }
        // Argus says why it has nothing (Django REST framework's exception handler).
        404 if is_json
            && json::read(&bytes).is_ok_and(|said: Value| said.get("detail").is_some()) =>
        {
            Ok(Reply::NotThere)
        }
        404 => Ok(Reply::NoArgus),
        401 | 403 => Err(Error::settings(format!("{request_line}: answered {status}"))
            .help("is argus.token a token of a user who may see and change incidents?")),
        502..=504 => Err(failed(&format!("answered {status}")).retry(Retry::Later)),
        _ => Err(failed(&format!("answered {status}"))),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn line_of(method: &Method, url: &Url) -> String {
    format!("Argus ({method} {})", url.path())
}

/// The link that the front page of Argus's API has to its FRONTEND_URL (argus/site/views.py, index).
fn frontend_in(html: &str) -> Option<Url> {
    let (before, _) = html.split_once("\">Frontend</a>")?;
    let (_, link) = before.rsplit_once("href=\"")?;
    Url::parse(&link.replace("&amp;", "&")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_argus_itself_says_that_it_does_not_have_something() {
        let detail = r#"{"detail":"No Incident matches the given query."}"#;
        for (content_type, body, expected) in [
            ("application/json", detail, Reply::NotThere),
            ("Application/JSON; charset=utf-8", detail, Reply::NotThere),
            ("text/html", detail, Reply::NoArgus),
            ("", detail, Reply::NoArgus),
            ("text/html", "<h1>404 page not found</h1>", Reply::NoArgus),
            ("application/json", "", Reply::NoArgus),
            ("application/json", "[\"detail\"]", Reply::NoArgus),
            ("application/json", r#"{"message":"no Route matched"}"#, Reply::NoArgus),
        ] {
            let found = reply("r", 404, is_json(content_type), body.into()).unwrap();
            assert_eq!(found, expected, "{content_type} {body}");
        }
    }

    /// Before the token's writer there is nobody who could write it: with one thread, reading it must leave that free.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_token_whose_file_hangs_holds_up_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("token");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let mut config = super::super::config("http://a.example.org/", "http://a.example.org/");
        config.token.value = json!({"file": pipe});
        let write = async { std::fs::write(&pipe, "hunter2") };
        let (argus, written) = tokio::join!(Argus::new(&config), write);
        written.unwrap();
        assert_eq!(argus.unwrap().token, "hunter2");
    }

    #[test]
    fn who_can_be_asked_later_is_told_from_who_refuses() {
        for (status, kind, retry) in [
            (400, Kind::Usage, Retry::Never),
            (401, Kind::Settings, Retry::Never),
            (403, Kind::Settings, Retry::Never),
            (500, Kind::Client, Retry::Never),
            (502, Kind::Client, Retry::Later),
            (503, Kind::Client, Retry::Later),
        ] {
            let error = reply("r", status, true, Vec::new()).unwrap_err();
            assert_eq!((error.kind, error.retry), (kind, retry), "{status}");
            assert!(error.message.contains(&format!("answered {status}")), "{error}");
        }
    }

    #[test]
    fn an_incident_is_acknowledged_or_closed_only_while_it_goes_on_and_is_the_one() {
        use Becomes::{Acknowledged, Ended};
        let now = Timestamp::from_rfc3339("2026-11-26T12:00:00Z").unwrap();
        let began = "2026-11-26T10:00:00Z";
        for (incident, becomes, expected) in [
            (json!({"open": true, "acked": false, "end_time": "infinity"}), Acknowledged, true),
            (json!({"open": true, "end_time": "infinity"}), Acknowledged, true),
            (json!({"open": true, "acked": true, "end_time": "infinity"}), Acknowledged, false),
            (json!({"open": true, "acked": true, "end_time": "infinity"}), Ended, true),
            (json!({"open": false, "end_time": "2026-11-26T11:00:00Z"}), Ended, false),
            (json!({"open": false, "end_time": "2026-11-26T11:00:00Z"}), Acknowledged, false),
            // One that has no state can be acknowledged, and never ends.
            (json!({"open": false, "stateful": false, "end_time": null}), Acknowledged, true),
            (json!({"open": false, "stateful": false, "end_time": null}), Ended, false),
            // Another one by now.
            (json!({"open": true, "start_time": "2026-11-26T11:00:00Z"}), Ended, false),
        ] {
            let Value::Object(mut attributes) = incident.clone() else { panic!("an object") };
            attributes.entry("start_time").or_insert(began.into());
            assert_eq!(needs(&attributes, began, becomes, now), expected, "{becomes:?} {incident}");
        }
    }

    #[test]
    fn an_incident_stands_as_argus_says() {
        let now = Timestamp::from_rfc3339("2026-11-26T12:00:00Z").unwrap();
        let open = json!({"ticket_url": "", "end_time": "infinity"});
        for (incident, expected) in [
            (json!({"open": true, "stateful": true, "end_time": "infinity"}), Current::Open),
            (
                json!({"open": false, "stateful": true, "end_time": "2026-11-26T11:00:00Z"}),
                Current::Ended,
            ),
            // Its end is planned.
            (json!({"open": true, "end_time": "2026-11-26T13:00:00Z"}), Current::Open),
            // One that has no state is never open and never ends.
            (json!({"open": false, "stateful": false, "end_time": null}), Current::Open),
            (json!({"open": false, "end_time": null}), Current::Open),
            (open, Current::Open),
            (json!({"end_time": "2026-11-26T12:59:59+01:00"}), Current::Ended),
            (json!({"end_time": "2026-11-26T13:00:01+01:00"}), Current::Open),
            (json!({"end_time": "odd"}), Current::Open),
            (
                json!({"open": true, "ticket_url": "https://rt/1"}),
                Current::HasTicket("https://rt/1".into()),
            ),
            (
                json!({"open": false, "ticket_url": "https://rt/1"}),
                Current::HasTicket("https://rt/1".into()),
            ),
            (json!({"open": true, "ticket_url": " "}), Current::Open),
        ] {
            let Value::Object(attributes) = incident.clone() else { unreachable!("an object") };
            assert_eq!(Current::of(Some(attributes), "", None, now), expected, "{incident}");
        }
        assert_eq!(Current::of(None, "", None, now), Current::Gone);
        let again = json!({"open": true, "ticket_url": "https://rt/1"});
        let Value::Object(again) = again else { panic!("an object") };
        assert_eq!(Current::of(Some(again), "", Some("https://rt/1"), now), Current::Open);
        let began = json!({"open": true, "start_time": "2026-11-26T12:00:00+01:00"});
        for (then, expected) in
            [("2026-11-26T11:00:00Z", Current::Open), ("2026-11-26T11:00:01Z", Current::Gone)]
        {
            let Value::Object(attributes) = began.clone() else { panic!("an object") };
            assert_eq!(Current::of(Some(attributes), then, None, now), expected, "{then}");
        }
    }

    /// As Argus 2.10.2 shows it.
    #[test]
    fn the_front_page_of_the_api_tells_where_arguss_pages_are() {
        let page = |link: &str| {
            format!(
                "<a href=\"/api/\">API</a>\n      <a href=\"{link}\">Frontend</a>\n<a href=\"x\">"
            )
        };
        let found = frontend_in(&page("https://noc.example.org/?a=1&amp;b=2")).unwrap();
        assert_eq!(found.as_str(), "https://noc.example.org/?a=1&b=2");
        for none in [page(""), "<a>Frontend</a>".to_owned(), String::new()] {
            assert!(frontend_in(&none).is_none(), "{none}");
        }
    }
}
