//! The backends as the config and the plugin directories have them: made together, replaced together.
//!
//! Invariant: a setup never changes. Who began a call with one ends it with that one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::backend::Backend;
use crate::config::{BackendConfig, Config, Setting};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::plugins::catalog::{self, Catalog, PluginDir};
use crate::plugins::trust::Trust;
use crate::store::Failure;

/// Where a setup comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The config file; None: the default places.
    pub config: Option<PathBuf>,
    /// Plugin directories that the command line names.
    pub plugin_dirs: Vec<PathBuf>,
}

/// See the module.
#[derive(Debug)]
pub struct Setup {
    pub config: Config,
    pub catalog: Catalog,
    /// Every backend of the config: ready, or why it is not.
    pub backends: BTreeMap<String, std::result::Result<Arc<Backend>, Failure>>,
    /// Why backends are not ready, with the places in the config.
    pub errors: Vec<(String, Error)>,
}

impl Sources {
    /// The search path: named directories, the config's, the environment's, then the usual ones.
    pub fn directories(&self, config: Option<&Config>) -> Vec<PluginDir> {
        let environment: OsString = std::env::var_os("TICKET_HOST_PLUGIN_PATH").unwrap_or_default();
        let named = self.plugin_dirs.iter().cloned();
        let named = named.chain(config.into_iter().flat_map(|c| c.plugin_dirs.iter().cloned()));
        let named =
            named.chain(std::env::split_paths(&environment).filter(|p| !p.as_os_str().is_empty()));
        catalog::search_path(named)
    }

    /// The plugins in the search path.
    pub async fn discover(&self, config: Option<&Config>) -> Catalog {
        let none = Trust::default();
        let trust = config.map_or(&none, |config| &config.trust);
        Catalog::discover(self.directories(config), trust).await
    }

    /// # Errors
    /// The config can't be read. A backend that isn't ready is no error here.
    pub async fn load(&self, metrics: &Arc<Metrics>) -> Result<Setup> {
        let config = Config::load(self.config.as_deref())?;
        let catalog = self.discover(Some(&config)).await;
        let mut errors = Vec::new();
        let mut backends = BTreeMap::new();
        for (name, settings) in &config.backends {
            let made = backend(settings, &catalog, metrics).map(Arc::new).map_err(|error| {
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
    /// This setup with the backends of an older one that would do just the same.
    ///
    /// # Errors
    /// The first backend that was ready and whose settings are wrong now: then the older setup
    /// should stay.
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

    /// What is odd, a sentence each.
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

/// A backend of the config with its plugin.
pub fn backend(
    settings: &BackendConfig,
    catalog: &Catalog,
    metrics: &Arc<Metrics>,
) -> Result<Backend> {
    let plugin = catalog.find(&settings.plugin).map_err(|error| {
        settings.pointing(Setting::Plugin, error.at(&format!("backend {}", settings.name)))
    })?;
    Backend::prepare(settings, plugin, metrics)
}
