//! Config and plugins that change while the service runs.

use std::fs;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, Installation, Service, Stub, c_plugin, desk, library_name, ticket_of, wait_for,
    webhook_as,
};

const QUEUE: &str = "[queue]\npath = \"queue.db\"\nsettle_seconds = 0\nlongest_wait_seconds = 1\n";

fn numbered(number: usize) -> Value {
    json!({"description": "gw1 is down", "pk": number, "source": {"name": "nav"}})
}

fn backend(endpoint: &str, more: &str) -> String {
    format!(
        "{QUEUE}[backends.b]\nplugin = \"webhook\"\nendpoint = \"{endpoint}\"\n\
         secret = {{ token = \"t\" }}\n{more}\n"
    )
}

fn host_at(desk: &Stub) -> Installation {
    let host = Installation::new();
    host.add(&c_plugin("webhook"));
    host.config(&backend(&desk.url, ""));
    host
}

fn version(service: &Service) -> Value {
    service.get("/v1/backends").json()[0]["version"].clone()
}

fn created(service: &Service, rows: usize) {
    wait_for("all tickets", || {
        let page = service.get("/v1/tickets?state=created&limit=1000").json();
        page["tickets"].as_array().unwrap().len() == rows
    });
}

/// The webhook plugin as a later version, put in the place of the one that is there.
fn upgrade(host: &Installation) {
    webhook_as(&host.path("plugins").join(library_name("webhook")), "webhook", "0.2.0", &[]);
}

#[test]
fn a_new_library_appears_and_a_removed_ones_backends_say_import() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let service = host.serve();
    service.file(&numbered(1), 30_000).is(201);
    host.add(&c_plugin("null_find"));
    wait_for("the new plugin", || service.get("/v1/plugins").text.contains("null_find"));
    fs::remove_file(host.path("plugins").join(library_name("webhook"))).unwrap();
    wait_for("the removal", || service.get("/v1/backends").json()[0]["ready"] == false);
    assert_eq!(service.file(&numbered(2), 30_000).is(500).json()["kind"], "import");
    host.add(&c_plugin("webhook"));
    created(&service, 2);
}

#[test]
fn a_changed_library_takes_over_call_by_call() {
    let (inside, within) = mpsc::channel();
    let (open, door) = mpsc::channel::<()>();
    let door = Mutex::new(door);
    let desk = desk(move |seen| {
        if seen.method == "POST" && seen.body.contains("nav#1\"") {
            inside.send(()).unwrap();
            door.lock().unwrap().recv().unwrap();
        }
        None
    });
    let host = host_at(&desk);
    let service = host.serve();
    service.file(&numbered(1), 0).is(202);
    within.recv().unwrap();
    assert_eq!(version(&service), "0.1.0");
    upgrade(&host);
    wait_for("the later version", || version(&service) == "0.2.0");
    // The new one works while the old one's call goes on, which then ends well.
    service.file(&numbered(2), 30_000).is(201);
    assert_eq!(service.get("/v1/tickets/1").json()["state"], "creating");
    open.send(()).unwrap();
    created(&service, 2);
    assert_eq!(desk.posted().len(), 2);
}

#[test]
fn a_library_that_claims_the_name_of_one_in_use_takes_nothing_from_it() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let second = backend(&desk.url, "").replace(QUEUE, "").replace("backends.b", "backends.c");
    let second = second.replace("\"webhook\"", "\"null_find\"");
    host.add(&c_plugin("null_find"));
    host.config(&(backend(&desk.url, "") + &second));
    // None that comes goes before a library whose file is called after the plugin. This one's isn't.
    let [called_after_it, there] =
        ["webhook", "desk"].map(|name| host.path("plugins").join(library_name(name)));
    fs::rename(&called_after_it, &there).unwrap();
    let service = host.serve();
    let ready = |service: &Service| {
        let backends = service.get("/v1/backends").json();
        [backends[0]["ready"].clone(), backends[1]["ready"].clone()]
    };
    assert_eq!(ready(&service), [true, true]);
    let newcomer = host.path("plugins").join(library_name("aaa"));
    webhook_as(&newcomer, "webhook", "6.6.6", &[]);
    host.logged(&format!("backend b goes on with {}", there.display()), 1);
    let several = format!(
        "no plugin is used as \"webhook\": {} and {} have that name",
        newcomer.display(),
        there.display()
    );
    assert!(host.log().contains(&several), "{}", host.log());
    assert_eq!(ready(&service), [true, true]);
    assert_eq!(version(&service), "0.1.0");
    // It stays so, also when the one in use is replaced by a later version.
    webhook_as(&there, "webhook", "0.2.0", &[]);
    wait_for("the later version", || version(&service) == "0.2.0");
    let asked = json!({"incident": numbered(1), "backend": "b", "wait_ms": 30_000});
    service.post("/v1/tickets", &asked).is(201);
    assert_eq!(service.stop(), 0);
    // A host that starts can't know which one is meant. The other backend doesn't suffer.
    let service = host.serve();
    assert_eq!(ready(&service), [false, true]);
    let error = service.get("/v1/backends").json()[0]["error"].to_string();
    for file in [&newcomer, &there] {
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
    assert_eq!(service.stop(), 0);
    fs::rename(there, called_after_it).unwrap();
    assert_eq!(version(&host.serve()), "0.2.0");
}

