//! The service: what it answers, what it keeps, and what becomes of what it keeps.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, Installation, Service, Stub, c_plugin, desk, key_of, library_name, post, rust_plugin,
    ticket_of, wait_for,
};

const QUEUE: &str = "[queue]\npath = \"queue.db\"\nsettle_seconds = 0\nlongest_wait_seconds = 1\n";

/// A host with a backend at a desk.
pub(crate) fn host_at(desk: &Stub, backend: &str) -> Installation {
    let rest = format!("secret = {{ token = \"t\" }}\n{backend}\n{QUEUE}");
    Installation::with(&c_plugin("webhook"), &desk.url, &rest)
}

pub(crate) fn numbered(number: usize) -> Value {
    json!({"description": "gw1 is down", "pk": number, "level": 3, "source": {"name": "nav"}})
}

fn state(service: &Service, id: i64) -> Value {
    service.get(&format!("/v1/tickets/{id}")).is(200).json()
}

pub(crate) fn wait_for_state(service: &Service, id: i64, wanted: &str) -> Value {
    wait_for(&format!("ticket {id} to be {wanted}"), || state(service, id)["state"] == wanted);
    state(service, id)
}

/// A door that is shut until it is opened.
#[derive(Default)]
pub(crate) struct Door(Mutex<bool>, Condvar);

impl Door {
    pub(crate) fn pass(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_while(open, |open| !*open).unwrap());
    }

    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

#[test]
fn an_incident_gets_its_ticket_and_the_same_again_the_next_time() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let service = host.serve();
    let made = service.file(&numbered(1), 30_000).is(201);
    let job = made.json();
    assert_eq!(job["ticket"]["url"], ticket_of("nav#1"), "{job}");
    assert_eq!((job["state"].as_str(), job["backend"].as_str()), (Some("created"), Some("b")));
    let place = made.header("location").unwrap();
    assert_eq!(service.get(place).is(200).json()["history"][0]["outcome"], "created");
    let again = service.file(&numbered(1), 30_000).is(200).json();
    assert_eq!(again["id"], job["id"]);
    assert_eq!(desk.posted(), ["nav#1"]);
}

#[test]
fn a_ticket_that_was_there_before_is_found_and_is_a_200() {
    let desk = desk(|seen| {
        (seen.method == "GET").then(|| Answer::status(200).header("Location", "https://t.org/7"))
    });
    let host = host_at(&desk, "");
    let job = host.serve().file(&numbered(1), 30_000).is(200).json();
    assert_eq!(job["ticket"]["url"], "https://t.org/7");
    assert_eq!(desk.posted(), [""; 0]);
}

#[test]
fn what_takes_longer_than_the_wait_is_a_202_and_is_made_all_the_same() {
    let door = Arc::new(Door::default());
    let shut = Arc::clone(&door);
    let desk = desk(move |seen| {
        if seen.method == "POST" {
            shut.pass();
        }
        None
    });
    let host = host_at(&desk, "");
    let service = host.serve();
    let kept = service.file(&numbered(1), 0).is(202);
    let id = kept.json()["id"].as_i64().unwrap();
    assert_eq!(kept.header("location").unwrap(), format!("/v1/tickets/{id}"));
    wait_for_state(&service, id, "creating");
    service.post(&format!("/v1/tickets/{id}/cancel"), &json!({})).is(409);
    door.open();
    wait_for_state(&service, id, "created");
}

#[test]
fn errors_have_arguss_kinds_and_their_statuses() {
    let answers = [
        // A person can mend that, for all tickets at once.
        (401, "settings", 400, "queued"),
        (422, "creation", 403, "failed"),
        // Ticket systems that are down come back, and may have made the ticket before.
        (503, "client", 202, "unknown"),
    ];
    for (answer, kind, status, state) in answers {
        let desk = desk(move |seen| {
            (seen.method == "POST")
                .then(|| Answer::status(answer).header("Retry-After", "600").body("no"))
        });
        let host = host_at(&desk, "");
        let service = host.serve();
        let reply = service.file(&numbered(1), 30_000).is(status);
        let (error, id) = match status {
            202 => (reply.json()["error"].clone(), reply.json()["id"].as_i64()),
            _ => {
                assert_eq!(reply.header("content-type"), Some("application/problem+json"));
                assert_eq!(reply.json()["status"], status);
                (reply.json(), reply.json()["job"].as_i64())
            }
        };
        assert_eq!(error["kind"], kind, "{error}");
        assert_eq!(self::state(&service, id.unwrap())["state"], state);
    }
}

