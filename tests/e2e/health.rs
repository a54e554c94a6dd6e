//! The service's own health: what it says of itself, and that nobody outside can make it hang.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use ticket_host_tests::{
    Answer, Installation, Service, Stub, c_plugin, desk, rust_plugin, skipped, wait_for,
};

use crate::serve::numbered;

const QUEUE: &str = "[queue]\npath = \"queue.db\"\nsettle_seconds = 0\nlongest_wait_seconds = 1\n";

fn backend(name: &str, endpoint: &str) -> String {
    format!(
        "[backends.{name}]\nplugin = \"webhook\"\nendpoint = \"{endpoint}\"\n\
         secret = {{ token = \"t\" }}\n"
    )
}

fn host_at(desk: &Stub, more: &str) -> Installation {
    let host = Installation::new();
    host.add(&c_plugin("webhook"));
    host.config(&format!("{more}\n{QUEUE}{}", backend("b", &desk.url)));
    host
}

/// What stands in `/metrics` under that name, without labels.
fn metric(service: &Service, name: &str) -> f64 {
    let text = service.get("/metrics").is(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}

/// Another program that holds a store for itself, until this is dropped.
struct Held(Child);

impl Held {
    fn new(store: &Path) -> Option<Held> {
        const HOLD: &str = "import sqlite3, sys\n\
            store = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            store.execute('BEGIN EXCLUSIVE')\nprint('held', flush=True)\nsys.stdin.read()\n";
        let mut python = Command::new("python3");
        python.args(["-c", HOLD]).arg(store).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().ok()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said == "held\n" {
            return Some(Held(child));
        }
        let _ = child.wait();
        None
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

const NO_PYTHON: &str = "needs python3 with its sqlite3";

/// The service whose standard error is a pipe that nobody reads, and the pipe. It logs a lot whenever it reads its
/// config.
fn unread(host: &Installation, format: &str) -> (Service, File) {
    let unready: String = (0..200)
        .map(|n| {
            format!("[backends.unready{n}]\nplugin = \"none\"\nendpoint = \"https://x.org\"\n")
        })
        .collect();
    host.config(&format!("default_backend = \"b\"\n{QUEUE}{}{unready}", host.local("b")));
    assert!(Command::new("mkfifo").arg(host.path("pipe")).status().unwrap().success());
    // Open for both, it is never without a reader.
    let pipe = File::options().read(true).write(true).open(host.path("pipe")).unwrap();
    let inner = host.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", format]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2> pipe", "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env_clear().current_dir(host.path(""));
    (host.serve_by(command), pipe)
}

/// Makes the service log until its log has dropped more than before.
fn log_too_much(service: &Service) {
    let dropped = || metric(service, "ticket_host_log_dropped_events_total");
    let before = dropped();
    wait_for("dropped events", || {
        service.signal("HUP");
        dropped() > before
    });
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing_and_tells_later_what_it_dropped() {
    for format in ["text", "json"] {
        let host = Installation::new();
        host.add(&rust_plugin("local"));
        let (service, mut pipe) = unread(&host, format);
        log_too_much(&service);
        service.get("/healthz").is(200);
        service.get("/readyz").is(200);
        service.file(&numbered(1), 60_000).is(201);
        // It is told when the log is read again, and what is logged then is whole.
        let mut log = Vec::new();
        let mut part = [0; 4096];
        const TOLD: &str = "standard error was not read in time: ";
        while !String::from_utf8_lossy(&log).contains(TOLD) {
            let length = pipe.read(&mut part).unwrap();
            log.extend_from_slice(&part[..length]);
        }
        // What was read ends anywhere.
        let log = String::from_utf8_lossy(&log);
        assert!(log.len() > 512 << 10, "{}", log.len());
        let events = log.lines().filter(|line| line.contains(" of the log were dropped here"));
        let warn = if format == "json" { "\"level\":\"WARN\"" } else { "WARN" };
        assert!(events.clone().count() == 1 && events.clone().all(|line| line.contains(warn)));
        // The service ends though nobody reads its last words.
        log_too_much(&service);
        let told = Instant::now();
        assert_eq!(service.stop(), 0);
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        drop(pipe);
    }
}

#[test]
fn who_is_ready_accepts_and_an_outage_of_the_store_is_logged_once_when_it_begins_and_ends() {
    let host = Installation::new();
    host.config(&format!(
        "{QUEUE}max_megabytes = 1\n[backends.b]\nplugin = \"none\"\nendpoint = \"https://x.org\"\n"
    ));
    let service = host.serve();
    assert_eq!(service.get("/readyz").is(200).json()["store"], true);
    let mut incident = numbered(0);
    incident["metadata"] = json!({"padding": "x".repeat(100_000)});
    let mut number = 0;
    let mut file = || {
        number += 1;
        incident["pk"] = number.into();
        service.file(&incident, 0).status
    };
    while file() != 503 {}
    for _ in 0..50 {
        assert_eq!(file(), 503);
    }
    wait_for("readiness to say so", || service.get("/readyz").status == 503);
    let ready = service.get("/readyz").is(503).json();
    assert_eq!((&ready["ready"], &ready["store"]), (&json!(false), &json!(false)), "{ready}");
    service.get("/healthz").is(200);
    let full = || host.log().matches("is full").count();
    host.logged("is full", 1);
    assert_eq!(full(), 1, "{}", host.log());
    host.logged("help: free space on its disk, or raise queue.max_megabytes", 1);
    // A service that is started with a full store works on what is in it.
    assert_eq!(service.stop(), 0);
    let service = host.serve();
    service.get("/readyz").is(503);
    host.logged("is full", 2);
    assert_eq!(full(), 2, "{}", host.log());
    assert_eq!(service.stop(), 0);
    host.config(&format!(
        "{QUEUE}max_megabytes = 2\n[backends.b]\nplugin = \"none\"\nendpoint = \"https://x.org\"\n"
    ));
    host.serve().get("/readyz").is(200);
}

#[test]
fn the_end_of_an_outage_is_logged_with_how_many_incidents_were_refused() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let service = host.serve();
    let Some(held) = Held::new(&host.path("queue.db")) else { return skipped(NO_PYTHON) };
    std::thread::scope(|scope| {
        let file = |number| service.file(&numbered(number), 0).is(503);
        scope.spawn(move || file(1));
        file(2);
        service.get("/readyz").is(503);
    });
    drop(held);
    host.logged("the store goes on; 2 incidents were refused meanwhile", 1);
    wait_for("readiness", || service.get("/readyz").status == 200);
    service.file(&numbered(1), 60_000).is(201);
    let log = host.log();
    assert!(log.contains("help: another program holds it; is a backup running?"), "{log}");
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
}

#[test]
fn another_programs_lock_on_the_store_does_not_stop_the_watchdogs_beat() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let socket = UnixDatagram::bind(host.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let notify = host.path("notify");
    let environment = [("NOTIFY_SOCKET", notify.to_str().unwrap()), ("WATCHDOG_USEC", "900000")];
    let service = host.serve_with(&environment);
    let Some(held) = Held::new(&host.path("queue.db")) else { return skipped(NO_PYTHON) };
    // Until the store has refused something, since it was locked.
    let filed = std::thread::scope(|scope| {
        let filing = scope.spawn(|| service.file(&numbered(1), 0).status);
        let mut buffer = [0; 1000];
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        while !filing.is_finished() {
            let length = socket.recv(&mut buffer).unwrap();
            if buffer[..length].starts_with(b"WATCHDOG=1") {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
        assert!(longest < Duration::from_secs(3), "no beat for {longest:?}");
        filing.join().unwrap()
    });
    assert_eq!(filed, 503);
    drop(held);
}

/// Stops a service whose one ticket is made and can't be recorded, since another program holds the store: by SIGTERM, and
/// again by SIGTERM if its deadline is far away.
fn stopped_while_held(shutdown: u64, again: bool) {
    let (inside, within) = mpsc::channel();
    let (open, door) = mpsc::channel::<()>();
    let door = Mutex::new(door);
    let desk = desk(move |seen| {
        if seen.method == "POST" {
            inside.send(()).unwrap();
            door.lock().unwrap().recv().unwrap();
        }
        None
    });
    let host = host_at(&desk, &format!("[serve]\nshutdown_seconds = {shutdown}"));
    let service = host.serve();
    service.file(&numbered(1), 0).is(202);
    within.recv().unwrap();
    let Some(held) = Held::new(&host.path("queue.db")) else { return skipped(NO_PYTHON) };
    open.send(()).unwrap();
    host.logged("ticket 1 (nav#1): created", 1);
    let told = Instant::now();
    if again {
        service.signal("TERM");
        host.logged("stopping; what is under way", 1);
    }
    assert_eq!(service.stop(), 6);
    assert!(told.elapsed() < Duration::from_secs(15), "{:?}", told.elapsed());
    let log = host.log();
    assert!(log.contains("what became of these tickets is not recorded: 1\n"), "{log}");
    drop(held);
    // It is found, and not made again.
    let service = host.serve();
    created(&service, 1);
    assert_eq!(desk.posted().len(), 1);
}

#[test]
fn a_stop_ends_in_time_though_another_program_holds_the_store_and_says_what_is_not_recorded() {
    stopped_while_held(1, false);
}

#[test]
fn a_second_signal_ends_a_stop_though_another_program_holds_the_store() {
    stopped_while_held(600, true);
}

#[test]
fn a_config_that_is_written_all_the_time_is_read_and_only_a_signal_has_a_refused_login_tried() {
    let desk = desk(|_| Some(Answer::status(401)));
    let host = host_at(&desk, "");
    let service = host.serve();
    for number in 0..2 {
        service.file(&numbered(number), 0).is(202);
    }
    host.logged("need a person", 1);
    let refused = desk.seen().len();
    let text = fs::read(host.path("config.toml")).unwrap();
    let write = || {
        fs::write(host.path("config.new"), &text).unwrap();
        fs::rename(host.path("config.new"), host.path("config.toml")).unwrap();
    };
    wait_for("it to be read though it never comes to rest", || {
        write();
        host.log().matches("config and plugins were read again").count() >= 2
    });
    assert_eq!(desk.seen().len(), refused, "nothing was mended");
    // A person may have mended what can't be seen from here.
    service.signal("HUP");
    wait_for("the login to be tried", || {
        write();
        desk.seen().len() > refused
    });
}

#[test]
fn what_a_reload_has_another_backend_make_is_made_though_the_store_is_held_at_that_time() {
    let refusing = desk(|_| Some(Answer::status(401)));
    let desk = desk(|_| None);
    let host = host_at(&refusing, "");
    let service = host.serve();
    service.file(&numbered(1), 60_000).is(400);
    let Some(held) = Held::new(&host.path("queue.db")) else { return skipped(NO_PYTHON) };
    host.config(&format!("{QUEUE}{}", backend("c", &desk.url)));
    service.signal("HUP");
    host.logged("config: ", 2);
    // When the second of these is refused, what the reload asked of the store was, too.
    for number in 2..4 {
        service.file(&numbered(number), 0).is(503);
    }
    drop(held);
    created(&service, 1);
}

/// A desk that refuses all but the token that is the right one at the time, which is `good` at first.
fn guarded_desk() -> (Stub, Arc<Mutex<&'static str>>) {
    let token = Arc::new(Mutex::new("good"));
    let wanted = Arc::clone(&token);
    let desk = desk(move |seen| {
        let expected = format!("Bearer {}", wanted.lock().unwrap());
        (seen.header("authorization") != Some(&expected)).then(|| Answer::status(401))
    });
    (desk, token)
}

fn created(service: &Service, id: i64) {
    wait_for("the ticket", || {
        service.get(&format!("/v1/tickets/{id}")).json()["state"] == "created"
    });
}

#[test]
fn a_changed_secret_file_is_read_without_being_told_to() {
    let (desk, token) = guarded_desk();
    let host = host_at(&desk, "");
    fs::create_dir(host.path("secrets")).unwrap();
    let file = host.path("secrets/token");
    fs::write(&file, "stale").unwrap();
    let settings = backend("b", &desk.url).replace("\"t\"", "{ file = \"secrets/token\" }");
    host.config(&format!("{QUEUE}{settings}"));
    let service = host.serve();
    assert_eq!(service.file(&numbered(1), 60_000).is(400).json()["kind"], "settings");
    fs::write(&file, "good").unwrap();
    created(&service, 1);
    // One that another file takes the place of.
    *token.lock().unwrap() = "better";
    service.file(&numbered(2), 60_000).is(400);
    fs::write(host.path("secrets/new"), "better").unwrap();
    fs::rename(host.path("secrets/new"), &file).unwrap();
    created(&service, 2);
    // One that a link leads to, from another directory.
    fs::create_dir(host.path("run")).unwrap();
    fs::write(host.path("run/b-token"), "stale").unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("../run/b-token", &file).unwrap();
    let mut number = 2;
    wait_for("the stale one", || {
        number += 1;
        service.file(&numbered(number), 60_000).status == 400
    });
    fs::write(host.path("run/b-token"), "better").unwrap();
    let last = service.get("/v1/tickets").json()["tickets"].as_array().unwrap().len();
    created(&service, last as i64);
}

/// As the kubelet writes mounted secrets: the file is a link into `..data`, which is a link to a directory of a new name
/// with each change.
#[test]
fn a_secret_that_kubernetes_swaps_is_read_without_being_told_to() {
    let (desk, _) = guarded_desk();
    let host = host_at(&desk, "");
    let mount = host.path("secrets");
    let put = |version: &str, text: &str| {
        fs::create_dir_all(mount.join(version)).unwrap();
        fs::write(mount.join(version).join("token"), text).unwrap();
        std::os::unix::fs::symlink(version, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    put("..1", "stale");
    std::os::unix::fs::symlink("..data/token", mount.join("token")).unwrap();
    let settings = backend("b", &desk.url).replace("\"t\"", "{ file = \"secrets/token\" }");
    host.config(&format!("{QUEUE}{settings}"));
    let service = host.serve();
    service.file(&numbered(1), 60_000).is(400);
    put("..2", "good");
    created(&service, 1);
}

#[test]
fn a_changed_token_file_of_the_service_is_read_without_being_told_to() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    fs::create_dir(host.path("secrets")).unwrap();
    fs::write(host.path("secrets/api"), "first-token-of-the-noc").unwrap();
    let tokens = "[serve.tokens.noc]\ntoken = { file = \"secrets/api\" }\nscopes = [\"read\"]\n";
    host.config(&format!("{tokens}{QUEUE}{}", backend("b", &desk.url)));
    let service = host.serve();
    let status = |token: &str| {
        let asked = ticket_host_tests::agent().get(format!("{}/v1/backends", service.url));
        asked.header("Authorization", format!("Bearer {token}")).call().unwrap().status()
    };
    assert_eq!(status("first-token-of-the-noc"), 200);
    fs::write(host.path("secrets/api"), "second-token-of-the-noc").unwrap();
    wait_for("the second", || status("second-token-of-the-noc") == 200);
    assert_eq!(status("first-token-of-the-noc"), 401);
}

#[test]
fn what_waits_for_a_backend_that_is_gone_is_told_wherever_one_looks() {
    let down = desk(|_| Some(Answer::status(500)));
    let host = host_at(&down, "");
    let service = host.serve();
    assert_eq!(service.get("/readyz").is(200).json()["orphans"], 0);
    // By its name: what every incident gets would go to the other one.
    for number in 1..=2 {
        let sent = json!({"incident": numbered(number), "backend": "b", "wait_ms": 0});
        service.post("/v1/tickets", &sent).is(202);
    }
    host.config(&format!("{QUEUE}{}", backend("other", &down.url)));
    const SAID: &str = "2 tickets wait for the backend b, which the config doesn't have";
    host.logged(SAID, 1);
    wait_for("readiness to say so", || service.get("/readyz").json()["orphans"] == 2);
    assert_eq!(metric(&service, "ticket_host_queue_orphans{backend=\"b\"}"), 2.0);
    wait_for("the last try", || {
        let list = host.run(&["queue", "list"]).ended(0).stdout;
        list.matches("no backend").count() == 2
    });
    let shown = host.run(&["queue", "show", "1"]).ended(0).stdout;
    assert!(shown.contains("next try  no backend"), "{shown}");
    // A service that is started says it, too.
    assert_eq!(service.stop(), 0);
    let service = host.serve();
    host.logged(SAID, 2);
    // It goes on when the config has the backend again.
    host.config(&format!("{QUEUE}{}", backend("b", &down.url)));
    wait_for("nothing to be without a backend", || service.get("/readyz").json()["orphans"] == 0);
    assert!(!host.run(&["queue", "list"]).ended(0).stdout.contains("no backend"));
}

#[test]
fn a_system_that_is_down_is_told_where_one_looks() {
    let down = desk(|_| Some(Answer::HangUp));
    let host = host_at(&down, "");
    let service = host.serve();
    for number in 1..=6 {
        service.file(&numbered(number), 0).is(202);
    }
    wait_for("readiness to say so", || {
        let ready = service.get("/readyz").is(200).json();
        let each = json!([{"name": "b", "ready": false, "reason": "down"}]);
        ready["unready"] == 1 && ready["backends"] == 0 && ready["each"] == each
    });
    let backends = service.get("/v1/backends").is(200).json();
    assert_eq!((&backends[0]["ready"], &backends[0]["reason"]), (&json!(false), &json!("down")));
    assert_eq!(backends[0]["error"]["kind"], "client", "{backends}");
    assert_eq!(metric(&service, "ticket_host_backend_up{backend=\"b\"}"), 0.0);
}

#[test]
fn a_store_whose_files_are_deleted_or_replaced_accepts_nothing_more_and_says_so_once() {
    let deleted = |host: &Installation| {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(host.path(&format!("queue.db{end}")));
        }
    };
    let replaced = |host: &Installation| {
        let other = host.path("other.db");
        fs::copy(host.path("queue.db"), &other).unwrap();
        deleted(host);
        fs::rename(other, host.path("queue.db")).unwrap();
    };
    for harm in [&deleted as &dyn Fn(&Installation), &replaced] {
        let desk = desk(|_| None);
        let host = host_at(&desk, "");
        let service = host.serve();
        service.file(&numbered(1), 60_000).is(201);
        service.get("/readyz").is(200);
        harm(&host);
        // What went to files that are gone is not acknowledged: not even the first.
        let refused = service.file(&numbered(2), 0).is(503).json();
        assert_eq!(refused["type"], "urn:ticket-host:problem:store");
        wait_for("readiness to say so", || service.get("/readyz").status == 503);
        for more in 0..20 {
            service.file(&numbered(1000 + more), 0).is(503);
        }
        let log = host.log();
        assert!(log.contains("help: "), "{log}");
        assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    }
}
