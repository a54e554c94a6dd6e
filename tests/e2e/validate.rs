//! The validator: what is right passes it, and what breaks a rule fails the case of that rule.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use ticket_host_tests::{Installation, Run, c_plugin, rust_plugin};

fn settings(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("validate").join(format!("{name}.toml"))
}

fn validate(host: &Installation, library: &Path, settings: &Path, more: &[&str]) -> Run {
    let mut arguments = vec!["plugins", "validate", library.to_str().unwrap(), "--settings"];
    arguments.push(settings.to_str().unwrap());
    arguments.extend(more);
    host.run(&arguments)
}

fn outcomes(run: &Run) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let cases = report["cases"].as_array().unwrap().iter();
    let text = |case: &Value, name: &str| case[name].as_str().unwrap_or_default().to_owned();
    cases.map(|case| (text(case, "name"), text(case, "outcome"), text(case, "message"))).collect()
}

#[test]
fn our_own_plugins_and_the_example_in_c_pass() {
    let host = Installation::new();
    let mut wrong = Vec::new();
    // find-exact is skipped where the protocol's answers don't say whose ticket it is.
    // find-paged is skipped where an answer has all tickets of the key.
    for (library, name, skipped) in [
        (rust_plugin("rt"), "rt", &["find-paged"][..]),
        (rust_plugin("jira"), "jira", &["find-paged"]),
        (rust_plugin("github"), "github", &[]),
        (rust_plugin("gitlab"), "gitlab", &[]),
        (c_plugin("webhook"), "webhook", &["find-exact", "find-paged"]),
        (c_plugin("breaks"), "posts", &["find-paged"]),
        (rust_plugin("local"), "local", &["endpoints", "find-exact", "find-lost", "find-paged"]),
    ] {
        let tickets = host.path("tickets");
        let text = fs::read_to_string(settings(name)).unwrap();
        let text = text.replace("{{path}}", tickets.to_str().unwrap());
        let directory = format!("file://{}/", tickets.display());
        let file = host.path(&format!("{name}.toml"));
        fs::write(&file, text.replace("{{directory}}", &directory)).unwrap();
        let run = validate(&host, &library, &file, &["--json"]);
        for (case, outcome, message) in outcomes(&run) {
            let expected = match case.as_str() {
                // The helpers for C don't pass it on.
                "retry-after" if name == "webhook" => "warn",
                case if skipped.contains(&case) => "skip",
                _ => "pass",
            };
            if outcome != expected {
                wrong.push(format!("{name}: {case}: {outcome} {message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every case of the validator's, and how it ends where its rule is broken.
const CASES: &[(&str, &str)] = &[
    ("symbol", "warn"),
    ("table", "fail"),
    ("load-time", "fail"),
    ("manifest", "fail"),
    ("schemas", "fail"),
    ("permissions", "fail"),
    ("open", "fail"),
    ("bad-settings", "crash"),
    ("unknown-members", "fail"),
    ("endpoints", "fail"),
    ("find-offered", "warn"),
    ("check", "fail"),
    ("check-fails", "fail"),
    ("create", "fail"),
    ("key", "fail"),
    ("create-again", "warn"),
    ("find-none", "fail"),
    ("find", "fail"),
    ("find-exact", "fail"),
    ("dry-run", "fail"),
    ("incidents", "crash"),
    ("key-escaped", "fail"),
    ("title-escaped", "fail"),
    ("keys-apart", "fail"),
    ("find-lost", "fail"),
    ("find-paged", "fail"),
    ("search-unclear", "fail"),
    ("http-results", "fail"),
    ("http-statuses", "fail"),
    ("http-bodies", "fail"),
    ("create-once", "fail"),
    ("retry", "fail"),
    ("retry-after", "warn"),
    ("threads", "crash"),
    ("leak", "fail"),
    ("after-call", "crash"),
    ("deadline", "crash"),
    ("cancelled", "crash"),
    ("silence", "fail"),
    ("secret", "fail"),
    ("system-calls", "warn"),
    ("call-thread", "fail"),
];

/// Cases whose rule is broken before a plugin gets its settings. Each has a library of its own; in the
/// other cases the settings tell the plugin what to break.
const COMPILED: [&str; 7] =
    ["symbol", "table", "load-time", "manifest", "schemas", "permissions", "find-offered"];

#[test]
fn each_case_fails_where_its_rule_is_broken_and_passes_where_it_is_kept() {
    let host = Installation::new();
    let kept = validate(&host, &c_plugin("breaks"), &settings("breaks"), &["--json"]);
    let names: Vec<String> = outcomes(&kept).into_iter().map(|(name, ..)| name).collect();
    let all: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, all, "a broken plugin for each case");
    let mut wrong = Vec::new();
    for (case, outcome, message) in outcomes(&kept) {
        if outcome != "pass" {
            wrong.push(format!("kept: {case}: {outcome} {message}"));
        }
    }
    for &(case, expected) in CASES {
        let library = match COMPILED.contains(&case) {
            true => c_plugin(&format!("breaks_{}", case.replace('-', "_"))),
            false => c_plugin("breaks"),
        };
        let text = fs::read_to_string(settings("breaks")).unwrap();
        let file = host.path("broken.toml");
        fs::write(&file, text.replace("\"nothing\"", &format!("\"{case}\""))).unwrap();
        let run = validate(&host, &library, &file, &["--json", "--only", case]);
        let outcome = outcomes(&run);
        assert_eq!(outcome.len(), 1);
        if outcome[0].1 != expected || outcome[0].2.is_empty() {
            wrong.push(format!("{case} should be {expected}: {} {}", outcome[0].1, outcome[0].2));
        }
        run.ended(if outcome[0].1 == "warn" || outcome[0].1 == "pass" { 0 } else { 6 });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Ways to break the rules of the cases that make many calls: how the case ends, and what it says.
#[cfg(target_os = "linux")]
const OVERDONE: [(&str, &str, &str, &str); 8] = [
    ("threads-share", "threads", "fail", "an instance used another instance's settings"),
    ("leak", "leak", "fail", "bytes more after each instance"),
    ("leak-open", "leak", "fail", "bytes more after each instance"),
    ("leak-descriptors", "leak", "fail", "descriptors more after"),
    ("leak-threads", "leak", "fail", "a thread goes on after close()"),
    ("slow-leak", "leak", "fail", "bytes more after each instance"),
    ("after-call", "after-call", "crash", "it reads an answer or a text after the call"),
    ("call-thread", "call-thread", "fail", "check used its call on another thread"),
];

/// The case's outcome and message for a plugin that breaks this.
fn broken(host: &Installation, breaks: &str, case: &str, more: &[&str]) -> (String, String) {
    let text = fs::read_to_string(settings("breaks")).unwrap();
    let file = host.path(&format!("{breaks}.toml"));
    fs::write(&file, text.replace("\"nothing\"", &format!("\"{breaks}\""))).unwrap();
    let arguments = [&["--json", "--only", case], more].concat();
    let run = validate(host, &c_plugin("breaks"), &file, &arguments);
    let (_, outcome, message) = outcomes(&run).remove(0);
    (outcome, message)
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_lost_shared_or_read_too_late_in_many_calls_is_found_and_named() {
    let host = Installation::new();
    for (breaks, case, expected, says) in OVERDONE {
        let (outcome, message) = broken(&host, breaks, case, &[]);
        assert_eq!(outcome, expected, "{breaks}: {message}");
        assert!(message.contains(says), "{breaks}: {message}");
    }
}

#[test]
fn a_plugin_that_takes_long_for_a_call_passes_the_cases_that_make_many_calls() {
    let host = Installation::new();
    for case in ["threads", "leak", "after-call"] {
        let (outcome, message) = broken(&host, "slow", case, &[]);
        assert_eq!(outcome, "pass", "{case}: {message}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn in_process_many_calls_are_made_as_well() {
    let host = Installation::new();
    // What crashes would end the validator, and a tool is there to tell of it.
    for (breaks, case, expected, says) in OVERDONE {
        if ["slow-leak", "after-call"].contains(&breaks) {
            continue;
        }
        let (outcome, message) = broken(&host, breaks, case, &["--in-process"]);
        assert_eq!(outcome, expected, "{breaks}: {message}");
        assert!(message.contains(says), "{breaks}: {message}");
    }
}

#[test]
fn in_process_gives_the_same() {
    let host = Installation::new();
    let run = validate(&host, &rust_plugin("rt"), &settings("rt"), &["--json", "--in-process"]);
    for (case, outcome, message) in outcomes(&run) {
        // That is told by a worker's sandbox; and there is no second page in its script.
        let skipped = ["system-calls", "find-paged"];
        let expected = if skipped.contains(&case.as_str()) { "skip" } else { "pass" };
        assert_eq!(outcome, expected, "{case}: {message}");
    }
}

#[test]
fn fuzzing_finds_what_crashes_and_its_seed_finds_it_again() {
    let host = Installation::new();
    let good = validate(&host, &rust_plugin("rt"), &settings("rt"), &["--fuzz", "2"]).ended(0);
    assert!(good.stdout.starts_with("seed ") && good.stdout.contains("kept the rules"), "{good:?}");
    let text = fs::read_to_string(settings("breaks")).unwrap();
    let file = host.path("broken.toml");
    fs::write(&file, text.replace("\"nothing\"", "\"incidents\"")).unwrap();
    let found = validate(&host, &c_plugin("breaks"), &file, &["--fuzz", "60"]).ended(6).stdout;
    let seed = found.trim().rsplit("--reproduce ").next().unwrap();
    let again = validate(&host, &c_plugin("breaks"), &file, &["--reproduce", seed]).ended(6).stdout;
    assert!(again.contains("was ended by signal 6"), "{again}");
}

/// What a terminal gets to see while this program runs there, until it ends with this code.
#[cfg(target_os = "linux")]
pub(crate) fn on_a_terminal(host: &Installation, arguments: &[&str], code: i32) -> Option<String> {
    let program = host.command(arguments);
    let words = [program.get_program()].into_iter().chain(program.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_str().unwrap()));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &quoted.collect::<Vec<_>>().join(" "), "/dev/null"]);
    script.env_clear().env("SHELL", "/bin/sh").current_dir(host.path(""));
    let output = script.stdin(std::process::Stdio::null()).output();
    if output.as_ref().is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound) {
        ticket_host_tests::skipped("there is no script(1)");
        return None;
    }
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n"))
}

/// What is left on the terminal of what was written to it.
#[cfg(target_os = "linux")]
fn left(seen: &str) -> String {
    let lines = seen.split('\n').map(|line| line.rsplit("\r\x1b[K").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(target_os = "linux")]
#[test]
fn who_watches_on_a_terminal_sees_which_case_runs_and_nothing_of_it_is_left() {
    let host = Installation::new();
    let webhook = c_plugin("webhook");
    let some =
        ["plugins", "validate", webhook.to_str().unwrap(), "--only", "table", "--only", "symbol"];
    let Some(seen) = on_a_terminal(&host, &some, 0) else { return };
    assert!(
        seen.contains("\r\x1b[K1/2 symbol\r") && seen.contains("\r\x1b[K2/2 table\r"),
        "{seen:?}"
    );
    let piped = host.run(&some).ended(0);
    assert_eq!((left(&seen), piped.stderr), (piped.stdout, String::new()));
    let json = [&some[..], &["--json"]].concat();
    assert_eq!(on_a_terminal(&host, &json, 0).unwrap(), host.run(&json).ended(0).stdout);
    let install = ["plugins", "install", webhook.to_str().unwrap()];
    let seen = on_a_terminal(&host, &install, 0).unwrap();
    let all = CASES.len();
    let first = format!("\r\x1b[K1/{all} symbol\r");
    assert!(seen.contains(&first) && seen.contains(&format!("/{all} ")), "{seen:?}");
    let left = left(&seen);
    assert!(left.starts_with("webhook 0.1.0: ") && left.lines().count() == 1, "{left}");
    assert_eq!(host.run(&install).ended(0).stderr, "");
}

#[test]
fn unknown_cases_and_bad_settings_are_refused() {
    let host = Installation::new();
    let rt = rust_plugin("rt");
    validate(&host, &rt, &settings("rt"), &["--only", "nonsense"])
        .ended(2)
        .says("there is no case \"nonsense\"")
        .says("find-exact");
    fs::write(host.path("bad.toml"), "endpoint = 1\n").unwrap();
    validate(&host, &rt, &host.path("bad.toml"), &[]).ended(2).says("bad.toml");
    let file = host.path("bad.toml");
    let nothing = host.run(&["plugins", "validate", file.to_str().unwrap()]).ended(6);
    assert!(nothing.stdout.contains("FAIL   table"), "{}", nothing.stdout);
}

#[test]
fn what_is_no_plugin_is_not_fuzzed_and_what_is_not_there_breaks_no_rules() {
    let host = Installation::new();
    let run =
        |file: &str, rest: &[&str]| host.run(&[&["plugins", "validate", file][..], rest].concat());
    for rest in [&[][..], &["--fuzz", "1"], &["--reproduce", "1"]] {
        run("nowhere.so", rest).ended(2).says("nowhere.so: can't be opened");
    }
    let text = host.path("config.toml");
    for rest in [&["--fuzz", "1"][..], &["--reproduce", "1"]] {
        run(text.to_str().unwrap(), rest).ended(7).says("config.toml: ");
    }
}
