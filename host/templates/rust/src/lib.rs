// SPDX-License-Identifier: MIT-0
//! {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::Sha256;
use ticket_plugin_api::*;

/// Who asks to be left alone for longer is asked again after a day.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How much the ticket system's clock may differ from the host's: a ticket may look so much older than it is.
const ROOM_FOR_CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);
/// With less time left, no other page of a list is asked for.
const TIME_FOR_A_PAGE: Duration = Duration::from_secs(5);
/// After so many bytes of pages a call ends: the host keeps 64 MiB of answers for one call.
const MOST_BYTES: usize = 32 << 20;
/// How much of an answer an error shows.
const SHOWN_CHARACTERS: usize = 200;

#[derive(Deserialize, JsonSchema)]
struct Secret {
    /// An API token that may create and list tickets
    #[schemars(regex(pattern = "^[!-~]+$"))]
    token: String,
    /// The secret with which the ticket system signs its webhooks, in X-Signature
    #[schemars(length(min = 16))]
    webhook_secret: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Information {
    /// The project that tickets go to
    #[schemars(length(min = 1))]
    project: String,
}

struct Backend {
    endpoint: Endpoint,
    token: String,
    webhook_secret: Option<String>,
    project: String,
}

/// A JSON object. A struct would do, but serde takes a list for one too.
type Object = Map<String, Value>;

/// A ticket as the API shows it.
#[derive(Deserialize)]
struct ApiTicket {
    id: String,
    url: String,
    /// What the ticket was created with.
    key: Option<String>,
}

/// A ticket as it is looked up by its URL.
#[derive(Deserialize)]
struct Shown {
    url: String,
    #[serde(default)]
    id: String,
    project: Option<String>,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct Comment {
    id: String,
    /// A member that only the API shows.
    mark: Option<String>,
}

/// What a webhook says, and a page of the list of changes.
#[derive(Deserialize)]
struct Event {
    ticket: TicketName,
}

#[derive(Deserialize)]
struct ApiChanges {
    #[serde(default)]
    tickets: Vec<TicketName>,
    cursor: String,
    #[serde(default)]
    more: bool,
}

impl TicketPlugin for Backend {
    const ABOUT: About = About {
        name: "{{name}}",
        description: "Tickets in {{name}}",
        license: env!("CARGO_PKG_LICENSE"),
        offers: &[
            Offer::FindMany,
            Offer::State,
            Offer::Receive,
            Offer::Changes,
        ],
        actions: &[Action::Comment, Action::Close, Action::Reopen],
        marks: true,
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Backend> {
        let Secret {
            token,
            webhook_secret,
        } = settings.secret;
        let project = settings.information.project;
        if token.is_empty() || project.is_empty() {
            return Err(Error::settings(
                "secret.token or information.project is empty",
            ));
        }
        Ok(Backend {
            endpoint: Endpoint::new(&settings.endpoint),
            token,
            webhook_secret,
            project,
        })
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        let project = self.endpoint.join("projects").segment(&self.project);
        let answer = self.send(call, Request::get(project))?;
        let help = match answer.status {
            200 if answer.json::<Object>().is_ok() => {
                let message = "reachable, authenticated, and the project exists";
                return Ok(vec![Check::passed("project", message)]);
            }
            200 => "this is no project: is the endpoint the URL of the API?",
            401 => "correct secret.token",
            403 => "give the token's user access to the project",
            404 => "correct information.project, or the endpoint",
            _ => return Err(self.error(&answer)),
        };
        Ok(vec![Check::failed("project", self.says(&answer), help)])
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let ticket = json!({
            "project": self.project,
            "title": call.title()?,
            "body": call.body(Format::Markdown, &Extra::default())?,
            "key": request.key,
        });
        let request = Request::post(self.endpoint.join("tickets")).json(&ticket);
        let answer = self.send(call, request)?;
        let made = match answer.status {
            200 | 201 => self.read(&answer).and_then(ticket_of),
            _ => Err(self.error(&answer)),
        };
        made.map(|(_, ticket)| ticket)
            .map_err(|error| match error.kind {
                // An answer that nobody documents: the ticket may exist.
                ErrorKind::Plugin => error.retry(Retry::Unknown),
                _ => error,
            })
    }

    /// The API's search may find more than the key, so each ticket's key is compared. It lists tickets of every state.
    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let search = self.endpoint.join("tickets").query("key", &request.key);
        let search = since(search, request.since(ROOM_FOR_CLOCKS));
        for object in self.list::<Object>(&self.send(call, Request::get(search))?)? {
            let (key, ticket) = ticket_of(object)?;
            match key {
                Some(key) if key == request.key => return Ok(Some(ticket)),
                Some(_) => {}
                None => return Err(Error::plugin("the search found a ticket without its key")),
            }
        }
        Ok(None)
    }

