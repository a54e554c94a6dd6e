//! A library on the test bench: it is loaded, opened and called, and opened anew after a call broke it.

mod optional;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{Instance, OTHER_THREAD, Operation, Returned};
use ticket_plugin_api::abi::status;
use ticket_plugin_api::message::{Manifest, TicketRequest};
use ticket_plugin_api::utc;

use super::answer::{Answer, judge, parsed};
use super::exerciser::Exerciser;
use super::loading::{Loaded, load, load_here, table};
use super::script::{Behaviour, Exchange, Role, Scripted, Seen, Settings, When};
use super::secret::{self, Secret};
use super::{Verdict, crash, fail, skip};
use crate::backend::redact::Redactor;
use crate::backend::{Given, Templates};
use crate::worker::{Confinement, Denials, Missing, Worker};
use ticket_host_worker::Pages;
use ticket_host_worker::library::Image;
use ticket_host_worker::sandbox::Policy;

pub(super) use optional::{Ask, STEP};

/// How long a call of a quick plugin may take, unless its time is what is tested.
const TIME: Duration = Duration::from_secs(5);
/// How long a case that tries many values may take.
const CASE: Duration = Duration::from_secs(10);
/// The same for a plugin that takes this long for a call: with it all cases take long.
const CASE_IF_SLOW: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How many of its values such a case tries, however slow the plugin is.
const FEWEST: usize = 5;
/// The key of the incident that most cases are about.
pub(super) const KEY: &str = "https://argus.example.org/incidents/17?a=\"b\"&c=æ";

/// The library that is validated, the settings that its instances get, and what all calls so far showed.
#[derive(Debug)]
pub(super) struct Bench {
    pub library: PathBuf,
    in_process: bool,
    /// What was read of the library. None if it can't be read; then it can't be loaded either.
    pub image: Option<Image>,
    /// What loading gave; Err is the verdict on a library that can't be loaded.
    pub loaded: Result<Loaded, Verdict>,
    pub settings: Settings,
    /// The settings as the file has them, whose secret signs its webhooks.
    own: Settings,
    /// Whether the settings were made up from the plugin's schemas, since nobody gave any.
    pub made_up: bool,
    opened: Option<Opened>,
    pub redactor: Redactor,
    secret: Secret,
    pub templates: Arc<Templates>,
    /// How long a call takes, once that was measured.
    pace: Option<Duration>,
    /// What is to be said of the case that runs.
    pub note: Option<String>,
    /// What the last call asked for and what it returned, for who shows it.
    pub last: LastCall,
    /// Where the secret was seen for the first time, if it was.
    pub leak: Option<String>,
    /// Which function was the first that used its call on another thread, if one did.
    pub used_elsewhere: Option<&'static str>,
    /// Lines that the plugin wrote to standard output or standard error.
    pub printed: Vec<String>,
    /// The system calls that the sandbox refused it, in all its workers.
    pub denials: Arc<Denials>,
}

/// A call as it was seen from outside, be it that the plugin broke in it.
#[derive(Debug, Default)]
pub(super) struct LastCall {
    pub exchanges: Vec<Exchange>,
    /// None if the function didn't return.
    pub returned: Option<Returned>,
}

/// What an instance is asked, and with which words.
#[derive(Debug, Clone, Copy)]
enum Asked<'a> {
    Call(Operation, &'a str),
    /// All of a webhook but its body, and that.
    Webhook(&'a str, &'a [u8]),
}

impl Asked<'_> {
    /// The function's name.
    fn name(&self) -> &'static str {
        match self {
            Asked::Call(operation, _) => operation.name(),
            Asked::Webhook(..) => "receive",
        }
    }
}

/// An open instance.
#[derive(Debug)]
enum Opened {
    Worker(Box<Worker>),
    InProcess(Instance),
}

impl Bench {
    pub(super) async fn new(library: &Path, settings: Option<Settings>, in_process: bool) -> Bench {
        let policy = settings.as_ref().map_or(Policy::default(), |settings| settings.sandbox);
        let denials = Denials::untold();
        let image = Image::open(library).map_err(|cause| fail(cause.to_string()));
        let loaded = match &image {
            Err(verdict) => Err(verdict.clone()),
            Ok(image) if in_process => load_here(image),
            Ok(image) => load(image, policy, &denials).await,
        };
        let manifest = loaded.as_ref().ok().and_then(|loaded| loaded.manifest.as_ref().ok());
        let any = json!({});
        let (secret, information) =
            manifest.map_or((&any, &any), |m| (&m.secret_schema, &m.information_schema));
        let made_up = settings.is_none();
        let settings = settings.unwrap_or_else(|| Settings::made_up(secret, information));
        let secret_schema = secret.clone();
        let templates =
            Templates::new(&Given::default()).expect("the default templates can be read");
        let templates = Arc::new(templates);
        let mut bench = Bench {
            library: library.to_owned(),
            in_process,
            image: image.ok(),
            loaded,
            own: settings.clone(),
            settings,
            made_up,
            opened: None,
            redactor: Redactor::default(),
            secret: Secret::default(),
            templates,
            pace: None,
            note: None,
            last: LastCall::default(),
            leak: None,
            used_elsewhere: None,
            printed: Vec::new(),
            denials,
        };
        bench.disguise(&secret_schema).await;
        bench
    }

