//! `[backends.NAME]`: one backend's settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ticket_host_worker::Digest;
use ticket_host_worker::permissions::Permissions;
use url::Url;

use super::bounds::{Bounded, HttpStatus, Rate, Seconds};
use super::json::json;
use super::limits::{CallTimeout, Concurrency, Limits, ResponseBytes};
use super::secret::SecretSource;
use super::source::{BackendSetting, Source, Spanned, Spans};
use super::{times, trust, urls};
use crate::error::{Error, Errors};
use crate::life::{
    self, ClosedState, NeverReopen, OnChange, OnEnd, OnTicketClosed, OnTicketPasted,
};
use crate::origin::Origin;

/// How often tickets' states are asked for without a setting, and at most.
const POLL: Duration = Duration::from_secs(60);
const SHORTEST_POLL: Duration = Duration::from_secs(1);

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
    /// What becomes of a ticket that may be there, where the plugin can't look for it.
    pub unknown: WhenUnknown,
    /// The statuses of answers of which it is certain that the request was not carried out; without it they are the plugin's own.
    pub not_done: Option<Vec<u16>>,
    /// How long after a creation whose outcome is unknown "there is no ticket" is believed; without it that is the queue's setting,
    /// or the plugin's if it says longer.
    pub settle: Option<Duration>,
    /// What tickets are told of their incidents after they were made.
    pub life: life::Policy,
    /// How often the ticket system is asked in which state tickets are; None: never.
    pub poll: Option<Duration>,
    /// What the operator wants to be set on tickets that are closed, by the ticket system's names.
    pub close_fields: Map<String, Value>,
    /// The operator's template of a comment; without it the host's own is used.
    pub comment: Option<String>,
    /// The operator's template of the comment with which a ticket is closed; without it the host's own is used.
    pub closing: Option<String>,
    /// Where the settings stand in the config file, or None if they came from the environment.
    pub(super) spans: Option<Spans>,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In a process of its own: what it breaks costs that one call.
    #[default]
    Worker,
    /// In the host's process: that is faster, and it can do everything that the host can do.
    InProcess,
}

/// When a ticket is looked for before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LookFirst {
    /// Before each is made: others make tickets of the same incidents in the same place, too.
    Always,
    /// Where this installation may have made it already: the incident is older than the service's start (and a minute), an answer was lost, or
    /// another backend has the same incident. Else one request makes a ticket.
    #[default]
    WhenInDoubt,
}

/// What becomes of a ticket that may be there, where the plugin can't look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUnknown {
    /// It has failed, and a person looks in the ticket system: `queue retry` makes it, `queue cancel` doesn't.
    #[default]
    Ask,
    /// It is made again, once for each ticket: for who prefers two tickets to none. If nobody knows of that one either, a person is asked.
    Again,
}

