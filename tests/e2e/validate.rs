//! The validator: what is right passes it, and what breaks a rule fails the case of that rule.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use ticket_host_tests::{Installation, Run, c_plugin, rust_plugin};

fn settings(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("validate").join(format!("{name}.toml"))
}

/// A copy of such settings, in which the tickets' directory is the installation's, with these lines at its end.
fn settings_in(host: &Installation, name: &str, more: &str) -> PathBuf {
    let tickets = host.path("tickets");
    let text = fs::read_to_string(settings(name)).unwrap();
    let text = text.replace("{{path}}", tickets.to_str().unwrap());
    let text = text.replace("{{directory}}", &format!("file://{}/", tickets.display()));
    let file = host.path(&format!("{name}.toml"));
    fs::write(&file, format!("{text}{more}")).unwrap();
    file
}

fn validate(host: &Installation, library: &Path, settings: &Path, more: &[&str]) -> Run {
    let mut arguments = vec!["plugins", "validate", library.to_str().unwrap(), "--settings"];
    arguments.push(settings.to_str().unwrap());
    arguments.extend(more);
    host.run(&arguments)
}

/// The settings of validate/NAME.toml, by which a faulty plugin is to break `what`.
fn breaking(host: &Installation, name: &str, what: &str) -> PathBuf {
    let text = fs::read_to_string(settings(name)).unwrap();
    let file = host.path(&format!("{name}-{what}.toml"));
    fs::write(&file, text.replace("\"nothing\"", &format!("\"{what}\""))).unwrap();
    file
}

