//! What isn't counted as it happens, but is as it is when somebody asks: gauges of one answer, so that two that are asked for at once have nothing
//! in common.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{InState, OfBackend, PREFIX};
use crate::argus::Done;
use crate::machine::StepState;
use crate::queue::Unfit;
use crate::store::{Count, Timestamp};

#[derive(Debug)]
pub(crate) struct Gauges<'a> {
    pub counts: &'a [Count],
    /// The same of what is done to tickets after they were made.
    pub steps: &'a [Count],
    pub backends: &'a [BackendNow<'a>],
    /// How many tickets wait for each backend that the config no longer has.
    pub orphans: &'a BTreeMap<String, i64>,
    /// What the watcher did last, if there is an Argus to watch.
    pub argus: Option<&'a Done>,
    /// Whether incidents are accepted.
    pub ready: bool,
    /// How much the store takes, if it is a file.
    pub store: Option<StoreSize>,
    /// How many events of the log were dropped.
    pub dropped: u64,
    pub now: Timestamp,
}

/// A backend of the config, as it is now.
#[derive(Debug)]
pub(crate) struct BackendNow<'a> {
    pub name: &'a str,
    /// Why it can't make tickets, as far as is known.
    pub unfit: Option<Unfit>,
    /// For how long its ticket system wants to be left alone.
    pub pause: Duration,
    /// Its plugin's name and version, if that can be used.
    pub plugin: Option<(&'a str, &'a str)>,
}

/// How much room a store takes on its disk, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreSize {
    pub bytes: u64,
    /// How many of them new incidents may still take; None: nobody can say now.
    pub room: Option<u64>,
    /// As many as it may take.
    pub limit: u64,
    /// How many its disk has left; None: that can't be told here.
    pub free: Option<u64>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Because {
    backend: String,
    reason: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPlugin {
    backend: String,
    plugin: String,
    version: String,
}

impl Gauges<'_> {
    pub(super) fn registries(&self) -> Vec<Registry> {
        let mut registries =
            vec![queue(self), backends(self.backends), program(self.dropped, self.ready)];
        registries.extend(self.argus.map(watched));
        registries.extend(self.store.map(store));
        registries
    }
}

fn of(backend: &str) -> OfBackend {
    OfBackend { backend: backend.to_owned() }
}

/// What the store holds.
fn queue(gauges: &Gauges<'_>) -> Registry {
    let Gauges { counts, steps, orphans, now, .. } = *gauges;
    let rows: Family<InState, Gauge> = Family::default();
    let oldest: Family<OfBackend, Gauge<f64, AtomicU64>> = Family::default();
    for count in counts {
        let backend = count.backend.clone();
        let labels = InState { backend: backend.clone(), state: count.state.name() };
        rows.get_or_create(&labels).set(count.rows);
        if !count.state.is_final() {
            let age = now.since(count.oldest).as_secs_f64();
            let oldest = oldest.get_or_create(&OfBackend { backend });
            oldest.set(oldest.get().max(age));
        }
    }
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register("queue_tickets", "Tickets in the store, by state", rows);
    let rows: Family<InState, Gauge> = Family::default();
    for count in steps {
        let state = StepState::from(count.state).name();
        let labels = InState { backend: count.backend.clone(), state };
        rows.get_or_create(&labels).set(count.rows);
    }
    let help = "Comments, closings and openings of tickets in the store, by state";
    registry.register("queue_steps", help, rows);
    let without: Family<OfBackend, Gauge> = Family::default();
    for (backend, tickets) in orphans {
        without.get_or_create(&of(backend)).set(*tickets);
    }
    let help = "Tickets that wait for a backend which the config doesn't have";
    registry.register("queue_orphans", help, without);
    registry.register_with_unit(
        "queue_oldest",
        "Age of the oldest ticket that is not made yet",
        Unit::Seconds,
        oldest,
    );
    registry
}

/// Which backends can make tickets, and why the others can't.
fn backends(backends: &[BackendNow<'_>]) -> Registry {
    let up: Family<OfBackend, Gauge> = Family::default();
    let unfit: Family<Because, Gauge> = Family::default();
    let pause: Family<OfBackend, Gauge<f64, AtomicU64>> = Family::default();
    let plugins: Family<OfPlugin, Gauge> = Family::default();
    for now in backends {
        up.get_or_create(&of(now.name)).set(i64::from(now.unfit.is_none()));
        pause.get_or_create(&of(now.name)).set(now.pause.as_secs_f64());
        let backend = now.name.to_owned();
        if let Some((plugin, version)) = now.plugin {
            let [plugin, version] = [plugin, version].map(str::to_owned);
            let labels = OfPlugin { backend: backend.clone(), plugin, version };
            plugins.get_or_create(&labels).set(1);
        }
        if let Some(reason) = now.unfit {
            unfit.get_or_create(&Because { backend, reason: reason.name() }).set(1);
        }
    }
    let mut registry = Registry::with_prefix(PREFIX);
    let help =
        "Whether the backend can make tickets, as far as is known; /v1/backends says why not";
    registry.register("backend_up", help, up);
    registry.register("backend_unfit", "Why a backend can't make tickets: 1", unfit);
    registry.register_with_unit(
        "backend_pause",
        "For how long the backend's ticket system wants to be left alone",
        Unit::Seconds,
        pause,
    );
    registry.register("plugin", "The plugin of each backend, with its version: 1", plugins);
    registry
}

/// Which program this is, whether it does its work, and what is missing in its log.
fn program(dropped: u64, ready: bool) -> Registry {
    let events: Counter = Counter::default();
    events.inc_by(dropped);
    let mut registry = Registry::with_prefix(PREFIX);
    let help = "Events of the log that were dropped, since nobody read standard error in time";
    registry.register("log_dropped_events", help, events);
    let is_ready = Gauge::<i64>::default();
    is_ready.set(ready.into());
    let help = "Whether incidents are accepted, as /readyz says";
    registry.register("ready", help, is_ready);
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program's version: 1", build);
    registry
}

fn store(size: StoreSize) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let mut bytes = |name, help, number: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        registry.register_with_unit(name, help, Unit::Bytes, gauge);
    };
    bytes("store", "What the store's files take", size.bytes);
    bytes("store_limit", "What they may take: queue.max_megabytes", size.limit);
    if let Some(room) = size.room {
        bytes("store_room", "What new incidents may take until none is accepted", room);
    }
    if let Some(free) = size.free {
        bytes("store_disk_free", "What is free on the store's disk", free);
    }
    registry
}

/// What the watcher of Argus did last. What never was is 0, so that an alert on its age sees that, too.
fn watched(done: &Done) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let mut moment = |name, help, at: Option<Timestamp>| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(at.map_or(0.0, |at| at.since(Timestamp::EPOCH).as_secs_f64()));
        registry.register_with_unit(name, help, Unit::Seconds, gauge);
    };
    moment("argus_last_poll_timestamp", "When Argus last listed its incidents", done.last_poll);
    moment("argus_last_told_timestamp", "When Argus was last told of a ticket", done.last_told);
    let mut count = |name, help, number: usize| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    count("argus_listed", "Open incidents without a ticket that Argus last listed", done.listed);
    count("argus_skipped", "Those of them that are not filed: see argus.backlog", done.skipped);
    count(
        "argus_error",
        "Whether anything is wrong; /readyz says what",
        usize::from(done.error().is_some()),
    );
    registry
}
