//! What becomes of a ticket after it was made: its incident changes, ends and begins again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host_tests::{Answer, Fate, Seen, Service, Stub, Tickets, wait_for};

use crate::chaos::TOLD_AT_ONCE;
use crate::serve::{Door, host_at};

/// A ticket system where nothing goes wrong.
fn tickets() -> (Tickets, Stub) {
    let tickets = Tickets::default();
    let stub = tickets.serve(|_| Fate::Done);
    (tickets, stub)
}

/// An incident as its monitoring system reports it.
fn report(level: i64, status: &str) -> Value {
    let incident = json!({"description": "gw1 is down", "level": level});
    json!({"incident": incident, "status": status, "key": "k", "wait_ms": 30_000})
}

fn tell(service: &Service, level: i64, status: &str) -> Value {
    let reply = service.post("/v1/incidents", &report(level, status));
    assert!((200..300).contains(&reply.status), "{reply:?}");
    reply.json()
}

/// The job of an incident that is reported for the first time, whose ticket is made.
fn opened(service: &Service) -> i64 {
    tell(service, 3, "open")["tickets"][0]["id"].as_i64().unwrap()
}

fn show(service: &Service, id: i64) -> Value {
    service.get(&format!("/v1/tickets/{id}")).is(200).json()
}

/// Waits until all that was to be done to a ticket was done, and that is so much.
fn steps(service: &Service, id: i64, count: usize) -> Value {
    let all = |shown: &Value| shown["steps"].as_array().unwrap().clone();
    wait_for(&format!("{count} steps"), || {
        let steps = all(&show(service, id));
        let is_over = |step: &Value| {
            !["queued", "working", "unknown"].contains(&step["state"].as_str().unwrap())
        };
        steps.len() == count && steps.iter().all(is_over)
    });
    show(service, id)
}

fn states(shown: &Value) -> Vec<(&str, &str)> {
    let steps = shown["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["action"].as_str().unwrap(), step["state"].as_str().unwrap())).collect()
}

#[test]
fn a_ticket_follows_its_incident_from_one_report_to_the_next() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let made = service.post("/v1/incidents", &report(3, "open")).is(201).json();
    let id = made["tickets"][0]["id"].as_i64().unwrap();
    assert_eq!(
        (&made["status"], &made["tickets"][0]["state"]),
        (&json!("open"), &json!("created"))
    );
    // Whatever is repeated changes nothing.
    for _ in 0..3 {
        service.post("/v1/incidents", &report(3, "open")).is(200);
    }
    tell(&service, 1, "open");
    steps(&service, id, 1);
    let ended = tell(&service, 1, "ended");
    assert_eq!((&ended["status"], &ended["tickets"][0]["id"]), (&json!("ended"), &json!(id)));
    let closed = steps(&service, id, 2);
    assert_eq!(
        (&closed["status"], &closed["incidents"][0]["status"]),
        (&json!("closed"), &json!("ended"))
    );
    tell(&service, 1, "ended");
    tell(&service, 1, "open");
    let shown = steps(&service, id, 3);
    let done = [("comment", "done"), ("close", "done"), ("reopen", "done")];
    assert_eq!(states(&shown), done);
    assert_eq!(shown["steps"][0]["diff"], json!({"level": {"from": 3, "to": 1}}));
    assert_eq!(shown["status"], "open");
    let ticket = tickets.of("k");
    assert_eq!(ticket.actions(), ["comment", "close", "reopen"]);
    let said: Vec<&str> = ticket.steps.iter().map(|(.., said)| said.as_str()).collect();
    assert_eq!(said[0], "The incident has changed (level 1, it was 3): gw1 is down");
    assert!(said[1].starts_with("The incident has ended at 20"), "{said:?}");
    assert_eq!(said[2], "The incident has begun again (level 1): gw1 is down");
    assert_eq!((ticket.state.as_str(), ticket.made), ("open", 1));
}

