//! The watcher: an Argus's incidents get their tickets, and Argus hears of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, Fate, Installation, Seen, Service, Stub, Tickets, agent, c_plugin, desk, ticket_of,
    wait_for,
};

use crate::chaos::TOLD_AT_ONCE;

/// A stand-in for an Argus.
#[derive(Clone)]
pub(crate) struct Argus {
    /// By their pk: an incident's ticket_url, and whether it is open.
    incidents: Arc<Mutex<BTreeMap<i64, (String, bool)>>>,
    /// The status that everything is answered with, if there is one.
    broken: Arc<Mutex<Option<u16>>>,
    /// The incident whose ticket_url can't be written.
    refusing: Arc<Mutex<Option<i64>>>,
    /// Incident that has no description.
    odd: Arc<Mutex<Option<i64>>>,
    /// Of incidents that have another level than 3.
    levels: Arc<Mutex<BTreeMap<i64, i64>>>,
    /// Why each incident was acknowledged.
    pub(crate) acks: Arc<Mutex<Vec<(i64, String)>>>,
    /// The incidents that a source has raised, by their pk.
    raised: Arc<Mutex<BTreeMap<i64, Value>>>,
    /// How often the source has looked for its own.
    looked: Arc<AtomicUsize>,
    /// How many incidents a page has.
    pub(crate) page: usize,
    /// Its FRONTEND_URL, which the front page of its API tells.
    frontend: &'static str,
}

impl Argus {
    pub(crate) fn with(count: i64) -> Argus {
        let incidents = (1..=count).map(|pk| (pk, (String::new(), true))).collect();
        Argus {
            incidents: Arc::new(Mutex::new(incidents)),
            broken: Arc::default(),
            refusing: Arc::default(),
            odd: Arc::default(),
            levels: Arc::default(),
            acks: Arc::default(),
            raised: Arc::default(),
            looked: Arc::default(),
            page: 3,
            frontend: "https://argus.example.org/",
        }
    }

    pub(crate) fn add(&self, pk: i64) {
        self.incidents.lock().unwrap().insert(pk, (String::new(), true));
    }

    pub(crate) fn refuse(&self, pk: Option<i64>) {
        *self.refusing.lock().unwrap() = pk;
    }

    pub(crate) fn have_urls(&self, pks: impl IntoIterator<Item = i64>) -> bool {
        pks.into_iter().all(|pk| self.url(pk) == ticket_of(&key(pk)))
    }

    /// A person gives it a ticket.
    pub(crate) fn set_url(&self, pk: i64, url: &str) {
        self.incidents.lock().unwrap().get_mut(&pk).unwrap().0 = url.to_owned();
    }

    pub(crate) fn set_level(&self, pk: i64, level: i64) {
        self.levels.lock().unwrap().insert(pk, level);
    }

    pub(crate) fn is_open(&self, pk: i64) -> bool {
        self.incidents.lock().unwrap()[&pk].1
    }

    pub(crate) fn set_open(&self, pk: i64, open: bool) {
        self.incidents.lock().unwrap().get_mut(&pk).unwrap().1 = open;
    }

    pub(crate) fn is_broken(&self, status: Option<u16>) {
        *self.broken.lock().unwrap() = status;
    }

    /// What a source has raised.
    pub(crate) fn alarms(&self) -> Vec<Value> {
        self.raised.lock().unwrap().values().cloned().collect()
    }

    pub(crate) fn alarm_pk(&self) -> i64 {
        *self.raised.lock().unwrap().keys().next().unwrap()
    }

