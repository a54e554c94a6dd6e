//! What can be asked of the service: its routes, and what they take and give.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ticket_plugin_api::{Ticket, json};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Service;
use super::budget::{Budget, Held};
use super::problem::Problem;
use crate::config::Scope;
use crate::error::Error;
use crate::queue::{self, Standing, Unfit};
use crate::setup::Setup;
use crate::store::{self, Attempt, Cursor, Failure, Filter, Job, New, Order, State, Timestamp};
use crate::{argus, incident};

/// Bytes that a request may have in addition to its incident.
const BESIDE: usize = 16 << 10;
/// How long a request's body may take to come.
const BODY: Duration = Duration::from_secs(20);
/// A body that is too large is read on for so many bytes, before it is answered.
const DROPPED: usize = 16 << 20;
/// Bytes that are set aside for a ticket in a list: two lists of 16 KiB, a failure of 8 KiB and a URL of 4 KiB
/// are the most that is kept of one, and hardly any has a tenth of that.
const ROW: usize = 48 << 10;
/// Bytes that are set aside for a ticket with all its tries.
const HISTORY: usize = 1 << 20;
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const DEFAULT_PAGE: i64 = 100;
const LARGEST_PAGE: i64 = 1000;

#[derive(OpenApi)]
#[openapi(info(
    title = "ticket-host",
    description = "Every incident gets exactly one ticket, whatever breaks."
))]
struct Document;

/// All routes. Each is in the group of its scope, but for those that need no token.
pub(super) fn router(service: Arc<Service>) -> axum::Router {
    let create = OpenApiRouter::new().routes(routes!(create));
    let read = OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(backends))
        .routes(routes!(plugins));
    let admin = OpenApiRouter::new().routes(routes!(retry)).routes(routes!(cancel));
    let (routes, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(guarded(create, &service, Scope::Create))
        .merge(guarded(read, &service, Scope::Read))
        .merge(guarded(admin, &service, Scope::Admin))
        .merge(probes(&service))
        .split_for_parts();
    let document = Bytes::from(document.to_json().unwrap_or_default());
    let openapi = move || {
        let document = document.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], document) }
    };
    routes
        .route("/openapi.json", axum::routing::get(openapi))
        .fallback(|| async { Problem::not_found("there is nothing here; see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            let detail = "this path does not take this method; see /openapi.json";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "usage", detail)
        })
        .with_state(service)
}

/// What a connection beyond the bounds may ask: the probes, and nothing else.
pub(super) fn probes_alone(service: Arc<Service>) -> axum::Router {
    let (routes, _) = probes(&service).split_for_parts();
    let busy = || async {
        Problem::busy("there are too many connections, of this address or in all")
            .help("close those that are not used, read the answers of the others, and try again")
    };
    routes.fallback(busy).method_not_allowed_fallback(busy).with_state(service)
}

/// The routes that tell whether the service is well, which must always be answered.
fn probes(service: &Arc<Service>) -> OpenApiRouter<Arc<Service>> {
    let metrics = OpenApiRouter::new().routes(routes!(metrics));
    OpenApiRouter::new()
        .merge(guarded(metrics, service, Scope::Read))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

fn guarded(
    routes: OpenApiRouter<Arc<Service>>,
    service: &Arc<Service>,
    scope: Scope,
) -> OpenApiRouter<Arc<Service>> {
    routes.layer(middleware::from_fn_with_state((Arc::clone(service), scope), guard))
}

async fn guard(
    Shared((service, scope)): Shared<(Arc<Service>, Scope)>,
    request: Request,
    next: Next,
) -> Response {
    match service.auth().check(request.headers(), scope) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// An incident to be made a ticket of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    /// As Argus serializes it; at least `description`
    #[schema(value_type = Object)]
    incident: Value,
    /// Which backend of the config; the default one if none is named
    backend: Option<String>,
    /// What identifies the incident's ticket; its argus_url, else its source and pk
    key: Option<String>,
    /// How long to wait for the ticket: 0 to 300000, 30000 if nothing is said
    wait_ms: Option<u64>,
}

/// An incident that was accepted, and what became of it so far.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    id: i64,
    backend: String,
    /// What identifies the incident's ticket in the backend
    key: String,
    state: State,
    /// The incident's level: 1 is the worst
    level: i64,
    /// In RFC 3339's form, as all times are
    accepted_at: String,
    changed_at: String,
    /// When it is tried again, or looked for
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    attempts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TicketSchema>)]
    ticket: Option<Ticket>,
    /// Why the last try gave no ticket
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// Every try; only where one job is shown
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<AttemptView>>,
}

