//! A person made the ticket, and gave its URL to the incident in Argus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, Fate, Installation, Seen, Service, Stub, Tickets, ticket_of, wait_for,
};

use crate::argus::{Argus, change, host_with, job_of, key};
use crate::chaos::TOLD_AT_ONCE;

/// A desk with a ticket that a person made, and an Argus with incidents.
struct Given {
    argus: Argus,
    tickets: Tickets,
    desk: Stub,
    _server: Stub,
    host: Installation,
    service: Service,
}

const BY_HAND: &str = "by hand";

impl Given {
    /// The incidents have these URLs from the beginning. The backend has these settings.
    fn with(urls: &[&str], backend: &str) -> Given {
        Given::where_is_down(urls, backend, Arc::default())
    }

    /// As long as it is down, the desk tells no state.
    fn where_is_down(urls: &[&str], backend: &str, is_down: Arc<AtomicBool>) -> Given {
        Given::where_becomes(urls, backend, move |seen| match is_down.load(Relaxed) {
            true if seen.target.contains("ticket=") => Fate::Instead(Answer::status(503)),
            _ => Fate::Done,
        })
    }

    fn where_becomes(
        urls: &[&str],
        backend: &str,
        fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static,
    ) -> Given {
        let (argus, tickets) = (Argus::with(urls.len() as i64), Tickets::default());
        tickets.add(BY_HAND);
        for (pk, url) in (1..).zip(urls) {
            argus.set_url(pk, url);
        }
        let desk = tickets.serve(fate);
        let server = argus.serve();
        let host = host_with(&desk, &server, "interval_seconds = 1\n");
        let settings = format!("[backends.b]\n{TOLD_AT_ONCE}poll = \"1s\"\n{backend}");
        change(&host, "[backends.b]\n", &settings);
        let service = host.serve();
        Given { argus, tickets, desk, _server: server, host, service }
    }

    fn job(&self, id: i64) -> Value {
        job_of(&self.service, id)
    }

    fn has_jobs(&self, count: usize) -> bool {
        let listed = self.service.get("/v1/tickets").is(200).json();
        listed["tickets"].as_array().unwrap().len() == count
    }

    fn adopted(&self) -> Value {
        wait_for("the ticket to be adopted", || self.has_jobs(1));
        self.job(1)
    }

    fn did(&self, expected: &[&str]) {
        wait_for(&format!("{expected:?}"), || self.tickets.of(BY_HAND).actions() == expected);
    }
}

#[test]
fn it_is_commented_on_from_then_on_and_not_closed() {
    let given = Given::with(&[&ticket_of(BY_HAND)], "");
    let job = given.adopted();
    assert_eq!((&job["state"], &job["attempts"]), (&json!("created"), &json!(0)), "{job}");
    assert_eq!(job["pasted"], true, "{job}");
    let shown = given.host.run(&["ticket", "show", "1"]).ended(0).stdout;
    assert!(shown.contains(" a person gave it to its incident "), "{shown}");
    assert_eq!(job["ticket"]["url"], ticket_of(BY_HAND), "{job}");
    given.host.logged("adopted: a person gave it the ticket", 1);
    given.argus.set_level(1, 1);
    given.did(&["comment"]);
    given.argus.set_open(1, false);
    given.did(&["comment", "comment"]);
    given.argus.set_open(1, true);
    given.did(&["comment", "comment", "comment"]);
    assert_eq!(given.tickets.of(BY_HAND).state, "open");
    assert_eq!((given.tickets.of(BY_HAND).made, given.tickets.all().len()), (0, 1));
    assert_eq!(given.argus.url(1), ticket_of(BY_HAND));
    let metrics = given.service.get("/metrics").is(200).text;
    let adopted = "ticket_host_tickets_total{backend=\"b\",outcome=\"adopted\"} 1";
    assert!(metrics.contains(adopted), "{metrics}");
}

#[test]
fn it_is_closed_and_opened_again_where_the_operator_says_so() {
    let closes = "on_ticket_pasted = \"close\"\n";
    let given = Given::with(&[&ticket_of(BY_HAND)], closes);
    given.adopted();
    given.argus.set_open(1, false);
    given.did(&["close"]);
    given.argus.set_open(1, true);
    given.did(&["close", "reopen"]);
}

#[test]
fn what_changes_before_it_is_adopted_is_told_as_well() {
    let is_down = Arc::new(AtomicBool::new(true));
    let given = Given::where_is_down(&[&ticket_of(BY_HAND)], "", Arc::clone(&is_down));
    let asks = || given.desk.seen().iter().filter(|s| s.target.contains("ticket=")).count();
    wait_for("it to be asked for", || asks() > 0);
    given.argus.set_level(1, 1);
    is_down.store(false, Relaxed);
    let job = given.adopted();
    // It may have been adopted as it was when it was first asked for, or as it is now.
    let knows = || given.job(1)["incidents"][0]["level"] == 1;
    wait_for(&format!("the level to be known: {job}"), knows);
}

