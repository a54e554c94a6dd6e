//! Errors as HTTP says them (RFC 9457), with Argus's kinds.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, Kind};
use crate::store::{Failure, StoreError};

const BUSY: &str = "busy";

/// Why a request was not done.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(examples(json!({
    "type": "urn:ticket-host:problem:not-found", "title": "Not Found", "status": 404,
    "detail": "there is no ticket 17 in the store",
})))]
pub(super) struct Problem {
    /// `urn:ticket-host:problem:` and a word: a kind, or `unauthorized`, `forbidden`, `not-found`,
    /// `conflict`, `too-large`, `timeout`, `busy`, `store`
    #[serde(rename = "type")]
    name: String,
    /// The status, in words
    pub(super) title: &'static str,
    /// The answer's status
    status: u16,
    /// What failed, and where
    pub(super) detail: String,
    /// Whose problem it is, if an incident's ticket could not be made
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kind: Option<Kind>,
    /// What to do about it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) help: Option<String>,
    /// The job that this is about: see `/v1/tickets/{id}`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    job: Option<i64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, name: &str, detail: impl Into<String>) -> Problem {
        Problem {
            name: format!("urn:ticket-host:problem:{name}"),
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
            kind: None,
            help: None,
            job: None,
        }
    }

    /// Says one thing more about what failed.
    pub(super) fn adding(mut self, text: &str) -> Problem {
        self.detail = format!("{}; {text}", self.detail);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// As Argus answers errors of its ticket plugins.
    pub(super) fn of_failure(failure: Failure) -> Problem {
        let (status, name) = match failure.kind {
            Kind::Settings => (StatusCode::BAD_REQUEST, "settings"),
            Kind::Usage => (StatusCode::BAD_REQUEST, "usage"),
            Kind::Client => (StatusCode::SERVICE_UNAVAILABLE, "client"),
            Kind::Creation => (StatusCode::FORBIDDEN, "creation"),
            Kind::Plugin => (StatusCode::INTERNAL_SERVER_ERROR, "plugin"),
            Kind::Import => (StatusCode::INTERNAL_SERVER_ERROR, "import"),
            Kind::Output => (StatusCode::INTERNAL_SERVER_ERROR, "output"),
        };
        Problem {
            kind: Some(failure.kind),
            help: failure.help,
            ..Problem::new(status, name, failure.message)
        }
    }

    /// The service has its hands full for the moment.
    pub(super) fn busy(detail: &str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY, detail)
    }

    pub(super) fn job(mut self, id: i64) -> Problem {
        self.job = Some(id);
        self
    }

    pub(super) fn not_found(what: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", what)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::of_failure(Failure::from(&error))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let said = error.to_string();
        match error {
            StoreError::NoSuch(_) => Problem::not_found(said),
            StoreError::Conflict { id, .. } | StoreError::NotMade(id) => {
                Problem::new(StatusCode::CONFLICT, "conflict", said).job(id)
            }
            StoreError::Broken { .. } => {
                // The log says why (`outage`); who asks over the network needn't know.
                Problem {
                    help: Error::from(error).help,
                    ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store", said)
                }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let is_busy = self.name.ends_with(BUSY);
        let mut response = (status, Json(self)).into_response();
        if is_busy {
            let [seconds, close] = ["1", "close"].map(header::HeaderValue::from_static);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
            // Else a client that sends many requests and reads nothing would keep its connection for all of them.
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer realm=\"ticket-host\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        let kind = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
