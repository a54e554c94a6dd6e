//! What the JSON of all commands has in common.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use ticket_host_tests::{Answer, Installation, Stub, c_plugin, desk, incident, library_name};

/// A host with the backend `b` at a desk that refuses, with a broken library, and with a ticket that failed.
fn host_at(desk: &Stub) -> Installation {
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\n";
    let host = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    fs::write(host.path("plugins").join(library_name("broken")), "#!/bin/sh\n").unwrap();
    let service = host.serve();
    let one = json!({"description": "gw1 is down", "pk": 1, "source": {"name": "nav"}});
    service.file(&one, 30_000).is(403);
    assert_eq!(service.stop(), 0);
    host
}

/// Whether all is in order is `ok`, and an error is an object, wherever in an answer they stand.
#[track_caller]
fn speaks_as_all(answer: &Value) {
    if let Some(members) = answer.as_object() {
        for (name, value) in members {
            assert!(!["passed", "usable"].contains(&name.as_str()), "{name}: {answer}");
            match name.as_str() {
                "ok" => assert!(value.is_boolean(), "{answer}"),
                "error" if !value.is_null() => {
                    let texts = ["kind", "message"].map(|text| value[text].is_string());
                    assert_eq!(texts, [true, true], "{answer}");
                }
                _ => {}
            }
        }
        members.values().for_each(speaks_as_all);
    }
    answer.as_array().into_iter().flatten().for_each(speaks_as_all);
}

