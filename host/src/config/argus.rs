//! `[argus]`: the Argus whose open incidents get tickets without anybody asking for them.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::bounds::{Bounded, Seconds};
use super::json::json;
use super::secret::{self, SecretSource};
use super::source::{Place, Source, Spanned};
use super::urls;
use crate::error::{Errors, Result};
use crate::origin::Origin;

type Interval = Bounded<Seconds, 1, 3600>;

/// The Argus that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgusConfig {
    /// The base URL of its API, with a slash at its end.
    pub url: Url,
    /// The base URL of its pages: what Argus itself calls FRONTEND_URL.
    pub frontend_url: Url,
    pub token: SecretSource,
    /// Where the token stands in the config file, if it came from one.
    pub(crate) place: Option<Place>,
    /// Which incidents get tickets, as query parameters of Argus's API.
    pub filter: String,
    /// How often Argus is asked.
    pub interval: Duration,
    /// The backend that makes the tickets, or None for the default one.
    pub backend: Option<String>,
    pub ended: Ended,
    pub backlog: Backlog,
}

/// What becomes of an incident that has ended before its ticket could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// It gets none, unless somebody asked for it.
    #[default]
    Suppress,
    /// It gets its ticket all the same.
    Create,
}

/// Which incidents get tickets that were open before this Argus was watched for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backlog {
    /// All of them.
    File,
    /// None of them.
    Skip,
    /// All of them if they are 50 at most. If they are more: none, and the log says how many there are and what to do.
    #[default]
    Ask,
}

/// An Argus that `serve` watches: its open incidents get tickets without anybody asking for them, and it is told of these.
///
/// ```toml
/// [argus]
/// url = "https://argus.example.org/"
/// frontend_url = "https://argus.example.org/"
/// token = { file = "/etc/ticket-host/argus-token" }
/// filter = "level__lte=3&acked=false"
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawArgus {
    /// The URL of Argus's API: http or https, and without the path `api/`.
    #[schemars(extend("format" = "uri", "pattern" = urls::SCHEME))]
    url: Spanned<String>,
    /// The URL of Argus's pages, which Argus itself calls `FRONTEND_URL`. Without this setting it is `url`.
    #[schemars(extend("format" = "uri", "pattern" = urls::SCHEME))]
    frontend_url: Option<Spanned<String>>,
    /// The token of an Argus user who is no source: Argus takes each request with a source's token for a sign that the
    /// source lives. With `{ env = "NAME" }` it is read from an environment variable, with `{ file = "/path" }`
    /// from a file.
    #[schemars(schema_with = "secret::text_schema")]
    token: Spanned<toml::Value>,
    /// Which incidents get tickets, as query parameters of Argus's API. Without this setting all that are open do. Argus
    /// would ignore a parameter that it doesn't know; with such a one nothing is filed, and the log says so.
    #[serde(default)]
    filter: String,
    /// Seconds from one time that Argus is asked to the next.
    #[serde(default = "Interval::of::<30>")]
    interval_seconds: Interval,
    /// The backend that makes the tickets. Without this setting it is the default one.
    pub(super) backend: Option<Spanned<String>>,
    /// What becomes of an incident that waited for its ticket (since the ticket system was down) and has ended meanwhile.
    /// What somebody asked for (the button, the command line, the API) gets its ticket in any case.
    #[serde(default)]
    ended: Ended,
    /// Which incidents get tickets that were open before this Argus was watched for the first time. What was decided then
    /// stays, also over restarts, until this is set to `file`. `ticket-host create --argus PK` files a single one.
    #[serde(default)]
    backlog: Backlog,
}

impl ArgusConfig {
    /// A setting that can't be used is added to `errors`, with where it stands.
    pub(super) fn read(
        source: &Source,
        base: &Path,
        raw: RawArgus,
        errors: &mut Errors,
    ) -> ArgusConfig {
        let url = errors.keep(source.read(&raw.url, |text| urls::endpoint("argus.url", text)));
        let frontend_url = errors.keep(source.read_if_given(raw.frontend_url.as_ref(), |text| {
            urls::endpoint("argus.frontend_url", text)
        }));
        let url = with_slash(url.unwrap_or_else(urls::nowhere));
        ArgusConfig {
            frontend_url: frontend_url.flatten().unwrap_or_else(|| url.clone()),
            url,
            place: Some(Place::new(source, raw.token.span())),
            token: SecretSource { value: json(raw.token.into_inner()), base: base.to_owned() },
            filter: raw.filter.trim_start_matches(['?', '&']).to_owned(),
            interval: raw.interval_seconds.value(),
            backend: raw.backend.map(Spanned::into_inner),
            ended: raw.ended,
            backlog: raw.backlog,
        }
    }

    /// What is odd about it though it can be used, if anything is.
    pub(super) fn warning(&self) -> Option<String> {
        let origin = Origin::of(&self.url).filter(Origin::is_readable_on_the_way)?;
        Some(format!(
            "Argus's token goes to {origin} unencrypted, and can be read on its way there; write https:// in argus.url"
        ))
    }

    /// # Errors
    /// A settings error: its file or variable can't be read, or it is empty.
    pub fn token(&self) -> Result<String> {
        let token = self.token.text("argus.token");
        token.map_err(|error| Place::pointing(self.place.as_ref(), error))
    }
}

/// The URL with a slash at its end, so that a path that is joined to it comes below it.
fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}
