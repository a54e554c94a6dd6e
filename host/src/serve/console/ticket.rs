//! One ticket: its incident, its tries with what the ticket system said, what was done to it since, and what a person can do.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;
use ticket_plugin_api::{Action, Incident, TicketState};

use super::form::{self, Given};
use super::page::{self, Done, Page, Trouble, button, outside};
use super::{Viewer, audit};
use crate::backend::{Backend, KeyedIncident};
use crate::incident;
use crate::sent::{Requests, Sent};
use crate::serve::Service;
use crate::serve::problem::Problem;
use crate::store::{
    self, Attempt, Entries, Entry, Job, Life, Order, State, StoreError, Timestamp, UpdateRow,
};
use crate::terminal::{counted, cut};
use crate::tickets::{self, LONGEST_TEXT, Look, Plan};

/// Bytes that are set aside for a ticket with all its tries and its incident.
const SIZE: usize = 6 << 20;
/// Bytes of an incident, or of a text of its ticket, that are shown.
const SHOWN: usize = 64 << 10;
/// Of what was done by people the newest.
const DEEDS: i64 = 20;

/// What is known of a ticket.
struct Known {
    job: Job,
    attempts: Vec<Attempt>,
    life: Life,
    incident: Option<String>,
    deeds: Vec<Entry>,
}

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Given(done): Given<Done>,
) -> Result<Response, Trouble> {
    let held = service.answers.hold(SIZE).await?;
    let id = number(&id)?;
    let store = &service.queue.store;
    let job = store.get(id).await?.ok_or(StoreError::NoSuch(id))?;
    let known = Known {
        attempts: store.attempts(id).await?,
        life: store.life(id).await?,
        incident: store.incident(id).await?,
        deeds: store
            .deeds(&Entries { ticket: Some(id), most: DEEDS, ..Entries::default() })
            .await?,
        job,
    };
    let setup = service.queue.setup();
    let backend = setup.ready(&known.job.backend);
    let texts = texts(backend, known.incident.as_deref()).await;
    let body = html! {
        (page::done(&done))
        (facts(&known))
        (orders(&viewer, &known))
        (tries("Tries", &known.attempts, page::state))
        (steps(&known.life))
        (incident(&known, texts.as_ref()))
        (audit::table(&known.deeds, "What people did", false))
        p class="soft" { "All of it as JSON: " code { "GET /v1/tickets/" (id) } }
    };
    let title = format!("Ticket {id}");
    Ok(Page { title, here: "/tickets", live: true, body }.holding(&viewer, held))
}

/// # Errors
/// 404: it is no number.
fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::not_found("a ticket's id is a number"))
}

/// The title and the body of a ticket of an incident as it is now, by the backend's templates; or why they can't be filled in.
async fn texts(
    backend: Option<&Arc<Backend>>,
    incident: Option<&str>,
) -> Option<Result<(String, String), String>> {
    let (backend, incident) = (Arc::clone(backend?), read(incident?)?);
    // Templates take their time.
    tokio::task::spawn_blocking(move || backend.texts(&incident)).await.ok()
}

fn read(incident: &str) -> Option<Incident> {
    let value: Value = serde_json::from_str(incident).ok()?;
    incident::of(value, "the store").ok()
}

fn facts(known: &Known) -> Markup {
    let Known { job, life, .. } = known;
    let told = life.incidents.first().map(|incident| incident.now.description.as_str());
    html! {
        h1 { "Ticket " (job.id) " " (page::state(job.state)) }
        @if let Some(told) = told { p class="lead" { (page::short(told)) } }
        (what_now(job, life))
        dl {
            @if let Some(ticket) = &job.ticket {
                dt { "ticket" }
                dd {
                    (outside(&ticket.url))
                    @if !job.made { " (it was there before)" }
                }
                @if !ticket.missing_fields.is_empty() { dt { "lacks" } dd { (ticket.missing_fields.join(", ")) } }
                @for warning in &ticket.warnings { dt { "warning" } dd { (warning) } }
            }
            dt { "backend" } dd { (job.backend) }
            dt { "key" } dd { (outside(&job.key)) }
            dt { "level" } dd { (job.level) }
            dt { "accepted" } dd { (page::time(job.accepted_at)) }
            dt { "changed" } dd { (page::time(job.changed_at)) }
            @if let Some(status) = life.status { dt { "status" } dd { (TicketState::name(status)) } }
            @if life.pasted { dt { "pasted" } dd { "a person gave it to its incident" } }
            @if let Some(former) = life.former { dt { "former" } dd { "ticket " (page::ticket(former)) } }
        }
    }
}

