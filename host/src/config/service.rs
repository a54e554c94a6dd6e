//! The settings of `serve`: who may ask, where accepted incidents are kept, which Argus is watched.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use serde::Deserialize;
use serde_json::Value;
use ticket_host_worker::Digest;
use toml::Spanned;
use url::Url;

use super::SYSTEM_FILE;
use super::file::{Source, bounded, json};
use super::secret::SecretSource;
use crate::error::{Error, Result};

const PORT: u16 = 8620;
const SYSTEM_STORE: &str = "/var/lib/ticket-host/queue.db";
const DAY: u64 = 24 * 60 * 60;

/// `[serve]`: where it listens, and who may ask.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeConfig {
    pub listen: SocketAddr,
    pub tokens: Vec<TokenConfig>,
    /// How long calls under way may still take when the service is told to stop.
    pub shutdown: Duration,
}

/// `[serve.tokens.NAME]`: one token and what it may do.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenConfig {
    pub name: String,
    pub token: TokenSource,
    pub scopes: Vec<Scope>,
}

/// A token, or its SHA-256.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenSource {
    Text(SecretSource),
    Sha256(Digest),
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// File incidents.
    Create,
    /// See tickets, backends and plugins.
    Read,
    /// Retry and cancel.
    Admin,
}

/// `[queue]`: where accepted incidents are kept, and for how long what is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    pub path: PathBuf,
    /// Bytes that the store may have.
    pub max_bytes: u64,
    /// For how long a ticket is tried to be made.
    pub retry_for: Duration,
    /// The longest time between two tries.
    pub longest_wait: Duration,
    /// For how long what is finished is kept.
    pub keep_for: Duration,
    /// How long after an unknown outcome a "there is none" is believed.
    pub settle: Duration,
}

/// `[argus]`: the Argus whose incidents are filed without being asked to.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgusConfig {
    /// Its API's base URL.
    pub url: Url,
    /// The base of its pages, as its own FRONTEND_URL; paths join it as they do there.
    pub frontend_url: Url,
    pub token: SecretSource,
    /// Argus's own query parameters: which incidents get tickets.
    pub filter: String,
    pub interval: Duration,
    /// Which backend; the default one if none is named.
    pub backend: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServe {
    listen: Option<Spanned<String>>,
    #[serde(default)]
    tokens: std::collections::BTreeMap<String, Spanned<RawToken>>,
    shutdown_seconds: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    token: Option<toml::Value>,
    sha256: Option<Spanned<String>>,
    scopes: Vec<Scope>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQueue {
    path: Option<PathBuf>,
    max_megabytes: Option<Spanned<u64>>,
    retry_days: Option<Spanned<u64>>,
    longest_wait_seconds: Option<Spanned<u64>>,
    keep_days: Option<Spanned<u64>>,
    settle_seconds: Option<Spanned<u64>>,
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
    backend: Option<Spanned<String>>,
}

pub(super) fn serve(source: &Source, base: &Path, raw: RawServe) -> Result<ServeConfig> {
    let listen = match raw.listen {
        None => default_listen(),
        Some(text) => text.get_ref().parse().map_err(|_| {
            let message = format!("listen: {:?} is no address with a port", text.get_ref());
            source.error(text.span(), message, "like 127.0.0.1:8620 or [::1]:8620")
        })?,
    };
    let mut tokens = Vec::new();
    for (name, raw) in raw.tokens {
        let span = raw.span();
        let raw = raw.into_inner();
        let token = match (raw.token, raw.sha256) {
            (Some(token), None) => TokenSource::Text(secret(token, base)),
            (None, Some(text)) => TokenSource::Sha256(text.get_ref().parse().map_err(|cause| {
                let help = "printf %s \"$TOKEN\" | sha256sum";
                source.error(text.span(), format!("sha256: {cause}"), help)
            })?),
            _ => {
                return Err(source.error(
                    span,
                    format!("serve.tokens.{name}: needs either token or sha256"),
                    "like token = { file = \"/etc/ticket-host/argus-token\" }",
                ));
            }
        };
        tokens.push(TokenConfig { name, token, scopes: raw.scopes });
    }
    let shutdown = bounded(source, "shutdown_seconds", &raw.shutdown_seconds, 30, 0..=600)?;
    Ok(ServeConfig { listen, tokens, shutdown: Duration::from_secs(shutdown) })
}

pub(super) fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT).into()
}

fn secret(value: toml::Value, base: &Path) -> SecretSource {
    SecretSource { value: json(value), base: base.to_owned() }
}

