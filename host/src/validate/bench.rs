//! A library on the test bench: it is loaded, opened and called, and opened anew after a call broke it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpRequest, Instance, Operation, Returned, Table};
use ticket_plugin_api::abi::status;
use ticket_plugin_api::message::{Checks, Manifest};
use ticket_plugin_api::{Error as PluginError, ErrorKind, Ticket};
use url::Url;

use super::script::{Behaviour, Scripted, Seen, Settings, When};
use super::{Verdict, crash, fail, skip};
use crate::backend::load_in_process;
use crate::backend::redact::Redactor;
use crate::plugins::manifest;
use crate::worker::{Confinement, Denials, LOADING, Missing, Worker, WorkerError};
use ticket_host_worker::library::Image;
use ticket_host_worker::sandbox::Policy;

/// How long a call may take, unless its time is what is tested.
const TIME: Duration = Duration::from_secs(5);
/// The key of the incident that most cases are about.
pub(super) const KEY: &str = "https://argus.example.org/incidents/17?a=\"b\"&c=æ";

/// What a plugin's function answered, if it kept the rules.
#[derive(Debug)]
pub(super) enum Answer {
    Ticket(Ticket),
    Checks(Checks),
    NotFound,
    Unsupported,
    Error(PluginError),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Ticket(ticket) => write!(f, "the ticket {}", ticket.url),
            Answer::Checks(checks) => write!(f, "{} checks", checks.checks.len()),
            Answer::NotFound => f.write_str("NOT_FOUND"),
            Answer::Unsupported => f.write_str("UNSUPPORTED"),
            Answer::Error(PluginError { kind, message, retry, .. }) => {
                write!(f, "a {kind:?} error ({retry:?}): {message}")
            }
        }
    }
}

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
    /// Whether the settings were made up from the plugin's schemas, since nobody gave any.
    pub made_up: bool,
    opened: Option<Opened>,
    pub redactor: Redactor,
    /// What the last call asked for and what it returned, for who shows it.
    pub last: LastCall,
    /// Where the secret was seen for the first time, if it was.
    pub leak: Option<String>,
    /// Lines that the plugin wrote to standard output or standard error.
    pub printed: Vec<String>,
    /// The system calls that the sandbox refused it, in all its workers.
    pub denials: Arc<Denials>,
}

#[derive(Debug)]
pub(super) struct Loaded {
    /// Err says what is wrong with the manifest.
    pub manifest: Result<Manifest, String>,
    /// How long loading took: the quickest of five times in a worker, the only one in-process.
    pub time: Duration,
}

