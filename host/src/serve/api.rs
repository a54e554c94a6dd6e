//! What can be asked of the service: its routes, and what each does.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::Value;
use ticket_plugin_api::{Incident, json};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Client;
use super::problem::Problem;
use super::schema::{
    ArgusReady, BackendReady, BackendView, Create, IncidentStatus, JobId, JobView, Jobs, Page,
    PluginView, Ready, Report, Reported, WholeJob,
};
use super::{Service, body, console, docs, document, hooks, measure, overview, request_id};
use crate::config::{ArgusConfig, Scope};
use crate::error::{Error, Kind};
use crate::queue::{self, Standing};
use crate::setup::Setup;
use crate::store::{self, Cursor, Failure, Filter, Job, New, Order, State, Timestamp};
use crate::{argus, control, incident, report};

/// Bytes that a request may have in addition to its incident.
const BESIDE: usize = 16 << 10;
/// Bytes that are set aside for a ticket in a list: two lists of 16 KiB, a failure of 8 KiB and a URL of 4 KiB
/// are the most that is kept of one, and hardly any has a tenth of that.
const ROW: usize = 48 << 10;
/// Bytes that are set aside for a ticket with all its tries.
const HISTORY: usize = 4 << 20;
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";
const DEFAULT_PAGE: i64 = 100;
const LARGEST_PAGE: i64 = 1000;

/// All routes. Each is in the group of its scope, but for those that need no token.
pub(super) fn router(service: Arc<Service>) -> axum::Router {
    let create = OpenApiRouter::new().routes(routes!(create)).routes(routes!(report_incident));
    let read = OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(backends))
        .routes(routes!(plugins))
        .routes(routes!(overview::overview));
    let admin = OpenApiRouter::new().routes(routes!(retry)).routes(routes!(cancel));
    let mut limited = OpenApiRouter::with_openapi(document::empty())
        .merge(guarded(create, &service, Scope::Create))
        .merge(guarded(read, &service, Scope::Read))
        .merge(guarded(admin, &service, Scope::Admin))
        .routes(routes!(hooks::receive))
        .routes(routes!(openapi))
        .routes(routes!(docs));
    document::limited(limited.get_openapi_mut());
    let (routes, mut document) = limited.merge(probes(&service)).split_for_parts();
    document::complete(&mut document);
    routes
        .layer(Extension(Arc::new(Published::of(&document))))
        .merge(console::router(&service))
        .fallback(|| async { Problem::not_found("there is nothing here; see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            let detail = "this path does not take this method; see /openapi.json";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "usage", detail)
        })
        .layer(middleware::from_fn(request_id::carry))
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
    let metrics = OpenApiRouter::new().routes(routes!(measure::metrics));
    let mut readyz = OpenApiRouter::new().routes(routes!(readyz));
    document::more_with_token(readyz.get_openapi_mut(), Scope::Read);
    OpenApiRouter::new()
        .merge(guarded(metrics, service, Scope::Read))
        .merge(readyz)
        .routes(routes!(healthz))
}

/// Lets only those to the routes who have a token with the scope.
fn guarded(
    mut routes: OpenApiRouter<Arc<Service>>,
    service: &Arc<Service>,
    scope: Scope,
) -> OpenApiRouter<Arc<Service>> {
    document::guarded(routes.get_openapi_mut(), scope);
    routes.layer(middleware::from_fn_with_state((Arc::clone(service), scope), guard))
}

