//! Tickets that are looked for together, with a plugin whose search for many comes to nothing: each is asked for by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ticket_host_tests::{Answer, Installation, Seen, Service, Stub, agent, c_plugin, desk};

use crate::serve::{numbered, wait_for_state};

const INCIDENTS: usize = 10;
/// So many of them have their tickets already.
const TICKETS: usize = 3;

/// A desk that has the first tickets, and a service with the plugin whose search comes to `what`.
fn with_search(
    what: &str,
    instead: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static,
) -> (Stub, Installation, Service) {
    let desk = desk(move |seen| {
        let answer = || is_search(seen).then(|| Answer::status(200));
        instead(seen).or_else(answer)
    });
    for number in 0..TICKETS {
        let key = serde_json::json!({"key": key(number)});
        agent().post(&desk.url).send_json(key).unwrap();
    }
    let host = Installation::new();
    host.add(&c_plugin("many"));
    host.config(&format!(
        "[queue]\npath = \"queue.db\"\nsettle_seconds = 0\nlongest_wait_seconds = 1\n\
         [backends.b]\nplugin = \"webhook\"\nendpoint = \"{}/{what}\"\nsecret = {{ token = \"t\" }}\n",
        desk.url.trim_end_matches('/')
    ));
    let service = host.serve();
    (0..INCIDENTS).for_each(|number| drop(service.file(&numbered(number), 0).is(202)));
    (desk, host, service)
}

fn key(number: usize) -> String {
    format!("nav#{number}")
}

fn is_search(seen: &Seen) -> bool {
    seen.method == "GET" && !seen.target.contains("key=")
}

fn all_have_their_tickets(service: &Service) {
    for id in 1..=INCIDENTS as i64 {
        wait_for_state(service, id, "created");
    }
}

/// Each has one ticket, and was asked for by itself before it was made. Returns how often it was tried to look for many.
fn each_was_asked_for(desk: &Stub) -> usize {
    let mut posted = desk.posted();
    posted.sort();
    let expected: Vec<String> = (0..INCIDENTS).map(key).collect();
    assert_eq!(posted, expected, "each has one ticket");
    let seen = desk.seen();
    for number in 0..INCIDENTS {
        let asks = format!("key=nav%23{number}");
        assert!(seen.iter().any(|seen| seen.target.ends_with(&asks)), "{number} is asked for");
    }
    seen.iter().filter(|seen| is_search(seen)).count()
}

#[test]
fn a_backend_that_can_look_for_many_no_longer_is_asked_for_each_from_then_on() {
    let (desk, _host, service) = with_search("unsupported", |_| None);
    all_have_their_tickets(&service);
    assert_eq!(each_was_asked_for(&desk), 1, "that it can't was said once");
}

#[test]
fn a_search_that_is_refused_refuses_no_ticket() {
    let (desk, host, service) = with_search("refused", |_| None);
    all_have_their_tickets(&service);
    assert!(each_was_asked_for(&desk) > 0);
    host.logged("b: many tickets can't be looked for together: ", 1);
    host.logged("one of the keys is odd", 1);
}

#[test]
fn what_a_search_leaves_open_is_asked_for_by_itself() {
    let (desk, host, service) = with_search("open", |_| None);
    all_have_their_tickets(&service);
    assert!(each_was_asked_for(&desk) > 0);
    assert!(!host.log().contains("can't be looked for together"), "{}", host.log());
}

#[test]
fn a_search_that_meets_an_outage_leaves_all_waiting_and_makes_nothing() {
    let is_up = Arc::new(AtomicBool::new(false));
    let (desk, host, service) = with_search("down", {
        let is_up = Arc::clone(&is_up);
        move |seen| {
            let is_out = is_search(seen) && !is_up.load(Ordering::Relaxed);
            is_out.then(|| Answer::status(503))
        }
    });
    host.logged("b: the ticket system is down", 1);
    assert_eq!(desk.posted().len(), TICKETS, "nothing was made");
    assert!(
        desk.seen().iter().all(|seen| !seen.target.contains("key=")),
        "nor asked for by itself"
    );
    is_up.store(true, Ordering::Relaxed);
    all_have_their_tickets(&service);
    each_was_asked_for(&desk);
}
