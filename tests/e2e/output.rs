//! What commands print: all of it or an error, as text or as JSON, and what their help texts promise.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, Installation, Service, Stub, agent, c_plugin, desk, incident, library_name, run,
    rust_plugin, ticket_of, webhook_as,
};

const QUEUE: &str = "[queue]\npath = \"queue.db\"\nlongest_wait_seconds = 1\n";

/// A host with a backend at a desk, and its service, which ends with it.
fn host_at(desk: &Stub) -> Installation {
    let rest = format!("secret = {{ token = \"t\" }}\n{QUEUE}[serve]\nlisten = \"127.0.0.1:0\"\n");
    Installation::with(&c_plugin("webhook"), &desk.url, &rest)
}

/// A host with the backend `noc-rt`, whose tickets are files.
fn local() -> Installation {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    host.config(&host.local("noc-rt"));
    host
}

fn numbered(number: usize) -> Value {
    json!({"description": "gw1 is down", "pk": number, "source": {"name": "nav"}})
}

fn file_three(service: &Service) {
    for number in 1..=3 {
        service.file(&numbered(number), 30_000).is(201);
    }
}

/// Standard outputs that take nothing: a full disk, and a pipe that nobody reads any more.
fn outputs() -> Vec<(Stdio, &'static str)> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut outputs = vec![(Stdio::from(writer), "Broken pipe")];
    if let Ok(full) = File::options().write(true).open("/dev/full") {
        outputs.push((Stdio::from(full), "No space left on device"));
    }
    outputs
}

/// The exit code and standard error of a command whose output goes to `stdout`.
fn lost(mut command: Command, stdout: Stdio) -> (i32, String) {
    let output = command.stdin(Stdio::null()).stdout(stdout).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn create_says_on_standard_error_which_ticket_was_made_if_its_output_is_lost() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    for (made, (stdout, why)) in outputs().into_iter().enumerate() {
        let input = format!("{made}.json");
        fs::write(host.path(&input), numbered(made).to_string()).unwrap();
        let (code, said) = lost(host.command(&["create", &input]), stdout);
        let url = ticket_of(&format!("nav#{made}"));
        assert_eq!(code, 8, "{said}");
        assert!(said.contains(&format!("the ticket was made: {url}")), "{said}");
        assert!(said.contains("could not be written") && said.contains(why), "{said}");
        assert_eq!(desk.posted().len(), made + 1);
    }
    for (stdout, _) in outputs() {
        let (code, said) = lost(host.command(&["create", "--json", "0.json"]), stdout);
        let there = format!("there is a ticket: {}", ticket_of("nav#0"));
        assert!(code == 8 && said.contains(&there), "{said}");
    }
}

