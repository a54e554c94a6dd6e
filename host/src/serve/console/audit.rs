//! Who did what, by which way: the newest first.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::Viewer;
use super::form::{Given, number_or_nothing};
use super::page::{self, Page, Trouble};
use crate::serve::Service;
use crate::store::{Entries, Entry};

/// Entries of a page.
const ROWS: i64 = 100;
/// Bytes that are set aside for an entry.
const ROW: usize = 10 << 10;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    before: String,
}

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
    Given(Asked { before }): Given<Asked>,
) -> Result<Response, Trouble> {
    let held = service.answers.hold(ROWS as usize * ROW).await?;
    let before = number_or_nothing(&before)?;
    let which = Entries { before, most: ROWS + 1, ..Entries::default() };
    let mut entries = service.queue.store.deeds(&which).await?;
    let more = entries.len() as i64 > ROWS;
    entries.truncate(ROWS as usize);
    let next = entries.last().filter(|_| more).map(|entry| entry.id);
    let body = html! {
        h1 { "Audit" }
        p class="soft" {
            "What people did in the console, by the API and on the command line, and how the config changed. The newest hundred "
            "thousand entries are kept."
        }
        @if entries.is_empty() { p { "Nothing yet." } }
        (table(&entries, "", false))
        @if let Some(next) = next { p { a href={ "/audit?before=" (next) } rel="next" { "Older ones" } } }
    };
    let page = Page { title: "Audit".to_owned(), here: "/audit", live: before.is_none(), body };
    Ok(page.holding(&viewer, held))
}

/// Entries below a title. A change of many lines has a line each, if `as_lines`.
pub(super) fn table(entries: &[Entry], title: &str, as_lines: bool) -> Markup {
    html! {
        @if !entries.is_empty() {
            @if !title.is_empty() { h2 { (title) } }
            table {
                (page::heads(&["when", "who", "by", "what", "ticket", "more"]))
                tbody {
                    @for entry in entries {
                        tr {
                            td data-label="when" { (page::time(entry.at)) }
                            td data-label="who" { (entry.who) }
                            td data-label="by" { (entry.way) }
                            td data-label="what" { (entry.what) }
                            td data-label="ticket" { @if let Some(id) = entry.ticket { (page::ticket(id)) } }
                            td data-label="more" {
                                @if as_lines && entry.detail.contains('\n') { pre tabindex="0" { (entry.detail) } }
                                @else { (page::short(&entry.detail)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