#[test]
fn by_default_an_end_is_a_comment_and_what_comes_soon_after_waits() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, "");
    let service = host.serve();
    let id = opened(&service);
    tell(&service, 2, "open");
    steps(&service, id, 1);
    tell(&service, 1, "open");
    tell(&service, 1, "ended");
    let shown = steps(&service, id, 2);
    assert_eq!(states(&shown), [("comment", "done"), ("comment", "done")]);
    let ticket = tickets.of("k");
    assert!(ticket.steps[1].2.starts_with("The incident has ended at 20"), "{ticket:?}");
    assert!(ticket.steps[1].2.contains("(level 1, it was 2)"), "what was not told is told with it");
    assert_eq!(ticket.state, "open");
}

#[test]
fn what_changes_while_a_ticket_is_left_in_quiet_is_one_comment() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, "quiet = \"2s\"\n");
    let service = host.serve();
    let id = opened(&service);
    tell(&service, 2, "open");
    steps(&service, id, 1);
    let told = Instant::now();
    for level in [1, 4, 5] {
        tell(&service, level, "open");
    }
    let shown = steps(&service, id, 2);
    assert!(told.elapsed() > Duration::from_secs(1), "{:?}", told.elapsed());
    assert_eq!(shown["steps"][1]["diff"], json!({"level": {"from": 2, "to": 5}}));
    assert_eq!(tickets.of("k").actions(), ["comment", "comment"]);
}

#[test]
fn what_the_ticket_system_demands_of_a_closing_goes_with_it_and_with_nothing_else() {
    let (_, stub) = tickets();
    let fields = "close_fields = { Resolution = \"Fixed\", Effort = 3 }\n";
    let host = host_at(&stub, &format!("{TOLD_AT_ONCE}{fields}"));
    let service = host.serve();
    let id = opened(&service);
    tell(&service, 2, "open");
    steps(&service, id, 1);
    tell(&service, 2, "ended");
    steps(&service, id, 2);
    let sent: Vec<Value> = stub
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| serde_json::from_str::<Value>(&seen.body).unwrap()["step"]["fields"].clone())
        .collect();
    assert_eq!(sent, [Value::Null, json!({"Resolution": "Fixed", "Effort": 3})]);
}

#[test]
fn steps_that_hang_keep_no_ticket_from_being_made() {
    let tickets = Tickets::default();
    let door = Arc::new(Door::default());
    let shut = Arc::clone(&door);
    let stub = tickets.serve(move |seen| {
        if seen.method == "PATCH" {
            shut.pass();
        }
        Fate::Done
    });
    let host = host_at(&stub, &format!("{TOLD_AT_ONCE}concurrency = 2\n"));
    let service = host.serve();
    let open = |key: &str, level: i64| {
        let incident = json!({"description": "gw1 is down", "level": level});
        json!({"incident": incident, "key": key, "status": "open", "wait_ms": 30_000})
    };
    let keys = ["a", "b", "c", "d"];
    for key in keys {
        service.post("/v1/incidents", &open(key, 3)).is(201);
    }
    for key in keys {
        service.post("/v1/incidents", &open(key, 1)).is(200);
    }
    host_has(&service, "working");
    for number in 0..5 {
        service.post("/v1/incidents", &open(&format!("new {number}").replace(' ', "-"), 3)).is(201);
    }
    host_has(&service, "working");
    door.open();
    wait_for("all comments", || keys.iter().all(|key| tickets.of(key).actions() == ["comment"]));
}

/// Waits until one step is in that state.
fn host_has(service: &Service, state: &str) {
    let line = format!("queue_steps{{backend=\"b\",state=\"{state}\"}} 1");
    wait_for(&line, || service.get("/metrics").text.contains(&line));
}

#[test]
fn a_time_that_is_none_is_refused_with_what_to_write() {
    let (_, stub) = tickets();
    let host =
        host_at(&stub, "quiet = \"soon\"\nclose_after = \"8d\"\nnever_reopen = [\"open\"]\n");
    let run = host.run(&["check", "--offline"]).ended(3);
    for part in [
        "quiet: is no time",
        "close_after: is too long",
        "write a number and s, m, h or d, such as \"15m\", up to \"7d\"",
        "each of `never_reopen` must be \"closed\" or \"cancelled\"",
    ] {
        assert!(run.stderr.contains(part), "{part}: {run:?}");
    }
}