/// The outcome and the message of one case for a plugin with these settings.
fn one_case(
    host: &Installation,
    library: &Path,
    settings: &Path,
    case: &str,
    more: &[&str],
) -> (String, String) {
    let arguments = [&["--json", "--only", case], more].concat();
    let mut outcomes = outcomes(&validate(host, library, settings, &arguments));
    assert_eq!(outcomes.len(), 1);
    let (_, outcome, message) = outcomes.remove(0);
    (outcome, message)
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
    // find-paged and page-fails are skipped where an answer has all tickets of the key. The webhook's desk answers by
    // headers, and has no lists.
    for (library, name, skipped) in [
        (rust_plugin("rt"), "rt", &["find-paged", "page-fails", "find-many-paged"][..]),
        // jira, github and gitlab are validated with the planted mistakes: tests/mutants.sh.
        (
            c_plugin("webhook"),
            "webhook",
            &[
                "find-exact",
                "find-paged",
                "page-fails",
                "find-among",
                "answer-lacks",
                "answer-differs",
            ],
        ),
        (c_plugin("breaks"), "posts", &["find-paged", "page-fails"]),
        (
            rust_plugin("local"),
            "local",
            &[
                "endpoints",
                "find-exact",
                "find-lost",
                "find-paged",
                "page-fails",
                "find-among",
                "answer-lacks",
                "answer-differs",
            ],
        ),
    ] {
        let file = settings_in(&host, name, "");
        let run = validate(&host, &library, &file, &["--json"]);
        for (case, outcome, message) in outcomes(&run) {
            let expected = match case.as_str() {
                // The helpers for C don't pass it on.
                "retry-after" if name == "webhook" => "warn",
                case if skipped.contains(&case) || is_without(name, case) => "skip",
                _ => "pass",
            };
            if outcome != expected {
                wrong.push(format!("{name}: {case}: {outcome} {message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The validator sees no files, so it says that there is no comment: the file has it.
#[test]
fn a_confined_worker_can_write_a_step_of_local_into_the_tickets_file() {
    let host = Installation::new();
    let rule = "\n[[http]]\nmethod = \"POST\"\npath = \"/none\"\nrole = \"comment\"\n";
    let file = settings_in(&host, "local", rule);
    let run = validate(&host, &rust_plugin("local"), &file, &["--json", "--only", "update"]);
    assert_eq!(outcomes(&run)[0].2, "comment: it writes no comment");
    let written = fs::read_dir(host.path("tickets")).unwrap().map(|file| file.unwrap().path());
    let [ticket] = &written.collect::<Vec<_>>()[..] else { panic!("one ticket, and nothing else") };
    let text = fs::read_to_string(ticket).unwrap();
    assert!(text.contains("The incident has changed"), "{text}");
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
    ("create-flagged", "fail"),
    ("key", "fail"),
    ("create-again", "fail"),
    ("find-none", "fail"),
    ("find", "fail"),
    ("find-exact", "fail"),
    ("dry-run", "fail"),
    ("incidents", "crash"),
    ("key-escaped", "fail"),
    ("title-escaped", "fail"),
    ("title-long", "fail"),
    ("text", "fail"),
    ("keys-apart", "fail"),
    ("find-lost", "fail"),
    ("find-paged", "fail"),
    ("page-fails", "fail"),
    ("search-unclear", "fail"),
    ("find-among", "fail"),
    ("answer-lacks", "fail"),
    ("answer-differs", "fail"),
    ("answer-grows", "fail"),
    ("threads", "crash"),
    ("leak", "fail"),
    ("after-call", "crash"),
    ("http-results", "fail"),
    ("http-statuses", "fail"),
    ("http-bodies", "fail"),
    ("create-once", "fail"),
    ("retry", "fail"),
    ("retry-after", "warn"),
    ("after-create", "fail"),
    ("search-first", "fail"),
    ("find-many", "fail"),
    ("find-many-paged", "fail"),
    ("find-many-unclear", "fail"),
    ("find-many-shared", "warn"),
    ("update-offered", "fail"),
    ("update", "fail"),
    ("update-text", "fail"),
    ("update-again", "fail"),
    ("update-person", "fail"),
    ("update-gone", "fail"),
    ("update-unknown", "fail"),
    ("update-lost", "fail"),
    ("update-retry", "fail"),
    ("update-dry-run", "fail"),
    ("state", "fail"),
    ("state-unclear", "fail"),
    ("changes", "fail"),
    ("changes-lost", "fail"),
    ("receive", "fail"),
    ("receive-forged", "fail"),
    ("receive-garbage", "crash"),
    ("odd-requests", "crash"),
    ("answers-cut", "crash"),
    ("answers-extreme", "crash"),
    ("texts-extreme", "crash"),
    ("deadline", "crash"),
    ("cancelled", "crash"),
    ("silence", "fail"),
    ("secret", "fail"),
    ("system-calls", "warn"),
    ("call-thread", "fail"),
];

/// Cases whose rule is broken before a plugin gets its settings. Each has a library of its own; in the
/// other cases the settings tell the plugin what to break.
const COMPILED: [&str; 8] = [
    "symbol",
    "table",
    "load-time",
    "manifest",
    "schemas",
    "permissions",
    "find-offered",
    "update-offered",
];

/// Whether a case is about the functions that come after a ticket's creation, which faulty/breaks_life.c has.
fn is_of_life(case: &str) -> bool {
    let begins = ["find-many", "update", "state", "changes", "receive", "odd-requests"];
    begins.iter().any(|begin| case.starts_with(begin))
}

/// Whether one of our own plugins has nothing that the case is about.
fn is_without(name: &str, case: &str) -> bool {
    let has = match name {
        "rt" => {
            let begins = ["find-many", "update", "state", "receive", "odd-requests"];
            begins.iter().any(|begin| case.starts_with(begin))
        }
        "webhook" => {
            let begins = ["update", "state", "receive", "odd-requests"];
            begins.iter().any(|begin| case.starts_with(begin))
        }
        // Its tickets are files: no script can play how one was changed.
        "local" => {
            let has =
                ["update-offered", "update-unknown", "state", "state-unclear", "odd-requests"];
            has.contains(&case)
        }
        _ => false,
    };
    is_of_life(case) && !has
}

/// The library that breaks the rule of a case, or breaks none, and the name of its settings.
fn breaker(case: &str) -> (&'static str, &'static str) {
    if is_of_life(case) { ("breaks_life", "breaks_life") } else { ("breaks", "breaks") }
}

#[test]
fn each_case_fails_where_its_rule_is_broken_and_passes_where_it_is_kept() {
    let host = Installation::new();
    let kept = validate(&host, &c_plugin("breaks"), &settings("breaks"), &["--json"]);
    let names: Vec<String> = outcomes(&kept).into_iter().map(|(name, ..)| name).collect();
    let all: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, all, "a broken plugin for each case");
    let mut wrong = Vec::new();
    for (case, outcome, message) in outcomes(&kept) {
        let expected = if is_of_life(&case) { "skip" } else { "pass" };
        if outcome != expected {
            wrong.push(format!("kept: {case}: {outcome} {message}"));
        }
    }
    for &(case, expected) in CASES {
        let (library, described) = breaker(case);
        let library = match COMPILED.contains(&case) {
            true => c_plugin(&format!("breaks_{}", case.replace('-', "_"))),
            false => c_plugin(library),
        };
        let file = breaking(&host, described, case);
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

/// Other ways to break a case's rule, with the settings file: how the case ends, and what it says.
const OTHERWISE: [(&str, &str, &str, &str, &str); 15] = [
    ("check-asks-nothing", "breaks", "check-fails", "fail", "it asks for nothing"),
    ("check-takes-html", "breaks", "check-fails", "fail", "answered 200 and HTML"),
    ("sends-a-count", "breaks", "create-again", "warn", "another request the second time"),
    ("remembers-none", "breaks", "find", "fail", "find() gives NOT_FOUND"),
    ("null-for-none", "posts", "search-unclear", "fail", "null for tickets"),
    ("late-page", "breaks", "page-fails", "fail", "no time left"),
    ("find-fails-for-ever", "breaks", "http-results", "fail", "another search can find the ticket"),
    ("accepted-taken-for-made", "breaks", "http-statuses", "fail", "in the ticket's URL"),
    ("html-taken-for-made", "breaks", "http-bodies", "fail", "in the ticket's URL"),
    ("failed-as-never", "breaks", "http-statuses", "fail", "may have created the ticket"),
    ("again-after-timeout", "breaks", "create-once", "fail", "sends 2 requests that create"),
    ("refused-as-unknown", "breaks", "retry", "fail", "no person is told"),
    ("overload-as-never", "breaks", "retry", "fail", "trying again can help"),
    ("denied-as-later", "breaks", "retry", "fail", "the host denies it again"),
    ("retry-after-in-seconds", "breaks", "retry-after", "fail", "retry_after_ms is 17"),
];

#[test]
fn what_makes_a_second_ticket_or_loses_one_fails_the_case_that_is_about_it() {
    let host = Installation::new();
    let mut wrong = Vec::new();
    for (breaks, file, case, expected, says) in OTHERWISE {
        let file = breaking(&host, file, breaks);
        let (outcome, message) = one_case(&host, &c_plugin("breaks"), &file, case, &[]);
        if outcome != expected || !message.contains(says) {
            wrong.push(format!("{breaks} should be {expected}: {case}: {outcome} {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_script_a_title_that_is_sent_twice_is_a_second_ticket() {
    let host = Installation::new();
    for (breaks, expected) in [("nothing", "pass"), ("create-once", "fail")] {
        let file = breaking(&host, "breaks", breaks);
        let text = fs::read_to_string(&file).unwrap();
        let (alone, _) = text.split_once("[[http]]").unwrap();
        fs::write(&file, alone).unwrap();
        let (outcome, message) = one_case(&host, &c_plugin("breaks"), &file, "create-once", &[]);
        assert_eq!(outcome, expected, "{message}");
    }
}

/// The names of the cases about the functions that come after a ticket's creation, as arguments.
fn cases_of_life() -> Vec<&'static str> {
    let names = CASES.iter().map(|(name, _)| *name).filter(|name| is_of_life(name));
    [vec!["--json"], names.flat_map(|name| ["--only", name]).collect()].concat()
}

#[test]
fn plugins_with_all_functions_pass_the_cases_about_them() {
    let host = Installation::new();
    let in_process = [&["--in-process"], &cases_of_life()[..]].concat();
    for (library, arguments) in [
        ("breaks_life", &cases_of_life()),
        ("breaks_life", &in_process),
        ("grown", &cases_of_life()),
    ] {
        let run = validate(&host, &c_plugin(library), &settings(library), arguments);
        for (case, outcome, message) in outcomes(&run) {
            assert_eq!(outcome, "pass", "{library}: {case}: {message}");
        }
    }
}

/// Other ways to break these rules, by the case that finds each and what it says.
const BROKEN_OTHERWISE: [(&str, &str, &str); 7] = [
    ("update-again-page", "update-again", "it writes a second one when request 2 is answered"),
    ("update-partial", "update-lost", "the error isn't \"partial\""),
    ("update-order", "update", "it changes the state before it writes the comment"),
    ("update-mark", "update", "the step's id is in nothing that it writes"),
    ("state-unclear", "state", "the ticket 18 was answered 404"),
    ("receive-half", "receive-forged", "whose X-Signature is cut to its half"),
    ("receive-body", "receive-forged", "with one byte of its body changed"),
];

#[test]
fn what_breaks_the_rules_of_a_tickets_life_in_other_ways_is_found_and_named() {
    let host = Installation::new();
    for (breaks, case, says) in BROKEN_OTHERWISE {
        let file = breaking(&host, "breaks_life", breaks);
        let (outcome, message) = one_case(&host, &c_plugin("breaks_life"), &file, case, &[]);
        assert_eq!(outcome, "fail", "{breaks}: {message}");
        assert!(message.contains(says), "{breaks}: {message}");
    }
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

/// Mistakes that harm only by chance, and are shown by the memory that workers of the validator have.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const BEYOND: [(&str, &str); 6] = [
    ("answer-beyond", "SIGSEGV"),
    ("header-beyond", "SIGSEGV"),
    ("text-beyond", "SIGSEGV"),
    ("request-beyond", "SIGSEGV"),
    ("call-after", "SIGSEGV"),
    ("writes-beyond", "SIGABRT"),
];

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn who_reads_or_writes_beyond_what_he_was_given_crashes_in_the_first_call_that_works() {
    let host = Installation::new();
    for (breaks, signal) in BEYOND {
        let (outcome, message) = broken(&host, breaks, "create-again", &[]);
        assert_eq!(outcome, "crash", "{breaks}: {message}");
        assert!(message.contains(signal), "{breaks}: {message}");
    }
}

/// The case's outcome and message for a plugin that breaks this.
fn broken(host: &Installation, breaks: &str, case: &str, more: &[&str]) -> (String, String) {
    one_case(host, &c_plugin("breaks"), &breaking(host, "breaks", breaks), case, more)
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
    for case in ["deadline", "cancelled"] {
        let (outcome, message) = broken(&host, "slower", case, &[]);
        assert_eq!(outcome, "pass", "{case}: {message}");
    }
}

#[test]
fn a_case_that_had_no_time_for_all_of_its_values_says_so() {
    let host = Installation::new();
    let file = breaking(&host, "breaks", "slow");
    let case = ["--json", "--only", "search-unclear", "--only", "http-statuses"];
    let run = validate(&host, &c_plugin("breaks"), &file, &case);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let note = |at: usize| report["cases"][at]["note"].as_str().unwrap_or_default().to_owned();
    assert_eq!(report["cases"][1]["outcome"], "pass", "{report}");
    assert!(note(1).contains(" of 500 values were tried, since a call takes 3"), "{report}");
    let printed = validate(&host, &c_plugin("breaks"), &file, &case[1..]).stdout;
    assert!(printed.contains(" of 500 values were tried"), "{printed}");
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
        // Those are told by a worker; and there is no second page in its script.
        let skipped = ["load-time", "system-calls", "find-paged", "page-fails", "find-many-paged"];
        let skips = skipped.contains(&case.as_str()) || is_without("rt", &case);
        let expected = if skips { "skip" } else { "pass" };
        assert_eq!(outcome, expected, "{case}: {message}");
    }
}

#[test]
fn fuzzing_finds_what_crashes_and_its_seed_finds_it_again() {
    let host = Installation::new();
    let good = validate(&host, &rust_plugin("rt"), &settings("rt"), &["--fuzz", "2"]).ended(0);
    assert!(good.stdout.starts_with("seed ") && good.stdout.contains("kept the rules"), "{good:?}");
    let file = breaking(&host, "breaks", "incidents");
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
    // Both say how long they took, which may differ.
    let timeless = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(timeless(&left(&seen)), timeless(&piped.stdout));
    assert_eq!(piped.stderr, "");
    let json = [&some[..], &["--json"]].concat();
    let seen = on_a_terminal(&host, &json, 0).unwrap();
    assert_eq!(timeless(&seen), timeless(&host.run(&json).ended(0).stdout));
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

/// The last line, which says how the cases ended together, without the time that they took.
fn summary(run: &Run) -> &str {
    let line = run.stdout.lines().last().unwrap();
    let (summary, time) = line.rsplit_once(" in ").unwrap();
    let seconds: f64 = time.strip_suffix(" s").unwrap().parse().unwrap();
    assert!(seconds < 600.0, "{line}");
    summary
}

#[test]
fn a_report_says_which_bytes_were_validated_with_what_by_whom_and_how_each_case_ended() {
    let host = Installation::new();
    let rt = rust_plugin("rt");
    let report = host.path("report.json");
    let named = report.to_str().unwrap();
    fs::write(&report, "an earlier one").unwrap();
    let run = validate(&host, &rt, &settings("rt"), &["--in-process", "--report", named]).ended(0);
    assert!(summary(&run).contains(", 0 failed, "), "{}", summary(&run));
    let text = fs::read_to_string(&report).unwrap();
    assert!(text.ends_with("}\n"), "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    let bytes = fs::read(&rt).unwrap();
    let digest = |bytes: &[u8]| ticket_host_worker::Digest::of(bytes).to_string();
    assert_eq!(told["library"]["file"], rt.file_name().unwrap().to_str().unwrap());
    assert_eq!(told["library"]["bytes"], bytes.len());
    assert_eq!(told["library"]["sha256"], digest(&bytes));
    assert_eq!(told["plugin"]["name"], "rt");
    assert!(told["plugin"]["sdk"].as_str().unwrap().starts_with("ticket-plugin-api "), "{text}");
    assert_eq!(
        (&told["host"]["name"], &told["host"]["abi_version"]),
        (&"ticket-host".into(), &1.into())
    );
    let version = host.run(&["-V"]).ended(0).stdout;
    assert_eq!(
        version.trim(),
        format!("ticket-host {}", told["host"]["version"].as_str().unwrap())
    );
    assert_eq!(told["platform"]["os"], std::env::consts::OS);
    assert!(told["began_at"].as_str().unwrap().ends_with('Z'), "{text}");
    assert_eq!(told["settings"]["sha256"], digest(&fs::read(settings("rt")).unwrap()));
    assert_eq!(told["excludes"], Value::Null);
    assert_eq!(
        (&told["in_process"], &told["complete"], &told["ok"]),
        (&true.into(), &true.into(), &true.into())
    );
    let cases = told["cases"].as_array().unwrap();
    assert_eq!(cases.len(), CASES.len());
    let all: u64 = cases.iter().map(|case| case["milliseconds"].as_u64().unwrap()).sum();
    assert!(all <= told["milliseconds"].as_u64().unwrap(), "{text}");
    assert!(cases.iter().all(|case| case["demands"].is_string() && case["outcome"].is_string()));
    assert!(
        fs::read_dir(host.path(""))
            .unwrap()
            .all(|file| { !file.unwrap().file_name().to_string_lossy().starts_with(".report") })
    );
}

#[test]
fn a_report_on_some_of_the_cases_is_not_complete_and_one_on_a_broken_plugin_not_ok() {
    let host = Installation::new();
    let report = host.path("report.json");
    let more = ["--only", "create", "--report", report.to_str().unwrap()];
    let read = || -> Value { serde_json::from_slice(&fs::read(&report).unwrap()).unwrap() };
    validate(&host, &c_plugin("breaks"), &settings("breaks"), &more).ended(0);
    assert_eq!((&read()["complete"], &read()["ok"]), (&false.into(), &true.into()));
    validate(&host, &c_plugin("breaks"), &breaking(&host, "breaks", "create"), &more).ended(6);
    assert_eq!((&read()["ok"], &read()["cases"][0]["outcome"]), (&false.into(), &"fail".into()));
    // What is no plugin has a digest, and no manifest.
    let file = host.path("config.toml");
    validate(&host, &file, &settings("breaks"), &more).ended(0);
    let told = read();
    assert_eq!((&told["plugin"], &told["ok"]), (&Value::Null, &false.into()), "{told}");
    assert_eq!(told["skipped"], serde_json::json!(["create"]));
    assert!(told["library"]["sha256"].is_string(), "{told}");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_runs() {
    let host = Installation::new();
    let webhook = c_plugin("webhook");
    let library = host.path("libx.so");
    fs::copy(&webhook, &library).unwrap();
    let file = settings("webhook");
    for (report, why) in [
        (host.path("nowhere/report.json"), "can't be written"),
        (host.path(""), "is there already, and is not a file"),
        (PathBuf::from("/dev/null"), "is there already, and is not a file"),
        (PathBuf::from(".."), "is not the name of a file"),
        (library.clone(), "is what is validated"),
        (library.join("x"), "can't be written"),
    ] {
        let run = validate(&host, &library, &file, &["--report", report.to_str().unwrap()]);
        assert_eq!(run.stdout, "");
        run.ended(2).says("the report ").says(why).says("--report");
    }
    assert_eq!(fs::read(&library).unwrap(), fs::read(&webhook).unwrap());
}

#[test]
fn an_excluded_case_is_not_run_and_shown_with_its_reason() {
    let host = Installation::new();
    let (excludes, report) = (host.path("excludes.toml"), host.path("report.json"));
    fs::write(&excludes, "incidents = \"our desk\\nhas none\"\n").unwrap();
    let more = [
        "--only",
        "incidents",
        "--only",
        "create",
        "--exclude",
        excludes.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
    ];
    let broken = breaking(&host, "breaks", "incidents");
    let run = validate(&host, &c_plugin("breaks"), &broken, &more).ended(0);
    assert_eq!(summary(&run), "ok: 1 passed, 0 warnings, 0 failed, 0 skipped, 1 excluded");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(
        lines[0].starts_with("pass      create ") && lines[1].starts_with("excluded  incidents ")
    );
    assert_eq!(lines[2].trim_start(), "our desk\\nhas none");
    let told: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let excluded = &told["cases"][1];
    assert_eq!(
        (&excluded["outcome"], &excluded["message"]),
        (&"excluded".into(), &"our desk\nhas none".into())
    );
    assert_eq!(told["complete"], false);
    let digest = ticket_host_worker::Digest::of(&fs::read(&excludes).unwrap());
    assert_eq!(told["excludes"]["sha256"], digest.to_string());
    let json = validate(&host, &c_plugin("breaks"), &broken, &[&more[..], &["--json"]].concat());
    assert_eq!(outcomes(&json)[1].1, "excluded");
    validate(&host, &c_plugin("breaks"), &broken, &more[..4]).ended(6);
}

#[test]
fn a_file_of_excludes_without_a_reason_or_a_case_is_refused_before_anything_runs() {
    let host = Installation::new();
    let webhook = c_plugin("webhook");
    let file = host.path("excludes.toml");
    for (text, why) in [
        ("nonsense = 'x'\n", "excludes.toml: there is no case \"nonsense\""),
        ("leak = ' '\n", "excludes.toml: leak: the reason is empty"),
        ("leak = true\n", "excludes.toml: leak: must be a text"),
        ("leak\n", "excludes.toml: "),
    ] {
        fs::write(&file, text).unwrap();
        let more = ["--exclude", file.to_str().unwrap()];
        let run = validate(&host, &webhook, &settings("webhook"), &more);
        assert_eq!(run.stdout, "");
        run.ended(2).says(why);
    }
    let nowhere = host.path("nowhere.toml");
    let more = ["--exclude", nowhere.to_str().unwrap()];
    validate(&host, &webhook, &settings("webhook"), &more)
        .ended(2)
        .says("nowhere.toml: can't be read");
    fs::write(&file, "leak = 'x'\n").unwrap();
    for option in ["--exclude", "--report"] {
        let more = ["--fuzz", "1", option, file.to_str().unwrap()];
        validate(&host, &webhook, &settings("webhook"), &more).ended(2).says("cannot be used with");
    }
}

#[test]
fn a_call_that_fuzzing_made_is_shown_without_the_secret() {
    let host = Installation::new();
    let breaks = c_plugin("breaks");
    let broken = breaking(&host, "breaks", "incidents");
    let found = validate(&host, &breaks, &broken, &["--fuzz", "60"]).ended(6).stdout;
    for told in [
        "FAILED: ",
        "\n  the function: create()\n",
        "\n  the incident: ",
        "\n  it did not return\n",
    ] {
        assert!(found.contains(told), "{told:?} in {found}");
    }
    assert!(
        found.contains("\n  the answer to ") && found.contains("\n  the plugin made 0 requests")
    );
    let seed = found.trim().rsplit("--reproduce ").next().unwrap();
    let json = validate(&host, &breaks, &broken, &["--reproduce", seed, "--json"]).ended(6).json();
    assert_eq!((&json["ok"], &json["calls"]), (&false.into(), &1.into()));
    assert_eq!(
        (&json["call"]["operation"], &json["call"]["returned"]),
        (&"create".into(), &Value::Null)
    );
    let help = json["error"]["help"].as_str().unwrap();
    assert!(help.ends_with(&format!("--reproduce {seed}")), "{help}");
    // The same call of the same plugin that breaks nothing: what it asked for and returned.
    let good = settings("breaks");
    let kept = validate(&host, &breaks, &good, &["--reproduce", seed]).ended(0).stdout;
    assert!(kept.starts_with("ok: the plugin kept the rules in 1 call\n"), "{kept}");
    for told in [
        "\n  the plugin made 1 request\n  > POST https://desk.example.org/tickets\n",
        "\n  > authorization: ***\n",
        "\"key\": \"https://argus.example.org/",
        "\n  it returned ",
    ] {
        assert!(kept.contains(told), "{told:?} in {kept}");
    }
    assert!(!format!("{found}{json}{kept}").contains("validator-token"), "{kept}");
    let json = validate(&host, &breaks, &good, &["--reproduce", seed, "--json"]).ended(0).json();
    assert_eq!(json["call"]["requests"][0]["method"], "POST");
    assert!(json["call"]["returned"]["status"].is_i64(), "{json}");
    assert!(json["call"]["answer"].is_object() || json["call"]["answer"].is_string(), "{json}");
    let json = validate(&host, &breaks, &good, &["--fuzz", "1", "--json"]).ended(0).json();
    assert_eq!(json.get("call"), None);
}

#[test]
fn a_plugin_that_does_not_open_keeps_no_rules_in_any_number_of_calls() {
    let host = Installation::new();
    for rest in [["--fuzz", "1"], ["--reproduce", "1"]] {
        let run = validate(&host, &c_plugin("breaks"), &breaking(&host, "breaks", "open"), &rest);
        run.ended(7).says("it can't be opened: see the case open");
    }
}

#[test]
fn what_a_case_says_of_a_plugin_has_no_secret_in_it() {
    let host = Installation::new();
    let file = breaking(&host, "breaks", "open");
    let text = fs::read_to_string(&file).unwrap().replace("validator-token", "refused");
    fs::write(&file, text).unwrap();
    let run = validate(&host, &c_plugin("breaks"), &file, &["--only", "open"]).ended(6);
    assert!(run.stdout.contains("secret.token: ***") && !run.stdout.contains("refused"), "{run:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn who_watches_sees_how_long_a_case_and_fuzzing_have_run() {
    let host = Installation::new();
    let (library, broken) = (c_plugin("breaks"), breaking(&host, "breaks", "deadline"));
    let arguments = ["plugins", "validate", library.to_str().unwrap(), "--settings"];
    let with = |rest: &[&'static str]| [&arguments[..], &[broken.to_str().unwrap()], rest].concat();
    for (rest, code) in
        [(&["--only", "deadline"][..], 6), (&["--only", "deadline", "--in-process"], 0)]
    {
        let Some(seen) = on_a_terminal(&host, &with(rest), code) else { return };
        assert!(seen.contains("\r\x1b[K1/1 deadline\r\x1b[K1/1 deadline 1 s\r\x1b[K"), "{seen:?}");
        assert!(!left(&seen).contains("1/1"), "{seen:?}");
    }
    let good = settings("breaks");
    let fuzz = [&arguments[..], &[good.to_str().unwrap(), "--fuzz", "2"]].concat();
    let seen = on_a_terminal(&host, &fuzz, 0).unwrap();
    assert!(
        seen.contains("\r\x1b[K0 calls\r\x1b[K") && seen.contains(" calls 1 s\r\x1b[K"),
        "{seen:?}"
    );
    assert_eq!(left(&seen).lines().count(), 2, "{seen:?}");
    assert_eq!(host.run(&fuzz).ended(0).stderr, "");
}
