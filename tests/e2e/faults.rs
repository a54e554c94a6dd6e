//! Plugins that break the rules while they run: an error of the right kind, and the host lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, ISOLATIONS, Installation, Run, Stub, c_plugin, desk, rust_plugin, wait_for,
};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

const TOKEN: &str = "hunter2-the-secret";

/// The rest of a backend's settings that has `misbehaves` do `fault` in `operation`.
fn settings(fault: &str, operation: &str, isolation: &str) -> String {
    format!(
        "isolation = \"{isolation}\"\ncall_timeout_seconds = 2\nsecret = {{ token = \"{TOKEN}\" }}\n\
         information = {{ fault = \"{fault}\", in = \"{operation}\" }}"
    )
}

/// What `create` says when the plugin does `fault` in it.
fn create(fault: &str, isolation: &str) -> Run {
    create_at("https://tickets.example.org", fault, isolation)
}

fn create_at(endpoint: &str, fault: &str, isolation: &str) -> Run {
    let rest = settings(fault, "create", isolation);
    let run =
        Installation::with(&c_plugin("misbehaves"), endpoint, &rest).create("plugin-closed", &[]);
    assert!(!format!("{run:?}").contains(TOKEN), "the secret is shown: {run:?}");
    run
}

#[test]
fn what_ends_the_process_costs_only_the_call() {
    for (fault, how) in [
        ("abort", "signal 6 (SIGABRT)"),
        ("segfault", "signal 11 (SIGSEGV)"),
        ("exit", "exited with code 0"),
        // Rust's runtime, in the worker, tells an overflow of the main thread's stack from other faults.
        ("stack_overflow", "has overflowed its stack"),
    ] {
        let run = create(fault, "worker").ended(6).says(how);
        assert!(run.stdout.is_empty() && !run.stderr.contains("may exist"), "{run:?}");
    }
}

#[test]
fn every_function_may_crash() {
    for operation in ["open", "find"] {
        let rest = settings("segfault", operation, "worker");
        let misbehaves = c_plugin("misbehaves");
        let installation = Installation::with(&misbehaves, "https://tickets.example.org", &rest);
        installation.create("plugin-closed", &[]).ended(6).says("SIGSEGV");
    }
}

#[test]
fn after_a_plugin_crashed_the_host_goes_on_with_the_next_backend() {
    let installation = Installation::new();
    installation.add(&c_plugin("misbehaves"));
    let backend = |name: &str, fault: &str| {
        let rest = settings(fault, "check", "worker");
        format!(
            "[backends.{name}]\nplugin = \"misbehaves\"\nendpoint = \"https://x.org\"\n{rest}\n"
        )
    };
    installation.config(&format!(
        "{}{}{}",
        backend("a", "segfault"),
        backend("b", "loop"),
        backend("c", "")
    ));
    let run = installation.run(&["check"]).ended(6).says("SIGSEGV").says("did not return in time");
    assert!(run.stdout.contains("a: FAILED") && run.stdout.contains("b: FAILED"), "{run:?}");
    assert!(run.stdout.contains("c: plugin misbehaves"), "{run:?}");
}

#[test]
fn a_plugin_that_does_not_return_is_given_up() {
    create("loop", "worker").ended(6).says("did not return in time and was killed");
    create("spin", "worker").ended(6).says("did not return in time and was killed");
    create("loop", "in-process").ended(6).says("since it runs in-process it can't be stopped");
}

#[test]
fn a_plugin_that_keeps_to_its_time_is_heard() {
    for isolation in ISOLATIONS {
        create("slow", isolation).ended(4);
    }
}

#[test]
fn a_panic_is_an_error() {
    for isolation in ISOLATIONS {
        for function in ["open", "find", "create"] {
            let rest =
                format!("isolation = \"{isolation}\"\ninformation = {{ in = \"{function}\" }}");
            let installation = Installation::with(&rust_plugin("panics"), "https://x.org", &rest);
            installation
                .create("plugin-closed", &[])
                .ended(6)
                .says(&format!("the plugin panicked: {function} was told to panic"));
        }
    }
}

#[test]
fn replies_that_are_not_valid_are_errors() {
    for isolation in ISOLATIONS {
        for (fault, why) in [
            ("no_reply", "the plugin gave no reply"),
            ("not_json", "the plugin gave a reply that it may not"),
            ("not_utf8", "a reply that is not UTF-8"),
            ("array", "the plugin gave a reply that it may not"),
            ("huge_reply", "a reply of 1073741824 bytes, more than the 1048576"),
            ("bad_url", "with the URL \"not a url\", which nobody can open"),
            ("no_url", "with the URL \"\", which nobody can open"),
            ("javascript_url", "nobody can open"),
        ] {
            // create() returned OK: for all that the host knows it did its work.
            create(fault, isolation).ended(6).says(why);
        }
        create("unknown_status", isolation).ended(6).says("unknown status 99");
        create("null_error", isolation).says("gave no reason");
    }
}

