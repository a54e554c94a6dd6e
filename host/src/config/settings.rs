//! All settings together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ticket_host_worker::Digest;

use super::alarm::AlarmConfig;
use super::argus::ArgusConfig;
use super::backends::BackendConfig;
use super::limits::{Limits, WorkerLimits};
use super::locations;
use super::queue::QueueConfig;
use super::secret::SecretSource;
use super::serve::{ServeConfig, TokenSource};
use super::source::Source;
use crate::error::{Error, Errors, Result};
use crate::incident::ARGUS;
use crate::plugins::trust::Trust;

/// All settings. The default is what they are where nothing is set: it has no backend yet.
#[derive(Debug)]
pub struct Config {
    /// The file that they came from, or None if they came from the environment.
    pub file: Option<PathBuf>,
    /// The backend that is meant where none is named.
    pub default_backend: Option<String>,
    /// Directories where plugins are looked for, beside the usual ones.
    pub plugin_dirs: Vec<PathBuf>,
    /// Who vouches for plugins.
    pub trust: Trust,
    /// Bytes that an incident may have.
    pub max_incident_bytes: usize,
    /// What the workers of all backends may take together.
    pub workers: WorkerLimits,
    pub backends: BTreeMap<String, BackendConfig>,
    pub serve: ServeConfig,
    pub queue: QueueConfig,
    /// The Argus that is watched, if one is.
    pub argus: Option<ArgusConfig>,
    /// Who is told when ticketing itself fails.
    pub alarm: Option<AlarmConfig>,
    /// The file's text without what may be a secret; empty if there is none.
    pub shown: String,
    /// The digest of all of the file's text.
    pub digest: Option<Digest>,
    /// What is odd about the settings though they can be used: a sentence each.
    pub warnings: Vec<String>,
    /// Which config files are there beside the one that was read, and are not: a sentence each.
    pub notes: Vec<String>,
}

/// What was read of the settings, and all that is wrong in them.
#[derive(Debug)]
pub struct Draft {
    /// The settings, with defaults in place of what is wrong. They are not to be used unless nothing is.
    pub config: Config,
    pub(super) errors: Errors,
    /// Whether it is known which libraries may be loaded, so that it can be looked whether the plugins take their settings.
    pub plugins_are_known: bool,
}

impl Draft {
    /// The settings if nothing is wrong in them.
    ///
    /// # Errors
    /// All that is wrong: see [`Errors::together`].
    pub fn whole(self) -> Result<Config> {
        self.errors.together().map(|()| self.config)
    }

    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether more is wrong than is told.
    pub fn has_more_than_is_told(&self) -> bool {
        self.errors.is_full()
    }

    /// Adds what else is wrong with these settings, but for what only follows from what was found before.
    pub fn add(&mut self, error: Error) {
        self.errors.add(error);
        self.errors.retain(Source::is_in_file);
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            file: None,
            default_backend: None,
            plugin_dirs: Vec::new(),
            trust: Trust::default(),
            max_incident_bytes: Limits::default().max_incident_bytes,
            workers: WorkerLimits::default(),
            backends: BTreeMap::new(),
            serve: ServeConfig::default(),
            queue: QueueConfig::beside(None),
            argus: None,
            alarm: None,
            shown: String::new(),
            digest: None,
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl Config {
    /// Where the settings came from, and where the queue is kept: for people.
    pub fn places(&self) -> String {
        format!("config: {}; store: {}", self.source(), self.queue.place())
    }

    /// Where the settings came from: for people.
    pub fn source(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None => "the environment (TICKET_PLUGIN and so on)".to_owned(),
        }
    }

    /// The tokens of the service's clients, as far as the config says more of them than a digest, Argus's, the database's password, and the
    /// alarm's.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &SecretSource> {
        let tokens = self.serve.tokens.iter().filter_map(|token| match &token.token {
            TokenSource::Text(source) => Some(source),
            TokenSource::Sha256(_) => None,
        });
        let database = self.queue.database.iter().filter_map(|it| it.password.as_ref());
        let argus = self.argus.iter().map(|argus| &argus.token);
        tokens.chain(argus).chain(database).chain(self.alarm.iter().flat_map(AlarmConfig::secrets))
    }

    /// The files that secrets and tokens are read from.
    pub fn secret_files(&self) -> impl Iterator<Item = PathBuf> {
        let secrets = self.backends.values().map(|backend| &backend.secret);
        secrets.chain(self.tokens()).flat_map(SecretSource::files)
    }

    /// Whether these are the settings of a service: of the whole machine, or with one that only `serve` uses.
    pub fn is_of_a_service(&self) -> bool {
        locations::is_system_config(self.file.as_deref())
            || self.argus.is_some()
            || self.alarm.is_some()
            || self.serve != ServeConfig::default()
            || self.queue != QueueConfig::beside(self.file.as_deref())
    }

    /// The backend that is meant: the one named, the default, or the only one.
    ///
    /// # Errors
    /// A usage error: there is none of that name, or there are several and none is named. A settings
    /// error: there is none at all.
    pub fn backend(&self, name: Option<&str>) -> Result<&BackendConfig> {
        let names = || self.backends.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut all = self.backends.values();
        match (name.or(self.default_backend.as_deref()), all.next(), all.next()) {
            (Some(name), ..) => self.backends.get(name).ok_or_else(|| {
                Error::usage(format!("there is no backend {name:?}"))
                    .help(format!("there are: {}", names()))
            }),
            (None, Some(only), None) => Ok(only),
            (None, None, _) => Err(Error::settings("there is no backend in the config")
                .help("add one: [backends.NAME] with plugin, endpoint, secret and information")),
            (None, ..) => Err(Error::usage(format!(
                "which backend? the config has {}, and no default_backend",
                self.backends.len()
            ))
            .help(format!(
                "name one with --backend, or set default_backend; there are: {}",
                names()
            ))),
        }
    }

    /// The name of the backend for a source's incidents, if the config says one for it.
    pub fn backend_of(&self, source: &str) -> Option<&str> {
        let argus = self.argus.as_ref().filter(|_| source == ARGUS)?;
        argus.backend.as_deref()
    }
}
