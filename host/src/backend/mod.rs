//! A backend ready for use: a plugin and its settings, checked, and what can be asked of it.
//!
//! [`Backend::prepare`] makes one, [`pool`] keeps its open instances, and [`call`] answers what a running call asks
//! the host for.

mod call;
mod dry_run;
mod exchange;
#[cfg(test)]
mod fuzz;
pub(crate) mod gateway;
mod in_process;
mod places;
mod pool;
mod prepare;
pub(crate) mod redact;
mod reply;
mod request;
pub(crate) mod schema;
mod template;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use ticket_host_worker::Digest;
use ticket_plugin_api::abi::host_side::{Operation, Returned};
use ticket_plugin_api::message::{
    Changed, ChangesRequest, Checks, FindMany, Found, FoundMany, Manifest, Received, StateRequest,
    States, TicketName, WebhookHead,
};
use ticket_plugin_api::{
    self as api, Action, Check, ErrorKind, Incident, Retry, Ticket, UpdateRequest, Updated,
};

use crate::config::{BackendConfig, LookFirst, WhenUnknown, WorkerLimits};
use crate::error::{Error, Kind, Result};
use crate::life;
use crate::metrics::Metrics;
use crate::plugins::catalog::Stamp;
use crate::sent::Noted;
use crate::store::{Timestamp, Until, Update};
use crate::terminal::cut;
use crate::worker::{self, Exceeded, Worker, WorkerError};
use call::{CallContext, Mode, Services, Time};
pub use dry_run::Step;
pub(crate) use gateway::Agreement;
pub(crate) use in_process::load as load_in_process;
use pool::{Asked, Broken, NoInstance, Pool, Taken};
pub(crate) use reply::can_be_opened;
use request::request_for;
pub use request::wanted_key;
pub(crate) use template::{Given, News, Templates};

/// Bounds what the workers of all backends may take together, from now on.
pub(crate) fn bound_workers(limits: &WorkerLimits) {
    places::PLACES.bound(limits.most);
    worker::watch::bound_memory(limits.memory);
}

/// Bytes that are kept of what a ticket system says of a ticket's state.
const LONGEST_WORDS: usize = 200;

/// How many times as long as another call a search may take, as long as the ticket system goes on answering: a list of thousands of
/// tickets has many pages.
const SEARCH_TIMES: u32 = 10;

/// How long the call may take that makes a ticket: no request of it leaves later. None: it may not begin any more.
fn time_left(call_timeout: Duration, leave_by: Option<Instant>, now: Instant) -> Option<Duration> {
    let left = leave_by.map_or(call_timeout, |by| by.saturating_duration_since(now));
    (!left.is_zero()).then(|| left.min(call_timeout))
}

/// An incident, and the key that its ticket has in a backend.
#[derive(Debug, Clone)]
pub struct KeyedIncident {
    pub incident: Arc<Incident>,
    pub key: String,
    /// When the host was told of the incident. Its ticket isn't older than that, or else not older than the incident; unless an
    /// earlier host, or one that has forgotten it, made it.
    pub accepted_at: Timestamp,
    /// When the host may no longer make its ticket, since another one may do so from then on. None: nobody else does.
    pub leave_by: Option<Until>,
    /// Where it is noted what its ticket system is asked for.
    pub requests: Noted,
}

/// One thing to do to a ticket.
#[derive(Debug)]
pub struct WantedUpdate<'a> {
    pub of: &'a KeyedIncident,
    pub ticket: &'a Ticket,
    pub update: &'a Update,
    /// Whether an earlier try may have written something.
    pub again: bool,
}

/// What a plugin answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    Given(T),
    /// There certainly is no such ticket.
    NotFound,
    /// The plugin doesn't offer the operation.
    Unsupported,
}

/// What an operation would do.
#[derive(Debug)]
pub struct DryRun {
    /// What the plugin answered. Of a ticket that was only previewed nothing but the preview is set.
    pub answer: Result<Answer<Ticket>>,
    /// The requests that it would have sent, without secrets.
    pub requests: Vec<Step>,
}

