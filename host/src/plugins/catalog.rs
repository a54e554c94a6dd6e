//! The plugins that there are: which libraries lie in the search path, and what each says of itself.
//!
//! Invariant: a library is asked what it is in a worker of its own, never in the host's process. A broken one
//! becomes an entry with its error, and doesn't keep the others from being found.
//!
//! Which library has a name: the first directory of the search path decides in which one claims the name, as its own
//! or as an alias. So none takes a backend from a library in an earlier directory. In that directory the library
//! whose own name it is goes before those that have it as an alias, and of these the one whose file is called after the
//! name goes before the others. Where several are left, none is used, and the error names them all. A library claims
//! only names as which it may be used ([`Vouched::allows`]).
//!
//! So who asks for one plugin asks the library with its file name first. If that has the name, nothing that the others in
//! its directory and in later ones could say would change what the name leads to: they are not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::env::consts::{DLL_EXTENSION, DLL_SUFFIX};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::SystemTime;

use ticket_host_worker::Digest;
use ticket_host_worker::library::Image;
use ticket_plugin_api::message::Manifest;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use crate::error::{Error, Result};
use crate::plugins::trust::{self, Examined, Trust, Vouched};
use crate::plugins::{manifest, ours};
use crate::worker::{Confinement, Denials, LOADING, NOT_CONFINED_HELP, Worker, WorkerError};

/// What the file names of plugins contain. In the executable's own directory, where other libraries may lie,
/// only files with this in their names are taken for plugins.
const MARK: &str = "ticket_plugin_";

/// A directory where plugins are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginDir {
    pub directory: PathBuf,
    /// Whether only libraries with `ticket_plugin_` in their name count.
    pub marked_only: bool,
    /// Whether somebody named it, on the command line or in the config. One that can't be read is then worth a
    /// warning.
    pub named: bool,
}

/// The search path: the directories that were named (in that order), then the executable's own, then the
/// system's.
pub fn search_path(named: impl IntoIterator<Item = PathBuf>) -> Vec<PluginDir> {
    let mut directories: Vec<PluginDir> = named
        .into_iter()
        .map(|directory| PluginDir { directory, marked_only: false, named: true })
        .collect();
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    directories.extend(own.map(|directory| PluginDir {
        directory,
        marked_only: true,
        named: false,
    }));
    directories.extend(system_directories().into_iter().map(|directory| PluginDir {
        directory,
        marked_only: false,
        named: false,
    }));
    directories
}

#[cfg(not(windows))]
fn system_directories() -> Vec<PathBuf> {
    let mut directories =
        vec!["/usr/local/lib/ticket-host/plugins", "/usr/lib/ticket-host/plugins"];
    if cfg!(target_os = "macos") {
        directories.push("/opt/homebrew/lib/ticket-host/plugins");
    }
    directories.into_iter().map(PathBuf::from).collect()
}

#[cfg(windows)]
fn system_directories() -> Vec<PathBuf> {
    let programs = std::env::var_os("ProgramFiles").map(PathBuf::from);
    programs.into_iter().map(|p| p.join("ticket-host").join("plugins")).collect()
}

/// A library in the search path, and what it is.
#[derive(Debug)]
pub struct Entry {
    pub path: PathBuf,
    /// Tells the file from one that replaces it. None if it is gone.
    pub stamp: Option<Stamp>,
    pub plugin: Result<Plugin>,
}

/// What a working library says of itself.
#[derive(Debug, Clone)]
pub struct Plugin {
    pub path: PathBuf,
    /// The bytes that were looked at. No others are loaded.
    pub image: Arc<Image>,
    /// Tells the file that was asked from one that replaces it later.
    pub stamp: Stamp,
    pub manifest: Manifest,
    /// The plugin-api version that a Rust plugin was compiled with; None for any other.
    pub sdk: Option<String>,
    /// Which of the functions that a plugin may be without it has.
    pub offers: Vec<&'static str>,
    /// What this machine's sandbox can't enforce, a sentence each.
    pub unconfined: Vec<String>,
    /// Who vouches for it, and as what.
    pub vouched: Vouched,
}

