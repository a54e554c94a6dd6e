//! Loads a library to see what it is, and how long that takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ticket_host_worker::library::Image;
use ticket_host_worker::sandbox::Policy;
use ticket_plugin_api::abi::host_side::Table;
use ticket_plugin_api::message::Manifest;

use super::{Verdict, crash, fail};
use crate::backend::load_in_process;
use crate::plugins::manifest;
use crate::worker::{Confinement, Denials, LOADING, Worker, WorkerError};

#[derive(Debug)]
pub(super) struct Loaded {
    /// Err says what is wrong with the manifest.
    pub manifest: Result<Manifest, String>,
    /// Which of the functions that a plugin may be without it has.
    pub offers: Vec<&'static str>,
    /// How long loading took: the quickest of five times in a worker. None in this process, where it is loaded once, maybe
    /// under a tool that makes all slower.
    pub time: Option<Duration>,
}

/// Loads the library five times, each in a worker of its own.
pub(super) async fn load(
    image: &Image,
    policy: Policy,
    denials: &Arc<Denials>,
) -> Result<Loaded, Verdict> {
    let confinement = Confinement { denials: Arc::clone(denials), ..Confinement::nothing(policy) };
    let mut quickest = Duration::MAX;
    let (mut manifest, mut offers) = (String::new(), Vec::new());
    for _ in 0..5 {
        let started = Instant::now();
        let loaded = Worker::load(image, &confinement, LOADING).await;
        quickest = quickest.min(started.elapsed());
        match loaded {
            Ok(worker) => {
                manifest.clone_from(&worker.manifest);
                offers.clone_from(&worker.offers);
            }
            Err(WorkerError::NotLoaded(why)) => return Err(fail(why)),
            Err(cause) => return Err(crash(cause.to_string())),
        }
    }
    Ok(Loaded { manifest: manifest::read(&manifest), offers, time: Some(quickest) })
}

/// Loads it into this process.
pub(super) fn load_here(image: &Image) -> Result<Loaded, Verdict> {
    let table = table(image)?;
    Ok(Loaded { manifest: manifest::read(&table.manifest), offers: table.offers(), time: None })
}

pub(super) fn table(image: &Image) -> Result<Table, Verdict> {
    load_in_process(image).map_err(|cause| fail(cause.to_string()))
}