/// One backend of the config, with its plugin.
#[derive(Debug)]
pub struct Backend {
    pub name: String,
    pub manifest: Manifest,
    /// What is most likely a mistake in the settings, one sentence each.
    pub warnings: Vec<String>,
    /// What the sandbox can't keep the plugin from doing on this machine, one sentence each.
    pub unconfined: Vec<String>,
    pub look_first: LookFirst,
    pub unknown: WhenUnknown,
    pub call_timeout: Duration,
    /// How many calls may be under way at once.
    pub concurrency: usize,
    /// What can be done to its tickets after they were made.
    pub life: Arc<life::Terms>,
    /// Which of the functions that a plugin may be without it has.
    offers: Vec<&'static str>,
    /// The plugin has these functions, and has said that it can't do that with these settings.
    cannot_find: AtomicBool,
    cannot_find_many: AtomicBool,
    made_of: MadeOf,
    services: Arc<Services>,
    /// The endpoint's scheme. The URL of a ticket must have this one, http or https.
    scheme: String,
    pool: Pool,
    /// The instance that reads webhooks, and nothing else: what anybody may send can break nothing that makes tickets.
    webhooks: Pool,
    /// How often the states of tickets are asked for; None: never.
    pub poll: Option<Duration>,
    metrics: Arc<Metrics>,
    /// Whether [`Backend::lacks_find`] has told its warning.
    told_of_no_find: AtomicBool,
}

/// What a backend was made of. Two backends that were made of the same do the same.
#[derive(Debug)]
struct MadeOf {
    config: BackendConfig,
    library: PathBuf,
    stamp: Stamp,
    /// The digest of the file that ca_file names: it may change while its name stays.
    authorities: Option<Digest>,
}

impl Backend {
    /// When the next request could leave. That is later than now after the ticket system has asked for a pause,
    /// and where requests are spaced.
    pub fn next_turn(&self) -> Instant {
        self.services.gateway.next_turn()
    }

    /// From now on other hosts make tickets there, too, and this is where they agree how fast.
    pub(crate) fn agree(&self, agreement: Arc<dyn Agreement>) {
        self.services.gateway.agree(agreement);
    }

    /// Another host was told that the ticket system wants to be left alone for that time.
    pub(crate) fn rest(&self, time: Duration) {
        self.services.gateway.rest(time);
    }

    /// Whether a pause that the ticket system asked for lasts now.
    pub fn paused(&self) -> bool {
        self.services.gateway.paused()
    }

    /// How long after a creation whose outcome is unknown "there is no ticket" is believed. What the operator says of this backend counts.
    /// Otherwise it is `default`, which lets the ticket system end what it is at work on, or the time for which the plugin says that the
    /// system's lists lag, if that is longer.
    pub fn settle(&self, default: Duration) -> Duration {
        let lag = Duration::from_secs(self.manifest.settle_seconds.unwrap_or(0).into());
        self.made_of.config.settle.unwrap_or_else(|| default.max(lag))
    }

    /// Whether the plugin can look for a ticket.
    pub fn finds(&self) -> bool {
        self.offers.contains(&"find") && !self.cannot_find.load(Ordering::Relaxed)
    }

    /// Whether it can look for many at once.
    pub fn finds_many(&self) -> bool {
        self.offers.contains(&"find_many") && !self.cannot_find_many.load(Ordering::Relaxed)
    }

    /// The plugin has the function, and says that it can't do that with these settings.
    pub fn cannot_find_many(&self) {
        self.cannot_find_many.store(true, Ordering::Relaxed);
    }

    /// Whether the plugin can tell in which state tickets are.
    pub fn tells_states(&self) -> bool {
        self.offers.contains(&"state")
    }

    /// Whether the plugin can tell which tickets changed.
    pub fn tells_changes(&self) -> bool {
        self.offers.contains(&"changes")
    }

    /// Whether the plugin can read webhooks of its ticket system.
    pub fn reads_webhooks(&self) -> bool {
        self.offers.contains(&"receive")
    }

    /// How long one search may take, as long as the ticket system goes on answering.
    pub fn longest_search(&self) -> Duration {
        self.call_timeout * SEARCH_TIMES
    }

    /// The warning that the plugin can't look for tickets: the first time, and never again.
    pub fn lacks_find(&self) -> Option<String> {
        let is_first = !self.told_of_no_find.swap(true, Ordering::Relaxed);
        is_first.then(|| {
            format!(
                "the plugin {} can't look for tickets, here and for all tickets of {}: creating one again makes a second",
                self.manifest.name, self.name
            )
        })
    }

