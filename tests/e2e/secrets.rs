//! What keeps secrets from being read beside the host: on their way, and in its memory.

use std::process::Command;

use rustix::process::geteuid;
use ticket_host_tests::{Installation, c_plugin, run, wait_for};

#[test]
fn a_secret_that_goes_to_another_machine_unencrypted_is_a_warning_that_says_what_to_do() {
    let host = Installation::new();
    host.add(&c_plugin("webhook"));
    let with = |endpoint: &str, more: &str| {
        host.config(&format!(
            "[backends.b]\nplugin = \"webhook\"\nendpoint = \"{endpoint}\"\n{more}\n\
             [queue]\npath = \"queue.db\"\n"
        ));
    };
    const WARNING: &str = "unencrypted, and can be read on its way there; write https:// in";
    let secret = "secret = { token = \"hunter2\" }";
    let added = format!("{secret}\nallow_origins = [\"http://files.example.org:81\"]");
    // Nothing is there: what the check finds is no part of this.
    for (endpoint, more, warned) in [
        ("http://tickets.invalid:81", secret, Some("goes to http://tickets.invalid:81 ")),
        ("https://tickets.invalid", &added, Some("goes to http://files.example.org:81 ")),
        ("https://tickets.invalid", secret, None),
        ("http://127.0.0.1:1", secret, None),
        ("http://[::1]:1", secret, None),
        ("http://localhost:1", secret, None),
    ] {
        with(endpoint, more);
        let said = host.run(&["check"]).stderr;
        assert_eq!(said.contains(WARNING), warned.is_some(), "{endpoint} {more}: {said}");
        assert!(said.contains(warned.unwrap_or("")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    with("http://tickets.invalid:81", secret);
    let _service = host.serve();
    host.logged(WARNING, 1);
}

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
