//! Makes the backends of the config and the plugins: all together, so that they can be replaced together
//! when the config or a plugin changes.
//!
//! Invariant: a setup never changes. A call that began with one setup ends with it, also when there is a
//! newer one by then.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::config::{BackendConfig, BackendSetting, Config, Draft, grants};
use crate::error::{Error, Errors, Kind, Result};
use crate::incident::ARGUS;
use crate::machine::Policy;
use crate::metrics::Metrics;
use crate::plugins::catalog::{self, Catalog, Found, Plugin, PluginDir};
use crate::plugins::manifest;
use crate::plugins::trust::Trust;
use crate::store::{Decision, Failure};
use crate::worker::{self, Missing, Worker};

/// What was tried for long enough is given up after so many tries at least: it may have waited behind others for most of the time.
const LEAST_TRIES: i64 = 10;
/// How long making one backend may take: reading its secret and its certificates, and checking its settings.
const PREPARING: Duration = Duration::from_secs(5);

/// Where the config file and the plugins are, as far as the command line says it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The config file, or None for the first of the usual ones that exists.
    pub config: Option<PathBuf>,
    /// Plugin directories; they come first in the search path.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where the service is to listen, whatever the config says.
    pub listen: Option<SocketAddr>,
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
    /// A sentence for each backend that goes on with the library that it had, though nothing new could be made of
    /// what lies in the plugin directories.
    pub kept: Vec<String>,
}

/// Which backends a command is about.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    All,
    /// The one of that name, or the one that is meant without a name.
    Meant(Option<&'a str>),
}

/// The libraries that backends use, by the backends' names.
pub type InUse = BTreeMap<String, PathBuf>;

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

    /// The config, if it can be used. If not, it is also looked whether the plugins of these backends take their settings,
    /// and for all of them also at the tokens of the service, so that all mistakes are told.
    ///
    /// # Errors
    /// All that is wrong with the config.
    pub async fn config(&self, which: Which<'_>) -> Result<Config> {
        let mut draft = self.draft(which).await?;
        if draft.is_whole() {
            return draft.whole();
        }
        let mut errors = Errors::default();
        // Where there is more to mend than is told, nobody waits for what the plugins say.
        if draft.plugins_are_known && !draft.has_more_than_is_told() {
            let catalog = self.discover(Some(&draft.config)).await;
            let backends: Vec<&BackendConfig> = match which {
                Which::All => draft.config.backends.values().collect(),
                Which::Meant(name) => draft.config.backend(name).into_iter().collect(),
            };
            for settings in backends {
                let missing = Missing::LeftOut;
                let made =
                    backend(&draft.config, settings, &catalog, missing, &Arc::default()).await;
                errors.keep(made);
            }
        }
        errors.together().unwrap_or_else(|error| draft.add(error));
        draft.whole()
    }

    /// What is in the config. Where something is wrong in it, also what is wrong with the tokens, if all is asked for.
    ///
    /// # Errors
    /// Nothing of the config can be read.
    async fn draft(&self, which: Which<'_>) -> Result<Draft> {
        let (file, listen) = (self.config.clone(), self.listen);
        let looks_at_tokens = matches!(which, Which::All);
        let read = move || {
            let mut draft = Draft::load(file.as_deref())?;
            let serve = &mut draft.config.serve;
            serve.listen = listen.unwrap_or(serve.listen);
            if looks_at_tokens && !draft.is_whole() {
                let serve = &draft.config.serve;
                let mut errors = Errors::default();
                errors.keep(serve.digests(serve.listen));
                errors.keep(draft.config.argus.as_ref().map(|argus| argus.token()).transpose());
                errors.together().unwrap_or_else(|error| draft.add(error));
            }
            Ok(draft)
        };
        // A long file with much that is wrong in it takes its time, in which a service answers all the same.
        let read = spawn_blocking(read).await;
        read.unwrap_or_else(|_| {
            Err(Error::plugin("the config could not be read: the host broke off"))
        })
    }

    /// Looks for the plugins, and asks each what it is.
    pub async fn discover(&self, config: Option<&Config>) -> Catalog {
        let default = Trust::default();
        let trust = config.map_or(&default, |config| &config.trust);
        Catalog::discover(self.directories(config), trust).await
    }

    /// Looks for the plugin of one backend. Other libraries are only asked what they are where that matters to it: see
    /// [`Catalog::discover_for`].
    pub(crate) async fn discover_for(
        &self,
        config: &Config,
        backend: &BackendConfig,
    ) -> (Catalog, Option<Worker>) {
        let directories = self.directories(Some(config));
        Catalog::discover_for(directories, &config.trust, &backend.plugin, backend.sha256).await
    }

    /// Reads the config, looks for the plugins, and makes the backends. Where several libraries have a plugin's
    /// name, the one that a backend had `in_use` before is used: who comes later takes nothing from it.
    ///
    /// # Errors
    /// The config can't be used. A backend that isn't ready doesn't keep the others from their work: the
    /// setup says why it isn't.
    pub async fn load(&self, metrics: &Arc<Metrics>, in_use: &InUse) -> Result<Setup> {
        let config = self.config(Which::All).await?;
        let catalog = self.discover(Some(&config)).await;
        let (mut errors, mut kept) = (Vec::new(), Vec::new());
        let mut backends = BTreeMap::new();
        for (name, settings) in &config.backends {
            let made = match in_use_before(settings, &catalog, in_use) {
                Some((plugin, newcomer)) => {
                    kept.push(format!(
                        "backend {name} goes on with {}: {} in the same directory claims {:?} too; remove one of them",
                        plugin.path.display(),
                        newcomer.path.display(),
                        settings.plugin
                    ));
                    prepare(&config, settings, &catalog, plugin, Missing::Made, metrics).await
                }
                None => backend(&config, settings, &catalog, Missing::Made, metrics).await,
            };
            let made = made.map(Arc::new).map_err(|error| {
                let failure = Failure::from(&error);
                errors.push((name.clone(), error));
                failure
            });
            backends.insert(name.clone(), made);
        }
        Ok(Setup { config, catalog, backends, errors, kept })
    }
}