/// A call as it was seen from outside, be it that the plugin broke in it.
#[derive(Debug, Default)]
pub(super) struct LastCall {
    pub requests: Vec<HttpRequest>,
    /// None if the function didn't return.
    pub returned: Option<Returned>,
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
        let redactor = Redactor::new(&settings.secret, secret);
        Bench {
            library: library.to_owned(),
            in_process,
            image: image.ok(),
            loaded,
            settings,
            made_up,
            opened: None,
            redactor,
            last: LastCall::default(),
            leak: None,
            printed: Vec::new(),
            denials,
        }
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
            match table(self.image()?)?.open(&settings, &mut &peer) {
                Ok(instance) => {
                    self.opened = Some(Opened::InProcess(instance));
                    Returned { status: status::OK, reply: Ok(None) }
                }
                Err(returned) => returned,
            }
        } else {
            let worker = Worker::load(self.image()?, &self.confinement()?, LOADING).await;
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
        self.timed(operation, incident, key, false, behaviour, TIME).await
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
        let name = operation.name();
        self.last = LastCall::default();
        if self.opened.is_none() {
            self.able().await?;
        }
        let Some(opened) = self.opened.take() else { return Err(skip("it can't be opened")) };
        let request = json!({"incident": incident, "key": key, "dry_run": dry_run, "later": 1});
        let request =
            if operation == Operation::Check { String::new() } else { request.to_string() };
        let rules = self.settings.http.clone();
        let peer = Scripted::new(&rules, behaviour, key, time);
        let (opened, returned) = match opened {
            Opened::Worker(mut worker) => {
                let returned = worker.call(operation, &request, &peer).await;
                (Opened::Worker(worker), returned)
            }
            Opened::InProcess(mut instance) => {
                let returned = instance.call(operation, &request, &mut &peer);
                (Opened::InProcess(instance), Ok(returned))
            }
        };
        let seen = peer.into_seen();
        self.last.requests.clone_from(&seen.requests);
        let returned = returned.map_err(|cause| crash(format!("{name}(): {cause}")))?;
        self.last.returned = Some(returned.clone());
        self.opened = Some(opened);
        self.look_for_leaks(name, &returned, &seen);
        self.printed.extend(seen.printed.iter().cloned());
        Ok((self.judge(operation, returned)?, seen))
    }

    /// A worker that opens, calls and closes many instances by itself: see [`Worker::exerciser`].
    pub(super) async fn exerciser(&self, runs: &[(usize, usize)]) -> Result<Worker, Verdict> {
        if self.in_process {
            return Err(skip("needs a worker"));
        }
        self.manifest()?;
        let worker = Worker::exerciser(runs, self.image()?, &self.confinement()?).await;
        worker.map_err(|cause| crash(cause.to_string()))
    }

    /// Whether what a function returned is one of the things that it may return.
    fn judge(&self, operation: Operation, returned: Returned) -> Result<Answer, Verdict> {
        let name = operation.name();
        let code = returned.status;
        if !(status::OK..=status::UNSUPPORTED).contains(&code) {
            return Err(fail(format!("{name}() returned {code}, which is not a status")));
        }
        let errors = status::SETTINGS_ERROR..=status::PLUGIN_ERROR;
        if errors.contains(&code) && message(&returned).trim().is_empty() {
            return Err(fail(format!(
                "{name}() returned the error {code} and no message for the operator"
            )));
        }
        if operation == Operation::Check {
            return match returned.parse::<Checks>() {
                Ok(Some(checks)) => Ok(Answer::Checks(checks)),
                Ok(None) => Err(fail("check() returned NOT_FOUND")),
                Err(error) if errors.contains(&code) => Ok(Answer::Error(error)),
                Err(error) => Err(fail(format!("check(): {}", error.message))),
            };
        }
        match returned.parse::<Ticket>() {
            Ok(Some(ticket)) if ticket.preview.is_some() && ticket.url.is_empty() => {
                Ok(Answer::Ticket(ticket))
            }
            Ok(Some(ticket)) => match self.bad_url(&ticket.url) {
                Some(why) => Err(fail(format!("{name}() replied the URL {:?}: {why}", ticket.url))),
                None => Ok(Answer::Ticket(ticket)),
            },
            Ok(None) if operation == Operation::Create => Err(fail("create() returned NOT_FOUND")),
            Ok(None) => Ok(Answer::NotFound),
            Err(error) if error.kind == ErrorKind::Unsupported => Ok(Answer::Unsupported),
            Err(error) if errors.contains(&code) => Ok(Answer::Error(error)),
            Err(error) => Err(fail(format!("{name}(): {}", error.message))),
        }
    }

    /// What is wrong with a ticket's URL, if anything is.
    fn bad_url(&self, text: &str) -> Option<&'static str> {
        let own = Url::parse(&self.settings.endpoint).ok();
        let own = own.as_ref().map_or("https", Url::scheme);
        match Url::parse(text) {
            Err(_) => Some("it is not an absolute URL"),
            Ok(url) if !["http", "https", own].contains(&url.scheme()) => {
                Some("nobody can open it: not http, https or the endpoint's own scheme")
            }
            Ok(_) if text.len() > 4096 || text.contains(char::is_whitespace) => {
                Some("it is over 4096 bytes, or has white space")
            }
            Ok(_) => None,
        }
    }

    /// Notes where the secret appears in what a call showed: the case `secret` asks for that at the end.
    fn look_for_leaks(&mut self, name: &str, returned: &Returned, seen: &Seen) {
        let reply = returned.reply.as_ref().ok().and_then(Option::as_ref);
        let texts = reply.into_iter().map(|text| ("reply", text));
        let texts = texts.chain(seen.logged.iter().map(|text| ("log", text)));
        let texts = texts.chain(seen.printed.iter().map(|text| ("standard output or error", text)));
        let texts = texts.chain(seen.requests.iter().map(|request| ("URLs", &request.url)));
        let leaks = texts.filter(|(_, text)| self.redactor.strike(text) != **text);
        let first = leaks.map(|(where_, _)| format!("{name}() has it in its {where_}")).next();
        self.leak = self.leak.take().or(first);
    }
}

/// The message in the error that a plugin's function replied; empty if it replied none.
pub(super) fn message(returned: &Returned) -> String {
    let reply = returned.reply.as_ref().ok().and_then(Option::as_ref);
    let json = reply.and_then(|reply| serde_json::from_str::<Value>(reply).ok());
    json.and_then(|json| Some(json["message"].as_str()?.to_owned())).unwrap_or_default()
}

/// Loads the library five times, each in a worker of its own.
async fn load(image: &Image, policy: Policy, denials: &Arc<Denials>) -> Result<Loaded, Verdict> {
    let confinement = Confinement { denials: Arc::clone(denials), ..Confinement::nothing(policy) };
    let mut quickest = Duration::MAX;
    let mut manifest = String::new();
    for _ in 0..5 {
        let started = Instant::now();
        let loaded = Worker::load(image, &confinement, LOADING).await;
        quickest = quickest.min(started.elapsed());
        match loaded {
            Ok(worker) => manifest.clone_from(&worker.manifest),
            Err(WorkerError::NotLoaded(why)) => return Err(fail(why)),
            Err(cause) => return Err(crash(cause.to_string())),
        }
    }
    Ok(Loaded { manifest: manifest::read(&manifest), time: quickest })
}

fn load_here(image: &Image) -> Result<Loaded, Verdict> {
    let started = Instant::now();
    let table = table(image)?;
    Ok(Loaded { manifest: manifest::read(&table.manifest), time: started.elapsed() })
}

fn table(image: &Image) -> Result<Table, Verdict> {
    load_in_process(image).map_err(|cause| fail(cause.to_string()))
}
