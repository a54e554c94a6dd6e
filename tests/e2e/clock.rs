//! No clock that is set makes a ticket older: nothing is given up, looked for too late or forgotten for that.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use ticket_host_tests::{Answer, Installation, Service, c_plugin, desk, wait_for};

use crate::serve::numbered;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn host(endpoint: &str) -> Installation {
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\nsettle_seconds = 1\n\
                longest_wait_seconds = 1\nretry_days = 7\n";
    Installation::with(&c_plugin("webhook"), endpoint, rest)
}

/// Sets the clock that the host sees.
pub(crate) fn set(host: &Installation, off_by: i64) {
    fs::write(host.path("clock.new"), off_by.to_string()).unwrap();
    fs::rename(host.path("clock.new"), host.path("clock")).unwrap();
}

/// The service, under a clock that is off by so many seconds.
pub(crate) fn serve(host: &Installation, off_by: i64) -> Service {
    set(host, off_by);
    let (preload, file) = (c_plugin("clock"), host.path("clock"));
    let clock =
        [("LD_PRELOAD", preload.to_str().unwrap()), ("CLOCK_OFF_BY", file.to_str().unwrap())];
    host.serve_with(&clock)
}

fn state(service: &Service) -> String {
    service.get("/v1/tickets/1").json()["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_clock_that_is_put_right_gives_nothing_up() {
    for (before, after) in [(-30 * DAY, 0), (0, 8 * DAY)] {
        let down = Arc::new(AtomicBool::new(true));
        let is_down = Arc::clone(&down);
        let desk = desk(move |_| is_down.load(Relaxed).then_some(Answer::HangUp));
        let host = host(&desk.url);
        let service = serve(&host, before);
        service.file(&numbered(1), 0).is(202);
        wait_for("the first try", || !desk.seen().is_empty());
        set(&host, after);
        host.logged("this machine's clock was set ahead by", 1);
        // A round of the queue later it still waits.
        let seen = desk.seen().len();
        wait_for("another try", || desk.seen().len() > seen);
        assert_ne!(state(&service), "failed");
        down.store(false, Relaxed);
        wait_for("the ticket", || state(&service) == "created");
        assert_eq!(desk.posted().len(), 1);
    }
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_longer() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    // The first creation's answer is lost.
    let lost = move |seen: &ticket_host_tests::Seen| {
        (seen.method == "POST" && counted.fetch_add(1, Relaxed) == 0).then_some(Answer::HangUp)
    };
    let desk = desk(lost);
    let host = host(&desk.url);
    let service = serve(&host, 0);
    service.file(&numbered(1), 0).is(202);
    wait_for("the lost answer", || tries.load(Relaxed) == 1);
    set(&host, -2 * HOUR);
    wait_for("the ticket", || state(&service) == "created");
    assert!(tries.load(Relaxed) <= 2);
    host.logged("this machine's clock was set back by", 1);
}

#[test]
fn a_service_that_starts_under_another_clock_goes_on_where_the_one_before_was() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let desk = desk(move |_| is_down.load(Relaxed).then_some(Answer::HangUp));
    let host = host(&desk.url);
    let service = serve(&host, 0);
    service.file(&numbered(1), 0).is(202);
    wait_for("the first try", || !desk.seen().is_empty());
    service.kill();
    for off_by in [40 * DAY, -40 * DAY] {
        let service = serve(&host, off_by);
        let seen = desk.seen().len();
        wait_for("another try", || desk.seen().len() > seen);
        assert_ne!(state(&service), "failed", "under a clock that is off by {off_by}");
        service.kill();
    }
    down.store(false, Relaxed);
    let service = serve(&host, 0);
    wait_for("the ticket", || state(&service) == "created");
    assert_eq!(desk.posted().len(), 1);
}
