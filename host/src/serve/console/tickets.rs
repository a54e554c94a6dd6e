//! The list of tickets: the newest first, of a backend, in a state, or with a text in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Query, State as Shared};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::Viewer;
use super::page::{self, Page, Trouble, outside, short};
use crate::incident;
use crate::machine::StepState;
use crate::serve::Service;
use crate::serve::budget::Held;
use crate::serve::problem::Problem;
use crate::store::{self, Cursor, Filter, Job, State, Store};

/// Rows of a page.
const ROWS: i64 = 50;
/// Rows that are read at once to find a text in them, and how long the reading goes on while nothing is found.
const AT_ONCE: i64 = 1000;
const LOOKING: Duration = Duration::from_millis(50);
/// Characters of a text that is looked for.
const LONGEST: usize = 200;
/// Bytes that are set aside for a row and its incident.
const ROW: usize = 128 << 10;

/// What is asked for; an empty text is nothing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    backend: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    step: String,
    before: Option<i64>,
}

/// What was found.
struct Found {
    jobs: Vec<Job>,
    /// Before which number there may be more.
    next: Option<i64>,
    /// Whether rows were left out of the search that are older than those.
    is_cut: bool,
}

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    let _held: Held = service.answers.hold(ROWS as usize * ROW).await?;
    let store = &*service.queue.store;
    let found = find(store, &asked).await?;
    let numbers: Vec<i64> = found.jobs.iter().map(|job| job.id).collect();
    let incidents = store.incidents(&numbers).await?;
    let told = incidents.into_iter().map(|(id, json)| (id, incident::description(&json))).collect();
    let backends = service.queue.setup().config.backends.keys().cloned().collect::<Vec<_>>();
    let body = html! {
        h1 { "Tickets" }
        (searching(&asked, &backends))
        (listed(&found, &told, &asked))
    };
    // What is older doesn't change while somebody looks.
    let live = asked.before.is_none();
    Ok(Page { title: "Tickets".to_owned(), here: "/tickets", live, body }.shown(&viewer))
}

/// The rows that are asked for: of a text as many as are found in a while.
async fn find(store: &dyn Store, asked: &Asked) -> Result<Found, Trouble> {
    let filter = filter(asked)?;
    let mut jobs = Vec::new();
    if filter.text.is_none() {
        jobs = store.list(&Filter { most: ROWS + 1, ..filter }).await?;
        let more = jobs.len() as i64 > ROWS;
        jobs.truncate(ROWS as usize);
        let next = jobs.last().filter(|_| more).map(|job| job.id);
        return Ok(Found { jobs, next, is_cut: false });
    }
    // A text may be anywhere: part by part, until there are enough, or it has taken long.
    let (began, newest) = (Instant::now(), newest(store).await?);
    let mut before = asked.before.unwrap_or(i64::MAX).min(newest.saturating_add(1));
    while before > 1 {
        let from = (before - AT_ONCE).max(1);
        let most = ROWS - jobs.len() as i64;
        let part =
            Filter { cursor: Cursor::Before(before), from: Some(from), most, ..filter.clone() };
        let part = store.list(&part).await?;
        let is_full = part.len() as i64 == most;
        before = part.last().filter(|_| is_full).map_or(from, |job| job.id);
        jobs.extend(part);
        if is_full || began.elapsed() > LOOKING {
            break;
        }
    }
    let next = (before > 1).then_some(before);
    Ok(Found { is_cut: next.is_some(), jobs, next })
}

async fn newest(store: &dyn Store) -> store::Result<i64> {
    let newest = Filter { cursor: Cursor::Before(i64::MAX), most: 1, ..Filter::default() };
    Ok(store.list(&newest).await?.first().map_or(0, |job| job.id))
}