    pub(crate) fn looked_for_alarms(&self) -> usize {
        self.looked.load(Relaxed)
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
        match seen.header("authorization") {
            Some("Token argus-token") => {}
            Some("Token alarm-token") => return self.answer_to_source(seen),
            _ => return Answer::status(401),
        }
        let mut incidents = self.incidents.lock().unwrap();
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (seen.method.as_str(), parts.as_slice()) {
            ("GET", [""]) => {
                let link = format!("<a href=\"{}\">Frontend</a>", self.frontend);
                Answer::status(200).body(&link)
            }
            ("GET", ["api"]) => Answer::status(200).body(r#"{"server-version": "2.10.2"}"#),
            ("GET", ["api", "v2", "schema"]) => {
                let known = ["level__lte", "acked", "open", "ticket", "page_size", "cursor"];
                let known = known.map(|name| json!({"name": name, "schema": {"type": "string"}}));
                let get = json!({"get": {"parameters": known}});
                let schema = json!({"paths": {"/api/v2/incidents/": get}});
                Answer::status(200).body(&schema.to_string())
            }
            ("GET", ["api", "v2", "incidents"]) => self.listed(&incidents, path, query),
            ("GET", ["api", "v2", "incidents", pk]) => match incidents.get(&pk.parse().unwrap()) {
                Some((url, open)) => {
                    let mut incident = self.incident(pk.parse().unwrap(), url);
                    incident["open"] = (*open).into();
                    Answer::status(200).body(&incident.to_string())
                }
                None => Answer::status(404)
                    .header("Content-Type", "application/json")
                    .body(r#"{"detail":"No Incident matches the given query."}"#),
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
            ("POST", ["api", "v2", "incidents", pk, "acks"]) => {
                let body: Value = serde_json::from_str(&seen.body).unwrap();
                let why = body["description"].as_str().unwrap().to_owned();
                self.acks.lock().unwrap().push((pk.parse().unwrap(), why));
                Answer::status(201).body("{}")
            }
            // As Argus says it to a user who is a source.
            ("POST", ["api", "v2", "incidents", pk, "events"])
                if pk.parse().ok() == *self.refusing.lock().unwrap() =>
            {
                Answer::status(400)
                    .header("Content-Type", "application/json")
                    .body(r#"{"type":"A source system cannot post events of type 'CLO'."}"#)
            }
            ("POST", ["api", "v2", "incidents", pk, "events"]) => {
                let body: Value = serde_json::from_str(&seen.body).unwrap();
                assert_eq!(body["type"], "CLO");
                incidents.get_mut(&pk.parse().unwrap()).unwrap().1 = false;
                Answer::status(201).body("{}")
            }
            other => panic!("{other:?}"),
        }
    }

    /// A source raises incidents, sees its own, and ends these.
    fn answer_to_source(&self, seen: &Seen) -> Answer {
        let mut incidents = self.incidents.lock().unwrap();
        let mut raised = self.raised.lock().unwrap();
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (seen.method.as_str(), parts.as_slice()) {
            ("GET", ["api", "v2", "incidents", "mine"]) => {
                assert!(query.starts_with("open=true&page_size="), "{query}");
                self.looked.fetch_add(1, Relaxed);
                let open = raised.iter().filter(|(pk, _)| incidents[pk].1);
                let open = open.map(|(pk, raised)| {
                    json!({"pk": pk, "source_incident_id": raised["source_incident_id"]})
                });
                let open: Vec<Value> = open.collect();
                Answer::status(200).body(&json!({"next": null, "results": open}).to_string())
            }
            ("POST", ["api", "v2", "incidents"]) => {
                let pk = 1000 + raised.len() as i64;
                raised.insert(pk, serde_json::from_str(&seen.body).unwrap());
                incidents.insert(pk, (String::new(), true));
                Answer::status(201).body(&json!({"pk": pk}).to_string())
            }
            ("POST", ["api", "v2", "incidents", pk, "events"]) => {
                let body: Value = serde_json::from_str(&seen.body).unwrap();
                assert_eq!(body["type"], "END");
                incidents.get_mut(&pk.parse().unwrap()).unwrap().1 = false;
                Answer::status(201).body("{}")
            }
            other => panic!("{other:?}"),
        }
    }

    /// A page of the open incidents, with a ticket or without.
    fn listed(&self, incidents: &BTreeMap<i64, (String, bool)>, path: &str, query: &str) -> Answer {
        let with_ticket = query.starts_with("open=true&ticket=true&page_size=1");
        assert!(with_ticket || query.starts_with("open=true&ticket=false&page_size=1"), "{query}");
        assert!(query.contains("&level__lte=3"), "{query}");
        if query.contains("level__lte=3x") {
            return Answer::status(400).body(r#"{"level__lte":["Enter a number."]}"#);
        }
        let from: i64 = query.split("cursor=").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
        let open: Vec<i64> = incidents
            .iter()
            .filter(|(pk, (url, open))| **pk > from && url.is_empty() != with_ticket && *open)
            .map(|(pk, _)| *pk)
            .collect();
        // The link to the next one names a host that exists only
        // behind Argus's proxy. From the sixth incident on the cursor stands still, as a real
        // Argus's does among many incidents of one start_time.
        let filter = query.split("&cursor=").next().unwrap();
        let cursor = if from < 6 { open.get(self.page - 1).copied() } else { Some(from) };
        let next = cursor.filter(|_| open.len() > self.page);
        let next = next.map(|at| format!("http://inside{path}?{filter}&cursor={at}"));
        let results: Vec<Value> =
            open.iter().take(self.page).map(|pk| self.incident(*pk, &incidents[pk].0)).collect();
        Answer::status(200).body(&json!({"next": next, "results": results}).to_string())
    }

    fn incident(&self, pk: i64, url: &str) -> Value {
        let mut incident = of_api(pk);
        incident["ticket_url"] = url.into();
        incident["acked"] = self.acks.lock().unwrap().iter().any(|(acked, _)| *acked == pk).into();
        if let Some(level) = self.levels.lock().unwrap().get(&pk) {
            incident["level"] = (*level).into();
        }
        if let Some(raised) = self.raised.lock().unwrap().get(&pk) {
            incident["source_incident_id"] = raised["source_incident_id"].clone();
        }
        if *self.odd.lock().unwrap() == Some(pk) {
            incident["description"] = Value::Null;
        }
        incident
    }
}

fn host(desk: &Stub, argus: &Stub) -> Installation {
    host_with(desk, argus, "interval_seconds = 1\n")
}

/// A host whose `[argus]` has these settings, too.
pub(crate) fn host_with(desk: &Stub, argus: &Stub, more: &str) -> Installation {
    let rest = format!(
        "secret = {{ token = \"t\" }}\n[queue]\npath = \"queue.db\"\nsettle_seconds = 0\n\
         longest_wait_seconds = 1\n[serve]\nlisten = \"127.0.0.1:0\"\n[argus]\nurl = \"{}\"\nfrontend_url = \"https://argus.example.org\"\n\
         token = \"argus-token\"\nfilter = \"level__lte=3\"\n{more}",
        argus.url
    );
    Installation::with(&c_plugin("webhook"), &desk.url, &rest)
}

/// An incident as Argus's API gives it: without an argus_url.
fn of_api(pk: i64) -> Value {
    json!({"pk": pk, "description": "gw1 is down", "level": 3, "ticket_url": "",
        "source": {"pk": 1, "name": "nav"}, "start_time": "2026-11-23T08:00:00+01:00",
        "end_time": "infinity", "open": true, "stateful": true, "tags": []})
}

/// Changes a text in the config.
pub(crate) fn change(host: &Installation, from: &str, to: &str) {
    let config = std::fs::read_to_string(host.path("config.toml")).unwrap();
    assert!(config.contains(from), "{config}");
    std::fs::write(host.path("config.toml"), config.replace(from, to)).unwrap();
}

fn lists(server: &Stub) -> usize {
    server.seen().iter().filter(|seen| seen.target.contains("page_size")).count()
}

/// The `argus` of /readyz. It is 200 whatever that says.
fn ready(service: &Service) -> Value {
    service.get("/readyz").is(200).json()["argus"].clone()
}

fn jobs(service: &Service) -> usize {
    service.get("/v1/tickets").is(200).json()["tickets"].as_array().unwrap().len()
}

/// What a desk answers to `check`.
fn checked(seen: &Seen) -> Option<Answer> {
    let is_about_a_ticket = seen.method == "POST" || seen.target.contains("key=");
    (!is_about_a_ticket).then(|| Answer::status(204))
}

/// A desk that answers 500 to everything until the flag is cleared.
fn broken_desk() -> (Stub, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    (desk(move |_| is_down.load(Relaxed).then(|| Answer::status(500))), down)
}

/// The key that Argus's own button gives to the same incident.
pub(crate) fn key(pk: i64) -> String {
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
    let host = host_with(&desk, &server, "interval_seconds = 1\nended = \"create\"\n");
    let _service = host.serve();
    wait_for("a try", || !desk.seen().is_empty());
    argus.set_open(1, false);
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
    argus.set_url(1, "https://a.person/set");
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
fn a_proxy_that_has_no_argus_behind_it_does_not_say_that_argus_lost_its_incidents() {
    let argus = Argus::with(1);
    // So that Argus doesn't list it again.
    argus.set_open(1, false);
    *argus.broken.lock().unwrap() = Some(404);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let service = host.serve();
    let pressed = json!({"description": "gw1 is down", "argus_url": key(1)});
    service.file(&pressed, 30_000).is(201);
    let before = server.seen().len();
    wait_for("more rounds", || server.seen().len() >= before + 4);
    host.logged("answered 404, and not as Argus does", 1);
    host.run(&["create", "--argus", "1"]).ended(4).says("not the base of Argus's API");
    *argus.broken.lock().unwrap() = None;
    wait_for("the URL", || argus.have_urls([1]));
    host.run(&["create", "--argus", "7"]).ended(2).says("has no incident 7");
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
    let before = lists(&server);
    wait_for("three more rounds", || lists(&server) >= before + 3);
    let said = "Argus's incident 1: the incident has no description";
    assert_eq!(host.log().matches(said).count(), 1, "{}", host.log());
    // What goes wrong later is said, too.
    argus.add(6);
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
        (
            "url = \"https://a.org\"\ntoken = \"t\"\nfilter = \"level__lte=3&open=false\"\n",
            "argus.filter can't have the parameter open: incidents that have ended get no tickets",
        ),
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
        // A service that starts all the same touches no store but its own.
        host.config(&format!("[queue]\npath = \"queue.db\"\n[argus]\n{argus}"));
        host.run(&["serve", "--listen", "127.0.0.1:0"]).ended(3).says(why).says("help:");
    }
}

#[test]
fn an_incident_of_arguss_api_gets_the_ticket_that_the_watcher_made() {
    let argus = Argus::with(2);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let service = host.serve();
    wait_for("the URLs", || argus.have_urls(1..=2));
    let job = service.file(&of_api(1), 30_000).is(200).json();
    assert_eq!((&job["key"], &job["ticket"]["url"]), (&json!(key(1)), &json!(ticket_of(&key(1)))));
    let piped = host.create_from(of_api(2).to_string().as_bytes(), &[]).ended(0);
    assert_eq!(piped.stdout.trim_end(), ticket_of(&key(2)));
    assert_eq!(desk.posted().len(), 2);
}

#[test]
fn an_incident_by_hand_is_told_to_argus_and_not_filed_again() {
    let argus = Argus::with(1);
    argus.set_open(1, false);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let service = host.serve();
    service.file(&of_api(1), 30_000).is(201);
    wait_for("the URL", || argus.have_urls([1]));
    // The ticket says where the incident's page is, as that of the watcher would.
    let posted = desk.seen().into_iter().find(|seen| seen.method == "POST").unwrap();
    assert!(posted.body.contains(&key(1)), "{posted:?}");
}

#[test]
fn another_installations_incident_of_the_same_number_is_not_arguss() {
    let argus = Argus::with(1);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let service = host.serve();
    wait_for("the URL", || argus.have_urls([1]));
    let mut earlier = of_api(1);
    earlier["start_time"] = "2026-11-23T07:59:59+01:00".into();
    let mut unknown = of_api(7);
    unknown["source"]["name"] = "zabbix".into();
    for (incident, key) in [(earlier, "nav#1"), (unknown, "zabbix#7")] {
        let job = service.file(&incident, 30_000).is(201).json();
        assert_eq!(job["key"], key);
    }
    assert_eq!(desk.posted().len(), 3);
}

#[test]
fn an_incident_of_which_somebody_says_that_it_began_at_another_time_is_no_other_one() {
    let argus = Argus::with(1);
    let (desk, down) = broken_desk();
    let server = argus.serve();
    let host = host(&desk, &server);
    let service = host.serve();
    wait_for("it to wait", || jobs(&service) == 1);
    // Argus doesn't list it again.
    argus.set_open(1, false);
    let claimed = json!({"pk": 1, "description": "x", "argus_url": key(1), "start_time": "2026-11-24T00:00:00Z"});
    service.file(&claimed, 0).is(202);
    down.store(false, Relaxed);
    wait_for("the URL", || argus.have_urls([1]));
    assert_eq!(jobs(&service), 1);
}

#[test]
fn nothing_is_made_of_an_incident_that_may_be_arguss_while_argus_cannot_be_asked() {
    let argus = Argus::with(1);
    *argus.broken.lock().unwrap() = Some(503);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let service = host.serve();
    let problem = service.file(&of_api(1), 0).is(503).json();
    assert_eq!(problem["kind"], "client");
    assert!(problem["detail"].as_str().unwrap().contains("nothing was accepted"), "{problem}");
    let incident = of_api(1).to_string();
    let piped = host.create_from(incident.as_bytes(), &[]).ended(4);
    piped.says("whether this is incident 1 of").says("answered 503").says("--argus PK");
    assert_eq!((jobs(&service), desk.seen().len()), (0, 0));
    // Who says which incident it is needs no Argus.
    host.create_from(incident.as_bytes(), &["--key", "mine"]).ended(0);
    let named = json!({"incident": of_api(1), "key": key(1), "wait_ms": 30000});
    service.post("/v1/tickets", &named).is(201);
}

#[test]
fn an_incident_is_taken_from_argus_by_its_number() {
    let argus = Argus::with(2);
    argus.set_open(2, false);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let made = host.run(&["create", "--argus", "2"]).ended(0);
    assert_eq!(made.stdout.trim_end(), ticket_of(&key(2)));
    host.run(&["create", "--argus", "3"]).ended(2).says("has no incident 3");
    host.run(&["create", "--argus", "2", "incident.json"]).ended(2).says("cannot be used with");
    *argus.broken.lock().unwrap() = Some(502);
    host.run(&["create", "--argus", "2"]).ended(4).says("answered 502");
    change(&host, "[argus]", "[not_argus]");
    host.run(&["create", "--argus", "2"]).ended(3);
    let without =
        Installation::with(&c_plugin("webhook"), &desk.url, "secret = { token = \"t\" }\n");
    without.run(&["create", "--argus", "2"]).ended(3).says("the config has no [argus]");
}

/// What Argus's button sends, with Argus's own FRONTEND_URL.
fn press(service: &Service, pk: i64, frontend: &str) -> (u16, Value) {
    let mut incident = of_api(pk);
    incident["argus_url"] = format!("{frontend}incidents/{pk}").into();
    let mut answer = agent()
        .post(format!("{}/v1/tickets", service.url))
        .header("Authorization", "Bearer button")
        .send_json(json!({"incident": incident, "wait_ms": 30000}))
        .unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
}

fn get(service: &Service, path: &str, token: &str) -> String {
    let request = agent().get(format!("{}{path}", service.url));
    let mut answer = request.header("Authorization", format!("Bearer {token}")).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

#[test]
fn the_button_and_the_watcher_make_one_ticket_whatever_arguss_frontend_url_is() {
    let argus = Argus { frontend: "https://noc.example.org/", ..Argus::with(2) };
    let (desk, server) = (desk(checked), argus.serve());
    let host = host_with(
        &desk,
        &server,
        "interval_seconds = 1\n[serve.tokens.button]\ntoken = \"button\"\nscopes = [\"create\"]\nargus = true\n\
         [serve.tokens.eye]\ntoken = \"eye\"\nscopes = [\"read\"]\n",
    );
    let service = host.serve();
    wait_for("the URLs", || argus.have_urls(1..=2));
    for pk in 1..=2 {
        let (status, job) = press(&service, pk, "https://noc.example.org/");
        assert_eq!((status, &job["key"]), (200, &json!(key(pk))), "{job}");
    }
    assert_eq!(desk.posted().len(), 2);
    // It is said once, with what to do.
    host.logged("set argus.frontend_url = \"https://noc.example.org/\"", 1);
    assert_eq!(host.log().matches("Argus's own page of an incident").count(), 1, "{}", host.log());
    let told = || -> Value { serde_json::from_str(&get(&service, "/readyz", "eye")).unwrap() };
    assert!(told()["argus"]["error"]["help"].as_str().unwrap().contains("noc.example.org"));
    let metrics = get(&service, "/metrics", "eye");
    assert!(metrics.contains("ticket_host_argus_frontend_mismatches_total 2"), "{metrics}");
    let check = host.run(&["check"]).ended(0).stdout;
    let row = "warn    frontend_url: Argus's own FRONTEND_URL is https://noc.example.org/, and not https://argus.example.org/";
    assert!(check.contains(row), "{check}");
    // Who has no right to read sees nothing of it.
    assert!(!get(&service, "/readyz", "button").contains("argus"));
    change(&host, "https://argus.example.org", "https://noc.example.org");
    host.logged("config and plugins were read again", 1);
    wait_for("the error to go", || told()["argus"].get("error").is_none());
    // What was made under the older URL is Argus's by then; what is new has the newer one.
    argus.add(3);
    wait_for("the URL", || argus.url(3) == ticket_of("https://noc.example.org/incidents/3"));
    assert_eq!(press(&service, 3, "https://noc.example.org/").0, 200);
}

#[test]
fn the_watcher_is_seen() {
    let argus = Argus::with(2);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let service = host.serve();
    wait_for("the URLs", || argus.have_urls(1..=2));
    wait_for("a round that lists nothing", || ready(&service)["listed"] == 0);
    let before = ready(&service);
    assert!(before["last_told"].is_string() && before.get("error").is_none(), "{before}");
    *argus.broken.lock().unwrap() = Some(503);
    wait_for("the error", || ready(&service)["error"]["message"].is_string());
    let broken = ready(&service);
    let poll = broken["last_poll"].clone();
    assert!(broken["error"]["message"].as_str().unwrap().contains("answered 503"), "{broken}");
    let metrics = service.get("/metrics").is(200).text;
    for (line, is_there) in [
        ("ticket_host_argus_last_poll_timestamp_seconds 0.0\n", false),
        ("ticket_host_argus_last_told_timestamp_seconds 0.0\n", false),
        ("ticket_host_argus_listed 0\n", true),
        ("ticket_host_argus_error 1\n", true),
    ] {
        assert_eq!(metrics.contains(line), is_there, "{line} in:\n{metrics}");
    }
    let seen = lists(&server);
    wait_for("two more rounds", || lists(&server) >= seen + 2);
    assert_eq!(ready(&service)["last_poll"], poll);
    *argus.broken.lock().unwrap() = None;
    wait_for("a poll", || ready(&service)["last_poll"] != poll);
    wait_for("no error", || ready(&service).get("error").is_none());
}

#[test]
fn a_filter_that_argus_would_ignore_files_nothing_and_is_said() {
    let argus = Argus::with(2);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    change(&host, "level__lte", "levle__lte");
    let service = host.serve();
    let said = "argus.filter: Argus knows no parameter \"levle__lte\"";
    host.logged(said, 1);
    host.logged("did you mean level__lte?", 1);
    assert!(ready(&service)["error"]["message"].as_str().unwrap().contains(said));
    // What is asked for goes on, and Argus hears of it.
    let pressed = json!({"description": "gw1 is down", "argus_url": key(2)});
    service.file(&pressed, 30_000).is(201);
    wait_for("its URL", || argus.have_urls([2]));
    assert_eq!((argus.url(1).as_str(), desk.posted().len(), lists(&server)), ("", 1, 0));
    let schemas = || server.seen().iter().filter(|seen| seen.target.contains("schema")).count();
    let before = schemas();
    wait_for("two more rounds", || schemas() >= before + 2);
    assert_eq!(host.log().matches(said).count(), 1, "{}", host.log());
    change(&host, "levle__lte", "level__lte");
    wait_for("the other URL", || argus.have_urls([1]));
    assert!(ready(&service).get("error").is_none());
}

#[test]
fn check_asks_argus_with_the_filter() {
    let argus = Argus::with(2);
    let (desk, server) = (desk(checked), argus.serve());
    let host = host(&desk, &server);
    let run = host.run(&["check"]).ended(0);
    for row in [
        "ok      filter: Argus knows each of its parameters",
        "ok      frontend_url: https://argus.example.org/ is Argus's FRONTEND_URL, too",
    ] {
        assert!(run.stdout.contains(row), "{run:?}");
    }
    change(&host, "level__lte=3", "level__lte=3&ackd=false");
    let run = host.run(&["check"]).ended(3);
    let row = "FAILED  filter: argus.filter: Argus knows no parameter \"ackd\"";
    assert!(run.stdout.contains(row) && run.stdout.contains("did you mean acked?"), "{run:?}");
    change(&host, "level__lte=3&ackd=false", "level__lte=3x");
    let run = host.run(&["check"]).ended(3);
    let row = "FAILED  api: argus.filter: Argus (GET /api/v2/incidents/): answered 400 {\"level__lte\":[\"Enter a number.\"]}";
    assert!(run.stdout.contains(row), "{run:?}");
}

#[test]
fn argus_hears_of_a_ticket_at_once() {
    let argus = Argus::with(1);
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host_with(&desk, &server, "interval_seconds = 3600\n");
    let service = host.serve();
    wait_for("the URL", || argus.have_urls([1]));
    argus.add(2);
    argus.set_open(2, false);
    service.file(&of_api(2), 30_000).is(201);
    wait_for("the other URL", || argus.have_urls([2]));
    // Both within the first hour.
    assert!(ready(&service)["last_told"].is_string());
    let polls = server.seen().iter().filter(|s| s.target.contains("page_size=1000")).count();
    // The first one looks how many there are, the last one for those that have tickets.
    assert_eq!(polls, 3);
}

#[test]
fn many_incidents_that_were_there_before_get_tickets_only_if_somebody_says_so() {
    let argus = Argus { page: 1000, ..Argus::with(51) };
    let (desk, server) = (desk(|_| None), argus.serve());
    let host = host(&desk, &server);
    let said =
        "Argus had 51 open incidents without a ticket before it was watched for the first time";
    {
        let service = host.serve();
        host.logged(said, 1);
        host.logged("argus.backlog = \"file\" files them all", 1);
        argus.add(52);
        wait_for("the new one's URL", || argus.have_urls([52]));
        wait_for("a round without it", || ready(&service)["listed"] == 51);
        assert_eq!(ready(&service)["skipped"], 51);
        assert_eq!(service.stop(), 0);
    }
    let service = host.serve();
    argus.add(53);
    wait_for("the next one's URL", || argus.have_urls([53]));
    host.run(&["create", "--argus", "5"]).ended(0);
    assert_eq!(desk.posted().len(), 3);
    assert_eq!(host.log().matches(said).count(), 1, "{}", host.log());
    change(&host, "[argus]", "[argus]\nbacklog = \"file\"");
    wait_for("all URLs", || argus.have_urls(1..=53));
    assert_eq!(ready(&service)["skipped"], 0);
    // What was decided is not forgotten with the setting.
    change(&host, "backlog = \"file\"", "backlog = \"skip\"");
    argus.incidents.lock().unwrap().insert(4, (String::new(), true));
    wait_for("its URL, which Argus had lost", || argus.have_urls([4]));
    assert_eq!(desk.posted().len(), 53);
}

#[test]
fn a_backlog_is_skipped_or_filed_as_the_config_says() {
    for (setting, count, are_filed) in [("skip", 2, false), ("file", 60, true), ("ask", 50, true)] {
        let argus = Argus { page: 1000, ..Argus::with(count) };
        let (desk, server) = (desk(|_| None), argus.serve());
        let more = format!("interval_seconds = 1\nbacklog = \"{setting}\"\n");
        let host = host_with(&desk, &server, &more);
        let service = host.serve();
        wait_for("a poll", || ready(&service)["last_poll"].is_string());
        argus.add(count + 1);
        wait_for("the new one's URL", || argus.have_urls([count + 1]));
        if are_filed {
            wait_for("all URLs", || argus.have_urls(1..=count));
        } else {
            assert_eq!(desk.posted().len(), 1, "{setting}");
        }
        assert!(!host.log().contains("help: argus.backlog"), "{}", host.log());
    }
}

/// What becomes of incidents that wait for two minutes, since the desk is down: the first ends, the second gets a URL by
/// hand, the third goes on, the fourth ends though somebody asked for its ticket. By the clock, which a test can set.
#[cfg(target_os = "linux")]
fn after_two_minutes(more: &str) -> (Stub, Installation, Service, Argus) {
    let argus = Argus::with(4);
    let server = argus.serve();
    let (desk, down) = broken_desk();
    let host = host_with(&desk, &server, &format!("interval_seconds = 1\n{more}"));
    let service = crate::clock::serve(&host, 0);
    for pk in 1..=4 {
        wait_for("all to wait", || service.get(&format!("/v1/tickets/{pk}")).status == 200);
    }
    let asked = service.post("/v1/tickets", &json!({"incident": of_api(4), "wait_ms": 0}));
    asked.is(202);
    {
        let mut incidents = argus.incidents.lock().unwrap();
        incidents.get_mut(&1).unwrap().1 = false;
        incidents.get_mut(&2).unwrap().0 = "https://by.hand/2".to_owned();
        incidents.get_mut(&4).unwrap().1 = false;
    }
    crate::clock::set(&host, 120);
    comes_back(&desk, &down);
    wait_for("the end of all", || {
        let page = service.get("/v1/tickets").json();
        let jobs = page["tickets"].as_array().unwrap();
        jobs.iter().all(|job| ["created", "suppressed"].contains(&job["state"].as_str().unwrap()))
    });
    (desk, host, service, argus)
}

/// Ends a desk's outage when each call that is under way has begun since now: an earlier one had asked Argus before.
#[cfg(target_os = "linux")]
fn comes_back(desk: &Stub, down: &AtomicBool) {
    let seen = desk.seen().len();
    wait_for("calls that begin now", || desk.seen().len() > seen + 2);
    down.store(false, Relaxed);
}

/// The state of an incident's job, and its ticket's URL.
#[cfg(target_os = "linux")]
fn job(service: &Service, pk: i64) -> (String, String) {
    let page = service.get(&format!("/v1/tickets?key={}", key(pk))).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&page["tickets"][0]["state"]), text(&page["tickets"][0]["ticket"]["url"]))
}

#[cfg(target_os = "linux")]
#[test]
fn an_incident_that_waited_gets_no_ticket_if_it_ended_or_got_one_by_hand_unless_somebody_asked() {
    let (desk, host, service, argus) = after_two_minutes("");
    assert_eq!(job(&service, 1).0, "suppressed");
    assert_eq!(job(&service, 2), ("created".to_owned(), "https://by.hand/2".to_owned()));
    let mut posted = desk.posted();
    posted.sort();
    posted.dedup();
    assert_eq!(posted, [key(3), key(4)]);
    wait_for("the URL", || argus.url(3) == ticket_of(&key(3)));
    assert_eq!(argus.url(2), "https://by.hand/2");
    host.logged("suppressed: the incident has ended", 1);
    // A person may want it all the same.
    let number =
        service.get(&format!("/v1/tickets?key={}", key(1))).json()["tickets"][0]["id"].clone();
    host.run(&["queue", "retry", &number.to_string()]).ended(0);
    wait_for("the ticket", || job(&service, 1).0 == "created");
}

#[cfg(target_os = "linux")]
#[test]
fn every_incident_that_waited_gets_its_ticket_where_that_is_wanted() {
    let (desk, _host, service, _argus) = after_two_minutes("ended = \"create\"\n");
    assert_eq!(job(&service, 1).0, "created");
    let posted = desk.posted();
    assert!(posted.contains(&key(1)) && !posted.contains(&key(2)), "{posted:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_incident_that_waited_gets_its_ticket_with_a_warning_while_argus_cannot_be_asked() {
    let argus = Argus::with(1);
    let server = argus.serve();
    let (desk, down) = broken_desk();
    let host = host(&desk, &server);
    let service = crate::clock::serve(&host, 0);
    wait_for("it to wait", || service.get("/v1/tickets/1").status == 200);
    *argus.broken.lock().unwrap() = Some(503);
    crate::clock::set(&host, 120);
    comes_back(&desk, &down);
    wait_for("the ticket", || job(&service, 1).0 == "created");
    let warnings = service.get("/v1/tickets/1").json()["ticket"]["warnings"].to_string();
    assert!(warnings.contains("Argus could not be asked whether"), "{warnings}");
}

#[test]
fn the_command_line_makes_an_incidents_ticket_where_the_watcher_would() {
    let argus = Argus::with(3);
    let server = argus.serve();
    let (usual, watched) = (desk(|_| None), desk(|_| None));
    let host = host_with(&watched, &server, "interval_seconds = 1\nbackend = \"b\"\n");
    let config = std::fs::read_to_string(host.path("config.toml")).unwrap();
    let (_plugin_dirs, config) = config.split_once('\n').unwrap();
    host.config(&format!(
        "default_backend = \"usual\"\n{config}[backends.usual]\nplugin = \"webhook\"\nendpoint = \"{}\"\n\
         secret = {{ token = \"t\" }}\n",
        usual.url
    ));
    assert_eq!(host.run(&["create", "--argus", "1"]).ended(0).stdout.trim(), ticket_of(&key(1)));
    let of_api = of_api(2).to_string();
    let piped = host.create_from(of_api.as_bytes(), &[]).ended(0);
    assert_eq!(piped.stdout.trim(), ticket_of(&key(2)));
    let _service = host.serve();
    wait_for("all URLs", || argus.have_urls(1..=3));
    assert_eq!((usual.posted().len(), watched.posted().len()), (0, 3));
    host.run(&["create", "--argus", "3", "--backend", "usual"]).ended(0);
}

/// A host that tells tickets everything at once, watching an Argus with one incident, whose ticket it has made.
fn followed(argus: &Argus) -> (Tickets, Stub, Stub, Installation, Service) {
    let tickets = Tickets::default();
    let (stub, server) = (tickets.serve(|_| Fate::Done), argus.serve());
    let host = host(&stub, &server);
    change(&host, "[backends.b]\n", &format!("[backends.b]\n{TOLD_AT_ONCE}"));
    let service = host.serve();
    wait_for("the ticket", || argus.have_urls([1]));
    (tickets, stub, server, host, service)
}

#[test]
fn a_ticket_follows_its_incident_in_argus_and_argus_hears_of_a_new_one() {
    let argus = Argus::with(1);
    let (tickets, _stub, _server, _host, _service) = followed(&argus);
    let done = |expected: &[&str]| {
        wait_for(&format!("{expected:?}"), || tickets.of(&key(1)).actions() == expected);
    };
    argus.levels.lock().unwrap().insert(1, 1);
    done(&["comment"]);
    argus.set_open(1, false);
    done(&["comment", "close"]);
    argus.set_open(1, true);
    done(&["comment", "close", "reopen"]);
    // It was deleted by a person: the next time that it begins it gets a new one.
    argus.set_open(1, false);
    done(&["comment", "close", "reopen", "close"]);
    tickets.set(&key(1), "gone");
    argus.set_open(1, true);
    let new_one = format!("{}#again-2", key(1));
    wait_for("Argus to hear of the new one", || argus.url(1) == ticket_of(&new_one));
    assert_eq!(tickets.of(&new_one).incident["former_ticket_url"], ticket_of(&key(1)));
    assert_eq!((tickets.of(&new_one).made, tickets.of(&key(1)).made), (1, 1));
}

#[test]
fn a_ticket_is_not_closed_if_its_incident_began_again_since_the_watcher_looked() {
    let argus = Argus::with(1);
    let tickets = Tickets::default();
    let (stub, server) = (tickets.serve(|_| Fate::Done), argus.serve());
    let host = host_with(&stub, &server, "interval_seconds = 5\n");
    let told = "[backends.b]\non_end = \"close\"\nclose_after = \"2s\"\n";
    change(&host, "[backends.b]\n", told);
    let service = host.serve();
    wait_for("the ticket", || argus.have_urls([1]));
    argus.set_open(1, false);
    let ended = || job_of(&service, 1)["incidents"][0]["status"] == "ended";
    wait_for("the watcher to see that", ended);
    argus.set_open(1, true);
    host.logged("close isn't needed, the incident began again", 1);
    assert_eq!(job_of(&service, 1)["steps"][0]["state"], "needless");
    assert_eq!(tickets.of(&key(1)).actions(), [""; 0]);
    argus.set_open(1, false);
    wait_for("it to be closed", || tickets.of(&key(1)).actions() == ["close"]);
}

pub(crate) fn job_of(service: &Service, id: i64) -> Value {
    service.get(&format!("/v1/tickets/{id}")).is(200).json()
}

#[test]
fn an_incident_that_argus_no_longer_has_has_ended() {
    let argus = Argus::with(2);
    let (tickets, _stub, _server, _host, _service) = followed(&argus);
    wait_for("the tickets", || argus.have_urls([1, 2]));
    argus.incidents.lock().unwrap().remove(&2);
    wait_for("it to be closed", || tickets.of(&key(2)).actions() == ["close"]);
    assert_eq!(tickets.of(&key(1)).actions(), [""; 0]);
}
