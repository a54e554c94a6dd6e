//! What becomes of an incident whose ticket a person closed, deleted or opened again.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, Fate, Installation, Reply, Seen, Service, Stub, Tickets, ticket_of, wait_for,
};

use crate::argus::{Argus, change, host_with, job_of, key};

/// The webhook's shared secret.
const SECRET: &str = "a-secret-of-the-desk";

/// An Argus whose incidents have their tickets, in a backend with these settings.
struct Watched {
    argus: Argus,
    tickets: Tickets,
    desk: Stub,
    _server: Stub,
    host: Installation,
    service: Service,
}

impl Watched {
    fn with(incidents: i64, backend: &str) -> Watched {
        Watched::where_becomes(incidents, backend, |_| Fate::Done)
    }

    fn where_becomes(
        incidents: i64,
        backend: &str,
        fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static,
    ) -> Watched {
        let (mut argus, tickets) = (Argus::with(incidents), Tickets::default());
        argus.page = 1000;
        let (desk, server) = (tickets.serve(fate), argus.serve());
        let host = host_with(&desk, &server, "interval_seconds = 1\n");
        change(&host, "[backends.b]\n", &format!("[backends.b]\n{backend}"));
        let secret = format!("secret = {{ token = \"t\", webhook_secret = \"{SECRET}\" }}");
        change(&host, "secret = { token = \"t\" }", &secret);
        let service = host.serve();
        wait_for("the tickets", || argus.have_urls(1..=incidents));
        Watched { argus, tickets, desk, _server: server, host, service }
    }

    /// Which incidents were acknowledged.
    fn acked(&self) -> Vec<i64> {
        let mut acked: Vec<i64> =
            self.argus.acks.lock().unwrap().iter().map(|(pk, _)| *pk).collect();
        acked.sort_unstable();
        acked
    }

    /// How often the state of the first ticket was asked for.
    fn asked(&self) -> usize {
        let asks = |seen: &&Seen| {
            let url = url::Url::parse("http://desk.example.org").unwrap();
            let url = url.join(&seen.target).unwrap();
            let asked: Vec<_> = url.query_pairs().into_owned().collect();
            asked == [("ticket".to_owned(), ticket_of(&key(1)))]
        };
        self.desk.seen().iter().filter(asks).count()
    }

    /// Waits until it was asked so often more.
    fn polls(&self, more: usize) {
        let before = self.asked();
        wait_for(&format!("{more} more polls"), || self.asked() >= before + more);
    }

    fn status(&self, pk: i64) -> Value {
        job_of(&self.service, pk)["status"].clone()
    }

    fn hook(&self, secret: &str, body: &Value) -> Reply {
        let headers = [("X-Webhook-Secret", secret), ("Content-Type", "application/json")];
        self.service.post_as_is("/v1/hooks/b", &headers, &body.to_string())
    }
}

const ACK: &str = "on_ticket_closed = \"ack\"\npoll = \"1s\"\n";
const END: &str = "on_ticket_closed = \"end\"\npoll = \"1s\"\n";

#[test]
fn a_ticket_that_a_person_closes_acknowledges_its_incident_once_when_it_was_told_twice() {
    let watched = Watched::with(2, ACK);
    watched.polls(1);
    watched.tickets.set(&key(1), "closed");
    let before = watched.asked();
    wait_for("the acknowledgement", || watched.acked() == [1]);
    assert!(watched.asked() >= before + 2, "one answer is no proof");
    let (_, why) = watched.argus.acks.lock().unwrap()[0].clone();
    assert_eq!(why, format!("the ticket {} was closed by ada (by hand)", ticket_of(&key(1))));
    assert_eq!((watched.status(1), watched.status(2)), (json!("closed"), Value::Null));
    watched.polls(3);
    assert_eq!(watched.acked(), [1]);
    assert!(watched.argus.is_open(1) && watched.argus.is_open(2));
    // Nothing was written to it.
    assert_eq!(watched.tickets.of(&key(1)).actions(), [""; 0]);
}

#[test]
fn a_ticket_that_a_person_closes_ends_its_incident_where_that_is_wanted_and_is_told_nothing() {
    let watched = Watched::with(2, &format!("{END}on_end = \"close\"\nclose_after = \"0s\"\n"));
    watched.tickets.set(&key(1), "cancelled");
    wait_for("Argus to close it", || !watched.argus.is_open(1));
    let ended = || job_of(&watched.service, 1)["incidents"][0]["status"] == "ended";
    wait_for("the host to know that", ended);
    assert!(watched.argus.is_open(2));
    watched.argus.set_open(2, false);
    wait_for("the other one to be closed", || watched.tickets.of(&key(2)).actions() == ["close"]);
    assert_eq!(watched.tickets.of(&key(1)).actions(), [""; 0]);
}

