//! What `-vvv` tells of the HTTP exchanges of plugins: all of them but their secrets.

use serde_json::{Value, json};
use ticket_host_tests::{Answer, ISOLATIONS, Installation, Stub, c_plugin};

/// A secret that looks different in JSON and in a URL.
const SECRET: &str = "hunter2/the\"<secret>\"&more";
/// How it can come back: in JSON and Python, in a URL, in HTML, in base64 with and without `Bearer `, and escaped twice.
const ECHOES: [&str; 9] = [
    SECRET,
    r#"hunter2\/the\"<secret>\"&more"#,
    r"hunter2\u002fthe\u0022\u003csecret\u003e\u0022\u0026more",
    "hunter2%2Fthe%22%3Csecret%3E%22%26more",
    "hunter2/the&quot;&lt;secret&gt;&quot;&amp;more",
    "aHVudGVyMi90aGUiPHNlY3JldD4iJm1vcmU=",
    "QmVhcmVyIGh1bnRlcjIvdGhlIjxzZWNyZXQ+IiZtb3Jl",
    r#"hunter2/the\\\"<secret>\\\"&more"#,
    "hunter2%252Fthe%2522%253Csecret%253E%2522%2526more",
];
/// How it can come back as the value of a name that tells what it is.
const NAMED: [&str; 3] = [
    "bad token=hunter2/the\"<secret>\"&more",
    "token: hunter2/the\"<secret>\"&more",
    r#"{"pwd": "hunter2/the\"<secret>\"&more"}"#,
];

/// A host with a webhook that answers each POST with this body, and tells the secret in its headers.
fn host_at(body: String, isolation: &str) -> (Installation, Stub) {
    let stub = Stub::new(move |seen| match seen.method.as_str() {
        "POST" => Answer::status(201)
            .header("Location", "https://tickets.example.org/1")
            .header("Link", "<https://tickets.example.org/2?sig=opened-now>; rel=next")
            .header("X-Echo", SECRET)
            .header("Set-Cookie", "session=opened-now; Path=/")
            .body(&body),
        _ => Answer::status(204),
    });
    let rest = format!(
        "isolation = \"{isolation}\"\nsecret = {{ token = {SECRET:?} }}\n[queue]\npath = \"queue.db\"\n"
    );
    (Installation::with(&c_plugin("webhook"), &stub.url, &rest), stub)
}

/// Asserts that a text has nothing of the secret, in whichever way it can be written.
#[track_caller]
fn tells_no_secret(text: &str) {
    for part in [
        "hunter2",
        "the\\\"",
        "<secret",
        "secret>",
        "secret%3E",
        "aHVudGVyMi",
        "opened-now",
        "issued",
    ] {
        assert!(!text.contains(part), "{part:?} in:\n{text}");
    }
}

#[test]
fn three_times_verbose_tells_headers_and_bodies_of_both_directions_without_secrets() {
    for isolation in ISOLATIONS {
        let body = format!(
            "{{\"note\": \"the answer\", \"access_token\": \"issued\"}}\r\u{1b}[2J\n{}",
            [&ECHOES[..], &NAMED].concat().join("\n")
        );
        let (host, stub) = host_at(body, isolation);
        let made = host.create("plugin-closed", &["-vvv"]).ended(0);
        tells_no_secret(&made.stderr);
        let url = &stub.url;
        for line in [
            format!("TRACE backend b (webhook): GET {url}?key="),
            format!("TRACE backend b (webhook): POST {url} -> 201 ("),
            "      | > authorization: Bearer ***".to_owned(),
            "      | < location: https://tickets.example.org/1".to_owned(),
            "      | < link: <https://tickets.example.org/2?sig=***>; rel=next".to_owned(),
            "      | < x-echo: ***".to_owned(),
            "      | < set-cookie: ***".to_owned(),
            "      | < bad token=***".to_owned(),
            "      | < token: ***".to_owned(),
            "      | < {\"pwd\": \"***\"}".to_owned(),
            "      | < {\"note\": \"the answer\", \"access_token\": \"***\"}\\u{d}\\u{1b}[2J"
                .to_owned(),
        ] {
            let there = made.stderr.lines().any(|said| {
                said.to_lowercase().trim_start().starts_with(line.to_lowercase().trim_start())
            });
            assert!(there, "no {line:?} in:\n{}", made.stderr);
        }
        let sent = made.stderr.lines().find(|line| line.contains("| > {\"")).unwrap();
        assert!(sent.contains("\"description\""), "{sent}");
        assert_eq!(made.stderr.matches("\n      | < ***").count(), 8, "{}", made.stderr);
        // Twice verbose it is a line for each, as ever.
        let twice = host.create("plugin-closed", &["-vv", "--force"]).ended(0);
        assert!(twice.stderr.contains(&format!("DEBUG backend b (webhook): POST {url} -> 201")));
        assert!(!twice.stderr.contains("TRACE") && !twice.stderr.contains("the answer"));
        tells_no_secret(&twice.stderr);
        // A dry run sends nothing that could be told, and prints what it would send.
        let dry = host.create("plugin-closed", &["-vvv", "--dry-run"]).ended(0);
        assert!(dry.stdout.to_lowercase().contains("authorization: bearer ***"), "{}", dry.stdout);
        // `check` asks the ticket system, too.
        let checked = host.run(&["check", "-vvv"]);
        assert!(checked.stderr.contains("| > authorization: Bearer ***"), "{}", checked.stderr);
        tells_no_secret(&format!("{}{}{}", dry.stderr, dry.stdout, checked.stderr));
    }
}