    /// Puts texts that stand nowhere else in the place of the secret, so that a part of one is told from a chance. A
    /// plugin that opens only with the secret of its settings, such as a key in PEM, keeps that, and so does one whose
    /// script has it.
    async fn disguise(&mut self, schema: &Value) {
        let own = self.settings.clone();
        self.redactor = Redactor::new(&own.secret, schema);
        let mut replaced = secret::replacements(&own.secret, schema, &self.redactor);
        replaced.retain(|(text, _)| !own.rules_have(text));
        if !replaced.is_empty() {
            self.settings = own.with_secrets(&replaced);
            let settings = self.settings.json();
            let opened = self.open(&settings).await;
            if !opened.is_ok_and(|(returned, _)| returned.status == status::OK) {
                self.settings = own;
            }
            self.redactor = Redactor::new(&self.settings.secret, schema);
        }
        self.secret = Secret::new(&self.settings.secret, &self.redactor, &replaced);
    }

    /// How long a call takes: the quickest of three.
    pub(super) async fn pace(&mut self) -> Duration {
        if let Some(pace) = self.pace {
            return pace;
        }
        let mut quickest = Duration::MAX;
        for _ in 0..3 {
            let started = Instant::now();
            let incident = super::incidents::incident();
            let script = Behaviour::Script(When::Empty);
            let called = self.call(Operation::Create, &incident, KEY, script).await;
            let took = started.elapsed();
            quickest = quickest.min(took);
            // A call that breaks a rule, or a plugin that can't be opened, is another case's to tell.
            if called.is_err() {
                break;
            }
        }
        *self.pace.insert(quickest)
    }

    /// How many of `all` values a case may try that makes so many calls with each, so that it ends in some ten seconds.
    pub(super) async fn budget(&mut self, all: usize, calls: u32) -> usize {
        let pace = self.pace().await;
        let tried = budget(pace, all, calls);
        self.note = (tried < all)
            .then(|| format!("{tried} of {all} values were tried, since a call takes {pace:.0?}"));
        tried
    }

    /// The manifest. Without one a case can't be tried.
    pub(super) fn manifest(&self) -> Result<&Manifest, Verdict> {
        match &self.loaded {
            Ok(Loaded { manifest: Ok(manifest), .. }) => Ok(manifest),
            Ok(Loaded { manifest: Err(_), .. }) => {
                Err(skip("it has no manifest: see the case manifest"))
            }
            Err(_) => Err(skip("it can't be loaded: see the case table")),
        }
    }

    fn image(&self) -> Result<&Image, Verdict> {
        self.image.as_ref().ok_or_else(|| skip("it can't be loaded: see the case table"))
    }

    fn confinement(&self) -> Result<Confinement, Verdict> {
        let Settings { sandbox, permissions, .. } = &self.settings;
        let opened = Confinement::open(*sandbox, permissions, Missing::Made);
        let confinement = opened.map_err(|error| fail(error.to_string()))?;
        Ok(Confinement { denials: Arc::clone(&self.denials), ..confinement })
    }

    /// Whether there is a ticket system to work with: a script, or an endpoint that needs no HTTP. Without
    /// one a case can't be tried.
    pub(super) fn scripted(&self) -> Result<(), Verdict> {
        self.manifest()?;
        let alone = self.settings.http.is_empty() && self.settings.endpoint.starts_with("http");
        if alone {
            return Err(skip("needs a scripted ticket system: --settings FILE with [[http]]"));
        }
        Ok(())
    }

    /// Opens an instance with the bench's own settings. Without one a case can't be tried.
    pub(super) async fn able(&mut self) -> Result<(), Verdict> {
        let settings = self.settings.json();
        match self.open(&settings).await?.0.status {
            status::OK => Ok(()),
            _ => Err(skip("it can't be opened: see the case open")),
        }
    }

