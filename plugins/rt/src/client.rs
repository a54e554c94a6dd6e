//! RT's REST 2.0 over the host's HTTP: requests with the login, answers and refusals as types.
//!
//! Source: <https://docs.bestpractical.com/rt/5.0/RT/REST2.html>, and what RT 5.0.3 really answers.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ticket_plugin_api::{
    Call, Endpoint, Error, HttpError, Request, Response, Result, Retry, Url, http,
};

use crate::settings::Secret;

/// The most links of one search. Databases join 61 tables (MySQL) or 64 (SQLite) in one query, and RT and its extensions need some for
/// themselves; of more it says that it finds nothing.
pub(crate) const MOST_LINKS: usize = 40;

/// What RT is to tell of a ticket's queue beside its number.
const QUEUE_FIELDS: (&str, &str) = ("fields[Queue]", "Name");

pub(crate) struct Client {
    endpoint: Endpoint,
    authorization: String,
    login: &'static str,
}

/// A queue, as far as the login may see it.
#[derive(Deserialize)]
pub(crate) struct Queue {
    #[serde(rename = "Disabled", default)]
    disabled: Value,
    #[serde(rename = "TicketCustomFields", default)]
    pub(crate) custom_fields: Vec<CustomField>,
    #[serde(rename = "_hyperlinks", default)]
    links: Vec<Link>,
}

#[derive(Deserialize)]
pub(crate) struct CustomField {
    #[serde(default)]
    name: String,
    /// On a ticket: the values that it has in this field. Of a file RT tells its name and more, and no text.
    #[serde(default)]
    values: Vec<Value>,
}

#[derive(Deserialize)]
pub(crate) struct Link {
    #[serde(rename = "ref", default)]
    kind: String,
    #[serde(rename = "_url", default)]
    url: String,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    /// The URL of the page behind it, if there is one.
    #[serde(rename = "next_page", default)]
    next: Value,
}

/// A record of which RT tells nothing but its number.
#[derive(Deserialize)]
struct Record {
    id: Number,
}

#[derive(Deserialize)]
struct Found {
    id: Number,
    #[serde(rename = "_hyperlinks", default)]
    links: Vec<Link>,
}

/// A ticket that a search found, and its links.
pub(crate) struct Linked {
    pub(crate) id: String,
    pub(crate) links: Vec<Link>,
}

/// A message of a ticket: what it was created with, a comment, a reply, a mail that was sent, as far as these are text.
#[derive(Deserialize)]
pub(crate) struct Message {
    pub(crate) id: Number,
    #[serde(rename = "Content", default)]
    pub(crate) content: Option<String>,
}

/// In which order a ticket's messages are listed.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// The number of a record. RT writes it as a number here and as text there.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct Number(pub(crate) String);

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

#[derive(Deserialize)]
pub(crate) struct System {
    #[serde(rename = "Version")]
    pub(crate) version: String,
}

/// What a look-up of the queue came to.
pub(crate) enum Seen {
    Queue(Queue),
    /// Without the right SeeQueue a queue can't be seen, and tickets may still be created in it.
    Forbidden,
    /// In a dry run the request isn't sent.
    NotAsked,
}

impl Queue {
    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled == 1 || self.disabled == "1"
    }

    /// RT's answer has a link to the creation of tickets only if the login may create them.
    pub(crate) fn may_create(&self) -> bool {
        self.links.iter().any(|link| link.kind == "create")
    }
}

impl Link {
    pub(crate) fn refers_to(&self, url: &str) -> bool {
        self.reference() == Some(url)
    }

    /// The URL that this record refers to, if that is what the link says.
    pub(crate) fn reference(&self) -> Option<&str> {
        (self.kind == "refers-to").then_some(self.url.as_str())
    }
}

impl CustomField {
    /// RT takes a field's name in upper and lower case alike.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.to_lowercase() == name.to_lowercase()
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.values.iter().filter_map(Value::as_str).collect()
    }
}

