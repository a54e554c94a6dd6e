//! The plugins: which there are, who vouches for each, what it was granted, and what keeps it from more.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use maud::{Markup, html};

use super::Viewer;
use super::page::{self, Page, badge, outside};
use crate::config::{BackendConfig, Isolation};
use crate::plugins::catalog::{Entry, Plugin};
use crate::plugins::manifest;
use crate::plugins::trust::Vouched;
use crate::serve::Service;
use crate::setup::Setup;
use crate::store::Failure;

pub(super) async fn show(
    Shared(service): Shared<Arc<Service>>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let setup = service.queue.setup();
    let body = html! {
        h1 { "Plugins" }
        @if setup.catalog.entries.is_empty() { p { "No library was found in the plugin directories." } }
        @for entry in &setup.catalog.entries { (one(&setup, entry)) }
        h2 { "Looked for in" }
        ul { @for place in &setup.catalog.directories { li { (place.directory.display()) } } }
    };
    Page { title: "Plugins".to_owned(), here: "/plugins", live: false, body }.shown(&viewer)
}

fn one(setup: &Setup, Entry { path, plugin, .. }: &Entry) -> Markup {
    match plugin {
        Ok(plugin) => usable(setup, plugin),
        Err(error) => html! {
            section class="card" {
                h2 { (path.file_name().unwrap_or_default().to_string_lossy()) " " (badge("can't be used", "bad")) }
                p { (page::failure(&Failure::from(error))) }
                p class="soft" { (path.display()) }
            }
        },
    }
}

fn usable(setup: &Setup, plugin: &Plugin) -> Markup {
    let m = &plugin.manifest;
    let users: Vec<&BackendConfig> = setup
        .config
        .backends
        .values()
        .filter(|backend| manifest::answers_to(m, &backend.plugin))
        .collect();
    html! {
        section class="card" {
            h2 { (m.name) " " (m.version) " " (vouched(&plugin.vouched)) }
            p { (m.description) }
            dl {
                dt { "file" } dd { (plugin.path.display()) }
                dt { "SHA-256" } dd { code { (plugin.image.sha256) } }
                @if let Some(why) = &plugin.vouched.unsigned { dt { "signature" } dd { (why) } }
                @if !m.vendor.is_empty() { dt { "vendor" } dd { (m.vendor) } }
                @if !m.license.is_empty() { dt { "license" } dd { (m.license) } }
                @if !m.homepage.is_empty() { dt { "homepage" } dd { (outside(&m.homepage)) } }
                dt { "offers" } dd { (plugin.offers.join(", ")) }
                dt { "beside HTTP to its endpoint it asks for" }
                dd {
                    @if m.permissions.is_empty() { "nothing" }
                    @else {
                        ul { @for asked in &m.permissions { li { code { (asked.permission) } ": " (asked.what) ": " (asked.why) } } }
                    }
                }
                dt { "used by" }
                dd {
                    @if users.is_empty() { "no backend" }
                    @else { ul { @for user in &users { li { (used(setup, user)) } } } }
                }
            }
        }
    }
}

/// Who vouches for a library.
fn vouched(vouched: &Vouched) -> Markup {
    match &vouched.signed_by {
        Some(key) => badge(&format!("signed by {key}"), "good"),
        None if !vouched.pinned_as.is_empty() => badge("pinned", "good"),
        None if vouched.unsigned.is_some() => badge("nobody vouches for it", "doubt"),
        None => badge("signatures are off", "calm"),
    }
}

/// What a backend grants its plugin, and what of the sandbox isn't there.
fn used(setup: &Setup, config: &BackendConfig) -> Markup {
    let granted = config.permissions.granted();
    let backend = setup.ready(&config.name);
    html! {
        strong { (config.name) } ": granted "
        @if granted.is_empty() { "nothing" } @else { (granted.join(", ")) }
        "; "
        @match (config.isolation, backend) {
            (Isolation::InProcess, _) => {
                (badge("not confined", "bad")) " it runs in the host's process, with everything that the host has"
            }
            (_, None) => "it isn't ready",
            (_, Some(backend)) if backend.unconfined.is_empty() => {
                (badge("confined", "good")) " in a worker, from everything else"
            }
            (_, Some(backend)) => {
                (badge("not wholly confined", "doubt"))
                ul { @for lack in &backend.unconfined { li { (lack) } } }
            }
        }
    }
}