/// What a name leads to.
#[derive(Debug)]
pub enum Found<'a> {
    One(&'a Plugin),
    /// Several libraries in one directory have the name, and none goes before the others.
    Several(Vec<&'a Plugin>),
    /// No library has it. A sentence for each that claims it and may not have it.
    None(Vec<String>),
}

/// Tells a file from another one that takes its name, and from itself after it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Stamp { inode, length: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// All plugins that were found, the broken ones too.
#[derive(Debug)]
pub struct Catalog {
    pub entries: Vec<Entry>,
    /// A sentence for each directory that somebody named and that can't be read, and for each library that isn't used
    /// as what it says it is.
    pub warnings: Vec<String>,
    /// The search path.
    pub directories: Vec<PluginDir>,
}

impl Catalog {
    /// Looks through `directories` and asks every library there what it is, if `trust` lets it be loaded.
    pub async fn discover(directories: Vec<PluginDir>, trust: &Trust) -> Catalog {
        let (paths, warnings) = listed(&directories);
        let entries = each_asked(distinct(paths), BTreeMap::new(), trust).await;
        Catalog::of(entries, warnings, directories)
    }

    /// As [`Catalog::discover`], for a backend that asks for `name`, and pins the digest `pin` or none. Where the library
    /// whose file is called after the name is what the backend gets whatever the others say, they are not asked, and
    /// are not in the catalog. Then the worker in which it is loaded is given too.
    pub async fn discover_for(
        directories: Vec<PluginDir>,
        trust: &Trust,
        name: &str,
        pin: Option<Digest>,
    ) -> (Catalog, Option<Worker>) {
        let (paths, warnings) = listed(&directories);
        let mut called = paths.iter().filter(|path| is_called_after(path, name));
        // Whatever lies in an earlier directory could have the name.
        let first = called.next().filter(|path| path.parent() == paths[0].parent()).cloned();
        let Some(first) = first else {
            let entries = each_asked(distinct(paths), BTreeMap::new(), trust).await;
            return (Catalog::of(entries, warnings, directories), None);
        };
        let (plugin, worker) = ask(&first, trust)
            .await
            .map_or_else(|error| (Err(error), None), |(plugin, worker)| (Ok(plugin), Some(worker)));
        let asked = BTreeMap::from([(first.clone(), plugin)]);
        let same_name = distinct(std::iter::once(first.clone()).chain(called.cloned()).collect());
        let entries = each_asked(same_name, asked, trust).await;
        let catalog = Catalog { entries, warnings: Vec::new(), directories };
        let is_it = |plugin: &Plugin| {
            plugin.path == first
                && plugin.manifest.name == name
                && pin.is_none_or(|pin| plugin.image.sha256 == pin)
        };
        let settled = matches!(catalog.found_for(name, pin), Found::One(plugin) if is_it(plugin));
        let Catalog { entries, directories, .. } = catalog;
        if settled {
            return (Catalog::of(entries, warnings, directories), worker);
        }
        drop(worker);
        let asked = entries.into_iter().map(|entry| (entry.path, entry.plugin)).collect();
        let entries = each_asked(distinct(paths), asked, trust).await;
        (Catalog::of(entries, warnings, directories), None)
    }

    fn of(entries: Vec<Entry>, warnings: Vec<String>, directories: Vec<PluginDir>) -> Catalog {
        let mut catalog = Catalog { entries, warnings, directories };
        let unused = catalog.unused_names();
        catalog.warnings.extend(unused);
        catalog
    }

    /// The plugin of that name or alias, for people who ask about it.
    ///
    /// # Errors
    /// An import error: two plugins have it, or no plugin does. The error then names the broken libraries, since
    /// one of them may be the plugin.
    pub fn find(&self, name: &str) -> Result<&Plugin> {
        self.one(name, self.named(name))
    }

    /// The plugin for a backend that asks for `name`, and pins the digest `pin` or none.
    ///
    /// # Errors
    /// As [`Catalog::find`]; also if the libraries of that name may not be used by this backend.
    pub fn find_for(&self, name: &str, pin: Option<Digest>) -> Result<&Plugin> {
        self.one(name, self.found_for(name, pin))
    }

    /// As [`Catalog::find_for`], for a caller that knows what to do when there are several.
    pub fn found_for(&self, name: &str, pin: Option<Digest>) -> Found<'_> {
        let mut claimants = self.plugins().filter(|p| manifest::answers_to(&p.manifest, name));
        // Bytes that the backend pins are what it asks for, wherever they lie.
        match claimants.find(|plugin| pin == Some(plugin.image.sha256)) {
            Some(pinned) => Found::One(pinned),
            None => self.first(name, |plugin| plugin.vouched.allows(name, pin.is_some())),
        }
    }

    /// What the name leads to, whoever asks.
    pub fn named(&self, name: &str) -> Found<'_> {
        self.first(name, |plugin| {
            let pinned_somewhere = plugin.vouched.pinned_as.contains(name);
            plugin.vouched.allows(name, pinned_somewhere)
        })
    }

    /// The first library that has the name, of those that are allowed to.
    fn first(
        &self,
        name: &str,
        allowed: impl Fn(&Plugin) -> std::result::Result<(), String>,
    ) -> Found<'_> {
        let (mut candidates, mut refused) = (Vec::new(), Vec::new());
        for plugin in self.plugins().filter(|plugin| manifest::answers_to(&plugin.manifest, name)) {
            match allowed(plugin) {
                Ok(()) => candidates.push(plugin),
                Err(why) => refused.push(format!("{}: {why}", plugin.path.display())),
            }
        }
        // Entries have the order of the search path.
        let directory = candidates.first().and_then(|first| first.path.parent());
        candidates.retain(|plugin| plugin.path.parent() == directory);
        if candidates.iter().any(|plugin| plugin.manifest.name == name) {
            candidates.retain(|plugin| plugin.manifest.name == name);
            if candidates.iter().any(|plugin| is_called_after(&plugin.path, name)) {
                candidates.retain(|plugin| is_called_after(&plugin.path, name));
            }
        }
        match candidates[..] {
            [] => Found::None(refused),
            [one] => Found::One(one),
            _ => Found::Several(candidates),
        }
    }

    fn one<'a>(&'a self, name: &str, found: Found<'a>) -> Result<&'a Plugin> {
        match found {
            Found::One(plugin) => Ok(plugin),
            Found::Several(plugins) => Err(Error::import(format!(
                "plugin {name}: {} libraries have that name: {}",
                if plugins.len() == 2 { "two".to_owned() } else { plugins.len().to_string() },
                files(&plugins)
            ))
            .help("keep one of them in the plugin directory")),
            Found::None(refused) if refused.is_empty() => Err(self.no_such(name)),
            Found::None(refused) => Err(Error::import(format!(
                "no plugin {name:?} can be used here\n  {}",
                refused.join("\n  ")
            ))
            .help(trust::PIN_HERE)),
        }
    }

    /// The libraries that have a name of this plugin's too, and that are not used as that since it goes before them.
    pub fn behind(&self, plugin: &Plugin) -> Vec<&Plugin> {
        let names = manifest::names(&plugin.manifest);
        let won: Vec<&str> = names.filter(|name| self.is_used(plugin, name)).collect();
        let others = self.plugins().filter(|other| other.path != plugin.path);
        others
            .filter(|other| won.iter().any(|name| manifest::answers_to(&other.manifest, name)))
            .collect()
    }

    fn is_used(&self, plugin: &Plugin, name: &str) -> bool {
        matches!(self.named(name), Found::One(used) if used.path == plugin.path)
    }

    /// A sentence for each library that isn't used as what it says it is, since another one is. One that has the
    /// same bytes as the other is no loss.
    fn unused_names(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for plugin in self.plugins() {
            let mut before: BTreeMap<&Path, BTreeSet<String>> = BTreeMap::new();
            for name in manifest::names(&plugin.manifest) {
                match self.named(name) {
                    Found::One(used) if used.image.sha256 != plugin.image.sha256 => {
                        before.entry(&used.path).or_default().insert(format!("{name:?}"));
                    }
                    Found::Several(all) if all[0].path == plugin.path => sentences.push(format!(
                        "no plugin is used as {name:?}: {} have that name; keep one of them",
                        files(&all)
                    )),
                    _ => {}
                }
            }
            for (used, names) in before {
                sentences.push(format!(
                    "{} is not used as {}: {} goes before it",
                    plugin.path.display(),
                    Vec::from_iter(names).join(", "),
                    used.display()
                ));
            }
        }
        sentences
    }

    /// Lets go of the copies of libraries of which an `older` catalog has the same bytes, and shares its copies.
    pub fn share_images(&mut self, older: &Catalog) {
        for plugin in self.entries.iter_mut().filter_map(|entry| entry.plugin.as_mut().ok()) {
            let same = older.plugins().find(|older| {
                (&older.path, older.image.sha256) == (&plugin.path, plugin.image.sha256)
            });
            if let Some(older) = same {
                plugin.image = Arc::clone(&older.image);
            }
        }
    }

    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.entries.iter().filter_map(|entry| entry.plugin.as_ref().ok())
    }

    fn no_such(&self, name: &str) -> Error {
        let names: Vec<&str> = self.plugins().map(|p| p.manifest.name.as_str()).collect();
        let mut message = format!("no plugin {name:?} was found");
        for entry in &self.entries {
            if let Err(error) = &entry.plugin {
                message.push_str(&format!("\n  broken: {error}"));
                if let Some(help) = &error.help {
                    message.push_str(&format!("\n    help: {help}"));
                }
            }
        }
        let looked: Vec<String> =
            self.directories.iter().map(|p| p.directory.display().to_string()).collect();
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::import(message).help(format!(
            "found: {found}; looked in: {}; name another directory with --plugin-dir",
            looked.join(", ")
        ))
    }
}

