//! Ticketing itself fails, and people are told of that: by an incident in Argus, a webhook, a ping that stays away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};
use ticket_host_tests::{Answer, Installation, Seen, Stub, desk, wait_for};

use crate::argus::{Argus, host_with, key};

/// A ticket system that is down or not, an Argus, and who is told.
struct Failing {
    argus: Argus,
    desk: Stub,
    is_down: Arc<AtomicBool>,
    told: Stub,
    _server: Stub,
    host: Installation,
}

/// What of [alarm] is the URL's that is told.
const SECRET: &str = "hunter2";

impl Failing {
    fn with(
        incidents: i64,
        alarm: &str,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Failing {
        let (argus, is_down) = (Argus::with(incidents), Arc::new(AtomicBool::new(true)));
        let down = Arc::clone(&is_down);
        let desk = desk(move |_| down.load(Relaxed).then(|| Answer::status(503)));
        let (server, told) = (argus.serve(), Stub::new(answer));
        let alarm = alarm.replace("URL", &format!("{}/{SECRET}", told.url));
        let host = host_with(
            &desk,
            &server,
            &format!("interval_seconds = 1\n[alarm]\nafter = \"2s\"\n{alarm}"),
        );
        Failing { argus, desk, is_down, told, _server: server, host }
    }

    fn posts(&self) -> Vec<Value> {
        let posts = self.told.seen().into_iter().filter(|seen| seen.method == "POST");
        posts.map(|seen| serde_json::from_str(&seen.body).unwrap()).collect()
    }

    fn pings(&self) -> usize {
        self.told.seen().iter().filter(|seen| seen.method == "GET").count()
    }

    fn has_no_secret_in_its_log(&self) {
        let log = self.host.log();
        assert!(!log.contains(SECRET) && !log.contains("alarm-token"), "{log}");
    }
}

fn well(_: &Seen) -> Answer {
    Answer::status(200)
}

#[test]
fn one_incident_is_raised_when_no_tickets_are_made_and_ended_when_they_are() {
    let failing = Failing::with(1, "argus_token = \"alarm-token\"\n", well);
    let service = failing.host.serve();
    wait_for("the alarm", || failing.argus.alarms().len() == 1);
    let alarm = failing.argus.alarms()[0].clone();
    assert_eq!((&alarm["level"], &alarm["end_time"]), (&json!(1), &json!("infinity")), "{alarm}");
    let said = alarm["description"].as_str().unwrap();
    assert!(
        said.starts_with("Ticketing fails: b: 1 ticket not made, the oldest accepted at 20"),
        "{said}"
    );
    assert!(
        said.ends_with("`ticket-host queue list` and `ticket-host check` on the host say more"),
        "{said}"
    );
    let metrics = service.get("/metrics").is(200).text;
    assert!(metrics.contains("ticket_host_alarm 1\n"), "{metrics}");
    // A host that is started anew raises no other one.
    let looked = failing.argus.looked_for_alarms();
    service.stop();
    let service = failing.host.serve();
    wait_for("it to look for one", || failing.argus.looked_for_alarms() > looked);
    failing.is_down.store(false, Relaxed);
    wait_for("the ticket", || failing.argus.have_urls([1]));
    wait_for("the end of the alarm", || !failing.argus.is_open(failing.argus.alarm_pk()));
    assert_eq!(failing.argus.alarms().len(), 1);
    failing.host.logged("ticketing works again", 1);
    // The alarm itself got no ticket.
    assert_eq!(failing.desk.posted().iter().filter(|posted| **posted != key(1)).count(), 0);
    assert_eq!(failing.argus.url(failing.argus.alarm_pk()), "");
    drop(service);
    failing.has_no_secret_in_its_log();
}

#[test]
fn a_webhook_is_told_when_it_begins_and_when_it_is_over_also_over_a_restart() {
    let failing = Failing::with(1, "webhook = \"URL\"\nping = \"URL\"\n", well);
    let service = failing.host.serve();
    wait_for("a ping", || failing.pings() == 1);
    wait_for("the webhook", || failing.posts().len() == 1);
    let post = failing.posts().remove(0);
    assert_eq!(post["status"], "failing", "{post}");
    let problem = post["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("b: 1 ticket not made"), "{post}");
    assert!(post["message"].as_str().unwrap().contains(problem), "{post}");
    service.stop();
    let _service = failing.host.serve();
    failing.host.logged("ticketing fails: ", 2);
    failing.is_down.store(false, Relaxed);
    wait_for("the webhook again", || failing.posts().len() == 2);
    assert_eq!(
        failing.posts()[1],
        json!({"status": "working", "message": "ticketing works again", "problems": []})
    );
    failing.has_no_secret_in_its_log();
}

#[test]
fn an_argus_that_is_away_is_told_to_the_webhook() {
    let failing = Failing::with(0, "webhook = \"URL\"\n", well);
    failing.argus.is_broken(Some(503));
    let _service = failing.host.serve();
    wait_for("the webhook", || failing.posts().len() == 1);
    let problem = failing.posts()[0]["problems"][0].as_str().unwrap().to_owned();
    assert!(
        problem.starts_with("Argus can't be watched: ") && problem.contains("503"),
        "{problem}"
    );
    failing.argus.is_broken(None);
    wait_for("its end", || failing.posts().len() == 2);
}

#[test]
fn who_can_not_be_told_is_said_once_and_tried_again_and_holds_up_no_ticket() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let answer = move |_: &Seen| Answer::status(if away.load(Relaxed) { 500 } else { 204 });
    let alarm = "webhook = \"URL\"\nargus_token = \"no-source\"\n";
    let failing = Failing::with(1, alarm, answer);
    let _service = failing.host.serve();
    wait_for("three tries", || failing.posts().len() >= 3);
    failing.host.logged("the alarm can't be told: alarm.webhook: answered 500", 1);
    failing.host.logged("alarm.argus_token must be the token of a source system in Argus", 1);
    is_away.store(false, Relaxed);
    let before = failing.posts().len();
    wait_for("a try that is taken", || failing.posts().len() > before);
    failing.is_down.store(false, Relaxed);
    wait_for("the ticket", || failing.argus.have_urls([1]));
    wait_for("its end", || failing.posts().iter().any(|post| post["status"] == "working"));
    failing.has_no_secret_in_its_log();
}