    /// One listing by time of creation for all keys, until they are found, it is at its end, the call should end, or a page
    /// doesn't come.
    fn find_many(&mut self, call: &Call, request: &FindMany) -> Result<FoundMany> {
        // The ticket of the first key can be the oldest.
        let oldest = request
            .keys
            .first()
            .and_then(|key| key.not_before.as_deref());
        let from = oldest.and_then(|time| utc_before(time, ROOM_FOR_CLOCKS));
        let mut missing: Vec<&str> = request.keys.iter().map(|key| key.key.as_str()).collect();
        let mut after = request.cursor.clone().unwrap_or_default();
        let mut reply = FoundMany::default();
        let mut bytes = 0;
        while !missing.is_empty() {
            if bytes > 0 && (call.remaining() < TIME_FOR_A_PAGE || bytes > MOST_BYTES) {
                reply.cursor = Some(after);
                return Ok(reply);
            }
            let (length, page) = match self.page(call, &after, from.clone()) {
                Ok(page) => page,
                Err(error) if bytes == 0 => return Err(error),
                Err(error) => {
                    let wait = error.retry_after.map(|wait| wait.as_millis() as u64);
                    (reply.cursor, reply.retry_after_ms) = (Some(after), wait);
                    return Ok(reply);
                }
            };
            if page.is_empty() {
                break;
            }
            bytes += length;
            for (key, ticket) in page {
                after.clone_from(&ticket.id);
                // The first one is the oldest; one without a key was made by a person.
                let Some(at) = missing.iter().position(|&m| key.as_deref() == Some(m)) else {
                    continue;
                };
                reply.found.push(Found {
                    key: missing.remove(at).to_owned(),
                    ticket: TicketName {
                        url: ticket.url,
                        id: ticket.id,
                    },
                });
            }
        }
        reply.none = missing.into_iter().map(str::to_owned).collect();
        Ok(reply)
    }

    fn update(
        &mut self,
        call: &Call,
        request: &UpdateRequest<Incident>,
    ) -> Result<Option<Updated>> {
        let (step, url) = (&request.step, &request.ticket.url);
        let shown = self.look_up(call, &[url])?;
        let ticket = shown.iter().find(|ticket| ticket.url == *url);
        let was = ticket.map_or(TicketState::Unknown, |ticket| self.state_of(ticket));
        let ticket = match (was, ticket) {
            (TicketState::Gone, _) => return Ok(None),
            (TicketState::Foreign, _) => return Ok(Some(updated(false, was))),
            (TicketState::Unknown, _) | (_, None) => {
                return Err(Error::creation(
                    "the ticket system doesn't show this ticket, or not its state: may the token see it?",
                ));
            }
            (_, Some(ticket)) => self.endpoint.join("tickets").segment(&ticket.id),
        };
        // The step's comment: by an earlier try, or by this one.
        let mut written = request.again && self.has_mark(call, &ticket, &step.id)?;
        let as_wanted = (was == TicketState::Open) == (step.action == Action::Reopen);
        if as_wanted {
            // If it isn't written, a person was there before. Of a comment this means that the ticket is closed.
            return Ok(Some(updated(written, was)));
        }
        if !written {
            written = self.write_comment(call, &ticket, step)?;
        }
        if step.action == Action::Comment {
            return Ok(Some(updated(true, was)));
        }
        match self.change_state(call, ticket, step) {
            Ok(now) => Ok(Some(updated(true, now))),
            Err(error) if written => Err(error.partial()),
            Err(error) => Err(error),
        }
    }

