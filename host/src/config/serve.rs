//! `[serve]`: where the service listens, and who may ask it for what.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_host_worker::Digest;

use super::bounds::{Bounded, Seconds};
use super::json::json;
use super::secret::{self, SecretSource};
use super::source::{Source, Spanned};
use super::trust;
use super::urls::quoted;
use crate::error::{Error, Errors, Result};

/// Where the service listens if nobody says where: on this machine alone.
const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8620));

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// File incidents.
    Create,
    /// See tickets, backends and plugins.
    Read,
    /// Retry and cancel.
    Admin,
}

/// Where `serve` listens, and who may ask it for what.
///
/// ```toml
/// [serve]
/// listen = "[::1]:8620"
/// shutdown_seconds = 60
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawServe {
    /// The address and port to listen on, such as `127.0.0.1:8620` or `[::1]:8620`.
    listen: Spanned<String>,
    /// The tokens of those who may ask, each a table `[serve.tokens.NAME]` with a name of your own. Without any, everybody
    /// on this machine may ask for everything, and nobody else for anything.
    tokens: BTreeMap<String, Spanned<RawToken>>,
    /// Seconds that calls under way may still take when the service is told to stop.
    shutdown_seconds: Bounded<Seconds, 0, 600>,
}

/// A token, `[serve.tokens.NAME]`, and what it may do. It needs either `token` or `sha256`.
///
/// ```toml
/// [serve.tokens.argus]
/// token = { file = "/run/secrets/ticket-host-argus" }
/// scopes = ["create", "read"]
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["token"]}, {"required": ["sha256"]}]))]
struct RawToken {
    /// The token. With `{ env = "NAME" }` it is read from an environment variable, with `{ file = "/path" }` from a file.
    #[serde(default)]
    #[schemars(schema_with = "secret::text_schema")]
    token: Option<toml::Value>,
    /// The token's SHA-256 in place of the token itself: 64 hexadecimal digits, as `printf %s "$TOKEN" | sha256sum` prints.
    #[schemars(extend("pattern" = trust::SHA256))]
    sha256: Option<Spanned<String>>,
    /// What the token may do.
    scopes: Vec<Scope>,
}

impl Default for RawServe {
    fn default() -> RawServe {
        RawServe {
            listen: Spanned::nowhere(LISTEN.to_string()),
            tokens: BTreeMap::new(),
            shutdown_seconds: Bounded::of::<30>(),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> ServeConfig {
        ServeConfig {
            listen: LISTEN,
            tokens: Vec::new(),
            shutdown: RawServe::default().shutdown_seconds.value(),
        }
    }
}

impl ServeConfig {
    /// A setting that can't be used is added to `errors`, with where it stands.
    pub(super) fn read(
        source: &Source,
        base: &Path,
        raw: RawServe,
        errors: &mut Errors,
    ) -> ServeConfig {
        let listen = errors.keep(source.read(&raw.listen, |text| listen(text)));
        let tokens = raw.tokens.into_iter();
        ServeConfig {
            listen: listen.unwrap_or(LISTEN),
            tokens: tokens
                .filter_map(|(name, raw)| errors.keep(token(source, base, name, raw)))
                .collect(),
            shutdown: raw.shutdown_seconds.value(),
        }
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
