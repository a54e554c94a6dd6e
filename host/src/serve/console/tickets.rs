//! The list of tickets: the newest first, of a backend, in a state, or with a text in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::Viewer;
use super::form::{Given, number_or_nothing};
use super::page::{self, Page, Trouble, outside, short};
use crate::incident;
use crate::machine::StepState;
use crate::serve::Service;
use crate::serve::problem::Problem;
use crate::store::{Cursor, Filter, Job, Search, Searched, State};

/// Rows of a page.
const ROWS: i64 = 50;
/// How long a text is looked for before it is said how far that came.
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
    #[serde(default)]
    before: String,
}

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Given(asked): Given<Asked>,
) -> Result<Response, Trouble> {
    // A text is looked for by one at a time, since all rows are read for it. Who waits holds nothing.
    let turn = service.console.searches.lock();
    let _turn = if asked.q.is_empty() { None } else { Some(turn.await) };
    let held = service.answers.hold(ROWS as usize * ROW).await?;
    let store = &*service.queue.store;
    let found = find(&service, &asked).await?;
    let numbers: Vec<i64> = found.jobs.iter().map(|job| job.id).collect();
    let incidents = store.incidents(&numbers).await?;
    let told = incidents.into_iter().map(|(id, json)| (id, incident::description(&json))).collect();
    let backends = service.queue.setup().config.backends.keys().cloned().collect::<Vec<_>>();
    let body = html! {
        h1 { "Tickets" }
        (searching(&asked, &backends))
        (listed(&found, &told, &asked))
    };
    // What is older doesn't change while somebody looks, and what is looked for long isn't looked for again and again.
    let live = asked.before.is_empty() && asked.q.is_empty();
    let page = Page { title: "Tickets".to_owned(), here: "/tickets", live, body };
    Ok(page.holding(&viewer, held))
}

/// The rows that are asked for: of a text as many as are found in a while.
async fn find(service: &Service, asked: &Asked) -> Result<Searched, Trouble> {
    let (filter, store) = (filter(asked)?, &service.queue.store);
    let before = number_or_nothing(&asked.before)?.unwrap_or(i64::MAX);
    let text: String = asked.q.trim().chars().take(LONGEST).collect();
    if text.is_empty() {
        let filter = Filter { cursor: Cursor::Before(before), most: ROWS + 1, ..filter };
        let mut jobs = store.list(&filter).await?;
        let more = jobs.len() as i64 > ROWS;
        jobs.truncate(ROWS as usize);
        let next = jobs.last().filter(|_| more).map(|job| job.id);
        return Ok(Searched { jobs, next });
    }
    // A text may be anywhere: part by part, until there are enough, or it has taken long.
    let (began, mut jobs, mut next) = (Instant::now(), Vec::new(), Some(before));
    while let Some(before) = next.filter(|_| began.elapsed() < LOOKING) {
        let most = (ROWS as usize).saturating_sub(jobs.len());
        if most == 0 {
            break;
        }
        let Filter { backend, state, step, .. } = filter.clone();
        let search = Search { text: text.clone(), backend, state, step, before, most };
        let found = store.search(&search).await?;
        jobs.extend(found.jobs);
        next = found.next;
    }
    Ok(Searched { jobs, next })
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
    Ok(Filter {
        backend: given(&asked.backend),
        state: state.transpose()?,
        step: step.transpose()?,
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

fn listed(found: &Searched, told: &BTreeMap<i64, String>, asked: &Asked) -> Markup {
    let number = asked.q.trim().trim_start_matches('#').parse::<i64>().ok();
    html! {
        @if let Some(number) = number { p { "Ticket " (page::ticket(number)) } }
        @if found.jobs.is_empty() { p { "None was found." } } @else {
            table {
                (page::heads(&["number", "state", "incident", "backend", "accepted", "ticket, or why there is none"]))
                tbody { @for job in &found.jobs { (row(job, told.get(&job.id))) } }
            }
        }
        @if let Some(next) = found.next {
            p {
                @if !asked.q.is_empty() { "Looked through the tickets from number " (next) " on. " }
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
