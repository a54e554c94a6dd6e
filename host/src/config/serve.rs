//! `[serve]`: where the service listens, and who may ask it for what.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use ticket_host_worker::Digest;
use toml::Spanned;

use super::json::json;
use super::limits::bounded;
use super::secret::SecretSource;
use super::source::Source;
use super::urls::quoted;
use crate::error::{Error, Result};

/// The settings of the service.
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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServe {
    listen: Option<Spanned<String>>,
    #[serde(default)]
    tokens: BTreeMap<String, Spanned<RawToken>>,
    shutdown_seconds: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    token: Option<toml::Value>,
    sha256: Option<Spanned<String>>,
    scopes: Vec<Scope>,
}

impl Default for ServeConfig {
    fn default() -> ServeConfig {
        ServeConfig {
            listen: (Ipv4Addr::LOCALHOST, 8620).into(),
            tokens: Vec::new(),
            shutdown: Duration::from_secs(30),
        }
    }
}

impl ServeConfig {
    /// # Errors
    /// A settings error that points to the first setting that can't be used.
    pub(super) fn read(source: &Source, base: &Path, raw: RawServe) -> Result<ServeConfig> {
        let default = ServeConfig::default();
        let seconds = default.shutdown.as_secs();
        let shutdown = raw.shutdown_seconds.as_ref();
        let shutdown = bounded(source, "shutdown_seconds", shutdown, seconds, 0..=600)?;
        let tokens = raw.tokens.into_iter().map(|(name, raw)| token(source, base, name, raw));
        Ok(ServeConfig {
            listen: source
                .read_if_given(raw.listen.as_ref(), |text| listen(text))?
                .unwrap_or(default.listen),
            tokens: tokens.collect::<Result<_>>()?,
            shutdown: Duration::from_secs(shutdown),
        })
    }
}

fn listen(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| {
        Error::settings(format!("listen{} is not an address with a port", quoted(text)))
            .help("write it like 127.0.0.1:8620 or [::1]:8620")
    })
}

fn token(
    source: &Source,
    base: &Path,
    name: String,
    raw: Spanned<RawToken>,
) -> Result<TokenConfig> {
    let span = raw.span();
    let raw = raw.into_inner();
    let token = match (raw.token, raw.sha256) {
        (Some(token), None) => {
            TokenSource::Text(SecretSource { value: json(token), base: base.to_owned() })
        }
        (None, Some(text)) => TokenSource::Sha256(source.read(&text, |text| digest(text))?),
        _ => {
            let error = Error::settings(format!(
                "serve.tokens.{name} needs either token or sha256, and not both"
            ));
            let help = "write it like token = { file = \"/etc/ticket-host/argus-token\" }";
            return Err(source.pointing(span, error.help(help)));
        }
    };
    Ok(TokenConfig { name, token, scopes: raw.scopes })
}

fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|cause| {
        Error::settings(format!("sha256 {cause}"))
            .help("this prints a token's: printf %s \"$TOKEN\" | sha256sum")
    })
}

impl TokenConfig {
    /// The SHA-256 of the token.
    ///
    /// # Errors
    /// A settings error: its file or variable can't be read, or it is empty.
    pub fn digest(&self) -> Result<Digest> {
        match &self.token {
            TokenSource::Text(source) => {
                let token = source.text(&format!("serve.tokens.{}.token", self.name))?;
                Ok(Digest::of(token.as_bytes()))
            }
            TokenSource::Sha256(digest) => Ok(*digest),
        }
    }
}
