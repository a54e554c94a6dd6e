//! A backend ready for use: a plugin and its settings, checked, with open instances of it.
//!
//! Invariant: at most `concurrency` calls at once, each on an instance of its own. An instance that
//! broke the rules, or whose plugin reported a bug, is not used again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use ticket_plugin_api::abi::host_side::{Operation, Returned};
use ticket_plugin_api::message::{Checks, Manifest};
use ticket_plugin_api::{Check, ErrorKind, Incident, Retry, Ticket};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use url::Url;

use crate::call::{CallContext, Mode, Services};
use crate::catalog::{Plugin, Stamp};
use crate::config::{BackendConfig, Isolation, LookFirst, Setting};
use crate::error::{Error, Kind, Result};
use crate::gateway::{Fence, Gateway, Route};
use crate::in_process::{self, InProcess};
use crate::library::LoadError;
use crate::metrics::Metrics;
use crate::permissions;
use crate::redact::Redactor;
use crate::schema;
use crate::template::Templates;
use crate::trust::sha256;
use crate::worker::{Worker, WorkerError};

/// Characters that a ticket's URL may have.
const LONGEST_URL: usize = 4096;

/// A request for a ticket: what happened, and the key that its ticket has.
#[derive(Debug, Clone)]
pub struct Request {
    pub incident: Arc<Incident>,
    pub key: String,
}

/// See the module.
#[derive(Debug)]
pub struct Backend {
    pub name: String,
    pub manifest: Manifest,
    /// What is odd about the settings, a sentence each.
    pub warnings: Vec<String>,
    /// What the sandbox doesn't keep the plugin from on this machine, a sentence each.
    pub unconfined: Vec<String>,
    /// The settings that it was made of.
    config: BackendConfig,
    services: Arc<Services>,
    library: PathBuf,
    /// The digest of the library's bytes, if somebody vouched for them.
    sha256: Option<String>,
    stamp: Stamp,
    /// The SHA-256 of its ca_file, which may change while its name stays.
    authorities: Option<String>,
    /// The endpoint's, which tickets may have beside http and https.
    scheme: String,
    /// The JSON that open() gets.
    settings: SecretString,
    isolation: Isolation,
    pub look_first: LookFirst,
    pub call_timeout: Duration,
    /// Calls at once.
    pub concurrency: usize,
    permits: Semaphore,
    idle: Mutex<Vec<Instance>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Instance {
    Worker(Box<Worker>),
    InProcess(InProcess),
}

/// Why a call gave no result of the plugin's.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("it did not return in time; being in-process, it can't be stopped, and keeps a thread")]
    Stuck,
    #[error("the thread of the call ended")]
    Lost,
}

