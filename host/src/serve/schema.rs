//! What the service is asked and what it answers, as JSON: the schemas of its OpenAPI document.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ticket_plugin_api::{Difference, Ticket};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::argus;
use crate::machine::StepState;
use crate::queue::{Standing, Unfit};
use crate::sent::{Requests, Sent};
use crate::store::{self, Attempt, Failure, Job, Life, State, Timestamp, UpdateRow};

/// Which job is meant, by the path.
#[derive(Debug, IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(super) struct JobId(
    /// The job's number
    #[param(example = 17)]
    pub i64,
);

impl<S: Send + Sync> FromRequestParts<S> for JobId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<JobId, Problem> {
        let id = Path::from_request_parts(parts, state).await;
        let not_found = |_| Problem::not_found("a ticket's id is a number");
        id.map(|Path(id)| JobId(id)).map_err(not_found)
    }
}

/// An incident to be made a ticket of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with an `incident`")]
#[schema(examples(json!({"incident": incident_example(), "wait_ms": 5000})))]
pub(super) struct Create {
    #[schema(value_type = IncidentSchema)]
    pub incident: Value,
    /// Which backend of the config; the default one if none is named
    pub backend: Option<String>,
    /// What identifies the incident's ticket: 1 to 1000 characters without a control character; white space around
    /// them is left out. If there is none: for an incident of the watched Argus its page there, else the incident's
    /// `argus_url`, else its `source` and `pk`, else its `ticket_url`
    #[schema(min_length = 1)]
    pub key: Option<String>,
    /// How many milliseconds to wait for the ticket, 300000 at most; 30000 if nothing is said
    #[schema(format = "uint64")]
    pub wait_ms: Option<u64>,
}

/// An incident as Argus serializes it. It may have more than is named here, which the backend's templates and
/// mappings find. What isn't of the kind that is meant is taken as if it weren't there, but for the description.
#[derive(ToSchema)]
#[schema(as = Incident, examples(incident_example))]
#[expect(dead_code, reason = "the schema of ticket_plugin_api::Incident")]
struct IncidentSchema {
    /// What happened; it may be empty
    description: String,
    /// A number or a text: which incident of its source it is
    #[schema(required = false)]
    pk: Value,
    /// The name of what reported it, or an object with that as `name`
    #[schema(required = false)]
    source: Value,
    /// A number: 1 is the worst
    #[schema(required = false)]
    level: Value,
    /// A text: when it began, as RFC 3339 has it
    #[schema(required = false)]
    start_time: Value,
    /// A text: when it ended, as RFC 3339 has it; `infinity` as long as it goes on
    #[schema(required = false)]
    end_time: Value,
    /// A list of texts `key=value`, or of objects with such a text as `tag`
    #[schema(required = false)]
    tags: Value,
    /// A text: the URL of its page in Argus
    #[schema(required = false)]
    argus_url: Value,
    /// A text: the URL of its page in its source
    #[schema(required = false)]
    details_url: Value,
    /// A text: the URL of the ticket that it has already
    #[schema(required = false)]
    ticket_url: Value,
}

fn incident_example() -> Value {
    json!({
        "pk": 4711, "source": {"name": "nav"}, "level": 2, "start_time": "2026-11-26T09:30:00+01:00",
        "end_time": "infinity", "description": "gw1.example.org is down",
        "tags": [{"tag": "host=gw1.example.org"}],
        "argus_url": "https://argus.example.org/incidents/4711/",
    })
}

/// An incident that was accepted, and what became of it so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(job_example))]
pub(crate) struct JobView {
    id: i64,
    backend: String,
    /// What identifies the incident's ticket in the backend
    key: String,
    state: State,
    /// The incident's level: 1 is the worst
    level: i64,
    #[schema(format = DateTime)]
    accepted_at: String,
    #[schema(format = DateTime)]
    changed_at: String,
    /// When it is tried again, or looked for
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    due_at: Option<String>,
    /// How many tries there were
    attempts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TicketSchema, required = false)]
    ticket: Option<Ticket>,
    /// Why the last try gave no ticket
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<Failure>,
    /// Every try; only where one job is shown
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    history: Option<Vec<AttemptView<State>>>,
}