    /// Opens an instance with these settings, in place of the one that is open. Gives what open() returned,
    /// and what it asked for.
    pub(super) async fn open(&mut self, settings: &Value) -> Result<(Returned, Seen), Verdict> {
        self.manifest()?;
        self.opened = None;
        let rules = self.settings.http.clone();
        let peer = Scripted::new(&rules, Behaviour::Script(When::Empty), KEY, TIME);
        let settings = settings.to_string();
        let returned = if self.in_process {
            let pages = Pages::of(settings.as_bytes());
            match table(self.image()?)?.open(guarded(pages.as_ref(), &settings), &mut &peer) {
                Ok(instance) => {
                    self.opened = Some(Opened::InProcess(instance));
                    Returned { status: status::OK, reply: Ok(None) }
                }
                Err(returned) => returned,
            }
        } else {
            let worker = Worker::guarded(self.image()?, &self.confinement()?).await;
            let mut worker = worker.map_err(|cause| crash(cause.to_string()))?;
            let returned = worker.open(&settings, &peer).await;
            let returned = returned.map_err(|cause| crash(format!("open(): {cause}")))?;
            if returned.status == status::OK {
                self.opened = Some(Opened::Worker(Box::new(worker)));
            }
            returned
        };
        let seen = peer.into_seen();
        self.look_for_leaks("open", &returned, &seen);
        Ok((returned, seen))
    }

    /// Calls the open instance, or a new one with the bench's own settings if none is open.
    ///
    /// # Errors
    /// The verdict, if the call breaks a rule that holds for every call.
    pub(super) async fn call(
        &mut self,
        operation: Operation,
        incident: &Value,
        key: &str,
        behaviour: Behaviour,
    ) -> Result<(Answer, Seen), Verdict> {
        let time = TIME.max(self.pace.unwrap_or_default() * 10);
        self.timed(operation, incident, key, false, behaviour, time).await
    }

    /// As [`Bench::call`], with a time that the call may take, and as a dry run if `dry_run` is set.
    pub(super) async fn timed(
        &mut self,
        operation: Operation,
        incident: &Value,
        key: &str,
        dry_run: bool,
        behaviour: Behaviour,
        time: Duration,
    ) -> Result<(Answer, Seen), Verdict> {
        let called = self.returned(operation, incident, key, dry_run, behaviour, time).await;
        let (returned, seen) = called?;
        Ok((judge(operation, returned, &self.settings.endpoint)?, seen))
    }

    /// As [`Bench::call`], where answers make so little sense that the plugin can only keep the rules.
    pub(super) async fn survives(
        &mut self,
        operation: Operation,
        incident: &Value,
        behaviour: Behaviour,
    ) -> Result<(), Verdict> {
        // A search through pages without end takes all of it.
        let time = Duration::from_secs(1).max(self.pace.unwrap_or_default() * 10);
        let called = self.returned(operation, incident, KEY, false, behaviour, time).await;
        parsed(operation, called?.0).map(drop)
    }

    /// What a call returned, and what was seen of it.
    async fn returned(
        &mut self,
        operation: Operation,
        incident: &Value,
        key: &str,
        dry_run: bool,
        behaviour: Behaviour,
        time: Duration,
    ) -> Result<(Returned, Seen), Verdict> {
        let name = operation.name();
        self.last = LastCall::default();
        if self.opened.is_none() {
            self.able().await?;
        }
        let Some(opened) = self.opened.take() else { return Err(skip("it can't be opened")) };
        let request = match operation {
            Operation::Check => String::new(),
            _ => request(incident, key, dry_run).to_string(),
        };
        let rules = self.settings.http.clone();
        let peer = Scripted::new(&rules, behaviour, key, time);
        let templates = Arc::clone(&self.templates);
        let peer = match operation {
            Operation::Check => peer,
            _ => peer.about(incident, &templates),
        };
        let (returned, seen) =
            self.exchange(opened, Asked::Call(operation, &request), peer).await?;
        if operation != Operation::Create {
            self.creates_nothing(name, &seen)?;
        }
        Ok((returned, seen))
    }

    /// Calls the instance that was opened, which is open again if the call didn't break it.
    async fn exchange(
        &mut self,
        opened: Opened,
        asked: Asked<'_>,
        peer: Scripted<'_>,
    ) -> Result<(Returned, Seen), Verdict> {
        let name = asked.name();
        let (opened, returned) = match opened {
            Opened::Worker(mut worker) => {
                let returned = match asked {
                    Asked::Call(operation, request) => worker.call(operation, request, &peer).await,
                    Asked::Webhook(head, body) => worker.receive(head, body, &peer).await,
                };
                (Opened::Worker(worker), returned)
            }
            Opened::InProcess(mut instance) => {
                let returned = match asked {
                    Asked::Call(operation, request) => {
                        let pages = Pages::of(request.as_bytes());
                        let request = guarded(pages.as_ref(), request);
                        instance.call(operation, request, &mut &peer)
                    }
                    Asked::Webhook(head, body) => instance.receive(head, body, &mut &peer),
                };
                (Opened::InProcess(instance), Ok(returned))
            }
        };
        let seen = peer.into_seen();
        self.last.exchanges.clone_from(&seen.exchanges);
        let returned = returned.map_err(|cause| crash(format!("{name}(): {cause}")))?;
        self.last.returned = Some(returned.clone());
        self.opened = Some(opened);
        self.look_for_leaks(name, &returned, &seen);
        self.printed.extend(seen.printed.iter().cloned());
        Ok((returned, seen))
    }