#[test]
fn the_operators_own_words_and_an_empty_comment_is_none() {
    let (tickets, stub) = tickets();
    let own = "[backends.b.template]\ncomment = \"{% if diff.level %}now {{ diff.level.to }}{% endif %}\"\n\
               closing = \"over: {{ incident.description }}\"\n";
    let host = host_at(&stub, &format!("{TOLD_AT_ONCE}{own}"));
    let service = host.serve();
    let id = opened(&service);
    tell(&service, 2, "open");
    steps(&service, id, 1);
    tell(&service, 2, "ended");
    steps(&service, id, 2);
    let ticket = tickets.of("k");
    let said: Vec<&str> = ticket.steps.iter().map(|(.., said)| said.as_str()).collect();
    assert_eq!(said, ["now 2", "over: gw1 is down"]);
    tell(&service, 2, "open");
    assert_eq!(steps(&service, id, 3)["status"], "open");
    assert_eq!(tickets.of("k").steps.len(), 2, "the template gives nothing for a beginning");
}

#[test]
fn a_ticket_that_a_person_closed_is_not_written_to_and_opened_if_its_incident_begins_again() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let id = opened(&service);
    tickets.set("k", "closed");
    tell(&service, 1, "open");
    let shown = steps(&service, id, 1);
    assert_eq!(
        (states(&shown), &shown["status"]),
        (vec![("comment", "needless")], &json!("closed"))
    );
    tell(&service, 1, "ended");
    tell(&service, 1, "open");
    assert_eq!(states(&steps(&service, id, 2)), [("comment", "needless"), ("reopen", "done")]);
    assert_eq!(tickets.of("k").actions(), ["reopen"]);
}

#[test]
fn a_ticket_that_is_gone_is_left_alone_and_a_new_one_links_it_when_the_incident_begins_again() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let id = opened(&service);
    tickets.set("k", "gone");
    tell(&service, 1, "open");
    assert_eq!(steps(&service, id, 1)["status"], "gone");
    host.logged("the ticket was deleted, and is told nothing any more", 1);
    tell(&service, 1, "ended");
    tell(&service, 1, "open");
    let key = "k#again-2";
    wait_for("a new ticket", || tickets.of(key).made == 1);
    let former = ticket_host_tests::ticket_of("k");
    assert_eq!(tickets.of(key).incident["former_ticket_url"], former);
    assert_eq!(tickets.of("k").steps, []);
    let newest = tell(&service, 1, "open")["tickets"][0]["id"].as_i64().unwrap();
    assert_eq!(show(&service, newest)["former"], id);
    tell(&service, 1, "ended");
    assert_eq!(steps(&service, newest, 1)["status"], "closed");
}

#[test]
fn a_step_whose_answer_is_lost_is_done_once() {
    let tickets = Tickets::default();
    let lost = Arc::new(AtomicUsize::new(0));
    let losing = Arc::clone(&lost);
    let stub = tickets.serve(move |seen| match seen.method.as_str() {
        "PATCH" if losing.fetch_add(1, Relaxed).is_multiple_of(2) => {
            Fate::Afterwards(Answer::HangUp)
        }
        _ => Fate::Done,
    });
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let id = opened(&service);
    tell(&service, 1, "open");
    let shown = steps(&service, id, 1);
    let outcomes: Vec<&Value> =
        shown["steps"][0]["history"].as_array().unwrap().iter().map(|t| &t["outcome"]).collect();
    assert_eq!(outcomes, ["unknown", "done"]);
    tell(&service, 1, "ended");
    assert_eq!(steps(&service, id, 2)["status"], "closed");
    let ticket = tickets.of("k");
    assert_eq!(ticket.actions(), ["comment", "close"]);
    assert!(!ticket.has_one_twice());
}

