//! `[backends.NAME]`: one backend's settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use ticket_host_worker::Digest;
use ticket_host_worker::permissions::Permissions;
use toml::Spanned;
use url::Url;

use super::json::json;
use super::limits::Limits;
use super::secret::SecretSource;
use super::source::{Setting, Source, Spans};
use super::{trust, urls};
use crate::error::{Error, Result};
use crate::origin::Origin;

/// One backend's settings.
#[derive(Clone, PartialEq)]
pub struct BackendConfig {
    pub name: String,
    /// The name or an alias of the plugin, as its manifest has it.
    pub plugin: String,
    pub endpoint: Url,
    pub secret: SecretSource,
    pub information: Value,
    pub isolation: Isolation,
    /// What the plugin may do beside HTTP.
    pub permissions: Permissions,
    /// The digest that the plugin's library must have, if the operator pins one.
    pub sha256: Option<Digest>,
    /// Origins beside the endpoint's that the plugin may reach.
    pub allow_origins: Vec<Origin>,
    /// A file of certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy to use instead of the environment's. Its URL may hold a password.
    pub proxy: Option<Url>,
    /// The operator's template of a ticket's title; without it the host's own is used.
    pub title: Option<String>,
    /// The operator's template of a ticket's body; without it the host's own is used.
    pub body: Option<String>,
    /// How long a call may take before the plugin is killed.
    pub call_timeout: Duration,
    /// Bytes that the body of one HTTP answer may have.
    pub max_response_bytes: usize,
    /// Calls at the same time.
    pub concurrency: usize,
    /// HTTP requests that may leave in a second; without it they leave as fast as they come.
    pub requests_per_second: Option<f64>,
    pub look_first: LookFirst,
    /// Where the settings stand in the config file, or None if they came from the environment.
    pub(super) spans: Option<Spans>,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In a process of its own: what it breaks costs that one call.
    #[default]
    Worker,
    /// In the host's process: it can do everything that the host can do.
    InProcess,
}

/// When a ticket is looked for before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookFirst {
    #[default]
    Always,
    /// Only if the ticket may have been made before. `serve` leaves the search out where nothing but
    /// itself could have made the ticket, and it knows that it did not.
    WhenInDoubt,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackend {
    plugin: Spanned<String>,
    endpoint: Spanned<String>,
    secret: Option<Spanned<toml::Value>>,
    information: Option<Spanned<toml::Value>>,
    #[serde(default)]
    isolation: Isolation,
    permissions: Option<Spanned<Permissions>>,
    sha256: Option<Spanned<String>>,
    #[serde(default)]
    allow_origins: Vec<Spanned<String>>,
    ca_file: Option<Spanned<PathBuf>>,
    proxy: Option<Spanned<String>>,
    template: Option<Spanned<RawTemplate>>,
    call_timeout_seconds: Option<Spanned<u64>>,
    max_response_bytes: Option<Spanned<u64>>,
    concurrency: Option<Spanned<u64>>,
    requests_per_second: Option<Spanned<f64>>,
    #[serde(default)]
    look_first: LookFirst,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    title: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
}

impl BackendConfig {
    /// A backend of which only what every backend must have is given; all else is the default.
    pub(super) fn new(
        name: String,
        plugin: String,
        endpoint: Url,
        limits: Limits,
    ) -> BackendConfig {
        let nothing = || Value::Object(Map::new());
        BackendConfig {
            name,
            plugin,
            endpoint,
            secret: SecretSource { value: nothing(), base: PathBuf::new() },
            information: nothing(),
            isolation: Isolation::default(),
            permissions: Permissions::default(),
            sha256: None,
            allow_origins: Vec::new(),
            ca_file: None,
            proxy: None,
            title: None,
            body: None,
            call_timeout: limits.call_timeout,
            max_response_bytes: limits.max_response_bytes,
            concurrency: limits.concurrency,
            requests_per_second: None,
            look_first: LookFirst::default(),
            spans: None,
        }
    }

