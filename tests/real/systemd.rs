//! The unit that is shipped, under the systemd of Debian 12 and 13. `tests/real/kernels.sh` boots machines in which the
//! service is installed, and runs this there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use ticket_host_tests::{Reply, Run, post, run, wait_for};

const URL: &str = "http://127.0.0.1:8620";
const CGROUP: &str = "/sys/fs/cgroup/system.slice/ticket-host.service";

fn command(words: &str) -> Run {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    run(command, b"")
}

/// Starts the service anew, and files an incident that it hasn't heard of.
fn file() -> Reply {
    static LAST: AtomicU32 = AtomicU32::new(0);
    command("systemctl restart ticket-host").ended(0);
    let pk = LAST.fetch_add(1, Ordering::Relaxed);
    let incident = json!({"description": "x", "pk": pk, "source": {"name": "n"}});
    let body = json!({"incident": incident, "backend": "local", "wait_ms": 60_000});
    post(URL, "/v1/tickets", &body).unwrap()
}

/// Starts the service anew, and waits until it has made a ticket.
fn started() {
    let reply = file();
    assert_eq!(reply.json()["state"], "created", "{reply:?}\n{}", log());
}

/// What the service has written since it was started.
fn log() -> String {
    let run = command("systemctl show --property=InvocationID --value ticket-host").stdout;
    command(&format!("journalctl --output cat --no-pager _SYSTEMD_INVOCATION_ID={}", run.trim()))
        .stdout
}

#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn the_services_workers_are_confined() {
    started();
    assert!(!log().contains("sandbox"), "{}", log());
}

/// Otherwise the test above would prove nothing.
#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn a_filter_without_the_calls_that_the_unit_names_is_to_blame() {
    let directory = Path::new("/run/systemd/system/ticket-host.service.d");
    fs::create_dir_all(directory).unwrap();
    let without = "~seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self";
    let filter = format!("[Service]\nSystemCallFilter={without}\n");
    fs::write(directory.join("filter.conf"), filter).unwrap();
    command("systemctl daemon-reload").ended(0);
    let reply = file();
    let said = log();
    fs::remove_dir_all(directory).unwrap();
    command("systemctl daemon-reload").ended(0);
    assert!(reply.text.contains("a seccomp filter around this program forbids"), "{reply:?}");
    assert!(said.contains("a seccomp filter around this program forbids"), "{said}");
}

#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn the_service_can_be_reloaded_and_stopped() {
    started();
    command("systemctl reload ticket-host").ended(0);
    command("systemctl is-active ticket-host").ended(0);
    command("systemctl stop ticket-host").ended(0);
    let state = command("systemctl show --property=Result,ActiveState ticket-host").stdout;
    assert!(state.contains("Result=success"), "{state}");
    assert!(state.contains("ActiveState=inactive"), "{state}");
    wait_for("the cgroup to be removed", || !Path::new(CGROUP).exists());
}

#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn each_worker_has_a_cgroup_below_the_delegated_one_and_the_host_has_its_own() {
    started();
    let read = |file: &str| fs::read_to_string(format!("{CGROUP}/{file}")).unwrap_or_default();
    let host = command("systemctl show --property=MainPID --value ticket-host").stdout;
    assert!(read("host/cgroup.procs").lines().any(|process| process == host.trim()), "{}", log());
    let workers = fs::read_dir(format!("{CGROUP}/workers")).unwrap().flatten();
    let mut workers = workers.filter(|entry| entry.path().is_dir()).map(|entry| entry.path());
    let worker = workers.next().unwrap();
    for (file, value) in
        [("memory.max", "536870912"), ("pids.max", "64"), ("cpu.max", "100000 100000")]
    {
        assert_eq!(fs::read_to_string(worker.join(file)).unwrap().trim(), value);
    }
}