#[test]
fn what_a_plugin_prints_does_not_reach_standard_output() {
    let run = create("print", "worker").ended(0);
    assert_eq!(run.stdout, "https://tickets.example.org/1\n");
}

#[test]
fn what_a_plugin_writes_to_standard_error_is_not_shown_unasked() {
    let rest = settings("stderr", "create", "worker");
    let misbehaves = c_plugin("misbehaves");
    let installation = Installation::with(&misbehaves, "https://tickets.example.org", &rest);
    let run = installation.create("plugin-closed", &[]).ended(0);
    assert!(!run.stderr.contains("from the plugin"), "{run:?}");
}

#[test]
fn a_plugin_that_tells_the_secret_is_struck_out() {
    for isolation in ISOLATIONS {
        create("tells_secret", isolation).ended(5).says("***");
    }
}

#[test]
fn a_forbidden_origin_is_not_reached() {
    for isolation in ISOLATIONS {
        create("forbidden_origin", isolation)
            .ended(3)
            .says("http://127.0.0.1:1, which is not this backend's endpoint")
            .says("allow_origins");
        create("userinfo_url", isolation).ended(3).says("a URL with a user name in it");
    }
}

#[test]
fn misuse_of_a_call_is_refused() {
    for isolation in ISOLATIONS {
        // The warning has what http() returned; the log says why.
        let run = create("http_from_thread", isolation).ended(0).says("3");
        run.says("used its call on another thread than the one that received it");
        create("keeps_call", isolation).ended(0);
    }
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    for isolation in ISOLATIONS {
        let run = create("floods_log", isolation).ended(0).says("the rest is dropped");
        assert!(run.stderr.lines().count() < 1100);
    }
}

/// A ticket system that answers everything with 200.
fn recorder() -> Stub {
    Stub::new(|_| Answer::status(200).body("{}"))
}

#[test]
fn a_crash_after_a_request_that_creates_leaves_unknown_what_find_then_settles() {
    // misbehaves' find says NOT_FOUND: certainly no ticket.
    let stub = recorder();
    create_at(&stub.url, "post_segfault", "worker")
        .ended(6)
        .says("SIGSEGV")
        .says("looked for it: there is no ticket yet");
    create_at(&stub.url, "post_loop", "worker")
        .ended(6)
        .says("looked for it: there is no ticket yet");
    assert_eq!(
        stub.seen().iter().filter(|seen| seen.method == "POST").count(),
        2,
        "each tried once"
    );
}

#[test]
fn a_crash_after_a_request_that_only_reads_created_nothing() {
    let stub = recorder();
    let run = create_at(&stub.url, "get_segfault", "worker").ended(6);
    assert!(!run.stderr.contains("may exist") && !run.stderr.contains("looked for it"), "{run:?}");
}

#[test]
fn an_outcome_that_find_cannot_settle_is_said() {
    let stub = recorder();
    let rest = settings("post_segfault", "create", "worker");
    let installation = Installation::with(&c_plugin("misbehaves"), &stub.url, &rest);
    // With --force an older ticket could be taken for this one: find is not asked.
    let run = installation
        .create("plugin-closed", &["--force", "--json"])
        .ended(6)
        .says("the ticket may exist");
    let error: Value = run.json();
    assert_eq!(error["error"]["retry"], "unknown");
    assert_eq!(error["error"]["kind"], "plugin");
}

/// A store of the test's own, whose waits are short.
const QUEUE: &str = "[queue]\npath = \"queue.db\"\nsettle_seconds = 0\nlongest_wait_seconds = 1\n";

#[test]
fn that_nothing_was_created_is_believed_only_after_an_answer_that_says_so() {
    for (plugin, more, fault, status, retry) in [
        ("misbehaves", "", "post_later", 503, "unknown"),
        ("misbehaves", "", "post_later", 408, "unknown"),
        ("misbehaves", "", "post_never", 500, "unknown"),
        ("misbehaves", "", "get_later", 503, "later"),
        ("misbehaves", "", "post_later", 429, "later"),
        ("misbehaves", "", "post_never", 422, "never"),
        // The plugin's manifest promises it for 503, and the operator's word counts for more.
        ("promises", "", "post_later", 503, "later"),
        ("promises", "", "post_later", 502, "unknown"),
        ("promises", "not_done = []", "post_later", 503, "unknown"),
        ("misbehaves", "not_done = [503, 408]", "post_later", 408, "later"),
    ] {
        let stub = Stub::new(move |_| Answer::status(status).body("{}"));
        for isolation in ISOLATIONS {
            let rest = format!("{more}\n{}", settings(fault, "create", isolation));
            let host = Installation::with(&c_plugin(plugin), &stub.url, &rest);
            let error = host.create("plugin-closed", &["--json", "--force"]).json();
            assert_eq!(error["error"]["retry"], retry, "{plugin} {more} {fault} {status}: {error}");
            let message = error["error"]["message"].as_str().unwrap();
            let says =
                format!("may be a ticket: a request that can create one was answered {status}");
            assert_eq!(message.contains(&says), retry == "unknown", "{error}");
        }
    }
}

