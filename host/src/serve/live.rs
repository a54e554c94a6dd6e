//! Config, secrets' files and plugin directories as they change: read again, and used if they can be.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Service, history, swap, systemd};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::plugins::catalog::{PluginDir, is_library};
use crate::queue::Occasion;
use crate::report;
use crate::setup::{self, InUse, Setup, Sources, Which};

/// Files are written in pieces: a change is complete when nothing more has changed for so long.
const QUIET: Duration = Duration::from_millis(250);
/// Files that change all the time are read so long after the first change, complete or not.
const LONGEST: Duration = Duration::from_secs(2);

/// Where a setup comes from, and a watch over the files that it is read from.
#[derive(Debug)]
pub(super) struct Live {
    sources: Sources,
    /// None if the machine doesn't tell of changes of files.
    watcher: Option<RecommendedWatcher>,
    changes: mpsc::Sender<()>,
    changed: mpsc::Receiver<()>,
}

impl Live {
    pub(super) fn new(sources: Sources) -> Live {
        let (changes, changed) = mpsc::channel(1);
        Live { sources, watcher: None, changes, changed }
    }

    /// The setup as it is now, after one that had these libraries in use.
    ///
    /// # Errors
    /// As [`Sources::load`].
    pub(super) async fn load(&mut self, metrics: &Arc<Metrics>, in_use: &InUse) -> Result<Setup> {
        loop {
            // The files are watched before they are read, so that no change in between is missed.
            let config = self.sources.config(Which::All).await?;
            let files = setup::files(&config);
            let directories = self.sources.directories(Some(&config));
            let (looked_at, changes) = ((files.clone(), directories.clone()), self.changes.clone());
            // Files may lie on a disk that hangs.
            let listening = spawn_blocking(move || listen_to(&looked_at.0, &looked_at.1, changes));
            self.watcher = listening.await.map_err(|cause| {
                Error::plugin("the host's own code panicked while it looked at the files")
                    .cause(cause)
            })?;
            let setup = self.sources.load(metrics, in_use).await?;
            // If not, the config was changed in between and names others: these are to be watched.
            if setup.catalog.directories == directories && setup::files(&setup.config) == files {
                return Ok(setup);
            }
        }
    }

    /// Reads again at each change of the files, and at each of `asked`.
    pub(super) async fn follow(
        mut self,
        service: Arc<Service>,
        mut asked: mpsc::Receiver<()>,
    ) -> Result<()> {
        service.tell_orphans().await;
        while let Some(occasion) = self.due(&mut asked, &service).await {
            systemd::reloading();
            let in_use = service.queue.setup().in_use();
            let replaced = match self.load(&service.queue.metrics, &in_use).await {
                Ok(setup) => service.replace(setup, occasion).await,
                Err(error) => Err(error),
            };
            match replaced {
                Ok(()) => {
                    tracing::info!("config and plugins were read again");
                    service.tell_orphans().await;
                }
                Err(error) => {
                    service.queue.metrics.refused_reload();
                    let text = report::text(&error);
                    tracing::error!("the changed config is refused, the old one stays\n{text}");
                    let queue = &service.queue;
                    history::keep_refusal(&*queue.store, &queue.setup(), &error).await;
                }
            }
            systemd::ready();
        }
        Ok(())
    }

    /// Waits until there is something to read: at once if a person asks for it, and else when the files have come to
    /// rest, or don't. None if nobody will tell of anything any more.
    async fn due(&mut self, asked: &mut mpsc::Receiver<()>, service: &Service) -> Option<Occasion> {
        let swaps = lock(&service.swaps).clone();
        let change = tokio::select! {
            asked = asked.recv() => return asked.map(|()| Occasion::Asked),
            () = service.swapped.notified() => return Some(Occasion::Changed),
            () = swap::changed(&*service.queue.store, &swaps), if service.queue.store.shared().is_some() => {
                return Some(Occasion::Changed);
            }
            change = self.changed.recv() => change,
        };
        change?;
        let latest = Instant::now() + LONGEST;
        loop {
            let quiet = latest.min(Instant::now() + QUIET);
            tokio::select! {
                asked = asked.recv() => return asked.map(|()| Occasion::Asked),
                () = tokio::time::sleep_until(quiet.into()) => return Some(Occasion::Changed),
                Some(()) = self.changed.recv() => {}
            }
        }
    }
}

/// Sends to `changes` when a file has changed, until it is dropped. None if the machine can't tell.
fn listen_to(
    files: &BTreeSet<PathBuf>,
    plugins: &[PluginDir],
    changes: mpsc::Sender<()>,
) -> Option<RecommendedWatcher> {
    // The directories, not the files: editors and package managers put a new file in the old one's place.
    let beside = ends(files).filter_map(|end| end.parent().map(Path::to_owned));
    let plugins = plugins.iter().map(|plugins| plugins.directory.clone());
    let directories: BTreeSet<PathBuf> = beside.chain(plugins).collect();
    let names: BTreeSet<OsString> =
        ends(files).filter_map(|end| end.file_name().map(OsStr::to_owned)).collect();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = match event {
            Ok(event) => {
                is_change(event.kind) && event.paths.iter().any(|path| matters(path, &names))
            }
            // An error means that events were lost: anything may have changed.
            Err(_) => true,
        };
        if matters {
            // An error means that a change waits already to be looked at, which is enough.
            let _ = changes.try_send(());
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(cause) => {
            tracing::warn!("files can't be watched ({cause}): changes are read on SIGHUP only");
            return None;
        }
    };
    for directory in directories.into_iter().filter(|directory| directory.is_dir()) {
        if let Err(cause) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            tracing::warn!("{} can't be watched: {cause}", directory.display());
        }
    }
    Some(watcher)
}

/// The files and, where links lead to them, what is at their other ends: either can be replaced.
fn ends(files: &BTreeSet<PathBuf>) -> impl Iterator<Item = PathBuf> {
    files.iter().flat_map(|file| [Some(file.clone()), file.canonicalize().ok()]).flatten()
}

/// Reading a file is an event too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn matters(path: &Path, names: &BTreeSet<OsString>) -> bool {
    // Kubernetes swaps the link `..data` when mounted files change.
    let is_named = |name: &OsStr| name == "..data" || names.contains(name);
    is_library(path) || path.file_name().is_some_and(is_named)
}
