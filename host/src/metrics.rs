//! What the host counts, in Prometheus's form (https://prometheus.io/docs/practices/naming/).

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::argus::Done;
use crate::machine::StepState;
use crate::store::{Count, Timestamp};

const PREFIX: &str = "ticket_host";
/// Upper bounds of the buckets of a call's time, in seconds.
const BUCKETS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfBackend {
    backend: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Tried {
    backend: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stepped {
    backend: String,
    action: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Operation {
    backend: String,
    operation: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Response {
    backend: String,
    status: Status,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    backend: String,
    state: &'static str,
}

/// What an HTTP exchange ended with: a status code, or why there is none.
#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
pub enum Status {
    Code(u16),
    None(&'static str),
}

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Status::Code(code) => EncodeLabelValue::encode(code, encoder),
            Status::None(why) => EncodeLabelValue::encode(why, encoder),
        }
    }
}

/// What isn't counted as it happens, but is as it is when somebody asks.
#[derive(Debug)]
pub(crate) struct Gauges<'a> {
    pub counts: &'a [Count],
    /// The same of what is done to tickets after they were made.
    pub steps: &'a [Count],
    /// Each backend's name, and whether it can make tickets.
    pub backends: &'a [(&'a str, bool)],
    /// How many tickets wait for each backend that the config no longer has.
    pub orphans: &'a BTreeMap<String, i64>,
    /// What the watcher did last, if there is an Argus to watch.
    pub argus: Option<&'a Done>,
    /// How many events of the log were dropped.
    pub dropped: u64,
    pub now: Timestamp,
}

/// The counters and histograms of all backends, which begin with the program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    tickets: Family<Tried, Counter>,
    steps: Family<Stepped, Counter>,
    calls: Family<Operation, Histogram, fn() -> Histogram>,
    responses: Family<Response, Counter>,
    restarts: Family<OfBackend, Counter>,
    denials: Family<OfBackend, Counter>,
    waits: Family<OfBackend, Counter>,
    waited: Family<OfBackend, Counter<f64, AtomicU64>>,
    refused_reloads: Counter,
    argus_elsewhere: Counter,
    states: Family<InState, Counter>,
    states_held: Family<OfBackend, Gauge>,
    webhooks: Family<Tried, Counter>,
    alarm: Gauge,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix(PREFIX);
        let calls: Family<Operation, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let metrics = Metrics {
            tickets: Family::default(),
            steps: Family::default(),
            calls,
            responses: Family::default(),
            restarts: Family::default(),
            denials: Family::default(),
            waits: Family::default(),
            waited: Family::default(),
            refused_reloads: Counter::default(),
            argus_elsewhere: Counter::default(),
            states: Family::default(),
            states_held: Family::default(),
            webhooks: Family::default(),
            alarm: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("tickets", "Tries to make a ticket", metrics.tickets.clone());
        registry.register(
            "steps",
            "Tries to comment on a ticket, to close it or to open it again",
            metrics.steps.clone(),
        );
        registry.register_with_unit(
            "call",
            "Time of calls to plugins, with what they wait for",
            Unit::Seconds,
            metrics.calls.clone(),
        );
        registry.register(
            "gateway_responses",
            "Answers of ticket systems by status, or why there was none",
            metrics.responses.clone(),
        );
        registry.register(
            "worker_restarts",
            "Workers that broke and were replaced",
            metrics.restarts.clone(),
        );
        registry.register(
            "sandbox_denials",
            "System calls that the sandbox refused a plugin",
            metrics.denials.clone(),
        );
        registry.register(
            "rate_limit_waits",
            "Requests that waited for a rate limit, or a pause that a ticket system asked for",
            metrics.waits.clone(),
        );
        registry.register_with_unit(
            "rate_limit_wait",
            "Time of those waits",
            Unit::Seconds,
            metrics.waited.clone(),
        );
        registry.register(
            "refused_reloads",
            "Changed configs that were refused",
            metrics.refused_reloads.clone(),
        );
        registry.register(
            "argus_frontend_mismatches",
            "Incidents of Argus's button whose page isn't where argus.frontend_url says",
            metrics.argus_elsewhere.clone(),
        );
        registry.register(
            "ticket_states",
            "Tickets that others closed, opened again or deleted, by the state that they are in since",
            metrics.states.clone(),
        );
        registry.register(
            "ticket_states_held",
            "Whether so many tickets seem to be closed or gone at once that a person must say whether that is so (ticket-host ticket believe)",
            metrics.states_held.clone(),
        );
        registry.register("webhooks", "Webhooks of ticket systems", metrics.webhooks.clone());
        registry.register(
            "alarm",
            "Whether ticketing itself fails, where [alarm] has that looked at",
            metrics.alarm.clone(),
        );
        Metrics { registry, ..metrics }
    }
}

impl Metrics {
    pub fn ticket(&self, backend: &str, outcome: &'static str) {
        let labels = Tried { backend: backend.to_owned(), outcome };
        self.tickets.get_or_create(&labels).inc();
    }

    pub fn step(&self, backend: &str, action: &'static str, outcome: &'static str) {
        let labels = Stepped { backend: backend.to_owned(), action, outcome };
        self.steps.get_or_create(&labels).inc();
    }

    pub fn alarm(&self, fails: bool) {
        self.alarm.set(i64::from(fails));
    }

    pub fn state(&self, backend: &str, state: &'static str) {
        self.states.get_or_create(&InState { backend: backend.to_owned(), state }).inc();
    }

