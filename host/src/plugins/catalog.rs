//! The plugins that there are: which libraries lie in the search path, and what each says of itself.
//!
//! Invariant: a library is asked what it is in a worker of its own, never in the host's process. A broken one
//! becomes an entry with its error, and doesn't keep the others from being found.

use std::collections::BTreeMap;
use std::env::consts::{DLL_EXTENSION, DLL_SUFFIX};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ticket_host_worker::Digest;
use ticket_host_worker::library::Image;
use ticket_plugin_api::message::Manifest;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use crate::error::{Error, Result};
use crate::plugins::manifest;
use crate::plugins::trust::{self, Trust};
use crate::worker::{Confinement, NOT_CONFINED_HELP, Worker, WorkerError};

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
    /// What this machine's sandbox can't enforce, a sentence each.
    pub unconfined: Vec<String>,
    /// The digest of the library's bytes, if the operator uses signatures or pins. Only a library with these
    /// bytes is loaded then.
    pub sha256: Option<Digest>,
    /// The trusted key that signed it.
    pub signed_by: Option<String>,
    /// Why nobody vouches for it, if the operator wants signatures and lets it be loaded all the same.
    pub unsigned: Option<String>,
}

/// Tells a file from another one that takes its name, and from itself after it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let metadata = fs::metadata(path)?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Stamp { inode, length: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// All plugins that were found, the broken ones too.
#[derive(Debug)]
pub struct Catalog {
    pub entries: Vec<Entry>,
    /// A sentence for each directory that somebody named and that can't be read.
    pub warnings: Vec<String>,
    /// The search path.
    pub directories: Vec<PluginDir>,
}

impl Catalog {
    /// Looks through `directories` and asks every library there what it is, if `trust` lets it be loaded.
    pub async fn discover(directories: Vec<PluginDir>, trust: &Trust) -> Catalog {
        let mut warnings = Vec::new();
        let mut paths = Vec::new();
        for directory in &directories {
            match libraries(directory) {
                Ok(found) => paths.extend(found),
                Err(cause) if directory.named => warnings.push(format!(
                    "plugin directory {}: can't be read: {cause}",
                    directory.directory.display()
                )),
                Err(_) => {}
            }
        }
        // Two names of one file, by a link or by a directory that is named twice, are one plugin.
        let mut seen = Vec::new();
        paths.retain(|path| {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            let new = !seen.contains(&real);
            seen.push(real);
            new
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = Arc::new(Semaphore::new(cores));
        let trust = Arc::new(trust.clone());
        let mut tasks = JoinSet::new();
        for (index, path) in paths.iter().cloned().enumerate() {
            let (permits, trust) = (Arc::clone(&permits), Arc::clone(&trust));
            tasks.spawn(async move {
                let _permit = permits.acquire().await;
                (index, inspect(&path, &trust).await)
            });
        }
        let mut inspected: BTreeMap<usize, Result<Plugin>> =
            tasks.join_all().await.into_iter().collect();
        let entries = paths
            .into_iter()
            .enumerate()
            .filter_map(|(index, path)| {
                let plugin = inspected.remove(&index)?;
                Some(Entry { path, plugin })
            })
            .collect();
        Catalog { entries, warnings, directories }
    }

    /// The one plugin of that name or alias.
    ///
    /// # Errors
    /// An import error: two plugins have it, or no plugin does. The error then names the broken libraries, since
    /// one of them may be the plugin.
    pub fn find(&self, name: &str) -> Result<&Plugin> {
        // A name goes before an alias: else a library could take another one's backends from it by its aliases.
        let named = |plugin: &&Plugin| plugin.manifest.name == name;
        let is_named = self.plugins().any(|plugin| named(&plugin));
        let mut all = self.plugins().filter(|plugin| {
            if is_named { named(plugin) } else { manifest::answers_to(&plugin.manifest, name) }
        });
        match (all.next(), all.next()) {
            (Some(plugin), None) => Ok(plugin),
            (Some(one), Some(other)) => Err(Error::import(format!(
                "plugin {name}: two libraries have that name: {} and {}",
                one.path.display(),
                other.path.display()
            ))
            .help("keep one of them in the plugin directories")),
            (None, _) => Err(self.no_such(name)),
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

/// The libraries in a directory, sorted by name.
fn libraries(directory: &PluginDir) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory.directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_library(&path) && path.is_file() && (!directory.marked_only || name.contains(MARK)) {
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

/// What the library says of itself, if `trust` lets it be loaded.
pub async fn inspect(path: &Path, trust: &Trust) -> Result<Plugin> {
    trust::only_ours(path)?;
    let broken = |what: String| Error::import(format!("{}: {what}", path.display()));
    let examined = if trust.is_off() {
        None
    } else {
        // It reads all of the file, which may be large: not on a thread that drives the runtime.
        let (trust, path) = (trust.clone(), path.to_owned());
        let examining = spawn_blocking(move || trust.examine(&path));
        Some(examining.await.map_err(|_| broken("could not be read to its end".to_owned()))??)
    };
    // Taken before the library is loaded: if the file changes in between, the stamp is the older file's, and
    // the next look at the directory finds a difference.
    let stamp = Stamp::of(path).map_err(|cause| broken(format!("can't be read: {cause}")))?;
    let image = Image::open(path).map_err(|cause| broken(cause.to_string()))?;
    let worker = Worker::load(&image, &Confinement::nothing(trust.sandbox)).await;
    let worker = worker.map_err(|cause| {
        broken(cause.to_string()).help(match cause {
            WorkerError::NotConfined(_) => NOT_CONFINED_HELP,
            _ => "remove the file from the plugin directory, or replace it",
        })
    })?;
    let manifest = manifest::read(&worker.manifest).map_err(broken)?;
    let key = examined.as_ref().and_then(|examined| examined.key.as_ref());
    if let Some(key) = key {
        key.may_sign(&manifest).map_err(|error| error.at(&path.display().to_string()))?;
    }
    Ok(Plugin {
        path: path.to_owned(),
        image: Arc::new(image),
        stamp,
        manifest,
        sdk: worker.sdk.clone(),
        unconfined: worker.unconfined.clone(),
        signed_by: key.map(|key| key.name.clone()),
        unsigned: examined.as_ref().and_then(|examined| examined.unsigned.clone()),
        sha256: examined.map(|examined| examined.sha256),
    })
}

/// The file name that a plugin's library has here, for help texts.
pub fn library_name(name: &str) -> String {
    format!("{}{MARK}{name}{DLL_SUFFIX}", std::env::consts::DLL_PREFIX)
}