#[test]
fn a_plugin_that_breaks_is_tried_five_times_before_the_answer_is_500() {
    let rest =
        format!("secret = {{ token = \"t\" }}\ninformation = {{ fault = \"segfault\" }}\n{QUEUE}");
    let host = Installation::with(&c_plugin("misbehaves"), "http://127.0.0.1:1", &rest);
    let service = host.serve();
    let problem = service.file(&numbered(1), 30_000).is(500).json();
    assert_eq!(problem["kind"], "plugin");
    assert!(problem["detail"].as_str().unwrap().contains("SIGSEGV"), "{problem}");
    let job = state(&service, problem["job"].as_i64().unwrap());
    assert_eq!(job["history"].as_array().unwrap().len(), 5);
    assert!(service.get("/metrics").text.contains("worker_restarts_total{backend=\"b\"} 5"));
}

#[test]
fn a_backend_whose_plugin_is_missing_keeps_its_incidents_and_says_500_import() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    fs::remove_file(host.path("plugins").join(library_name("webhook"))).unwrap();
    let service = host.serve();
    let problem = service.file(&numbered(1), 30_000).is(500).json();
    assert_eq!(problem["kind"], "import");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("no plugin \"webhook\" was found") && detail.contains("kept"));
    // What is accepted is kept: a load balancer must not take the service away for that.
    let ready = service.get("/readyz").is(200).json();
    assert_eq!((&ready["backends"], &ready["unready"]), (&json!(0), &json!(1)), "{ready}");
    assert_eq!(ready["each"], json!([{"name": "b", "ready": false, "reason": "unprepared"}]));
    assert_eq!(service.get("/v1/backends").json()[0]["error"]["kind"], "import");
    host.add(&c_plugin("webhook"));
    wait_for_state(&service, problem["job"].as_i64().unwrap(), "created");
    let ready = service.get("/readyz").is(200).json();
    assert_eq!(ready["each"], json!([{"name": "b", "ready": true}]));
}

#[test]
fn readiness_tells_backends_whose_calls_fail_and_stays_ready_to_accept() {
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuses);
    let desk = desk(move |_| refusing.load(Ordering::Relaxed).then(|| Answer::status(401)));
    let good = self::desk(|_| None);
    let host = host_at(&desk, "");
    let other = format!(
        "default_backend = \"b\"\n[backends.good]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n\
         [backends.b]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n{QUEUE}",
        good.url, desk.url
    );
    host.config(&other);
    let service = host.serve();
    let each = |reason: Option<&str>| {
        let b = match reason {
            Some(reason) => json!({"name": "b", "ready": false, "reason": reason}),
            None => json!({"name": "b", "ready": true}),
        };
        json!([b, {"name": "good", "ready": true}])
    };
    assert_eq!(service.get("/readyz").is(200).json()["each"], each(None));
    let job = service.file(&numbered(1), 30_000).is(400).json()["job"].as_i64().unwrap();
    assert_eq!(service.get("/readyz").is(200).json()["each"], each(Some("settings")));
    let backends = service.get("/v1/backends").json();
    assert_eq!(backends[0]["error"]["kind"], "settings", "{backends}");
    let metrics = service.get("/metrics").text;
    for line in ["backend_up{backend=\"b\"} 0", "backend_up{backend=\"good\"} 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    refuses.store(false, Ordering::Relaxed);
    service.post(&format!("/v1/tickets/{job}/retry"), &json!({})).is(200);
    wait_for_state(&service, job, "created");
    assert_eq!(service.get("/readyz").is(200).json()["each"], each(None));
}

