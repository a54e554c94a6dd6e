//! `[argus]`: the Argus whose open incidents get tickets without anybody asking for them.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};

use super::bounds::{Bounded, Seconds};
use super::json::json;
use super::secret::{self, SecretSource};
use super::source::{Place, Source, Spanned};
use super::urls;
use crate::error::{Error, Errors, Result};
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
    /// None of them. The log says how many they are.
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
    /// would ignore a parameter that it doesn't know; with such a one nothing is filed, and the log says so. It can't have
    /// `open`, `ticket`, `page_size` or `cursor`, which the watcher itself gives: it asks for open incidents without a ticket.
    #[serde(default = "unfiltered")]
    filter: Spanned<String>,
    /// Seconds from one time that Argus is asked to the next.
    #[serde(default = "Interval::of::<30>")]
    interval_seconds: Interval,
    /// The backend that makes the tickets. Without this setting it is the default one.
    pub(super) backend: Option<Spanned<String>>,
    /// What becomes of an incident that waited for its ticket (since the ticket system was down) and has ended meanwhile.
    /// What somebody asked for (the button, the command line, the API) gets its ticket in any case.
    #[serde(default)]
    ended: Ended,
    /// Which incidents get tickets that were there before this Argus (by the host and port of `url`) was watched for the
    /// first time. Where they are skipped, that is by their numbers and for ever: no incident up to the largest number that
    /// was open then is filed by the watcher, also if it is opened again or comes into the filter later. That stays over
    /// restarts, until this is set to `file`, which files all that the filter lists. `ticket-host create --argus PK` files a
    /// single one; so do the button and the API.
    #[serde(default)]
    backlog: Backlog,
}

/// The filter that lets every incident through.
fn unfiltered() -> Spanned<String> {
    Spanned::nowhere(String::new())
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
        let filter = errors.keep(source.read(&raw.filter, |text| filter(text)));
        let url = with_slash(url.unwrap_or_else(urls::nowhere));
        ArgusConfig {
            frontend_url: frontend_url.flatten().unwrap_or_else(|| url.clone()),
            url,
            place: Some(Place::new(source, raw.token.span())),
            token: SecretSource { value: json(raw.token.into_inner()), base: base.to_owned() },
            filter: filter.unwrap_or_default(),
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

/// # Errors
/// A settings error: it has a parameter that the watcher itself gives. Of two of the same name Argus takes the last one.
fn filter(text: &str) -> Result<String> {
    let filter = text.trim_start_matches(['?', '&']);
    for (name, _) in form_urlencoded::parse(filter.as_bytes()) {
        let why = match name.as_ref() {
            "open" => "incidents that have ended get no tickets",
            "ticket" => "incidents that have a ticket get no other one",
            "page_size" | "cursor" => "the watcher itself asks for one page after the other",
            _ => continue,
        };
        let what = format!("argus.filter can't have the parameter {name}: {why}");
        return Err(Error::settings(what)
            .help("leave it out; the watcher asks for open incidents without a ticket"));
    }
    Ok(filter.to_owned())
}

/// The URL with a slash at its end, so that a path that is joined to it comes below it.
fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_no_parameter_that_the_watcher_itself_gives() {
        for (text, expected) in [
            ("", Some("")),
            ("?level__lte=3&acked=false", Some("level__lte=3&acked=false")),
            ("opened=1&tickets=2", Some("opened=1&tickets=2")),
            ("open=false", None),
            ("open", None),
            ("?open=true", None),
            ("level__lte=3&ticket=true", None),
            ("level__lte=3&&page_size=1", None),
            ("cursor=x", None),
            ("%6Fpen=false", None),
        ] {
            let read = filter(text);
            assert_eq!(read.as_deref().ok(), expected, "{text}");
            assert!(read.is_ok() || read.unwrap_err().help.is_some());
        }
    }
}