/// A ticket as its plugin replied it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of ticket_plugin_api::Ticket")]
struct TicketSchema {
    /// Where a person opens it
    url: String,
    /// The system's own short name of it
    id: Option<String>,
    /// What a mapping wanted and the incident lacks
    missing_fields: Vec<String>,
    /// What is not on the ticket as it was asked for
    warnings: Vec<String>,
}

/// One try.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptView {
    number: i64,
    started_at: String,
    ended_at: String,
    /// The state that it led to
    outcome: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
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
            due_at: due_at
                .map(|at| if at == Timestamp::EPOCH { Timestamp::now() } else { at }.rfc3339()),
            attempts: job.attempts,
            ticket: job.ticket,
            error: job.failure,
            history: None,
        }
    }
}

impl JobView {
    pub(crate) fn with(job: Job, attempts: Vec<Attempt>) -> JobView {
        let history = attempts.into_iter().map(|attempt| AttemptView {
            number: attempt.number,
            started_at: attempt.started_at.rfc3339(),
            ended_at: attempt.ended_at.rfc3339(),
            outcome: attempt.outcome,
            error: attempt.failure,
        });
        JobView { history: Some(history.collect()), ..JobView::from(job) }
    }
}

/// File an incident and wait for its ticket.
#[utoipa::path(
    post, path = "/v1/tickets", request_body = Create,
    responses(
        (status = 201, body = JobView, description = "The ticket was made"),
        (status = 200, body = JobView, description = "The incident had its ticket already"),
        (status = 202, body = JobView, description = "It is kept, and will be made"),
        (status = 400, body = Problem, description = "The request, or (kind settings) the backend's settings"),
        (status = 401, body = Problem), (status = 403, body = Problem, description = "The ticket system refused (kind creation), or the token may not do this"),
        (status = 408, body = Problem), (status = 409, body = Problem, description = "A person cancelled it"),
        (status = 413, body = Problem), (status = 415, body = Problem),
        (status = 500, body = Problem, description = "The plugin broke, or is missing"),
        (status = 503, body = Problem, description = "Given up since the ticket system was down (kind client), or nothing can be stored, or too many ask (Retry-After)"),
    )
)]
async fn create(
    Shared(service): Shared<Arc<Service>>,
    request: Request,
) -> Result<Response, Problem> {
    let setup = service.queue.setup();
    let most = setup.config.max_incident_bytes + BESIDE;
    let (body, held) = read(request, most, &service.bodies).await?;
    let (new, wait) = asked(&setup, &body)?;
    drop(body);
    let unready = setup.backends.get(&new.backend).and_then(|backend| backend.as_ref().err());
    let wait = if unready.is_some() { Duration::ZERO } else { wait };
    let kept = service.queue.keep(new, wait).await;
    let kept = kept.map_err(|error| Problem::from(error).adding("nothing was accepted"))?;
    // The store has it: nothing more is in memory while its ticket is made.
    drop(held);
    let filed = kept.filed().await;
    let job = filed.job;
    match (job.state, unready) {
        (State::Created, _) => {
            let status = if filed.new && job.made { StatusCode::CREATED } else { StatusCode::OK };
            Ok(answer(status, job))
        }
        (State::Cancelled, _) => {
            Err(Problem::new(StatusCode::CONFLICT, "conflict", "a person cancelled this ticket")
                .help(format!("POST /v1/tickets/{}/retry makes it all the same", job.id))
                .job(job.id))
        }
        (_, Some(failure)) => {
            let message = format!("{}; the incident is kept and waits for that", failure.message);
            Err(Problem::of_failure(Failure { message, ..failure.clone() }).job(job.id))
        }
        (State::Failed, None) => {
            let failure = job.failure.clone().unwrap_or_else(|| {
                Failure::from(&Error::plugin("it failed, and nobody knows why"))
            });
            Err(Problem::of_failure(failure).job(job.id))
        }
        (State::Queued | State::Creating | State::Unknown, None) => {
            Ok(answer(StatusCode::ACCEPTED, job))
        }
    }
}

/// The incident that a request's body is, and how long its sender waits for the ticket.
fn asked(setup: &Setup, body: &[u8]) -> Result<(New, Duration), Problem> {
    let asked: Create = json::read(body).map_err(|cause| {
        Error::usage(format!("the request's body is not as it should be: {cause}"))
    })?;
    let incident = incident::of(asked.incident, "the request")?;
    let mut new = queue::new(setup, &incident, asked.key.as_deref(), asked.backend.as_deref())?;
    let of_argus = argus::number(setup.config.argus.as_ref(), &incident.argus_url).is_some();
    new.tell_argus = of_argus.then_some(incident.argus_url);
    let wait = asked.wait_ms.map_or(DEFAULT_WAIT, Duration::from_millis).min(LONGEST_WAIT);
    Ok((new, wait))
}

fn answer(status: StatusCode, job: Job) -> Response {
    let location = format!("/v1/tickets/{}", job.id);
    (status, [(header::LOCATION, location)], Json(JobView::from(job))).into_response()
}

