//! An incident is one, whatever backend it waits in: what was not begun moves with the config, what may have a ticket stays.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::json;
use ticket_host_tests::{
    Answer, Installation, Service, Stub, c_plugin, desk, key_of, ticket_of, wait_for,
};

use crate::argus::Argus;
use crate::serve::numbered;

const COUNT: i64 = 24;

/// A config with these backends, each with its desk, and what else it says.
fn config(host: &Installation, backends: &[(&str, &Stub)], rest: &str) {
    let backends: String = backends
        .iter()
        .map(|(name, desk)| {
            format!(
                "[backends.{name}]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n",
                desk.url
            )
        })
        .collect();
    host.config(&format!(
        "[queue]\npath = \"queue.db\"\nsettle_seconds = 1\nlongest_wait_seconds = 1\n{backends}{rest}"
    ));
}

fn watching(argus: &Stub, backend: &str) -> String {
    format!(
        "[argus]\nurl = \"{}\"\nfrontend_url = \"https://argus.example.org\"\ntoken = \"argus-token\"\n\
         filter = \"level__lte=3\"\ninterval_seconds = 1\nbackend = \"{backend}\"\n",
        argus.url
    )
}

fn installation() -> Installation {
    let host = Installation::new();
    host.add(&c_plugin("webhook"));
    host
}

/// A desk that is down until the flag is cleared.
fn closed_desk() -> (Stub, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    (
        desk(move |_| {
            is_down.load(Relaxed).then_some(Answer::status(429).header("Retry-After", "1"))
        }),
        down,
    )
}

/// A service whose watcher's incidents wait in the backend `a`, since that is down.
struct Waiting {
    argus: Argus,
    server: Stub,
    a: Stub,
    a_is_down: Arc<AtomicBool>,
    b: Stub,
    host: Installation,
    service: Service,
}

fn all_wait_in_a() -> Waiting {
    let mut argus = Argus::with(COUNT);
    argus.page = 100;
    let server = argus.serve();
    let ((a, a_is_down), b) = (closed_desk(), desk(|_| None));
    let host = installation();
    config(&host, &[("a", &a), ("b", &b)], &watching(&server, "a"));
    let service = host.serve();
    wait_for("all to wait", || {
        let page = service.get("/v1/tickets?backend=a").json();
        page["tickets"].as_array().unwrap().len() == COUNT as usize
    });
    Waiting { argus, server, a, a_is_down, b, host, service }
}

#[test]
fn incidents_that_wait_get_one_ticket_each_when_the_watchers_backend_is_another_one() {
    let Waiting { argus, server, a, a_is_down, b, host, service } = all_wait_in_a();
    config(&host, &[("a", &a), ("b", &b)], &watching(&server, "b"));
    service.signal("HUP");
    wait_for("all URLs", || (1..=COUNT).all(|pk| !argus.url(pk).is_empty()));
    a_is_down.store(false, Relaxed);
    // The desk that was down is asked for nothing any more: what comes there later is made behind the others.
    let sent = service
        .post("/v1/tickets", &json!({"incident": numbered(99), "backend": "a", "wait_ms": 60_000}));
    sent.is(201);
    assert_eq!((a.posted().len(), b.posted().len()), (1, COUNT as usize));
}

#[test]
fn incidents_of_a_backend_that_is_removed_and_added_again_get_one_ticket_each() {
    let Waiting { argus, server, a, a_is_down, b, host, service } = all_wait_in_a();
    config(&host, &[("b", &b)], &watching(&server, "b"));
    service.signal("HUP");
    wait_for("all URLs", || (1..=COUNT).all(|pk| !argus.url(pk).is_empty()));
    config(&host, &[("a", &a), ("b", &b)], &watching(&server, "b"));
    service.signal("HUP");
    wait_for("the backend", || service.get("/v1/backends").text.contains("\"name\":\"a\""));
    a_is_down.store(false, Relaxed);
    service
        .post("/v1/tickets", &json!({"incident": numbered(99), "backend": "a", "wait_ms": 60_000}))
        .is(201);
    assert_eq!((a.posted().len(), b.posted().len()), (1, COUNT as usize));
}

#[test]
fn an_incident_that_may_have_a_ticket_is_settled_where_that_is() {
    let argus = Argus::with(1);
    let server = argus.serve();
    // The ticket is made, its answer is lost, and it can't be looked for until the flag is cleared.
    let hidden = Arc::new(AtomicBool::new(true));
    let (is_hidden, made) = (Arc::clone(&hidden), Arc::new(Mutex::new(None)));
    let a = Stub::new(move |seen| {
        let mut made = made.lock().unwrap();
        match (seen.method.as_str(), made.clone()) {
            ("POST", _) => {
                *made = Some(key_of(seen));
                Answer::HangUp
            }
            (_, Some(_)) if is_hidden.load(Relaxed) => Answer::status(503),
            (_, Some(key)) => Answer::status(200).header("Location", &ticket_of(&key)),
            (_, None) => Answer::status(204),
        }
    });
    let b = desk(|_| None);
    let host = installation();
    config(&host, &[("a", &a), ("b", &b)], &watching(&server, "a"));
    let service = host.serve();
    wait_for("the ticket", || a.posted().len() == 1);
    config(&host, &[("a", &a), ("b", &b)], &watching(&server, "b"));
    service.signal("HUP");
    host.logged("config and plugins were read again", 1);
    let polls = || server.seen().iter().filter(|seen| seen.target.contains("page_size")).count();
    let before = polls();
    wait_for("two rounds of the watcher", || polls() > before + 1);
    hidden.store(false, Relaxed);
    wait_for("the URL", || argus.url(1) == ticket_of("https://argus.example.org/incidents/1"));
    assert_eq!((a.posted().len(), b.seen().len()), (1, 0));
    assert_eq!(service.get("/v1/tickets/1").json()["backend"], "a");
}