fn job_example() -> Value {
    json!({
        "id": 17, "backend": "noc-rt", "key": "https://argus.example.org/incidents/4711/",
        "state": "created", "level": 2, "accepted_at": "2026-11-26T08:30:02.117Z",
        "changed_at": "2026-11-26T08:30:02.968Z", "attempts": 1, "ticket": ticket_example(),
    })
}

/// A ticket as its plugin replied it.
#[derive(ToSchema)]
#[schema(as = Ticket, examples(ticket_example))]
#[expect(dead_code, reason = "the schema of ticket_plugin_api::Ticket")]
struct TicketSchema {
    /// Where a person opens it
    url: String,
    /// The system's own short name of it
    #[schema(nullable = false)]
    id: Option<String>,
    /// What a mapping wanted and the incident lacks
    missing_fields: Vec<String>,
    /// What is not on the ticket as it was asked for
    warnings: Vec<String>,
}

fn ticket_example() -> Value {
    json!({
        "url": "https://rt.example.org/Ticket/Display.html?id=1234", "id": "1234",
        "missing_fields": [], "warnings": [],
    })
}

/// One try.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptView<S> {
    /// 1 is the first
    number: i64,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(format = DateTime)]
    ended_at: String,
    /// The state that it led to
    outcome: S,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<Failure>,
    /// What it asked the ticket system for, as far as that was noted: the first five requests and the last five
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<Sent>,
    /// How many between these were not kept
    #[serde(skip_serializing_if = "is_zero")]
    requests_left_out: u64,
}

impl From<Job> for JobView {
    fn from(job: Job) -> JobView {
        let due_at = job.due_at.filter(|_| job.state != State::Creating);
        JobView {
            id: job.id,
            backend: job.backend,
            key: job.key,
            state: job.state,
            level: job.level,
            accepted_at: job.accepted_at.rfc3339(),
            changed_at: job.changed_at.rfc3339(),
            due_at: due_at.map(due),
            attempts: job.attempts,
            ticket: job.ticket,
            error: job.failure,
            history: None,
        }
    }
}

/// One job, with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WholeJob {
    #[serde(flatten)]
    job: JobView,
    #[serde(flatten)]
    life: LifeView,
}

impl WholeJob {
    pub(crate) fn new(job: Job, attempts: Vec<Attempt>, life: Life) -> WholeJob {
        let history = Some(history(attempts));
        WholeJob { job: JobView { history, ..JobView::from(job) }, life: life.into() }
    }
}

/// Of what nothing need be said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn history<S: From<State>>(attempts: Vec<Attempt>) -> Vec<AttemptView<S>> {
    let view = |attempt: Attempt| {
        let Requests { kept, left_out } = attempt.requests.unwrap_or_default();
        AttemptView {
            number: attempt.number,
            started_at: attempt.started_at.rfc3339(),
            ended_at: attempt.ended_at.rfc3339(),
            outcome: attempt.outcome.into(),
            error: attempt.failure,
            requests: kept,
            requests_left_out: left_out,
        }
    };
    attempts.into_iter().map(view).collect()
}

/// What is known of a ticket since it was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LifeView {
    /// The state that the ticket was in when it was last written to: open, closed, cancelled, gone (it was deleted) or foreign (it is
    /// not where the backend makes tickets any more)
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<String>,
    /// Whether a person made the ticket, and gave its URL to the incident in Argus: it is closed only if `on_ticket_pasted` says so
    pasted: bool,
    /// The job of the ticket that the incident had before
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    former: Option<i64>,
    /// What the ticket is of
    incidents: Vec<IncidentView>,
    /// What was done to the ticket, or is to be done, in this order
    steps: Vec<StepView>,
}