    /// A ticket that the API doesn't show, or by a word that this plugin doesn't know, is left out.
    fn state(&mut self, call: &Call, request: &StateRequest) -> Result<States> {
        let urls: Vec<&str> = request.tickets.iter().map(|t| t.url.as_str()).collect();
        let mut states = States::default();
        let mut shown = self.look_up(call, &urls)?;
        shown.retain(|ticket| urls.contains(&ticket.url.as_str()));
        for ticket in shown {
            let state = self.state_of(&ticket);
            if state != TicketState::Unknown {
                states.tickets.push(TicketStatus {
                    url: ticket.url,
                    state,
                    detail: ticket.state,
                    ..TicketStatus::default()
                });
            }
        }
        Ok(states)
    }

    /// A webhook has the HMAC-SHA256 of its body in X-Signature, as `sha256=` and hexadecimal digits.
    fn receive(&mut self, _: &Call, webhook: &Webhook) -> Result<Received> {
        if !self.is_signed(webhook) {
            let why = "X-Signature is not that of secret.webhook_secret".to_owned();
            return Ok(Received {
                forged: Some(why),
                ..Received::default()
            });
        }
        // One about something else than a ticket names none.
        let event: Option<Event> = ticket_plugin_api::json::read(webhook.body).ok();
        let tickets = event.into_iter().map(|event| event.ticket);
        Ok(Received {
            tickets: tickets.filter(|ticket| !ticket.url.is_empty()).collect(),
            ..Received::default()
        })
    }

    fn changes(&mut self, call: &Call, request: &ChangesRequest) -> Result<Changed> {
        let list = self.endpoint.join("changes");
        let answer = match &request.cursor {
            None => self.send(call, Request::get(list.clone()))?,
            Some(cursor) => self.send(call, Request::get(list.clone().query("after", cursor)))?,
        };
        // It keeps changes for some days. Who asks for older ones begins anew, and says that some were missed.
        let gap = answer.status == 410 && request.cursor.is_some();
        let answer = if gap {
            self.send(call, Request::get(list))?
        } else {
            answer
        };
        let page: ApiChanges = match answer.status {
            200 => self.read(&answer)?,
            _ => return Err(self.error(&answer)),
        };
        Ok(Changed {
            tickets: page.tickets,
            cursor: page.cursor,
            more: page.more,
            gap,
            retry_after_ms: None,
        })
    }
}

impl Backend {
    /// The tickets of the listing behind the one with the id `after`, and how many bytes they took. None are its end.
    fn page(
        &self,
        call: &Call,
        after: &str,
        from: Option<String>,
    ) -> Result<(usize, Vec<KeyedTicket>)> {
        let list = self
            .endpoint
            .join("tickets")
            .query("sort", "created")
            .query("after", after);
        let answer = self.send(call, Request::get(since(list, from)))?;
        let tickets = self
            .list(&answer)?
            .into_iter()
            .map(ticket_of)
            .collect::<Result<_>>()?;
        Ok((answer.body.len(), tickets))
    }

    /// What the API knows of these tickets. A POST, since there can be many, and yet it changes nothing.
    fn look_up(&self, call: &Call, urls: &[&str]) -> Result<Vec<Shown>> {
        let request = Request::post(self.endpoint.join("lookup")).json(&json!({"urls": urls}));
        self.list(&self.send(call, request.changes_nothing())?)
    }

    fn state_of(&self, ticket: &Shown) -> TicketState {
        match (&ticket.project, ticket.state.as_str()) {
            (Some(project), _) if *project != self.project => TicketState::Foreign,
            (_, "open" | "waiting") => TicketState::Open,
            (_, "resolved") => TicketState::Closed,
            (_, "rejected") => TicketState::Cancelled,
            (_, "deleted") => TicketState::Gone,
            _ => TicketState::Unknown,
        }
    }

    /// Whether a comment with this mark is on the ticket. All pages are read, until one is empty.
    fn has_mark(&self, call: &Call, ticket: &Url, mark: &str) -> Result<bool> {
        let mut after = String::new();
        loop {
            let page = ticket.clone().segment("comments").query("after", &after);
            let page: Vec<Comment> = self.list(&self.send(call, Request::get(page))?)?;
            if page
                .iter()
                .any(|comment| comment.mark.as_deref() == Some(mark))
            {
                return Ok(true);
            }
            match page.into_iter().next_back() {
                Some(last) => after = last.id,
                None => return Ok(false),
            }
        }
    }