#[test]
fn a_crash_between_the_request_and_its_record_makes_no_second_ticket() {
    let door = Arc::new(Door::default());
    let (shut, posts) = (Arc::clone(&door), Arc::new(AtomicUsize::new(0)));
    let seen_posts = Arc::clone(&posts);
    // The ticket is made; its answer comes only when the host is gone.
    let made = Arc::new(AtomicBool::new(false));
    let desk = desk(move |seen| match seen.method.as_str() {
        "POST" => {
            made.store(true, Ordering::Relaxed);
            seen_posts.fetch_add(1, Ordering::Relaxed);
            shut.pass();
            None
        }
        _ if made.load(Ordering::Relaxed) => {
            Some(Answer::status(200).header("Location", &ticket_of("1")))
        }
        _ => None,
    });
    let host = host_at(&desk, "");
    let service = host.serve();
    let id = service.file(&numbered(1), 0).is(202).json()["id"].as_i64().unwrap();
    wait_for("the request", || posts.load(Ordering::Relaxed) == 1);
    service.kill();
    door.open();
    let service = host.serve();
    let job = wait_for_state(&service, id, "created");
    assert_eq!(job["ticket"]["url"], ticket_of("1"));
    assert_eq!(job["history"][0]["outcome"], "unknown");
    let why = job["history"][0]["error"]["message"].as_str().unwrap();
    assert!(why.contains("there may be a ticket"), "{why}");
    assert_eq!(posts.load(Ordering::Relaxed), 1);
}

#[test]
fn an_unknown_outcome_of_a_plugin_that_cannot_search_waits_for_a_person() {
    let hang_up = Stub::new(|_| Answer::HangUp);
    let rest = format!(
        "secret = {{ token = \"t\" }}\ninformation = {{ fault = \"post_segfault\" }}\n{QUEUE}"
    );
    let host = Installation::with(&c_plugin("null_find"), &hang_up.url, &rest);
    let service = host.serve();
    let problem = service.file(&numbered(1), 30_000).is(500).json();
    assert!(problem["detail"].as_str().unwrap().contains("can't look for it"), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("queue retry"), "{problem}");
    assert_eq!(hang_up.seen().len(), 1, "nothing is tried again blindly");
}

#[test]
fn a_stop_lets_calls_end_and_answers_who_waits() {
    let door = Arc::new(Door::default());
    let shut = Arc::clone(&door);
    let (inside, within) = std::sync::mpsc::channel();
    let desk = desk(move |seen| {
        if seen.method == "POST" {
            inside.send(()).unwrap();
            shut.pass();
        }
        None
    });
    let host = host_at(&desk, "concurrency = 1");
    let service = host.serve();
    let url = service.url.clone();
    let asked = |number: usize| {
        let url = url.clone();
        let body = json!({"incident": numbered(number), "wait_ms": 30_000});
        std::thread::spawn(move || post(&url, "/v1/tickets", &body).unwrap())
    };
    let first = asked(1);
    within.recv().unwrap();
    let second = asked(2);
    wait_for("both to be kept", || {
        service.get("/v1/tickets").json()["tickets"].as_array().unwrap().len() == 2
    });
    service.signal("TERM");
    host.logged("stopping; what is under way", 1);
    door.open();
    assert_eq!(service.wait(), 0);
    first.join().unwrap().is(201);
    second.join().unwrap().is(202);
    let service = host.serve();
    wait_for_state(&service, 2, "created");
    assert_eq!(desk.posted().len(), 2);
}

#[test]
fn a_stop_gives_up_calls_that_do_not_end_and_the_next_start_looks_for_their_tickets() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = Arc::clone(&hangs);
    let (inside, within) = std::sync::mpsc::channel();
    let never = Door::default();
    let desk = desk(move |seen| {
        if seen.method == "POST" && hanging.load(Ordering::Relaxed) {
            inside.send(()).unwrap();
            never.pass();
        }
        None
    });
    let host = host_at(&desk, "[serve]\nshutdown_seconds = 0");
    let service = host.serve();
    service.file(&numbered(1), 0).is(202);
    within.recv().unwrap();
    hangs.store(false, Ordering::Relaxed);
    assert_eq!(service.stop(), 0);
    let list = host.run(&["queue", "list"]).ended(0).stdout;
    assert!(list.contains("unknown") && list.contains("the host was stopped"), "{list}");
    let service = host.serve();
    wait_for_state(&service, 1, "created");
}

#[test]
fn the_worst_goes_first_and_then_the_oldest() {
    let door = Arc::new(Door::default());
    let shut = Arc::clone(&door);
    let desk = desk(move |_| {
        shut.pass();
        None
    });
    let host = host_at(&desk, "concurrency = 1");
    let service = host.serve();
    let level = |number: usize, level: i64| {
        let mut incident = numbered(number);
        incident["level"] = level.into();
        service.file(&incident, 0).is(202);
    };
    level(1, 5);
    wait_for("the first to be under way", || desk.seen().len() == 1);
    for (number, of) in [(2, 3), (3, 1), (4, 5), (5, 1)] {
        level(number, of);
    }
    service.post(
        "/v1/tickets",
        &json!({"incident": {"description": ""}, "key": "none", "wait_ms": 0}),
    );
    door.open();
    wait_for("all", || desk.posted().len() == 6);
    assert_eq!(desk.posted(), ["nav#1", "nav#3", "nav#5", "nav#2", "nav#4", "none"]);
}