/// An incident, as its source told of it last.
#[derive(Debug, Serialize, ToSchema)]
struct IncidentView {
    /// `argus`; empty if all that is known of it is its key
    source: String,
    /// Its number there, or its key
    id: String,
    key: String,
    status: IncidentStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<i64>,
    description: String,
}

/// Whether an incident goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum IncidentStatus {
    Open,
    Ended,
}

/// Something that is done to a ticket after it was made.
#[derive(Debug, Serialize, ToSchema)]
struct StepView {
    id: i64,
    /// comment, close or reopen
    action: &'static str,
    state: StepState,
    #[schema(format = DateTime)]
    accepted_at: String,
    #[schema(format = DateTime)]
    changed_at: String,
    /// When it is tried again
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    due_at: Option<String>,
    /// How the incident differs from what the ticket was told before, by its attributes: what it was (`from`) and is (`to`)
    #[schema(value_type = Object)]
    diff: BTreeMap<String, Difference>,
    /// What a person says with it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<String>,
    /// What is not on the ticket as it was asked for
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Why the last try failed
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<Failure>,
    history: Vec<AttemptView<StepState>>,
}

impl From<Life> for LifeView {
    fn from(life: Life) -> LifeView {
        let incident = |store::Incident { identity, key, now }| IncidentView {
            source: identity.source,
            id: identity.id,
            key,
            status: if now.open { IncidentStatus::Open } else { IncidentStatus::Ended },
            level: now.level,
            description: now.description,
        };
        LifeView {
            status: life.status.map(|state| state.name().to_owned()),
            pasted: life.pasted,
            former: life.former,
            incidents: life.incidents.into_iter().map(incident).collect(),
            steps: life.updates.into_iter().map(StepView::from).collect(),
        }
    }
}

impl From<UpdateRow> for StepView {
    fn from(row: UpdateRow) -> StepView {
        let due_at = row.due_at.filter(|_| row.state != State::Creating);
        StepView {
            id: row.id,
            action: row.update.action.name(),
            state: row.state.into(),
            accepted_at: row.accepted_at.rfc3339(),
            changed_at: row.changed_at.rfc3339(),
            due_at: due_at.map(due),
            diff: row.update.diff,
            text: row.update.said,
            warnings: row.warnings,
            error: row.failure,
            history: history(row.attempts),
        }
    }
}

/// When something is due, which may be now.
fn due(at: Timestamp) -> String {
    if at == Timestamp::EPOCH { Timestamp::now() } else { at }.rfc3339()
}

/// How an incident is now, as a monitoring system reports it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with an `incident` and a `status`")]
#[schema(examples(json!({"incident": incident_example(), "status": "open"})))]
pub(super) struct Report {
    #[schema(value_type = IncidentSchema)]
    pub incident: Value,
    /// Whether it goes on
    pub status: IncidentStatus,
    /// As for `POST /v1/tickets`
    pub backend: Option<String>,
    /// As for `POST /v1/tickets`
    #[schema(min_length = 1)]
    pub key: Option<String>,
    /// How many milliseconds to wait for the ticket of one that is open, 300000 at most; 0 if nothing is said
    #[schema(format = "uint64")]
    pub wait_ms: Option<u64>,
}

/// An incident that was reported, and its tickets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "open", "tickets": [job_example()]})))]
pub(super) struct Reported {
    pub status: IncidentStatus,
    /// None if it ended and no ticket had been asked for
    pub tickets: Vec<JobView>,
}

