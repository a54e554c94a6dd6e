//! The watcher: an Argus's incidents get their tickets, and Argus hears of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use ticket_host_tests::{Answer, Installation, Seen, Stub, c_plugin, desk, ticket_of, wait_for};

/// A stand-in for an Argus.
#[derive(Clone, Default)]
pub(crate) struct Argus {
    /// By their pk: an incident's ticket_url, and whether it is open.
    incidents: Arc<Mutex<BTreeMap<i64, (String, bool)>>>,
    /// The status that everything is answered with, if there is one.
    broken: Arc<Mutex<Option<u16>>>,
    /// The incident whose ticket_url can't be written.
    refusing: Arc<Mutex<Option<i64>>>,
    /// Incident that has no description.
    odd: Arc<Mutex<Option<i64>>>,
}

impl Argus {
    pub(crate) fn with(count: i64) -> Argus {
        let argus = Argus::default();
        for pk in 1..=count {
            argus.incidents.lock().unwrap().insert(pk, (String::new(), true));
        }
        argus
    }

    pub(crate) fn serve(&self) -> Stub {
        let argus = self.clone();
        Stub::new(move |seen| argus.answer(seen))
    }

    pub(crate) fn url(&self, pk: i64) -> String {
        self.incidents.lock().unwrap()[&pk].0.clone()
    }

