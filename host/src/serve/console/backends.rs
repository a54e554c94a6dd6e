//! The backends: how it goes with each, what its plugin's check says now, and how another one takes over.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::Viewer;
use super::form::{self, Given};
use super::overview::standing;
use super::page::{self, Done, Page, Trouble, badge, button, length};
use crate::error::Error;
use crate::incident::ARGUS;
use crate::lock::lock;
use crate::serve::overview::{self, BackendNow, tickets_of};
use crate::serve::problem::Problem;
use crate::serve::swap::{self, Swaps};
use crate::serve::{Service, measure};
use crate::setup::Setup;
use crate::store::{Deed, Failure};

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Given(done): Given<Done>,
) -> Response {
    let now = overview::look(&service).await;
    let (setup, swaps) = (service.queue.setup(), lock(&service.swaps).clone());
    let body = html! {
        h1 { "Backends" }
        (page::done(&done))
        @for backend in &now.backends { (one(&viewer, &setup, &swaps, backend)) }
        (swapping(&setup))
    };
    Page { title: "Backends".to_owned(), here: "/backends", live: true, body }.shown(&viewer)
}

fn one(viewer: &Viewer, setup: &Setup, swaps: &Swaps, now: &BackendNow) -> Markup {
    let config = setup.config.backends.get(&now.name);
    let rate = config.and_then(|config| config.requests_per_second);
    html! {
        section class="card" aria-labelledby={ "b-" (now.name) } {
            h2 id={ "b-" (now.name) } { (now.name) " " (standing(now)) }
            @if let Some(error) = &now.error { p { (page::failure(error)) } }
            dl {
                dt { "makes the tickets of" } dd { (makes(setup, &now.name)) }
                @if let Some(plugin) = &now.plugin {
                    dt { "plugin" }
                    dd { (plugin) @if let Some(version) = &now.version { " " (version) } }
                }
                @if let Some(endpoint) = &now.endpoint { dt { "endpoint" } dd { (page::outside(endpoint)) } }
                @if let Some(rate) = rate { dt { "at most" } dd { (rate) " requests a second" } }
                @if now.paused_seconds > 0 {
                    dt { "left alone for" }
                    dd { (length(now.paused_seconds)) ": its ticket system asked for that" }
                }
                dt { "waiting" }
                dd {
                    a href=(tickets_of(&now.name, Some("queued"))) { (now.waiting) }
                    @if now.oldest.is_some() { ", the oldest for " (length(now.oldest_seconds)) }
                }
                dt { "failed" }
                dd { a href=(tickets_of(&now.name, Some("failed"))) { (now.failed) } }
                dt { "made in the last hour" } dd { (now.made_in_hour) }
            }
            @if viewer.acts && now.version.is_some() {
                (button(viewer, &action(&now.name, "check"), "Check now", &[]))
            }
            (swap_of(viewer, setup, swaps, &now.name))
        }
    }
}

/// Where something is done to a backend.
fn action(backend: &str, what: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(backend, percent_encoding::NON_ALPHANUMERIC);
    format!("/backends/{name}/{what}")
}

/// Which other backend makes its tickets, or could.
fn swap_of(viewer: &Viewer, setup: &Setup, swaps: &Swaps, name: &str) -> Markup {
    let decision = setup.decision();
    let makes = [decision.backend(""), decision.backend(ARGUS)].contains(&Some(name));
    let others: Vec<&String> =
        setup.config.backends.keys().filter(|other| *other != name).collect();
    html! {
        @if let Some(to) = swaps.get(name) {
            p class="doubt" { "A person said that " strong { (to) } " makes its tickets, whatever the config says." }
            @if viewer.acts {
                (button(viewer, &action(name, "swap"), &format!("Let {name} make them again"), &[]))
            }
        } @else if viewer.acts && makes && !others.is_empty() && !swaps.values().any(|to| to == name) {
            form method="post" action=(action(name, "swap")) class="swap" {
                (viewer.hidden())
                label for={ "to-" (name) } { "Another backend makes its tickets from now on:" }
                select id={ "to-" (name) } name="to" { @for other in others { option value=(other) { (other) } } }
                button { "Swap" }
            }
        }
    }
}

/// Has another backend make the tickets of one, or has it make them itself again.
pub(super) async fn swap(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Path(from): Path<String>,
    request: Request,
) -> Result<Response, Trouble> {
    let form = form::read(&service, &viewer, request).await?;
    let to = Some(form.get("to")).filter(|to| !to.is_empty());
    let (store, setup) = (&*service.queue.store, service.queue.setup());
    let noted = swap::note(store, &setup.config, &from, to, viewer.by()).await;
    noted.map_err(Problem::from)?;
    service.swapped.notify_one();
    Ok(Redirect::to("/backends?done=swap").into_response())
}

/// Whose tickets a backend makes.
fn makes(setup: &Setup, name: &str) -> &'static str {
    let decision = setup.decision();
    let is = |source: &str| decision.backend(source) == Some(name);
    match (is(""), is(ARGUS) && setup.config.argus.is_some()) {
        (true, true) => {
            "all incidents, Argus's among them, unless another backend is asked for by its name"
        }
        (true, false) => "all incidents, unless another backend is asked for by its name",
        (false, true) => "Argus's incidents",
        (false, false) => "whoever asks for it by its name",
    }
}

/// How another backend makes the tickets from now on.
fn swapping(setup: &Setup) -> Markup {
    html! {
        section class="card" aria-labelledby="swap" {
            h2 id="swap" { "Another ticket system from now on" }
            p {
                "Swap has another backend make the tickets until somebody lets the first one make them again. For good, write it into the "
                "config, and save it: the service reads it at once. In both cases what waits and certainly isn't made goes to the other "
                "one; what has a ticket, or may have one, stays where it is."
            }
            pre tabindex="0" aria-label="The line of the config" {
                "# " (setup.config.source()) "\ndefault_backend = \"NAME\""
                @if setup.config.argus.as_ref().is_some_and(|argus| argus.backend.is_some()) {
                    "\n\n[argus]\nbackend = \"NAME\""
                }
            }
        }
    }
}

/// Asks a backend's plugin to check its settings now.
pub(super) async fn check(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Trouble> {
    form::read(&service, &viewer, request).await?;
    let setup = service.queue.setup();
    let backend = match setup.backends.get(&name) {
        Some(Ok(backend)) => Arc::clone(backend),
        Some(Err(failure)) => return Err(Problem::of_failure(failure.clone()).into()),
        None => return Err(Problem::from(Error::usage("there is no such backend")).into()),
    };
    let deed = Deed { by: viewer.by(), what: "check", ticket: None, detail: name.clone() };
    // Who looks why nothing goes on is let look, also if it is the store.
    let _ = measure::in_time(service.queue.store.keep_deed(deed)).await;
    let checked = backend.check().await.map_err(|error| Failure::from(&error));
    let body = html! {
        h1 { "What " (name) " says now" }
        @match &checked {
            Ok(rows) => ul class="checks" {
                @for row in rows {
                    li {
                        (badge(if row.ok { "ok" } else { "failed" }, if row.ok { "good" } else { "bad" }))
                        " " strong { (row.name) } " " (row.message)
                        @if !row.ok && !row.help.is_empty() { " " span class="help" { (row.help) } }
                    }
                }
            },
            Err(failure) => p class="bad" { (page::failure(failure)) },
        }
        p { a href="/backends" { "To the backends" } }
    };
    Ok(Page { title: format!("Check of {name}"), here: "/backends", live: false, body }
        .shown(&viewer))
}
