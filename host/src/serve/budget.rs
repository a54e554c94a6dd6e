//! A bound for the memory that clients make the service hold: what they send, or what they are answered.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// A number of bytes that all requests share.
#[derive(Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    all: u32,
    /// How long a request waits for others to be done.
    patience: Duration,
}

/// A part of a budget, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Held(OwnedSemaphorePermit);

impl Budget {
    pub(super) fn new(all: u32, patience: Duration) -> Budget {
        Budget { free: Arc::new(Semaphore::new(all as usize)), all, patience }
    }

    /// Takes bytes of the budget, after waiting for a while if others have them. Who wants more than there is in
    /// all gets the whole budget.
    ///
    /// # Errors
    /// 503: others still have them.
    pub(super) async fn hold(&self, bytes: usize) -> Result<Held, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.all);
        let free = Arc::clone(&self.free).acquire_many_owned(bytes);
        let permit = tokio::time::timeout(self.patience, free).await;
        permit.ok().and_then(Result::ok).map(Held).ok_or_else(|| {
            Problem::busy("other requests take all the memory that there is for them")
                .help("try again; send fewer large requests at once, and read their answers")
        })
    }
}

/// A text with its part of a budget, so that both are dropped together.
struct HeldText {
    text: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for HeldText {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Held {
    /// A JSON answer, which holds its bytes until they have left or their connection is closed.
    ///
    /// It is written on a thread of its own: the runtime's threads are for those who want to hear at once.
    pub(super) async fn json(self, value: impl Serialize + Send + 'static) -> Response {
        let writing = tokio::task::spawn_blocking(move || serde_json::to_vec(&value)).await;
        let Ok(Ok(text)) = writing else {
            return Problem::busy("the answer couldn't be written").into_response();
        };
        ([(header::CONTENT_TYPE, "application/json")], self.body(text)).into_response()
    }

    /// The body of an answer, which holds its bytes until they have left or their connection is closed.
    pub(super) fn body(self, text: Vec<u8>) -> Body {
        Body::from(Bytes::from_owner(HeldText { _held: self.at_most(text.len()), text }))
    }

    /// Takes more bytes of the same budget.
    ///
    /// # Errors
    /// As [`Budget::hold`].
    pub(super) async fn grow(&mut self, budget: &Budget, bytes: usize) -> Result<(), Problem> {
        self.0.merge(budget.hold(bytes).await?.0);
        Ok(())
    }

    /// Gives back what is beyond so many bytes.
    fn at_most(mut self, bytes: usize) -> Held {
        let surplus = self.0.num_permits().saturating_sub(bytes);
        drop(self.0.split(surplus));
        self
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use http_body_util::BodyExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_answer_holds_its_bytes_until_it_has_left_and_no_more() {
        let budget = Budget::new(1000, LONG);
        let held = budget.hold(900).await.unwrap();
        assert_eq!(budget.free.available_permits(), 100);
        let response = held.json("x".repeat(98)).await;
        assert_eq!(budget.free.available_permits(), 900);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((bytes.len(), budget.free.available_permits()), (100, 900));
        drop(bytes);
        assert_eq!(budget.free.available_permits(), 1000);
    }

    #[tokio::test]
    async fn who_asks_for_more_than_there_is_gets_all_of_it_when_others_are_done() {
        let budget = Budget::new(1000, LONG);
        let held = budget.hold(1).await.unwrap();
        let all = budget.hold(usize::MAX);
        tokio::pin!(all);
        assert!(tokio::time::timeout(SHORT, &mut all).await.is_err(), "one byte is taken");
        drop(held);
        assert_eq!(all.await.unwrap().0.num_permits(), 1000);
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_to_try_again() {
        let budget = Budget::new(1000, SHORT);
        let _held = budget.hold(1).await.unwrap();
        let response = budget.hold(1000).await.unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
