//! What ticket systems send by themselves: their webhooks, which the backend's plugin reads.
//!
//! Anybody may send one. Invariant: what a webhook says is never believed; it is only asked about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ticket_plugin_api::abi::{MAX_WEBHOOK_BODY, MAX_WEBHOOK_HEAD};
use ticket_plugin_api::message::{Received, WebhookHead};

use super::Service;
use super::body::collected;
use super::problem::Problem;
use crate::backend::Answer;
use crate::error::Error;
use crate::lock::lock;
use crate::terminal::{counted, line};
use crate::token_bucket::TokenBucket;

/// Webhooks that a backend takes in a second, and at once.
const RATE: f64 = 10.0;

/// Bytes of all webhooks together that are on their way in, or to a plugin: none of what incidents have.
pub(super) const BODIES: u32 = 8 << 20;
/// How often it is said of a backend that webhooks are refused.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// What each backend may still take, and has said of what it didn't.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, Rate>>);

#[derive(Debug)]
struct Rate {
    bucket: TokenBucket,
    said: Option<Instant>,
    /// How many were refused since then.
    unsaid: u64,
}

impl Rates {
    fn of<T>(&self, backend: &str, now: Instant, does: impl FnOnce(&mut Rate) -> T) -> T {
        let new = || Rate { bucket: TokenBucket::new(RATE, RATE, now), said: None, unsaid: 0 };
        does(lock(&self.0).entry(backend.to_owned()).or_insert_with(new))
    }

    /// Whether a backend of the config takes another one now.
    fn take(&self, backend: &str, now: Instant) -> bool {
        self.of(backend, now, |rate| rate.bucket.try_take(1.0, now))
    }

    /// One was refused: how many there were since it was last said, if it is time to say so. Anybody may send them.
    fn refused(&self, backend: &str, now: Instant) -> Option<u64> {
        self.of(backend, now, |rate| {
            rate.unsaid += 1;
            let is_time = rate.said.is_none_or(|said| now.duration_since(said) >= SAID_EVERY);
            is_time.then(|| {
                rate.said = Some(now);
                std::mem::take(&mut rate.unsaid)
            })
        })
    }
}

/// Take a webhook of a ticket system
///
/// The URL to name in the ticket system, which needs no token: the backend's plugin checks the signature. Tickets that a webhook names are asked
/// for at once; what the webhook says of them is not believed. A backend takes ten in a second.
#[utoipa::path(
    post, path = "/v1/hooks/{backend}", tag = "backends",
    params(("backend" = String, Path, description = "The backend's name in the config", example = "noc-rt")),
    request_body(content = serde_json::Value, content_type = "application/json", description = "What the ticket system sends, of at most 256 KiB: JSON mostly, but that is between it and the plugin"),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "What the sender waits for, such as a challenge"),
        (status = 202, description = "The tickets that it names will be asked for"),
        (status = 401, body = Problem, description = "The signature is missing or wrong (type `urn:ticket-host:problem:unauthorized`)"),
        (status = 404, body = Problem, description = "There is no such backend, or its plugin reads no webhooks"),
        (status = 408, body = Problem, description = "The request's body didn't come in time"),
        (status = 413, body = Problem, description = "The body is larger than 256 KiB, or the head than 64"),
        (status = 429, body = Problem, description = "More than ten came within a second, or the backend isn't ready",
            headers(("Retry-After" = u32, description = "Seconds"))),
        (status = 500, body = Problem, description = "The plugin broke (kind `plugin`)"),
    )
)]
pub(super) async fn receive(
    Shared(service): Shared<Arc<Service>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let setup = service.queue.setup();
    let count = |outcome| service.queue.metrics.webhook(&name, outcome);
    let backend = match setup.backends.get(&name) {
        Some(Ok(backend)) if backend.reads_webhooks() => backend,
        // The config may know it, and its plugin isn't there: the sender tries again later.
        Some(Err(_)) => return Ok(later("the backend isn't ready")),
        _ => return Err(Problem::not_found("no such backend reads webhooks")),
    };
    if !service.webhooks.take(&name, Instant::now()) {
        count("limited");
        return Ok(later("ten webhooks in a second are taken"));
    }
    let head = head(&request);
    let too_large = || {
        let what = format!(
            "a webhook may have {MAX_WEBHOOK_BODY} bytes of body and {MAX_WEBHOOK_HEAD} of URL and headers"
        );
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", what)
    };
    let body = collected(request.into_body(), MAX_WEBHOOK_BODY, &service.hooks).await?;
    let (body, _held) = body.ok_or_else(too_large)?;
    head.is_sound(&body).map_err(|_| too_large())?;
    let say = |what: &str, why: &str| {
        if let Some(times) = service.webhooks.refused(&name, Instant::now()) {
            tracing::warn!("{name}: {} {what}: {}", counted(times, "webhook"), line(why));
        }
    };
    let broke = |error: Error| {
        count("failed");
        say("could not be read", &error.message);
        // Who sent it may be anybody.
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "plugin", "the webhook could not be read")
    };
    let received = match backend.receive(&head, &body).await.map_err(broke)? {
        Answer::Given(received) => received,
        _ => return Err(Problem::not_found("no such backend reads webhooks")),
    };
    let Received { tickets, answer, forged } = received;
    if let Some(why) = forged {
        count("forged");
        say("not signed by the ticket system", &why);
        let what = "the webhook's signature is missing or wrong";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", what)
            .help("name the same secret in the ticket system and in the backend's settings"));
    }
    count("taken");
    if !tickets.is_empty() {
        service.queue.changed_by_others(&name, tickets);
    }
    Ok(match answer {
        Some(answer) => {
            let kind = [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (kind, Bytes::from(answer)).into_response()
        }
        None => StatusCode::ACCEPTED.into_response(),
    })
}

/// All of a request but its body. A header that is no text is left out.
fn head(request: &Request) -> WebhookHead {
    WebhookHead {
        method: request.method().to_string(),
        url: request.uri().to_string(),
        headers: texts(request.headers()),
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

fn later(why: &str) -> Response {
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", why);
    ([(header::RETRY_AFTER, "1")], problem).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_takes_ten_webhooks_in_a_second_and_another_one_its_own() {
        let (rates, now) = (Rates::default(), Instant::now());
        assert_eq!((0..20).filter(|_| rates.take("a", now)).count(), 10);
        assert!(rates.take("b", now));
        assert!(rates.take("a", now + Duration::from_millis(101)));
    }

    #[test]
    fn what_anybody_may_send_is_said_once_a_minute_with_how_often_it_came() {
        let (rates, start) = (Rates::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let said = [0, 1, 59, 60, 61].map(|second| rates.refused("a", at(second)));
        assert_eq!(said, [Some(1), None, None, Some(3), None]);
        assert_eq!(rates.refused("b", at(61)), Some(1));
    }
}