pub(super) fn queue(source: &Source, file: &Path, raw: RawQueue) -> Result<QueueConfig> {
    let base = file.parent().unwrap_or(Path::new(""));
    let number = |name, value: &Option<Spanned<u64>>, default, range: RangeInclusive<u64>| {
        bounded(source, name, value, default, range)
    };
    let default = default_queue(Some(file));
    let days = |seconds: Duration| seconds.as_secs() / DAY;
    let retry = number("retry_days", &raw.retry_days, days(default.retry_for), 1..=365)?;
    let keep = number("keep_days", &raw.keep_days, days(default.keep_for), 1..=3650)?;
    let settle = number("settle_seconds", &raw.settle_seconds, default.settle.as_secs(), 0..=3600)?;
    let wait = default.longest_wait.as_secs();
    let wait = number("longest_wait_seconds", &raw.longest_wait_seconds, wait, 1..=86_400)?;
    let most = number("max_megabytes", &raw.max_megabytes, default.max_bytes >> 20, 1..=1 << 20)?;
    Ok(QueueConfig {
        path: raw.path.map_or(default.path, |path| base.join(path)),
        max_bytes: most << 20,
        retry_for: Duration::from_secs(retry * DAY),
        longest_wait: Duration::from_secs(wait),
        keep_for: Duration::from_secs(keep * DAY),
        settle: Duration::from_secs(settle),
    })
}

/// The settings of a queue of which nothing is said: the system's for the system's config file,
/// else the user's own.
pub(super) fn default_queue(file: Option<&Path>) -> QueueConfig {
    let own = etcetera::choose_base_strategy()
        .ok()
        .and_then(|base| base.state_dir().or_else(|| Some(base.data_dir())))
        .map(|directory| directory.join("ticket-host").join("queue.db"));
    let system = file == Some(Path::new(SYSTEM_FILE));
    QueueConfig {
        path: own.filter(|_| !system).unwrap_or_else(|| PathBuf::from(SYSTEM_STORE)),
        max_bytes: 16 << 30,
        retry_for: Duration::from_secs(7 * DAY),
        longest_wait: Duration::from_secs(600),
        keep_for: Duration::from_secs(30 * DAY),
        settle: Duration::from_secs(10),
    }
}

pub(super) fn argus(
    source: &Source,
    base: &Path,
    raw: RawArgus,
    backends: &[&str],
) -> Result<ArgusConfig> {
    let url = |name: &str, text: &Spanned<String>| {
        super::endpoint(text.get_ref()).map_err(|(message, help)| {
            source.error(text.span(), message.replacen("endpoint", name, 1), help)
        })
    };
    let api = below(url("url", &raw.url)?);
    if let Some(name) = &raw.backend
        && !backends.contains(&name.get_ref().as_str())
    {
        let message = format!("backend: there is no backend {:?}", name.get_ref());
        return Err(source.error(
            name.span(),
            message,
            format!("there are: {}", backends.join(", ")),
        ));
    }
    let interval = bounded(source, "interval_seconds", &raw.interval_seconds, 30, 1..=3600)?;
    Ok(ArgusConfig {
        frontend_url: match &raw.frontend_url {
            Some(text) => url("frontend_url", text)?,
            None => api.clone(),
        },
        url: api,
        token: secret(raw.token, base),
        filter: raw.filter.trim_start_matches(['?', '&']).to_owned(),
        interval: Duration::from_secs(interval),
        backend: raw.backend.map(Spanned::into_inner),
    })
}

/// The URL with a slash at its end, so that paths join below it.
fn below(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

impl TokenConfig {
    /// The SHA-256 of the token.
    ///
    /// # Errors
    /// A settings error: its file or variable can't be read, or it is empty.
    pub fn digest(&self) -> Result<Digest> {
        match &self.token {
            TokenSource::Text(source) => {
                let name = format!("serve.tokens.{}.token", self.name);
                Ok(Digest::of(text(source, &name)?.as_bytes()))
            }
            TokenSource::Sha256(digest) => Ok(*digest),
        }
    }
}

impl ArgusConfig {
    /// # Errors
    /// A settings error: its file or variable can't be read, or it is empty.
    pub fn token(&self) -> Result<String> {
        text(&self.token, "argus.token")
    }
}

/// A secret that is one text.
fn text(source: &SecretSource, name: &str) -> Result<String> {
    match source.resolve(name)?.value {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(Error::settings(format!("{name}: must be a text, and not empty"))
            .help("the token, or { env = \"NAME\" }, or { file = \"/path\" }")),
    }
}
