//! The store over backups, restores and upgrades: nothing is lost that was stored, and nothing is made twice.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ticket_host_tests::{Answer, Installation, Service, Stub, c_plugin, desk, wait_for};

use crate::serve::numbered;

fn host(desk: &Stub) -> Installation {
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\nsettle_seconds = 1\n\
                longest_wait_seconds = 1\n";
    Installation::with(&c_plugin("webhook"), &desk.url, rest)
}

/// Puts a file in the store's place.
fn put_back(host: &Installation, file: &str) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(host.path(&format!("queue.db{end}")));
    }
    fs::copy(host.path(file), host.path("queue.db")).unwrap();
}

fn states(service: &Service) -> Vec<String> {
    let page = service.get("/v1/tickets").json();
    let jobs = page["tickets"].as_array().unwrap().iter();
    jobs.map(|job| job["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_backup_that_is_put_back_finds_what_was_made_since_and_makes_nothing_twice() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let desk = desk(move |_| is_down.load(Relaxed).then_some(Answer::status(429)));
    let host = host(&desk);
    let service = host.serve();
    for number in 1..=10 {
        service.file(&numbered(number), 0).is(202);
    }
    // While the service works on it.
    let said = host.run(&["queue", "backup", "backup.db"]).ended(0).stdout;
    assert_eq!(said, "backup.db\n");
    host.run(&["queue", "backup", "backup.db"]).ended(3).says("can't be copied");
    down.store(false, Relaxed);
    // What came after the backup is not in it.
    for number in 11..=15 {
        service.file(&numbered(number), 60_000).is(201);
    }
    wait_for("all tickets", || desk.posted().len() == 15);
    assert_eq!(service.stop(), 0);
    put_back(&host, "backup.db");
    let service = host.serve();
    wait_for("all of the backup", || states(&service) == ["created"; 10]);
    for number in 1..=15 {
        service.file(&numbered(number), 60_000).is(200);
    }
    assert_eq!(desk.posted().len(), 15);
}

#[test]
fn a_service_that_was_stopped_leaves_all_in_its_one_file() {
    let desk = desk(|_| None);
    let host = host(&desk);
    let service = host.serve();
    service.file(&numbered(1), 60_000).is(201);
    assert_eq!(service.stop(), 0);
    assert!(!host.path("queue.db-wal").exists(), "its log is written back");
    fs::copy(host.path("queue.db"), host.path("copy.db")).unwrap();
    put_back(&host, "copy.db");
    assert_eq!(states(&host.serve()), ["created"]);
}

#[test]
fn what_failed_is_told_at_each_start_until_a_person_says_what_becomes_of_it() {
    let desk = desk(|_| Some(Answer::status(422)));
    let host = host(&desk);
    let service = host.serve();
    service.file(&numbered(1), 60_000).is(403);
    assert_eq!(service.stop(), 0);
    let service = host.serve();
    host.logged("b: 1 ticket failed, which is for a person to look at", 1);
    host.run(&["queue", "cancel", "1"]).ended(0);
    assert_eq!(service.stop(), 0);
    let service = host.serve();
    service.get("/readyz").is(200);
    assert_eq!(service.stop(), 0);
    assert_eq!(host.log().matches("is for a person to look at").count(), 1, "{}", host.log());
}

#[cfg(unix)]
#[test]
fn a_store_that_is_deleted_is_told_though_nobody_asks_for_anything() {
    let desk = desk(|_| None);
    let host = host(&desk);
    let service = host.serve();
    service.file(&numbered(1), 60_000).is(201);
    fs::remove_file(host.path("queue.db")).unwrap();
    host.logged("was deleted or replaced while the host worked on it", 1);
}
