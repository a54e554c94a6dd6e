//! What keeps secrets from being read beside the host: in its memory.

use std::process::Command;

use rustix::process::geteuid;
use ticket_host_tests::{Installation, c_plugin, run, wait_for};

/// A command that can't look into other processes by root's rights to do that.
fn without_roots_eyes(command: &Command) -> Command {
    let mut without = if geteuid().is_root() {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--bounding-set=-sys_ptrace,-perfmon,-sys_admin", "--"]);
        setpriv.arg(command.get_program());
        setpriv
    } else {
        Command::new(command.get_program())
    };
    without.args(command.get_args()).env_clear().env("TOKEN", "hunter2");
    if let Some(directory) = command.get_current_dir() {
        without.current_dir(directory);
    }
    without
}

/// What a process of the same user finds in the environment of the process `id`.
fn environment(id: u32) -> ticket_host_tests::Run {
    let mut cat = Command::new("cat");
    cat.arg(format!("/proc/{id}/environ"));
    run(without_roots_eyes(&cat), b"")
}

#[test]
fn another_process_of_the_same_user_reads_nothing_of_the_host_and_no_core_is_dumped() {
    let host = Installation::new();
    host.config("[queue]\npath = \"queue.db\"\n");
    let serve = host.command(&["serve", "--listen", "127.0.0.1:0"]);
    let service = host.serve_by(without_roots_eyes(&serve));
    environment(service.id()).ended(1).says("Permission denied");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let core: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "soft and hard");

    // Otherwise this would prove nothing.
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let mut other = without_roots_eyes(&sleep).spawn().unwrap();
    wait_for("another program's environment", || {
        environment(other.id()).stdout.contains("hunter2")
    });
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn check_says_when_the_host_runs_as_root() {
    let host = Installation::with(&c_plugin("misbehaves"), "https://tickets.example.org", "");
    let checked = host.run(&["check"]).ended(0).stdout;
    let is_said = checked.contains("the host runs as root") && checked.contains("User=");
    assert_eq!(is_said, geteuid().is_root(), "{checked}");
}