    pub fn states_held(&self, backend: &str, held: bool) {
        self.states_held.get_or_create(&OfBackend { backend: backend.to_owned() }).set(held.into());
    }

    pub fn webhook(&self, backend: &str, outcome: &'static str) {
        self.webhooks.get_or_create(&Tried { backend: backend.to_owned(), outcome }).inc();
    }

    pub fn call(&self, backend: &str, operation: &'static str, time: Duration) {
        let labels = Operation { backend: backend.to_owned(), operation };
        self.calls.get_or_create(&labels).observe(time.as_secs_f64());
    }

    pub fn response(&self, backend: &str, status: Status) {
        let labels = Response { backend: backend.to_owned(), status };
        self.responses.get_or_create(&labels).inc();
    }

    pub fn worker_restart(&self, backend: &str) {
        self.restarts.get_or_create(&OfBackend { backend: backend.to_owned() }).inc();
    }

    pub fn sandbox_denial(&self, backend: &str) {
        self.denials.get_or_create(&OfBackend { backend: backend.to_owned() }).inc();
    }

    pub fn rate_limit_wait(&self, backend: &str, time: Duration) {
        let labels = OfBackend { backend: backend.to_owned() };
        self.waits.get_or_create(&labels).inc();
        self.waited.get_or_create(&labels).inc_by(time.as_secs_f64());
    }

    pub fn refused_reload(&self) {
        self.refused_reloads.inc();
    }

    pub fn argus_is_elsewhere(&self) {
        self.argus_elsewhere.inc();
    }

    /// All of it as text.
    pub(crate) fn text(&self, gauges: &Gauges<'_>) -> String {
        let mut text = String::new();
        let store = store(gauges);
        let up = up(gauges.backends);
        let log = log(gauges.dropped);
        let watched = gauges.argus.map(watched).unwrap_or_default();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &store))
            .and_then(|()| encode_registry(&mut text, &up))
            .and_then(|()| encode_registry(&mut text, &log))
            .and_then(|()| encode_registry(&mut text, &watched))
            .and_then(|()| encode_eof(&mut text))
            .expect("a String takes all that is written to it");
        text
    }
}

/// What the store holds, as gauges of one answer: two that are asked for at once have nothing in common.
fn store(gauges: &Gauges<'_>) -> Registry {
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
        without.get_or_create(&OfBackend { backend: backend.clone() }).set(*tickets);
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

/// Which backends can make tickets.
fn up(backends: &[(&str, bool)]) -> Registry {
    let up: Family<OfBackend, Gauge> = Family::default();
    for (name, is_up) in backends {
        let labels = OfBackend { backend: (*name).to_owned() };
        up.get_or_create(&labels).set(i64::from(*is_up));
    }
    let mut registry = Registry::with_prefix(PREFIX);
    let help =
        "Whether the backend can make tickets, as far as is known; /v1/backends says why not";
    registry.register("backend_up", help, up);
    registry
}

/// What is missing in the log.
fn log(dropped: u64) -> Registry {
    let events: Counter = Counter::default();
    events.inc_by(dropped);
    let mut registry = Registry::with_prefix(PREFIX);
    let help = "Events of the log that were dropped, since nobody read standard error in time";
    registry.register("log_dropped_events", help, events);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::State;

    #[test]
    fn scrapes_at_the_same_time_do_not_disturb_each_other() {
        let metrics = Metrics::default();
        metrics.ticket("b", "created");
        let now = Timestamp::now();
        let count = |state, rows, seconds| {
            let oldest = now - Duration::from_secs(seconds);
            Count { backend: "b".to_owned(), state, rows, oldest }
        };
        let counts =
            [count(State::Queued, 3, 1), count(State::Unknown, 1, 8), count(State::Created, 7, 10)];
        let done =
            Done { last_poll: Some(Timestamp::from_millis(1500)), listed: 4, ..Done::default() };
        let orphans = BTreeMap::from([("gone".to_owned(), 5)]);
        let steps = [count(State::Failed, 2, 1)];
        let gauges = Gauges {
            counts: &counts,
            steps: &steps,
            backends: &[("b", true), ("c", false)],
            orphans: &orphans,
            argus: Some(&done),
            dropped: 0,
            now,
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let text = metrics.text(&gauges);
                        for line in [
                            "ticket_host_tickets_total{backend=\"b\",outcome=\"created\"} 1",
                            "ticket_host_queue_tickets{backend=\"b\",state=\"queued\"} 3",
                            "ticket_host_queue_tickets{backend=\"b\",state=\"unknown\"} 1",
                            "ticket_host_queue_tickets{backend=\"b\",state=\"created\"} 7",
                            "ticket_host_queue_steps{backend=\"b\",state=\"failed\"} 2",
                            "ticket_host_queue_oldest_seconds{backend=\"b\"} 8.0",
                            "ticket_host_queue_orphans{backend=\"gone\"} 5",
                            "ticket_host_log_dropped_events_total 0",
                            "ticket_host_backend_up{backend=\"b\"} 1",
                            "ticket_host_backend_up{backend=\"c\"} 0",
                            "ticket_host_argus_last_poll_timestamp_seconds 1.5",
                            "ticket_host_argus_last_told_timestamp_seconds 0.0",
                            "ticket_host_argus_listed 4",
                            "ticket_host_argus_error 0",
                            "# EOF",
                        ] {
                            let lines = text.lines().filter(|&l| l == line).count();
                            assert_eq!(lines, 1, "{line} in:\n{text}");
                        }
                    }
                });
            }
        });
    }
}
