//! `[serve]`: where the service listens, and who may ask it for what.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_host_worker::Digest;

use super::bounds::{Bounded, Seconds};
use super::json::json;
use super::secret::{self, SecretSource};
use super::source::{Place, Source, Spanned};
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
    pub console: ConsoleConfig,
}

/// `[serve.console]`: the pages for people.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsoleConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// How long somebody stays signed in who does nothing.
    pub idle: Duration,
}

/// `[serve.tokens.NAME]`: one token and what it may do.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenConfig {
    pub name: String,
    pub token: TokenSource,
    pub scopes: Vec<Scope>,
    /// Whether it is the watched Argus's own: its incidents are that Argus's, by their numbers.
    pub argus: bool,
    /// Where the token stands in the config file, if it came from one.
    pub(crate) place: Option<Place>,
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
    console: RawConsole,
}

/// The pages for people at the service's address, `[serve.console]`. Who has a token with the scope `read` signs in with it and
/// sees everything; with `admin` also retries, cancels, adopts and closes.
///
/// ```toml
/// [serve.console]
/// idle_seconds = 28800
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RawConsole {
    /// Whether there are any.
    enabled: bool,
    /// Seconds until somebody who does nothing must sign in again. A page that only renews itself does nothing. After a day everybody
    /// must.
    idle_seconds: Bounded<Seconds, 60, 86400>,
}

impl Default for RawConsole {
    fn default() -> RawConsole {
        RawConsole { enabled: true, idle_seconds: Bounded::of::<3600>() }
    }
}

impl From<RawConsole> for ConsoleConfig {
    fn from(raw: RawConsole) -> ConsoleConfig {
        ConsoleConfig { enabled: raw.enabled, idle: raw.idle_seconds.value() }
    }
}

/// A token, `[serve.tokens.NAME]`, and what it may do. It needs either `token` or `sha256`.
///
/// ```toml
/// [serve.tokens.argus]
/// token = { file = "/run/secrets/ticket-host-argus" }
/// scopes = ["create", "read"]
/// argus = true
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["token"]}, {"required": ["sha256"]}]))]
struct RawToken {
    /// The token. With `{ env = "NAME" }` it is read from an environment variable, with `{ file = "/path" }` from a file.
    #[serde(default)]
    #[schemars(schema_with = "secret::text_schema")]
    token: Option<Spanned<toml::Value>>,
    /// The token's SHA-256 in place of the token itself: 64 hexadecimal digits, as `printf %s "$TOKEN" | sha256sum` prints.
    #[schemars(extend("pattern" = trust::SHA256))]
    sha256: Option<Spanned<String>>,
    /// What the token may do.
    scopes: Vec<Scope>,
    /// Whether the token is for the button in the pages of the Argus of `[argus]`, and for nobody else: then what it files is
    /// that Argus's incident by its number, whatever the URL of its page is, and can't get a second ticket by the watcher.
    /// Without `[argus]` it is an error.
    #[serde(default = "nobodys")]
    argus: Spanned<bool>,
}

/// A token that isn't Argus's.
fn nobodys() -> Spanned<bool> {
    Spanned::nowhere(false)
}