async fn guard(
    Shared((service, scope)): Shared<(Arc<Service>, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    // Who comes by the socket beside the store needs no token.
    if request.extensions().get::<Client>().is_some() {
        return next.run(request).await;
    }
    match service.auth().check(request.headers(), scope) {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// File an incident and wait for its ticket
///
/// The incident is kept before it is answered: a 200, 201 or 202 is a promise that it gets exactly one ticket. The
/// same incident may be sent again at any time, and is answered with the same ticket.
#[utoipa::path(
    post, path = "/v1/tickets", tag = "tickets", request_body = Create,
    responses(
        (status = 200, body = JobView, description = "The incident had its ticket already",
            headers(("Location" = String, description = "Where the job is"))),
        (status = 201, body = JobView, description = "The ticket was made",
            headers(("Location" = String, description = "Where the job is"))),
        (status = 202, body = JobView, description = "The incident is kept, and its ticket will be made",
            headers(("Location" = String, description = "Where the job is"))),
        (status = 400, body = Problem, description = "The request is not as it should be (type `urn:ticket-host:problem:usage`). Or: the backend's settings are wrong (kind `settings`)"),
        (status = 403, body = Problem, description = "The ticket system refused (kind `creation`)"),
        (status = 408, body = Problem, description = "The request's body didn't come in time"),
        (status = 409, body = Problem, description = "A person cancelled the ticket, or the incident ended before it was made"),
        (status = 413, body = Problem, description = "The incident is larger than `limits.max_incident_bytes` of the config"),
        (status = 415, body = Problem, description = "The request's Content-Type isn't `application/json`"),
        (status = 500, body = Problem, description = "The plugin broke (kind `plugin`), or is missing (kind `import`)"),
        (status = 503, body = Problem, description = "The ticket was given up since the ticket system was down for too long (kind `client`). Or: the watched Argus can't be asked whether the incident is its own (kind `client`, no job). Or: nothing can be stored (type `urn:ticket-host:problem:store`)"),
    )
)]
async fn create(
    Shared(service): Shared<Arc<Service>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, Problem> {
    let setup = service.queue.setup();
    let most = setup.config.max_incident_bytes + BESIDE;
    let (body, held) = body::read(request, JSON, most, &service.bodies).await.map_err(too_large)?;
    let Create { incident, backend, key, wait_ms } = read_json(&body)?;
    drop(body);
    let new = asked(&service, &setup, client, incident, backend, key).await?;
    let wait = wait_ms.map_or(DEFAULT_WAIT, Duration::from_millis).min(control::LONGEST_WAIT);
    let unready = setup.backends.get(&new.backend).and_then(|backend| backend.as_ref().err());
    let wait = if unready.is_some() { Duration::ZERO } else { wait };
    let kept = service.queue.keep(new, wait).await;
    let kept = kept.map_err(|error| Problem::from(error).adding("nothing was accepted"))?;
    // The store has it: nothing more is in memory while its ticket is made.
    drop(held);
    let filed = kept.filed().await;
    let job = filed.job;
    // Who doesn't wait asks for no more than that it is kept.
    let needs = if wait.is_zero() { None } else { service.queue.needs_person(&job) };
    match (job.state, unready.or(needs.as_ref())) {
        (State::Created, _) => {
            let status = if filed.new && job.made { StatusCode::CREATED } else { StatusCode::OK };
            Ok(answer(status, job))
        }
        (State::Cancelled | State::Suppressed, _) => {
            let why = match job.state {
                State::Cancelled => "a person cancelled this ticket",
                _ => "the incident ended before its ticket was made",
            };
            Err(Problem::new(StatusCode::CONFLICT, "conflict", why)
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

/// Report how an incident is now
///
/// The whole life of an incident by one call, which may be repeated at any time: one that is open gets its ticket, and what changes, ends or
/// begins again is told to that as the backend's settings want. One that ended without a ticket gets none. Reports of one incident must come in
/// their order: the last one counts.
#[utoipa::path(
    post, path = "/v1/incidents", tag = "tickets", request_body = Report,
    responses(
        (status = 200, body = Reported, description = "The incident is kept as it is now. Its tickets are made, failed (which is for a person), or it needs none"),
        (status = 201, body = Reported, description = "Its ticket was made meanwhile"),
        (status = 202, body = Reported, description = "The incident is kept as it is now, and its ticket will be made"),
        (status = 400, body = Problem, description = "The request is not as it should be (type `urn:ticket-host:problem:usage`). Or: the backend's settings are wrong (kind `settings`)"),
        (status = 408, body = Problem, description = "The request's body didn't come in time"),
        (status = 413, body = Problem, description = "The incident is larger than `limits.max_incident_bytes` of the config"),
        (status = 415, body = Problem, description = "The request's Content-Type isn't `application/json`"),
        (status = 503, body = Problem, description = "The watched Argus can't be asked whether the incident is its own (kind `client`). Or: nothing can be stored (type `urn:ticket-host:problem:store`)"),
    )
)]
async fn report_incident(
    Shared(service): Shared<Arc<Service>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, Problem> {
    let setup = service.queue.setup();
    let most = setup.config.max_incident_bytes + BESIDE;
    let (body, held) = body::read(request, JSON, most, &service.bodies).await.map_err(too_large)?;
    let Report { incident, status, backend, key, wait_ms } = read_json(&body)?;
    drop(body);
    let incident = as_reported(incident, status);
    let new = asked(&service, &setup, client, incident, backend, key).await?;
    let open = status == IncidentStatus::Open;
    // Nobody asked for its ticket. What failed is for a person, however often this is repeated.
    let new = New { open, reports: true, wanted: false, reopen: false, ..new };
    let refused = |error| Problem::from(error).adding("nothing was accepted");
    if !open {
        let known = service.queue.report(new).await.map_err(refused)?;
        let held = service.answers.hold(HISTORY).await?;
        let tickets = match known {
            Some(incident) => service.queue.store.tickets_of(incident).await?,
            None => Vec::new(),
        };
        let tickets = tickets.into_iter().map(JobView::from).collect();
        return Ok(held.json(Reported { status, tickets }).await);
    }
    let wait = Duration::from_millis(wait_ms.unwrap_or(0)).min(control::LONGEST_WAIT);
    // Nobody waits for a backend that isn't ready.
    let is_ready = matches!(setup.backends.get(&new.backend), Some(Ok(_)));
    let wait = if is_ready { wait } else { Duration::ZERO };
    let kept = service.queue.keep(new, wait).await.map_err(refused)?;
    drop(held);
    let filed = kept.filed().await;
    let code = match filed.job.state {
        State::Created if filed.new && filed.job.made => StatusCode::CREATED,
        state if state.is_final() => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    Ok((code, Json(Reported { status, tickets: vec![filed.job.into()] })).into_response())
}

/// The incident, which says itself since when it has ended.
fn as_reported(mut incident: Value, status: IncidentStatus) -> Value {
    let Some(attributes) = incident.as_object_mut() else { return incident };
    let end = attributes.get("end_time").and_then(Value::as_str);
    let says = end.is_some_and(|end| Timestamp::from_rfc3339(end).is_some());
    if status == IncidentStatus::Ended && !says {
        attributes.insert("end_time".to_owned(), Timestamp::now().rfc3339().into());
    }
    incident
}

/// What to do about an incident that is too large.
fn too_large(problem: Problem) -> Problem {
    match problem.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            problem.help("raise limits.max_incident_bytes if that is what your incidents are")
        }
        _ => problem,
    }
}

/// What a request's body is.
fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let odd = |cause| Error::usage(format!("the request's body is not as it should be: {cause}"));
    Ok(json::read(body).map_err(odd)?)
}

/// The incident that a request is about.
async fn asked(
    service: &Service,
    setup: &Setup,
    client: Client,
    incident: Value,
    backend: Option<String>,
    key: Option<String>,
) -> Result<New, Problem> {
    let mut incident = incident::of(incident, "the request")?;
    let watched = setup.config.argus.as_ref();
    if client.is_argus {
        watched.inspect(|argus| compare_pages(service, argus, &incident));
    }
    let given = key.as_deref();
    let identified = argus::identify(watched, &mut incident, given, client.is_argus).await;
    let identified = identified.map_err(|error| match error.kind {
        Kind::Client => Problem::from(error).adding("nothing was accepted"),
        _ => error.into(),
    })?;
    Ok(queue::new(&service.queue, setup, &incident, identified, backend.as_deref())?)
}

/// Argus's button gives away where Argus's pages are, which its API doesn't tell.
fn compare_pages(service: &Service, config: &ArgusConfig, incident: &Incident) {
    if let argus::Compared::Elsewhere(news) = service.argus.compare(config, incident) {
        service.queue.metrics.argus_is_elsewhere();
        news.iter().for_each(|error| tracing::warn!("{}", report::text(error).trim_end()));
    }
}

fn answer(status: StatusCode, job: Job) -> Response {
    let location = format!("/v1/tickets/{}", job.id);
    (status, [(header::LOCATION, location)], Json(JobView::from(job))).into_response()
}

/// List what was accepted
///
/// The oldest comes first. A page that isn't the last has the cursor of the next.
#[utoipa::path(
    get, path = "/v1/tickets", tag = "tickets", params(Page),
    responses(
        (status = 200, body = Jobs, description = "A page of the list"),
        (status = 400, body = Problem, description = "A parameter is unknown, or not as it should be"),
        (status = 503, body = Problem, description = "The store can't be used (type `urn:ticket-host:problem:store`)"),
    )
)]
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
        step: page.step.map(State::from),
        key: page.key,
        cursor: Cursor::After(page.cursor.unwrap_or(0)),
        most: most + 1,
        ..Filter::default()
    };
    let held = service.answers.hold(most as usize * ROW).await?;
    let mut jobs = service.queue.store.list(&filter).await?;
    let more = jobs.len() as i64 > most;
    jobs.truncate(most as usize);
    let next = jobs.last().filter(|_| more).map(|job| job.id);
    let page = Jobs { tickets: jobs.into_iter().map(JobView::from).collect(), next };
    Ok(held.json(page).await)
}