/// The library that the backend had in use, and another one of the same directory that would take its place now: one
/// that has the name, too, or has it as its own where the one in use has it as an alias.
fn in_use_before<'a>(
    settings: &BackendConfig,
    catalog: &'a Catalog,
    in_use: &InUse,
) -> Option<(&'a Plugin, &'a Plugin)> {
    let path = in_use.get(&settings.name)?;
    let found = match catalog.found_for(&settings.plugin, settings.sha256) {
        Found::Several(claimants) => claimants,
        // Who pins a library has said which one is meant.
        Found::One(plugin) if settings.sha256.is_none() => vec![plugin],
        _ => return None,
    };
    let newcomer = found.into_iter().find(|found| found.path != *path)?;
    let used = catalog.plugins().find(|plugin| {
        plugin.path == *path
            && plugin.path.parent() == newcomer.path.parent()
            && manifest::answers_to(&plugin.manifest, &settings.plugin)
            && plugin.vouched.allows(&settings.plugin, settings.sha256.is_some()).is_ok()
    })?;
    Some((used, newcomer))
}

/// The files that a config is read from: its own, and those of its secrets and tokens.
pub fn files(config: &Config) -> BTreeSet<PathBuf> {
    let files = config.file.iter().cloned().chain(config.secret_files());
    files.map(|file| std::path::absolute(&file).unwrap_or(file)).collect()
}

impl Setup {
    /// This setup, to be used after an `older` one. A backend that would do just the same as its
    /// predecessor is replaced by that, with its open plugins and what it knows of the ticket system. So is one whose
    /// library was replaced by a file that can't be used, while the settings of it and of trust stayed the same:
    /// the bytes that it has loaded are still those that it may use.
    ///
    /// # Errors
    /// The settings of a backend are wrong that was ready in the older setup, or wasn't there. Then the
    /// older setup should stay in use.
    pub fn after(mut self, older: &Setup) -> Result<Setup> {
        let (wrong, errors): (Vec<_>, _) = self.errors.into_iter().partition(|(name, error)| {
            error.each().any(|error| error.kind == Kind::Settings)
                && older.backends.get(name).is_none_or(|old| old.is_ok())
        });
        self.errors = errors;
        let mut all = Errors::default();
        wrong.into_iter().for_each(|(_, error)| all.add(error));
        all.together()?;
        self.catalog.share_images(&older.catalog);
        for (name, backend) in &mut self.backends {
            let Some(Ok(old)) = older.backends.get(name) else { continue };
            let same_settings = self.config.trust == older.config.trust
                && self.config.backends.get(name) == older.config.backends.get(name);
            let newer = backend.as_deref().ok();
            let broken = broken_since(old, newer, &self.catalog).filter(|_| same_settings);
            if let Some(why) = broken {
                self.errors.retain(|(failed, _)| failed != name);
                self.kept.push(format!(
                    "backend {name} goes on with the library that it has loaded: its file was \
                     replaced by one that can't be used: {why}"
                ));
            }
            if broken.is_some() || backend.as_ref().is_ok_and(|new| new.is_same(old)) {
                *backend = Ok(Arc::clone(old));
            }
        }
        Ok(self)
    }

    /// How long things take, if a backend says nothing else.
    pub fn policy(&self) -> Policy {
        let queue = &self.config.queue;
        Policy { retry_for: queue.retry_for, settle: queue.settle, least_tries: LEAST_TRIES }
    }

