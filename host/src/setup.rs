//! Makes the backends of the config and the plugins: all together, so that they can be replaced together
//! when the config or a plugin changes.
//!
//! Invariant: a setup never changes. A call that began with one setup ends with it, also when there is a
//! newer one by then.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::config::{BackendConfig, Config, Setting, grants};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::plugins::catalog::{self, Catalog, PluginDir};
use crate::plugins::trust::Trust;
use crate::store::Failure;

/// How long making one backend may take: reading its secret and its certificates, and checking its settings.
const PREPARING: Duration = Duration::from_secs(5);

/// Where the config file and the plugins are, as far as the command line says it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The config file, or None for the first of the usual ones that exists.
    pub config: Option<PathBuf>,
    /// Plugin directories; they come first in the search path.
    pub plugin_dirs: Vec<PathBuf>,
}

/// The config, the plugins that were found, and the backends that were made of both.
#[derive(Debug)]
pub struct Setup {
    pub config: Config,
    pub catalog: Catalog,
    /// Every backend of the config by its name: ready for calls, or the reason why it is not.
    pub backends: BTreeMap<String, std::result::Result<Arc<Backend>, Failure>>,
    /// The same reasons for people: the name of each backend that is not ready, and an error with the lines
    /// of the config that it is about.
    pub errors: Vec<(String, Error)>,
}

impl Sources {
    /// The directories where plugins are looked for: those of the command line, then the config's, the
    /// environment's (`TICKET_HOST_PLUGIN_PATH`), then the usual ones.
    pub fn directories(&self, config: Option<&Config>) -> Vec<PluginDir> {
        let environment: OsString = std::env::var_os("TICKET_HOST_PLUGIN_PATH").unwrap_or_default();
        let named = self.plugin_dirs.iter().cloned();
        let named = named.chain(config.into_iter().flat_map(|c| c.plugin_dirs.iter().cloned()));
        let named =
            named.chain(std::env::split_paths(&environment).filter(|p| !p.as_os_str().is_empty()));
        catalog::search_path(named)
    }

    /// Looks for the plugins, and asks each what it is.
    pub async fn discover(&self, config: Option<&Config>) -> Catalog {
        let default = Trust::default();
        let trust = config.map_or(&default, |config| &config.trust);
        Catalog::discover(self.directories(config), trust).await
    }

    /// Reads the config, looks for the plugins, and makes the backends.
    ///
    /// # Errors
    /// The config can't be used. A backend that isn't ready doesn't keep the others from their work: the
    /// setup says why it isn't.
    pub async fn load(&self, metrics: &Arc<Metrics>) -> Result<Setup> {
        let config = Config::load(self.config.as_deref())?;
        let catalog = self.discover(Some(&config)).await;
        let mut errors = Vec::new();
        let mut backends = BTreeMap::new();
        for (name, settings) in &config.backends {
            let made = backend(&config, settings, &catalog, metrics).await;
            let made = made.map(Arc::new).map_err(|error| {
                let failure = Failure::from(&error);
                errors.push((name.clone(), error));
                failure
            });
            backends.insert(name.clone(), made);
        }
        Ok(Setup { config, catalog, backends, errors })
    }
}

impl Setup {
    /// This setup, to be used after an `older` one. A backend that would do just the same as its
    /// predecessor is replaced by that, with its open plugins and what it knows of the ticket system.
    ///
    /// # Errors
    /// The settings of a backend are wrong that was ready in the older setup, or wasn't there. Then the
    /// older setup should stay in use.
    pub fn after(mut self, older: &Setup) -> Result<Setup> {
        let wrong = self.errors.iter().position(|(name, error)| {
            error.kind == Kind::Settings && older.backends.get(name).is_none_or(|old| old.is_ok())
        });
        if let Some(wrong) = wrong {
            return Err(self.errors.swap_remove(wrong).1);
        }
        for (name, backend) in &mut self.backends {
            if let (Ok(new), Some(Ok(old))) = (&*backend, older.backends.get(name))
                && new.is_same(old)
            {
                *backend = Ok(Arc::clone(old));
            }
        }
        Ok(self)
    }

    /// What is odd about the config, the plugins and the backends, though they work: a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let backends = self.backends.values().filter_map(|backend| backend.as_ref().ok());
        let of_backends = backends.flat_map(|backend| {
            backend.warnings.iter().map(|warning| format!("backend {}: {warning}", backend.name))
        });
        let mut unconfined: Vec<&String> =
            self.catalog.plugins().flat_map(|plugin| &plugin.unconfined).collect();
        unconfined.sort();
        unconfined.dedup();
        let unconfined =
            unconfined.into_iter().map(|lack| format!("the sandbox is not whole: {lack}"));
        let all = self.config.warnings.iter().chain(&self.catalog.warnings).cloned();
        all.chain(of_backends).chain(unconfined).collect()
    }
}

/// Makes one backend of its settings and its plugin.
///
/// # Errors
/// There is no such plugin, or the settings are not what it needs. The error points to the setting.
pub async fn backend(
    config: &Config,
    settings: &BackendConfig,
    catalog: &Catalog,
    metrics: &Arc<Metrics>,
) -> Result<Backend> {
    let plugin = catalog.find(&settings.plugin).map_err(|error| {
        settings.pointing(Setting::Plugin, error.at(&format!("backend {}", settings.name)))
    })?;
    let directories = catalog.directories.iter().map(|plugins| plugins.directory.as_path());
    grants::check(config, settings, directories).map_err(|error| {
        settings.pointing(Setting::Permissions, error.at(&format!("backend {}", settings.name)))
    })?;
    // Checking the settings by the plugin's schemas is not to hold up anything but this backend, should it take
    // long in spite of the bounds that schemas have.
    let (settings, plugin, metrics) = (settings.clone(), plugin.clone(), Arc::clone(metrics));
    let (place, sandbox) = (format!("backend {}", settings.name), config.trust.sandbox);
    let preparing = spawn_blocking(move || Backend::prepare(&settings, &plugin, sandbox, &metrics));
    match timeout(PREPARING, preparing).await {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(_)) => Err(Error::plugin(format!("{place}: its settings could not be checked"))),
        Err(_) => Err(Error::plugin(format!(
            "{place}: its settings could not be checked by the plugin's schemas within {} s",
            PREPARING.as_secs()
        ))),
    }
}