impl Client {
    pub(crate) fn new(endpoint: &str, secret: &Secret) -> Result<Client> {
        Ok(Client {
            endpoint: Endpoint::new(endpoint),
            authorization: secret.authorization()?,
            login: secret.what(),
        })
    }

    /// The URL of the page that shows a ticket to people.
    pub(crate) fn page(&self, id: &str) -> String {
        self.endpoint.join("Ticket/Display.html").query("id", id).into()
    }

    /// The number of the ticket that has such a page, if it is a page of this RT.
    pub(crate) fn number(&self, page: &str) -> Option<String> {
        let start = String::from(self.endpoint.join(""));
        let is_here = page.get(..start.len())?.eq_ignore_ascii_case(&start);
        let (_, query) = page.split('#').next()?.split_once('?')?;
        let id = query.split(['&', ';']).find_map(|parameter| parameter.strip_prefix("id="))?;
        (is_here && is_number(id)).then(|| id.to_owned())
    }

    pub(crate) fn system(&self, call: &Call) -> Result<System> {
        self.read(&self.send(call, Request::get(self.rest("rt")))?, "RT")
    }

    /// The queue with this name or number.
    pub(crate) fn queue(&self, call: &Call, name: &str) -> Result<Seen> {
        let what = format!("queue {name:?}");
        let mut asked = name.to_owned();
        if name.contains('/') {
            // RT can't find a name with a slash by a URL, so its number is looked up first.
            let query = json!([{"field": "Name", "value": name}]).to_string();
            let found = self.send(call, Request::get(self.rest("queues").query("query", &query)));
            let page: Page<Record> = match found {
                Err(HttpError::DryRun) => return Ok(Seen::NotAsked),
                answer => self.read(&answer?, &what)?,
            };
            match page.items.first() {
                Some(queue) => asked = queue.id.0.clone(),
                // The list doesn't tell a queue that is missing from one that may not be seen.
                None => return Ok(Seen::Forbidden),
            }
        }
        match self.send(call, Request::get(self.rest("queue").segment(&asked))) {
            Err(HttpError::DryRun) => Ok(Seen::NotAsked),
            Ok(answer) if answer.status == 403 => Ok(Seen::Forbidden),
            Ok(answer) if answer.status == 404 && answer.json::<Refusal>().is_ok() => {
                Err(Error::settings(format!("information: RT has no queue {name:?} (404)")))
            }
            answer => self.read(&answer?, &what).map(Seen::Queue),
        }
    }

    /// Creates a ticket and returns its number.
    pub(crate) fn create(&self, call: &Call, ticket: &Value) -> Result<String> {
        let answer = self.send(call, Request::post(self.rest("ticket")).json(ticket))?;
        let refused = || {
            let mut error = self.refusal(&answer, "the ticket");
            if answer.status == 403 {
                error.message += "; RT says the same of a queue that is missing or disabled";
            }
            // RT answers 201. Whatever else said "done": the ticket may exist.
            let done = (200..300).contains(&answer.status);
            if done { error.retry(Retry::Unknown) } else { error }
        };
        let created: Record = answer.read(201, "the ticket: RT", refused)?;
        Ok(created.id.0)
    }

    /// The ticket with this number, with its queue's name; None if the login lacks the right ShowTicket.
    pub(crate) fn ticket<T: DeserializeOwned>(&self, call: &Call, id: &str) -> Result<Option<T>> {
        self.read_ticket(&self.ask_for_ticket(call, id)?, id)
    }

    /// The answer to a request for the ticket with this number. Of one that was merged into another ticket RT gives that one.
    pub(crate) fn ask_for_ticket(&self, call: &Call, id: &str) -> Result<Response> {
        let url = self.rest("ticket").segment(id).query(QUEUE_FIELDS.0, QUEUE_FIELDS.1);
        Ok(self.send(call, Request::get(url))?)
    }