/// Its own name would go before the alias of the one in use.
#[test]
fn a_library_with_the_name_that_one_in_use_has_as_an_alias_takes_nothing_from_it() {
    let desk = desk(|_| None);
    let host = Installation::new();
    let there = host.path("plugins").join(library_name("old"));
    webhook_as(&there, "old", "1.0.0", &["acme"]);
    host.config(&backend(&desk.url, "").replace("\"webhook\"", "\"acme\""));
    let service = host.serve();
    assert_eq!(version(&service), "1.0.0");
    let newcomer = host.path("plugins").join(library_name("acme"));
    webhook_as(&newcomer, "acme", "6.6.6", &[]);
    let goes_on = format!(
        "backend b goes on with {}: {} in the same directory claims \"acme\" too",
        there.display(),
        newcomer.display()
    );
    host.logged(&goes_on, 1);
    assert_eq!(version(&service), "1.0.0");
}

#[test]
fn a_library_that_is_replaced_by_a_broken_one_stays_in_use() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let library = host.path("plugins").join(library_name("webhook"));
    let service = host.serve();
    service.file(&numbered(1), 30_000).is(201);
    let replace = |by: &[u8]| {
        fs::write(library.with_extension("new"), by).unwrap();
        fs::rename(library.with_extension("new"), &library).unwrap();
    };
    const GOES_ON: &str = "backend b goes on with the library that it has loaded";
    replace(b"no library");
    host.logged(GOES_ON, 1);
    host.logged("is not a library", 1);
    service.signal("HUP");
    host.logged(GOES_ON, 2);
    service.file(&numbered(2), 30_000).is(201);
    assert_eq!(version(&service), "0.1.0");
    // No library of a later directory takes its place, either.
    let later = host.path("bin").join(library_name("webhook"));
    webhook_as(&later, "webhook", "6.6.6", &[]);
    host.logged(GOES_ON, 3);
    assert_eq!(version(&service), "0.1.0");
    fs::remove_file(later).unwrap();
    host.logged(GOES_ON, 4);
    upgrade(&host);
    wait_for("the later version", || version(&service) == "0.2.0");
}

#[test]
fn what_the_operator_does_not_trust_any_more_is_not_kept() {
    use std::os::unix::fs::PermissionsExt;
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let library = host.path("plugins").join(library_name("webhook"));
    let service = host.serve();
    let ready = || service.get("/v1/backends").json()[0]["ready"] == true;
    assert!(ready());
    // The file stays, and others may have written to it.
    fs::set_permissions(&library, fs::Permissions::from_mode(0o666)).unwrap();
    wait_for("the refusal", || !ready());
    fs::set_permissions(&library, fs::Permissions::from_mode(0o644)).unwrap();
    wait_for("the permission", ready);
    // The file is another one, and the config says by now that somebody must vouch for libraries.
    fs::write(library.with_extension("new"), "no library").unwrap();
    fs::rename(library.with_extension("new"), &library).unwrap();
    host.logged("backend b goes on with the library that it has loaded", 1);
    assert!(ready());
    host.config(&format!("signatures = \"require\"\n{}", backend(&desk.url, "")));
    wait_for("the refusal", || !ready());
}