#[test]
fn of_a_long_body_the_beginning_is_told_and_nothing_of_a_secret_at_the_cut() {
    for before in [8 << 10, 16 << 10] {
        // More of the secret before the cut each time.
        for shown in (0..=SECRET.len()).step_by(5) {
            let body = "x".repeat(before - shown) + SECRET + &"y".repeat(1 << 20);
            let all = body.len();
            let (host, _stub) = host_at(body, "in-process");
            let made = host.create("plugin-closed", &["-vvv", "--force"]).ended(0);
            assert!(made.stderr.len() < 32 << 10, "{}", made.stderr.len());
            assert!(
                made.stderr.contains(&format!("| < ... (the beginning of {all} bytes)")),
                "{shown}"
            );
            let told = made.stderr.lines().find(|line| line.contains("| < xxxx")).unwrap();
            let told = told.split_once("< ").unwrap().1.trim_start_matches('x');
            let rest = told.strip_prefix("***").unwrap_or(told).trim_start_matches('y');
            assert!("***".starts_with(rest), "{before} {shown}: {rest}");
        }
    }
}

#[test]
fn a_body_that_is_no_text_is_told_as_such() {
    let (host, _stub) = host_at("\0\u{1}binary".to_owned(), "worker");
    let made = host.create("plugin-closed", &["-vvv"]).ended(0);
    assert!(made.stderr.contains("| < (8 bytes that are no text)"), "{}", made.stderr);
}

#[test]
fn a_service_tells_exchanges_in_json_as_one_event_each_and_only_when_asked_three_times() {
    let (host, _stub) = host_at(format!("the answer\n{}", ECHOES.join("\n")), "worker");
    let log_of = |verbose: &str| {
        let before = host.log().len();
        let mut command = host.command(&["serve", verbose, "--listen", "127.0.0.1:0"]);
        command.env("TICKET_HOST_LOG_FORMAT", "json");
        let service = host.serve_by(command);
        let number = before;
        let incident = json!({"description": "x", "pk": number, "source": {"name": "s"}});
        service.file(&incident, 60_000).is(201);
        assert_eq!(service.stop(), 0);
        host.log()[before..].to_owned()
    };
    let said = log_of("-vvv");
    tells_no_secret(&said);
    let events = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let posted: Vec<String> = events
        .filter(|event| event["level"] == "TRACE")
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .filter(|message| message.contains(": POST "))
        .collect();
    let [posted] = &posted[..] else { panic!("{said}") };
    for part in
        ["\n> authorization: Bearer ***", "\n> {", "\n< set-cookie: ***", "\n< the answer\n"]
    {
        assert!(posted.to_lowercase().contains(&part.to_lowercase()), "no {part:?} in {posted}");
    }
    let said = log_of("-vv");
    assert!(said.contains(" POST ") && !said.contains("the answer"), "{said}");
}
