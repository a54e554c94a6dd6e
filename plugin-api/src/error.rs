//! What a plugin reports when it could not do what was asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whose problem an error is. The host's exit code, and the kind of error that Argus sees, depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The settings are wrong: a person must change them.
    Settings,
    /// The ticket system can't be reached, or is overloaded.
    Client,
    /// The ticket system refused to create the ticket: a permission or a field is missing, for example.
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
    pub retry: Retry,
    /// How long the ticket system asked to be left alone.
    pub retry_after: Option<Duration>,
}

/// What the functions of a plugin return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind`. Until [`Error::retry`] says otherwise, trying again is of no use.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), retry: Retry::Never, retry_after: None }
    }

    pub fn settings(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Settings, message)
    }

    pub fn client(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Client, message).retry(Retry::Later)
    }

    pub fn creation(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Creation, message)
    }

    pub fn plugin(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Plugin, message)
    }

    pub fn unsupported() -> Error {
        Error::new(ErrorKind::Unsupported, "the plugin doesn't do that")
    }

    pub fn retry(mut self, retry: Retry) -> Error {
        self.retry = retry;
        self
    }
}
