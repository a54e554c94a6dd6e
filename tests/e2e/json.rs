//! What the JSON of all commands has in common.

use serde_json::{Value, json};
use ticket_host_tests::{Installation, c_plugin, desk};

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
    host.config("[backends.b]\nplugin = \"webhook\"\nendpoint = 1\nsecret = \"hunter2\"\n");
    let run = host.run(&["check", "--json"]).ended(3);
    let error = &run.json()["error"];
    let file = host.path("config.toml");
    assert_eq!(error["at"], json!({"file": file, "line": 4, "column": 12}), "{run:?}");
    assert!(!run.stdout.contains("hunter2"), "{run:?}");
    let run = host.run(&["queue", "show", "1", "--config", "nowhere", "--json"]).ended(3);
    assert_eq!(run.json()["error"]["at"], Value::Null, "{run:?}");
}
