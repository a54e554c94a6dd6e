//! The desk: a ticket system that the webhook plugin can talk to.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

use crate::{Answer, Seen, Stub};

/// The key of the ticket that one of the webhook plugin's requests creates or looks for.
pub fn key_of(seen: &Seen) -> String {
    let url = url::Url::parse("http://desk.example.org").unwrap().join(&seen.target).unwrap();
    match url.query_pairs().find(|(name, _)| name == "key") {
        Some((_, key)) => key.into_owned(),
        None => {
            let request: Value = serde_json::from_str(&seen.body).unwrap();
            request["key"].as_str().unwrap().to_owned()
        }
    }
}

/// The URL of the ticket that the desk makes for a key.
pub fn ticket_of(key: &str) -> String {
    format!("https://tickets.example.org/{key}")
}

/// A desk that makes tickets and finds them again. Where `instead` returns an answer to a request, that is
/// given and the desk does nothing.
pub fn desk(instead: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) -> Stub {
    let tickets = Mutex::new(BTreeSet::new());
    Stub::new(move |seen| {
        if let Some(answer) = instead(seen) {
            return answer;
        }
        if seen.target.contains("?ticket=") {
            return Answer::status(200).body(r#"{"state": "open"}"#);
        }
        let key = key_of(seen);
        let mut tickets = tickets.lock().unwrap();
        let status = match seen.method.as_str() {
            "POST" => {
                tickets.insert(key.clone());
                201
            }
            _ if tickets.contains(&key) => 200,
            _ => return Answer::status(204),
        };
        Answer::status(status).header("Location", &ticket_of(&key))
    })
}

impl Stub {
    /// The keys of the tickets that were to be created, in the order of the requests.
    pub fn posted(&self) -> Vec<String> {
        self.seen().iter().filter(|seen| seen.method == "POST").map(key_of).collect()
    }
}