impl Default for RawServe {
    fn default() -> RawServe {
        RawServe {
            listen: Spanned::nowhere(LISTEN.to_string()),
            tokens: BTreeMap::new(),
            shutdown_seconds: Bounded::of::<30>(),
            console: RawConsole::default(),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> ServeConfig {
        ServeConfig {
            listen: LISTEN,
            tokens: Vec::new(),
            shutdown: RawServe::default().shutdown_seconds.value(),
            console: RawConsole::default().into(),
        }
    }
}

impl ServeConfig {
    /// A setting that can't be used is added to `errors`, with where it stands. `has_argus`: there is an Argus that a token
    /// can be of.
    pub(super) fn read(
        source: &Source,
        base: &Path,
        raw: RawServe,
        has_argus: bool,
        errors: &mut Errors,
    ) -> ServeConfig {
        for (name, token) in raw.tokens.iter().filter(|_| !has_argus) {
            let argus = &token.get_ref().argus;
            errors.keep(source.read(argus, |argus| of_no_argus(name, *argus)));
        }
        let listen = errors.keep(source.read(&raw.listen, |text| listen(text)));
        let tokens = raw.tokens.into_iter();
        ServeConfig {
            listen: listen.unwrap_or(LISTEN),
            tokens: tokens.map(|(name, raw)| token(source, base, name, raw, errors)).collect(),
            shutdown: raw.shutdown_seconds.value(),
            console: raw.console.into(),
        }
    }

    /// The SHA-256 of each token, for a service that listens at `address`.
    ///
    /// # Errors
    /// Settings errors: each token that can't be read, or is the same as another; or that there are none, though others
    /// than this machine could ask.
    pub fn digests(&self, address: SocketAddr) -> Result<Vec<Digest>> {
        let mut errors = Errors::default();
        if self.tokens.is_empty() && !address.ip().is_loopback() {
            let error =
                format!("listening on {address} without tokens would let everybody make tickets");
            errors.add(Error::settings(error).help(
                "add [serve.tokens.NAME] with a token and its scopes, or listen on 127.0.0.1",
            ));
        }
        let mut known: BTreeMap<Digest, &str> = BTreeMap::new();
        let mut digests = Vec::new();
        for token in &self.tokens {
            let Some(digest) = errors.keep(token.digest()) else { continue };
            if let Some(other) = known.get(&digest) {
                let name = &token.name;
                let error =
                    format!("serve.tokens.{name} is the same token as serve.tokens.{other}");
                errors.add(token.pointing(Error::settings(error).help(
                    "give each client a token of its own; one token can have several scopes",
                )));
            }
            known.entry(digest).or_insert(&token.name);
            digests.push(digest);
        }
        errors.or(Some(digests))
    }
}

fn listen(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| {
        Error::settings(format!("listen{} is not an address with a port", quoted(text)))
            .help("write it like 127.0.0.1:8620 or [::1]:8620")
    })
}

/// # Errors
/// A settings error: the token of that name is to be an Argus's, and the config names none.
fn of_no_argus(name: &str, is_argus: bool) -> Result<()> {
    if !is_argus {
        return Ok(());
    }
    let what =
        format!("serve.tokens.{name} is the token of the Argus of [argus], which the config lacks");
    Err(Error::settings(what).help(
        "add [argus] with the url and a token of that Argus, or leave out `argus = true`: then its incidents are known by \
         their argus_url",
    ))
}

/// The token of that name. If it can't be read that is added to `errors`, with where it stands.
fn token(
    source: &Source,
    base: &Path,
    name: String,
    raw: Spanned<RawToken>,
    errors: &mut Errors,
) -> TokenConfig {
    let whole = raw.span();
    let raw = raw.into_inner();
    let (span, token) = match (raw.token, raw.sha256) {
        (Some(token), None) => {
            let span = token.span();
            let value = json(token.into_inner());
            (span, Ok(TokenSource::Text(SecretSource { value, base: base.to_owned() })))
        }
        (None, Some(text)) => {
            (text.span(), source.read(&text, |text| digest(text)).map(TokenSource::Sha256))
        }
        (token, _) => {
            let what = match token {
                Some(_) => "needs either token or sha256, and not both",
                None => "needs a token or a sha256",
            };
            let error = Error::settings(format!("serve.tokens.{name} {what}"));
            let help = "write it like token = { file = \"/etc/ticket-host/argus-token\" }";
            (whole.clone(), Err(source.pointing(whole, error.help(help))))
        }
    };
    match errors.keep(token) {
        Some(token) => {
            let place = Some(Place::new(source, span));
            TokenConfig { name, token, scopes: raw.scopes, argus: raw.argus.into_inner(), place }
        }
        None => TokenConfig::unreadable(name, source),
    }
}

fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|cause| {
        Error::settings(format!("sha256 {cause}"))
            .help("this prints a token's: printf %s \"$TOKEN\" | sha256sum")
    })
}

impl TokenConfig {
    /// One that is in the file and couldn't be read. What is said of it later is no mistake of the file's.
    pub(super) fn unreadable(name: String, source: &Source) -> TokenConfig {
        let nothing = SecretSource { value: serde_json::Value::Null, base: PathBuf::new() };
        let place = Some(Place::nowhere(source));
        let token = TokenSource::Text(nothing);
        TokenConfig { name, token, scopes: Vec::new(), argus: false, place }
    }

    /// `error`, with the lines of the config file that the token stands in.
    fn pointing(&self, error: Error) -> Error {
        Place::pointing(self.place.as_ref(), error)
    }