    /// Which backend makes the ticket that every incident gets.
    pub fn decision(&self) -> Decision {
        let name = |named| self.config.backend(named).ok().map(|backend| backend.name.clone());
        let of_argus = name(self.config.backend_of(ARGUS));
        Decision {
            of: of_argus.into_iter().map(|backend| (ARGUS.to_owned(), backend)).collect(),
            default: name(None),
        }
    }

    /// The backend of that name, if it is ready.
    pub fn ready(&self, name: &str) -> Option<&Arc<Backend>> {
        self.backends.get(name)?.as_ref().ok()
    }

    /// The libraries that backends which are ready use.
    pub fn in_use(&self) -> InUse {
        let ready =
            self.backends.iter().filter_map(|(name, made)| Some((name, made.as_ref().ok()?)));
        ready.map(|(name, backend)| (name.clone(), backend.library().0.to_owned())).collect()
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
        let all = self.config.warnings.iter().chain(&self.catalog.warnings).chain(&self.kept);
        let all = all.cloned().chain(of_backends);
        all.chain(unconfined).chain(worker::watch::no_cgroups()).collect()
    }
}

/// Why the file of a backend's library can't be used, if that is another file since it was loaded. None also if the
/// newer backend has a library from the same directory or an earlier one: then that is meant.
fn broken_since<'a>(
    old: &Backend,
    newer: Option<&Backend>,
    catalog: &'a Catalog,
) -> Option<&'a Error> {
    let (library, stamp) = old.library();
    let at = catalog.entries.iter().position(|entry| entry.path == library)?;
    let (before, entry) = (&catalog.entries[..at], &catalog.entries[at]);
    let goes_before = |path: &Path| {
        path.parent() == library.parent() || before.iter().any(|entry| entry.path == path)
    };
    if newer.is_some_and(|newer| goes_before(newer.library().0)) {
        return None;
    }
    entry.plugin.as_ref().err().filter(|_| entry.stamp.is_some_and(|now| now != stamp))
}

/// Makes one backend of its settings and its plugin. `missing` says what becomes of directories that the plugin is
/// granted and that aren't there.
///
/// # Errors
/// There is no such plugin, or the settings are not what it needs. The error points to the setting.
pub async fn backend(
    config: &Config,
    settings: &BackendConfig,
    catalog: &Catalog,
    missing: Missing,
    metrics: &Arc<Metrics>,
) -> Result<Backend> {
    let cause = match catalog.find_for(&settings.plugin, settings.sha256) {
        Ok(plugin) => return prepare(config, settings, catalog, plugin, missing, metrics).await,
        Err(cause) => cause.at(&format!("backend {}", settings.name)),
    };
    let mut errors = grants_refused(config, settings, catalog);
    errors.add(settings.pointing(BackendSetting::Plugin, cause));
    let owned = settings.clone();
    errors.keep(in_time(settings, move || Backend::check_without_plugin(&owned)).await);
    errors.or(None)
}

async fn prepare(
    config: &Config,
    settings: &BackendConfig,
    catalog: &Catalog,
    plugin: &Plugin,
    missing: Missing,
    metrics: &Arc<Metrics>,
) -> Result<Backend> {
    let errors = grants_refused(config, settings, catalog);
    let (owned, plugin, metrics) = (settings.clone(), plugin.clone(), Arc::clone(metrics));
    let sandbox = config.trust.sandbox;
    let look = move || Backend::prepare(&owned, &plugin, sandbox, missing, &metrics, errors);
    in_time(settings, look).await
}

/// What the backend is granted and can't be. The errors point to the setting.
fn grants_refused(config: &Config, settings: &BackendConfig, catalog: &Catalog) -> Errors {
    let directories = catalog.directories.iter().map(|plugins| plugins.directory.as_path());
    let place = format!("backend {}", settings.name);
    let mut errors = Errors::default();
    errors.keep_as(grants::check(config, settings, directories), |error| {
        settings.pointing(BackendSetting::Permissions, error.at(&place))
    });
    errors
}

/// What looking at a backend's settings gives. Checking them by the plugin's schemas is not to hold up anything but this
/// backend, should it take long in spite of the bounds that schemas have.
async fn in_time<T: Send + 'static>(
    settings: &BackendConfig,
    look: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let place = format!("backend {}", settings.name);
    match timeout(PREPARING, spawn_blocking(look)).await {
        Ok(Ok(looked)) => looked,
        Ok(Err(_)) => Err(Error::plugin(format!("{place}: its settings could not be checked"))),
        Err(_) => Err(Error::plugin(format!(
            "{place}: its settings could not be checked by the plugin's schemas within {} s",
            PREPARING.as_secs()
        ))),
    }
}