/// The files of these plugins, as they stand in a sentence.
fn files(plugins: &[&Plugin]) -> String {
    let files: Vec<String> = plugins.iter().map(|p| p.path.display().to_string()).collect();
    files.join(" and ")
}

/// The libraries in the directories, in the order of the search path, and a sentence for each directory that somebody
/// named and that can't be read.
fn listed(directories: &[PluginDir]) -> (Vec<PathBuf>, Vec<String>) {
    let (mut paths, mut warnings) = (Vec::new(), Vec::new());
    for directory in directories {
        match libraries(directory) {
            Ok(found) => paths.extend(found),
            Err(cause) if directory.named => warnings.push(format!(
                "plugin directory {}: can't be read: {cause}",
                directory.directory.display()
            )),
            Err(_) => {}
        }
    }
    (paths, warnings)
}

/// Two names of one file, by a link or by a directory that is named twice, are one plugin: the first of them is kept.
fn distinct(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    paths
}

/// Asks each library what it is, but for those that were `asked` before.
async fn each_asked(
    paths: Vec<PathBuf>,
    mut asked: BTreeMap<PathBuf, Result<Plugin>>,
    trust: &Trust,
) -> Vec<Entry> {
    let others: Vec<&PathBuf> = paths.iter().filter(|path| !asked.contains_key(*path)).collect();
    // Linux takes a tenth of a millisecond to tell how many there are.
    let cores = if others.len() < 2 { 1 } else { available_parallelism().map_or(1, usize::from) };
    let permits = Arc::new(Semaphore::new(cores));
    let trust = Arc::new(trust.clone());
    let mut tasks = JoinSet::new();
    for path in others.into_iter().cloned() {
        let (permits, trust) = (Arc::clone(&permits), Arc::clone(&trust));
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            let plugin = inspect(&path, &trust).await;
            (path, plugin)
        });
    }
    asked.extend(tasks.join_all().await);
    let entries = paths.into_iter().filter_map(|path| {
        let plugin = asked.remove(&path)?;
        let stamp = fs::metadata(&path).ok().map(|metadata| Stamp::of(&metadata));
        Some(Entry { path, stamp, plugin })
    });
    entries.collect()
}