#[test]
fn by_default_a_closed_ticket_changes_no_incident_and_is_known() {
    let watched = Watched::with(1, "poll = \"1s\"\n");
    watched.tickets.set(&key(1), "closed");
    wait_for("it to be known", || watched.status(1) == "closed");
    watched.polls(2);
    assert!(watched.acked().is_empty() && watched.argus.is_open(1));
    watched.tickets.set(&key(1), "open");
    wait_for("that to be known", || watched.status(1) == "open");
}

#[test]
fn what_the_host_itself_closed_is_no_news() {
    let watched = Watched::with(1, ACK);
    watched.host.run(&["ticket", "close", "1"]).ended(0);
    wait_for("it to be closed", || watched.tickets.of(&key(1)).state == "closed");
    watched.polls(3);
    assert_eq!(watched.acked(), [0; 0]);
    assert_eq!(watched.status(1), "closed");
}

#[test]
fn a_state_counts_only_where_it_is_listed_and_a_lost_permission_is_none() {
    let watched = Watched::with(4, &format!("{ACK}closed_states = [\"gone\"]\n"));
    watched.tickets.set(&key(2), "closed");
    watched.tickets.set(&key(3), "unseen");
    watched.tickets.set(&key(4), "gone");
    wait_for("the one that was deleted", || watched.acked() == [4]);
    wait_for("the one that was closed", || watched.status(2) == "closed");
    watched.polls(3);
    assert_eq!(watched.acked(), [4]);
    assert_eq!(watched.status(3), Value::Null);
}

#[test]
fn so_many_tickets_that_are_closed_at_once_are_for_a_person_to_believe() {
    let watched = Watched::with(30, ACK);
    for pk in 2..=22 {
        watched.tickets.set(&key(pk), "closed");
    }
    watched.host.logged("more than 20 tickets seem to be closed or gone at once", 1);
    watched.polls(3);
    assert!(watched.acked().is_empty());
    let metrics = || watched.service.get("/metrics").is(200).text;
    assert!(metrics().contains("ticket_host_ticket_states_held{backend=\"b\"} 1"), "{}", metrics());
    watched.host.run(&["ticket", "believe", "b"]).ended(0);
    wait_for("all of them", || watched.acked() == (2..=22).collect::<Vec<_>>());
    watched.polls(2);
    assert!(metrics().contains("ticket_host_ticket_states_held{backend=\"b\"} 0"), "{}", metrics());
    let unknown = watched.host.run(&["ticket", "believe", "x"]);
    unknown.ended(2);
}

#[test]
fn so_many_tickets_that_are_open_again_before_a_person_looked_are_no_matter() {
    let watched = Watched::with(30, ACK);
    (2..=22).for_each(|pk| watched.tickets.set(&key(pk), "gone"));
    watched.host.logged("more than 20 tickets seem to be closed or gone at once", 1);
    (2..=22).for_each(|pk| watched.tickets.set(&key(pk), "open"));
    watched.polls(3);
    watched.tickets.set(&key(30), "closed");
    wait_for("the one that is closed", || watched.acked() == [30]);
}

#[test]
fn a_signed_webhook_is_heeded_at_once_and_says_nothing_that_is_believed() {
    let watched = Watched::with(2, "on_ticket_closed = \"end\"\npoll = \"0s\"\n");
    let about = |pk| json!({"ticket": {"url": ticket_of(&key(pk))}});
    // Nothing changed: it is asked for, and open.
    watched.hook(SECRET, &about(1)).is(202);
    wait_for("it to be asked for", || watched.asked() == 1);
    watched.tickets.set(&key(1), "closed");
    watched.hook(SECRET, &about(1)).is(202);
    wait_for("Argus to close it", || !watched.argus.is_open(1));
    assert!(watched.argus.is_open(2));
    assert_eq!(watched.asked(), 2, "nobody asks by himself where polls are off");
}