#[test]
fn a_ticket_system_that_is_down_gets_one_probe_and_not_everything() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let desk = desk(move |_| is_down.load(Ordering::Relaxed).then(|| Answer::status(500)));
    let host = host_at(&desk, "concurrency = 4");
    let service = host.serve();
    for number in 0..200 {
        service.file(&numbered(number), 0).is(202);
    }
    host.logged("the ticket system is down", 1);
    let before = desk.seen().len();
    // What was under way when it was noticed, and a probe now and then: far from all 200.
    assert!(before <= 10, "{before}");
    let asked = Instant::now();
    service.file(&numbered(200), 30_000).is(202);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "nobody need wait for it: {:?}",
        asked.elapsed()
    );
    assert_eq!(host.log().matches("retried").count(), 1, "{}", host.log());
    let text = service.get("/metrics").text;
    assert!(text.contains("queue_tickets{backend=\"b\",state=\"queued\"} "), "{text}");
    down.store(false, Ordering::Relaxed);
    wait_for("all tickets", || desk.posted().len() == 201);
    host.logged("the ticket system is back", 1);
    assert_eq!(host.log().matches("the ticket system is down").count(), 1, "{}", host.log());
}

#[test]
fn a_moment_without_the_ticket_system_is_one_failure_however_many_calls_met_it() {
    const AT_ONCE: usize = 12;
    let (met, back) = (AtomicUsize::new(0), OnceLock::new());
    let all = Arc::new(Door::default());
    let shut = Arc::clone(&all);
    let desk = desk(move |_| {
        if met.fetch_add(1, Ordering::Relaxed) + 1 == AT_ONCE {
            back.set(Instant::now() + Duration::from_millis(500)).unwrap();
            shut.open();
        }
        shut.pass();
        (Instant::now() < *back.get().unwrap()).then(|| Answer::status(500))
    });
    let host = host_at(&desk, &format!("concurrency = {AT_ONCE}"));
    let service = host.serve();
    for number in 0..AT_ONCE {
        service.file(&numbered(number), 0).is(202);
    }
    all.pass();
    let back = Instant::now();
    for number in AT_ONCE..40 {
        service.file(&numbered(number), 0).is(202);
    }
    wait_for("all tickets", || desk.posted().len() == 40);
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
}

#[test]
fn one_ticket_that_waited_through_an_outage_does_not_wait_for_its_many_tries_when_it_is_over() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let desk = desk(move |_| is_down.load(Ordering::Relaxed).then(|| Answer::status(500)));
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\nsettle_seconds = 0\n";
    let host = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    let service = host.serve();
    service.file(&numbered(1), 0).is(202);
    // By its number of tries alone it would wait between 16 and 32 s now.
    wait_for("five tries", || desk.seen().len() == 5);
    down.store(false, Ordering::Relaxed);
    let back = Instant::now();
    wait_for("the ticket", || desk.posted().len() == 1);
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
}

#[test]
fn a_refused_login_holds_its_backend_and_not_each_ticket_and_all_go_on_when_it_works() {
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuses);
    let desk = desk(move |_| refusing.load(Ordering::Relaxed).then(|| Answer::status(401)));
    let host = host_at(&desk, "concurrency = 4");
    let service = host.serve();
    for number in 0..100 {
        service.file(&numbered(number), 0).is(202);
    }
    host.logged("need a person", 1);
    let asked = Instant::now();
    let problem = service.file(&numbered(100), 30_000).is(400).json();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(problem["kind"], "settings", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("the incident is kept"), "{problem}");
    let job = problem["job"].as_i64().unwrap();
    assert_eq!(state(&service, job)["state"], "queued");
    let ready = service.get("/readyz").is(200).json();
    assert_eq!(ready["each"], json!([{"name": "b", "ready": false, "reason": "settings"}]));
    let metrics = service.get("/metrics").text;
    assert!(!metrics.contains("queue_tickets{backend=\"b\",state=\"failed\"} 1"), "{metrics}");
    assert!(desk.seen().len() <= 10, "{} refused logins", desk.seen().len());
    refuses.store(false, Ordering::Relaxed);
    let mended = Instant::now();
    service.post(&format!("/v1/tickets/{job}/retry"), &json!({})).is(200);
    // Also those whose try failed, which were due in a minute.
    wait_for("all tickets", || desk.posted().len() == 101);
    assert!(mended.elapsed() < Duration::from_secs(20), "{:?}", mended.elapsed());
    host.logged("what needed a person works", 1);
    assert_eq!(host.log().matches("need a person").count(), 1, "{}", host.log());
    let ready = service.get("/readyz").is(200).json();
    assert_eq!(ready["each"], json!([{"name": "b", "ready": true}]));
}