    /// The backend `name` of a config file whose relative file names count from `base`.
    ///
    /// # Errors
    /// A settings error that points to the first setting that can't be used.
    pub(super) fn read(
        source: &Source,
        base: &Path,
        limits: Limits,
        name: String,
        raw: RawBackend,
    ) -> Result<BackendConfig> {
        let spans = raw.spans(source);
        let endpoint = source.read(&raw.endpoint, |text| urls::endpoint("endpoint", text))?;
        let origins = raw.allow_origins.iter();
        let origins = origins.map(|text| source.read(text, |text| urls::origin(text)));
        let secret = table(source, "secret", raw.secret)?;
        let template = raw.template.map(Spanned::into_inner).unwrap_or_default();
        let limits = limits.overridden_by(
            source,
            raw.call_timeout_seconds.as_ref(),
            raw.max_response_bytes.as_ref(),
            raw.concurrency.as_ref(),
        )?;
        Ok(BackendConfig {
            secret: SecretSource { value: secret, base: base.to_owned() },
            information: table(source, "information", raw.information)?,
            isolation: raw.isolation,
            permissions: permissions(base, raw.permissions),
            sha256: source.read_if_given(raw.sha256.as_ref(), |text| trust::pin(text))?,
            allow_origins: origins.collect::<Result<_>>()?,
            ca_file: raw.ca_file.map(|file| base.join(file.into_inner())),
            proxy: source.read_if_given(raw.proxy.as_ref(), |text| urls::proxy(text))?,
            title: template.title.map(Spanned::into_inner),
            body: template.body.map(Spanned::into_inner),
            requests_per_second: source.read_if_given(raw.requests_per_second.as_ref(), rate)?,
            look_first: raw.look_first,
            spans: Some(spans),
            ..BackendConfig::new(name, raw.plugin.into_inner(), endpoint, limits)
        })
    }

    /// `error`, with the lines of the config file that the setting stands in.
    pub fn pointing(&self, setting: Setting, error: Error) -> Error {
        match &self.spans {
            Some(spans) => spans.pointing(setting, error),
            None => error,
        }
    }

    /// As [`BackendConfig::pointing`], with line number `line` (from 1) of the text that the setting is.
    pub fn pointing_at_line(&self, setting: Setting, line: usize, error: Error) -> Error {
        match &self.spans {
            Some(spans) => spans.pointing_at_line(setting, line, error),
            None => error,
        }
    }
}

impl std::fmt::Debug for BackendConfig {
    /// Only what can't hold a secret: the proxy may have a password, and information is the plugin's own.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendConfig")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("endpoint", &self.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

impl RawBackend {
    fn spans(&self, source: &Source) -> Spans {
        fn span<T>(value: &Option<Spanned<T>>) -> Option<std::ops::Range<usize>> {
            value.as_ref().map(Spanned::span)
        }
        let template = self.template.as_ref().map(Spanned::get_ref);
        let others = [
            (Setting::Secret, span(&self.secret)),
            (Setting::Information, span(&self.information)),
            (Setting::Title, template.and_then(|template| span(&template.title))),
            (Setting::Body, template.and_then(|template| span(&template.body))),
            (Setting::CaFile, span(&self.ca_file)),
            (Setting::Permissions, span(&self.permissions)),
            (Setting::Sha256, span(&self.sha256)),
        ];
        Spans::new(source.clone(), self.plugin.span(), others)
    }
}

/// The setting `name`, which must be a table; an absent one is empty.
fn table(source: &Source, name: &str, value: Option<Spanned<toml::Value>>) -> Result<Value> {
    let Some(value) = value else { return Ok(Value::Object(Map::new())) };
    source.read(&value, |value| {
        if value.is_table() {
            return Ok(());
        }
        Err(Error::settings(format!("{name} must be a table"))
            .help(format!("write it like {name} = {{ name = \"value\" }}")))
    })?;
    Ok(json(value.into_inner()))
}

/// What is granted, with paths that are relative to the config file's directory made absolute.
fn permissions(base: &Path, raw: Option<Spanned<Permissions>>) -> Permissions {
    let mut permissions = raw.map(Spanned::into_inner).unwrap_or_default();
    for path in permissions.read.iter_mut().chain(&mut permissions.write) {
        let joined = base.join(&*path);
        // Only an empty path can't be made absolute; it is refused where it is used.
        *path = std::path::absolute(&joined).unwrap_or(joined);
    }
    permissions
}

fn rate(rate: &f64) -> Result<f64> {
    if (0.001..=10_000.0).contains(rate) {
        return Ok(*rate);
    }
    Err(Error::settings(format!("requests_per_second is out of bounds: {rate}"))
        .help("give a number from 0.001 to 10000"))
}
