//! What the host counts, in Prometheus's form (https://prometheus.io/docs/practices/naming/).
//!
//! Invariant: labels are names of backends and plugins, which the config bounds, and words of the host's own: never a key, a URL or a text from outside.

mod classic;
mod gauges;
mod process;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use gauges::{BackendNow, Gauges, StoreSize};

use crate::store::Timestamp;

const PREFIX: &str = "ticket_host";
/// Upper bounds of the buckets of a call's time, in seconds.
const BUCKETS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// The same for the time until an incident is on disk.
const ACCEPT_BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

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
    accepts: Histogram,
    started: Timestamp,
}

/// Which text format is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    /// The older one of Prometheus's.
    Classic,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => OPEN_METRICS,
            Format::Classic => CLASSIC,
        }
    }
}

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(crate) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

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
            accepts: Histogram::new(ACCEPT_BUCKETS),
            started: Timestamp::now(),
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
        registry.register_with_unit(
            "accept",
            "Time until an incident that was accepted is on disk",
            Unit::Seconds,
            metrics.accepts.clone(),
        );
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

    pub fn accept(&self, time: Duration) {
        self.accepts.observe(time.as_secs_f64());
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
    pub(crate) fn text(&self, gauges: &Gauges<'_>, format: Format) -> String {
        let mut text = String::new();
        // So that the first of them is an increase.
        for backend in gauges.backends {
            let labels = OfBackend { backend: backend.name.to_owned() };
            drop((self.denials.get_or_create(&labels), self.restarts.get_or_create(&labels)));
        }
        let process = process::registry(self.started);
        let registries = gauges.registries();
        let mut all = std::iter::once(&self.registry).chain(&registries).chain(&process);
        all.try_for_each(|registry| encode_registry(&mut text, registry))
            .and_then(|()| encode_eof(&mut text))
            .expect("a String takes all that is written to it");
        match format {
            Format::OpenMetrics => text,
            Format::Classic => classic::of(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::argus::Done;
    use crate::queue::Unfit;
    use crate::store::{Count, State};

    /// Rows of the queue, and of what is done to its tickets.
    fn counts() -> (Vec<Count>, Vec<Count>) {
        let count = |state, rows, seconds| {
            let oldest = Timestamp::now() - Duration::from_secs(seconds);
            Count { backend: "b".to_owned(), state, rows, oldest }
        };
        let counts =
            [count(State::Queued, 3, 1), count(State::Unknown, 1, 8), count(State::Created, 7, 10)];
        (counts.to_vec(), vec![count(State::Failed, 2, 1)])
    }

    fn backend(name: &str, unfit: Option<Unfit>) -> BackendNow<'_> {
        let pause = Duration::from_millis(1500);
        BackendNow { name, unfit, pause, plugin: Some(("rt", "1.2.3")) }
    }

    fn gauges<'a>(
        (counts, steps): &'a (Vec<Count>, Vec<Count>),
        backends: &'a [BackendNow<'a>],
        orphans: &'a BTreeMap<String, i64>,
        done: &'a Done,
    ) -> Gauges<'a> {
        Gauges {
            counts,
            steps,
            backends,
            orphans,
            argus: Some(done),
            ready: true,
            store: Some(StoreSize { bytes: 5, room: Some(4), limit: 10, free: Some(7) }),
            dropped: 0,
            now: counts[0].oldest + Duration::from_secs(1),
        }
    }

    #[test]
    fn scrapes_at_the_same_time_do_not_disturb_each_other() {
        let metrics = Metrics::default();
        metrics.ticket("b", "created");
        let (counts, orphans) = (counts(), BTreeMap::from([("gone".to_owned(), 5)]));
        let done =
            Done { last_poll: Some(Timestamp::from_millis(1500)), listed: 4, ..Done::default() };
        let backends = [backend("b", None), backend("c", Some(Unfit::Down))];
        let gauges = gauges(&counts, &backends, &orphans, &done);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let text = metrics.text(&gauges, Format::OpenMetrics);
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
                            "ticket_host_backend_unfit{backend=\"c\",reason=\"down\"} 1",
                            "ticket_host_backend_pause_seconds{backend=\"b\"} 1.5",
                            "ticket_host_plugin{backend=\"b\",plugin=\"rt\",version=\"1.2.3\"} 1",
                            "ticket_host_ready 1",
                            "ticket_host_store_bytes 5",
                            "ticket_host_store_room_bytes 4",
                            "ticket_host_store_limit_bytes 10",
                            "ticket_host_store_disk_free_bytes 7",
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

    /// Everything that can be counted, once.
    fn all() -> Metrics {
        let metrics = Metrics::default();
        metrics.ticket("b", "created");
        metrics.step("b", "comment", "done");
        metrics.accept(Duration::ZERO);
        metrics.alarm(true);
        metrics.state("b", "closed");
        metrics.states_held("b", true);
        metrics.webhook("b", "taken");
        metrics.call("b", "create", Duration::ZERO);
        metrics.response("b", Status::Code(200));
        metrics.worker_restart("b");
        metrics.sandbox_denial("b");
        metrics.rate_limit_wait("b", Duration::ZERO);
        metrics.refused_reload();
        metrics.argus_is_elsewhere();
        metrics
    }

    /// `host/mixin` names them; `tests/mixin.sh` looks whether Prometheus understands it.
    #[test]
    fn what_the_alerts_and_the_dashboard_name_is_there() {
        let (counts, done) = (counts(), Done::default());
        let orphans = BTreeMap::from([("gone".to_owned(), 5)]);
        let backends = [backend("b", Some(Unfit::Down))];
        let gauges = gauges(&counts, &backends, &orphans, &done);
        let text = all().text(&gauges, Format::Classic);
        let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let mixin = concat!(
            include_str!("../../mixin/alerts.yaml"),
            include_str!("../../mixin/dashboard.json")
        );
        let mut named = 0;
        for word in mixin.split(|c| !is_of_name(c)) {
            let is_one = word.starts_with("ticket_host_") || word.starts_with("process_");
            if !is_one || word.starts_with("process_") && !cfg!(target_os = "linux") {
                continue;
            }
            named += 1;
            let name = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(text.contains(&format!("# TYPE {name} ")), "{word} is not in\n{text}");
        }
        assert!(named > 30, "{named}");
    }

    #[test]
    fn labels_are_names_of_the_config_and_words_of_the_hosts_own() {
        let (counts, done) = (counts(), Done::default());
        let orphans = BTreeMap::from([("gone".to_owned(), 5)]);
        let backends = [backend("b", Some(Unfit::Down))];
        let text = all().text(&gauges(&counts, &backends, &orphans, &done), Format::OpenMetrics);
        let known = [
            "backend",
            "outcome",
            "action",
            "operation",
            "status",
            "state",
            "reason",
            "plugin",
            "version",
            "le",
        ];
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((_, labels)) = line.split_once('{') else { continue };
            for label in labels.split_once('}').unwrap().0.split(',') {
                assert!(known.contains(&label.split('=').next().unwrap()), "{line}");
            }
        }
    }
}