#[test]
fn what_a_ticket_lacks_is_on_its_line_of_the_log_and_in_the_list() {
    let host = Installation::with(&c_plugin("null_find"), "https://tickets.example.org", QUEUE);
    let service = host.serve();
    service.file(&numbered(1), 30_000).is(201);
    let said = "https://tickets.example.org/1 (the plugin null_find can't look for tickets, here and for all tickets of b: \
                creating one again makes a second)";
    host.logged(&format!("created: {said}"), 1);
    // What a plugin lacks is said once, and not with each ticket.
    service.file(&numbered(2), 30_000).is(201);
    host.logged("ticket 2 (", 1);
    assert_eq!(host.log().matches("can't look for tickets").count(), 1, "{}", host.log());
    let listed = host.run(&["queue", "list"]).ended(0);
    assert!(listed.stdout.contains(said), "{}", listed.stdout);
    let shown = host.run(&["queue", "show", "1"]).ended(0);
    assert!(shown.stdout.contains("warning   the plugin null_find can't"), "{}", shown.stdout);
}

#[test]
fn a_reload_has_a_held_backend_tried_at_once_though_nothing_of_it_changed() {
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuses);
    let desk = desk(move |_| refusing.load(Ordering::Relaxed).then(|| Answer::status(401)));
    let host = host_at(&desk, "");
    let service = host.serve();
    for number in 0..3 {
        service.file(&numbered(number), 0).is(202);
    }
    host.logged("need a person", 1);
    refuses.store(false, Ordering::Relaxed);
    let mended = Instant::now();
    service.signal("HUP");
    wait_for("all tickets", || desk.posted().len() == 3);
    assert!(mended.elapsed() < Duration::from_secs(20), "{:?}", mended.elapsed());
}

#[test]
fn a_ticket_that_alone_is_refused_for_the_settings_fails_and_holds_nobody_up() {
    let desk = desk(|seen| (key_of(seen) == "nav#1").then(|| Answer::status(401)));
    let host = host_at(&desk, "");
    let service = host.serve();
    let first = service.file(&numbered(1), 0).is(202).json()["id"].as_i64().unwrap();
    for number in 2..40 {
        service.file(&numbered(number), 0).is(202);
    }
    let job = wait_for_state(&service, first, "failed");
    assert_eq!(job["error"]["kind"], "settings", "{job}");
    wait_for("the others", || desk.posted().len() == 38);
    assert!(!host.log().contains("need a person"), "{}", host.log());
}

#[test]
fn a_pause_that_the_ticket_system_asks_for_is_kept_also_over_a_restart() {
    let desk = desk(|_| Some(Answer::status(429).header("Retry-After", "600")));
    let host = host_at(&desk, "");
    let service = host.serve();
    let job = service.file(&numbered(1), 30_000).is(202).json();
    let due = job["due_at"].as_str().unwrap().to_owned();
    assert!(due.as_str() > job["changed_at"].as_str().unwrap());
    assert!(
        service.get("/metrics").text.contains("responses_total{backend=\"b\",status=\"429\"} 1")
    );
    service.file(&numbered(2), 300).is(202);
    assert_eq!(desk.seen().len(), 1, "the second waits for the same pause");
    service.kill();
    let service = host.serve();
    // The time that the service is off doesn't count, nor the last moments before it was killed.
    let later = state(&service, 1)["due_at"].as_str().unwrap().to_owned();
    assert!(later >= due, "{later} is before {due}");
    assert_eq!(later[..15], due[..15], "{later} is long after {due}");
}