/// Show one job
///
/// With the history of its tries, the incidents that its ticket is of, and all that was done to the ticket since it was made.
#[utoipa::path(
    get, path = "/v1/tickets/{id}", tag = "tickets",
    params(JobId),
    responses(
        (status = 200, body = WholeJob, description = "The job"),
        (status = 404, body = Problem, description = "There is no such job"),
        (status = 503, body = Problem, description = "The store can't be used (type `urn:ticket-host:problem:store`)"),
    )
)]
async fn show(
    Shared(service): Shared<Arc<Service>>,
    JobId(id): JobId,
) -> Result<Response, Problem> {
    let held = service.answers.hold(HISTORY).await?;
    let store = &service.queue.store;
    let job = store.get(id).await?.ok_or(store::StoreError::NoSuch(id))?;
    let (attempts, life) = (store.attempts(id).await?, store.life(id).await?);
    Ok(held.json(WholeJob::new(job, attempts, life)).await)
}

/// Try a job now
///
/// Also one that failed, was cancelled or suppressed. A job that may have a ticket is looked for before another one is made. Of a job with a ticket
/// its steps that failed.
#[utoipa::path(
    post, path = "/v1/tickets/{id}/retry", tag = "tickets",
    params(JobId),
    responses(
        (status = 200, body = JobView, description = "The job, which is in the queue again"),
        (status = 404, body = Problem, description = "There is no such job"),
        (status = 409, body = Problem, description = "The job has its ticket and no such step, or is being worked on"),
        (status = 503, body = Problem, description = "The store can't be used (type `urn:ticket-host:problem:store`)"),
    )
)]
async fn retry(
    Shared(service): Shared<Arc<Service>>,
    Extension(client): Extension<Client>,
    JobId(id): JobId,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(service.queue.order(id, Order::Retry, &client.by()).await?.into()))
}

