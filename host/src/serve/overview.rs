//! How it goes with everything at a glance, and what of it needs a person: for the console, `top` and who asks by the API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema::ArgusReady;
use super::{SLOW, Service, measure};
use crate::lock::lock;
use crate::queue::{Standing, Unfit};
use crate::setup::Setup;
use crate::store::{Count, Failure, Minute, State, StoreError, Timestamp};
use crate::terminal::counted;

/// How long it is good, however many look.
const GOOD: Duration = Duration::from_secs(1);
/// How far back it goes.
const MINUTES: i64 = 60;
/// How long a ticket may wait, or what is to be done to one, until a person should know.
const LONG: Duration = Duration::from_secs(15 * 60);
/// Bytes that are set aside for the answer: of each backend there is a failure.
const SIZE: usize = 1 << 20;

/// How it goes, at one moment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "at": "2026-11-26T08:30:00.003Z", "version": "0.1.0", "ready": true, "counted": true, "needs": [], "backends": [],
    "minutes": [], "store": {"works": true, "place": "/var/lib/ticket-host/queue.db"},
})))]
pub(crate) struct Overview {
    #[schema(format = DateTime)]
    pub(crate) at: String,
    /// The service's own
    pub(crate) version: String,
    /// Whether incidents are accepted
    pub(crate) ready: bool,
    /// Whether the store told what waits and what failed; if not, all numbers of tickets are 0
    pub(crate) counted: bool,
    /// What needs a person, the most urgent first
    pub(crate) needs: Vec<Need>,
    /// Those of the config, and those that only tickets name
    pub(crate) backends: Vec<BackendNow>,
    /// The last hour, minute by minute, the oldest first; counted from the newest hundred thousand tickets
    pub(crate) minutes: Vec<MinuteNow>,
    pub(crate) store: StoreNow,
    /// What the watcher of Argus did last, if the config names one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) argus: Option<ArgusReady>,
}

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Need {
    /// What it is
    pub(crate) what: String,
    /// What to do
    pub(crate) help: String,
    /// The page of the console that shows it
    pub(crate) page: String,
}

/// How it goes with a backend.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct BackendNow {
    pub(crate) name: String,
    /// As the config has it; missing: the config doesn't have the backend
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) plugin: Option<String>,
    /// The version of the plugin; missing: it can't be used
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) endpoint: Option<String>,
    /// Why it can't make tickets; missing: it can, as far as is known
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) reason: Option<Unfit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) error: Option<Failure>,
    /// For how many seconds its ticket system wants to be left alone
    pub(crate) paused_seconds: u64,
    /// Tickets that are to be made, or looked for
    pub(crate) waiting: i64,
    /// Of these, the ones of which nobody knows whether they were made
    pub(crate) unknown: i64,
    /// When the one that has waited longest was accepted
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    pub(crate) oldest: Option<String>,
    /// For how many seconds it has waited
    pub(crate) oldest_seconds: u64,
    /// Tickets that couldn't be made: they are for a person
    pub(crate) failed: i64,
    /// Comments, closings and openings that are to be done, and those that couldn't be done
    pub(crate) steps_waiting: i64,
    /// For how many seconds the one has waited that was to be done first
    pub(crate) steps_oldest_seconds: u64,
    pub(crate) steps_failed: i64,
    /// Tickets of incidents that were accepted in the last hour, and in the last five minutes, and are made
    pub(crate) made_in_hour: i64,
    pub(crate) made_in_five_minutes: i64,
}

/// What was accepted in one minute, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MinuteNow {
    /// Its beginning
    #[schema(format = DateTime)]
    pub(crate) at: String,
    pub(crate) created: i64,
    pub(crate) waiting: i64,
    pub(crate) failed: i64,
    /// Cancelled, or needed no more
    pub(crate) other: i64,
}

/// How it goes with the store.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct StoreNow {
    /// Whether it takes incidents; the log says why not
    pub(crate) works: bool,
    /// Its file, or its database without a password
    pub(crate) place: String,
    /// Bytes that it takes of its disk, if it is a file
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) bytes: Option<u64>,
    /// Bytes that it may take
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) limit: Option<u64>,
    /// Bytes that new incidents may take until none is accepted
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) room: Option<u64>,
    /// Bytes that are free on its disk
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) free: Option<u64>,
}