/// Which jobs are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Of this backend
    #[param(nullable = false)]
    pub backend: Option<String>,
    /// In this state
    #[param(nullable = false)]
    pub state: Option<State>,
    /// With a step in this state
    #[param(nullable = false)]
    pub step: Option<StepState>,
    /// With this key
    #[param(nullable = false)]
    pub key: Option<String>,
    /// From where the last page ended: its `next`
    #[param(nullable = false)]
    pub cursor: Option<i64>,
    /// How many: 1 or more, of which 1000 at most are given at once; 100 if nothing is said
    #[param(nullable = false, minimum = 1, example = 20)]
    pub limit: Option<i64>,
}

/// Jobs in the order in which they were accepted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"tickets": [job_example()], "next": 17})))]
pub(super) struct Jobs {
    pub tickets: Vec<JobView>,
    /// The cursor of the next page, if there is one
    #[schema(required = true)]
    pub next: Option<i64>,
}

/// A backend of the config.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "name": "noc-rt", "plugin": "rt", "endpoint": "https://rt.example.org/", "ready": true, "version": "0.1.0",
})))]
pub(super) struct BackendView {
    pub name: String,
    /// As the config has it
    pub plugin: String,
    pub endpoint: String,
    /// Whether it can make tickets, as far as is known
    pub ready: bool,
    /// Why it can't
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<Unfit>,
    /// The version of the plugin
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<Failure>,
}

/// A library in the plugin directories.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "file": "/usr/lib/ticket-host/plugins/libticket_plugin_rt.so", "name": "rt", "version": "0.1.0",
    "description": "Tickets in Request Tracker",
})))]
pub(super) struct PluginView {
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub description: Option<String>,
    /// Why it can't be used
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<Failure>,
}

/// Whether incidents can be accepted, and made tickets of.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "ready": true, "store": true, "backends": 1, "unready": 0, "orphans": 0,
    "each": [{"name": "noc-rt", "ready": true}],
})))]
pub(super) struct Ready {
    /// Whether incidents are accepted: the store takes them, and the config has a backend
    pub ready: bool,
    /// Whether the store takes incidents; the log says why not
    pub store: bool,
    /// Backends that can make tickets, as far as is known
    pub backends: usize,
    /// Backends that can't: what is accepted for them waits
    pub unready: usize,
    /// Tickets that wait for a backend which the config doesn't have; the log and `/metrics` say for which
    pub orphans: i64,
    /// Each of them, for who has a token with the scope `read`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub each: Option<Vec<BackendReady>>,
    /// What the watcher of Argus did last, if the config names one, for who has a token with the scope `read`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub argus: Option<ArgusReady>,
}

/// How it goes with the Argus that is watched. Whatever it says, incidents are accepted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "last_poll": "2026-11-26T08:30:00.003Z", "last_told": "2026-11-26T08:29:31.514Z", "listed": 3, "skipped": 0,
})))]
pub(crate) struct ArgusReady {
    /// When it last listed its incidents; missing if it never did
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    pub last_poll: Option<String>,
    /// When it was last told of a ticket; missing if it never was
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    pub last_told: Option<String>,
    /// How many open incidents without a ticket it listed then
    pub listed: usize,
    /// How many of them are not filed, since they were there before it was watched: see `argus.backlog` in the config
    skipped: usize,
    /// What is wrong
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<Failure>,
}

impl ArgusReady {
    /// What is wrong.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.error.as_ref()
    }
}

impl From<argus::Done> for ArgusReady {
    fn from(done: argus::Done) -> ArgusReady {
        ArgusReady {
            last_poll: done.last_poll.map(Timestamp::rfc3339),
            last_told: done.last_told.map(Timestamp::rfc3339),
            listed: done.listed,
            skipped: done.skipped,
            error: done.error().cloned(),
        }
    }
}

/// Whether one backend can make tickets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BackendReady {
    name: String,
    ready: bool,
    /// Why it can't; `/v1/backends` says more
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<Unfit>,
}

impl From<Standing> for BackendReady {
    fn from(Standing { name, unfit, .. }: Standing) -> BackendReady {
        BackendReady { name, ready: unfit.is_none(), reason: unfit }
    }
}
