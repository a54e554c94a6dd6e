//! A host for tests, whose HTTP answers are written in a script, so that a plugin's unit tests need neither a
//! real host nor a network.
//!
//! The plugin is called through its C table, as a real host calls it. A test that opens a plugin, scripts one
//! answer and creates a ticket:
//!
//! ```
//! # use serde_json::json;
//! # use ticket_plugin_api::*;
//! # struct Acme { endpoint: Endpoint }
//! # impl TicketPlugin for Acme {
//! #     const ABOUT: About = About { name: "acme", ..About::new("1.0.0") };
//! #     type Secret = serde_json::Value;
//! #     type Information = serde_json::Value;
//! #     fn open(s: Settings<serde_json::Value, serde_json::Value>) -> Result<Self> {
//! #         Ok(Acme { endpoint: Endpoint::new(&s.endpoint) })
//! #     }
//! #     fn check(&mut self, _: &Call) -> Result<Vec<Check>> { Ok(vec![]) }
//! #     fn create(&mut self, call: &Call, _: &TicketRequest<Incident>) -> Result<Ticket> {
//! #         let answer = call.http(Request::post(self.endpoint.join("tickets")))?;
//! #         let id: u64 = answer.json()?;
//! #         Ok(Ticket { url: self.endpoint.join(&format!("t/{id}")).into(), ..Ticket::default() })
//! #     }
//! # }
//! let mut acme = testkit::open::<Acme>("https://acme.example.org/", json!({}), json!({})).unwrap();
//! acme.host.answer("POST", "https://acme.example.org/tickets", 201, json!(7));
//! let ticket = acme.create(json!({"description": "gw1 is down"}), "key").unwrap();
//! assert_eq!(ticket.url, "https://acme.example.org/t/7");
//! ```

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::abi::host_side::{Host, HttpAnswer, HttpRequest, Instance, Operation, Table};
use crate::abi::plugin_side;
use crate::error::Error;
use crate::message::{
    Changed, ChangesRequest, Check, Checks, FindMany, FoundMany, Manifest, Received, StateRequest,
    States, Step, Ticket, TicketName, Updated, WebhookHead,
};
use crate::plugin::TicketPlugin;

/// The host of a test: it answers from its script, and keeps what it was asked. [`open`] makes one; it is [`Fixture::host`].
///
/// The title that it renders is the incident's description, a body is a line that names the format, the description and what the
/// plugin gave as [`Extra`](crate::Extra). The module's page has an example.
#[derive(Debug)]
pub struct FakeHost {
    script: VecDeque<(String, String, HttpAnswer)>,
    /// What answers where the script has nothing.
    system: Option<System>,
    /// Every request so far, also those that the script doesn't expect.
    pub sent: Vec<HttpRequest>,
    /// Every log line so far.
    pub logged: Vec<String>,
    /// How much of a call's time is left, as the host tells it to the plugin; 30 seconds unless a test sets it.
    pub remaining: Duration,
    /// The title that the host renders, or None for the incident's description.
    pub title: Option<String>,
    /// What the host renders for a step, or None for a line like a body's.
    pub comment: Option<String>,
    /// The incident of the call, if it is one that has an incident.
    incident: Option<Value>,
    /// Whether HTTP is denied, as it is in open() and receive().
    is_offline: bool,
}

/// A ticket system that a test plays.
struct System(Box<dyn FnMut(&HttpRequest) -> HttpAnswer + Send>);

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("System")
    }
}

impl FakeHost {
    /// From now on this function answers what the script has nothing for: a ticket system, for tests that ask it many times.
    pub fn play(&mut self, system: impl FnMut(&HttpRequest) -> HttpAnswer + Send + 'static) {
        self.system = Some(System(Box::new(system)));
    }

    /// Adds an answer to the script. The plugin's requests must come in the order of the script, each with
    /// exactly the method and the URL that the script has. A body that is a JSON string is sent as its text.
    pub fn answer(&mut self, method: &str, url: &str, status: u16, body: Value) {
        let body = match body {
            Value::String(text) => text,
            Value::Null => String::new(),
            json => json.to_string(),
        };
        let answer = HttpAnswer::Answered { status, headers: Vec::new(), body: body.into_bytes() };
        self.outcome(method, url, answer);
    }

    /// As [`FakeHost::answer`], for answers with headers, for bodies that are not text, and for requests that
    /// get no answer.
    pub fn outcome(&mut self, method: &str, url: &str, outcome: HttpAnswer) {
        self.script.push_back((method.to_owned(), url.to_owned(), outcome));
    }

    /// The JSON body of a request that the plugin has sent; the first has the index 0.
    ///
    /// # Panics
    /// If there is no such request, or its body is not JSON.
    pub fn sent_json(&self, index: usize) -> Value {
        serde_json::from_slice(&self.sent[index].body).expect("the request's body is JSON")
    }
}