    /// Writes what the operator's template says, with the mark where only the API shows it; nothing, and false, if that is empty.
    fn write_comment(&self, call: &Call, ticket: &Url, step: &Step) -> Result<bool> {
        let text = call.comment(step.action, Format::Markdown)?;
        if text.is_empty() {
            return Ok(false);
        }
        let request = Request::post(ticket.clone().segment("comments"))
            .json(&json!({"text": text, "mark": step.id}));
        let answer = self.send(call, request)?;
        match answer.status {
            200 | 201 => self.read::<Object>(&answer).map(|_| true),
            _ => Err(self.error(&answer)),
        }
    }

    /// The step's second half, and the state after it.
    fn change_state(&self, call: &Call, ticket: Url, step: &Step) -> Result<TicketState> {
        let reopen = step.action == Action::Reopen;
        let mut change = json!({"state": if reopen { "open" } else { "resolved" }});
        if !step.fields.is_empty() {
            change["fields"] = Value::Object(step.fields.clone());
        }
        let answer = self.send(call, Request::new("PATCH", ticket).json(&change))?;
        if answer.status != 200 {
            return Err(self.error(&answer));
        }
        let now = self.state_of(&self.read(&answer)?);
        match now {
            TicketState::Open if reopen => Ok(now),
            TicketState::Closed | TicketState::Cancelled if !reopen => Ok(now),
            _ => Err(Error::plugin(
                "the ticket system changed the ticket, and its state is another one",
            )
            .retry(Retry::Unknown)),
        }
    }

    /// Whether the body has the signature of who knows the secret. It is compared in constant time.
    fn is_signed(&self, webhook: &Webhook) -> bool {
        let digits = webhook
            .head
            .header("x-signature")
            .and_then(|s| s.strip_prefix("sha256="));
        let (Some(secret), Some(digits)) = (&self.webhook_secret, digits) else {
            return false;
        };
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let signature: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
        match (mac, signature) {
            (Ok(mac), Some(signature)) => mac
                .chain_update(webhook.body)
                .verify_slice(&signature)
                .is_ok(),
            _ => false,
        }
    }

    fn send(&self, call: &Call, request: Request) -> Result<Response> {
        Ok(call.http(request.header("Authorization", &format!("Bearer {}", self.token)))?)
    }

    /// The list that an answer is.
    fn list<T: DeserializeOwned>(&self, answer: &Response) -> Result<Vec<T>> {
        match answer.status {
            200 => self.read(answer),
            _ => Err(self.error(answer)),
        }
    }

    /// The answer's JSON.
    fn read<T: DeserializeOwned>(&self, answer: &Response) -> Result<T> {
        answer.json().map_err(|error| Error {
            message: self.hide(error.message),
            ..error
        })
    }

    /// The error that an answer stands for, its kind by the status.
    fn error(&self, answer: &Response) -> Error {
        let error = answer.error(self.says(answer));
        Error {
            retry_after: error.retry_after.map(|wait| wait.min(LONGEST_WAIT)),
            ..error
        }
    }

    fn says(&self, answer: &Response) -> String {
        let said = self.hide(String::from_utf8_lossy(&answer.body).into_owned());
        let begin: String = said.chars().take(SHOWN_CHARACTERS).collect();
        format!("the ticket system answered {}: {begin}", answer.status)
    }

    /// `text`, unless it has the token in it.
    fn hide(&self, text: String) -> String {
        if text.contains(&self.token) {
            "(an answer with the token in it)".into()
        } else {
            text
        }
    }
}

fn updated(done: bool, state: TicketState) -> Updated {
    Updated {
        done,
        state,
        ..Updated::default()
    }
}

/// A list of the tickets that are no older than that; the API takes a date. Without one all are read.
fn since(list: Url, time: Option<String>) -> Url {
    match time.as_deref().and_then(|time| time.get(..10)) {
        Some(date) => list.query("since", date),
        None => list,
    }
}

/// A ticket, and its key if it was created with one.
type KeyedTicket = (Option<String>, Ticket);

/// What the API's `object` stands for.
fn ticket_of(object: Object) -> Result<KeyedTicket> {
    match serde_json::from_value(Value::Object(object)) {
        Ok(ApiTicket { id, url, key }) if !url.is_empty() && !id.is_empty() => Ok((
            key,
            Ticket {
                id,
                url,
                ..Ticket::default()
            },
        )),
        _ => Err(Error::plugin(
            "the ticket system answered with a ticket without id or url",
        )),
    }
}

export_plugin!(Backend);

#[cfg(test)]
mod tests;
