//! Config and plugin directories as they change: read again, and used if they can be.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{Service, systemd};
use crate::error::Result;
use crate::metrics::Metrics;
use crate::plugins::catalog::{PluginDir, is_library};
use crate::report;
use crate::setup::{InUse, Setup, Sources, Which};

/// Files are written in pieces: a change is complete when nothing more has changed for so long.
const QUIET: Duration = Duration::from_millis(250);

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
            let directories = self.sources.directories(Some(&config));
            self.watcher = listen_to(config.file, &directories, self.changes.clone());
            let setup = self.sources.load(metrics, in_use).await?;
            // If not, the config was changed in between and names other directories: these are to be watched.
            if setup.catalog.directories == directories {
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
        loop {
            let told = tokio::select! {
                told = asked.recv() => told,
                change = self.changed.recv() => change,
            };
            if told.is_none() {
                return Ok(());
            }
            while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changed.recv()).await {}
            systemd::reloading();
            let in_use = service.queue.setup().in_use();
            let replaced = match self.load(&service.queue.metrics, &in_use).await {
                Ok(setup) => service.replace(setup).await,
                Err(error) => Err(error),
            };
            match replaced {
                Ok(()) => tracing::info!("config and plugins were read again"),
                Err(error) => {
                    service.queue.metrics.refused_reload();
                    let text = report::text(&error);
                    tracing::error!("the changed config is refused, the old one stays\n{text}");
                }
            }
            systemd::ready();
        }
    }
}

/// Sends to `changes` when a file has changed, until it is dropped. None if the machine can't tell.
fn listen_to(
    config: Option<PathBuf>,
    plugins: &[PluginDir],
    changes: mpsc::Sender<()>,
) -> Option<RecommendedWatcher> {
    // The directory, not the file: editors and package managers put a new file in its place.
    let beside = config.as_deref().and_then(Path::parent).map(|directory| match directory {
        bare if bare.as_os_str().is_empty() => PathBuf::from("."),
        directory => directory.to_owned(),
    });
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = match event {
            Ok(event) => {
                is_change(event.kind)
                    && event.paths.iter().any(|path| matters(path, config.as_deref()))
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
    let plugins = plugins.iter().map(|dir| dir.directory.clone());
    for directory in beside.into_iter().chain(plugins).filter(|directory| directory.is_dir()) {
        if let Err(cause) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            tracing::warn!("{} can't be watched: {cause}", directory.display());
        }
    }
    Some(watcher)
}

/// Reading a file is an event too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn matters(path: &Path, config: Option<&Path>) -> bool {
    // Kubernetes swaps the link `..data` when a mounted config changes.
    let name = path.file_name();
    is_library(path)
        || name.is_some_and(|name| name == "..data")
        || name.is_some() && name == config.and_then(Path::file_name)
}
