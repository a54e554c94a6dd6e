//! The unit that is shipped, under the systemd of Debian 12 and 13. `tests/real/kernels.sh` boots machines in which the
//! service is installed, and runs this there.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use ticket_host_tests::{Run, post, run, wait_for};

const URL: &str = "http://127.0.0.1:8620";
const CGROUP: &str = "/sys/fs/cgroup/system.slice/ticket-host.service";

fn command(words: &str) -> Run {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    run(command, b"")
}

/// Starts the service anew, and waits until it has made a ticket.
fn started() {
    command("systemctl restart ticket-host").ended(0);
    let incident = json!({"description": "x", "pk": 1, "source": {"name": "n"}});
    let body = json!({"incident": incident, "backend": "local", "wait_ms": 60_000});
    let reply = post(URL, "/v1/tickets", &body).unwrap();
    assert_eq!(reply.json()["state"], "created", "{reply:?}\n{}", log());
}

/// What the service has written.
fn log() -> String {
    command("journalctl --unit ticket-host --output cat --no-pager").stdout
}

#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn the_services_workers_are_confined() {
    started();
    assert!(!log().contains("sandbox"), "{}", log());
    assert!(!log().contains("not whole"), "{}", log());
    let checked = command(
        "systemd-run --quiet --wait --pipe --property=User=ticket-host \
         --property=SystemCallFilter=@system-service --property=SystemCallErrorNumber=EPERM \
         /usr/bin/ticket-host --config /etc/ticket-host/config.toml check",
    );
    let said = checked.stdout.clone() + &checked.stderr;
    assert!(said.contains("forbids"), "without the calls that the unit names: {said}");
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
fn the_host_and_its_workers_are_in_delegated_cgroups() {
    started();
    let read = |file: &str| fs::read_to_string(format!("{CGROUP}/{file}")).unwrap_or_default();
    let host = command("systemctl show --property=MainPID --value ticket-host").stdout;
    assert_eq!(read("host/cgroup.procs").lines().next(), Some(host.trim()));
    let controllers = read("cgroup.controllers");
    for name in ["memory", "pids", "cpu"] {
        assert!(controllers.contains(name), "{controllers}");
    }
}