/// # Errors
/// 400: there is no such state.
fn filter(asked: &Asked) -> Result<Filter, Problem> {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let odd = |what: &str, name: &str| {
        Problem::from(crate::error::Error::usage(format!("there is no {what} {name:?}")))
    };
    let state = given(&asked.state).map(|name| State::of(&name).ok_or_else(|| odd("state", &name)));
    let step = given(&asked.step).map(|name| {
        let state = serde_json::from_value::<StepState>(name.as_str().into());
        state.map(State::from).map_err(|_| odd("state of a step", &name))
    });
    let text = given(&asked.q).map(|text| text.chars().take(LONGEST).collect());
    Ok(Filter {
        backend: given(&asked.backend),
        state: state.transpose()?,
        step: step.transpose()?,
        text,
        cursor: Cursor::Before(asked.before.unwrap_or(i64::MAX)),
        ..Filter::default()
    })
}

fn searching(asked: &Asked, backends: &[String]) -> Markup {
    html! {
        form method="get" action="/tickets" role="search" class="search" {
            div {
                label for="q" { "text, key, number or URL" }
                input type="search" id="q" name="q" value=(asked.q) maxlength=(LONGEST);
            }
            div {
                label for="state" { "state" }
                select id="state" name="state" {
                    option value="" { "any" }
                    @for state in State::ALL {
                        option value=(state.name()) selected[state.name() == asked.state] { (state.name()) }
                    }
                }
            }
            div {
                label for="step" { "with a step" }
                select id="step" name="step" {
                    option value="" { "or without" }
                    @for step in ["queued", "working", "unknown", "done", "failed", "cancelled", "needless"] {
                        option value=(step) selected[step == asked.step] { (step) }
                    }
                }
            }
            div {
                label for="backend" { "backend" }
                select id="backend" name="backend" {
                    option value="" { "any" }
                    @for name in backends {
                        option value=(name) selected[*name == asked.backend] { (name) }
                    }
                    @if !asked.backend.is_empty() && !backends.contains(&asked.backend) {
                        option value=(asked.backend) selected { (asked.backend) }
                    }
                }
            }
            button { "Search" }
        }
    }
}

fn listed(found: &Found, told: &BTreeMap<i64, String>, asked: &Asked) -> Markup {
    let number = asked.q.trim().trim_start_matches('#').parse::<i64>().ok();
    html! {
        @if let Some(number) = number { p { "Ticket " (page::ticket(number)) } }
        @if found.jobs.is_empty() { p { "None was found." } } @else {
            table {
                thead {
                    tr {
                        th scope="col" { "number" }
                        th scope="col" { "state" }
                        th scope="col" { "incident" }
                        th scope="col" { "backend" }
                        th scope="col" { "accepted" }
                        th scope="col" { "ticket, or why there is none" }
                    }
                }
                tbody { @for job in &found.jobs { (row(job, told.get(&job.id))) } }
            }
        }
        @if let Some(next) = found.next {
            p {
                @if found.is_cut { "Looked through the tickets from number " (next) " on. " }
                a href=(older(asked, next)) rel="next" { "Older ones" }
            }
        }
    }
}

fn row(job: &Job, told: Option<&String>) -> Markup {
    let told = told.map(|told| short(told)).filter(|told| !told.is_empty());
    html! {
        tr id={ "t" (job.id) } {
            th scope="row" { (page::ticket(job.id)) }
            td data-label="state" { (page::state(job.state)) }
            td data-label="incident" { (told.unwrap_or_else(|| short(&job.key))) }
            td data-label="backend" { (job.backend) }
            td data-label="accepted" { (page::time(job.accepted_at)) }
            td data-label="ticket" {
                @if let Some(ticket) = &job.ticket { (outside(&ticket.url)) }
                @else if let Some(failure) = &job.failure { (short(&failure.message)) }
            }
        }
    }
}

/// The page behind this one.
fn older(asked: &Asked, next: i64) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let given = [
        ("q", &asked.q),
        ("backend", &asked.backend),
        ("state", &asked.state),
        ("step", &asked.step),
    ];
    for (name, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    format!("/tickets?{}", query.append_pair("before", &next.to_string()).finish())
}