/// The body of a request, with its part of the budget. It must say that it is JSON, be no larger than `most`, and
/// come in time.
async fn read(
    request: Request<Body>,
    most: usize,
    budget: &Budget,
) -> Result<(Vec<u8>, Held), Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = "the request's Content-Type must be application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "usage", detail));
    }
    let too_large = || {
        let detail = format!("the request's body has more than {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
            .help("raise limits.max_incident_bytes if that is what your incidents are")
    };
    match tokio::time::timeout(BODY, collect(request.into_body(), most, budget)).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(Stopped::Busy(problem))) => Err(problem),
        Ok(Err(Stopped::Broke(cause))) => {
            let detail = format!("the request's body broke off: {cause}");
            Err(Problem::new(StatusCode::BAD_REQUEST, "usage", detail))
        }
        Err(_) => {
            let detail = format!("the request's body did not come within {} s", BODY.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
        }
    }
}

/// All of a body, or None if it has more than `most` bytes. One that is too large is read on for a while, and
/// dropped, since many clients listen for an answer only when they have sent everything.
///
/// What has come is held of the budget, and not what was announced: who announces much and sends nothing takes
/// nothing from others.
async fn collect(
    mut body: Body,
    most: usize,
    budget: &Budget,
) -> Result<Option<(Vec<u8>, Held)>, Stopped> {
    let mut bytes = Vec::new();
    let mut held = budget.hold(0).await.map_err(Stopped::Busy)?;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Stopped::Broke)?.into_data() else { continue };
        length += data.len();
        if length <= most {
            held.grow(budget, data.len()).await.map_err(Stopped::Busy)?;
            bytes.extend_from_slice(&data);
            continue;
        }
        bytes = Vec::new();
        if length > most + DROPPED {
            break;
        }
    }
    Ok((length <= most).then_some((bytes, held)))
}

/// Why a body was not read to its end.
enum Stopped {
    Broke(axum::Error),
    Busy(Problem),
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Page {
    /// Of this backend
    backend: Option<String>,
    /// In this state
    state: Option<State>,
    /// With this key
    key: Option<String>,
    /// From where the last page ended: its `next`
    cursor: Option<i64>,
    /// How many: 1 or more, of which 1000 at most are given at once; 100 if nothing is said
    limit: Option<i64>,
}

/// Jobs in the order in which they were accepted.
#[derive(Debug, Serialize, ToSchema)]
struct Jobs {
    tickets: Vec<JobView>,
    /// The cursor of the next page, if there is one
    next: Option<i64>,
}

/// What was accepted, oldest first.
#[utoipa::path(get, path = "/v1/tickets", params(Page), responses((status = 200, body = Jobs), (status = 400, body = Problem)))]
async fn list(
    Shared(service): Shared<Arc<Service>>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|cause| Error::usage(cause.body_text()))?;
    let most = page.limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE);
    if most < 1 {
        return Err(Error::usage(format!("limit is {most}, and must be 1 or more")).into());
    }
    let filter = Filter {
        backend: page.backend,
        state: page.state,
        key: page.key,
        since: None,
        cursor: Cursor::After(page.cursor.unwrap_or(0)),
        most: most + 1,
    };
    let held = service.answers.hold(most as usize * ROW).await?;
    let mut jobs = service.queue.store.list(&filter).await?;
    let more = jobs.len() as i64 > most;
    jobs.truncate(most as usize);
    let next = jobs.last().filter(|_| more).map(|job| job.id);
    let page = Jobs { tickets: jobs.into_iter().map(JobView::from).collect(), next };
    Ok(held.json(page).await)
}

/// One job with all its tries.
#[utoipa::path(get, path = "/v1/tickets/{id}", params(("id" = i64, Path)), responses((status = 200, body = JobView), (status = 404, body = Problem)))]
async fn show(
    Shared(service): Shared<Arc<Service>>,
    id: Result<Path<i64>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Problem> {
    let id = number(id)?;
    let held = service.answers.hold(HISTORY).await?;
    let store = &service.queue.store;
    let job = store.get(id).await?.ok_or(store::StoreError::NoSuch(id))?;
    Ok(held.json(JobView::with(job, store.attempts(id).await?)).await)
}

/// Try it now, also what failed or was cancelled.
#[utoipa::path(post, path = "/v1/tickets/{id}/retry", params(("id" = i64, Path)), responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn retry(
    Shared(service): Shared<Arc<Service>>,
    id: Result<Path<i64>, axum::extract::rejection::PathRejection>,
) -> Result<Json<JobView>, Problem> {
    let order = service.queue.retry();
    Ok(Json(service.queue.order(number(id)?, order).await?.into()))
}

