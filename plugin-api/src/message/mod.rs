//! The JSON that crosses the ABI. Host and SDK both use the types of this file, so that they can't differ.
//!
//! Each side ignores members that it doesn't know (rule R3 of the header), so either can become newer than
//! the other.

mod life;
mod many;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::abi::status;
use crate::error::{Error, ErrorKind, Retry};
use crate::incident::{Incident, utc_before};
use crate::json;
pub use life::{
    Action, AskedTicket, Changed, ChangesRequest, Difference, Received, StateRequest, States, Step,
    TicketName, TicketState, TicketStatus, UpdateRequest, Updated, Webhook, WebhookHead,
};
pub use many::{FindMany, Found, FoundMany, WantedKey};

/// What a plugin says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The name by which an operator's config names the plugin: 1 to 64 of `a-z`, `0-9`, `-` and `_`,
    /// beginning with a letter.
    pub name: String,
    /// The plugin's own version, in whatever form its vendor counts. The host only shows it.
    #[serde(default)]
    pub version: String,
    /// Who made the plugin, for operators; empty if it doesn't say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vendor: String,
    /// Under which licence the library is given, best as an SPDX expression; empty if it doesn't say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// What the plugin is for, in a few words: `plugins list` shows it.
    #[serde(default)]
    pub description: String,
    /// A URL where operators learn more; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub homepage: String,
    /// The SDK that the plugin was made with, and its version: `ticket-plugin-api 0.1.0`. Empty if it doesn't say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sdk: String,
    /// Other names that configs may use, such as the Python class that this plugin replaces.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The JSON Schema of the settings' `secret`. If it is absent, any secret is accepted.
    #[serde(default = "any")]
    pub secret_schema: Value,
    /// The JSON Schema of the settings' `information`. If it is absent, any information is accepted.
    #[serde(default = "any")]
    pub information_schema: Value,
    /// What the plugin needs beside `http()`, which the operator has to grant.
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// Whether the plugin heeds a request's `dry_run`. The host asks only of a plugin with permissions, since
    /// it can't see what such a plugin does beside `http()`.
    #[serde(default)]
    pub dry_run: bool,
    /// The statuses, of 408 and 500 to 599, of which the ticket system promises that a request which it answers so was not carried
    /// out. After any other of these the host takes it that there may be a ticket, whatever the plugin's error says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_done: Vec<u16>,
    /// How many seconds after a ticket was made `find` may still miss it, since the ticket system's lists or its search lag: at most
    /// 3600. Until then the host doesn't believe in "certainly none". None if the plugin doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_seconds: Option<u32>,
    /// What `update` can do: `comment`, `close`, `reopen`. It is called for nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Whether `update` finds a comment of its own again by the step's id. Without it a step that may have been carried out, or was in
    /// part, is left to a person.
    #[serde(default)]
    pub marks: bool,
}

fn any() -> Value {
    Value::Bool(true)
}

/// One thing that a plugin needs beside `http()`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// `read`, `write`, `env`, `exec`, `jit` or `network`.
    pub permission: String,
    /// Which file, directory, variable, program or address it needs.
    pub what: String,
    /// Why it needs it, for the operator who decides whether to grant it.
    pub why: String,
}

/// The settings of an instance as they cross the ABI, before they are read into the plugin's own types.
#[derive(Debug, Serialize, Deserialize)]
pub struct RawSettings {
    /// The ticket system's URL, absolute.
    pub endpoint: String,
    /// What the operator set as `secret`, valid by the manifest's schema.
    pub secret: Value,
    /// What the operator set as `information`, valid by the manifest's schema.
    pub information: Value,
    /// The host; empty if it is one that doesn't say.
    #[serde(default)]
    pub host: HostName,
}

/// Which host a plugin runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostName {
    /// The program: `ticket-host`.
    #[serde(default)]
    pub name: String,
    /// Its version: `0.1.0`.
    #[serde(default)]
    pub version: String,
}

/// What `create` and `find` are called with. In a plugin `I` is [`Incident`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TicketRequest<I> {
    /// The incident as it came in.
    pub incident: I,
    /// What identifies the incident's ticket in its backend: `find` must find what `create` made with the same
    /// key.
    pub key: String,
    /// No ticket of the key is older than that: a time in UTC (RFC 3339), by the host's clock. None: nobody knows how old it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Whether this is a dry run, in which nothing may be created.
    #[serde(default)]
    pub dry_run: bool,
}

impl TicketRequest<Incident> {
    /// Of a request of `find`: since when the search has to read tickets, as `2026-11-23T06:00:00+00:00`: `earlier` by so much than this request's ticket can
    /// be, since the ticket system's clock may differ from the host's. None: it has to read all of them. A host from before
    /// `not_before` tells it by the incident's start_time.
    pub fn since(&self, earlier: Duration) -> Option<String> {
        utc_before(self.not_before.as_deref().unwrap_or(&self.incident.start_time), earlier)
    }
}

