//! Where the sandbox can't be had: a plugin is not loaded, and the error says what is to blame, unless the operator does
//! without it by name.

use std::fs;
use std::process::Command;

use ticket_host_tests::{Installation, Run, c_plugin, run, rust_plugin};

pub(crate) const INCIDENT: &[u8] = br#"{"description": "x", "pk": 1, "source": {"name": "n"}}"#;

/// An installation whose backend `b` makes files. `first` stands at the beginning of the config.
pub(crate) fn host(first: &str) -> Installation {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    host.config(&format!("{first}\n{}", host.local("b")));
    host
}

/// Runs the program where a filter lets system calls of `part` (landlock, seccomp, both) fail with `error`.
fn within(error: &str, part: &str, host: &Installation, arguments: &[&str]) -> Run {
    run(filtered(error, part, host, arguments), INCIDENT)
}

fn filtered(error: &str, part: &str, host: &Installation, arguments: &[&str]) -> Command {
    let command = host.command(arguments);
    let mut filtered = Command::new(c_plugin("filtered").with_extension(""));
    filtered.args([error, part]).arg(command.get_program()).args(command.get_args());
    filtered.env_clear().current_dir(host.path("."));
    filtered
}

pub(crate) fn tickets(host: &Installation) -> usize {
    fs::read_dir(host.path("tickets")).unwrap().count()
}

#[test]
fn without_a_whole_sandbox_no_plugin_is_loaded_and_the_error_says_what_is_to_blame() {
    let host = host("");
    for (error, part, because) in [
        ("EPERM", "landlock", "a seccomp filter around this program forbids Landlock (EPERM)"),
        ("EPERM", "seccomp", "a seccomp filter around this program forbids seccomp (EPERM)"),
        ("EPERM", "both", "a seccomp filter around this program forbids Landlock (EPERM)"),
        ("EOPNOTSUPP", "landlock", "the kernel has Landlock, but it is switched off at boot"),
        (
            "ENOSYS",
            "landlock",
            "was built without Landlock, or a container's seccomp profile hides it",
        ),
        ("ENOSYS", "seccomp", "was built without CONFIG_SECCOMP_FILTER"),
    ] {
        for arguments in [&["check"][..], &["create", "-"]] {
            let run = within(error, part, &host, arguments).ended(7).says(because);
            assert!(run.stderr.contains("sandbox = \"best-effort\""), "{}", run.stderr);
        }
    }
    assert_eq!(tickets(&host), 0);
}

#[test]
fn the_error_names_the_calls_that_a_filter_must_let_through_and_where() {
    within("EPERM", "both", &host(""), &["check"])
        .ended(7)
        .says("landlock_create_ruleset, landlock_add_rule, landlock_restrict_self and seccomp")
        .says("in a systemd unit SystemCallFilter, in a container its seccomp profile");
}

#[test]
fn with_best_effort_a_plugin_is_loaded_and_the_operator_is_warned() {
    let host = host("sandbox = \"best-effort\"");
    for (part, lacks) in [("landlock", "files: "), ("seccomp", "system calls: ")] {
        let checked = within("EPERM", part, &host, &["check"]).ended(0).stdout;
        assert!(checked.contains(&format!("the sandbox is not whole: {lacks}")), "{checked}");
    }
    within("EPERM", "both", &host, &["create", "-"]).ended(0);
    assert_eq!(tickets(&host), 1);
}

#[test]
fn what_there_is_of_a_sandbox_is_used_with_best_effort() {
    let host = Installation::new();
    host.add(&c_plugin("quiet"));
    host.config(
        "sandbox = \"best-effort\"\n[backends.b]\nplugin = \"hostile\"\nendpoint = \"https://t.example.org\"\n\
         information = { fault = \"read\", argument = \"/etc/passwd\" }\n",
    );
    let create = ["create", "--force", "-"];
    within("EPERM", "seccomp", &host, &create).ended(5).says("read: EACCES");
    within("EPERM", "landlock", &host, &create).ended(5).says("read: OK");
}

/// A library that writes frames in its worker's place as soon as it is loaded comes too late for that one.
#[test]
fn a_constructor_cannot_say_that_it_is_confined() {
    let host = Installation::new();
    host.add(&c_plugin("forges_loaded"));
    host.config(
        "sandbox = \"best-effort\"\n[queue]\npath = \"queue.db\"\n\
         [backends.b]\nplugin = \"forges_loaded\"\nendpoint = \"https://t.example.org\"\n",
    );
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let service = host.serve_by(filtered("EPERM", "both", &host, &serve));
    host.logged("the sandbox is not whole: files: ", 1);
    service.get("/healthz").is(200);
}

#[test]
fn without_a_sandbox_by_name_check_says_so() {
    let host = host("sandbox = \"off\"");
    let checked = host.run(&["check"]).ended(0).stdout;
    assert!(checked.contains("sandbox = \"off\""), "{checked}");
    host.create_from(INCIDENT, &[]).ended(0);
    assert_eq!(tickets(&host), 1);
}

#[test]
fn another_word_is_a_settings_error_at_its_line() {
    let host = host("sandbox = \"strict\"");
    host.run(&["check"]).ended(3).says("config.toml:2").says("best-effort");
}

#[test]
fn init_writes_what_this_machine_can_do_and_says_so() {
    for (error, part, word) in [
        ("EPERM", "both", "best-effort"),
        ("ENOSYS", "landlock", "best-effort"),
        ("", "", "require"),
    ] {
        let host = Installation::new();
        fs::remove_file(host.path("config.toml")).unwrap();
        let ran = if error.is_empty() {
            host.run(&["init"])
        } else {
            within(error, part, &host, &["init"]).says(word)
        };
        ran.ended(0);
        let written = fs::read_to_string(host.path("config.toml")).unwrap();
        let line = format!("sandbox = \"{word}\"");
        assert!(written.lines().any(|written| written == line), "no {line} in:\n{written}");
    }
}