impl Backend {
    /// Checks a backend's settings against its plugin's schemas. Starts nothing yet.
    pub fn new(config: &BackendConfig, plugin: &Plugin, metrics: &Arc<Metrics>) -> Result<Backend> {
        let manifest = plugin.manifest.clone();
        let place = format!("backend {} ({})", config.name, manifest.name);
        let pointing = |setting| {
            let place = place.clone();
            move |error: Error| config.pointing(setting, error.at(&place))
        };
        let resolved = config.secret.resolve("secret").map_err(pointing(Setting::Secret))?;
        let mut warnings = resolved.warnings;
        schema::validate("secret", &manifest.secret_schema, &resolved.value, true)
            .map_err(pointing(Setting::Secret))?;
        schema::validate("information", &manifest.information_schema, &config.information, false)
            .map_err(pointing(Setting::Information))?;
        warnings.extend(schema::unknown_members(
            "information",
            &manifest.information_schema,
            &config.information,
        ));
        if let Some(pin) = &config.sha256
            && plugin.sha256.as_ref() != Some(pin)
        {
            let found = plugin.sha256.as_deref().unwrap_or("not known");
            let error = Error::import(format!(
                "the library {} is not the one that sha256 pins: its SHA-256 is {found}",
                plugin.path.display()
            ));
            let error = error.help("put the pinned version back, or pin this one if you trust it");
            return Err(pointing(Setting::Sha256)(error));
        }
        warnings.extend(plugin.unsigned.as_ref().filter(|_| config.sha256.is_none()).map(|why| {
            format!("{}: {why}, and signatures = \"warn\" lets it run", plugin.path.display())
        }));
        if config.isolation == Isolation::Worker {
            granted(config, &manifest).map_err(pointing(Setting::Permissions))?;
        }
        let redactor = Redactor::new(&resolved.value, &manifest.secret_schema);
        let gateway = Gateway::new(Route {
            fence: Arc::new(Fence::new(&config.endpoint, config.allow_origins.clone())),
            ca_file: config.ca_file.clone(),
            proxy: config.proxy.clone(),
            max_response: config.max_response_bytes,
            user_agent: format!("ticket-host/{} ({})", env!("CARGO_PKG_VERSION"), manifest.name),
            requests_per_second: config.requests_per_second,
            backend: config.name.clone(),
            metrics: Arc::clone(metrics),
        });
        gateway.check_settings().map_err(pointing(Setting::CaFile))?;
        let templates = Templates::new(config.title.as_deref(), config.body.as_deref())
            .map_err(pointing(Setting::Template))?;
        warnings.extend(templates.warnings.iter().cloned());
        let settings = json!({
            "endpoint": config.endpoint.as_str(),
            "secret": resolved.value,
            "information": config.information,
        });
        Ok(Backend {
            name: config.name.clone(),
            manifest,
            warnings,
            unconfined: plugin.unconfined.clone(),
            services: Arc::new(Services { place, gateway, templates, redactor }),
            config: config.clone(),
            library: plugin.path.clone(),
            sha256: plugin.sha256.clone(),
            stamp: plugin.stamp,
            authorities: config.ca_file.as_deref().and_then(|file| sha256(file).ok()),
            scheme: config.endpoint.scheme().to_owned(),
            settings: settings.to_string().into(),
            isolation: config.isolation,
            look_first: config.look_first,
            call_timeout: config.call_timeout,
            concurrency: config.concurrency,
            metrics: Arc::clone(metrics),
            permits: Semaphore::new(config.concurrency),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// When the next request could leave: later than now while the ticket system asked for a pause.
    pub fn next_turn(&self) -> Instant {
        self.services.gateway.next_turn()
    }

    /// Whether the ticket system's pause lasts.
    pub fn paused(&self) -> bool {
        self.services.gateway.paused()
    }

    /// Whether `other` would do just the same, so that this one, with its open instances, can stay.
    pub fn is_same(&self, other: &Backend) -> bool {
        self.settings.expose_secret() == other.settings.expose_secret()
            && self.config == other.config
            && (&self.library, self.stamp) == (&other.library, other.stamp)
            && self.sha256 == other.sha256
            && self.authorities == other.authorities
    }

    /// The lines of the plugin's check.
    pub async fn check(&self) -> Result<Vec<Check>> {
        let context = self.context(None, Mode::Normal);
        let checks: Option<Checks> = self.call(Operation::Check, "", &context).await?;
        let checks =
            checks.ok_or_else(|| self.error(Error::plugin("check returned NOT_FOUND")))?.checks;
        let strike = |text: String| self.services.redactor.strike(&text);
        Ok(checks
            .into_iter()
            .map(|check| Check {
                name: strike(check.name),
                message: strike(check.message),
                help: strike(check.help),
                ..check
            })
            .collect())
    }

    /// The ticket that was created with the request's key; None means certainly none.
    ///
    /// # Errors
    /// Also where the plugin can't search, see [`is_unsupported`].
    pub async fn find(&self, request: &Request) -> Result<Option<Ticket>> {
        let context = self.context(Some(&request.incident), Mode::Normal);
        let ticket = self.call(Operation::Find, &json_of(request, false), &context).await?;
        ticket.map(|ticket| self.checked(ticket)).transpose()
    }

    /// Creates a ticket, without looking whether there is one.
    ///
    /// # Errors
    /// Those whose `retry` is [`Retry::Unknown`] leave open whether there is a ticket now.
    pub async fn create(&self, request: &Request) -> Result<Ticket> {
        let context = self.context(Some(&request.incident), Mode::Normal);
        let ticket = self.call(Operation::Create, &json_of(request, false), &context).await?;
        let nothing = || Error::plugin("create returned NOT_FOUND").retry(Retry::Unknown);
        let ticket = ticket.ok_or_else(|| self.error(nothing()))?;
        self.checked(ticket).map_err(|error| error.retry(Retry::Unknown))
    }

    /// Runs `operation` without sending anything: what it gave, and the requests that it would
    /// have sent, without secrets. Its ticket has at most a preview.
    pub async fn dry_run(
        &self,
        operation: Operation,
        request: &Request,
    ) -> (Result<Option<Ticket>>, Vec<String>) {
        if !self.manifest.permissions.is_empty() && !self.manifest.dry_run {
            let refused = Error::plugin("this plugin does more than HTTP and offers no dry run")
                .help("`ticket-host plugins show` tells what it does beside HTTP");
            return (Err(self.error(refused)), Vec::new());
        }
        let context = self.context(Some(&request.incident), Mode::DryRun);
        let result = self.call::<Ticket>(operation, &json_of(request, true), &context).await;
        let strike = |text: String| self.services.redactor.strike(&text);
        let result = result.map(|ticket| {
            ticket.map(|ticket| Ticket { preview: ticket.preview.map(strike), ..ticket })
        });
        (result, context.shown())
    }

    fn context(&self, incident: Option<&Arc<Incident>>, mode: Mode) -> Arc<CallContext> {
        let deadline = Instant::now() + self.call_timeout;
        let services = Arc::clone(&self.services);
        Arc::new(CallContext::new(services, incident.cloned(), deadline, mode))
    }

    /// Calls an idle instance, or a new one. None is the plugin's NOT_FOUND.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: &str,
        context: &Arc<CallContext>,
    ) -> Result<Option<T>> {
        let busy = || {
            let seconds = self.call_timeout.as_secs_f64();
            let busy = Error::new(Kind::Client, format!("all its calls were busy for {seconds} s"));
            self.error(busy.retry(Retry::Later).help("raise concurrency, or call_timeout_seconds"))
        };
        let permit = timeout(context.remaining(), self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(busy()) };
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let instance = match idle {
            Some(instance) => instance,
            None => self.open(context).await?,
        };
        let started = Instant::now();
        let returned = call(instance, operation, request, context).await;
        self.metrics.call(&self.name, operation.name(), started.elapsed());
        // Only create() can leave a ticket that nobody has seen.
        let settled = |error: Error| match error.retry {
            Retry::Unknown if operation != Operation::Create => error.retry(Retry::Later),
            _ => error,
        };
        let (instance, returned) =
            returned.map_err(|cause| settled(self.broken(cause, context)))?;
        let parsed = returned.parse::<T>();
        let fit = !matches!(&parsed, Err(error) if error.kind == ErrorKind::Plugin);
        if fit && let Ok(mut idle) = self.idle.lock() {
            idle.push(instance);
        }
        parsed.map_err(|error| {
            let unsupported = error.kind == ErrorKind::Unsupported;
            let error = settled(self.error(error.into()));
            if unsupported { error.cause(Unsupported) } else { error }
        })
    }

    async fn open(&self, context: &Arc<CallContext>) -> Result<Instance> {
        let offline = Arc::new(CallContext::new(
            Arc::clone(&self.services),
            None,
            context.deadline,
            Mode::Offline,
        ));
        let opened = match self.isolation {
            Isolation::Worker => self.open_worker(&offline).await,
            Isolation::InProcess => self.open_in_process(&offline).await,
        };
        // What open() refuses is no ticket, whatever the plugin says of trying again.
        let opened = opened.map_err(|cause| self.broken(cause, &offline))?;
        opened.map_err(|returned| match returned.parse::<serde_json::Value>() {
            Err(error) => self.error(Error::from(error)),
            Ok(_) => self.error(Error::plugin("open returned NOT_FOUND")),
        })
    }

    async fn open_worker(
        &self,
        context: &CallContext,
    ) -> std::result::Result<std::result::Result<Instance, Returned>, Broken> {
        let mut worker =
            Worker::load(&self.library, self.sha256.as_deref(), &self.config.permissions).await?;
        let returned = worker.open(self.settings.expose_secret(), context).await?;
        Ok(if returned.status == ticket_plugin_api::abi::status::OK {
            Ok(Instance::Worker(Box::new(worker)))
        } else {
            Err(returned)
        })
    }

    async fn open_in_process(
        &self,
        context: &Arc<CallContext>,
    ) -> std::result::Result<std::result::Result<Instance, Returned>, Broken> {
        let (library, sha256) = (self.library.clone(), self.sha256.clone());
        let (settings, shared) = (self.settings.clone(), Arc::clone(context));
        let opening = spawn_blocking(move || {
            in_process::open(&library, sha256.as_deref(), settings.expose_secret(), &shared)
        });
        match timeout(context.remaining(), opening).await {
            Ok(Ok(opened)) => Ok(opened?.map(Instance::InProcess)),
            Ok(Err(_)) => Err(Broken::Lost),
            Err(_) => Err(Broken::Stuck),
        }
    }

    /// What a call that broke means for who asked: nothing was created, or nobody knows.
    fn broken(&self, cause: Broken, context: &CallContext) -> Error {
        // What a plugin does without the gateway, the host doesn't see.
        let unseen = !self.manifest.permissions.is_empty() && context.mode == Mode::Normal;
        let retry =
            if context.may_have_created() || unseen { Retry::Unknown } else { Retry::Never };
        if matches!(cause, Broken::Worker(_)) {
            self.metrics.worker_restart(&self.name);
        }
        let kind = match &cause {
            Broken::Load(_) | Broken::Worker(WorkerError::NotLoaded(_)) => Kind::Import,
            _ => Kind::Plugin,
        };
        let mut message = format!("the plugin failed: {cause}");
        if let Broken::Worker(WorkerError::Start(io) | WorkerError::Nonsense(io)) = &cause {
            message.push_str(&format!(" ({io})"));
        }
        self.error(Error::new(kind, message).retry(retry).help(format!(
            "this is the plugin's fault: tell who made it ({})",
            self.library.display()
        )))
    }

    /// An error of this backend, without its secret.
    fn error(&self, error: Error) -> Error {
        let strike = |text: &str| self.services.redactor.strike(text);
        let message = strike(&error.message);
        let help = error.help.as_deref().map(strike);
        Error { message, help, ..error }.at(&self.services.place)
    }

    /// A ticket whose URL is one, without the secret.
    fn checked(&self, mut ticket: Ticket) -> Result<Ticket> {
        let url = Url::parse(&ticket.url).ok();
        let sound = url.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https") || url.scheme() == self.scheme
        }) && ticket.url.len() <= LONGEST_URL
            && !ticket.url.chars().any(|c| c.is_control() || c.is_whitespace());
        if !sound {
            let start: String = ticket.url.chars().take(100).collect();
            return Err(self.error(Error::plugin(format!(
                "the plugin replied a ticket whose URL {start:?} is none"
            ))));
        }
        let strike = |text: &String| self.services.redactor.strike(text);
        let shown = strike(&ticket.url);
        if shown != ticket.url {
            ticket.url = shown;
            ticket.warnings.push(
                "the plugin put the secret into the ticket's URL; it is struck out".to_owned(),
            );
        }
        ticket.id = strike(&ticket.id);
        ticket.missing_fields = ticket.missing_fields.iter().map(strike).collect();
        ticket.warnings = ticket.warnings.iter().map(strike).collect();
        Ok(ticket)
    }
}