    /// The ticket in such an answer; None if the login lacks the right ShowTicket.
    pub(crate) fn read_ticket<T: DeserializeOwned>(
        &self,
        answer: &Response,
        id: &str,
    ) -> Result<Option<T>> {
        match answer.status {
            403 => Ok(None),
            404 if answer.json::<Refusal>().is_ok() => Err(Error::creation(format!(
                "RT has no ticket {id} (404): was it shredded, or is the endpoint another RT?"
            ))),
            _ => self.read(answer, &format!("ticket {id}")).map(Some),
        }
    }

    /// A page of the ticket's messages. RT leaves those out that the login may not see, and doesn't fill the page with others.
    pub(crate) fn messages(
        &self,
        call: &Call,
        ticket: &str,
        order: Order,
        per_page: usize,
        page: usize,
    ) -> Result<Vec<Message>> {
        let text = json!([{"field": "ContentType", "operator": "STARTSWITH", "value": "text/"}]);
        let order = match order {
            Order::OldestFirst => "ASC",
            Order::NewestFirst => "DESC",
        };
        let list = self.rest("ticket").segment(ticket).segment("attachments");
        let url = list
            .query("query", &text.to_string())
            .query("fields", "Content")
            .query("orderby", "id")
            .query("order", order)
            .query("per_page", &per_page.to_string())
            .query("page", &page.to_string());
        let answer = self.send(call, Request::get(url))?;
        let page: Page<Message> = self.read(&answer, &format!("ticket {ticket}'s messages"))?;
        Ok(page.items)
    }

    /// Adds a comment to a ticket; `comment` may change it, too. Gives what RT says to that.
    pub(crate) fn comment(&self, call: &Call, ticket: &str, comment: &Value) -> Result<Vec<Value>> {
        let url = self.rest("ticket").segment(ticket).segment("comment");
        let answer = self.send(call, Request::post(url).json(comment))?;
        self.carried_out(&answer, 201, "the comment")
    }

    /// Changes a ticket. Gives what RT says to that: also a refusal is answered 200.
    pub(crate) fn change(&self, call: &Call, ticket: &str, change: &Value) -> Result<Vec<Value>> {
        let url = self.rest("ticket").segment(ticket);
        let answer = self.send(call, Request::new("PUT", url).json(change))?;
        self.carried_out(&answer, 200, "the ticket's status")
    }

    /// What RT says to a request that changes a ticket. It may have been carried out after a 2xx, whatever that says, and after a failure
    /// of RT's own.
    fn carried_out(&self, answer: &Response, wanted: u16, what: &str) -> Result<Vec<Value>> {
        let may_be = matches!(answer.status, 200..=299 | 408 | 500..);
        answer
            .read(wanted, &format!("{what}: RT"), || self.refusal(answer, what))
            .map_err(|error| if may_be { error.retry(Retry::Unknown) } else { error })
    }

    /// The number of the oldest ticket that refers to `link`.
    pub(crate) fn with_link(&self, call: &Call, link: &str) -> Result<Option<String>> {
        let url = self
            .rest("tickets")
            .query("query", &format!("RefersTo = '{link}'"))
            .query("fields", "_hyperlinks")
            .query("orderby", "id")
            .query("order", "ASC")
            .query("per_page", "100");
        let what = "the search for the ticket";
        let page: Page<Found> = self.read(&self.send(call, Request::get(url))?, what)?;
        // RT's search ignores upper and lower case, so the links themselves are compared.
        let mut found = page.items.into_iter();
        let ours = found.find(|found| found.links.iter().any(|has| has.refers_to(link)));
        Ok(ours.map(|found| found.id.0))
    }