/// What is refused of a step is its own affair.
#[test]
fn a_backend_whose_tickets_may_not_be_commented_on_makes_tickets_all_the_same() {
    let tickets = Tickets::default();
    let is_refused = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&is_refused);
    let stub = tickets.serve(move |seen: &Seen| match seen.method.as_str() {
        "PATCH" if refusing.load(Relaxed) => Fate::Instead(Answer::status(403)),
        _ => Fate::Done,
    });
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let id = opened(&service);
    tell(&service, 1, "open");
    host.logged("comment: retried", 1);
    let other = json!({"description": "gw2 is down"});
    let other = json!({"incident": other, "status": "open", "key": "other", "wait_ms": 30_000});
    service.post("/v1/incidents", &other).is(201);
    let waiting = show(&service, id)["steps"][0].clone();
    assert_eq!(waiting["error"]["kind"], "settings", "{waiting}");
    assert_eq!(service.get("/readyz").is(200).json()["unready"], 0);
    is_refused.store(false, Relaxed);
    assert_eq!(states(&steps(&service, id, 1)), [("comment", "done")]);
}

#[test]
fn who_asks_for_a_ticket_tells_it_nothing() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let incident = |level: i64| json!({"description": "x", "level": level});
    let ask = |level| json!({"incident": incident(level), "key": "k", "wait_ms": 30_000});
    let id = service.post("/v1/tickets", &ask(3)).is(201).json()["id"].as_i64().unwrap();
    service.post("/v1/tickets", &ask(1)).is(200);
    // What a monitoring system reports is told, and with what the ticket was made before.
    let report = json!({"incident": incident(2), "key": "k", "status": "open"});
    service.post("/v1/incidents", &report).is(200);
    let shown = steps(&service, id, 1);
    assert_eq!(shown["steps"][0]["diff"], json!({"level": {"from": 3, "to": 2}}));
    assert_eq!(tickets.of("k").steps.len(), 1);
}

#[test]
fn an_incident_that_ended_before_anybody_asked_gets_no_ticket() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let reply = service.post("/v1/incidents", &report(3, "ended")).is(200).json();
    assert_eq!(reply, json!({"status": "ended", "tickets": []}));
    assert!(tickets.all().is_empty());
}