/// Cancel a job
///
/// It is not tried again until somebody says otherwise. Of a job with a ticket its steps that failed, or those that wait if none did.
#[utoipa::path(
    post, path = "/v1/tickets/{id}/cancel", tag = "tickets",
    params(JobId),
    responses(
        (status = 200, body = JobView, description = "The job, which is cancelled"),
        (status = 404, body = Problem, description = "There is no such job"),
        (status = 409, body = Problem, description = "The job has its ticket and no such step, or is being worked on"),
        (status = 503, body = Problem, description = "The store can't be used (type `urn:ticket-host:problem:store`)"),
    )
)]
async fn cancel(
    Shared(service): Shared<Arc<Service>>,
    Extension(client): Extension<Client>,
    JobId(id): JobId,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(service.queue.order(id, Order::Cancel, &client.by()).await?.into()))
}

/// List the backends
///
/// All that the config has, and whether they can make tickets.
#[utoipa::path(
    get, path = "/v1/backends", tag = "backends",
    responses((status = 200, body = Vec<BackendView>, description = "The backends, by name"))
)]
async fn backends(Shared(service): Shared<Arc<Service>>) -> Json<Vec<BackendView>> {
    let setup = service.queue.setup();
    let view = |Standing { name, unfit, failure }| {
        let config = setup.config.backends.get(&name)?;
        let backend = setup.ready(&name);
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

/// List the plugins
///
/// All that were found, also those that can't be used.
#[utoipa::path(
    get, path = "/v1/plugins", tag = "backends",
    responses((status = 200, body = Vec<PluginView>, description = "The libraries in the plugin directories"))
)]
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