    fn answer(&self, seen: &Seen) -> Answer {
        if let Some(status) = *self.broken.lock().unwrap() {
            return Answer::status(status);
        }
        if seen.header("authorization") != Some("Token argus-token") {
            return Answer::status(401);
        }
        let incident = |pk: i64, url: &str| {
            let mut incident = json!({"pk": pk, "description": "gw1 is down", "level": 3,
                "ticket_url": url, "source": {"pk": 1, "name": "nav"}, "end_time": "infinity",
                "tags": []});
            if *self.odd.lock().unwrap() == Some(pk) {
                incident["description"] = Value::Null;
            }
            incident
        };
        let mut incidents = self.incidents.lock().unwrap();
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (seen.method.as_str(), parts.as_slice()) {
            ("GET", ["api", "v2", "incidents"]) => {
                assert!(query.starts_with("open=true&ticket=false&page_size=1000&level__lte=3"));
                let from: i64 =
                    query.split("cursor=").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
                let open: Vec<i64> = incidents
                    .iter()
                    .filter(|(pk, (url, open))| **pk > from && url.is_empty() && *open)
                    .map(|(pk, _)| *pk)
                    .collect();
                // A page has three incidents. The link to the next one names a host that exists only
                // behind Argus's proxy. From the sixth incident on the cursor stands still, as a real
                // Argus's does among many incidents of one start_time.
                let filter = query.split("&cursor=").next().unwrap();
                let cursor = if from < 6 { open.get(2).copied() } else { Some(from) };
                let next = cursor.filter(|_| open.len() > 3);
                let next = next.map(|at| format!("http://inside{path}?{filter}&cursor={at}"));
                let results: Vec<Value> = open.iter().take(3).map(|pk| incident(*pk, "")).collect();
                Answer::status(200).body(&json!({"next": next, "results": results}).to_string())
            }
            ("GET", ["api", "v2", "incidents", pk]) => match incidents.get(&pk.parse().unwrap()) {
                Some((url, _)) => {
                    Answer::status(200).body(&incident(pk.parse().unwrap(), url).to_string())
                }
                None => Answer::status(404),
            },
            ("PUT", ["api", "v2", "incidents", pk, "ticket_url"])
                if pk.parse().ok() == *self.refusing.lock().unwrap() =>
            {
                Answer::status(400)
            }
            ("PUT", ["api", "v2", "incidents", pk, "ticket_url"]) => {
                let body: Value = serde_json::from_str(&seen.body).unwrap();
                let url = body["ticket_url"].as_str().unwrap().to_owned();
                incidents.get_mut(&pk.parse().unwrap()).unwrap().0 = url;
                Answer::status(200).body(&seen.body)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn host(desk: &Stub, argus: &Stub) -> Installation {
    let rest = format!(
        "secret = {{ token = \"t\" }}\n[queue]\npath = \"queue.db\"\nsettle_seconds = 0\n\
         longest_wait_seconds = 1\n[argus]\nurl = \"{}\"\nfrontend_url = \"https://argus.example.org\"\n\
         token = \"argus-token\"\nfilter = \"level__lte=3\"\ninterval_seconds = 1\n",
        argus.url
    );
    Installation::with(&c_plugin("webhook"), &desk.url, &rest)
}

/// A desk that answers 500 to everything until the flag is cleared.
fn broken_desk() -> (Stub, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    (desk(move |_| is_down.load(Relaxed).then(|| Answer::status(500))), down)
}

/// The key that Argus's own button gives to the same incident.
fn key(pk: i64) -> String {
    format!("https://argus.example.org/incidents/{pk}")
}

#[test]
fn incidents_of_all_pages_get_their_tickets_and_argus_their_urls() {
    let argus = Argus::with(12);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let service = host.serve();
    wait_for("all URLs", || (1..=12).all(|pk| argus.url(pk) == ticket_of(&key(pk))));
    // The button finds the ticket that the watcher had made.
    let pressed = json!({"description": "gw1 is down", "argus_url": key(5)});
    service.file(&pressed, 30_000).is(200);
    assert_eq!(desk.posted().len(), 12);
}

#[test]
fn a_late_success_is_told_though_the_incident_is_closed_by_then() {
    let argus = Argus::with(1);
    let (desk, down) = broken_desk();
    let server = argus.serve();
    let host = host(&desk, &server);
    let _service = host.serve();
    wait_for("a try", || !desk.seen().is_empty());
    argus.incidents.lock().unwrap().get_mut(&1).unwrap().1 = false;
    down.store(false, Relaxed);
    wait_for("the URL", || argus.url(1) == ticket_of(&key(1)));
}

#[test]
fn an_url_that_a_person_set_stays() {
    let argus = Argus::with(2);
    let (desk, down) = broken_desk();
    let server = argus.serve();
    let host = host(&desk, &server);
    let _service = host.serve();
    wait_for("a try", || !desk.seen().is_empty());
    argus.incidents.lock().unwrap().get_mut(&1).unwrap().0 = "https://a.person/set".to_owned();
    down.store(false, Relaxed);
    wait_for("the other URL", || argus.url(2) == ticket_of(&key(2)));
    wait_for("the first to be looked at", || {
        let seen = server.seen();
        let at = seen.iter().position(|s| s.target == "/api/v2/incidents/1/");
        // Until the watcher has asked for the list once more after that.
        at.is_some_and(|at| seen[at..].iter().any(|s| s.target.contains("page_size")))
    });
    assert_eq!(argus.url(1), "https://a.person/set");
}

#[test]
fn an_argus_that_is_down_or_refuses_is_asked_again_and_said_once() {
    let argus = Argus::with(1);
    *argus.broken.lock().unwrap() = Some(503);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let _service = host.serve();
    wait_for("three rounds", || server.seen().len() >= 3);
    assert_eq!(host.log().matches("answered 503").count(), 1, "{}", host.log());
    *argus.broken.lock().unwrap() = None;
    wait_for("the URL", || argus.url(1) == ticket_of(&key(1)));
    *argus.broken.lock().unwrap() = Some(403);
    host.logged("is argus.token a token of a user who may see and change incidents?", 1);
    assert!(!host.log().contains("argus-token"), "{}", host.log());
}

#[test]
fn what_argus_refuses_for_one_incident_does_not_keep_the_others_from_it() {
    let argus = Argus::with(5);
    *argus.refusing.lock().unwrap() = Some(1);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let _service = host.serve();
    wait_for("the others' URLs", || (2..=5).all(|pk| argus.url(pk) == ticket_of(&key(pk))));
    host.logged("answered 400", 1);
    assert_eq!(argus.url(1), "");
    *argus.refusing.lock().unwrap() = None;
    wait_for("its URL", || argus.url(1) == ticket_of(&key(1)));
    assert_eq!(desk.posted().len(), 5);
}

#[test]
fn an_incident_that_cannot_be_filed_keeps_argus_from_hearing_of_no_other() {
    let argus = Argus::with(5);
    *argus.odd.lock().unwrap() = Some(1);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let _service = host.serve();
    wait_for("the others' URLs", || (2..=5).all(|pk| argus.url(pk) == ticket_of(&key(pk))));
    let lists = || server.seen().iter().filter(|seen| seen.target.contains("page_size")).count();
    let before = lists();
    wait_for("three more rounds", || lists() >= before + 3);
    let said = "Argus's incident 1: the incident has no description";
    assert_eq!(host.log().matches(said).count(), 1, "{}", host.log());
    // What goes wrong later is said, too.
    argus.incidents.lock().unwrap().insert(6, (String::new(), true));
    *argus.refusing.lock().unwrap() = Some(6);
    host.logged("answered 400", 1);
    *argus.refusing.lock().unwrap() = None;
    *argus.odd.lock().unwrap() = None;
    wait_for("all URLs", || (1..=6).all(|pk| argus.url(pk) == ticket_of(&key(pk))));
    host.logged("all goes well with Argus again", 1);
    assert_eq!(host.log().matches(said).count(), 1, "{}", host.log());
}

#[test]
fn settings_of_argus_that_are_wrong_are_pointed_at() {
    let host = Installation::new();
    for (argus, why) in [
        ("url = \"nonsense\"\ntoken = \"t\"\n", "argus.url \"nonsense\" is not a valid URL"),
        ("url = \"https://a.org\"\n", "`token` is missing"),
        (
            "url = \"https://a.org\"\ntoken = \"t\"\nbackend = \"x\"\n",
            "argus.backend names a backend \"x\" that doesn't exist",
        ),
        (
            "url = \"https://a.org\"\ntoken = \"t\"\ninterval_seconds = 0\n",
            "must be 1 to 3600; this is 0",
        ),
    ] {
        host.config(&format!("[argus]\n{argus}"));
        host.run(&["serve", "--listen", "127.0.0.1:0"]).ended(3).says(why).says("help:");
    }
}