#[test]
fn every_command_whose_output_is_lost_says_so_and_fails() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let service = host.serve();
    file_three(&service);
    drop(service);
    let library = c_plugin("webhook");
    let library = library.to_str().unwrap();
    let incident = incident("plugin-closed");
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["create", "--dry-run", incident.to_str().unwrap()],
        &["queue", "list"],
        &["queue", "list", "--json"],
        &["queue", "show", "1"],
        &["plugins", "list"],
        &["plugins", "list", "--json"],
        &["plugins", "show", "webhook"],
        &["plugins", "validate", library],
        &["plugins", "validate", library, "--json"],
        &["init"],
        &["--help"],
        &["create", "--help"],
        &["--version"],
    ] {
        for (stdout, why) in outputs() {
            let (code, said) = lost(host.command(arguments), stdout);
            assert_eq!(code, 8, "{arguments:?}: {said}");
            let sentence = "the answer could not be written to standard output";
            assert!(said.contains(sentence) && said.contains(why), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn orders_are_given_to_all_though_nobody_hears_of_it() {
    let desk = desk(|_| Some(Answer::status(422)));
    let host = host_at(&desk);
    let service = host.serve();
    for number in 1..=3 {
        service.file(&numbered(number), 30_000).is(403);
    }
    for (order, (stdout, _)) in ["cancel", "retry"].into_iter().zip(outputs()) {
        let state = if order == "cancel" { "failed" } else { "cancelled" };
        let (code, said) = lost(host.command(&["queue", order, "--state", state]), stdout);
        assert!(code == 8 && said.contains("the orders were given"), "{said}");
        let left = host.run(&["queue", "list", "--state", state, "--json"]).ended(0).json();
        assert_eq!(left["tickets"], json!([]), "{order}");
    }
}

#[test]
fn a_service_goes_on_where_nobody_reads_its_address() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let (stdout, _) = outputs().remove(0);
    let log = File::create(host.path("log")).unwrap();
    let mut command = host.command(&["serve", "--listen", &address]);
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(log).spawn().unwrap();
    host.logged("the answer could not be written to standard output", 1);
    let answer = agent().get(format!("http://{address}/healthz")).call().unwrap();
    assert_eq!(answer.status(), 200);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_check_as_json_has_its_rows_by_backend() {
    let host = host_at(&Stub::new(|_| Answer::status(204)));
    let good = host.run(&["check", "--json"]).ended(0).json();
    assert_eq!((&good["ok"], &good["backends"][0]["ok"]), (&json!(true), &json!(true)));
    let backend = &good["backends"][0];
    assert_eq!((&backend["name"], &backend["plugin"]["name"]), (&json!("b"), &json!("webhook")));
    let grades = |of: &Value| -> Vec<String> {
        let rows = of["rows"].as_array().unwrap().iter();
        rows.map(|row| row["grade"].as_str().unwrap().to_owned()).collect()
    };
    assert!(grades(backend).contains(&"ok".to_owned()), "{good}");
    let host = host_at(&Stub::new(|_| Answer::status(401)));
    let bad = host.run(&["check", "--json"]).ended(3).json();
    assert_eq!(bad["ok"], false);
    let rows = bad["backends"][0]["rows"].as_array().unwrap();
    let failed = rows.iter().find(|row| row["grade"] == "failed").unwrap();
    assert_eq!(failed["kind"], "settings", "{bad}");
    assert!(failed["name"].is_string() && failed["detail"].is_string(), "{bad}");
    let host = Installation::new();
    host.config("[backends.b]\nplugin = \"nope\"\nendpoint = \"http://127.0.0.1:1/\"\n");
    let run = host.run(&["check", "--json"]).ended(7).says("no plugin");
    assert_eq!(run.json()["backends"][0]["error"]["kind"], "import", "{run:?}");
}

#[test]
fn errors_of_every_command_are_json_too_where_json_is_asked_for() {
    let host = Installation::new();
    host.config("backends = 1\n");
    for arguments in [
        &["create", "-"][..],
        &["check"],
        &["serve"],
        &["queue", "list"],
        &["plugins", "list"],
        &["plugins", "install", "x.so"],
    ] {
        let run = host.run(&[arguments, &["--json"]].concat()).ended(3).says("`backends` must be");
        assert_eq!(run.json()["error"]["kind"], "settings", "{run:?}");
    }
    for (arguments, what) in [
        (&["queue", "list", "--limit", "0"][..], "--all"),
        (&["nope"], "unrecognized subcommand"),
        (&["create", "--nope"], "unexpected argument"),
        (&["queue"], "not complete"),
    ] {
        let run = host.run(&[&["--json"][..], arguments].concat()).ended(2);
        let error = &run.json()["error"];
        assert_eq!(error["kind"], "usage", "{run:?}");
        assert!(error["message"].as_str().unwrap().contains(what), "{run:?}");
    }
}

#[test]
fn what_changes_plugins_tells_programs_what_is_where() {
    let host = Installation::new();
    let file = |version: &str| {
        let directory = host.path(version);
        fs::create_dir(&directory).unwrap();
        let file = directory.join(library_name("webhook"));
        webhook_as(&file, "webhook", version, &[]);
        file.to_str().unwrap().to_owned()
    };
    let install = |file: &str| host.run(&["plugins", "install", file, "--json"]).ended(0).json();
    let first = install(&file("0.1.0"));
    assert_eq!((&first["version"], &first["replaced"]), (&json!("0.1.0"), &Value::Null));
    assert!(fs::exists(first["file"].as_str().unwrap()).unwrap(), "{first}");
    assert_eq!(install(&file("0.2.0"))["replaced"], "0.1.0");
    let back = host.run(&["plugins", "rollback", "webhook", "--json"]).ended(0).json();
    assert_eq!((&back["name"], &back["version"]), (&json!("webhook"), &json!("0.1.0")));
    let digest = host.run(&["plugins", "show", "webhook", "--json"]).ended(0).json();
    host.config(&format!(
        "[backends.b]\nplugin = \"webhook\"\nendpoint = \"http://127.0.0.1:1/\"\nsha256 = {}\n",
        digest["sha256"]
    ));
    let file = back["file"].as_str().unwrap();
    let verified = host.run(&["plugins", "verify", file, "--json"]).ended(0).json();
    assert_eq!(verified["pinned_as"], json!(["webhook"]));
    assert_eq!((&verified["signed_by"], &verified["sha256"]), (&Value::Null, &digest["sha256"]));
    let new = host.run(&["plugins", "new", "acme", "--lang", "c", "--json"]).ended(0).json();
    assert_eq!(new, json!({"folder": "acme", "readme": "acme/README.md"}));
    let init = || host.run(&["init", "--config", "new.toml", "--json"]).ended(0).json();
    assert_eq!(init(), json!({"config": "new.toml", "written": true}));
    assert_eq!(init()["written"], false);
}

#[test]
fn orders_as_json_tell_what_was_done_and_what_was_refused() {
    let desk = desk(|_| Some(Answer::status(422)));
    let host = host_at(&desk);
    let service = host.serve();
    for number in 1..=2 {
        service.file(&numbered(number), 30_000).is(403);
    }
    let run = host.run(&["queue", "cancel", "1", "99", "2", "--json"]).ended(2);
    let orders = run.json();
    let done = json!([{"id": 1, "state": "cancelled"}, {"id": 2, "state": "cancelled"}]);
    assert_eq!(orders["tickets"], done);
    assert_eq!(orders["refused"][0]["id"], 99);
    assert_eq!(orders["error"]["kind"], "usage");
    let all = host.run(&["queue", "retry", "--backend", "b", "--state", "cancelled", "--json"]);
    let all = all.ended(0).json();
    assert_eq!((all["tickets"].as_array().unwrap().len(), &all["error"]), (2, &Value::Null));
    let none = host.run(&["queue", "retry", "--backend", "b", "--state", "cancelled"]).ended(0);
    none.says("note: there are no such tickets: nothing was done");
}

#[test]
fn the_newest_tickets_are_listed_first_and_whether_there_are_more() {
    let desk = desk(|_| None);
    let host = host_at(&desk);
    let service = host.serve();
    file_three(&service);
    let ids = |arguments: &[&str]| -> (Vec<i64>, bool) {
        let run = host.run(&[&["queue", "list", "--json"][..], arguments].concat()).ended(0);
        let list = run.json();
        let ids = list["tickets"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap());
        (ids.collect(), list["more"].as_bool().unwrap())
    };
    assert_eq!(ids(&[]), (vec![3, 2, 1], false));
    assert_eq!(ids(&["--limit", "2"]), (vec![3, 2], true));
    assert_eq!(ids(&["--limit", "3"]), (vec![3, 2, 1], false));
    assert_eq!(ids(&["--all"]), (vec![3, 2, 1], false));
    assert_eq!(ids(&["--since", "1h"]), (vec![3, 2, 1], false));
    let second = service.get("/v1/tickets/2").is(200).json();
    assert_eq!(ids(&["--since", second["accepted_at"].as_str().unwrap()]), (vec![3, 2], false));
    assert_eq!(ids(&["--since", "2999-01-01T00:00:00Z"]), (vec![], false));
    let text =
        host.run(&["queue", "list", "--limit", "2"]).ended(0).says("there are more").says("--all");
    let lines: Vec<&str> = text.stdout.lines().collect();
    assert!(lines[0].starts_with("ID  STATE") && lines[0].contains("NEXT TRY"), "{lines:?}");
    assert!(lines.len() == 3 && lines[1].starts_with(" 3  created"), "{lines:?}");
    let accepted = service.get("/v1/tickets/3").is(200).json()["accepted_at"].clone();
    assert!(lines[1].contains(&accepted.as_str().unwrap()[.."2026-07-26T10:00:00".len()]));
    let all = host.run(&["queue", "list"]).ended(0);
    assert!(!all.stderr.contains("there are more"), "{all:?}");
    host.run(&["queue", "list", "--limit", "0"]).ended(2).says("say 1 or more");
    host.run(&["queue", "list", "--since", "yesterday"]).ended(2).says("say how long ago");
    host.run(&["queue", "list", "--all", "--limit", "2"]).ended(2).says("cannot be used with");
}

#[test]
#[cfg(unix)]
fn the_examples_of_create_do_what_they_say() {
    let host = local();
    let argus = Stub::new(|seen| {
        assert_eq!(seen.target, "/api/v2/incidents/266/");
        Answer::status(200).body(r#"{"pk": 266, "description": "gw1 is down"}"#)
    });
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    let watched = format!("{config}[argus]\nurl = \"{}\"\ntoken = \"t\"\n", argus.url);
    fs::write(host.path("config.toml"), watched).unwrap();
    fs::copy(incident("plugin-closed"), host.path("incident.json")).unwrap();
    let help = host.run(&["create", "--help"]).ended(0).stdout;
    let examples = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let examples: Vec<&str> = examples.take_while(|line| !line.is_empty()).collect();
    assert!(examples.iter().any(|line| line.contains(" | ")), "{examples:?}");
    for example in examples {
        let mut shell = Command::new("sh");
        shell.arg("-euc").arg(example).env("TICKET_HOST_CONFIG", host.path("config.toml"));
        let path = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{path}", host.path("bin").display()));
        shell.current_dir(host.path("."));
        let ran = run(shell, b"").ended(0);
        let is_plan = example.contains("--dry-run");
        assert_eq!(ran.stdout.starts_with("file://"), !is_plan, "{example}: {ran:?}");
    }
    assert_eq!(fs::read_dir(host.path("tickets")).unwrap().count(), 3);
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_for_an_output_that_is_closed_is_lost() {
    let host = Installation::new();
    host.add(&rust_plugin("local")).config(&host.local("a"));
    let incident = incident("plugin-closed");
    for (arguments, said) in [
        (&["create", incident.to_str().unwrap()][..], "the ticket was made: file://"),
        (&["check"], "it is closed"),
        (&["plugins", "list"], "it is closed"),
        (&["--version"], "it is closed"),
    ] {
        let program = host.command(arguments);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec \"$@\" >&-", "sh"]).arg(program.get_program());
        command.args(program.get_args()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(command, b"").ended(8).says("could not be written").says(said);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_cannot_be_written_ends_nothing() {
    let host = Installation::new();
    host.add(&rust_plugin("local")).config(&host.local("a"));
    let mut command = host.command(&["-vv", "create", incident("plugin-closed").to_str().unwrap()]);
    command.stderr(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"file://"), "{output:?}");
}