/// What was looked at last, and when.
#[derive(Debug, Default)]
pub(super) struct Looked {
    last: tokio::sync::Mutex<Option<(Instant, Arc<Overview>)>>,
    /// Is held while the store is asked.
    counting: Arc<tokio::sync::Mutex<()>>,
}

/// Show how it goes
///
/// What needs a person, each backend, the last hour and the store: what the console's first page and `ticket-host top` show.
#[utoipa::path(
    get, path = "/v1/overview", tag = "tickets",
    responses((status = 200, body = Overview, description = "How it goes. Of a store that can't be used nothing is counted"))
)]
pub(super) async fn overview(
    Shared(service): Shared<Arc<Service>>,
) -> Result<Response, super::problem::Problem> {
    let held = service.answers.hold(SIZE).await?;
    Ok(held.json(Overview::clone(&*look(&service).await)).await)
}

/// How it goes now, as of a second ago at the latest. All who look at once look together.
pub(super) async fn look(service: &Service) -> Arc<Overview> {
    let mut looked = service.overview.last.lock().await;
    if let Some((_, known)) = looked.as_ref().filter(|(at, _)| at.elapsed() < GOOD) {
        return Arc::clone(known);
    }
    let now = Arc::new(see(service).await);
    *looked = Some((Instant::now(), Arc::clone(&now)));
    now
}