#[test]
fn requests_per_second_is_kept() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "requests_per_second = 20\nconcurrency = 16");
    let service = host.serve();
    let started = Instant::now();
    for number in 0..10 {
        service.file(&numbered(number), 0).is(202);
    }
    wait_for("all", || desk.posted().len() == 10);
    // A find and a create each, a twentieth of a second apart.
    assert!(started.elapsed() >= Duration::from_millis(19 * 50), "{:?}", started.elapsed());
    assert!(service.get("/metrics").text.contains("rate_limit_waits_total{backend=\"b\"} 1"));
}

#[test]
fn a_list_has_filters_and_pages() {
    let desk = desk(|seen| (key_of(seen) == "nav#3").then(|| Answer::status(422)));
    let host = host_at(&desk, "");
    let service = host.serve();
    for number in 1..=5 {
        service.file(&numbered(number), 30_000);
    }
    let ids = |query: &str| {
        let page = service.get(&format!("/v1/tickets?{query}")).is(200).json();
        let ids: Vec<i64> =
            page["tickets"].as_array().unwrap().iter().map(|t| t["id"].as_i64().unwrap()).collect();
        (ids, page["next"].as_i64())
    };
    for none in ["limit=0", "limit=-1"] {
        let refused = service.get(&format!("/v1/tickets?{none}")).is(400).json();
        assert!(refused["detail"].as_str().unwrap().contains("must be 1 or more"), "{refused}");
    }
    let (first, next) = ids("limit=2");
    assert_eq!((first.len(), next), (2, Some(first[1])));
    let (second, next) = ids(&format!("limit=2&cursor={}", first[1]));
    let (third, last) = ids(&format!("limit=2&cursor={}", next.unwrap()));
    assert_eq!((second.len(), third.len(), last), (2, 1, None));
    assert_eq!(ids("state=created").0.len(), 4);
    assert_eq!(ids("state=created&backend=other").0.len(), 0);
    assert_eq!(ids("key=nav%232").0, [first[1]]);
    let refused = service.get("/v1/tickets?state=nonsense").is(400).json();
    assert!(refused["detail"].as_str().unwrap().contains("unknown variant"), "{refused}");
    service.get("/v1/tickets?sort=id").is(400);
    service.get("/v1/tickets/99").is(404);
    service.get("/v1/tickets/x").is(404);
    service.get("/nowhere").is(404);
}

#[test]
fn a_person_retries_and_cancels_over_http_and_on_the_command_line() {
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuses);
    let desk =
        desk(move |_| refusing.load(Ordering::Relaxed).then(|| Answer::status(422).body("no")));
    let host = host_at(&desk, "");
    let service = host.serve();
    for number in 1..=3 {
        service.file(&numbered(number), 30_000).is(403);
    }
    let list = host.run(&["queue", "list", "--state", "failed"]).ended(0).stdout;
    assert_eq!(list.lines().count(), 1 + 3, "{list}");
    let cancelled = host.run(&["queue", "cancel", "1"]).ended(0);
    assert_eq!(cancelled.stdout, "1: cancelled\n");
    let conflict = service.file(&numbered(1), 30_000).is(409).json();
    assert!(conflict["help"].as_str().unwrap().contains("/v1/tickets/1/retry"), "{conflict}");
    refuses.store(false, Ordering::Relaxed);
    host.run(&["queue", "retry", "--state", "failed"]).ended(0);
    wait_for_state(&service, 2, "created");
    wait_for_state(&service, 3, "created");
    service.post("/v1/tickets/1/retry", &json!({})).is(200);
    wait_for_state(&service, 1, "created");
    host.run(&["queue", "cancel", "1"]).ended(2).says("can't be cancelled: it is created");
    host.run(&["queue", "show", "99"]).ended(2).says("there is no ticket 99");
    drop(service);
    let shown = host.run(&["queue", "show", "2", "--json"]).ended(0).json();
    assert_eq!(shown["history"].as_array().unwrap().len(), 2);
    assert_eq!(shown["history"][0]["error"]["kind"], "creation");
    let text = host.run(&["queue", "show", "2"]).ended(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "ticket 2: created", "{text}");
    let url = format!("  ticket    {}", ticket_of("nav#2"));
    for line in ["  backend   b", "  key       nav#2", "  tries     2", &url] {
        assert!(lines.contains(&line), "no {line:?} in:\n{text}");
    }
    // Each try with what it asked the ticket system for.
    let [.., first, looked, last, looked_again, made] = lines[..] else { panic!("{text}") };
    let (started, _) = shown["history"][0]["started_at"].as_str().unwrap().split_at(19);
    assert!(first.starts_with(&format!("  1  {started}")) && first.contains("failed: "), "{text}");
    assert!(last.starts_with("  2  ") && last.ends_with("created"), "{text}");
    let asked = |line: &str, method: &str, status: u16| {
        line.starts_with(&format!("     {method} {}", desk.url))
            && line.contains(&format!(" -> {status} ("))
    };
    assert!(asked(looked, "GET", 422) && asked(looked_again, "GET", 204), "{text}");
    assert!(asked(made, "POST", 201), "{text}");
    assert_eq!(shown["history"][1]["requests"][1]["came"], "201", "{shown}");
}