    /// The SHA-256 of the token.
    ///
    /// # Errors
    /// A settings error: its file or variable can't be read, or it is empty.
    fn digest(&self) -> Result<Digest> {
        match &self.token {
            TokenSource::Text(source) => {
                let token = source.text(&format!("serve.tokens.{}.token", self.name));
                let token = token.map_err(|error| self.pointing(error))?;
                Ok(Digest::of(token.as_bytes()))
            }
            TokenSource::Sha256(digest) => Ok(*digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::parse;
    use super::*;

    /// What is said of the tokens of a file for a service that listens where the file says.
    fn told(serve: &str) -> Vec<String> {
        let mut draft = parse(Path::new("/none/c.toml"), serve).unwrap();
        let serve = &draft.config.serve;
        let tokens = serve.digests(serve.listen).err().into_iter();
        tokens.for_each(|errors| draft.add(errors));
        let Err(errors) = draft.whole() else { return Vec::new() };
        assert!(errors.each().all(|error| error.help.is_some()));
        errors.each().map(|error| error.message.clone()).collect()
    }

    #[test]
    fn all_that_is_wrong_with_tokens_is_told_and_nothing_that_follows_from_it() {
        let open = "[serve]\nlisten = \"0.0.0.0:1\"\n";
        let scopes = "scopes = [\"read\"]\n";
        let button = format!("[serve.tokens.a]\ntoken = \"x\"\n{scopes}");
        for (serve, all) in [
            (open.to_owned(), &["listening on 0.0.0.0:1 without tokens"][..]),
            (format!("{open}[serve.tokens.a]\ntoken = \"x\"\n{scopes}"), &[]),
            (
                format!(
                    "[serve.tokens.a]\ntoken = {{ file = \"no\" }}\n{scopes}\
                     [serve.tokens.b]\ntoken = \"x\"\n{scopes}\
                     [serve.tokens.c]\ntoken = {{ env = \"NOT_SET_ANYWHERE\" }}\n{scopes}\
                     [serve.tokens.d]\ntoken = \"x\"\n{scopes}\
                     [serve.tokens.e]\ntoken = \"\"\n{scopes}"
                ),
                &[
                    "serve.tokens.a.token: the file /none/no",
                    "serve.tokens.c.token: the environment variable",
                    "serve.tokens.d is the same token as serve.tokens.b",
                    "serve.tokens.e.token must be a text",
                ],
            ),
            // Tokens that aren't read are there all the same.
            (format!("{open}tokens = 1\n"), &["`tokens` must be"]),
            (format!("{open}[serve.tokens]\na = 1\n"), &["each of `tokens`"]),
            (format!("{open}[serve.tokens.a]\nsha256 = \"0\"\n{scopes}"), &["sha256 is not"]),
            (format!("{open}[serve.tokens.a]\nsha256 = 5\n{scopes}"), &["`sha256` must be"]),
            (format!("{open}[serve.tokens.a]\ntokn = \"x\"\n{scopes}"), &["`tokn`; did you"]),
            (format!("{open}[serve.token.a]\ntoken = \"x\"\n{scopes}"), &["`token`; did you"]),
            (format!("{open}[serve.tokens.a]\n{scopes}"), &["a needs a token or a sha256"]),
            (
                format!("{open}[serve.tokens.a]\ntoken = \"x\"\nsha256 = \"0\"\n{scopes}"),
                &["a needs either token or sha256, and not both"],
            ),
            (format!("{open}[serve.tokens.a]\ntoken = \"\"\n"), &["`scopes` is", "a.token must"]),
            (format!("{button}argus = true\n"), &["a is the token of the Argus of [argus], which"]),
            (format!("{button}argus = false\n"), &[]),
            (
                format!("{button}argus = true\n[argus]\nurl = \"https://a.org\"\ntoken = \"t\"\n"),
                &[],
            ),
            // What is wrong with [argus] is told, and not that there is none.
            (format!("{button}argus = true\n[argus]\nurl = \"https://a.org\"\n"), &["`token` is"]),
            (format!("argus = 1\n{button}argus = true\n"), &["`argus` must be"]),
            (format!("{button}argus = true\n[argu]\nurl = \"https://a.org\"\n"), &["`argu`; did"]),
        ] {
            let told = told(&serve);
            assert_eq!(told.len(), all.len(), "{serve}\n{told:#?}");
            for text in all {
                let times = told.iter().filter(|told| told.contains(text)).count();
                assert_eq!(times, 1, "{text:?}: {serve}\n{told:#?}");
            }
        }
    }
}
