//! What a try asked a ticket system for, and what came of each request: a short list, for people.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lock::lock;

/// Requests that are kept of a try from its beginning, and as many from its end.
const ENDS: usize = 5;
/// Bytes of a request's method and URL, and of what came of it.
const LONGEST: usize = 200;

/// One request, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    /// Its method and URL
    pub request: String,
    /// The answer's status, or why there was none
    pub came: String,
    /// How long that took, in milliseconds
    pub took_ms: u64,
}

/// The requests of one try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    pub kept: Vec<Sent>,
    /// How many in the middle were not kept.
    #[serde(default)]
    pub left_out: u64,
}

impl Requests {
    fn add(&mut self, sent: Sent) {
        if self.kept.len() == 2 * ENDS {
            self.kept.remove(ENDS);
            self.left_out += 1;
        }
        self.kept.push(sent);
    }
}

/// Where the requests of a try are noted while it goes on.
#[derive(Debug, Clone, Default)]
pub struct Noted(Arc<Mutex<Requests>>);

impl Noted {
    /// Notes a request. Nothing in it may be a secret.
    pub(crate) fn add(&self, request: &str, came: &str, took: Duration) {
        let cut = |text: &str| text[..text.floor_char_boundary(LONGEST)].to_owned();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        lock(&self.0).add(Sent { request: cut(request), came: cut(came), took_ms });
    }

    /// What was noted so far. None: nothing was asked for.
    pub fn requests(&self) -> Option<Requests> {
        let requests = lock(&self.0);
        (!requests.kept.is_empty()).then(|| requests.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_requests_the_first_and_the_last_are_kept_and_of_each_a_bounded_text() {
        let noted = Noted::default();
        assert_eq!(noted.requests(), None);
        for number in 0..100 {
            let long = "ä".repeat(1000);
            noted.add(&format!("GET {number} {long}"), &long, Duration::from_millis(number));
        }
        let Requests { kept, left_out } = noted.requests().unwrap();
        let numbers: Vec<u64> = kept.iter().map(|sent| sent.took_ms).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 95, 96, 97, 98, 99]);
        assert_eq!(left_out, 90);
        assert!(
            kept.iter().all(|sent| sent.request.len() <= LONGEST && sent.came.len() <= LONGEST)
        );
    }
}