#[test]
fn tickets_that_are_named_and_not_of_the_kind_that_is_meant_are_refused_one_by_one() {
    let desk = desk(|_| Some(Answer::status(422)));
    let host = host_at(&desk, "");
    let one = format!(
        "plugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n",
        desk.url
    );
    host.config(&format!("{QUEUE}[backends.b]\n{one}[backends.c]\n{one}"));
    let service = host.serve();
    for (number, backend) in [(1, "b"), (2, "c"), (3, "c")] {
        let body = json!({"incident": numbered(number), "backend": backend, "wait_ms": 30_000});
        service.post("/v1/tickets", &body).is(403);
    }
    let cancelled = host.run(&["queue", "cancel", "1", "2", "--backend", "c"]).ended(2);
    assert_eq!(cancelled.stdout, "2: cancelled\n");
    cancelled.says("ticket 1 is of the backend \"b\", not \"c\"").says("not all of that");
    assert_eq!(state(&service, 1)["state"], "failed");
    let retried = host.run(&["queue", "retry", "3", "2", "--state", "cancelled"]).ended(2);
    assert_eq!(retried.stdout, "2: queued\n");
    retried.says("ticket 3 is failed, not cancelled");
    let other = host.run(&["queue", "cancel", "3", "--key", "nav#2"]).ended(2);
    other.says("ticket 3 has the key \"nav#3\", not \"nav#2\"");
    host.run(&["queue", "cancel", "99", "--key", "nav#2"]).ended(2).says("there is no ticket 99");
    host.run(&["queue", "cancel", "3", "--key", "nav#3", "--backend", "c"]).ended(0);
}

#[test]
fn plugins_that_hang_and_panic_do_not_keep_others_from_their_tickets() {
    let desk = desk(|_| None);
    let host = Installation::new();
    for plugin in [c_plugin("webhook"), c_plugin("misbehaves"), rust_plugin("panics")] {
        host.add(&plugin);
    }
    host.config(&format!(
        "default_backend = \"good\"\n{QUEUE}\
         [backends.good]\nplugin = \"webhook\"\nendpoint = \"{0}\"\nsecret = {{ token = \"t\" }}\n\
         [backends.hangs]\nplugin = \"misbehaves\"\nendpoint = \"{0}\"\nsecret = {{ token = \"t\" }}\n\
         information = {{ fault = \"spin\" }}\ncall_timeout_seconds = 1\n\
         [backends.panics]\nplugin = \"panics\"\nendpoint = \"{0}\"\ninformation = {{ in = \"create\" }}\n",
        desk.url
    ));
    let service = host.serve();
    for backend in ["hangs", "panics"] {
        let body = json!({"incident": numbered(1), "backend": backend, "wait_ms": 0});
        service.post("/v1/tickets", &body).is(202);
    }
    service.file(&numbered(1), 30_000).is(201);
    host.logged("was told to panic", 1);
    host.logged("did not return in time", 1);
}

#[test]
fn the_openapi_document_lists_every_path() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let service = host.serve();
    let document = service.get("/openapi.json").is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    // Each kind that an answer can have, and none that only the command line has.
    let kinds = &document["components"]["schemas"]["Kind"]["enum"];
    let all = ["settings", "client", "creation", "plugin", "import", "usage"];
    assert_eq!(*kinds, json!(all));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/docs",
            "/healthz",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/v1/backends",
            "/v1/hooks/{backend}",
            "/v1/incidents",
            "/v1/overview",
            "/v1/plugins",
            "/v1/tickets",
            "/v1/tickets/{id}",
            "/v1/tickets/{id}/cancel",
            "/v1/tickets/{id}/retry"
        ]
    );
    let plugins = service.get("/v1/plugins").is(200).json();
    assert_eq!(plugins[0]["name"], "webhook");
    assert_eq!(service.get("/healthz").is(200).text, "ok\n");
}

