//! Hands an incident over to the service that works on the config's store, and reads what became of it.

use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use ticket_plugin_api::{Incident, Retry, Ticket, json};

use crate::control::exchange::{self, Lost, ask, request};
use crate::control::{self, CONFIG, FROM_ARGUS};
use crate::error::{Error, Kind, Result};
use crate::store::{Failure, State};
use crate::tickets::Delivery;

/// For how much longer than the service waits for a ticket its answer is waited for.
const MARGIN: Duration = Duration::from_secs(60);

/// An incident as it is handed over, once or again.
pub(super) struct Handover {
    body: Bytes,
    config: String,
    is_from_argus: bool,
}

/// What the service says of an incident that it has.
#[derive(Debug, Deserialize)]
struct Job {
    id: i64,
    backend: String,
    key: String,
    state: State,
    ticket: Option<Ticket>,
    error: Option<Failure>,
}

/// What the service says of a backend.
#[derive(Debug, Deserialize)]
struct Standing {
    name: String,
    error: Option<Failure>,
}

/// Why the service has no ticket to tell of.
#[derive(Debug, Deserialize)]
struct Refusal {
    detail: String,
    kind: Option<Kind>,
    help: Option<String>,
    job: Option<i64>,
}

impl Handover {
    /// `key` and `backend` are those of the command line; `config` is the file that was read.
    pub(super) fn new(
        incident: &Incident,
        key: Option<&str>,
        backend: Option<&str>,
        is_from_argus: bool,
        config: Option<&Path>,
    ) -> Handover {
        let wait = u64::try_from(control::LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX);
        let body = json!({
            "incident": incident.attributes, "key": key, "backend": backend, "wait_ms": wait,
        });
        Handover {
            body: body.to_string().into(),
            config: control::config_name(config),
            is_from_argus,
        }
    }

    /// The incident's ticket, which the service has made or had.
    ///
    /// # Errors
    /// There is no ticket yet, or nobody can tell: the service has the incident, if the error says so. Or the service works with another
    /// config, so that its backends are not those that are meant.
    pub(super) async fn to(&self, stream: control::Stream) -> Result<Delivery> {
        let patience = control::LONGEST_WAIT + MARGIN;
        let answer = tokio::time::timeout(patience, self.exchange(stream)).await;
        answer.unwrap_or_else(|_| {
            Err(lost(&format!("it didn't answer within {} s", patience.as_secs())))
        })
    }

