//! What pages load beside themselves: all of it is in the program, and has its digest in its name, so that a browser keeps it.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ticket_host_worker::Digest;

/// A file that pages load.
pub(super) struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    path: LazyLock<String>,
}

macro_rules! asset {
    ($name:literal, $kind:literal) => {
        Asset {
            name: $name,
            kind: $kind,
            text: include_str!(concat!("assets/", $name)),
            path: LazyLock::new(|| path($name, include_str!(concat!("assets/", $name)))),
        }
    };
}

pub(super) static STYLE: Asset = asset!("console.css", "text/css; charset=utf-8");
pub(super) static LIVE: Asset = asset!("live.js", "text/javascript; charset=utf-8");
/// Brings a page to what another one is, and leaves where somebody is at in it. Idiomorph 0.8.0 (0BSD), as npm has it.
pub(super) static MORPH: Asset = asset!("idiomorph.min.js", "text/javascript; charset=utf-8");
pub(super) static ICON: Asset = asset!("icon.svg", "image/svg+xml");

fn path(name: &str, text: &str) -> String {
    format!("/assets/{}/{name}", &Digest::of(text.as_bytes()).to_string()[..16])
}

impl Asset {
    /// Where it is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// Gives an asset, by its digest and name.
pub(super) async fn give(Path((digest, name)): Path<(String, String)>) -> Response {
    let asked = format!("/assets/{digest}/{name}");
    let all = [&STYLE, &LIVE, &MORPH, &ICON];
    let Some(asset) = all.into_iter().find(|asset| asset.name == name && asset.path() == asked)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.text).into_response()
}