impl Host for FakeHost {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        if self.is_offline {
            return HttpAnswer::Denied("open and receive may not use the network".to_owned());
        }
        if self.script.is_empty()
            && let Some(System(system)) = &mut self.system
        {
            let answer = system(&request);
            self.sent.push(request);
            return answer;
        }
        let asked = (request.method.clone(), request.url.clone());
        self.sent.push(request);
        match self.script.pop_front() {
            Some((method, url, answer)) if (&method, &url) == (&asked.0, &asked.1) => answer,
            expected => HttpAnswer::NotSent(format!(
                "the test's script expects {:?}, and the plugin asked for {asked:?}",
                expected.map(|(method, url, _)| (method, url)),
            )),
        }
    }

    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        let Some(incident) = &self.incident else {
            return Err("there is no incident in this call to render".to_owned());
        };
        let description = incident["description"].as_str().unwrap_or_default();
        Ok(match (part, &self.title, &self.comment) {
            ("title", Some(title), _) => title.clone(),
            ("title", None, _) => description.to_owned(),
            ("comment" | "closing", _, Some(comment)) => comment.clone(),
            _ => format!("{format} {part} of {description} {extra}"),
        })
    }

    fn log(&mut self, _level: u32, message: &str) {
        self.logged.push(message.to_owned());
    }

    fn remaining(&self) -> Duration {
        self.remaining
    }
}

/// An instance of a plugin, and the host that it talks to. When it is dropped and the script has answers left
/// that the plugin never asked for, the test fails.
#[derive(Debug)]
pub struct Fixture {
    instance: Instance,
    /// What the plugin talks to: script its answers before a call, and look at what was sent after it.
    pub host: FakeHost,
}

/// The manifest that `P`'s library would give.
pub fn manifest<P: TicketPlugin>() -> Manifest {
    serde_json::from_str(&table::<P>().manifest).expect("the SDK's manifests are manifests")
}

/// Opens `P` as a host would, with these settings. A host compares them with the manifest's schemas before that; this doesn't.
///
/// # Errors
/// The plugin's own, or a settings error where the settings are not of the plugin's types.
pub fn open<P: TicketPlugin>(
    endpoint: &str,
    secret: Value,
    information: Value,
) -> Result<Fixture, Error> {
    let mut host = FakeHost {
        script: VecDeque::new(),
        system: None,
        sent: Vec::new(),
        logged: Vec::new(),
        remaining: Duration::from_secs(30),
        title: None,
        comment: None,
        incident: None,
        is_offline: true,
    };
    let host_name = json!({"name": "testkit", "version": crate::VERSION});
    let settings = json!({
        "endpoint": endpoint, "secret": secret, "information": information, "host": host_name,
    });
    let opened = table::<P>().open(&settings.to_string(), &mut host);
    host.is_offline = false;
    match opened {
        Ok(instance) => Ok(Fixture { instance, host }),
        Err(returned) => Err(returned
            .parse::<Value>()
            .expect_err("an instance that could not be opened has an error")),
    }
}

/// The table of a plugin that is compiled into this program, for the tests of hosts.
pub fn table<P: TicketPlugin>() -> Table {
    Table::of_this_program(entry::<P>).expect("the SDK's tables are valid")
}

/// The entry function that `export_plugin!` would make. The macro keeps the plugin's table in a static, which
/// can't be generic; here there is a table for each plugin type, and none is ever freed.
extern "C" fn entry<P: TicketPlugin>(version: u32) -> *const crate::abi::Plugin {
    static TABLES: Mutex<BTreeMap<TypeId, &(dyn Any + Send + Sync)>> = Mutex::new(BTreeMap::new());
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    let table = *tables
        .entry(TypeId::of::<P>())
        .or_insert_with(|| Box::leak(Box::new(plugin_side::Table::<P>::new())));
    let table: Option<&'static plugin_side::Table<P>> = table.downcast_ref();
    table.expect("the tables are kept by their types").entry(version)
}

impl Fixture {
    /// The lines that the plugin's `check` returns.
    ///
    /// # Errors
    /// The plugin's own; a plugin error where it panicked or broke the ABI's rules. So it is with the other calls.
    pub fn check(&mut self) -> Result<Vec<Check>, Error> {
        self.host.incident = None;
        let returned = self.instance.call(Operation::Check, "", &mut self.host);
        Ok(returned.parse::<Checks>()?.unwrap_or_default().checks)
    }

    /// The ticket that the plugin's `create` makes.
    ///
    /// # Errors
    /// As those of [`Fixture::check`].
    pub fn create(&mut self, incident: Value, key: &str) -> Result<Ticket, Error> {
        let ticket = self.ask(Operation::Create, incident, key, false)?;
        ticket.ok_or_else(|| Error::plugin("create returned NOT_FOUND"))
    }

    /// What the plugin's `create` returns in a dry run, in which it may create nothing.
    ///
    /// # Errors
    /// As those of [`Fixture::check`].
    pub fn dry_run(&mut self, incident: Value, key: &str) -> Result<Ticket, Error> {
        let ticket = self.ask(Operation::Create, incident, key, true)?;
        ticket.ok_or_else(|| Error::plugin("create returned NOT_FOUND"))
    }

    /// The ticket that the plugin's `find` finds. None is "certainly none".
    ///
    /// # Errors
    /// As those of [`Fixture::check`].
    pub fn find(&mut self, incident: Value, key: &str) -> Result<Option<Ticket>, Error> {
        self.ask(Operation::Find, incident, key, false)
    }