    /// How long a try to make a ticket may take: it looks for one, creates one, and looks again.
    pub fn longest_try(&self) -> Duration {
        2 * self.longest_search() + self.call_timeout
    }

    /// Whether `other` would do just the same. Then this backend can be kept with its open instances when the
    /// config or the plugins are read anew.
    pub fn is_same(&self, other: &Backend) -> bool {
        let (own, recipe) = (&self.made_of, &self.pool.recipe);
        let (others, other_recipe) = (&other.made_of, &other.pool.recipe);
        recipe.settings.expose_secret() == other_recipe.settings.expose_secret()
            && own.config == others.config
            && (&own.library, own.stamp) == (&others.library, others.stamp)
            && recipe.image.sha256 == other_recipe.image.sha256
            && recipe.confinement.policy == other_recipe.confinement.policy
            && recipe.confinement.grants_same_files(&other_recipe.confinement)
            && own.authorities == others.authorities
    }

    /// The file of its library, and what tells that file from one that replaces it.
    pub fn library(&self) -> (&Path, Stamp) {
        (&self.made_of.library, self.made_of.stamp)
    }

    /// The directories that the plugin is granted and that aren't there, if they were left out.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.pool.recipe.confinement.left_out
    }

    /// Has the first call use a worker in which this backend's library is loaded already, unless it was granted less than
    /// the backend's workers are.
    pub(crate) fn begin_with(&self, worker: Worker) {
        self.pool.begin_with(worker);
    }

    /// Has the plugin open the backend's settings, without anything being sent.
    ///
    /// # Errors
    /// The plugin refuses the settings, or it broke.
    pub async fn open(&self) -> Result<()> {
        let context = self.context(None, Mode::Offline);
        self.instance(&self.pool, &context).await.map(Taken::give_back)
    }

    /// What the plugin's check found, line by line.
    ///
    /// # Errors
    /// The plugin could not be asked, or it broke.
    pub async fn check(&self) -> Result<Vec<Check>> {
        let context = self.context(None, Mode::Normal);
        match self.call(Operation::Check, "", &context).await? {
            Answer::Given(Checks { checks }) => Ok(reply::checks(&checks, &self.services.redactor)),
            answer => Err(self.unfit(Operation::Check, &answer)),
        }
    }

    /// The ticket that was created with the incident's key.
    ///
    /// # Errors
    /// The search failed, and so it is not known whether there is a ticket.
    pub async fn find(&self, wanted: &KeyedIncident) -> Result<Answer<Ticket>> {
        let time = Time::while_it_goes_on(self.call_timeout, self.longest_search());
        let context = self.noting(time, wanted);
        let request = request_for(Operation::Find, wanted, false);
        match self.call(Operation::Find, &request, &context).await? {
            Answer::Given(ticket) => Ok(Answer::Given(self.checked(&ticket)?)),
            Answer::NotFound => Ok(Answer::NotFound),
            Answer::Unsupported => {
                self.cannot_find.store(true, Ordering::Relaxed);
                Ok(Answer::Unsupported)
            }
        }
    }

    /// Which of these tickets there are, as far as one call finds that out.
    ///
    /// # Errors
    /// The search failed, and so nothing is known that wasn't before.
    pub async fn find_many(&self, asked: &FindMany) -> Result<Answer<FoundMany>> {
        let time = Time::while_it_goes_on(self.call_timeout, self.longest_search());
        let answer = self.ask_for::<FoundMany>(Operation::FindMany, time, asked).await?;
        let Answer::Given(mut found) = answer else { return Ok(answer) };
        found.answers(asked).map_err(|why| self.unsound(Operation::FindMany.name(), &why))?;
        for Found { ticket, .. } in &mut found.found {
            let Ticket { url, id, .. } = self.checked(&Ticket {
                url: std::mem::take(&mut ticket.url),
                id: std::mem::take(&mut ticket.id),
                ..Ticket::default()
            })?;
            *ticket = TicketName { url, id };
        }
        Ok(Answer::Given(found))
    }

    /// Creates a ticket, without looking for one first.
    ///
    /// # Errors
    /// Those whose `retry` is [`Retry::Unknown`] leave open whether there is a ticket now.
    pub async fn create(&self, wanted: &KeyedIncident) -> Result<Ticket> {
        let Some(time) =
            time_left(self.call_timeout, wanted.leave_by.as_ref().map(Until::get), Instant::now())
        else {
            return Err(self.held_up("make the ticket"));
        };
        let context = self.noting(Time::of(time), wanted);
        let request = request_for(Operation::Create, wanted, false);
        match self.call(Operation::Create, &request, &context).await {
            Ok(Answer::Given(ticket)) => {
                self.checked(&ticket).map_err(|error| error.retry(Retry::Unknown))
            }
            Ok(answer) => Err(self.unfit(Operation::Create, &answer).retry(Retry::Unknown)),
            Err(error) => Err(doubted(
                error,
                context.unclear(),
                "there may be a ticket: a request that can create one",
            )),
        }
    }

    /// Does one thing to a ticket. None: the ticket is gone.
    ///
    /// # Errors
    /// Those whose `retry` is [`Retry::Unknown`] leave open whether it was carried out, or a part of it.
    pub async fn update(&self, wanted: &WantedUpdate<'_>) -> Result<Option<Updated>> {
        let leave_by = wanted.of.leave_by.as_ref().map(Until::get);
        let Some(time) = time_left(self.call_timeout, leave_by, Instant::now()) else {
            return Err(self.held_up("carry the step out"));
        };
        let Update { action, mark, diff, said, .. } = wanted.update;
        let news = News { diff: diff.clone(), said: said.clone() };
        let services = Arc::clone(&self.services);
        let incident = Some(Arc::clone(&wanted.of.incident));
        let context = CallContext::new(services, incident, Time::of(time), Mode::Normal);
        let context = Arc::new(context.with_news(news).noting(wanted.of.requests.clone()));
        let closes = *action == Action::Close;
        let fields = if closes { self.made_of.config.close_fields.clone() } else { Map::new() };
        let request = UpdateRequest {
            ticket: TicketName { url: wanted.ticket.url.clone(), id: wanted.ticket.id.clone() },
            key: wanted.of.key.clone(),
            incident: &wanted.of.incident.attributes,
            step: api::Step { id: mark.clone(), action: *action, diff: diff.clone(), fields },
            again: wanted.again,
            dry_run: false,
        };
        let request = serde_json::to_string(&request).expect("JSON's own values become JSON");
        match self.call::<Updated>(Operation::Update, &request, &context).await {
            Ok(Answer::Given(updated)) => {
                let unfit = |why| {
                    let why = Error::plugin(format!("update: its reply {why}"));
                    self.error(why.retry(Retry::Unknown))
                };
                updated.answers(*action).map_err(unfit)?;
                let warnings = reply::list(&updated.warnings, &self.services.redactor);
                Ok(Some(Updated { warnings, preview: None, ..updated }))
            }
            Ok(Answer::NotFound) => Ok(None),
            Ok(answer) => Err(self.unfit(Operation::Update, &answer)),
            Err(error) => Err(doubted(
                error,
                context.unclear(),
                "the step may have been carried out: a request that can change something",
            )),
        }
    }

    /// In which state tickets are, as far as one call finds that out.
    ///
    /// # Errors
    /// Nothing was found out.
    pub async fn state(&self, asked: &StateRequest) -> Result<Answer<States>> {
        let time = Time::while_it_goes_on(self.call_timeout, self.longest_search());
        let answer = self.ask_for::<States>(Operation::State, time, asked).await?;
        let Answer::Given(mut states) = answer else { return Ok(answer) };
        states.answers(asked).map_err(|why| self.unsound(Operation::State.name(), &why))?;
        for status in &mut states.tickets {
            status.by = self.shown(&status.by);
            status.detail = self.shown(&status.detail);
        }
        Ok(Answer::Given(states))
    }

    /// Which tickets changed since the cursor of the last answer.
    ///
    /// # Errors
    /// That isn't known.
    pub async fn changes(&self, cursor: Option<&str>) -> Result<Answer<Changed>> {
        let time = Time::while_it_goes_on(self.call_timeout, self.longest_search());
        let asked = ChangesRequest { cursor: cursor.map(str::to_owned) };
        let answer = self.ask_for::<Changed>(Operation::Changes, time, &asked).await?;
        if let Answer::Given(changed) = &answer {
            changed.answers(&asked).map_err(|why| self.unsound(Operation::Changes.name(), &why))?;
        }
        Ok(answer)
    }

    /// What a webhook is about. Nothing is sent to the ticket system.
    ///
    /// # Errors
    /// It can't be read, or the plugin broke.
    pub async fn receive(&self, head: &WebhookHead, body: &[u8]) -> Result<Answer<Received>> {
        let context = self.context(None, Mode::Webhook);
        let head = serde_json::to_string(head).expect("texts become JSON");
        let asked = Asked::Receive(head.into(), body.into());
        let answer = self.call_in::<Received>(&self.webhooks, asked, &context).await?;
        let Answer::Given(received) = answer else { return Ok(answer) };
        received.is_sound().map_err(|why| self.unsound("receive", &why))?;
        let forged = received.forged.map(|why| self.shown(&why));
        // It goes to whoever sent the webhook.
        let answer = received.answer.map(|text| self.services.redactor.strike(&text).to_string());
        Ok(Answer::Given(Received { forged, answer, ..received }))
    }

    /// A text of the ticket system's or the plugin's, made fit to be shown.
    fn shown(&self, text: &str) -> String {
        cut(&reply::text(text, &self.services.redactor), LONGEST_WORDS)
    }

    /// Asks for something that changes nothing.
    async fn ask_for<T: DeserializeOwned>(
        &self,
        operation: Operation,
        time: Time,
        asked: &impl Serialize,
    ) -> Result<Answer<T>> {
        let context = self.context_for(time, None, Mode::Normal);
        let request = serde_json::to_string(asked).expect("texts and lists of them become JSON");
        self.call(operation, &request, &context).await
    }

    /// The error for a reply that can't be.
    fn unsound(&self, function: &str, why: &str) -> Error {
        self.error(Error::plugin(format!("{function}: its reply {why}")))
    }

    /// The error of a call that may not begin any more, since another host may do the same by now.
    fn held_up(&self, what: &str) -> Error {
        let held =
            format!("this machine held the host up for so long that another one may {what} by now");
        let error = Error::plugin(held).retry(Retry::Later);
        self.error(Error { is_of_machine: true, ..error })
    }

    /// Runs `operation` and sends nothing: its requests are kept to be shown.
    pub async fn dry_run(&self, operation: Operation, wanted: &KeyedIncident) -> DryRun {
        if !self.manifest.permissions.is_empty() && !self.manifest.dry_run {
            let refused = Error::plugin("this plugin does more than HTTP and offers no dry run")
                .help("`ticket-host plugins show` tells what it does beside HTTP");
            return DryRun { answer: Err(self.error(refused)), requests: Vec::new() };
        }
        let context = self.context(Some(&wanted.incident), Mode::DryRun);
        let request = request_for(operation, wanted, true);
        let answer = self.call::<Ticket>(operation, &request, &context).await;
        let redactor = &self.services.redactor;
        let shown = |ticket: Ticket| match &ticket.preview {
            Some(preview) => {
                let preview = Some(reply::preview(preview, redactor));
                Ok(Ticket { preview, ..Ticket::default() })
            }
            None => self.checked(&ticket),
        };
        let answer = answer.and_then(|answer| match answer {
            Answer::Given(ticket) => shown(ticket).map(Answer::Given),
            answer => Ok(answer),
        });
        DryRun { answer, requests: context.shown() }
    }

    /// The title and the body (Markdown) of an incident's ticket, by the operator's templates.
    ///
    /// # Errors
    /// Why they can't be filled in.
    pub fn texts(&self, incident: &Incident) -> std::result::Result<(String, String), String> {
        let render = |part, format| {
            let news = News::default();
            self.services.templates.render(part, format, "", incident, &news)
        };
        Ok((render("title", "text")?, render("body", "markdown")?))
    }

    fn context(&self, incident: Option<&Arc<Incident>>, mode: Mode) -> Arc<CallContext> {
        self.context_for(Time::of(self.call_timeout), incident, mode)
    }

    fn context_for(
        &self,
        time: Time,
        incident: Option<&Arc<Incident>>,
        mode: Mode,
    ) -> Arc<CallContext> {
        let services = Arc::clone(&self.services);
        Arc::new(CallContext::new(services, incident.cloned(), time, mode))
    }

    /// A call for an incident's ticket, of which it is noted what it asks for.
    fn noting(&self, time: Time, wanted: &KeyedIncident) -> Arc<CallContext> {
        let services = Arc::clone(&self.services);
        let incident = Some(Arc::clone(&wanted.incident));
        let context = CallContext::new(services, incident, time, Mode::Normal);
        Arc::new(context.noting(wanted.requests.clone()))
    }

    /// An instance for one call: an idle one if there is one, otherwise a new one.
    async fn instance<'a>(&self, pool: &'a Pool, context: &Arc<CallContext>) -> Result<Taken<'a>> {
        let opening = || self.context_for(context.time.of_part(), None, Mode::Offline);
        pool.take(context, opening).await.map_err(|why| self.not_opened(why))
    }

    /// Has an instance do `operation`.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: &str,
        context: &Arc<CallContext>,
    ) -> Result<Answer<T>> {
        self.call_in(&self.pool, Asked::Do(operation, request.into()), context).await
    }

    async fn call_in<T: DeserializeOwned>(
        &self,
        pool: &Pool,
        asked: Asked<'_>,
        context: &Arc<CallContext>,
    ) -> Result<Answer<T>> {
        let taken = self.instance(pool, context).await?;
        let (name, writes) = (asked.name(), asked.writes());
        let started = Instant::now();
        let returned = taken.call(asked, context).await;
        self.metrics.call(&self.name, name, started.elapsed());
        // After an operation that changes nothing "unknown" means no more than "try it later".
        let settled = |error: Error| match error.retry {
            Retry::Unknown if !writes => error.retry(Retry::Later),
            _ => error,
        };
        let (taken, returned) =
            returned.map_err(|cause| settled(self.broken(&cause, Some(context))))?;
        match returned.parse::<T>() {
            Err(error) if error.kind == ErrorKind::Plugin => Err(settled(self.error(error.into()))),
            parsed => {
                taken.give_back();
                match parsed {
                    Ok(Some(value)) => Ok(Answer::Given(value)),
                    Ok(None) => Ok(Answer::NotFound),
                    Err(error) if error.kind == ErrorKind::Unsupported => Ok(Answer::Unsupported),
                    Err(error) => Err(settled(self.error(error.into()))),
                }
            }
        }
    }

    /// The error for a call for which there was no instance. Nothing was created.
    fn not_opened(&self, why: NoInstance) -> Error {
        match why {
            NoInstance::Busy => {
                let seconds = self.call_timeout.as_secs_f64();
                let message =
                    format!("as many calls as it may make at once were under way for {seconds} s");
                let busy = Error::new(Kind::Client, message).retry(Retry::Later);
                self.error(busy.help("raise concurrency, or call_timeout_seconds"))
            }
            NoInstance::NoPlace => {
                let seconds = self.call_timeout.as_secs_f64();
                let message = format!(
                    "as many workers as may be, of all backends, were busy for {seconds} s"
                );
                let busy = Error::new(Kind::Client, message).retry(Retry::Later);
                let busy = busy.help("raise limits.max_workers, or call_timeout_seconds");
                self.error(Error { is_of_machine: true, ..busy })
            }
            NoInstance::Broken(Broken::Worker(cause)) if cause.is_of_machine() => {
                self.of_machine(&cause)
            }
            NoInstance::Broken(cause) => self.broken(&cause, None),
            NoInstance::Refused(returned) => self.refused_to_open(returned),
        }
    }

    /// The error for a worker that this machine has no room for. Nothing was created, and no plugin was asked.
    fn of_machine(&self, cause: &WorkerError) -> Error {
        let why = std::error::Error::source(cause).map(|why| format!(" ({why})"));
        let message = format!(
            "this machine has no room for another process: {cause}{}",
            why.unwrap_or_default()
        );
        let error = Error::new(Kind::Client, message).retry(Retry::Later).help(
            "end what takes its processes, memory or descriptors, or raise what bounds the host: TasksMax=, LimitNPROC= \
             and LimitNOFILE= of its unit, or ulimit -u and -n; tickets wait for that",
        );
        self.error(Error { is_of_machine: true, ..error })
    }

    fn refused_to_open(&self, returned: Returned) -> Error {
        match returned.parse::<Value>() {
            Err(error) => {
                let error = self.error(error.into());
                // open() creates nothing: there "unknown" means "later" (ticket_plugin.h).
                match error.retry {
                    Retry::Unknown => error.retry(Retry::Later),
                    _ => error,
                }
            }
            Ok(_) => self.error(Error::plugin("open returned NOT_FOUND")),
        }
    }

    /// The error for a call that broke. It says that nothing was created, or that nobody knows that. Without a
    /// `context` the plugin broke while it was loaded or opened.
    fn broken(&self, cause: &Broken, context: Option<&CallContext>) -> Error {
        // The host sees what goes through the gateway. What a plugin does by its permissions it doesn't see.
        let unseen = !self.manifest.permissions.is_empty();
        let unknown = context.is_some_and(|context| {
            context.may_have_created() || unseen && context.mode == Mode::Normal
        });
        if matches!(cause, Broken::Worker(_)) {
            self.metrics.worker_restart(&self.name);
        }
        let kind = match cause {
            Broken::Load(_)
            | Broken::Worker(WorkerError::NotLoaded(_) | WorkerError::NotConfined(_)) => {
                Kind::Import
            }
            _ => Kind::Plugin,
        };
        let mut message = match cause {
            Broken::Worker(WorkerError::NotGranted(_)) => cause.to_string(),
            _ => format!("the plugin failed: {cause}"),
        };
        let mut source = std::error::Error::source(cause);
        while let Some(why) = source {
            message.push_str(&format!(" ({why})"));
            source = why.source();
        }
        let retry = match cause {
            _ if unknown => Retry::Unknown,
            // The machine may have been too busy.
            Broken::Worker(WorkerError::NotLoadedInTime(Exceeded::Clock(_))) => Retry::Later,
            _ => Retry::Never,
        };
        let help = match cause {
            Broken::Worker(WorkerError::NotConfined(_)) => worker::NOT_CONFINED_HELP.to_owned(),
            Broken::Worker(WorkerError::NotGranted(_)) => {
                "let the host's user reach the path (chown, chmod), or grant another one".to_owned()
            }
            _ => {
                let library = self.made_of.library.display();
                format!("this is the plugin's fault: tell who made it ({library})")
            }
        };
        self.error(Error::new(kind, message).retry(retry).help(help))
    }

    /// The error for an answer that this operation may not give.
    fn unfit<T>(&self, operation: Operation, answer: &Answer<T>) -> Error {
        let returned = match answer {
            Answer::Unsupported => "UNSUPPORTED",
            _ => "NOT_FOUND",
        };
        self.error(Error::plugin(format!("{} returned {returned}", operation.name())))
    }

    /// An error of this backend that can be shown and kept, without its secret.
    fn error(&self, error: Error) -> Error {
        let redactor = &self.services.redactor;
        let message = reply::text(&error.message, redactor);
        let help = error.help.as_deref().map(|help| reply::text(help, redactor));
        Error { message, help, ..error }.at(&self.services.label)
    }

    /// The ticket, made fit to be shown and kept.
    ///
    /// # Errors
    /// Nobody can open its URL.
    fn checked(&self, ticket: &Ticket) -> Result<Ticket> {
        let checked = reply::ticket(ticket, &self.scheme, &self.services.redactor);
        checked.map_err(|start| {
            self.error(Error::plugin(format!(
                "the plugin replied a ticket with the URL {start:?}, which nobody can open"
            )))
        })
    }
}

/// The error of a call of which a request came to what is `unclear`: it may have been carried out. A plugin that says "nothing
/// was created" can't know that.
fn doubted(error: Error, unclear: Option<&str>, maybe: &str) -> Error {
    match unclear {
        Some(came) if error.retry != Retry::Unknown => {
            let message = format!("{} ({maybe} {came})", error.message);
            Error { message, retry: Retry::Unknown, ..error }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_of_a_creation_is_doubted_after_an_unclear_answer() {
        for (said, unclear, retry) in [
            (Retry::Later, Some("was answered 503"), Retry::Unknown),
            (Retry::Never, Some("was answered 500"), Retry::Unknown),
            (Retry::Unknown, Some("was answered 500"), Retry::Unknown),
            (Retry::Later, None, Retry::Later),
            (Retry::Never, None, Retry::Never),
        ] {
            let error = Error::new(Kind::Client, "no").retry(said);
            let error = doubted(error, unclear, "there may be a ticket: it");
            assert_eq!(error.retry, retry, "{said:?} {unclear:?}");
            let tells = unclear.is_some() && said != Retry::Unknown;
            assert_eq!(error.message.contains("there may be a ticket"), tells, "{error}");
        }
    }
}