/// Whether the plugin has what it asks for, and what is granted is there.
fn granted(config: &BackendConfig, manifest: &Manifest) -> Result<()> {
    let directory = config.endpoint.to_file_path().ok();
    let directory = directory.as_deref().and_then(Path::to_str);
    let (mut lacking, mut settings) = (Vec::new(), Vec::new());
    for asked in config.permissions.lacking(manifest) {
        lacking.push(format!("{} ({}: {})", asked.permission, asked.what, asked.why));
        settings.extend(permissions::setting(&asked.permission, directory));
    }
    if !lacking.is_empty() {
        let error = Error::settings(format!(
            "the plugin needs what is not granted: {}",
            lacking.join("; ")
        ));
        return Err(if settings.len() == lacking.len() {
            let settings = settings.join(", ");
            error.help(format!("if that is meant: permissions = {{ {settings} }} in the backend"))
        } else {
            error.help("no setting of this host's grants that: it needs a newer host")
        });
    }
    for path in &config.permissions.write {
        std::fs::create_dir_all(path).map_err(|cause| {
            let path = path.display();
            Error::settings(format!("permissions.write: {path} can't be made: {cause}"))
                .help("name a directory, and let the host's user write to where it is to lie")
        })?;
    }
    for path in &config.permissions.read {
        std::fs::metadata(path).map_err(|cause| {
            Error::settings(format!("permissions.read: {}: {cause}", path.display()))
                .help("name a file or a directory that is there")
        })?;
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("the plugin's table has no such function")]
struct Unsupported;

/// Whether an error says that the plugin doesn't offer the operation at all.
pub fn is_unsupported(error: &Error) -> bool {
    error.cause.as_ref().is_some_and(|cause| cause.is::<Unsupported>())
}

async fn call(
    instance: Instance,
    operation: Operation,
    request: &str,
    context: &Arc<CallContext>,
) -> std::result::Result<(Instance, Returned), Broken> {
    match instance {
        Instance::Worker(mut worker) => {
            let returned = worker.call(operation, request, &**context).await?;
            Ok((Instance::Worker(worker), returned))
        }
        Instance::InProcess(mut plugin) => {
            let (request, shared) = (request.to_owned(), Arc::clone(context));
            let calling = spawn_blocking(move || {
                let returned = plugin.call(operation, &request, &shared);
                (Instance::InProcess(plugin), returned)
            });
            match timeout(context.remaining() + Duration::from_secs(1), calling).await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(_)) => Err(Broken::Lost),
                Err(_) => Err(Broken::Stuck),
            }
        }
    }
}

fn json_of(request: &Request, dry_run: bool) -> String {
    #[derive(Serialize)]
    struct Asked<'a> {
        incident: &'a Map<String, Value>,
        key: &'a str,
        dry_run: bool,
    }
    let asked = Asked { incident: &request.incident.attributes, key: &request.key, dry_run };
    serde_json::to_string(&asked).expect("JSON's own values become JSON")
}
