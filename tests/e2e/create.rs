//! `create` from the incident to the ticket, through real libraries, in worker and in-process mode.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, ISOLATIONS, Installation, Seen, Stub, c_plugin, incident, rust_plugin,
};

/// An installation with the backend `local`, whose tickets lie in `tickets`.
fn local(isolation: &str) -> Installation {
    let installation = Installation::new();
    installation.add(&rust_plugin("local"));
    let backend = installation.local("here");
    installation.config(&format!("{backend}isolation = \"{isolation}\"\n"));
    installation
}

fn tickets(installation: &Installation) -> Vec<String> {
    let files = fs::read_dir(installation.path("tickets")).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn an_incident_becomes_a_ticket_and_run_twice_the_same_ticket() {
    for isolation in ISOLATIONS {
        let installation = local(isolation);
        let first = installation.create("plugin-open-infinity", &[]).ended(0);
        assert!(
            first.stdout.starts_with("file:///") && first.stdout.ends_with(".md\n"),
            "{first:?}"
        );
        assert_eq!(first.stderr, "");
        let second = installation.create("plugin-open-infinity", &["--json"]).ended(0).json();
        assert_eq!(second["url"], first.stdout.trim_end());
        assert_eq!(second["created"], false);
        assert_eq!(tickets(&installation).len(), 1);
    }
}

#[test]
fn every_recorded_incident_becomes_a_ticket_of_its_own() {
    let installation = local("worker");
    let mut made = 0;
    for file in fs::read_dir(incident("plugin-closed").parent().unwrap()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.starts_with("plugin-") {
            installation.create(name.trim_end_matches(".json"), &[]).ended(0);
            made += 1;
        }
    }
    assert_eq!(made, 15);
    assert_eq!(tickets(&installation).len(), made);
}

#[test]
fn the_ticket_says_what_the_incident_says() {
    let installation = local("worker");
    installation.create("plugin-tags-equals", &[]).ended(0);
    let ticket = tickets(&installation).remove(0);
    for part in [
        "title: \"tags with '=' in the value\"",
        "- base64=Zm9vYg==",
        "- query=a=b&c=d",
        "Ada Lovelåce",
    ] {
        assert!(ticket.contains(part), "no {part:?} in {ticket}");
    }
    // Open: it has no end yet.
    assert!(!ticket.contains("End time") && !ticket.contains("infinity"), "{ticket}");
}

#[test]
fn an_incident_that_has_a_ticket_gets_its_url_back_and_nothing_is_created() {
    let installation = local("worker");
    let run = installation.create("v2-with-ticket-url", &[]).ended(0);
    assert_eq!(run.stdout, "https://tickets.example.org/15\n");
    let run = installation.create("v2-with-ticket-url", &["--dry-run"]).ended(0);
    assert_eq!(run.stdout, "nothing: the incident has the ticket https://tickets.example.org/15\n");
    assert!(tickets(&installation).is_empty());
}

#[test]
fn the_key_is_the_argus_url_else_source_and_pk_else_given() {
    let installation = local("worker");
    let key = |input: Value, arguments: &[&str]| {
        let mut all = vec!["--json"];
        all.extend(arguments);
        installation.create_from(input.to_string().as_bytes(), &all).ended(0).json()["key"].clone()
    };
    let whole =
        json!({"description": "d", "argus_url": "https://a/1", "pk": 1, "source": {"name": "nav"}});
    assert_eq!(key(whole.clone(), &[]), "https://a/1");
    assert_eq!(key(whole, &["--key", "mine"]), "mine");
    assert_eq!(key(json!({"description": "d", "pk": 1, "source": {"name": "nav"}}), &[]), "nav#1");
    installation.create_from(br#"{"description": "d"}"#, &[]).ended(2).says("--key");
}

#[test]
fn what_is_not_an_incident_is_refused() {
    let installation = local("worker");
    let large =
        json!({"description": "x".repeat(10 << 20), "argus_url": "https://a/1"}).to_string();
    for (input, why) in [
        (&b"nonsense"[..], "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b"{\"pk\": 1}", "has no description"),
        (large.as_bytes(), "more than 1048576 bytes"),
        (b"", "standard input is empty"),
    ] {
        installation.create_from(input, &[]).ended(2).says(why);
    }
    let run = installation.run(&["create", "/no/such/file"]);
    run.ended(2).says("/no/such/file: can't be opened");
    assert!(tickets(&installation).is_empty());
    installation.create("plugin-closed", &[]).ended(0);
}

#[test]
fn nuls_and_right_to_left_marks_do_no_harm() {
    let installation = local("worker");
    let input =
        json!({"description": "a\0b \u{202e}c\u{1b}[2J", "argus_url": "https://a/\u{202e}1"});
    let run = installation.create_from(input.to_string().as_bytes(), &["--dry-run"]).ended(0);
    assert!(!run.stdout.contains(['\0', '\u{202e}', '\u{1b}']), "{run:?}");
    installation.create_from(input.to_string().as_bytes(), &[]).ended(0);
    let ticket = tickets(&installation).remove(0);
    assert!(!ticket.contains(['\0', '\u{1b}']), "{ticket:?}");
}

#[test]
fn a_dry_run_creates_nothing_and_shows_the_file() {
    for isolation in ISOLATIONS {
        let installation = local(isolation);
        let run = installation.create("plugin-closed", &["--dry-run"]).ended(0);
        assert!(run.stdout.starts_with("write ") && run.stdout.contains("## End time"), "{run:?}");
        assert!(tickets(&installation).is_empty());
    }
}

/// A webhook that makes a ticket for each POST and finds it by its key.
fn webhook() -> Stub {
    let tickets = Mutex::new(BTreeMap::<String, usize>::new());
    Stub::new(move |seen: &Seen| {
        if seen.header("authorization") != Some("Bearer hunter2-token") {
            return Answer::status(401).body("who are you?");
        }
        let mut tickets = tickets.lock().unwrap();
        let next = tickets.len() + 1;
        let (key, number) = match seen.method.as_str() {
            "POST" => {
                let body: Value = serde_json::from_str(&seen.body).unwrap();
                (body["key"].as_str().unwrap().to_owned(), Some(next))
            }
            _ => {
                let key = seen.target.split("key=").nth(1).unwrap_or_default();
                let key = key.replace("%3A", ":").replace("%2F", "/");
                (key.clone(), tickets.get(&key).copied())
            }
        };
        match number {
            None => Answer::status(204),
            Some(number) => {
                tickets.insert(key, number);
                let location = format!("https://tickets.example.org/{number}");
                Answer::status(if seen.method == "POST" { 201 } else { 200 })
                    .header("location", &location)
            }
        }
    })
}

fn hooked(stub: &Stub, isolation: &str, token: &str) -> Installation {
    let rest = format!("isolation = \"{isolation}\"\nsecret = {{ token = \"{token}\" }}");
    Installation::with(&c_plugin("webhook"), &stub.url, &rest)
}

#[test]
fn a_plugin_in_c_makes_a_ticket_over_http_and_finds_it_again() {
    for isolation in ISOLATIONS {
        let stub = webhook();
        let installation = hooked(&stub, isolation, "hunter2-token");
        for _ in 0..2 {
            let run = installation.create("plugin-unicode", &[]).ended(0);
            assert_eq!(run.stdout, "https://tickets.example.org/1\n");
        }
        installation.create("plugin-closed", &[]).ended(0);
        let seen = stub.seen();
        let posts: Vec<&Seen> = seen.iter().filter(|s| s.method == "POST").collect();
        assert_eq!(posts.len(), 2, "one for each incident");
        let body: Value = serde_json::from_str(&posts[0].body).unwrap();
        assert!(body["incident"]["description"].as_str().unwrap().contains("Værøy ☃ 𝄞"));
        assert!(posts[0].header("user-agent").unwrap().starts_with("ticket-host/"));
    }
}

#[test]
fn force_creates_without_looking() {
    let stub = webhook();
    let installation = hooked(&stub, "worker", "hunter2-token");
    installation.create("plugin-closed", &["--force"]).ended(0);
    let run = installation.create("plugin-closed", &["--force"]).ended(0);
    assert_eq!(run.stdout, "https://tickets.example.org/2\n");
    assert!(stub.seen().iter().all(|seen| seen.method == "POST"));
}

#[test]
fn a_dry_run_shows_every_request_without_the_secret_and_sends_none() {
    for isolation in ISOLATIONS {
        let stub = webhook();
        let installation = hooked(&stub, isolation, "hunter2-token");
        let run = installation.create("plugin-closed", &["--dry-run"]).ended(0);
        assert!(stub.seen().is_empty());
        let out = &run.stdout;
        let (find, create) = (out.find("GET ").unwrap(), out.find("POST ").unwrap());
        assert!(find < create && out.contains("authorization: Bearer ***"), "{out}");
        assert!(out.contains("\"description\": ") && !out.contains("hunter2"), "{out}");
    }
}

#[test]
fn refusals_of_a_ticket_system_end_in_the_right_kind_with_its_reason() {
    for (status, code, retry) in [
        (401, 3, "never"),
        (403, 3, "never"),
        (422, 5, "never"),
        (429, 4, "later"),
        (503, 4, "unknown"),
        (408, 4, "unknown"),
        (500, 4, "unknown"),
    ] {
        let stub = Stub::new(move |seen| match seen.method.as_str() {
            "GET" => Answer::status(204),
            _ => Answer::status(status).body("the reason of the server"),
        });
        let run = hooked(&stub, "worker", "hunter2-token").create("plugin-closed", &["--json"]);
        assert_eq!(run.code, code, "{status}: {run:?}");
        assert!(run.stderr.contains("the reason of the server"), "{run:?}");
        // After a 5xx or 408 the search finds no ticket, but the system may still be making one.
        assert_eq!(run.json()["error"]["retry"], retry, "{status}");
    }
}

#[test]
fn a_ticket_system_that_is_down_is_a_client_error_and_nothing_was_created() {
    for isolation in ISOLATIONS {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let rest = format!("isolation = \"{isolation}\"\nsecret = {{ token = \"abcd\" }}");
        let installation =
            Installation::with(&c_plugin("webhook"), &format!("http://127.0.0.1:{port}/"), &rest);
        let run = installation.create("plugin-closed", &[]).ended(4);
        assert!(run.stderr.contains("can't be reached: Connection refused"), "{run:?}");
        assert!(run.stderr.contains("no ticket was created"), "{run:?}");
    }
}

#[test]
fn a_lost_answer_is_settled_by_looking() {
    // The ticket is made, and the answer to the POST never comes.
    let made = Mutex::new(false);
    let stub = Stub::new(move |seen| {
        let mut made = made.lock().unwrap();
        match seen.method.as_str() {
            "POST" => {
                *made = true;
                Answer::HangUp
            }
            _ if *made => Answer::status(200).header("location", "https://tickets.example.org/7"),
            _ => Answer::status(204),
        }
    });
    let run = hooked(&stub, "worker", "hunter2-token").create("plugin-closed", &[]).ended(0);
    assert_eq!(run.stdout, "https://tickets.example.org/7\n");
    assert!(run.stderr.contains("seemed to fail"), "{run:?}");
    assert_eq!(stub.seen().iter().filter(|seen| seen.method == "POST").count(), 1);
}

#[test]
fn a_dry_run_as_json_has_requests_as_objects_and_a_preview_as_another_one() {
    let stub = webhook();
    let installation = hooked(&stub, "worker", "hunter2-token");
    let plan = installation.create("plugin-closed", &["--dry-run", "--json"]).ended(0).json();
    let [find, create] = plan["steps"].as_array().unwrap().as_slice() else { panic!("{plan}") };
    assert_eq!((&find["method"], &create["method"]), (&json!("GET"), &json!("POST")));
    assert!(find["url"].as_str().unwrap().starts_with(&stub.url), "{find}");
    assert_eq!(find.get("body"), None);
    let secret = json!({"name": "authorization", "value": "Bearer ***"});
    assert!(create["headers"].as_array().unwrap().contains(&secret), "{create}");
    assert!(create["body"]["incident"]["description"].is_string(), "{create}");
    let plan = local("worker").create("plugin-closed", &["--dry-run", "--json"]).ended(0).json();
    assert!(plan["steps"][0]["preview"].as_str().unwrap().starts_with("write "), "{plan}");
}

#[test]
fn a_check_of_what_is_down_ends_as_a_creation_would() {
    let rest = "secret = { token = \"1-14-hunter2\" }\ninformation = { queue = \"NOC\" }";
    // Nobody listens there any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}/");
    let installation = Installation::with(&rust_plugin("rt"), &endpoint, rest);
    assert!(installation.run(&["check"]).ended(4).stdout.contains("FAILED  login"));
    installation.create("plugin-closed", &[]).ended(4);
}

#[test]
fn a_search_that_fails_does_not_mean_that_there_is_no_ticket() {
    let stub = Stub::new(|_| Answer::status(502));
    hooked(&stub, "worker", "hunter2-token")
        .create("plugin-closed", &[])
        .ended(4)
        .says("(while looking for a ticket)");
    assert!(stub.seen().iter().all(|seen| seen.method == "GET"));
}

#[test]
fn check_prints_a_line_for_each_and_creates_nothing() {
    for isolation in ISOLATIONS {
        let stub = webhook();
        let run = hooked(&stub, isolation, "hunter2-token").run(&["check"]).ended(0);
        assert!(run.stdout.contains("  ok      "), "{run:?}");
        let run = hooked(&stub, isolation, "wrong").run(&["check"]).ended(3);
        assert!(run.stdout.contains("  FAILED  "), "{run:?}");
        assert!(stub.seen().iter().all(|seen| seen.method == "GET"));
    }
}

#[test]
fn an_answer_over_the_bound_is_refused() {
    let stub = Stub::new(|_| Answer::status(200).body(&"x".repeat(5 << 20)));
    hooked(&stub, "worker", "hunter2-token")
        .create("plugin-closed", &[])
        .ended(4)
        .says("max_response_bytes");
}