/// What is going on, and what a person should do.
fn what_now(job: &Job, life: &Life) -> Markup {
    let due = job.due_at.filter(|due| *due > Timestamp::now());
    let failed_steps = life.updates.iter().filter(|step| step.state == State::Failed).count();
    html! {
        div class={ "now " (job.state.name()) } {
            @match job.state {
                State::Queued => {
                    p { "It waits to be made" @if let Some(due) = due { ": it is tried " (page::time(due)) } "." }
                }
                State::Creating => p { "It is being made." },
                State::Unknown => {
                    p {
                        "Nobody knows whether it was made: it is looked for"
                        @if let Some(due) = due { " " (page::time(due)) } ", and made only if there is none."
                    }
                }
                State::Failed if life.doubtful => p {
                    "It may have been made though that failed, and only a person can look: look in the ticket system. If it is there, adopt it; "
                    "if not, retry it, which makes another."
                },
                State::Failed => p { "It was not made, and waits for a person: mend what is wrong, and retry it." },
                State::Cancelled => p { "A person cancelled it." },
                State::Suppressed => p { "Its incident ended before it was made." },
                State::Created if failed_steps > 0 => p {
                    (counted(failed_steps as u64, "step")) " of it failed: see below why, mend that, and retry them."
                },
                State::Created => {}
            }
            @if let Some(failure) = &job.failure { p { (page::failure(failure)) } }
        }
    }
}

fn orders(viewer: &Viewer, known: &Known) -> Markup {
    let job = &known.job;
    let at = |order: &str| format!("/tickets/{}/{order}", job.id);
    let has = |state| known.life.updates.iter().any(|step| step.state == state);
    let is_made = job.state == State::Created;
    let is_worked_on = job.state == State::Creating;
    let waits = has(State::Queued) || has(State::Unknown);
    html! {
        @if viewer.acts {
            section class="orders" aria-labelledby="orders" {
                h2 id="orders" { "What to do" }
                @if !is_made && !is_worked_on || has(State::Failed) {
                    (button(viewer, &at("retry"), if is_made { "Retry its steps" } else { "Retry now" }, &[]))
                }
                @if !is_made && !is_worked_on && job.state != State::Cancelled || is_made && (has(State::Failed) || waits) {
                    (button(viewer, &at("cancel"), if is_made { "Cancel its steps" } else { "Cancel" }, &[]))
                }
                @if !is_made && !is_worked_on {
                    form method="post" action=(at("adopt")) {
                        (viewer.hidden())
                        label for="url" { "It has a ticket that was made by hand, with this URL:" }
                        input type="url" id="url" name="url" required;
                        button { "Adopt" }
                    }
                }
                @if is_made {
                    form method="post" action=(at("comment")) {
                        (viewer.hidden())
                        label for="comment" { "Comment on the ticket" }
                        textarea id="comment" name="text" rows="2" required maxlength=(LONGEST_TEXT) {}
                        button { "Comment" }
                    }
                    form method="post" action=(at("close")) {
                        (viewer.hidden())
                        label for="closing" { "Close the ticket, and say" }
                        input id="closing" name="text" required value="Closed by hand." maxlength=(LONGEST_TEXT);
                        button { "Close" }
                    }
                }
                p { a href={ "/tickets/" (job.id) "/preview" } { "See what would be sent now" } }
            }
        }
    }
}

fn tries(title: &str, attempts: &[Attempt], state: fn(State) -> Markup) -> Markup {
    html! {
        @if !attempts.is_empty() {
            h2 { (title) }
            (attempts_table(attempts, state))
        }
    }
}

fn attempts_table(attempts: &[Attempt], state: fn(State) -> Markup) -> Markup {
    html! {
        table {
            (page::heads(&["try", "began", "took", "led to", "what was said"]))
            tbody {
                @for attempt in attempts {
                    tr {
                        th scope="row" { (attempt.number) }
                        td data-label="began" { (page::time(attempt.started_at)) }
                        td data-label="took" { (attempt.ended_at.since(attempt.started_at).as_millis()) " ms" }
                        td data-label="led to" { (state(attempt.outcome)) }
                        td data-label="what was said" {
                            @if let Some(failure) = &attempt.failure { (page::failure(failure)) }
                            @if let Some(requests) = &attempt.requests { (asked_for(requests)) }
                        }
                    }
                }
            }
        }
    }
}

/// What a try asked the ticket system for.
fn asked_for(requests: &Requests) -> Markup {
    let half = requests.kept.len() / 2;
    html! {
        ul class="requests" {
            @for (nth, Sent { request, came, took_ms }) in requests.kept.iter().enumerate() {
                @if nth == half && requests.left_out > 0 { li { "and " (requests.left_out) " more" } }
                li { code { (request) } ": " (came) span class="soft" { " in " (took_ms) " ms" } }
            }
        }
    }
}

fn steps(life: &Life) -> Markup {
    html! {
        @if !life.updates.is_empty() {
            h2 { "What was done to it since" }
            @for step in &life.updates { (one_step(step)) }
        }
    }
}

fn one_step(step: &UpdateRow) -> Markup {
    html! {
        section class="card" aria-labelledby={ "s" (step.id) } {
            h3 id={ "s" (step.id) } {
                (step.update.action.name()) " " (step.id) " " (page::step_state(step.state))
            }
            p class="soft" {
                @if step.update.said.is_some() { "a person, " }
                (page::time(step.accepted_at))
                @if let Some(due) = step.due_at.filter(|due| *due > Timestamp::now()) { ", tried again " (page::time(due)) }
            }
            @if let Some(said) = &step.update.said { p class="words" { (cut(said, SHOWN)) } }
            @if !step.update.diff.is_empty() {
                ul { @for (name, change) in &step.update.diff { li { (name) ": " (change.from) " to " (change.to) } } }
            }
            @for warning in &step.warnings { p class="doubt" { (warning) } }
            @if !step.attempts.is_empty() { (attempts_table(&step.attempts, page::step_state)) }
        }
    }
}

