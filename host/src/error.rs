//! What the host reports when something failed: whose problem it is, what failed and where, what to
//! do, and whether a ticket may exist all the same.
//!
//! Everything else in the host can fail, so everything imports this file; it imports nothing of the host.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ticket_plugin_api::{self as api, Retry};

/// Whose problem an error is. The first four are Argus's own kinds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The settings are wrong: a person must change them.
    Settings,
    /// The ticket system can't be reached, or is overloaded.
    Client,
    /// The ticket system refused.
    Creation,
    /// A plugin broke its rules, or gave an answer that can't be understood.
    Plugin,
    /// There is no plugin of that name, or a library can't be used as a plugin.
    Import,
    /// The command line, or an incident, is not one that can be used.
    Usage,
    /// The program's own answer could not be written; what was done is done. Only the command line has this kind, so that
    /// nothing that is kept or that is answered over HTTP has it.
    #[serde(skip_deserializing)]
    Output,
}

impl Kind {
    /// The program's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Settings => 3,
            Kind::Client => 4,
            Kind::Creation => 5,
            Kind::Plugin => 6,
            Kind::Import => 7,
            Kind::Output => 8,
        }
    }
}

/// Anything that stops the host from doing what it was asked. No field ever holds a secret.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    /// What failed, and where: backend, plugin, setting.
    pub message: String,
    /// What the operator does about it.
    pub help: Option<String>,
    /// Whether the same may be tried again, and whether a ticket may exist.
    pub retry: Retry,
    /// How long the ticket system asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether this machine lacked what was needed, such as room for another process: whatever the kind is, it is neither the
    /// ticket system's fault nor the plugin's.
    pub is_of_machine: bool,
    /// The lines of the config file that the error is about, if it is about any.
    pub snippet: Option<Box<Snippet>>,
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// What else is wrong, if more was found at the same time: see [`Errors`].
    pub others: Vec<Error>,
    /// How many errors there are beside these, of which only the number is kept.
    pub more: u32,
}

/// How many errors are kept of those that were found at the same time. A file in which more is wrong than anybody reads
/// is not to take memory and time for each.
const KEPT: usize = 100;
/// Where an error points to that only follows from another one, and is not to be told.
pub(crate) const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// Errors that are gathered, so that who has to mend something is told of all of it at once: the first [`KEPT`] of a file,
/// and how many more there are.
#[derive(Debug, Default)]
pub struct Errors {
    kept: Vec<Error>,
    more: u32,
}

/// Some lines of a file, with what is to be pointed at in them.
#[derive(Debug, Clone)]
pub struct Snippet {
    /// The file's name.
    pub file: String,
    /// The file's whole text. Whoever makes a snippet has masked everything in it that may be a secret.
    pub text: Arc<str>,
    /// What to point at: bytes of `text`.
    pub span: Range<usize>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            help: None,
            retry: Retry::Never,
            retry_after: None,
            is_of_machine: false,
            snippet: None,
            cause: None,
            others: Vec::new(),
            more: 0,
        }
    }

    /// This error and its others.
    pub fn each(&self) -> impl Iterator<Item = &Error> {
        std::iter::once(self).chain(&self.others)
    }

    /// This error and its others, each for itself.
    pub fn apart(mut self) -> impl Iterator<Item = Error> {
        let others = std::mem::take(&mut self.others);
        std::iter::once(self).chain(others)
    }

    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    pub fn settings(message: impl Into<String>) -> Error {
        Error::new(Kind::Settings, message)
    }

    pub fn plugin(message: impl Into<String>) -> Error {
        Error::new(Kind::Plugin, message)
    }

    pub fn import(message: impl Into<String>) -> Error {
        Error::new(Kind::Import, message)
    }

    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.help = Some(help.into());
        self
    }

    pub fn retry(mut self, retry: Retry) -> Error {
        self.retry = retry;
        self
    }

    pub fn cause(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.cause = Some(Box::new(cause));
        self
    }

    /// The error with what it is about before its message: `backend noc-rt (rt): ...`.
    pub fn at(mut self, subject: &str) -> Error {
        self.message = format!("{subject}: {}", self.message);
        self
    }
}

impl Errors {
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether more is wrong than is told.
    pub(crate) fn is_full(&self) -> bool {
        self.more > 0
    }

    /// Adds an error, and its others.
    pub(crate) fn add(&mut self, error: Error) {
        error.apart().for_each(|error| self.push(error));
    }

    fn push(&mut self, mut error: Error) {
        self.more += std::mem::take(&mut error.more);
        self.kept.push(error);
        // Not at each error, so that sorting takes little time for each.
        if self.kept.len() == 2 * KEPT {
            self.shorten();
        }
    }

    /// Keeps those that stand first in the config file. What stands nowhere in it comes last.
    fn shorten(&mut self) {
        let place =
            |error: &Error| error.snippet.as_ref().map_or(NOWHERE.start - 1, |s| s.span.start);
        self.kept.sort_by_key(place);
        let rest = self.kept.drain(KEPT.min(self.kept.len())..);
        // At most KEPT are left out here, each time.
        self.more += rest.filter(|error| place(error) != NOWHERE.start).count() as u32;
    }

    /// What was made, or None after its error was added.
    pub(crate) fn keep<T>(&mut self, made: Result<T>) -> Option<T> {
        made.map_err(|error| self.add(error)).ok()
    }

    /// As [`Errors::keep`]. Each error is added as what `told` makes of it.
    pub(crate) fn keep_as<T>(
        &mut self,
        made: Result<T>,
        told: impl Fn(Error) -> Error,
    ) -> Option<T> {
        made.map_err(|error| error.apart().for_each(|error| self.push(told(error)))).ok()
    }

    /// Leaves out the errors of which this is not true.
    pub(crate) fn retain(&mut self, is_kept: impl FnMut(&Error) -> bool) {
        self.kept.retain(is_kept);
    }

    /// What was made, for which each error is a reason why it was not.
    ///
    /// # Errors
    /// As [`Errors::together`].
    pub(crate) fn or<T>(self, made: Option<T>) -> Result<T> {
        self.together().map(|()| made.expect("what was not made has an error"))
    }

    /// All errors as one, in the order in which they stand in the config file; what stands nowhere in it comes last.
    ///
    /// # Errors
    /// There is an error.
    pub(crate) fn together(mut self) -> Result<()> {
        self.shorten();
        let mut all = self.kept.into_iter();
        let Some(first) = all.next() else { return Ok(()) };
        Err(Error { others: all.collect(), more: self.more, ..first })
    }
}

impl From<api::ErrorKind> for Kind {
    fn from(kind: api::ErrorKind) -> Kind {
        match kind {
            api::ErrorKind::Settings => Kind::Settings,
            api::ErrorKind::Client => Kind::Client,
            api::ErrorKind::Creation => Kind::Creation,
            api::ErrorKind::Plugin | api::ErrorKind::Unsupported => Kind::Plugin,
        }
    }
}

impl From<api::Error> for Error {
    fn from(error: api::Error) -> Error {
        let kind = Kind::from(error.kind);
        Error {
            // A part of it was carried out, so that all of it may not be tried anew.
            retry: if error.partial { Retry::Unknown } else { error.retry },
            retry_after: error.retry_after,
            ..Error::new(kind, error.message)
        }
    }
}