#[test]
fn none_is_believed_only_when_the_lists_of_the_system_have_caught_up() {
    for (plugin, more, seconds) in [
        // Its manifest says 600.
        ("promises", "", 600),
        ("misbehaves", "settle_seconds = 900", 900),
        ("promises", "settle_seconds = 30", 30),
        ("misbehaves", "", 0),
    ] {
        let stub = Stub::new(|_| Answer::status(502).body("{}"));
        let rest = format!("{more}\n{}\n{QUEUE}", settings("post_later", "create", "worker"));
        let host = Installation::with(&c_plugin(plugin), &stub.url, &rest);
        let service = host.serve();
        service.file(&nameless(), 0).is(202);
        let history = || service.get("/v1/tickets/1").is(200).json()["history"].clone();
        wait_for("the first try", || !history().as_array().unwrap().is_empty());
        let job = service.get("/v1/tickets/1").is(200).json();
        assert_eq!(job["history"][0]["outcome"], "unknown", "{job}");
        if seconds > 0 {
            let at = |name: &str| {
                let time = job[name].as_str().unwrap();
                OffsetDateTime::parse(time, &Rfc3339).unwrap()
            };
            let wait = (at("due_at") - at("changed_at")).as_seconds_f64().round();
            assert_eq!(wait, f64::from(seconds), "{plugin} {more}: {job}");
        } else {
            wait_for("a second creation", || stub.seen().len() >= 2);
        }
    }
}

#[test]
fn plugins_show_tells_what_the_ticket_system_promises() {
    let host = Installation::new();
    host.add(&c_plugin("promises")).add(&c_plugin("misbehaves"));
    let shown = host.run(&["plugins", "show", "promises"]).ended(0).stdout;
    assert!(shown.contains("  lists lag by     600 s\n  not done after   503\n"), "{shown}");
    let shown = host.run(&["plugins", "show", "misbehaves"]).ended(0).stdout;
    assert!(!shown.contains("lists lag by") && !shown.contains("not done after"), "{shown}");
}

/// An incident without an argus_url.
fn nameless() -> Value {
    json!({"description": "gw1 is down", "pk": 1, "source": {"name": "nav"}})
}

#[test]
fn a_ticket_that_may_be_there_and_cannot_be_looked_for_is_made_again_once_where_the_operator_says_so()
 {
    for (unknown, creations, said) in [
        ("", 1, "unknown = "),
        ("unknown = \"ask\"", 1, "unknown = "),
        ("unknown = \"again\"", 2, "it was made again once already"),
    ] {
        let stub = recorder();
        let rest = format!("{unknown}\n{}\n{QUEUE}", settings("post_segfault", "create", "worker"));
        let host = Installation::with(&c_plugin("null_find"), &stub.url, &rest);
        let service = host.serve();
        service.file(&nameless(), 0).is(202);
        let job = || service.get("/v1/tickets/1").is(200).json();
        wait_for("a person to be asked", || job()["state"] == "failed");
        assert_eq!(stub.seen().len(), creations, "{unknown}");
        let error = job()["error"].to_string();
        assert!(error.contains("there may be a ticket") && error.contains(said), "{error}");
    }
}

#[test]
fn a_time_that_the_ticket_system_names_is_one_of_its_own_clock() {
    let http_date = |time: SystemTime| {
        OffsetDateTime::from(time).format(&Rfc2822).unwrap().replace("+0000", "GMT")
    };
    let asked = AtomicBool::new(false);
    let desk = desk(move |seen| {
        if seen.method != "POST" || asked.swap(true, Ordering::Relaxed) {
            return None;
        }
        let theirs = SystemTime::now() + Duration::from_secs(600);
        let again = theirs + Duration::from_secs(1);
        let answer = Answer::status(429).header("Date", &http_date(theirs));
        Some(answer.header("Retry-After", &http_date(again)))
    });
    let rest = format!("secret = {{ token = \"{TOKEN}\" }}\n{QUEUE}");
    let host = Installation::with(&c_plugin("webhook"), &desk.url, &rest);
    let started = Instant::now();
    host.serve().file(&nameless(), 60_000).is(201);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