/// A backend, `[backends.NAME]`: a ticket system, and the plugin that makes tickets there. NAME is yours to choose;
/// `--backend NAME` means it.
///
/// ```toml
/// [backends.noc-rt]
/// plugin = "rt"
/// endpoint = "https://rt.example.org/"
/// secret = { token = { env = "RT_TOKEN" } }
/// information = { queue = "NOC" }
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackend {
    /// The name of the plugin, or an alias that its manifest has. `ticket-host plugins list` lists them.
    plugin: Spanned<String>,
    /// The ticket system's URL, with or without a slash at its end: https, http or file, and without user name, password,
    /// query and fragment.
    #[schemars(extend("format" = "uri", "pattern" = urls::SCHEME))]
    endpoint: Spanned<String>,
    /// What the ticket system knows the host by. Each value in it is the secret itself, or `{ env = "NAME" }` (read from an
    /// environment variable), or `{ file = "/path" }` (read from a file). `ticket-host plugins show PLUGIN` tells what the
    /// plugin needs.
    #[schemars(with = "Option<Map<String, Value>>")]
    secret: Option<Spanned<toml::Table>>,
    /// The plugin's own settings, such as a queue or a project. `ticket-host plugins show PLUGIN` documents them.
    #[schemars(with = "Option<Map<String, Value>>")]
    information: Option<Spanned<toml::Table>>,
    /// Where the plugin runs.
    #[serde(default)]
    isolation: Isolation,
    permissions: Option<Spanned<Permissions>>,
    /// The SHA-256 that the plugin's library must have: 64 hexadecimal digits, as `ticket-host plugins show PLUGIN` prints.
    /// Another library isn't loaded for this backend, and this one needs no signature. It says nothing for other backends.
    #[schemars(extend("pattern" = trust::SHA256))]
    sha256: Option<Spanned<String>>,
    /// What the plugin may reach over HTTP beside the endpoint's origin and the names below its host: scheme, host and
    /// port, like `https://api.example.org:8443`.
    #[serde(default)]
    allow_origins: Vec<Spanned<String>>,
    /// A PEM file of certificate authorities that are trusted beside the system's. A relative path counts from the config
    /// file's directory.
    ca_file: Option<Spanned<PathBuf>>,
    /// The URL of the proxy that requests go through, instead of the one that the environment names (`HTTPS_PROXY`).
    proxy: Option<Spanned<String>>,
    template: Option<Spanned<RawTemplate>>,
    /// Seconds that one call of the plugin may take. A plugin that takes longer is killed, and the call fails. Without this
    /// setting it is that of `[limits]`.
    call_timeout_seconds: Option<CallTimeout>,
    /// Bytes that the body of one HTTP answer may have. A longer one is refused, and the plugin's request fails. Without this
    /// setting it is that of `[limits]`.
    max_response_bytes: Option<ResponseBytes>,
    /// How many calls may be under way at the same time. Each takes a worker. Without this setting it is that of
    /// `[limits]`.
    concurrency: Option<Concurrency>,
    /// HTTP requests that may leave in a second, evenly spaced. Without this setting they leave as fast as they come, until
    /// the ticket system asks for less.
    requests_per_second: Option<Rate>,
    /// When a ticket is looked for before it is made.
    #[serde(default)]
    look_first: LookFirst,
    /// What becomes of a ticket of which nobody knows whether it was made (an answer was lost), where the plugin can't look for it.
    #[serde(default)]
    unknown: WhenUnknown,
    /// Statuses of answers, such as 503, of which you know that the ticket system, and every proxy before it, has not carried out the
    /// request. After any other 408 or 5xx there may be a ticket, which is looked for before it is made again. Without this setting
    /// they are those that the plugin says of itself (`ticket-host plugins show PLUGIN`).
    not_done: Option<Vec<Bounded<HttpStatus, 400, 599>>>,
    /// Seconds after a lost answer until "there is no such ticket" is believed: as long as the ticket system may still be at work on
    /// the request, and its lists may lag. Without this setting it is the longer one of `settle_seconds` in `[queue]` and of what the
    /// plugin says of itself.
    settle_seconds: Option<Bounded<Seconds, 0, 3600>>,
    /// What becomes of a ticket when its incident's level or description changes. What somebody wrote into a ticket is never changed.
    #[serde(default)]
    on_change: OnChange,
    /// For how long a ticket is told of no further change after it was told something, such as "15m": what changes meanwhile is one comment
    /// then. At most "7d"; without this setting "15m".
    quiet: Option<Spanned<String>>,
    /// What becomes of a ticket when its incident ends. A ticket that a person closed is left alone in any case.
    #[serde(default)]
    on_end: OnEnd,
    /// How long an incident must have been ended before its ticket is closed (`on_end = "close"`), such as "15m": one that begins again
    /// meanwhile leaves the ticket as it is. At most "7d"; without this setting "15m".
    close_after: Option<Spanned<String>>,
    /// For how long after it was closed a ticket is opened again if its incident begins again, such as "24h". Later the incident gets a new
    /// ticket, which links the old one. At most "365d"; without this setting "24h".
    reopen_within: Option<Spanned<String>>,
    /// States of a closed ticket in which it is not opened again: an incident that begins again gets a new ticket. Without this setting that is
    /// so of cancelled ones.
    never_reopen: Option<Vec<NeverReopen>>,
    /// What becomes of an incident in the watched Argus when a person closes its ticket: `ack` acknowledges it, `end` closes it, as the user whose
    /// token `[argus]` has. A ticket that this host closed, or closes, is no news. Its state must have been told twice, a minute apart (or `poll`, if that is shorter), or once
    /// after a webhook that the ticket system signed; and if more than 20 tickets of this backend seem to be closed or gone within ten minutes, a
    /// person is asked first (`ticket-host ticket believe`).
    #[serde(default)]
    on_ticket_closed: OnTicketClosed,
    /// In which states a ticket counts as closed for `on_ticket_closed`. Without this setting `closed` and `cancelled`.
    closed_states: Option<Vec<ClosedState>>,
    /// What becomes of a ticket that a person made, when its URL is given to an incident in the watched Argus. If the plugin can tell states, and
    /// says that the ticket is one of this backend's project: `comment` has it commented on as those that this host makes, `close` also closed and
    /// opened again as these are; `nothing` leaves it alone.
    #[serde(default)]
    on_ticket_pasted: OnTicketPasted,
    /// How often the ticket system is asked in which state the tickets are whose incidents go on, such as "60s", if the plugin can tell. That takes
    /// a fifth of the time at most, and so of the requests. "0s" is never; at most "7d", without this setting "60s".
    poll: Option<Spanned<String>>,
    /// What is set on a ticket when it is closed, by the ticket system's own names, such as a resolution that it demands. Titles, texts and
    /// labels, which people edit, are never set.
    #[schemars(with = "Option<Map<String, Value>>")]
    close_fields: Option<Spanned<toml::Table>>,
}