    /// Whether nothing was sent that creates a ticket.
    fn creates_nothing(&self, name: &str, seen: &Seen) -> Result<(), Verdict> {
        if self.settings.http.is_empty() || !seen.could_create() {
            return Ok(());
        }
        let sent = seen.creations().map(|creation| &creation.request);
        let sent = sent.map(|request| format!("{} {}", request.method, request.url)).next();
        Err(fail(format!(
            "{name}() sends what can create something: {}{}; if it creates nothing, give it a role in the script",
            sent.unwrap_or_default(),
            seen.unscripted()
        )))
    }

    /// What opens, calls and closes many instances by itself.
    pub(super) async fn exerciser(&self) -> Result<Exerciser, Verdict> {
        self.manifest()?;
        if self.in_process {
            return Ok(Exerciser::in_process(table(self.image()?)?));
        }
        let worker = Worker::exerciser(self.image()?, &self.confinement()?).await;
        Ok(Exerciser::worker(worker.map_err(|cause| crash(cause.to_string()))?))
    }

    /// Notes where the secret appears in what a call showed, and whether it was used on another thread: the cases `secret`
    /// and `call-thread` ask for that at the end.
    fn look_for_leaks(&mut self, name: &'static str, returned: &Returned, seen: &Seen) {
        if seen.logged.iter().any(|line| line == OTHER_THREAD) {
            self.used_elsewhere.get_or_insert(name);
        }
        let reply = returned.reply.as_ref().ok().and_then(Option::as_ref);
        let texts = reply.into_iter().map(|text| ("reply", text));
        let texts = texts.chain(seen.logged.iter().map(|text| ("log", text)));
        let texts = texts.chain(seen.printed.iter().map(|text| ("standard output or error", text)));
        let requests = seen.exchanges.iter().map(|exchange| &exchange.request);
        let texts = texts.chain(requests.map(|request| ("URLs", &request.url)));
        let shows = |text: &str| self.secret.is_in(text) || self.redactor.strike(text) != *text;
        let mut leaks = texts.filter(|(_, text)| shows(text)).map(|(place, _)| place);
        let bodies = seen.exchanges.iter().filter(|exchange| exchange.role != Role::Login);
        let mut bodies = bodies.map(|exchange| String::from_utf8_lossy(&exchange.request.body));
        let place = leaks.next().or_else(|| {
            bodies.any(|body| self.secret.is_in_content(&body)).then_some("requests' bodies")
        });
        let first = place.map(|place| format!("{name}() has it, or a part of it, in its {place}"));
        self.leak = self.leak.take().or(first);
    }
}

/// The text as it lies in the pages, if there are some: who reads beyond it crashes.
fn guarded<'a>(pages: Option<&'a Pages>, text: &'a str) -> &'a str {
    pages.and_then(|pages| str::from_utf8(pages.as_ref()).ok()).unwrap_or(text)
}

/// What create() and find() get, as a host of a later version sends it. An incident that says when it began has a ticket that
/// isn't older.
pub(super) fn request(incident: &Value, key: &str, dry_run: bool) -> Value {
    let not_before = incident["start_time"].as_str().and_then(utc);
    let mut request = json!(TicketRequest { incident, key: key.to_owned(), not_before, dry_run });
    request["later"] = 1.into();
    request
}

/// How many of `all` values are tried with a plugin that takes `pace` for each of so many calls.
fn budget(pace: Duration, all: usize, calls: u32) -> usize {
    let each = (pace * calls).as_secs_f64().max(1e-9);
    let (slow, its) = CASE_IF_SLOW;
    let case = if pace < slow { CASE } else { its };
    ((case.as_secs_f64() / each) as usize).max(FEWEST).min(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_plugin_is_tried_with_fewer_values() {
        for (milliseconds, all, calls, tried) in [
            (0, 500, 6, 500),
            (1, 500, 6, 500),
            (17, 500, 6, 98),
            (100, 500, 1, 50),
            (1000, 500, 6, 5),
            (1000, 3, 6, 3),
        ] {
            assert_eq!(budget(Duration::from_millis(milliseconds), all, calls), tried);
        }
    }
}