#[test]
fn a_forged_webhook_changes_nothing_and_what_is_no_webhook_is_refused() {
    let watched = Watched::with(1, "on_ticket_closed = \"end\"\npoll = \"0s\"\n");
    watched.tickets.set(&key(1), "closed");
    let about = json!({"ticket": {"url": ticket_of(&key(1))}});
    for secret in ["", "a-secret-of-somebody", "a-secret-of-the-des"] {
        let refused = watched.hook(secret, &about).is(401).json();
        assert_eq!(refused["type"], "urn:ticket-host:problem:unauthorized", "{refused}");
    }
    watched.host.logged("1 webhook not signed by the ticket system", 1);
    let broken = watched.hook(SECRET, &json!("x"));
    assert_eq!(broken.status, 500, "{broken:?}");
    let large = json!({"ticket": "x".repeat(300_000)});
    let refused = watched.hook(SECRET, &large).is(413).json();
    assert_eq!(refused["type"], "urn:ticket-host:problem:too-large");
    let nobody = watched.service.post("/v1/hooks/x", &about).is(404).json();
    assert_eq!(nobody["detail"], "no such backend reads webhooks");
    // Of another ticket, which nobody made.
    watched.hook(SECRET, &json!({"ticket": {"url": "https://tickets.example.org/other"}})).is(202);
    let limited = (0..30).map(|_| watched.hook("", &about)).filter(|reply| reply.status == 429);
    assert!(limited.count() > 0, "ten in a second are enough");
    assert_eq!(watched.asked(), 0);
    assert!(watched.argus.is_open(1));
    let metrics = watched.service.get("/metrics").is(200).text;
    assert!(
        metrics.contains("ticket_host_webhooks_total{backend=\"b\",outcome=\"taken\"} 1"),
        "{metrics}"
    );
}

#[test]
fn a_ticket_that_a_step_finds_closed_is_news_all_the_same() {
    let watched = Watched::with(1, &format!("{ACK}quiet = \"0s\"\n").replace("1s", "3s"));
    watched.tickets.set(&key(1), "closed");
    watched.argus.set_level(1, 1);
    let needless = || job_of(&watched.service, 1)["steps"][0]["state"] == "needless";
    wait_for("the step that meets it", needless);
    assert_eq!(watched.status(1), "closed");
    wait_for("the acknowledgement", || watched.acked() == [1]);
    watched.polls(2);
    assert_eq!(watched.acked(), [1]);
}

#[test]
fn what_argus_was_not_told_of_a_ticket_is_not_told_when_its_incident_has_begun_again() {
    let watched = Watched::with(1, &format!("{END}on_end = \"close\"\nclose_after = \"0s\"\n"));
    watched.argus.refuse(Some(1));
    watched.tickets.set(&key(1), "closed");
    watched.host.logged("must be a person's, not a source's", 1);
    watched.argus.set_open(1, false);
    let status = || job_of(&watched.service, 1)["incidents"][0]["status"].clone();
    wait_for("its end", || status() == "ended");
    watched.argus.set_open(1, true);
    wait_for("its ticket to be open again", || watched.tickets.of(&key(1)).actions() == ["reopen"]);
    watched.argus.refuse(None);
    watched.polls(3);
    assert!(watched.argus.is_open(1));
}

#[test]
fn tickets_that_an_answer_left_out_are_asked_for_next() {
    // The desk answers for twenty, and then asks for a pause.
    let asked = AtomicUsize::new(0);
    let limited = move |seen: &Seen| {
        let is_state = seen.target.contains("?ticket=") && !seen.target.contains("&step=");
        match is_state && asked.fetch_add(1, Relaxed) % 21 == 20 {
            true => Fate::Instead(Answer::status(429).header("Retry-After", "1")),
            false => Fate::Done,
        }
    };
    let watched = Watched::where_becomes(48, ACK, limited);
    watched.tickets.set(&key(48), "closed");
    wait_for("the last one", || watched.acked() == [48]);
}

#[test]
fn what_argus_refuses_is_said_with_what_to_do_and_told_when_it_takes_it() {
    let watched = Watched::with(2, END);
    watched.argus.refuse(Some(1));
    watched.tickets.set(&key(1), "closed");
    watched.tickets.set(&key(2), "closed");
    wait_for("the other one", || !watched.argus.is_open(2));
    watched.host.logged("must be a person's, not a source's", 1);
    watched.argus.refuse(None);
    wait_for("it, too", || !watched.argus.is_open(1));
}

#[test]
fn a_ticket_system_that_does_not_tell_states_holds_up_no_ticket_and_is_said_once() {
    let down = |seen: &Seen| match seen.target.contains("?ticket=") {
        true => Fate::Instead(Answer::status(503)),
        false => Fate::Done,
    };
    let watched = Watched::where_becomes(2, ACK, down);
    watched.host.logged("the states of tickets can't be asked for now", 1);
    watched.argus.add(3);
    wait_for("another ticket", || watched.argus.have_urls([3]));
    // It is asked again, and nothing more is said.
    watched.polls(2);
    assert_eq!(
        watched.host.log().matches("the states of tickets can't be asked for now").count(),
        1
    );
    assert!(watched.acked().is_empty());
}