#[test]
fn a_report_that_is_not_as_it_should_be_is_refused_and_the_service_goes_on() {
    let (_, stub) = tickets();
    let host = host_at(&stub, "");
    let service = host.serve();
    let incident = json!({"description": "x", "pk": 1, "source": {"name": "nav"}});
    for (body, why) in [
        (json!({"incident": incident}), "missing field `status`"),
        (json!({"status": "open"}), "missing field `incident`"),
        (json!({"incident": incident, "status": "over"}), "unknown variant `over`"),
        (json!({"incident": incident, "status": "open", "x": 1}), "unknown field `x`"),
        (json!({"incident": "x", "status": "open"}), "is not a JSON object"),
        (json!({"incident": {}, "status": "ended"}), "has no description"),
        (
            json!({"incident": {"description": "x"}, "status": "ended"}),
            "nothing tells its ticket from another's",
        ),
        (json!({"incident": incident, "status": "open", "backend": "c"}), "there is no backend"),
    ] {
        let problem = service.post("/v1/incidents", &body).is(400).json();
        assert_eq!(problem["kind"], "usage", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{why}: {problem}");
    }
    let report = json!({"incident": incident, "status": "open", "wait_ms": 30_000});
    service.post("/v1/incidents", &report).is(201);
}

#[test]
fn a_person_sees_a_ticket_comments_on_it_closes_it_and_says_which_one_it_is() {
    let (tickets, stub) = tickets();
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let id = opened(&service);
    let number = id.to_string();
    let said = host.run(&["ticket", "comment", &number, "a *planned* outage"]).ended(0);
    assert_eq!(said.stdout, format!("{id}: comment 1 is in the queue\n"));
    steps(&service, id, 1);
    host.run(&["ticket", "close", &number, "--json"]).ended(0);
    steps(&service, id, 2);
    let ticket = tickets.of("k");
    assert_eq!(ticket.actions(), ["comment", "close"]);
    assert_eq!(ticket.steps[0].2, "a \\*planned\\* outage", "what a person says is text");
    assert_eq!((ticket.steps[1].2.as_str(), ticket.state.as_str()), ("Closed by hand.", "closed"));
    let shown = host.run(&["ticket", "show", &number]).ended(0);
    for part in [
        "status    closed",
        "incident  gw1 is down, level 3",
        "close 2: done",
        "by        a person",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    host.run(&["ticket", "comment", "99", "x"]).ended(2).says("there is no ticket 99");
    host.run(&["ticket", "comment", &number, " "]).ended(2).says("the text must have 1 to");
    host.run(&["ticket", "adopt", &number, "https://t.org/1"]).ended(2).says("can't be adopted");
}

#[test]
fn a_person_says_which_ticket_an_incident_has_and_that_is_told_what_comes() {
    let tickets = Tickets::default();
    let stub = tickets.serve(|seen| match seen.method.as_str() {
        "POST" => Fate::Instead(Answer::status(422)),
        _ => Fate::Done,
    });
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let failed = tell(&service, 3, "open");
    let id = failed["tickets"][0]["id"].as_i64().unwrap();
    assert_eq!(failed["tickets"][0]["state"], "failed");
    let number = id.to_string();
    host.run(&["ticket", "comment", &number, "x"]).ended(2).says("is not made yet");
    for odd in ["17", "ftp://t.org/1", "https://t.org/a b"] {
        host.run(&["ticket", "adopt", &number, odd]).ended(2).says("that is no URL of a ticket");
    }
    host.run(&["ticket", "adopt", &number, "https://tickets.example.org/elsewhere"]).ended(0);
    let adopted = show(&service, id);
    assert_eq!(adopted["state"], "created");
    assert_eq!(adopted["ticket"]["url"], "https://tickets.example.org/elsewhere");
    tell(&service, 1, "open");
    // The webhook doesn't know that one.
    assert_eq!(steps(&service, id, 1)["status"], "foreign");
}

#[test]
fn steps_that_failed_are_listed_and_decided_anew_or_left() {
    let tickets = Tickets::default();
    let stub = tickets.serve(|seen| match seen.method.as_str() {
        "PATCH" => Fate::Instead(Answer::status(422)),
        _ => Fate::Done,
    });
    let host = host_at(&stub, TOLD_AT_ONCE);
    let service = host.serve();
    let id = opened(&service);
    let number = id.to_string();
    tell(&service, 1, "open");
    assert_eq!(states(&steps(&service, id, 1)), [("comment", "failed")]);
    let listed = |step: &str| {
        let listed = host.run(&["queue", "list", "--step", step, "--json"]).ended(0).json();
        listed["tickets"].as_array().unwrap().len()
    };
    assert_eq!((listed("failed"), listed("done")), (1, 0));
    let of_api = service.get("/v1/tickets?step=failed").is(200).json();
    assert_eq!(of_api["tickets"][0]["id"], id);
    host.run(&["queue", "retry", "--step", "done"]).ended(2).says("only --step failed");
    host.run(&["queue", "cancel", "--step", "failed", "99"]).ended(2).says("there is no ticket 99");
    host.run(&["queue", "retry", "--step", "over"]).ended(2).says("a step is queued, working");
    let retried = host.run(&["queue", "retry", "--step", "failed"]).ended(0);
    assert_eq!(retried.stdout, format!("{id}: its steps\n"));
    let shown = steps(&service, id, 2);
    assert_eq!(states(&shown), [("comment", "needless"), ("comment", "failed")]);
    host.run(&["queue", "cancel", "--step", "failed"]).ended(0);
    assert_eq!(states(&show(&service, id)), [("comment", "needless"), ("comment", "cancelled")]);
    host.run(&["queue", "cancel", &number]).ended(2).says("can't be cancelled");
}

#[test]
fn nobody_waits_for_the_ticket_of_a_backend_that_is_not_ready() {
    let (_, stub) = tickets();
    let absent = "[backends.absent]\nplugin = \"none\"\nendpoint = \"https://x.example.org\"\n";
    let host = host_at(&stub, absent);
    let config = std::fs::read_to_string(host.path("config.toml")).unwrap();
    std::fs::write(host.path("config.toml"), format!("default_backend = \"b\"\n{config}")).unwrap();
    let service = host.serve();
    let mut report = report(3, "open");
    report["backend"] = "absent".into();
    report["wait_ms"] = 300_000.into();
    let kept = service.post("/v1/incidents", &report).is(202).json();
    assert_eq!(kept["tickets"][0]["state"], "queued");
}