#[test]
fn a_broken_config_is_refused_with_its_diagnostic_and_the_old_one_stays() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let service = host.serve();
    for (times, (broken, why)) in [
        ("[backends.b]\nplugin = ", "config.toml:3"),
        ("[backends.b]\nplugin = \"webhook\"\nendpoint = \"nonsense\"\n", "is not a valid URL"),
        // Only the plugin's schema knows that this is wrong.
        (
            "[backends.b]\nplugin = \"webhook\"\nendpoint = \"https://x.org\"\nsecret = { tok = \"1\" }\n",
            "secret",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        host.config(broken);
        host.logged("the changed config is refused, the old one stays", times + 1);
        let log = host.log();
        let last = log.rsplit("the changed config is refused").next().unwrap();
        assert!(last.contains(why) && last.contains("help:"), "{last}");
        service.file(&numbered(times), 30_000).is(201);
    }
    assert!(service.get("/metrics").text.contains("refused_reloads_total 3"));
    // No line of a report can be taken for an event of its own.
    let log = host.log();
    let events = [" INFO ", " WARN ", "ERROR "];
    let odd = log.lines().find(|line| {
        let after_the_time = line.split_once('Z').map_or("", |(_, rest)| &rest[1..]);
        !line.starts_with("      | ") && !events.iter().any(|it| after_the_time.starts_with(it))
    });
    assert_eq!(odd, None, "{log}");
    host.config(&backend(&desk.url, "concurrency = 2"));
    service.signal("HUP");
    service.file(&numbered(9), 30_000).is(201);
}

#[test]
fn a_service_answers_while_it_reads_a_config_in_which_very_much_is_wrong() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let service = host.serve();
    let wrong = |n| format!("[backends.b{n}]\nplugin = \"webhook\"\nendpoint = \"x@y\"\n");
    host.config(&(0..4_000).map(wrong).collect::<String>());
    let mut longest = Duration::ZERO;
    wait_for("the refusal", || {
        for probe in ["/healthz", "/readyz"] {
            let before = Instant::now();
            service.get(probe).is(200);
            longest = longest.max(before.elapsed());
        }
        host.log().contains("the changed config is refused, the old one stays")
    });
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    host.logged("... and 3980 errors more", 1);
}

#[test]
fn swapping_the_ticket_system_drops_no_incident() {
    let broken = desk(|_| Some(Answer::status(500)));
    let other = desk(|_| None);
    let host = host_at(&broken);
    let service = host.serve();
    for number in 0..20 {
        service.file(&numbered(number), 0).is(202);
    }
    wait_for("a try", || !broken.seen().is_empty());
    host.config(&backend(&other.url, ""));
    for number in 20..40 {
        service.file(&numbered(number), 0).is(202);
    }
    created(&service, 40);
    assert_eq!(other.posted().len(), 40);
    assert!(broken.posted().is_empty());
}

#[test]
fn what_failed_for_its_settings_is_tried_again_when_they_are_read_anew() {
    let token = Arc::new(Mutex::new("good"));
    let wanted = Arc::clone(&token);
    let desk = desk(move |seen| {
        let expected = format!("Bearer {}", wanted.lock().unwrap());
        (seen.header("authorization") != Some(&expected)).then(|| Answer::status(401))
    });
    let host = host_at(&desk);
    fs::write(host.path("token"), "stale").unwrap();
    let from_file = backend(&desk.url, "").replace("\"t\"", "{ file = \"token\" }");
    host.config(&from_file);
    let service = host.serve();
    let problem = service.file(&numbered(1), 30_000).is(400).json();
    assert_eq!(problem["kind"], "settings", "{problem}");
    fs::write(host.path("token"), "good").unwrap();
    service.signal("HUP");
    created(&service, 1);
    let again = service.file(&numbered(1), 30_000).is(200).json();
    assert_eq!(again["ticket"]["url"], ticket_of("nav#1"));
    // A host that is started reads them anew, too.
    *token.lock().unwrap() = "better";
    service.file(&numbered(2), 30_000).is(400);
    assert_eq!(service.stop(), 0);
    fs::write(host.path("token"), "better").unwrap();
    created(&host.serve(), 2);
}

#[test]
fn what_the_queue_holds_of_a_backend_that_is_gone_waits_for_it() {
    let down = desk(|_| Some(Answer::status(500)));
    let up = desk(|_| None);
    let host = host_at(&down);
    let service = host.serve();
    service.file(&numbered(1), 0).is(202);
    wait_for("a try", || !down.seen().is_empty());
    host.config(&backend(&up.url, "").replace("backends.b", "backends.other"));
    wait_for("the change", || service.get("/v1/backends").json()[0]["name"] == "other");
    service.file(&numbered(2), 30_000).is(201);
    host.config(&backend(&up.url, ""));
    created(&service, 2);
}
