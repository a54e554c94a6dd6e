//! The settings: which backends there are, where plugins lie, what the bounds are.
//!
//! From a TOML file, or, without one, from Argus's own environment variables.

mod environment;
mod file;
mod secret;
mod service;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use serde_json::Value;
use ticket_host_worker::Digest;
use url::Url;

use crate::backend::gateway::Origin;
use crate::error::{Error, Result};
use crate::plugins::trust::Trust;
pub use file::{Setting, Snippet};
pub use secret::SecretSource;
pub use service::{ArgusConfig, QueueConfig, Scope, ServeConfig, TokenConfig, TokenSource};
use ticket_host_worker::permissions::Permissions;

/// Where a config file is looked for if none is named, after the user's own.
const SYSTEM_FILE: &str = "/etc/ticket-host/config.toml";

/// All settings.
#[derive(Debug)]
pub struct Config {
    /// The file that they came from; None if they came from the environment.
    pub file: Option<PathBuf>,
    /// Which backend is meant if none is named.
    pub default_backend: Option<String>,
    pub plugin_dirs: Vec<PathBuf>,
    /// Who vouches for plugins.
    pub trust: Trust,
    /// Bytes that an incident may have.
    pub max_incident_bytes: usize,
    pub backends: BTreeMap<String, BackendConfig>,
    pub serve: ServeConfig,
    pub queue: QueueConfig,
    pub argus: Option<ArgusConfig>,
    /// What is odd, a sentence each.
    pub warnings: Vec<String>,
}

/// One backend's settings, as they stand in the config.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendConfig {
    pub name: String,
    /// A manifest's name or alias.
    pub plugin: String,
    pub endpoint: Url,
    pub secret: SecretSource,
    pub information: Value,
    pub isolation: Isolation,
    /// What the plugin may do beside HTTP.
    pub permissions: Permissions,
    /// The digest that the plugin's library must have.
    pub sha256: Option<Digest>,
    /// Origins beside the endpoint's that the plugin may reach.
    pub allow_origins: Vec<Origin>,
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<Url>,
    /// The templates, if they are not the default.
    pub title: Option<String>,
    pub body: Option<String>,
    pub call_timeout: Duration,
    /// Bytes that an HTTP answer's body may have.
    pub max_response_bytes: usize,
    /// Calls at once.
    pub concurrency: usize,
    /// HTTP requests that may leave in a second.
    pub requests_per_second: Option<f64>,
    pub look_first: LookFirst,
    /// Where the settings stand in the config file; None if they came from the environment.
    pub(crate) places: Option<file::Places>,
}

impl BackendConfig {
    /// `error` with the place of the setting that it is about.
    pub fn pointing(&self, at: Setting, error: Error) -> Error {
        let snippet = self.places.as_ref().map(|places| Box::new(places.snippet(at)));
        Error { snippet, ..error }
    }
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In a process of its own: what it breaks costs that one call.
    #[default]
    Worker,
    /// In the host's process: with everything that the host has.
    InProcess,
}

/// When a ticket is looked for before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookFirst {
    #[default]
    Always,
    /// Not where only this service could have made it, and knows that it has not.
    WhenInDoubt,
}

/// The bounds, in the units that their names say; backends can have their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub call_timeout_seconds: u64,
    pub max_response_bytes: usize,
    pub max_incident_bytes: usize,
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            call_timeout_seconds: 30,
            max_response_bytes: 4 << 20,
            max_incident_bytes: 1 << 20,
            concurrency: 4,
        }
    }
}

impl Config {
    /// The settings of `named`, else of the first default file that is there, else of the
    /// environment.
    pub fn load(named: Option<&Path>) -> Result<Config> {
        if let Some(path) = named {
            return file::load(path);
        }
        match default_files().into_iter().find(|path| path.exists()) {
            Some(path) => file::load(&path),
            None => environment::load(|name| std::env::var(name).ok()),
        }
    }

    /// The backend that is meant: the one named, the default, or the only one.
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
}

/// Where a config file is looked for, best first.
fn default_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = user_file().into_iter().collect();
    if cfg!(unix) {
        files.push(PathBuf::from(SYSTEM_FILE));
    }
    files
}

/// The user's own config file: `~/.config/ticket-host/config.toml` on Linux and macOS,
/// `%APPDATA%\ticket-host\config.toml` on Windows.
pub fn user_file() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.config_dir().join("ticket-host").join("config.toml"))
}

/// An endpoint: absolute, without credentials, query and fragment.
///
/// # Errors
/// What is wrong with it, and how it should look.
pub(crate) fn endpoint(text: &str) -> std::result::Result<Url, (String, String)> {
    let example = "it must be a whole URL, like https://rt.example.org/".to_owned();
    let url = Url::parse(text.trim()).map_err(|cause| {
        (
            format!("endpoint {text:?} is no URL ({cause})"),
            format!("is the scheme missing? {example}"),
        )
    })?;
    if !url.has_host() && url.scheme() != "file" {
        // `localhost:8080` parses as the scheme "localhost".
        return Err((format!("endpoint {text:?} has no scheme"), example));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            "endpoint: holds a user name or password".to_owned(),
            "credentials belong into secret".to_owned(),
        ));
    }
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err((
            format!("endpoint {text:?}: the scheme must be https, http or file"),
            example,
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("endpoint: has a query or a fragment".to_owned(), example));
    }
    Ok(url)
}

/// An origin that a backend may reach beside its endpoint's.
pub(crate) fn origin(text: &str) -> std::result::Result<Origin, (String, String)> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
    url.as_ref().and_then(Origin::of).ok_or_else(|| {
        (
            format!("allow_origins: {text:?} is no origin"),
            "it must be scheme, host and port, like https://api.example.org:8443".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_whole_urls_without_credentials() {
        for good in
            ["https://rt.example.org", "http://127.0.0.1:8765/rt/", "file:///var/lib/tickets"]
        {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("rt.example.org", "no URL"),
            ("localhost:8765", "no scheme"),
            ("127.0.0.1:8765", "no URL"),
            ("", "no URL"),
            ("ftp://x.org", "https, http or file"),
            ("https://user:hunter2@x.org", "user name or password"),
            ("https://x.org/?token=1", "query"),
        ] {
            let (message, help) = endpoint(bad).unwrap_err();
            assert!(message.contains(why), "{bad}: {message}");
            assert!(!help.is_empty() && !message.contains("hunter2"));
        }
    }
}
