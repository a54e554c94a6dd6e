//! What a plugin reports when it could not do what was asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whose problem an error is. The host's exit code, and the kind of error that Argus sees, depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The settings, the login or what it may do are wrong: a person must change that, and until then no ticket of the
    /// backend can be made. The host holds all of them, and tries one every few minutes.
    Settings,
    /// The ticket system can't be reached, or is overloaded.
    Client,
    /// The ticket system refused to create this very ticket: a field is missing, for example.
    Creation,
    /// Anything else: a bug in the plugin, or an answer of the ticket system that it doesn't understand.
    Plugin,
    /// The plugin doesn't offer the operation at all.
    Unsupported,
}

/// Whether the same call may be made again. A word that this version doesn't know, from a newer plugin, reads
/// as `Never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Nothing was created; trying again can help.
    Later,
    /// The ticket may exist, since nobody knows what the call did. The host asks `find` before it tries again.
    Unknown,
    /// Nothing was created, and the same call would fail again.
    #[default]
    #[serde(other)]
    Never,
}

/// Why a call failed. The message says what failed and, where the plugin knows it, what to do. It must never
/// hold a secret.
///
/// An answer's own error is [`Response::error`](crate::Response::error), and `?` makes one of an [`HttpError`](crate::HttpError). The
/// functions below make the others:
///
/// ```
/// # use ticket_plugin_api::{Error, ErrorKind, Retry};
/// let error = Error::settings("there is no project NOC: correct information.project");
/// assert_eq!((error.kind, error.retry), (ErrorKind::Settings, Retry::Never));
/// // The request was sent, and what came back is nothing that the API documents.
/// let error = Error::plugin("answered 201 without an id").retry(Retry::Unknown);
/// assert_eq!(error.retry, Retry::Unknown);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Whose problem it is.
    pub kind: ErrorKind,
    /// What failed, where, and what to do, for an operator who reads it in a log. The ticket system's own reason belongs here,
    /// a secret never.
    pub message: String,
    /// Whether the same call may be made again. It decides whether there can be a second ticket.
    pub retry: Retry,
    /// How long the ticket system asked to be left alone, if it did ([`Response::retry_after`](crate::Response::retry_after)). The host
    /// heeds it for all calls of the backend.
    pub retry_after: Option<Duration>,
    /// Of `update`: the step's comment is written, and the rest of the step was not carried out. `retry` then speaks of the rest.
    pub partial: bool,
}

/// What the functions of a plugin return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// [`Error::retry_after`] in milliseconds, as replies have it.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    /// An error of `kind`. Until [`Error::retry`] says otherwise, trying again is of no use.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            retry: Retry::Never,
            retry_after: None,
            partial: false,
        }
    }

    /// The settings are wrong, and a person must change them. It isn't tried again.
    pub fn settings(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Settings, message)
    }

    /// The ticket system can't be reached, or is overloaded, and nothing was created. It is tried again later; if a ticket may
    /// exist after all, say `.retry(Retry::Unknown)`.
    pub fn client(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Client, message).retry(Retry::Later)
    }

    /// The ticket system refused to make the ticket, and would again. It isn't tried again.
    pub fn creation(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Creation, message)
    }

    /// A bug, or an answer that the plugin doesn't understand. It isn't tried again; if that was the answer to a request that can
    /// create, say `.retry(Retry::Unknown)`.
    pub fn plugin(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Plugin, message)
    }

    /// The plugin doesn't do that at all.
    pub fn unsupported() -> Error {
        Error::new(ErrorKind::Unsupported, "the plugin doesn't do that")
    }

    /// The same error of a step whose comment is written already.
    pub fn partial(mut self) -> Error {
        self.partial = true;
        self
    }

    /// The same error with another [`Retry`].
    pub fn retry(mut self, retry: Retry) -> Error {
        self.retry = retry;
        self
    }
}
