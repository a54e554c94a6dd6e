//! `[argus]`: the Argus whose open incidents get tickets without anybody asking for them.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::json::json;
use super::limits::bounded;
use super::secret::SecretSource;
use super::source::Source;
use super::urls;
use crate::error::Result;
use crate::origin::Origin;

/// The Argus that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgusConfig {
    /// The base URL of its API, with a slash at its end.
    pub url: Url,
    /// The base URL of its pages: what Argus itself calls FRONTEND_URL.
    pub frontend_url: Url,
    pub token: SecretSource,
    /// Which incidents get tickets, as query parameters of Argus's API.
    pub filter: String,
    /// How often Argus is asked.
    pub interval: Duration,
    /// The backend that makes the tickets, or None for the default one.
    pub backend: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawArgus {
    url: Spanned<String>,
    frontend_url: Option<Spanned<String>>,
    token: toml::Value,
    #[serde(default)]
    filter: String,
    interval_seconds: Option<Spanned<u64>>,
    pub(super) backend: Option<Spanned<String>>,
}

impl ArgusConfig {
    /// # Errors
    /// A settings error that points to the first setting that can't be used.
    pub(super) fn read(source: &Source, base: &Path, raw: RawArgus) -> Result<ArgusConfig> {
        let url = source.read(&raw.url, |text| urls::endpoint("argus.url", text))?;
        let url = with_slash(url);
        let frontend_url = source.read_if_given(raw.frontend_url.as_ref(), |text| {
            urls::endpoint("argus.frontend_url", text)
        })?;
        let interval = raw.interval_seconds.as_ref();
        let interval = bounded(source, "interval_seconds", interval, 30, 1..=3600)?;
        Ok(ArgusConfig {
            frontend_url: frontend_url.unwrap_or_else(|| url.clone()),
            url,
            token: SecretSource { value: json(raw.token), base: base.to_owned() },
            filter: raw.filter.trim_start_matches(['?', '&']).to_owned(),
            interval: Duration::from_secs(interval),
            backend: raw.backend.map(Spanned::into_inner),
        })
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
        self.token.text("argus.token")
    }
}

/// The URL with a slash at its end, so that a path that is joined to it comes below it.
fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}