/// Never try it again, until somebody says otherwise.
#[utoipa::path(post, path = "/v1/tickets/{id}/cancel", params(("id" = i64, Path)), responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn cancel(
    Shared(service): Shared<Arc<Service>>,
    id: Result<Path<i64>, axum::extract::rejection::PathRejection>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(service.queue.order(number(id)?, Order::Cancel).await?.into()))
}

fn number(id: Result<Path<i64>, axum::extract::rejection::PathRejection>) -> Result<i64, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::not_found("a ticket's id is a number"))
}

/// A backend of the config.
#[derive(Debug, Serialize, ToSchema)]
struct BackendView {
    name: String,
    /// As the config has it
    plugin: String,
    endpoint: String,
    /// Whether it can make tickets, as far as is known
    ready: bool,
    /// Why it can't
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Unfit>,
    /// The version of the plugin
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// The backends of the config, and whether they are ready.
#[utoipa::path(get, path = "/v1/backends", responses((status = 200, body = Vec<BackendView>)))]
async fn backends(Shared(service): Shared<Arc<Service>>) -> Json<Vec<BackendView>> {
    let setup = service.queue.setup();
    let view = |Standing { name, unfit, failure }| {
        let config = setup.config.backends.get(&name)?;
        let backend = setup.backends.get(&name).and_then(|backend| backend.as_ref().ok());
        Some(BackendView {
            plugin: config.plugin.clone(),
            endpoint: config.endpoint.to_string(),
            ready: unfit.is_none(),
            reason: unfit,
            error: failure,
            version: backend.map(|backend| backend.manifest.version.clone()),
            name,
        })
    };
    Json(service.queue.standings(&setup).into_iter().filter_map(view).collect())
}

/// A library in the plugin directories.
#[derive(Debug, Serialize, ToSchema)]
struct PluginView {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// The plugins that were found, broken ones too.
#[utoipa::path(get, path = "/v1/plugins", responses((status = 200, body = Vec<PluginView>)))]
async fn plugins(Shared(service): Shared<Arc<Service>>) -> Json<Vec<PluginView>> {
    let setup = service.queue.setup();
    let view = |entry: &crate::plugins::catalog::Entry| {
        let manifest = entry.plugin.as_ref().ok().map(|plugin| &plugin.manifest);
        PluginView {
            file: entry.path.display().to_string(),
            name: manifest.map(|manifest| manifest.name.clone()),
            version: manifest.map(|manifest| manifest.version.clone()),
            description: manifest.map(|manifest| manifest.description.clone()),
            error: entry.plugin.as_ref().err().map(Failure::from),
        }
    };
    Json(setup.catalog.entries.iter().map(view).collect())
}

/// Counts, for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
async fn metrics(Shared(service): Shared<Arc<Service>>) -> Result<Response, Problem> {
    let counts = service.queue.store.counts().await?;
    let standings = service.queue.standings(&service.queue.setup());
    let backends: Vec<(&str, bool)> = standings
        .iter()
        .map(|standing| (standing.name.as_str(), standing.unfit.is_none()))
        .collect();
    let text = service.queue.metrics.text(&counts, &backends, Timestamp::now());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether incidents can be accepted, and made tickets of.
#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    /// Whether incidents are accepted: the store can be written to, and the config has a backend
    ready: bool,
    /// Whether the store can be written to; the log says why not
    store: bool,
    /// Backends that can make tickets, as far as is known
    backends: usize,
    /// Backends that can't: what is accepted for them waits
    unready: usize,
    /// Each of them, for who has a token with the scope `read`
    #[serde(skip_serializing_if = "Option::is_none")]
    each: Option<Vec<BackendReady>>,
}

/// Whether one backend can make tickets.
#[derive(Debug, Serialize, ToSchema)]
struct BackendReady {
    name: String,
    ready: bool,
    /// Why it can't; /v1/backends says more
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Unfit>,
}

/// Incidents are accepted: what is accepted is kept until its backend works, so a backend that doesn't makes no 503.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Ready), (status = 503, body = Ready)))]
async fn readyz(Shared(service): Shared<Arc<Service>>, headers: HeaderMap) -> Response {
    let store = service.store_works().await;
    let setup = service.queue.setup();
    let standings = service.queue.standings(&setup);
    let unready = standings.iter().filter(|standing| standing.unfit.is_some()).count();
    let backends = standings.len() - unready;
    let ready = store && !standings.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // The names of backends are for those who may ask for them elsewhere, too.
    let each = service.auth().check(&headers, Scope::Read).is_ok().then(|| {
        let each = standings.into_iter().map(|Standing { name, unfit, .. }| BackendReady {
            name,
            ready: unfit.is_none(),
            reason: unfit,
        });
        each.collect()
    });
    (status, Json(Ready { ready, store, backends, unready, each })).into_response()
}
