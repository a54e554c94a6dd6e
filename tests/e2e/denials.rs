//! System calls that the sandbox refuses a plugin: the operator learns of them, and they cost the host little.

use std::time::Instant;

use serde_json::json;
use ticket_host_tests::{Installation, Service, c_plugin, wait_for};

const QUEUE: &str = "[queue]\npath = \"queue.db\"\n";
/// How long the plugin spins, in seconds.
const SPINS: u64 = 3;

/// An installation with the plugin of `faulty/refused.c` behind two backends: `once` makes a few refused calls, and
/// `spins` makes them until its call's time is over.
fn installation() -> Installation {
    let host = Installation::new();
    host.add(&c_plugin("refused"));
    let backend = |name: &str, more: &str| {
        format!(
            "[backends.{name}]\nplugin = \"refused\"\nendpoint = \"https://tickets.example.org\"\n\
             concurrency = 1\n{more}\n"
        )
    };
    let once = backend("once", "");
    let spins = backend(
        "spins",
        &format!("call_timeout_seconds = {SPINS}\ninformation = {{ spins = true }}"),
    );
    host.config(&format!("{QUEUE}{once}{spins}"));
    host
}

fn file(service: &Service, backend: &str, key: &str) -> ticket_host_tests::Reply {
    let incident = json!({"description": key, "start_time": service.just_now()});
    let request = json!({"backend": backend, "key": key, "incident": incident, "wait_ms": 30_000});
    service.post("/v1/tickets", &request)
}

/// How many refused calls of a backend the service has counted.
fn counted(service: &Service, backend: &str) -> u64 {
    let start = format!("ticket_host_sandbox_denials_total{{backend=\"{backend}\"}} ");
    let text = service.get("/metrics").text;
    let count = text.lines().find_map(|line| line.strip_prefix(&start));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Hundredths of a second of processor time that a process has used (proc_pid_stat(5)).
fn processor_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn refused_calls_are_counted_each_and_named_once_and_the_host_goes_on() {
    let host = installation();
    let service = host.serve();
    for (key, refused) in [("first", 5), ("second", 9)] {
        let ticket = file(&service, "once", key).is(201).json();
        // The plugin tells how many calls failed with EPERM.
        assert_eq!(ticket["ticket"]["url"], format!("https://tickets.example.org/{refused}"));
        assert_eq!(counted(&service, "once"), refused);
    }
    let line = "backend once (refused): the sandbox refused its plugin";
    let hint = "if you trust it with that, permissions = { network = \"direct\" } grants it";
    for (line, times) in [
        (format!("{line} socket(2); {hint}"), 1),
        (format!("{line} mkdirat(2); if you trust it with that, permissions = {{ write = "), 1),
        (format!("{line} personality(2)"), 1),
        (line.to_owned(), 3),
        // It is asked for its manifest when the service starts.
        ("when it was asked what it is, the sandbox refused it personality(2)".to_owned(), 1),
    ] {
        host.logged(&line, times);
        let log = host.log();
        assert_eq!(log.matches(&line).count(), times, "{line} in:\n{log}");
    }
}

#[test]
fn a_plugin_that_spins_on_a_refused_call_is_slowed_down_and_costs_the_host_little() {
    let host = installation();
    let service = host.serve();
    let before = (processor_time(service.id()), Instant::now());
    let spun = std::thread::scope(|scope| {
        let spinning = scope.spawn(|| file(&service, "spins", "spin"));
        wait_for("the first of many refused calls", || counted(&service, "spins") > 10);
        file(&service, "once", "meanwhile").is(201);
        spinning.join().unwrap()
    });
    let (used, took) = (processor_time(service.id()) - before.0, before.1.elapsed());
    let url = spun.is(201).json()["ticket"]["url"].as_str().unwrap().to_owned();
    let count: u64 = url.rsplit('/').next().unwrap().parse().unwrap();
    assert!((100..=1000 * (SPINS + 2)).contains(&count), "{count} in {SPINS} s");
    // A third of one processor, for a host without optimizations that is also asked for its metrics.
    assert!(
        u128::from(used) * 10 * 3 < took.as_millis(),
        "{used} hundredths of a second in {took:?}"
    );
    assert_eq!(
        host.log().matches("refused its plugin socket(2)").count(),
        2,
        "one of each backend"
    );
}