    /// The tickets that refer to one of `links`, the oldest first, and whether these are all.
    ///
    /// RT joins a table for each link, and says of a query that its database can't carry out that it finds nothing: more than
    /// [`MOST_LINKS`] must not be asked for. Without `since` the database looks at each ticket that there is.
    pub(crate) fn with_links(
        &self,
        call: &Call,
        links: &[&str],
        since: Option<&str>,
    ) -> Result<(Vec<Linked>, bool)> {
        let any: Vec<String> = links.iter().map(|link| format!("RefersTo = '{link}'")).collect();
        let mut query = format!("( {} )", any.join(" OR "));
        if let Some(time) = since.and_then(|time| time.get(..19)) {
            // Not the time of its creation: a ticket that was merged is found as the one that it was merged into.
            query = format!("LastUpdated >= '{}' AND {query}", time.replace('T', " "));
        }
        let page: Page<Found> = self.search(call, &query, &[("fields", "_hyperlinks")])?;
        let is_all = page.next.is_null() && page.items.len() < 100;
        let linked =
            page.items.into_iter().map(|Found { id: Number(id), links }| Linked { id, links });
        Ok((linked.collect(), is_all))
    }

    /// Those tickets with these numbers, at most 100, that RT's search gives. It leaves out those that are deleted, were merged into
    /// another one, or may not be seen.
    pub(crate) fn numbered(&self, call: &Call, numbers: &[&str]) -> Result<Vec<Value>> {
        let any: Vec<String> = numbers.iter().map(|number| format!("id = {number}")).collect();
        let fields = [("fields", "Status,Queue,Resolved,_hyperlinks"), QUEUE_FIELDS];
        Ok(self.search::<Value>(call, &any.join(" OR "), &fields)?.items)
    }

    /// The first 100 tickets that a search finds, by their numbers.
    fn search<T: DeserializeOwned>(
        &self,
        call: &Call,
        query: &str,
        fields: &[(&str, &str)],
    ) -> Result<Page<T>> {
        let ordered = [("orderby", "id"), ("order", "ASC"), ("per_page", "100")];
        let parameters =
            [("query", query)].into_iter().chain(fields.iter().copied()).chain(ordered);
        let form: Vec<String> = parameters
            .map(|(name, value)| format!("{}={}", http::escape(name), http::escape(value)))
            .collect();
        // The query may be longer than a URL may be.
        let mut request = Request::post(self.rest("tickets")).changes_nothing();
        request.body = form.join("&").into_bytes();
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        self.read(&self.send(call, request)?, "the search for the tickets")
    }

    fn rest(&self, resource: &str) -> Url {
        self.endpoint.join(&format!("REST/2.0/{resource}"))
    }

    fn send(&self, call: &Call, request: Request) -> std::result::Result<Response, HttpError> {
        let request = request.header("Accept", "application/json");
        call.http(request.header("Authorization", &self.authorization))
    }

    fn read<T: DeserializeOwned>(&self, answer: &Response, what: &str) -> Result<T> {
        answer.read(200, &format!("{what}: RT"), || self.refusal(answer, what))
    }

    /// The error for an answer that isn't the wanted one, with RT's own reason.
    fn refusal(&self, answer: &Response, what: &str) -> Error {
        let status = answer.status;
        match (status, answer.json::<Refusal>()) {
            (401, _) => Error::settings(format!(
                "RT refuses the login (401 Unauthorized): check {} in the secret",
                self.login
            )),
            (_, Ok(refusal)) => answer.error(format!("{what}: {} ({status})", refusal.message)),
            (200..=399 | 404, Err(_)) => Error::settings(format!(
                "{what}: answered {status} with {}, so the endpoint isn't an RT with REST 2.0: \
                 it must be the URL of RT's start page, as https://rt.example.org/",
                answer.kind_of_body()
            )),
            (_, Err(_)) => answer.error(format!(
                "{what}: answered {status} with {} and no reason of RT's; is there a proxy \
                 between the host and RT?",
                answer.kind_of_body()
            )),
        }
    }
}

impl TryFrom<Value> for Number {
    type Error = &'static str;

    fn try_from(value: Value) -> std::result::Result<Number, &'static str> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if is_number(&text) { Ok(Number(text)) } else { Err("an id that is not a number") }
    }
}

pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