async fn see(service: &Service) -> Overview {
    let works = service.store_works().await;
    let store = &service.queue.store;
    let now = Timestamp::now();
    let since = now - Duration::from_secs(60 * MINUTES.unsigned_abs());
    let counted = count(service, since).await;
    let is_counted = counted.is_some();
    let (unfinished, minutes) = counted.unwrap_or_default();
    let room = measure::if_works(works, store.room()).await.flatten();
    let setup = service.queue.setup();
    let size = measure::size_of(&setup.config.queue, room).await;
    let store = StoreNow {
        works,
        place: setup.config.queue.place(),
        bytes: size.map(|size| size.bytes),
        limit: size.map(|size| size.limit),
        room: size.and_then(|size| size.room),
        free: size.and_then(|size| size.free),
    };
    let standings = service.queue.standings(&setup);
    let backends = backends(&setup, standings, &unfinished, &minutes, now);
    let argus = setup.config.argus.as_ref().map(|_| ArgusReady::from(service.argus.done()));
    let mut needs =
        needs(&store, is_counted, &backends, argus.as_ref().and_then(ArgusReady::failure));
    needs.extend(lock(&service.swaps).iter().map(swapped));
    Overview {
        at: now.rfc3339(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: works && !setup.backends.is_empty(),
        counted: is_counted,
        needs,
        backends,
        minutes: last_hour(&minutes, now),
        store,
        argus,
    }
}

/// What isn't finished, and what came since then, as far as the store tells that in time; also where only writing to it fails.
async fn count(service: &Service, since: Timestamp) -> Option<([Vec<Count>; 2], Vec<Minute>)> {
    let (store, counting) =
        (Arc::clone(&service.queue.store), Arc::clone(&service.overview.counting));
    // One that hangs is waited for, and not joined by others; one whose asker is gone ends by itself.
    let turn = tokio::time::timeout(SLOW, counting.lock_owned()).await.ok()?;
    let rows = tokio::spawn(async move {
        let _turn = turn;
        Ok::<_, StoreError>((store.unfinished().await?, store.minutes(since).await?))
    });
    tokio::time::timeout(SLOW, rows).await.ok()?.ok()?.ok()
}

/// How it goes with each backend: those of the config, then those that only tickets name.
fn backends(
    setup: &Setup,
    standings: Vec<Standing>,
    [creations, updates]: &[Vec<Count>; 2],
    minutes: &[Minute],
    now: Timestamp,
) -> Vec<BackendNow> {
    let mut all: BTreeMap<String, BackendNow> = BTreeMap::new();
    for Standing { name, unfit, failure } in standings {
        let config = setup.config.backends.get(&name);
        let backend = setup.ready(&name);
        let pause =
            backend.map(|backend| backend.next_turn().saturating_duration_since(Instant::now()));
        let of = BackendNow {
            name: name.clone(),
            plugin: config.map(|config| config.plugin.clone()),
            version: backend.map(|backend| backend.manifest.version.clone()),
            endpoint: config.map(|config| config.endpoint.to_string()),
            reason: unfit,
            error: failure,
            paused_seconds: pause.map_or(0, |pause| pause.as_secs()),
            ..BackendNow::default()
        };
        all.insert(name, of);
    }
    let mut of = |name: &str, add: &dyn Fn(&mut BackendNow)| {
        let new = || BackendNow { name: name.to_owned(), ..BackendNow::default() };
        add(all.entry(name.to_owned()).or_insert_with(new));
    };
    for Count { backend, state, rows, oldest } in creations {
        of(backend, &|now_of| match state {
            State::Failed => now_of.failed += rows,
            state => {
                now_of.waiting += rows;
                now_of.unknown += if *state == State::Unknown { *rows } else { 0 };
                let waited = now.since(*oldest).as_secs();
                if now_of.oldest.is_none() || waited > now_of.oldest_seconds {
                    (now_of.oldest, now_of.oldest_seconds) = (Some(oldest.rfc3339()), waited);
                }
            }
        });
    }
    for Count { backend, state, rows, oldest } in updates {
        of(backend, &|now_of| match state {
            State::Failed => now_of.steps_failed += rows,
            _ => {
                now_of.steps_waiting += rows;
                let waited = now.since(*oldest).as_secs();
                now_of.steps_oldest_seconds = now_of.steps_oldest_seconds.max(waited);
            }
        });
    }
    let recent = now.millis() / 60_000 - 5;
    for Minute { minute, backend, rows, .. } in minutes.iter().filter(|m| m.state == State::Created)
    {
        of(backend, &|now_of| {
            now_of.made_in_hour += rows;
            now_of.made_in_five_minutes += if *minute > recent { *rows } else { 0 };
        });
    }
    let is_of_config = |backend: &BackendNow| backend.plugin.is_some();
    let (mut known, orphans): (Vec<_>, Vec<_>) = all.into_values().partition(is_of_config);
    known.extend(orphans);
    known
}

/// Each minute of the last hour, also those in which nothing came.
fn last_hour(minutes: &[Minute], now: Timestamp) -> Vec<MinuteNow> {
    let last = now.millis() / 60_000;
    let first = last - MINUTES + 1;
    let at = |minute: i64| Timestamp::from_millis(minute * 60_000).second().rfc3339();
    let empty = |minute| MinuteNow { at: at(minute), ..MinuteNow::default() };
    let mut hour: Vec<MinuteNow> = (first..=last).map(empty).collect();
    for Minute { minute, state, rows, .. } in minutes {
        let place = usize::try_from(minute - first).ok();
        let Some(of) = place.and_then(|place| hour.get_mut(place)) else { continue };
        *match state {
            State::Created => &mut of.created,
            State::Failed => &mut of.failed,
            State::Queued | State::Creating | State::Unknown => &mut of.waiting,
            State::Cancelled | State::Suppressed => &mut of.other,
        } += rows;
    }
    hour
}

/// That a person had a backend make the tickets of another one, which the next shift should know.
fn swapped((from, to): (&String, &String)) -> Need {
    Need {
        what: format!("{to} makes the tickets of {from}, as a person said"),
        help: format!("when {from} works, let it make them again; or write {to} into the config"),
        page: "/backends".to_owned(),
    }
}

/// What needs a person, the most urgent first. `is_counted`: the store told what waits and what failed. `argus` is what is wrong with the
/// watched Argus.
fn needs(
    store: &StoreNow,
    is_counted: bool,
    backends: &[BackendNow],
    argus: Option<&Failure>,
) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |page: &str, what: String, help: &str| {
        needs.push(Need { what, help: help.to_owned(), page: page.to_owned() });
    };
    if !store.works {
        let help = "free space on its disk, or start the database; the service's log says why";
        need("/", format!("the store takes no incident: {}", store.place), help);
    }
    if !is_counted {
        let what =
            format!("what waits and failed can't be counted: {} doesn't answer", store.place);
        need("/", what, "see the service's log: is its disk, or the database, there?");
    }
    if backends.iter().all(|backend| backend.plugin.is_none()) {
        let help = "add [backends.NAME] to the config";
        need("/config", "the config has no backend".to_owned(), help);
    }
    let of = |failure: &Option<Failure>| {
        let failure = failure.as_ref();
        let said = failure.map_or(String::new(), |failure| format!(": {}", failure.message));
        (said, failure.and_then(|failure| failure.help.clone()))
    };
    for backend in backends.iter().filter(|backend| backend.plugin.is_some()) {
        let (said, help) = of(&backend.error);
        let (what, by_default) = match backend.reason {
            Some(Unfit::Unprepared) => ("isn't ready", "mend its settings, or install its plugin"),
            Some(Unfit::Settings) => ("fails for its settings", "mend the token or the rights"),
            Some(Unfit::Refused) => ("is refused by its ticket system", "look at what it refuses"),
            Some(Unfit::Broken) => ("breaks: its plugin fails", "ask the plugin's vendor"),
            Some(Unfit::Machine) => ("lacks room on this machine", "see the limits of the service"),
            // Nobody but the ticket system's own people can do something.
            Some(Unfit::Down | Unfit::Paused) | None => continue,
        };
        let help = help.as_deref().unwrap_or(by_default);
        need("/backends", format!("{} {what}{said}", backend.name), help);
    }
    for BackendNow { name, failed, steps_failed, .. } in backends {
        if *failed > 0 {
            let what = format!("{} of {name} failed", counted(failed.unsigned_abs(), "ticket"));
            need("/failures", what, "see why, mend that, and retry them together");
        }
        if *steps_failed > 0 {
            let what = format!(
                "{} of tickets of {name} failed",
                counted(steps_failed.unsigned_abs(), "step")
            );
            need("/failures", what, "see why, mend that, and retry them together");
        }
    }
    for backend in backends.iter().filter(|b| b.plugin.is_none()) {
        let BackendNow { name, waiting, steps_waiting, .. } = backend;
        if waiting + steps_waiting > 0 {
            let what = format!(
                "{} and {} wait for the backend {name}, which the config doesn't have",
                counted(waiting.unsigned_abs(), "ticket"),
                counted(steps_waiting.unsigned_abs(), "step")
            );
            need(
                &tickets_of(name, None),
                what,
                "add the backend to the config again, or cancel them",
            );
        }
    }
    for backend in backends.iter().filter(|b| b.plugin.is_some()) {
        if backend.oldest_seconds >= LONG.as_secs() {
            let minutes = backend.oldest_seconds / 60;
            let what = format!("a ticket of {} has waited for {minutes} minutes", backend.name);
            let help = why(backend.reason, "see why its last try failed");
            need(&tickets_of(&backend.name, None), what, help);
        }
        if backend.steps_oldest_seconds >= LONG.as_secs() {
            let minutes = backend.steps_oldest_seconds / 60;
            let what =
                format!("a step of a ticket of {} has waited for {minutes} minutes", backend.name);
            let page = format!("{}&step=queued", tickets_of(&backend.name, None));
            let help = "see the ticket's steps: may the login comment and close?";
            need(&page, what, why(backend.reason, help));
        }
    }
    if let Some(failure) = argus {
        let help = failure.help.as_deref().unwrap_or("see the service's log");
        need("/config", format!("Argus: {}", failure.message), help);
    }
    if let (Some(room), Some(limit)) = (store.room, store.limit)
        && room < limit / 10
    {
        let help = "raise queue.max_megabytes, or lower queue.keep_days";
        need("/", "the store has less than a tenth of its room left".to_owned(), help);
    }
    needs
}