#[test]
fn an_incident_whose_url_was_taken_back_gets_a_ticket_of_the_hosts_own() {
    let given = Given::with(&[&ticket_of(BY_HAND)], "");
    given.adopted();
    given.argus.set_url(1, "");
    wait_for("its own ticket", || given.argus.have_urls([1]));
    given.argus.set_level(1, 1);
    wait_for("a comment on it", || given.tickets.of(&key(1)).actions() == ["comment"]);
    given.did(&[]);
}

#[test]
fn an_incident_whose_ticket_failed_has_the_one_that_a_person_made() {
    let given = Given::where_becomes(&[""], "", |seen| match seen.method.as_str() {
        "POST" => Fate::Instead(Answer::status(422)),
        _ => Fate::Done,
    });
    wait_for("the ticket to fail", || given.has_jobs(1) && given.job(1)["state"] == "failed");
    given.argus.set_url(1, &ticket_of(BY_HAND));
    wait_for("it to be known", || given.job(1)["state"] == "created");
    assert_eq!(given.job(1)["ticket"]["url"], ticket_of(BY_HAND));
    given.argus.set_level(1, 1);
    given.did(&["comment"]);
}

#[test]
fn an_incident_hears_when_a_person_closes_it() {
    let given = Given::with(&[&ticket_of(BY_HAND)], "on_ticket_closed = \"ack\"\n");
    given.adopted();
    given.tickets.set(BY_HAND, "closed");
    wait_for("the acknowledgement", || !given.argus.acks.lock().unwrap().is_empty());
    assert_eq!(given.tickets.of(BY_HAND).actions(), [""; 0]);
}

#[test]
fn the_watcher_the_button_and_the_given_url_meet_in_one_ticket() {
    let given = Given::with(&["", ""], "");
    wait_for("the watcher's tickets", || given.argus.have_urls([1, 2]));
    given.argus.add(3);
    given.argus.set_url(3, &ticket_of(&key(1)));
    let shares = || given.job(1)["incidents"].as_array().unwrap().len() == 2;
    wait_for("the third to share the first one's", shares);
    let pressed = json!({"description": "gw1 is down", "argus_url": key(3)});
    let filed = given.service.file(&pressed, 30_000).is(200).json();
    assert_eq!(filed["ticket"]["url"], ticket_of(&key(1)), "{filed}");
    assert!(given.has_jobs(2));
    let made: usize = given.tickets.all().values().map(|ticket| ticket.made).sum();
    assert_eq!(made, 2);
    // It is the host's own: closed when both have ended, and not before.
    given.argus.set_open(1, false);
    given.argus.set_open(2, false);
    wait_for("the second to be closed", || given.tickets.of(&key(2)).actions() == ["close"]);
    assert!(!given.tickets.of(&key(1)).actions().contains(&"close"));
    given.argus.set_open(3, false);
    wait_for("the first to be closed", || given.tickets.of(&key(1)).state == "closed");
}

#[test]
fn a_url_that_is_no_ticket_of_a_backends_is_left_alone() {
    let elsewhere = ticket_of("elsewhere");
    let urls = ["https://wiki.example.org/outage", "see the wiki", &elsewhere, ""];
    let given = Given::with(&urls, "");
    wait_for("the ticket of the last", || given.argus.have_urls([4]));
    let asked = |url: &str| given.desk.seen().iter().any(|s| s.target.contains(&encoded(url)));
    wait_for("both to be asked for", || asked(&elsewhere) && asked(urls[0]));
    given.argus.add(5);
    wait_for("a later round", || given.argus.have_urls([5]));
    assert!(given.has_jobs(2));
    assert!(!asked("see the wiki"));
    for (pk, url) in (1..).zip(&urls[..3]) {
        assert_eq!(given.argus.url(pk), *url);
    }
}

#[test]
fn where_the_operator_wants_that_no_persons_ticket_is_touched_or_asked_for() {
    let given = Given::with(&[&ticket_of(BY_HAND), ""], "on_ticket_pasted = \"nothing\"\n");
    wait_for("the ticket of the other", || given.argus.have_urls([2]));
    given.argus.set_level(1, 1);
    given.argus.set_level(2, 1);
    wait_for("the other's comment", || given.tickets.of(&key(2)).actions() == ["comment"]);
    assert!(given.has_jobs(1));
    let by_hand = encoded(&ticket_of(BY_HAND));
    assert!(!given.desk.seen().iter().any(|seen| seen.target.contains(&by_hand)));
}

#[test]
fn a_ticket_system_that_is_down_is_asked_again_and_holds_up_no_ticket() {
    let is_down = Arc::new(AtomicBool::new(true));
    let given = Given::where_is_down(&[&ticket_of(BY_HAND), ""], "", Arc::clone(&is_down));
    wait_for("the ticket of the other", || given.argus.have_urls([2]));
    assert!(given.has_jobs(1));
    is_down.store(false, Relaxed);
    wait_for("the ticket to be adopted", || given.has_jobs(2));
}

/// As it stands in a request.
fn encoded(url: &str) -> String {
    url::form_urlencoded::byte_serialize(url.as_bytes()).collect::<String>().replace('+', "%20")
}
