//! The plugins that there are: which libraries lie in the search path, and what each says of itself.
//!
//! Invariant: an unknown library is loaded only in a worker, one for each. One that is broken is
//! an entry with its error; it doesn't keep the others from being found.

use std::collections::BTreeMap;
use std::env::consts::{DLL_EXTENSION, DLL_SUFFIX};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ticket_host_worker::Digest;
use ticket_host_worker::permissions::Permissions;
use ticket_plugin_api::message::Manifest;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::plugins::manifest;
use crate::plugins::trust::{self, Trust};
use crate::worker::Worker;

/// In the executable's own directory, among whatever else lies there, plugins are known by this.
const MARK: &str = "ticket_plugin_";

/// One place where plugins are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginDir {
    pub directory: PathBuf,
    /// Whether only libraries with `ticket_plugin_` in their name count.
    pub marked_only: bool,
    /// Whether somebody named it, so that it should be there.
    pub named: bool,
}

/// The search path: what was named (in that order), then the executable's directory, then the
/// system's places.
pub fn search_path(named: impl IntoIterator<Item = PathBuf>) -> Vec<PluginDir> {
    let mut places: Vec<PluginDir> = named
        .into_iter()
        .map(|directory| PluginDir { directory, marked_only: false, named: true })
        .collect();
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    places.extend(own.map(|directory| PluginDir { directory, marked_only: true, named: false }));
    places.extend(system_directories().into_iter().map(|directory| PluginDir {
        directory,
        marked_only: false,
        named: false,
    }));
    places
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
    /// Which version of the file this is about.
    pub stamp: Stamp,
    pub manifest: Manifest,
    /// The plugin-api version that a Rust plugin was compiled with; None for any other.
    pub sdk: Option<String>,
    /// What this machine's sandbox can't enforce, a sentence each.
    pub unconfined: Vec<String>,
    /// The digest of the bytes that this is about, if signatures or digests matter: no others are
    /// loaded.
    pub sha256: Option<Digest>,
    /// The trusted key that signed it.
    pub signed_by: Option<String>,
    /// Why nobody vouches for it, if somebody should.
    pub unsigned: Option<String>,
}

/// Tells a file from what replaces it, or what is written over it.
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

/// All that was found.
#[derive(Debug)]
pub struct Catalog {
    pub entries: Vec<Entry>,
    /// What is odd about the search path, a sentence each.
    pub warnings: Vec<String>,
    pub places: Vec<PluginDir>,
}

impl Catalog {
    /// Looks through `places` and asks every library there what it is, if `trust` lets it be loaded.
    pub async fn discover(places: Vec<PluginDir>, trust: &Trust) -> Catalog {
        let mut warnings = Vec::new();
        let mut paths = Vec::new();
        for place in &places {
            match libraries(place) {
                Ok(found) => paths.extend(found),
                Err(cause) if place.named => warnings.push(format!(
                    "plugin directory {}: can't be read: {cause}",
                    place.directory.display()
                )),
                Err(_) => {}
            }
        }
        // The same file by two ways is one plugin.
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
        Catalog { entries, warnings, places }
    }

    /// The one plugin of that name or alias.
    ///
    /// # Errors
    /// An import error: none has it (with the broken libraries, one of which may be it), or two do.
    pub fn find(&self, name: &str) -> Result<&Plugin> {
        let mut all = self.plugins().filter(|plugin| manifest::answers_to(&plugin.manifest, name));
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
            self.places.iter().map(|p| p.directory.display().to_string()).collect();
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::import(message).help(format!(
            "found: {found}; looked in: {}; name another directory with --plugin-dir",
            looked.join(", ")
        ))
    }
}

/// The libraries in a directory, by name.
fn libraries(place: &PluginDir) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(&place.directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_library(&path) && path.is_file() && (!place.marked_only || name.contains(MARK)) {
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
    let examined = if trust.is_off() { None } else { Some(trust.examine(path)?) };
    let broken = |what: String| Error::import(format!("{}: {what}", path.display()));
    // Before it is loaded: if it changes in between, this is about the older one.
    let stamp = Stamp::of(path).map_err(|cause| broken(format!("can't be read: {cause}")))?;
    let sha256 = examined.as_ref().map(|examined| examined.sha256);
    let worker = Worker::load(path, sha256, &Permissions::default()).await.map_err(|cause| {
        broken(cause.to_string()).help("remove the file from the plugin directory, or replace it")
    })?;
    let manifest = manifest::read(&worker.manifest).map_err(broken)?;
    let key = examined.as_ref().and_then(|examined| examined.key);
    if let Some(key) = key {
        key.may_sign(&manifest).map_err(|error| error.at(&path.display().to_string()))?;
    }
    Ok(Plugin {
        path: path.to_owned(),
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