fn incident(known: &Known, texts: Option<&Result<(String, String), String>>) -> Markup {
    // Indented, a text may be many times as long.
    let short = |json: &&str| json.len() <= SHOWN;
    let indented = known.incident.as_deref().map(|json| {
        let value =
            Some(json).filter(short).and_then(|json| serde_json::from_str::<Value>(json).ok());
        value.map_or_else(|| json.to_owned(), |value| format!("{value:#}"))
    });
    let others = known.life.incidents.get(1..).unwrap_or_default();
    html! {
        h2 { "Incident" }
        @for other in others { p { "Also of: " (page::short(&other.now.description)) } }
        @match texts {
            Some(Ok((title, body))) => {
                h3 { "Title and text, by the templates of now" }
                div class="rendered" tabindex="0" role="region" aria-label="Title and text" {
                    p { strong { (title) } }
                    pre { (cut(body, SHOWN)) }
                }
            }
            Some(Err(why)) => p class="bad" { (why) },
            None => {}
        }
        @if let Some(json) = indented {
            details {
                summary { "As its source told it last" }
                pre tabindex="0" { (cut(&json, SHOWN)) }
            }
        }
    }
}

/// What a person wants of a ticket.
pub(super) async fn order(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Path((id, order)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Trouble> {
    let form = form::read(&service, &viewer, request).await?;
    let (id, by) = (number(&id)?, viewer.by());
    let queue = &service.queue;
    match order.as_str() {
        "retry" => drop(queue.order(id, Order::Retry, &by).await?),
        "cancel" => drop(queue.order(id, Order::Cancel, &by).await?),
        "adopt" => adopt(&service, id, form.get("url").trim(), &viewer).await?,
        "close" | "comment" => {
            let text = tickets::said(form.get("text")).map_err(Problem::from)?;
            let action = if order == "close" { Action::Close } else { Action::Comment };
            queue.add_update(id, action, text, &by).await?;
        }
        _ => return Err(Problem::not_found("nothing of that name can be done to a ticket").into()),
    }
    Ok(Redirect::to(&format!("/tickets/{id}?done={order}")).into_response())
}

/// # Errors
/// That is no URL of a ticket of the backend; or as [`store::Store::adopt`].
async fn adopt(service: &Service, id: i64, url: &str, viewer: &Viewer) -> Result<(), Trouble> {
    let store = &service.queue.store;
    let job = store.get(id).await?.ok_or(StoreError::NoSuch(id))?;
    let setup = service.queue.setup();
    let scheme = setup.config.backends.get(&job.backend).map_or("https", |b| b.endpoint.scheme());
    let ticket = tickets::made_by_hand(url, scheme).map_err(Problem::from)?;
    service.queue.adopt(id, ticket, &viewer.by()).await?;
    Ok(())
}

/// What would be sent to the ticket system now to make the ticket: nothing is sent.
pub(super) async fn preview(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
) -> Result<Response, Trouble> {
    if !viewer.acts {
        let detail = "the plugin is asked for this, which needs a token with the scope admin";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).into());
    }
    let _held = service.answers.hold(SIZE).await?;
    let id = number(&id)?;
    let store = &service.queue.store;
    let job = store.get(id).await?.ok_or(StoreError::NoSuch(id))?;
    let setup = service.queue.setup();
    let backend = match setup.backends.get(&job.backend) {
        Some(Ok(backend)) => Arc::clone(backend),
        Some(Err(failure)) => return Err(Problem::of_failure(failure.clone()).into()),
        None => return Err(Problem::not_found("the config doesn't have its backend").into()),
    };
    let json = store.incident(id).await?.ok_or(StoreError::NoSuch(id))?;
    let incident = read(&json).ok_or_else(|| Problem::not_found("its incident can't be read"))?;
    let wanted = KeyedIncident {
        incident: Arc::new(incident),
        key: job.key.clone(),
        accepted_at: job.accepted_at,
        leave_by: None,
        requests: Default::default(),
    };
    let plan = tickets::plan(&backend, &wanted, Look::Never).await;
    let plan = plan.map_err(|error| Problem::of_failure(store::Failure::from(&error)))?;
    let body = html! {
        h1 { "What would be sent for ticket " (page::ticket(id)) }
        p { "By the settings and the templates of now, to make it. Nothing is sent, and secrets are left out." }
        @match &plan {
            Plan::Existing(ticket) => p { "Nothing: the incident says that it has the ticket " (outside(&ticket.url)) },
            Plan::Steps(steps) => {
                @for step in steps { pre tabindex="0" { (cut(&step.to_string(), SHOWN)) } }
                p class="soft" { "What would come after these depends on the answers." }
            }
        }
    };
    Ok(Page { title: format!("Preview of {id}"), here: "/tickets", live: false, body }
        .shown(&viewer))
}