/// What to do about what waits for long: what the backend lacks, or else this.
fn why(reason: Option<Unfit>, by_itself: &'static str) -> &'static str {
    match reason {
        Some(Unfit::Down) => "its ticket system can't be reached: tell those who run it",
        Some(Unfit::Paused) => "its ticket system asked for a pause: it has a limit on requests",
        _ => by_itself,
    }
}

/// The console's page of a backend's tickets, of all of them or of those in a state.
pub(super) fn tickets_of(backend: &str, state: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("backend", backend);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    format!("/tickets?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn store() -> StoreNow {
        StoreNow { works: true, place: "/q.db".to_owned(), ..StoreNow::default() }
    }

    fn backend(name: &str) -> BackendNow {
        BackendNow { name: name.to_owned(), plugin: Some("rt".to_owned()), ..BackendNow::default() }
    }

    fn failure() -> Failure {
        Failure::new(Kind::Settings, "the token is refused", Some("renew the token"))
    }

    /// What is told of it: what, what to do, and where.
    fn told(
        store: &StoreNow,
        backends: &[BackendNow],
        argus: Option<&Failure>,
    ) -> Vec<[String; 3]> {
        needs(store, true, backends, argus).into_iter().map(|n| [n.what, n.help, n.page]).collect()
    }

    #[test]
    fn what_needs_a_person_is_told_with_what_to_do_and_what_mends_itself_is_not() {
        let unfit =
            |reason| BackendNow { reason: Some(reason), error: Some(failure()), ..backend("b") };
        let waiting = |seconds| BackendNow { oldest_seconds: seconds, ..backend("b") };
        let orphans = BackendNow { plugin: None, waiting: 2, ..backend("old one") };
        for (with, what, help, page) in [
            (
                unfit(Unfit::Settings),
                "b fails for its settings: the token is refused",
                "renew the token",
                "/backends",
            ),
            (
                BackendNow { error: None, ..unfit(Unfit::Unprepared) },
                "b isn't ready",
                "mend its settings, or install its plugin",
                "/backends",
            ),
            (
                BackendNow { failed: 1, ..backend("b") },
                "1 ticket of b failed",
                "see why, mend that, and retry them together",
                "/failures",
            ),
            (
                BackendNow { steps_failed: 2, ..backend("b") },
                "2 steps of tickets of b failed",
                "see why, mend that, and retry them together",
                "/failures",
            ),
            (
                orphans,
                "2 tickets and 0 steps wait for the backend old one, which the config doesn't have",
                "add the backend to the config again, or cancel them",
                "/tickets?backend=old+one",
            ),
            (
                waiting(15 * 60),
                "a ticket of b has waited for 15 minutes",
                "see why its last try failed",
                "/tickets?backend=b",
            ),
            (
                BackendNow { oldest_seconds: 3600, ..unfit(Unfit::Down) },
                "a ticket of b has waited for 60 minutes",
                "its ticket system can't be reached: tell those who run it",
                "/tickets?backend=b",
            ),
        ] {
            let told = told(&store(), &[backend("a"), with], None);
            assert_eq!(told, [[what, help, page].map(str::to_owned)]);
        }
        let step = BackendNow { steps_oldest_seconds: 900, ..backend("b") };
        let [what, _, page] = &told(&store(), &[step], None)[0];
        assert_eq!(what, "a step of a ticket of b has waited for 15 minutes");
        assert_eq!(page, "/tickets?backend=b&step=queued");
        let unknown = needs(&store(), false, &[backend("b")], None);
        assert_eq!(unknown[0].what, "what waits and failed can't be counted: /q.db doesn't answer");
        for fine in [
            backend("b"),
            waiting(15 * 60 - 1),
            unfit(Unfit::Down),
            unfit(Unfit::Paused),
            BackendNow { waiting: 9, unknown: 3, steps_waiting: 4, ..backend("b") },
        ] {
            assert_eq!(told(&store(), &[fine], None).len(), 0);
        }
    }

    #[test]
    fn a_store_that_takes_nothing_comes_first_and_an_argus_and_little_room_come_last() {
        let none = StoreNow { works: false, ..store() };
        let little = StoreNow { room: Some(9), limit: Some(100), ..none };
        let failed = BackendNow { failed: 3, ..backend("b") };
        let argus = failure();
        let whats: Vec<String> =
            told(&little, &[failed], Some(&argus)).into_iter().map(|[what, ..]| what).collect();
        assert_eq!(
            whats,
            [
                "the store takes no incident: /q.db",
                "3 tickets of b failed",
                "Argus: the token is refused",
                "the store has less than a tenth of its room left",
            ]
        );
        let enough = StoreNow { room: Some(10), limit: Some(100), ..store() };
        assert_eq!(told(&enough, &[backend("b")], None).len(), 0);
        assert_eq!(told(&store(), &[], None)[0][0], "the config has no backend");
    }

    #[test]
    fn the_last_hour_has_each_minute_and_what_became_of_what_came_in_it() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let this = 1_700_000_000_000 / 60_000;
        let of = |minute, state, rows| Minute { minute, backend: "b".to_owned(), state, rows };
        let hour = last_hour(
            &[
                of(this - 60, State::Created, 9),
                of(this - 59, State::Created, 1),
                of(this, State::Created, 2),
                of(this, State::Queued, 1),
                of(this, State::Unknown, 2),
                of(this, State::Failed, 4),
                of(this, State::Cancelled, 5),
            ],
            now,
        );
        assert_eq!(hour.len(), 60);
        assert_eq!((hour[0].created, hour[0].at.as_str()), (1, "2023-11-14T21:14:00Z"));
        assert_eq!(hour[30], MinuteNow { at: hour[30].at.clone(), ..MinuteNow::default() });
        let last = &hour[59];
        assert_eq!((last.created, last.waiting, last.failed, last.other), (2, 3, 4, 5));
    }
}
