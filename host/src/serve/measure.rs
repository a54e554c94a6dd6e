//! `/metrics`: what is counted all the time, with how things are just now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use super::{SLOW, Service, orphans};
use crate::config::QueueConfig;
use crate::metrics::{BackendNow, CLASSIC, Format, Gauges, OPEN_METRICS, StoreSize};
use crate::outlet;
use crate::queue::Standing;
use crate::store::{self, Timestamp};

/// Count, for Prometheus
///
/// Tickets by state, calls, answers of ticket systems, and more.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, content((String = OPEN_METRICS), (String = CLASSIC)), description = "The counts: as OpenMetrics has them for who asks for that (`Accept`), else in Prometheus's older text format"),
    )
)]
pub(super) async fn metrics(Shared(service): Shared<Arc<Service>>, headers: HeaderMap) -> Response {
    // What a store that can't be used holds isn't known; all else is, and that it can't be used.
    let works = service.store_works().await;
    let store = &service.queue.store;
    let counts = async { Ok((store.counts().await?, store.update_counts().await?)) };
    let (counts, steps) = if_works(works, counts).await.unwrap_or_default();
    let room = if_works(works, store.room()).await.flatten();
    let setup = service.queue.setup();
    let standings = service.queue.standings(&setup);
    let now = Instant::now();
    let of = |standing: &'_ Standing| setup.ready(&standing.name);
    let backends = standings.iter().map(|standing| BackendNow {
        name: &standing.name,
        unfit: standing.unfit,
        pause: of(standing)
            .map_or(Duration::ZERO, |backend| backend.next_turn().saturating_duration_since(now)),
        plugin: of(standing)
            .map(|backend| (backend.manifest.name.as_str(), backend.manifest.version.as_str())),
    });
    let backends: Vec<BackendNow<'_>> = backends.collect();
    let argus = setup.config.argus.as_ref().map(|_| service.argus.done());
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = match accepted.is_some_and(|types| types.contains("application/openmetrics-text"))
    {
        true => Format::OpenMetrics,
        false => Format::Classic,
    };
    let gauges = Gauges {
        counts: &counts,
        steps: &steps,
        backends: &backends,
        orphans: &orphans::of(&counts, &setup),
        argus: argus.as_ref(),
        dropped: outlet::dropped(),
        ready: works && !setup.backends.is_empty(),
        store: size_of(&setup.config.queue, room).await,
        now: Timestamp::now(),
    };
    let text = service.queue.metrics.text(&gauges, format);
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

/// What a store tells that works, if it does so in time.
pub(super) async fn if_works<T>(
    works: bool,
    told: impl Future<Output = store::Result<T>>,
) -> Option<T> {
    if works { in_time(told).await } else { None }
}

/// What a store tells, or does, in time.
pub(super) async fn in_time<T>(told: impl Future<Output = store::Result<T>>) -> Option<T> {
    tokio::time::timeout(SLOW, told).await.ok()?.ok()
}

/// How much a store takes that is a file. Its disk may hang: it is asked by one at a time, and no longer than others wait.
pub(super) async fn size_of(config: &QueueConfig, room: Option<i64>) -> Option<StoreSize> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    if config.database.is_some() || ASKED.swap(true, Ordering::Relaxed) {
        return None;
    }
    let room = room.map(i64::unsigned_abs);
    let (path, limit) = (config.path.clone(), config.max_bytes);
    let size = spawn_blocking(move || {
        let of = |suffix: &str| {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            std::fs::metadata(file).map_or(0, |file| file.len())
        };
        let size = StoreSize { bytes: of("") + of("-wal"), room, limit, free: store::free(&path) };
        ASKED.store(false, Ordering::Relaxed);
        size
    });
    tokio::time::timeout(SLOW, size).await.ok()?.ok()
}
