//! The TOML config file, with errors that show the line.
//!
//! Invariant: a shown line has no secret in it; values that may be one are masked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use minisign_verify::PublicKey;
use serde::Deserialize;
use serde_json::Value;
use ticket_host_worker::Digest;
use toml::Spanned;

use super::secret::{SecretSource, readable_by_all};
use super::service::{self, RawArgus, RawQueue, RawServe};
use super::{BackendConfig, Config, Isolation, Limits, LookFirst, endpoint, origin};
use crate::error::{Error, Result};
use crate::plugins::trust::{Signatures, Trust, TrustedKey};
use ticket_host_worker::permissions::Permissions;

/// A place in the config file, fit to be shown.
#[derive(Debug, Clone)]
pub struct Snippet {
    pub file: String,
    /// The file's text, masked.
    pub text: Arc<str>,
    pub span: Range<usize>,
}

/// A setting that an error can point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Plugin,
    Secret,
    Information,
    Template,
    CaFile,
    Permissions,
    Sha256,
}

/// Where one backend's settings stand.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    file: String,
    text: Arc<str>,
    plugin: Range<usize>,
    secret: Option<Range<usize>>,
    information: Option<Range<usize>>,
    template: Option<Range<usize>>,
    ca_file: Option<Range<usize>>,
    permissions: Option<Range<usize>>,
    sha256: Option<Range<usize>>,
}

/// Where settings stand doesn't make them others.
impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