/// The libraries in a directory, sorted by name.
fn libraries(directory: &PluginDir) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory.directory)? {
        let entry = entry?;
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_library(&path) || (directory.marked_only && !name.contains(MARK)) {
            continue;
        }
        // Most directories tell by themselves what is a file, without a look at each.
        if entry.file_type().is_ok_and(|kind| kind.is_file()) || path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a file's name is that of a library.
pub(crate) fn is_library(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(DLL_EXTENSION))
}

/// Whether a library's file has the name that this plugin's has here. Cargo writes an underscore for a hyphen.
fn is_called_after(library: &Path, name: &str) -> bool {
    let file = library.file_name().and_then(|file| file.to_str());
    file.is_some_and(|file| file.replace('-', "_") == library_name(name).replace('-', "_"))
}

/// What the library says of itself, if `trust` lets it be loaded.
pub async fn inspect(path: &Path, trust: &Trust) -> Result<Plugin> {
    ask(path, trust).await.map(|(plugin, _)| plugin)
}

/// As [`inspect`], with the worker that said it. To this nothing is granted.
async fn ask(path: &Path, trust: &Trust) -> Result<(Plugin, Worker)> {
    let broken = |what: String| Error::import(format!("{}: {what}", path.display()));
    // It reads all of the file, which may be large: not on a thread that drives the runtime.
    let opening = {
        let (trust, path) = (trust.clone(), path.to_owned());
        spawn_blocking(move || {
            let file = ours::open_ours(&path)?;
            let metadata = file.metadata().map_err(|cause| ours::unreadable(&path, cause))?;
            Ok((Stamp::of(&metadata), trust.examine(&path, &file)?))
        })
    };
    let opened: Result<_> =
        opening.await.map_err(|_| broken("could not be read to its end".to_owned()))?;
    // If the file changes from here on, the stamp is the older file's, and the next look at the directory finds a
    // difference.
    let (stamp, Examined { image, key, vouched }) = opened?;
    let denials = Denials::of_library(path.to_owned());
    let confinement = Confinement { denials, ..Confinement::nothing(trust.sandbox) };
    let worker = Worker::load(&image, &confinement, LOADING).await;
    let worker = worker.map_err(|cause| {
        broken(cause.to_string()).help(match cause {
            WorkerError::NotConfined(_) => NOT_CONFINED_HELP,
            _ => "remove the file from the plugin directory, or replace it",
        })
    })?;
    let manifest = manifest::read(&worker.manifest).map_err(broken)?;
    if let Some(key) = key {
        key.may_sign(&manifest).map_err(|error| error.at(&path.display().to_string()))?;
    }
    let plugin = Plugin {
        path: path.to_owned(),
        image: Arc::new(image),
        stamp,
        manifest,
        sdk: worker.sdk.clone(),
        offers: worker.offers.clone(),
        unconfined: worker.unconfined.clone(),
        vouched,
    };
    Ok((plugin, worker))
}

/// The file name that a plugin's library has here, for help texts.
pub fn library_name(name: &str) -> String {
    format!("{}{MARK}{name}{DLL_SUFFIX}", std::env::consts::DLL_PREFIX)
}
