//! Instances of one backend's plugin: they are opened when they are needed, and kept while they are idle.
//!
//! Invariant: at most `concurrency` calls are under way at once, each on an instance of its own. An instance that
//! broke the rules is not used again. All backends' workers together have bounds of their own: see [`super::places`].

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};
use ticket_host_worker::library::{Image, LoadError};
use ticket_host_worker::permissions::Permissions;
use ticket_plugin_api::abi::host_side::{self, Operation, Returned};
use ticket_plugin_api::abi::status;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::call::CallContext;
use super::in_process::{self, Blocking};
use super::places::{PLACES, Place};
use crate::config::Isolation;
use crate::lock::lock;
use crate::worker::{Confinement, Peer, Worker, WorkerError, in_time};

/// What is needed to open an instance.
#[derive(Debug)]
pub(super) struct Recipe {
    /// What the log calls the backend.
    pub label: String,
    pub image: Arc<Image>,
    pub confinement: Confinement,
    pub isolation: Isolation,
    /// The JSON that open() gets.
    pub settings: SecretString,
}

/// An open instance.
#[derive(Debug)]
enum Instance {
    Worker(Box<Worker>, Place),
    InProcess(host_side::Instance),
}

/// An instance that waits for its next call.
#[derive(Debug)]
pub(super) struct Idle {
    pub since: Instant,
    instance: Instance,
}

/// The idle instances of one backend, the one that has been idle for the longest time first.
pub(super) type IdleList = Mutex<Vec<Idle>>;

/// Why a call, or the opening of an instance, ended without a result from the plugin.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(
        "it did not return in time; since it runs in-process it can't be stopped, and keeps its thread"
    )]
    Stuck,
    #[error("the thread that the plugin ran on ended")]
    Lost,
}

/// Why there is no instance for a call.
#[derive(Debug)]
pub(super) enum NoInstance {
    /// As many calls as may be were under way, for as long as the call may take.
    Busy,
    /// As many workers as may be, of all backends, were busy for as long.
    NoPlace,
    Broken(Broken),
    /// What open() returned instead.
    Refused(Returned),
}

impl From<Broken> for NoInstance {
    fn from(broken: Broken) -> NoInstance {
        NoInstance::Broken(broken)
    }
}

/// The instances of one backend.
#[derive(Debug)]
pub(super) struct Pool {
    pub recipe: Arc<Recipe>,
    permits: Semaphore,
    idle: Arc<IdleList>,
    /// A worker in which the library is loaded, for the next instance.
    loaded: Mutex<Option<Worker>>,
}

/// What an instance is asked.
#[derive(Debug, Clone)]
pub(super) enum Asked<'a> {
    Do(Operation, Cow<'a, str>),
    /// To read a webhook: all of it but its body, and the body.
    Receive(Cow<'a, str>, Cow<'a, [u8]>),
}

impl Asked<'_> {
    /// The plugin's function.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Asked::Do(operation, _) => operation.name(),
            Asked::Receive(..) => "receive",
        }
    }

    /// Whether it may change something in the ticket system.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Asked::Do(operation, _) if operation.writes())
    }

    fn into_owned(self) -> Asked<'static> {
        match self {
            Asked::Do(operation, request) => Asked::Do(operation, request.into_owned().into()),
            Asked::Receive(head, body) => {
                Asked::Receive(head.into_owned().into(), body.into_owned().into())
            }
        }
    }
}

