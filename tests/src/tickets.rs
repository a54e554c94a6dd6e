//! A ticket system that the webhook plugin can talk to, whose tickets are commented on, closed and opened again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use url::Url;

use crate::{Answer, Seen, Stub, key_of, ticket_of};

/// What becomes of a request.
#[derive(Debug)]
pub enum Fate {
    Done,
    /// It is answered so, and nothing is done.
    Instead(Answer),
    /// It is done, and answered so.
    Afterwards(Answer),
}

/// A ticket and what was done to it.
#[derive(Debug, Clone, Default)]
pub struct Written {
    pub state: String,
    /// The incident that it was made of.
    pub incident: Value,
    /// Of each step what it did, by its id and its text, in this order.
    pub steps: Vec<(String, String, String)>,
    /// How often it was made.
    pub made: usize,
}

impl Written {
    /// What the steps were that were done: `comment`, `close` and `reopen`.
    pub fn actions(&self) -> Vec<&str> {
        self.steps.iter().map(|(action, ..)| action.as_str()).collect()
    }

    /// Whether a step was done twice.
    pub fn has_one_twice(&self) -> bool {
        let mut ids: Vec<&str> = self.steps.iter().map(|(_, id, _)| id.as_str()).collect();
        ids.sort_unstable();
        ids.windows(2).any(|two| two[0] == two[1])
    }
}

#[derive(Debug, Clone, Default)]
pub struct Tickets(Arc<Mutex<BTreeMap<String, Written>>>);

impl Tickets {
    /// Answers for them; `fate` says what becomes of each request.
    pub fn serve(&self, fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static) -> Stub {
        let tickets = self.clone();
        Stub::new(move |seen| match fate(seen) {
            Fate::Done => tickets.answer(seen),
            Fate::Instead(answer) => answer,
            Fate::Afterwards(answer) => {
                tickets.answer(seen);
                answer
            }
        })
    }

    /// The ticket of a key.
    #[track_caller]
    pub fn of(&self, key: &str) -> Written {
        self.0.lock().unwrap().get(&ticket_of(key)).cloned().unwrap_or_default()
    }

    /// All tickets, by their URLs.
    pub fn all(&self) -> BTreeMap<String, Written> {
        self.0.lock().unwrap().clone()
    }

    /// A person makes a ticket.
    pub fn add(&self, name: &str) {
        let ticket = Written { state: "open".to_owned(), ..Written::default() };
        self.0.lock().unwrap().insert(ticket_of(name), ticket);
    }

    /// A person brings the ticket of a key into that state.
    pub fn set(&self, key: &str, state: &str) {
        self.0.lock().unwrap().get_mut(&ticket_of(key)).unwrap().state = state.to_owned();
    }

    fn answer(&self, seen: &Seen) -> Answer {
        let mut tickets = self.0.lock().unwrap();
        let told = |value: Value| Answer::status(200).body(&value.to_string());
        let asked = Url::parse("http://desk.example.org").unwrap().join(&seen.target).unwrap();
        let asked: BTreeMap<_, _> = asked.query_pairs().into_owned().collect();
        match (seen.method.as_str(), asked.get("ticket")) {
            ("GET", Some(url)) => {
                let Some(ticket) = tickets.get(url) else {
                    return told(json!({"state": "foreign"}));
                };
                let Some(step) = asked.get("step") else {
                    // As it is for who may not see it any more.
                    return match ticket.state.as_str() {
                        "unseen" => Answer::status(404),
                        state => told(json!({"state": state, "by": "ada", "detail": "by hand"})),
                    };
                };
                let has = ticket.steps.iter().any(|(_, id, _)| id == step);
                let comment = if has { "written" } else { "missing" };
                told(json!({"state": ticket.state, "comment": comment}))
            }
            ("PATCH", _) => {
                let request: Value = serde_json::from_str(&seen.body).unwrap();
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let ticket = tickets.get_mut(&text(&request["ticket"]["url"])).unwrap();
                let step = &request["step"];
                let comment = text(&request["comment"]);
                if !comment.is_empty() {
                    ticket.steps.push((text(&step["action"]), text(&step["id"]), comment));
                }
                match step["action"].as_str().unwrap() {
                    "close" => ticket.state = "closed".to_owned(),
                    "reopen" => ticket.state = "open".to_owned(),
                    _ => {}
                }
                told(json!({"state": ticket.state}))
            }
            ("POST", _) => {
                let (key, url) = (key_of(seen), ticket_of(&key_of(seen)));
                let request: Value = serde_json::from_str(&seen.body).unwrap();
                let ticket = tickets.entry(url).or_default();
                ticket.made += 1;
                ticket.state = "open".to_owned();
                ticket.incident = request["incident"].clone();
                Answer::status(201).header("Location", &ticket_of(&key))
            }
            _ if tickets.contains_key(&ticket_of(&key_of(seen))) => {
                Answer::status(200).header("Location", &ticket_of(&key_of(seen)))
            }
            _ => Answer::status(204),
        }
    }
}