/// Whether a plugin's own text is one that the host keeps.
fn fits(text: Option<&str>, name: &str, most: usize) -> std::result::Result<(), String> {
    match text.map_or(0, str::len) {
        length if length > most => {
            Err(format!("has a {name} of {length} bytes, more than the {most} that it may have"))
        }
        _ => Ok(()),
    }
}

/// 64 hexadecimal digits that stand for a key: its SHA-256. A ticket can carry them where the key itself
/// would be too long, would be seen by readers, or would be taken for something else. Source: FIPS 180-4.
///
/// ```
/// # use ticket_plugin_api::fingerprint;
/// let key = "https://argus.example.org/incidents/7";
/// assert_eq!(fingerprint(key), "b87cdbeba2fcd3203abdb4165499ac0eed9d7184b19dcafa93ca3f3e2cbfb68a");
/// ```
pub fn fingerprint(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A ticket, as `create` and `find` tell of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Where a person opens the ticket: absolute, http or https (or the endpoint's own scheme), at most 4096 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// What the ticket system itself calls it: `4711`, `NOC-12`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The attributes and tags that a mapping names and the incident doesn't have.
    #[serde(default)]
    pub missing_fields: Vec<String>,
    /// What is not on the ticket as the settings want it: a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// In a dry run, a description of the ticket that would be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// One line of a check: something that was looked at, and whether it is in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, in a word: `queue`, `project`, `token`.
    pub name: String,
    /// Whether it is in order.
    pub ok: bool,
    /// What was found out, in a sentence: what is in order, or what isn't and how the ticket system said so.
    #[serde(default)]
    pub message: String,
    /// What a person should do about it, if it is not in order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// Whose problem it is, if it is not in order. Without this it is the operator's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
}

impl Check {
    /// The line about something that is in order. `name` says in a word what was looked at.
    pub fn passed(name: &str, message: impl Into<String>) -> Check {
        Check { ok: true, ..Check::failed(name, message, "") }
    }

    /// The line about something that is not in order. `help` says what a person should do about it.
    pub fn failed(name: &str, message: impl Into<String>, help: impl Into<String>) -> Check {
        let (name, message) = (name.to_owned(), message.into());
        Check { name, ok: false, message, help: help.into(), kind: None }
    }

    /// The line about something that could not be looked at because of `error`.
    pub fn error(name: &str, error: &Error) -> Check {
        let help = match error.kind {
            ErrorKind::Client => {
                "is it up, is the endpoint its URL, is a rate limit used up? then try again"
            }
            _ => "correct the backend's settings, or what they name",
        };
        Check { kind: Some(error.kind), ..Check::failed(name, error.message.clone(), help) }
    }
}

/// The reply of `check`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Checks {
    /// A line for each thing that was looked at; at most 32 KiB of them are shown.
    pub checks: Vec<Check>,
}

#[derive(Serialize, Deserialize)]
struct ErrorReply {
    message: String,
    #[serde(default)]
    retry: Retry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

/// An error as it crosses the ABI: a status, and a reply in JSON.
pub fn error_reply(error: &Error) -> (i32, String) {
    let code = match error.kind {
        ErrorKind::Settings => status::SETTINGS_ERROR,
        ErrorKind::Client => status::CLIENT_ERROR,
        ErrorKind::Creation => status::CREATION_ERROR,
        ErrorKind::Plugin => status::PLUGIN_ERROR,
        ErrorKind::Unsupported => status::UNSUPPORTED,
    };
    let reply = ErrorReply {
        message: error.message.clone(),
        retry: error.retry,
        retry_after_ms: error.retry_after_ms(),
        partial: error.partial,
    };
    let json = serde_json::to_string(&reply).expect("strings and numbers are always JSON");
    (code, json)
}

/// The error that a status and its reply stand for. If the plugin has broken the rules (it gave no reply, or
/// one that is not JSON, or a status that doesn't exist), the error says so.
pub fn parse_error(code: i32, reply: Option<&str>) -> Error {
    let kind = match code {
        status::SETTINGS_ERROR => ErrorKind::Settings,
        status::CLIENT_ERROR => ErrorKind::Client,
        status::CREATION_ERROR => ErrorKind::Creation,
        status::PLUGIN_ERROR => ErrorKind::Plugin,
        status::UNSUPPORTED => return Error::unsupported(),
        other => return Error::plugin(format!("the plugin returned the unknown status {other}")),
    };
    let Some(reply) = reply else {
        return Error::new(kind, "the plugin failed and gave no reason");
    };
    match json::read_text::<ErrorReply>(reply) {
        Ok(reply) => Error {
            kind,
            message: reply.message,
            retry: reply.retry,
            retry_after: reply.retry_after_ms.map(Duration::from_millis),
            partial: reply.partial,
        },
        Err(cause) => Error::new(
            kind,
            format!("the plugin failed, and its reason is no error object: {cause}"),
        ),
    }
}