/// An instance that belongs to one call until it is given back.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pool: &'a Pool,
    instance: Instance,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(recipe: Arc<Recipe>, concurrency: usize) -> Pool {
        let idle = Arc::default();
        if recipe.isolation == Isolation::Worker {
            PLACES.watch(Arc::downgrade(&idle));
        }
        Pool { recipe, permits: Semaphore::new(concurrency), idle, loaded: Mutex::default() }
    }

    /// Has the next instance be opened in `worker`, in which the backend's library was loaded with nothing granted to it.
    /// Where the backend's own workers are to be confined otherwise, it is ended.
    pub(super) fn begin_with(&self, worker: Worker) {
        let Recipe { isolation, confinement, .. } = &*self.recipe;
        if *isolation == Isolation::Worker && confinement.permissions == Permissions::default() {
            worker.is_refused_as(&confinement.denials);
            lock(&self.loaded).replace(worker);
        }
    }

    /// Takes an idle instance, or opens a new one. Opening is a call of its own, whose context `opening` makes.
    pub(super) async fn take(
        &self,
        context: &CallContext,
        opening: impl FnOnce() -> Arc<CallContext>,
    ) -> Result<Taken<'_>, NoInstance> {
        let permit = timeout(context.remaining(), self.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else { return Err(NoInstance::Busy) };
        let instance = match self.next_idle() {
            Some(instance) => instance,
            None => self.open(&opening()).await?,
        };
        Ok(Taken { pool: self, instance, _permit: permit })
    }

    fn next_idle(&self) -> Option<Instance> {
        let mut idle = lock(&self.idle);
        // The one that was used last is used first. One that was killed while it was idle is dropped here.
        std::iter::from_fn(|| idle.pop()).map(|idle| idle.instance).find(|instance| {
            let Instance::Worker(worker, _) = instance else { return true };
            let gone = worker.gone();
            if let Some(how) = &gone {
                let label = &self.recipe.label;
                tracing::warn!("{label}: the process of an idle worker {how}");
            }
            gone.is_none()
        })
    }

    async fn open(&self, context: &Arc<CallContext>) -> Result<Instance, NoInstance> {
        match self.recipe.isolation {
            Isolation::Worker => self.open_worker(context).await,
            Isolation::InProcess => self.open_in_process(context).await,
        }
    }

    async fn open_worker(&self, context: &CallContext) -> Result<Instance, NoInstance> {
        let Recipe { image, confinement, settings, .. } = &*self.recipe;
        let place = timeout(context.remaining(), PLACES.take()).await;
        let place = place.map_err(|_| NoInstance::NoPlace)?;
        let loaded = lock(&self.loaded).take().filter(|worker| worker.gone().is_none());
        let mut worker = match loaded {
            Some(worker) => worker,
            None => {
                let loaded = Worker::load(image, confinement, context.remaining()).await;
                loaded.map_err(Broken::Worker)?
            }
        };
        let returned = worker.open(settings.expose_secret(), context).await;
        let returned = returned.map_err(Broken::Worker)?;
        match returned.status {
            status::OK => Ok(Instance::Worker(Box::new(worker), place)),
            _ => Err(NoInstance::Refused(returned)),
        }
    }

    async fn open_in_process(&self, context: &Arc<CallContext>) -> Result<Instance, NoInstance> {
        let image = Arc::clone(&self.recipe.image);
        let (settings, shared) = (self.recipe.settings.clone(), Arc::clone(context));
        let runtime = Handle::current();
        let opening = spawn_blocking(move || {
            let table = in_process::load(&image).map_err(Broken::Load)?;
            let mut host = Blocking::new(&*shared, runtime);
            let opened = table.open(settings.expose_secret(), &mut host);
            opened.map(Instance::InProcess).map_err(NoInstance::Refused)
        });
        match timeout(context.remaining(), opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(Broken::Lost.into()),
            Err(_) => Err(Broken::Stuck.into()),
        }
    }
}

impl<'a> Taken<'a> {
    /// Calls the instance, and gives it back with what the plugin's function returned. An instance that breaks is
    /// dropped.
    pub(super) async fn call(
        self,
        asked: Asked<'_>,
        context: &Arc<CallContext>,
    ) -> Result<(Taken<'a>, Returned), Broken> {
        let Taken { pool, instance, _permit } = self;
        let (instance, returned) = match instance {
            Instance::Worker(mut worker, place) => {
                let returned = match &asked {
                    Asked::Do(operation, request) => {
                        worker.call(*operation, request, &**context).await?
                    }
                    Asked::Receive(head, body) => worker.receive(head, body, &**context).await?,
                };
                (Instance::Worker(worker, place), returned)
            }
            Instance::InProcess(mut plugin) => {
                let shared = Arc::clone(context);
                let runtime = Handle::current();
                let asked = asked.into_owned();
                let calling = spawn_blocking(move || {
                    let mut host = Blocking::new(&*shared, runtime);
                    let returned = match &asked {
                        Asked::Do(operation, request) => {
                            plugin.call(*operation, request, &mut host)
                        }
                        Asked::Receive(head, body) => plugin.receive(head, body, &mut host),
                    };
                    (Instance::InProcess(plugin), returned)
                });
                match in_time(&**context, calling).await {
                    Some(Ok(done)) => done,
                    Some(Err(_)) => return Err(Broken::Lost),
                    None => return Err(Broken::Stuck),
                }
            }
        };
        Ok((Taken { pool, instance, _permit }, returned))
    }

    /// Makes the instance idle, so that another call can take it.
    pub(super) fn give_back(self) {
        let idle = Idle { since: Instant::now(), instance: self.instance };
        lock(&self.pool.idle).push(idle);
        PLACES.is_idle();
    }
}
