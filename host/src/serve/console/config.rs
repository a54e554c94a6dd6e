//! The config as the service read it, without secrets, and what changed in it when.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use maud::html;

use super::page::{self, Page};
use super::{Viewer, audit};
use crate::serve::{Service, measure};
use crate::store::{Entries, Failure, Way};

/// Of the changes the newest.
const CHANGES: i64 = 20;

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let setup = service.queue.setup();
    let config = &setup.config;
    let which = Entries { way: Some(Way::Config), most: CHANGES, ..Entries::default() };
    let changes = measure::in_time(service.queue.store.deeds(&which)).await;
    let body = html! {
        h1 { "Config" }
        dl {
            dt { "read from" } dd { (config.source()) }
            dt { "store" } dd { (config.queue.place()) }
        }
        @for note in &config.notes { p { (note) } }
        @for warning in &setup.warnings() { p class="doubt" { (warning) } }
        @for (name, error) in &setup.errors {
            p class="bad" { (name) ": " (page::failure(&Failure::from(error))) }
        }
        h2 { "As it was read" }
        @if config.shown.is_empty() { p { "The settings come from the environment." } }
        @else {
            p class="soft" { "Without comments; *** stands where a secret is, or may be." }
            pre tabindex="0" aria-label="The config" { (config.shown) }
        }
        @match &changes {
            Some(changes) => (audit::table(changes, "What changed when", true)),
            None => p class="doubt" { "What changed when isn't known now: the store doesn't answer." },
        }
    };
    Page { title: "Config".to_owned(), here: "/config", live: false, body }.shown(&viewer)
}