#[test]
fn every_command_answers_with_one_object_in_the_words_of_all() {
    let desk = desk(|_| Some(Answer::status(422)));
    let host = host_at(&desk);
    let argus = json!({
        "TICKET_PLUGIN": "webhook", "TICKET_ENDPOINT": "https://x.org/",
        "TICKET_AUTHENTICATION_SECRET": {"token": "t"}, "TICKET_INFORMATION": {},
    });
    fs::write(host.path("argus.json"), argus.to_string()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let incident = incident("plugin-closed");
    let incident = incident.to_str().unwrap();
    let library = c_plugin("webhook");
    let library = library.to_str().unwrap();
    let mut uncalled: BTreeSet<String> = commands(&host);
    // After each command the members that its answer has at least.
    for (arguments, members) in [
        (&["init"][..], &["config", "written"][..]),
        (&["create", incident], &["error"]),
        (&["create", incident, "--dry-run"], &[]),
        (&["check", "--offline"], &["ok", "offline", "host", "backends", "service"]),
        (&["serve", "--listen", &taken], &["error"]),
        (&["top"], &["error"]),
        (&["config", "schema"], &["properties"]),
        (&["config", "reference"], &["text"]),
        (&["config", "import", "--django", "argus.json"], &["config"]),
        (&["queue", "list"], &["tickets", "more"]),
        (&["queue", "audit"], &["entries", "more"]),
        (&["queue", "show", "1"], &["id", "state", "error", "history"]),
        (&["queue", "show", "99"], &["error"]),
        (&["ticket", "show", "1"], &["id", "state", "history", "incidents", "steps"]),
        (&["ticket", "comment", "1", "x"], &["error"]),
        (&["ticket", "close", "99"], &["error"]),
        (&["queue", "backup", "copy.db"], &["file"]),
        (&["queue", "backup", "copy.db"], &["error"]),
        (&["queue", "migrate"], &["error"]),
        (&["queue", "copy", "--to", "config.toml"], &["error"]),
        (&["queue", "cancel", "1"], &["tickets", "refused", "error"]),
        (&["ticket", "believe", "b"], &["backend", "believed_at"]),
        (&["ticket", "believe", "x"], &["error"]),
        (&["ticket", "adopt", "1", "https://t.org/1"], &["id", "state"]),
        (&["queue", "retry", "99"], &["tickets", "refused", "error"]),
        (&["plugins", "list"], &["plugins"]),
        (&["plugins", "show", "webhook"], &["manifest", "file"]),
        (&["plugins", "verify", library], &["error"]),
        (&["plugins", "validate", library, "--only", "table"], &["ok", "file", "cases"]),
        (&["plugins", "validate", "config.toml"], &["ok", "file", "cases"]),
        (&["plugins", "validate", "/nowhere.so"], &["error"]),
        (&["plugins", "validate", library, "--reproduce", "1"], &["ok", "seed", "calls"]),
        (&["plugins", "validate", "config.toml", "--reproduce", "1"], &["error"]),
        (&["plugins", "new", "acme", "--lang", "c"], &["folder", "readme"]),
        (&["plugins", "sdk", "sdk"], &["folder", "version", "files", "written", "replaced"]),
        (&["plugins", "sdk", "plugins"], &["error"]),
        (&["plugins", "install", "nothing.so"], &["error"]),
        (&["plugins", "rollback", "webhook"], &["error"]),
        (&["completions", "bash"], &["text"]),
        (&["man", "pages"], &["directory", "files"]),
    ] {
        let run = host.run(&[arguments, &["--json"]].concat());
        let answer = run.json();
        assert!(answer.is_object(), "{arguments:?}: {answer}");
        for member in members {
            assert!(answer.get(member).is_some(), "{arguments:?}: no {member} in {answer}");
        }
        speaks_as_all(&answer);
        // The error that `queue show` tells of is the ticket's.
        if !arguments.starts_with(&["queue", "show", "1"]) && arguments.get(1) != Some(&"show") {
            let in_order = answer.get("ok").is_none_or(|ok| ok == true);
            let in_order = in_order && answer["error"].is_null();
            assert_eq!(in_order, run.code == 0, "{arguments:?}: {run:?}");
        }
        uncalled.retain(|command| !arguments.join("-").starts_with(command.as_str()));
    }
    assert!(uncalled.is_empty(), "{uncalled:?}");
}

/// The commands that have none below them, with `-` between their words: each has a man page.
fn commands(host: &Installation) -> BTreeSet<String> {
    let man = host.run(&["man", "all", "--json"]).ended(0).json();
    let pages: Vec<&str> =
        man["files"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert!(pages.iter().all(|page| host.path("all").join(page).is_file()), "{pages:?}");
    let names = pages.iter().filter_map(|page| page.strip_prefix("ticket-host-"));
    let names: Vec<&str> = names.filter_map(|page| page.strip_suffix(".1")).collect();
    assert!(names.len() > 15, "{names:?}");
    let has_more_below = |name: &str| names.iter().any(|n| n.starts_with(&format!("{name}-")));
    names.iter().filter(|name| !has_more_below(name)).map(|name| (*name).to_owned()).collect()
}

#[test]
fn json_from_outside_moves_no_cursor_and_ends_no_line() {
    let desk = desk(|_| None);
    let rest = "secret = { token = \"t\" }";
    let host = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    let description = "gw1 \u{202e}\u{2028}\u{9b}31m";
    let one = json!({"description": description, "pk": 1, "source": {"name": "nav"}});
    let run = host.create_from(one.to_string().as_bytes(), &["--dry-run", "--json"]).ended(0);
    let harmful = |c: &char| description[4..].contains(*c) && !c.is_ascii();
    assert_eq!(run.stdout.chars().find(harmful), None, "{run:?}");
    assert!(run.json().to_string().contains(description), "{run:?}");
}

#[test]
fn an_error_tells_programs_which_line_of_which_file_it_is_about() {
    let host = Installation::new();
    host.add(&c_plugin("webhook"));
    host.config("[backends.b]\nplugin = \"webhook\"\nendpoint = 1\nsecret = \"hunter2\"\n");
    let run = host.run(&["check", "--json"]).ended(3);
    let error = &run.json()["error"];
    let file = host.path("config.toml");
    assert_eq!(error["at"], json!({"file": file, "line": 4, "column": 12}), "{run:?}");
    assert!(!run.stdout.contains("hunter2"), "{run:?}");
    let run = host.run(&["queue", "show", "1", "--config", "nowhere", "--json"]).ended(3);
    assert_eq!(run.json()["error"]["at"], Value::Null, "{run:?}");
}

/// serde_json has no way to write such a path, and panics.
#[test]
#[cfg(target_os = "linux")]
fn a_library_whose_name_is_not_utf_8_is_listed() {
    use std::os::unix::ffi::OsStrExt;
    let host = Installation::new();
    host.config("");
    let name = std::ffi::OsStr::from_bytes(b"libticket_plugin_\xff.so");
    std::fs::write(host.path("plugins").join(name), "no library").unwrap();
    let listed = host.run(&["plugins", "list", "--json"]).ended(0).json();
    let file = listed["plugins"][0]["file"].as_str().unwrap();
    assert!(file.ends_with("libticket_plugin_\u{fffd}.so"), "{file}");
}