/// sd_notify(3): what systemd's `Type=notify` and `WatchdogSec` need.
#[cfg(target_os = "linux")]
#[test]
fn systemd_hears_that_it_is_ready_reloads_lives_and_stops() {
    use std::os::unix::net::UnixDatagram;
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let socket = UnixDatagram::bind(host.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let hear = |wanted: &str| {
        let mut buffer = [0; 1000];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    let notify = host.path("notify");
    let environment = [("NOTIFY_SOCKET", notify.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];
    let service = host.serve_with(&environment);
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    service.signal("HUP");
    hear("RELOADING=1");
    hear("READY=1");
    service.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(service.wait(), 0);
}

/// The methods of the requests that the ticket system got after the first `before`.
fn methods(desk: &Stub, before: usize) -> Vec<String> {
    desk.seen()[before..].iter().map(|seen| seen.method.clone()).collect()
}

#[test]
fn a_ticket_takes_one_request_if_its_incident_began_under_this_service() {
    let desk = desk(|_| None);
    let always = "look_first = \"always\"";
    for (backend, expected) in [("", vec!["POST"]), (always, vec!["GET", "POST"])] {
        let host = host_at(&desk, backend);
        let service = host.serve();
        let before = desk.seen().len();
        let mut incident = numbered(before);
        incident["start_time"] = json!(service.just_now());
        service.file(&incident, 30_000).is(201);
        assert_eq!(methods(&desk, before), expected);
        // By these times an incident may be older than the service.
        let too_far_ahead = "2999-01-01T00:00:00Z";
        for time in [json!("2026-01-01T00:00:00Z"), json!("infinity"), json!(too_far_ahead)] {
            let before = desk.seen().len();
            let mut incident = numbered(before);
            incident["start_time"] = time;
            service.file(&incident, 30_000).is(201);
            assert_eq!(methods(&desk, before), ["GET", "POST"]);
        }
    }
}

#[test]
fn a_ticket_is_looked_for_when_it_comes_in_again_and_once_after_an_unclear_answer() {
    // What was refused may have been made by hand since. After a 500 it is unknown whether there is a ticket: the host looks at once, and again when "there is none" is to be believed.
    for (status, expected) in
        [(400, &["POST", "GET", "POST"][..]), (500, &["POST", "GET", "GET", "POST"])]
    {
        let refused = AtomicBool::new(false);
        let desk = desk(move |seen| {
            let first = seen.method == "POST" && !refused.swap(true, Ordering::Relaxed);
            first.then(|| Answer::status(status))
        });
        let host = host_at(&desk, "");
        let service = host.serve();
        let mut incident = numbered(1);
        incident["start_time"] = json!(service.just_now());
        if status == 400 {
            service.file(&incident, 30_000).is(403);
        }
        service.file(&incident, 30_000).is(201);
        assert_eq!(methods(&desk, 0), expected, "{status}");
    }
}

#[test]
fn a_ticket_is_found_though_the_store_was_lost() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let service = host.serve();
    let mut incident = numbered(1);
    incident["start_time"] = json!(service.just_now());
    service.file(&incident, 30_000).is(201);
    assert_eq!(service.stop(), 0);
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        let _ = fs::remove_file(host.path(file));
    }
    let again = host.serve().file(&incident, 30_000).is(200).json();
    assert_eq!(again["ticket"]["url"], ticket_of("nav#1"));
    assert_eq!(desk.posted().len(), 1);
}

#[test]
fn a_ticket_is_looked_for_if_another_backend_had_it() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let backend = format!(
        "[backends.b]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n",
        desk.url
    );
    host.config(&format!(
        "default_backend = \"b\"\n{backend}{}{QUEUE}",
        backend.replace("backends.b", "backends.renamed")
    ));
    let service = host.serve();
    let mut incident = numbered(1);
    incident["start_time"] = json!(service.just_now());
    service.file(&incident, 30_000).is(201);
    let again = json!({"incident": incident, "backend": "renamed", "wait_ms": 30_000});
    let again = service.post("/v1/tickets", &again).is(200).json();
    assert_eq!(again["ticket"]["url"], ticket_of("nav#1"));
    assert_eq!(methods(&desk, 0), ["POST", "GET"]);
}