    async fn exchange(&self, stream: control::Stream) -> Result<Delivery> {
        let mut service = exchange::open(stream).await.map_err(broke)?;
        let (status, answer) = ask(&mut service, self.request()).await.map_err(broke)?;
        match status {
            StatusCode::OK | StatusCode::CREATED => {
                delivery(status == StatusCode::CREATED, read(&answer)?)
            }
            StatusCode::ACCEPTED => {
                let job: Job = read(&answer)?;
                let failure = match &job.error {
                    Some(failure) => Some(failure.clone()),
                    None => reason(&mut service, &job.backend).await,
                };
                Err(kept(&job, failure.as_ref()))
            }
            StatusCode::MISDIRECTED_REQUEST => Err(of_another(read(&answer)?)),
            _ => Err(refused(status, read(&answer)?)),
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = request(Method::POST, "/v1/tickets", self.body.clone());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        let config = self.config.parse().expect("what is percent-encoded can be a header");
        headers.insert(CONFIG, config);
        if self.is_from_argus {
            headers.insert(FROM_ARGUS, header::HeaderValue::from_static("true"));
        }
        request
    }
}

/// Why a backend makes no tickets now, if the service says so.
async fn reason(service: &mut exchange::Service, backend: &str) -> Option<Failure> {
    service.ready().await.ok()?;
    let asking = request(Method::GET, "/v1/backends", Bytes::new());
    let (_, answer) = ask(service, asking).await.ok()?;
    let all: Vec<Standing> = read(&answer).ok()?;
    all.into_iter().find(|standing| standing.name == backend)?.error
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T> {
    json::read(answer).map_err(|cause| lost(&format!("its answer can't be understood: {cause}")))
}

fn broke(why: Lost) -> Error {
    lost(&why.to_string()).cause(why)
}

/// The service on this store isn't that of this config; what it makes isn't known here.
fn of_another(refusal: Refusal) -> Error {
    Error::settings(refusal.detail).help(
        "name that config (--config), so that the service makes the ticket, or give this one a store of its own (queue.path in [queue]); --force \
         makes one beside the service, without looking whether there is one",
    )
}

/// Nobody knows what the service did.
fn lost(why: &str) -> Error {
    Error::new(Kind::Client, format!("the incident was handed to the running service, and {why}"))
        .retry(Retry::Unknown)
        .help("the incident may be in its queue; run create again: it gets one ticket, however often it is handed over")
}

fn delivery(created: bool, job: Job) -> Result<Delivery> {
    let Job { backend, key, ticket, .. } = job;
    let ticket = ticket.ok_or_else(|| lost("its answer has no ticket"))?;
    Ok(Delivery { created, backend, key, ticket })
}

fn show(id: i64) -> String {
    format!("`ticket-host queue show {id}` shows what became of it")
}

/// The service has the incident, and its ticket isn't made yet. `failure` is what keeps it from being made, if that is known.
fn kept(job: &Job, failure: Option<&Failure>) -> Error {
    let id = job.id;
    let kind = failure.map_or(Kind::Client, |failure| failure.kind);
    let (state, retry) = match (job.state, kind) {
        (State::Creating, _) => ("is being made by the service".to_owned(), Retry::Unknown),
        (State::Unknown, _) => (
            "is kept by the service, which will look whether it was made, and make it if not"
                .to_owned(),
            Retry::Unknown,
        ),
        (_, kind) => {
            let when = match kind {
                Kind::Client => "the ticket system takes it",
                _ => "that is mended",
            };
            (format!("is kept by the service, and will be made when {when}"), Retry::Later)
        }
    };
    let why = failure.map(|failure| format!(": {}", failure.message)).unwrap_or_default();
    let help = failure.and_then(|failure| failure.help.clone());
    Error::new(kind, format!("ticket {id} {state}{why}"))
        .retry(retry)
        .help([help, Some(show(id))].into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// The service's word that there is no ticket: what was wrong with the request, or what became of the incident.
fn refused(status: StatusCode, refusal: Refusal) -> Error {
    let Refusal { detail, kind, help, job } = refusal;
    let kind = kind.unwrap_or(match status {
        // Somebody cancelled it.
        StatusCode::CONFLICT => Kind::Creation,
        status if status.is_server_error() => Kind::Client,
        StatusCode::REQUEST_TIMEOUT => Kind::Client,
        _ => Kind::Usage,
    });
    let help = match (status, job) {
        (StatusCode::CONFLICT, Some(id)) => {
            Some(format!("`ticket-host queue retry {id}` makes it all the same"))
        }
        (_, Some(id)) => {
            Some([help, Some(show(id))].into_iter().flatten().collect::<Vec<_>>().join("; "))
        }
        (_, None) => help,
    };
    let message = match job {
        Some(id) => format!("ticket {id}: {detail}"),
        None => format!("the running service: {detail}"),
    };
    let retry = if kind == Kind::Client { Retry::Later } else { Retry::Never };
    Error { help, ..Error::new(kind, message).retry(retry) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: State) -> Job {
        Job { id: 7, backend: "b".into(), key: "k".into(), state, ticket: None, error: None }
    }

    #[test]
    fn what_the_service_keeps_is_said_with_when_it_is_made_and_why_not_now() {
        let failure = |kind| Failure::new(kind, "no route", Some("ask"));
        for (state, failure, kind, retry, message) in [
            (
                State::Queued,
                Some(failure(Kind::Client)),
                Kind::Client,
                Retry::Later,
                "ticket 7 is kept by the service, and will be made when the ticket system takes it: no route",
            ),
            (
                State::Queued,
                Some(failure(Kind::Settings)),
                Kind::Settings,
                Retry::Later,
                "ticket 7 is kept by the service, and will be made when that is mended: no route",
            ),
            (
                State::Unknown,
                Some(failure(Kind::Plugin)),
                Kind::Plugin,
                Retry::Unknown,
                "ticket 7 is kept by the service, which will look whether it was made, and make it if not: no route",
            ),
            (
                State::Creating,
                None,
                Kind::Client,
                Retry::Unknown,
                "ticket 7 is being made by the service",
            ),
        ] {
            let error = kept(&job(state), failure.as_ref());
            assert_eq!((error.kind, error.retry), (kind, retry), "{message}");
            assert_eq!(error.message, message);
            assert!(
                error.help.unwrap().ends_with("`ticket-host queue show 7` shows what became of it")
            );
        }
    }

    #[test]
    fn a_refusal_has_the_kind_of_what_failed() {
        let refusal = |kind, job| Refusal { detail: "why".into(), kind, help: None, job };
        for (status, kind, job, expected, message) in [
            (403, Some(Kind::Creation), Some(7), Kind::Creation, "ticket 7: why"),
            (400, Some(Kind::Usage), None, Kind::Usage, "the running service: why"),
            (409, None, Some(7), Kind::Creation, "ticket 7: why"),
            (413, None, None, Kind::Usage, "the running service: why"),
            (408, None, None, Kind::Client, "the running service: why"),
            (503, None, None, Kind::Client, "the running service: why"),
        ] {
            let error = refused(StatusCode::from_u16(status).unwrap(), refusal(kind, job));
            assert_eq!((error.kind, error.message.as_str()), (expected, message), "{status}");
        }
    }
}
