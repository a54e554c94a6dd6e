//! What a request brings: read piece by piece, within bounds of size, time and memory.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use http_body_util::BodyExt;

use super::budget::{Budget, Held};
use super::problem::Problem;

/// How long a request's body may take to come.
const BODY: Duration = Duration::from_secs(20);
/// A body that is too large is read on for so many bytes, before it is answered.
const DROPPED: usize = 16 << 20;
/// Bytes of a request's body that lie in one piece.
const BLOCK: usize = 16 << 10;

/// The body of a request, with its part of the budget. It must say that it is of that type, be no larger than `most`, and come
/// in time.
///
/// # Errors
/// 400: it broke off; 408: it didn't come in time; 413: it is too large; 415: it is of another type; 503: others have all the memory.
pub(super) async fn read(
    request: Request<Body>,
    kind: &str,
    most: usize,
    budget: &Budget,
) -> Result<(Vec<u8>, Held), Problem> {
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(kind) {
        let detail = format!("the request's Content-Type must be {kind}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "usage", detail));
    }
    collected(request.into_body(), most, budget).await?.ok_or_else(|| {
        let detail = format!("the request's body has more than {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    })
}

/// A body, with its part of the budget, or None if it has more than `most` bytes. It must come in time.
pub(super) async fn collected(
    body: Body,
    most: usize,
    budget: &Budget,
) -> Result<Option<(Vec<u8>, Held)>, Problem> {
    match tokio::time::timeout(BODY, collect(body, most, budget)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(Stopped::Busy(problem))) => Err(problem),
        Ok(Err(Stopped::Broke(cause))) => {
            let detail = format!("the request's body broke off: {cause}");
            Err(Problem::new(StatusCode::BAD_REQUEST, "usage", detail))
        }
        Err(_) => {
            let detail = format!("the request's body did not come within {} s", BODY.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
        }
    }
}

/// All of a body, or None if it has more than `most` bytes. One that is too large is read on for a while, and
/// dropped, since many clients listen for an answer only when they have sent everything.
///
/// What has come is held of the budget, and not what was announced: who announces much and sends nothing takes
/// nothing from others.
async fn collect(
    mut body: Body,
    most: usize,
    budget: &Budget,
) -> Result<Option<(Vec<u8>, Held)>, Stopped> {
    let mut blocks = Blocks::default();
    let mut held = budget.hold(0).await.map_err(Stopped::Busy)?;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Stopped::Broke)?.into_data() else { continue };
        length += data.len();
        if length <= most {
            held.grow(budget, data.len()).await.map_err(Stopped::Busy)?;
            blocks.add(&data);
            continue;
        }
        blocks = Blocks::default();
        if length > most + DROPPED {
            break;
        }
    }
    Ok((length <= most).then(|| (blocks.whole(), held)))
}

/// Bytes that come piece by piece, and take no more memory than they are: one growing Vec would be moved again and again, and
/// leave holes of its earlier sizes.
#[derive(Default)]
struct Blocks(Vec<Vec<u8>>);

impl Blocks {
    fn add(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            match self.0.last_mut() {
                Some(last) if last.len() < BLOCK => {
                    let (fits, rest) = data.split_at(data.len().min(BLOCK - last.len()));
                    last.extend_from_slice(fits);
                    data = rest;
                }
                _ => self.0.push(Vec::new()),
            }
        }
    }

    fn whole(mut self) -> Vec<u8> {
        if self.0.len() < 2 { self.0.pop().unwrap_or_default() } else { self.0.concat() }
    }
}

/// Why a body was not read to its end.
enum Stopped {
    Broke(axum::Error),
    Busy(Problem),
}