    /// The tickets that the plugin's `find_many` finds.
    ///
    /// # Errors
    /// As those of [`Fixture::check`]; a plugin error where the reply is none to this request. So it is with the functions below.
    pub fn find_many(&mut self, request: &FindMany) -> Result<FoundMany, Error> {
        asks(request.is_sound())?;
        let found: FoundMany = self.told(Operation::FindMany, &json!(request))?;
        sound("find_many", found.answers(request)).map(|()| found)
    }

    /// What becomes of a ticket by the plugin's `update`. None: it is gone.
    ///
    /// # Errors
    /// As those of [`Fixture::find_many`].
    pub fn update(
        &mut self,
        ticket: &TicketName,
        incident: Value,
        step: &Step,
        again: bool,
    ) -> Result<Option<Updated>, Error> {
        let request = json!({
            "ticket": ticket, "key": "key", "incident": &incident, "step": step, "again": again,
        });
        let updated = self.step(incident, &request)?;
        let answers = updated.as_ref().map_or(Ok(()), |updated| updated.answers(step.action));
        sound("update", answers).map(|()| updated)
    }

    /// What the plugin's `update` returns in a dry run, in which it may change nothing.
    ///
    /// # Errors
    /// As those of [`Fixture::check`].
    pub fn rehearse(
        &mut self,
        ticket: &TicketName,
        incident: Value,
        step: &Step,
    ) -> Result<Option<Updated>, Error> {
        let request = json!({
            "ticket": ticket, "key": "key", "incident": &incident, "step": step, "dry_run": true,
        });
        self.step(incident, &request)
    }

    fn step(&mut self, incident: Value, request: &Value) -> Result<Option<Updated>, Error> {
        self.host.incident = Some(incident);
        self.instance.call(Operation::Update, &request.to_string(), &mut self.host).parse()
    }

    /// The states that the plugin's `state` finds out.
    ///
    /// # Errors
    /// As those of [`Fixture::find_many`].
    pub fn state(&mut self, request: &StateRequest) -> Result<States, Error> {
        asks(request.is_sound())?;
        let states: States = self.told(Operation::State, &json!(request))?;
        sound("state", states.answers(request)).map(|()| states)
    }

    /// What the plugin's `receive` reads of a webhook.
    ///
    /// # Errors
    /// As those of [`Fixture::find_many`].
    pub fn receive(&mut self, head: &WebhookHead, body: &[u8]) -> Result<Received, Error> {
        asks(head.is_sound(body))?;
        let head = json!(head).to_string();
        self.host.incident = None;
        self.host.is_offline = true;
        let returned = self.instance.receive(&head, body, &mut self.host);
        self.host.is_offline = false;
        let received = returned.parse::<Received>()?;
        let received = received.ok_or_else(|| Error::plugin("receive returned NOT_FOUND"))?;
        sound("receive", received.is_sound()).map(|()| received)
    }

    /// The changes that the plugin's `changes` tells.
    ///
    /// # Errors
    /// As those of [`Fixture::find_many`].
    pub fn changes(&mut self, request: &ChangesRequest) -> Result<Changed, Error> {
        let changed: Changed = self.told(Operation::Changes, &json!(request))?;
        sound("changes", changed.answers(request)).map(|()| changed)
    }

    /// The reply to a request, of a function that may not return NOT_FOUND.
    fn told<T: DeserializeOwned>(
        &mut self,
        operation: Operation,
        request: &Value,
    ) -> Result<T, Error> {
        self.host.incident = None;
        let returned = self.instance.call(operation, &request.to_string(), &mut self.host);
        let told = returned.parse()?;
        told.ok_or_else(|| Error::plugin(format!("{} returned NOT_FOUND", operation.name())))
    }

    fn ask(
        &mut self,
        operation: Operation,
        incident: Value,
        key: &str,
        dry_run: bool,
    ) -> Result<Option<Ticket>, Error> {
        let began = incident["start_time"].as_str().and_then(crate::utc);
        let mut request = json!({"incident": incident, "key": key, "dry_run": dry_run});
        if let Some(began) = began {
            request["not_before"] = began.into();
        }
        self.host.incident = Some(incident);
        let returned = self.instance.call(operation, &request.to_string(), &mut self.host);
        returned.parse()
    }
}

/// A plugin error if a test asks for more than a host does.
fn asks(sound: Result<(), String>) -> Result<(), Error> {
    sound.map_err(|why| Error::plugin(format!("no host asks so: the request {why}")))
}

/// A plugin error if a reply is none to what was asked.
fn sound(function: &str, answers: Result<(), String>) -> Result<(), Error> {
    answers.map_err(|why| Error::plugin(format!("{function}: its reply {why}")))
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left = &self.host.script;
            assert!(left.is_empty(), "scripted and never asked for: {left:?}");
        }
    }
}
/// The HMAC-SHA256 (RFC 2104) of a message, by which webhooks are signed.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    crate::webhook::hmac_sha256(key, &[message])
}