/// Templates of a ticket's title, body and comments, in Jinja's syntax, in place of the host's own. They see `incident`, `source`,
/// `end_time`, `tags`, `missing_fields` and `warnings`, and those of comments also `diff`: by the name of what changed (`level`,
/// `description`, `open`) what it was (`from`) and is (`to`).
///
/// ```toml
/// [backends.noc-rt.template]
/// title = "[{{ incident.level }}] {{ incident.description }}"
/// ```
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    /// The title. Without this setting it is the incident's description.
    title: Option<Spanned<String>>,
    /// The body, in Markdown. Without this setting it has the sections of Argus's own plugins.
    body: Option<Spanned<String>>,
    /// What a ticket is told when its incident changes, ends or begins again, in Markdown. If it gives nothing there is no comment.
    comment: Option<Spanned<String>>,
    /// What a ticket is told when it is closed, in Markdown.
    closing: Option<Spanned<String>>,
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
            unknown: WhenUnknown::default(),
            not_done: None,
            settle: None,
            life: life::Policy::default(),
            poll: Some(POLL),
            close_fields: Map::new(),
            comment: None,
            closing: None,
            spans: None,
        }
    }

    /// The backend `name` of a config file whose relative file names count from `base`.
    ///
    /// A setting that can't be used is added to `errors`, with where it stands.
    pub(super) fn read(
        source: &Source,
        base: &Path,
        limits: Limits,
        name: String,
        raw: RawBackend,
        errors: &mut Errors,
    ) -> BackendConfig {
        let mut spans = raw.spans(source);
        let endpoint = source.read(&raw.endpoint, |text| urls::endpoint("endpoint", text));
        let endpoint = errors.keep(endpoint).unwrap_or_else(urls::nowhere);
        let mut allow_origins = Vec::new();
        for text in &raw.allow_origins {
            allow_origins.extend(errors.keep(source.read(text, |text| urls::origin(text))));
        }
        let sha256 = source.read_if_given(raw.sha256.as_ref(), |text| trust::pin(text));
        let sha256 = errors.keep(sha256).unwrap_or_else(|| {
            spans.forget_plugin();
            None
        });
        let proxy = source.read_if_given(raw.proxy.as_ref(), |text| urls::proxy(text));
        let (life, poll) = (raw.life(source, errors), raw.poll(source, errors));
        let template = raw.template.map(Spanned::into_inner).unwrap_or_default();
        let default = BackendConfig::new(name, raw.plugin.into_inner(), endpoint, limits);
        BackendConfig {
            secret: SecretSource { value: table(raw.secret), base: base.to_owned() },
            information: table(raw.information),
            isolation: raw.isolation,
            permissions: permissions(base, raw.permissions),
            sha256,
            allow_origins,
            ca_file: raw.ca_file.map(|file| base.join(file.into_inner())),
            proxy: errors.keep(proxy).flatten(),
            title: template.title.map(Spanned::into_inner),
            body: template.body.map(Spanned::into_inner),
            comment: template.comment.map(Spanned::into_inner),
            closing: template.closing.map(Spanned::into_inner),
            life,
            poll,
            close_fields: match table(raw.close_fields) {
                Value::Object(fields) => fields,
                _ => Map::new(),
            },
            call_timeout: raw.call_timeout_seconds.map_or(default.call_timeout, Bounded::value),
            max_response_bytes: raw
                .max_response_bytes
                .map_or(default.max_response_bytes, Bounded::value),
            concurrency: raw.concurrency.map_or(default.concurrency, Bounded::value),
            requests_per_second: raw.requests_per_second.map(Rate::per_second),
            look_first: raw.look_first,
            unknown: raw.unknown,
            not_done: raw
                .not_done
                .map(|statuses| statuses.into_iter().map(Bounded::value).collect()),
            settle: raw.settle_seconds.map(Bounded::value),
            spans: Some(spans),
            ..default
        }
    }

    /// `error`, with the lines of the config file that the setting stands in.
    pub fn pointing(&self, setting: BackendSetting, error: Error) -> Error {
        match &self.spans {
            Some(spans) => spans.pointing(setting, error),
            None => error,
        }
    }

    /// As [`BackendConfig::pointing`], with line number `line` (from 1) of the text that the setting is.
    pub fn pointing_at_line(&self, setting: BackendSetting, line: usize, error: Error) -> Error {
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
    /// What tickets are told. A time that can't be used is added to `errors`.
    fn life(&self, source: &Source, errors: &mut Errors) -> life::Policy {
        let default = life::Policy::default();
        let mut time = |setting: &Option<Spanned<String>>, name, longest, default| {
            let read =
                source.read_if_given(setting.as_ref(), |text| times::read(name, text, longest));
            errors.keep(read).flatten().unwrap_or(default)
        };
        life::Policy {
            on_change: self.on_change,
            quiet: time(&self.quiet, "quiet", times::WEEK, default.quiet),
            on_end: self.on_end,
            close_after: time(&self.close_after, "close_after", times::WEEK, default.close_after),
            reopen_within: time(
                &self.reopen_within,
                "reopen_within",
                times::YEAR,
                default.reopen_within,
            ),
            never_reopen: match &self.never_reopen {
                Some(states) => states.iter().copied().collect(),
                None => default.never_reopen,
            },
            on_ticket_closed: self.on_ticket_closed,
            closed_states: match &self.closed_states {
                Some(states) => states.iter().copied().collect(),
                None => default.closed_states,
            },
            on_ticket_pasted: self.on_ticket_pasted,
        }
    }

    /// How often tickets' states are asked for.
    fn poll(&self, source: &Source, errors: &mut Errors) -> Option<Duration> {
        let read =
            source.read_if_given(self.poll.as_ref(), |text| times::read("poll", text, times::WEEK));
        let poll = errors.keep(read).flatten().unwrap_or(POLL);
        (!poll.is_zero()).then(|| poll.max(SHORTEST_POLL))
    }

    fn spans(&self, source: &Source) -> Spans {
        fn span<T>(value: &Option<Spanned<T>>) -> Option<std::ops::Range<usize>> {
            value.as_ref().map(Spanned::span)
        }
        let template = self.template.as_ref().map(Spanned::get_ref);
        let others = [
            (BackendSetting::Secret, span(&self.secret)),
            (BackendSetting::Information, span(&self.information)),
            (BackendSetting::Title, template.and_then(|template| span(&template.title))),
            (BackendSetting::Body, template.and_then(|template| span(&template.body))),
            (BackendSetting::Comment, template.and_then(|template| span(&template.comment))),
            (BackendSetting::Closing, template.and_then(|template| span(&template.closing))),
            (BackendSetting::CaFile, span(&self.ca_file)),
            (BackendSetting::Permissions, span(&self.permissions)),
            (BackendSetting::Sha256, span(&self.sha256)),
        ];
        Spans::new(source.clone(), self.plugin.span(), others)
    }
}

/// The members of a setting that is a table of the plugin's own; of an absent one there are none.
fn table(table: Option<Spanned<toml::Table>>) -> Value {
    json(toml::Value::Table(table.map(Spanned::into_inner).unwrap_or_default()))
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
