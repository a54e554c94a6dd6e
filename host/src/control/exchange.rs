//! One request to a service over the socket beside its store, and its answer, which has a bound.

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::Stream;

/// Bytes that an answer may have.
pub(crate) const LONGEST: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("it ended before it answered")]
    Ended(#[from] hyper::Error),
    #[error("its answer broke off")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A connection to the service.
pub(crate) type Service = SendRequest<Full<Bytes>>;

/// # Errors
/// The service ended.
pub(crate) async fn open(stream: Stream) -> Result<Service, Lost> {
    let (service, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(service)
}

pub(crate) fn request(method: Method, path: &'static str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
    request
}

/// # Errors
/// The service ended, or its answer has more bytes than it may have.
pub(crate) async fn ask(
    service: &mut Service,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Lost> {
    let answer = service.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await;
    Ok((status, body.map_err(Lost::BrokeOff)?.to_bytes()))
}