impl Places {
    /// The setting, or, where it is absent, the backend's plugin.
    pub(crate) fn snippet(&self, setting: Setting) -> Snippet {
        let span = match setting {
            Setting::Plugin => None,
            Setting::Secret => self.secret.clone(),
            Setting::Information => self.information.clone(),
            Setting::Template => self.template.clone(),
            Setting::CaFile => self.ca_file.clone(),
            Setting::Permissions => self.permissions.clone(),
            Setting::Sha256 => self.sha256.clone(),
        };
        Snippet {
            file: self.file.clone(),
            text: Arc::clone(&self.text),
            span: span.unwrap_or_else(|| self.plugin.clone()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    default_backend: Option<Spanned<String>>,
    #[serde(default)]
    plugin_dirs: Vec<PathBuf>,
    #[serde(default)]
    signatures: Signatures,
    #[serde(default)]
    trusted_keys: BTreeMap<String, RawKey>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    serve: RawServe,
    #[serde(default)]
    queue: RawQueue,
    argus: Option<RawArgus>,
    #[serde(default)]
    backends: BTreeMap<String, RawBackend>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    key: Spanned<String>,
    plugins: Spanned<BTreeSet<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    call_timeout_seconds: Option<Spanned<u64>>,
    max_response_bytes: Option<Spanned<u64>>,
    max_incident_bytes: Option<Spanned<u64>>,
    concurrency: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackend {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    title: Option<String>,
    body: Option<String>,
}

pub(super) fn load(path: &Path) -> Result<Config> {
    let text = fs::read_to_string(path).map_err(|cause| {
        Error::settings(format!("the config file {} can't be read", path.display()))
            .help(format!(
                "`ticket-host --config {} init` writes one to start from",
                path.display()
            ))
            .cause(cause)
    })?;
    let mut config = parse(path, &text)?;
    let holds_secret = config.backends.values().any(|backend| has_text(&backend.secret.value));
    if holds_secret && readable_by_all(path) {
        config.warnings.push(format!(
            "the config file {} holds a secret and is readable by everybody on this machine; \
             mend it with: chmod 600 {}",
            path.display(),
            path.display()
        ));
    }
    Ok(config)
}

/// Whether a secret has a value in it, and not just the place of one.
fn has_text(secret: &Value) -> bool {
    match secret {
        Value::Object(members) => {
            let only = members.len() == 1;
            members.iter().any(|(name, value)| {
                let source = only && (name == "env" || name == "file") && value.is_string();
                !source && has_text(value)
            })
        }
        Value::Array(items) => items.iter().any(has_text),
        Value::String(_) | Value::Number(_) => true,
        Value::Null | Value::Bool(_) => false,
    }
}

/// A config file's text while it is read.
pub(super) struct Source<'a> {
    path: &'a Path,
    masked: Arc<str>,
}

impl Source<'_> {
    pub(super) fn error(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Error {
        Error {
            snippet: Some(Box::new(Snippet {
                file: self.path.display().to_string(),
                text: Arc::clone(&self.masked),
                span,
            })),
            ..Error::settings(message).help(help)
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Config> {
    let tree = toml::de::DeTable::parse(text).map_err(|cause| {
        let source = Source { path, masked: mask_every_value(text).into() };
        source.error(
            cause.span().unwrap_or(0..0),
            cause.message(),
            "the syntax is TOML's, https://toml.io",
        )
    })?;
    let mut secret_spans = Vec::new();
    find_secrets(tree.get_ref(), &mut secret_spans);
    let source = Source { path, masked: mask(text, &secret_spans).into() };
    let raw: RawConfig = toml::from_str(text).map_err(|cause| {
        let span = cause.span().unwrap_or(0..0);
        let secret = secret_spans.iter().any(|s| s.start < span.end && span.start < s.end);
        // The message may quote the value.
        let message = if secret { "this can't stand here" } else { cause.message() };
        source.error(span, message, "the README lists the settings")
    })?;

    let limits = Limits::default();
    let call_timeout = bounded(
        &source,
        "call_timeout_seconds",
        &raw.limits.call_timeout_seconds,
        limits.call_timeout_seconds,
        1..=3600,
    )?;
    let max_response = bounded(
        &source,
        "max_response_bytes",
        &raw.limits.max_response_bytes,
        limits.max_response_bytes as u64,
        RESPONSE,
    )?;
    let max_incident = bounded(
        &source,
        "max_incident_bytes",
        &raw.limits.max_incident_bytes,
        limits.max_incident_bytes as u64,
        1 << 10..=16 << 20,
    )?;
    let concurrency = bounded(
        &source,
        "concurrency",
        &raw.limits.concurrency,
        limits.concurrency as u64,
        CONCURRENCY,
    )?;

    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut backends = BTreeMap::new();
    for (name, raw) in raw.backends {
        let refuse = |span: Range<usize>, (message, help): (String, String)| {
            source.error(span, message, help)
        };
        let endpoint =
            endpoint(raw.endpoint.get_ref()).map_err(|why| refuse(raw.endpoint.span(), why))?;
        let mut allow_origins = Vec::new();
        for text in &raw.allow_origins {
            allow_origins.push(origin(text.get_ref()).map_err(|why| refuse(text.span(), why))?);
        }
        let proxy = match &raw.proxy {
            None => None,
            Some(text) => Some(url::Url::parse(text.get_ref()).map_err(|_| {
                source.error(text.span(), "proxy: no URL", "like http://proxy.example.org:3128")
            })?),
        };
        let places = Places {
            file: path.display().to_string(),
            text: Arc::clone(&source.masked),
            plugin: raw.plugin.span(),
            secret: raw.secret.as_ref().map(Spanned::span),
            information: raw.information.as_ref().map(Spanned::span),
            template: raw.template.as_ref().map(Spanned::span),
            ca_file: raw.ca_file.as_ref().map(Spanned::span),
            permissions: raw.permissions.as_ref().map(Spanned::span),
            sha256: raw.sha256.as_ref().map(Spanned::span),
        };
        for (setting, value) in [("secret", &raw.secret), ("information", &raw.information)] {
            if let Some(value) = value
                && !value.get_ref().is_table()
            {
                let help = format!("like {setting} = {{ name = \"value\" }}");
                return Err(source.error(value.span(), format!("{setting} must be a table"), help));
            }
        }
        let table = |value: Option<Spanned<toml::Value>>| {
            value.map_or(Value::Object(serde_json::Map::new()), |value| json(value.into_inner()))
        };
        let (title, body) = match raw.template.map(Spanned::into_inner) {
            Some(template) => (template.title, template.body),
            None => (None, None),
        };
        let seconds = bounded(
            &source,
            "call_timeout_seconds",
            &raw.call_timeout_seconds,
            call_timeout,
            1..=3600,
        )?;
        let backend = BackendConfig {
            plugin: raw.plugin.into_inner(),
            endpoint,
            secret: SecretSource { value: table(raw.secret), base: base.clone() },
            information: table(raw.information),
            isolation: raw.isolation,
            look_first: raw.look_first,
            permissions: permissions(&base, raw.permissions),
            sha256: raw.sha256.map(|digest| pin(&source, &digest)).transpose()?,
            allow_origins,
            ca_file: raw.ca_file.map(|file| base.join(file.into_inner())),
            proxy,
            title,
            body,
            call_timeout: Duration::from_secs(seconds),
            max_response_bytes: bounded(
                &source,
                "max_response_bytes",
                &raw.max_response_bytes,
                max_response,
                RESPONSE,
            )? as usize,
            concurrency: bounded(
                &source,
                "concurrency",
                &raw.concurrency,
                concurrency,
                CONCURRENCY,
            )? as usize,
            requests_per_second: match &raw.requests_per_second {
                Some(rate) if !(0.001..=10_000.0).contains(rate.get_ref()) => {
                    let message =
                        format!("requests_per_second: {} is out of bounds", rate.get_ref());
                    return Err(source.error(rate.span(), message, "from 0.001 to 10000"));
                }
                rate => rate.as_ref().map(|rate| *rate.get_ref()),
            },
            places: Some(places),
            name: name.clone(),
        };
        backends.insert(name, backend);
    }
    let trust = Trust {
        signatures: raw.signatures,
        keys: raw
            .trusted_keys
            .into_iter()
            .map(|(name, raw)| trusted_key(&source, name, raw))
            .collect::<Result<_>>()?,
        pins: backends.values().filter_map(|backend| backend.sha256).collect(),
    };
    if let Some(default) = &raw.default_backend
        && !backends.contains_key(default.get_ref())
    {
        let names = backends.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let message = format!("default_backend: there is no backend {:?}", default.get_ref());
        return Err(source.error(default.span(), message, format!("there are: {names}")));
    }
    let names: Vec<&str> = backends.keys().map(String::as_str).collect();
    let argus = raw.argus.map(|argus| service::argus(&source, &base, argus, &names)).transpose()?;
    Ok(Config {
        serve: service::serve(&source, &base, raw.serve)?,
        queue: service::queue(&source, path, raw.queue)?,
        argus,
        file: Some(path.to_owned()),
        default_backend: raw.default_backend.map(Spanned::into_inner),
        plugin_dirs: raw.plugin_dirs.into_iter().map(|dir| base.join(dir)).collect(),
        max_incident_bytes: max_incident as usize,
        trust,
        backends,
        warnings: Vec::new(),
    })
}

/// With paths that are relative to the config file's directory made whole.
fn permissions(base: &Path, raw: Option<Spanned<Permissions>>) -> Permissions {
    let mut permissions = raw.map(Spanned::into_inner).unwrap_or_default();
    for path in permissions.read.iter_mut().chain(&mut permissions.write) {
        let joined = base.join(&*path);
        // Only an empty path has no absolute one: it is refused where it is used.
        *path = std::path::absolute(&joined).unwrap_or(joined);
    }
    permissions
}

fn trusted_key(source: &Source, name: String, raw: RawKey) -> Result<TrustedKey> {
    let key = PublicKey::from_base64(raw.key.get_ref()).map_err(|cause| {
        let help = "the second line of a .pub file that `minisign -G` writes, beginning with RW";
        source.error(raw.key.span(), format!("key: no public key of minisign's: {cause}"), help)
    })?;
    if raw.plugins.get_ref().is_empty() {
        let help = "the names of the plugins that it may sign, like [\"acme\"]";
        return Err(source.error(raw.plugins.span(), "plugins: names none", help));
    }
    Ok(TrustedKey { name, key, plugins: raw.plugins.into_inner() })
}

fn pin(source: &Source, digest: &Spanned<String>) -> Result<Digest> {
    digest.get_ref().parse().map_err(|cause| {
        let help = "`ticket-host plugins show` and sha256sum print it";
        source.error(digest.span(), format!("sha256: {cause}"), help)
    })
}

const RESPONSE: std::ops::RangeInclusive<u64> = 1 << 10..=32 << 20;
const CONCURRENCY: std::ops::RangeInclusive<u64> = 1..=256;

pub(super) fn bounded(
    source: &Source,
    name: &str,
    value: &Option<Spanned<u64>>,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64> {
    match value {
        None => Ok(default),
        Some(value) if range.contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => Err(source.error(
            value.span(),
            format!("{name}: {} is out of bounds", value.get_ref()),
            format!("from {} to {}", range.start(), range.end()),
        )),
    }
}

pub(super) fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(members) => {
            members.into_iter().map(|(name, value)| (name, json(value))).collect()
        }
    }
}

/// The spans of all values below a key that may hold credentials.
fn find_secrets(table: &toml::de::DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let url = value.get_ref().as_str().unwrap_or_default();
        if matches!(name, "secret" | "proxy" | "token")
            || name == "endpoint" && url.contains(['@', '?'])
        {
            leaves(value, spans);
        } else if let Some(table) = value.get_ref().as_table() {
            find_secrets(table, spans);
        }
    }
}

fn leaves(value: &Spanned<toml::de::DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        // Where a secret is to be read is none.
        toml::de::DeValue::Table(members) if is_source(members) => {}
        toml::de::DeValue::Table(members) => members.values().for_each(|v| leaves(v, spans)),
        toml::de::DeValue::Array(items) => items.iter().for_each(|v| leaves(v, spans)),
        _ => spans.push(value.span()),
    }
}

/// Whether a table is `{ env = "..." }` or `{ file = "..." }`.
fn is_source(members: &toml::de::DeTable<'_>) -> bool {
    let mut names = members.iter().map(|(name, value)| (name.get_ref(), value.get_ref()));
    matches!((names.next(), names.next()), (Some((name, value)), None)
        if (name == "env" || name == "file") && value.is_str())
}

/// `text` with the letters and digits in `spans` as stars: as long as before, so that spans still fit.
fn mask(text: &str, spans: &[Range<usize>]) -> String {
    let hidden = |at: usize| spans.iter().any(|span| span.contains(&at));
    text.char_indices().map(|(at, c)| star(c, hidden(at))).collect()
}

/// As [`mask`], for a text whose values can't be told apart: all that follows a `=`, and all lines
/// that are no header of a table and have no `=`.
fn mask_every_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let header = line.trim_start().starts_with('[');
        let value = if header { line.len() } else { line.find('=').unwrap_or(0) };
        out.extend(line.char_indices().map(|(at, c)| star(c, at >= value)));
    }
    out
}

/// Keeps the number of bytes: a star for ASCII, as it is otherwise unless hidden, then stars.
fn star(c: char, hidden: bool) -> String {
    let kept = matches!(c, '\n' | '\r' | '"' | '\'' | ' ' | '=' | '{' | '}' | '[' | ']' | ',');
    if hidden && !kept { "*".repeat(c.len_utf8()) } else { c.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(text: &str) -> Error {
        parse(Path::new("c.toml"), text).unwrap_err()
    }

    fn pointed_at(error: &Error) -> String {
        let snippet = error.snippet.as_ref().unwrap();
        snippet.text[snippet.span.clone()].to_owned()
    }

    const BACKEND: &str = "[backends.a]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n";

    #[test]
    fn a_backend_has_its_settings_and_the_defaults() {
        let text = format!(
            "plugin_dirs = [\"more\"]\n[limits]\nconcurrency = 2\n{BACKEND}secret = {{ token = {{ env = \"T\" }} }}\n[backends.a.information]\nqueue = \"NOC\"\nsince = 2026-11-23\n"
        );
        let config = parse(Path::new("/etc/x/c.toml"), &text).unwrap();
        let a = config.backend(None).unwrap();
        assert_eq!(
            (a.concurrency, a.max_response_bytes, a.call_timeout.as_secs()),
            (2, 4 << 20, 30)
        );
        assert_eq!(a.information["queue"], "NOC");
        assert_eq!(a.information["since"], "2026-11-23");
        assert_eq!(a.isolation, Isolation::Worker);
        assert_eq!(a.look_first, LookFirst::Always);
        assert_eq!(config.plugin_dirs, [PathBuf::from("/etc/x/more")]);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, at, why) in [
            (BACKEND.replace("https://", ""), "\"rt.example.org\"", "no URL"),
            (BACKEND.replace("plugin =", "plugn ="), "plugn", "unknown field `plugn`"),
            (format!("{BACKEND}isolation = \"none\"\n"), "\"none\"", "unknown variant"),
            (format!("{BACKEND}look_first = \"never\"\n"), "\"never\"", "unknown variant"),
            (format!("{BACKEND}concurrency = 0\n"), "0", "out of bounds"),
            (
                format!("{BACKEND}allow_origins = [\"https://x.org/path\"]\n"),
                "\"https://x.org/path\"",
                "no origin",
            ),
            (format!("{BACKEND}information = \"NOC\"\n"), "\"NOC\"", "must be a table"),
            (format!("default_backend = \"b\"\n{BACKEND}"), "\"b\"", "no backend \"b\""),
        ] {
            let error = refuse(&text);
            assert!(error.message.contains(why), "{error}");
            assert_eq!(pointed_at(&error), at);
            assert!(error.help.is_some());
        }
    }

    #[test]
    fn no_error_shows_a_secret() {
        for text in [
            format!("{BACKEND}secret = \"hunter2-æ\"\n"),
            format!("{BACKEND}secret = {{ token = \"hunter2-æ\" }}\nconcurrency = 0\n"),
            format!("{BACKEND}secret = {{ token = \"hunter2-æ }}\n"),
            format!("{BACKEND}secret = {{ token = hunter2-æ }}\n"),
            format!(
                "{BACKEND}[backends.a.secret]\ntoken = \"hunter2-æ\"\n[backends.a.template]\ntitel = 1\n"
            ),
            format!("{BACKEND}secret = {{ token = \"\"\"\nhunter2-æ\nx\"\"\" }}\nnope = 1\n"),
            format!("{BACKEND}secret = {{ token = \"\"\"\nhunter2-æ\nx }}\n"),
            format!("{BACKEND}proxy = \"http://u:hunter2-æ@p\"\nconcurrency = 0\n"),
        ] {
            let error = refuse(&text);
            let snippet = error.snippet.as_ref().unwrap();
            let shown = format!("{error} {:?} {}", error.help, snippet.text);
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(snippet.text.len(), text.len(), "spans still fit");
        }
    }

    #[test]
    fn a_secret_in_the_file_is_told_from_the_place_of_one() {
        let value = |text: &str| json(toml::from_str::<toml::Value>(text).unwrap());
        assert!(has_text(&value("token = 'x'")));
        assert!(has_text(&value("token = { env = 'x' }\nuser = 'y'")));
        assert!(!has_text(&value("token = { env = 'x' }\npassword = { file = 'y' }")));
    }
}