/// Tell whether the process is alive
///
/// For who starts it again if it isn't.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain", description = "It is", example = "ok\n"))
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Tell whether incidents are accepted
///
/// What is accepted is kept until its backend works, so a backend that doesn't makes no 503.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = Ready, description = "They are"),
        (status = 503, body = Ready, description = "They are not: the store takes none, or the config has no backend"),
    )
)]
async fn readyz(Shared(service): Shared<Arc<Service>>, headers: HeaderMap) -> Response {
    let store = service.store_works().await;
    let orphans = service.orphans(store).await;
    let setup = service.queue.setup();
    let standings = service.queue.standings(&setup);
    let unready = standings.iter().filter(|standing| standing.unfit.is_some()).count();
    let backends = standings.len() - unready;
    let ready = store && !standings.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // The names of backends are for those who may ask for them elsewhere, too.
    let may_read = service.auth().check(&headers, Scope::Read).is_ok();
    let each = may_read.then(|| standings.into_iter().map(BackendReady::from).collect());
    let watches = may_read && setup.config.argus.is_some();
    let argus = watches.then(|| ArgusReady::from(service.argus.done()));
    (status, Json(Ready { ready, store, backends, unready, orphans, each, argus })).into_response()
}

/// What the service says about its own API: made once, when it starts.
struct Published {
    document: Bytes,
    page: docs::Page,
}

impl Published {
    fn of(document: &OpenApi) -> Published {
        let json = serde_json::to_value(document).expect("an OpenAPI document is JSON");
        Published { document: json.to_string().into(), page: docs::page(&json) }
    }
}

/// Describe the API as OpenAPI
///
/// For programs: generators of clients, tests, and the like.
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation",
    responses((status = 200, body = serde_json::Value, description = "The OpenAPI document"))
)]
async fn openapi(Extension(published): Extension<Arc<Published>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], published.document.clone()).into_response()
}

/// Describe the API as a page
///
/// For persons: the same as `/openapi.json` says. It loads nothing from anywhere, and runs no script.
#[utoipa::path(
    get, path = "/docs", tag = "documentation",
    responses((status = 200, body = String, content_type = "text/html", description = "The page"))
)]
async fn docs(Extension(published): Extension<Arc<Published>>) -> Response {
    published.page.clone().into_response()
}
