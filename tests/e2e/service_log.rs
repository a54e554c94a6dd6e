//! The service's log: with times, or as the journal or a program that reads JSON wants it.

use std::fs;

use serde_json::{Value, json};
use ticket_host_tests::{Installation, rust_plugin};

/// An installation whose service warns of something when it starts.
fn host() -> Installation {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    host.config(&format!("[queue]\npath = \"queue.db\"\n{}", host.local("good")));
    host
}

/// Runs a service with this environment until it has made a ticket, and gives its log.
fn log(host: &Installation, environment: &[(&str, &str)]) -> String {
    let service = host.serve_with(environment);
    let incident =
        json!({"description": "x\n INFO ticket 99: created", "pk": 1, "source": {"name": "s"}});
    service.file(&incident, 60_000).is(201);
    assert_eq!(service.stop(), 0);
    host.log()
}

#[test]
fn a_services_log_has_times_where_no_journal_adds_them() {
    let said = log(&host(), &[("JOURNAL_STREAM", "1:2")]);
    assert!(said.contains("WARN there are no tokens"), "{said}");
    for line in said.lines().filter(|line| !line.starts_with("      | ")) {
        let (time, level) = line.split_once(' ').unwrap();
        let format = &time::format_description::well_known::Rfc3339;
        let time = time::OffsetDateTime::parse(time, format).unwrap_or_else(|_| panic!("{said}"));
        assert!((time::OffsetDateTime::now_utc() - time).whole_hours() == 0, "{line}");
        assert!([" INFO", " WARN", "ERROR"].contains(&&level[..5]), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn the_journal_gets_priorities_instead_of_times() {
    use std::os::unix::fs::MetadataExt;
    let host = host();
    fs::write(host.path("log"), "").unwrap();
    let file = fs::metadata(host.path("log")).unwrap();
    let stream = format!("{}:{}", file.dev(), file.ino());
    let said = log(&host, &[("JOURNAL_STREAM", &stream)]);
    assert!(said.contains("<4> WARN there are no tokens"), "{said}");
    assert!(said.contains("<6> INFO "), "{said}");
    let odd = said.lines().find(|line| !["<3>", "<4>", "<6>"].contains(&&line[..3]));
    assert_eq!(odd, None, "{said}");
    // Why it ends has a priority, too, on each of its lines.
    host.config("nonsense = 1\n");
    let environment = [("JOURNAL_STREAM", stream.as_str()), ("TICKET_HOST_LOG_FORMAT", "text")];
    let mut command = host.command(&["serve"]);
    let log = fs::File::options().append(true).open(host.path("log")).unwrap();
    let ended = command.envs(environment).stderr(log).status().unwrap();
    assert_eq!(ended.code(), Some(3));
    let last = host.log()[said.len()..].to_owned();
    assert!(last.starts_with("<3>ERROR ") && last.contains("nonsense"), "{last}");
    assert!(last.lines().count() > 1 && last.lines().all(|line| line.starts_with("<3>")), "{last}");
}

#[test]
fn in_json_each_line_is_an_event_and_so_is_why_the_service_ends() {
    let host = host();
    let said = log(&host, &[("TICKET_HOST_LOG_FORMAT", "json")]);
    let events = |said: &str| -> Vec<Value> {
        let lines = said.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap_or_else(|cause| panic!("{cause}: {said}"))
    };
    let warned = |event: &Value| {
        event["level"] == "WARN" && event["message"].as_str().unwrap().contains("no tokens")
    };
    assert!(events(&said).iter().any(warned), "{said}");
    for event in events(&said) {
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
        assert!(event["level"].is_string() && event["message"].is_string(), "{event}");
    }
    host.config("nonsense = 1\n");
    let ended = host.run(&["serve", "--log-format", "json"]).ended(3);
    let [last] = &events(&ended.stderr)[..] else { panic!("{ended:?}") };
    assert!(last["message"].as_str().unwrap().contains("nonsense"), "{last}");
    host.run(&["serve", "--log-format", "xml"]).ended(2).says("[possible values: text, json]");
}

#[test]
fn what_is_logged_while_a_ticket_is_made_says_which_in_json_and_in_a_text_only_what_it_always_said()
{
    let made =
        |said: &str| said.lines().find(|line| line.contains(": created: ")).map(str::to_owned);
    let said = log(&host(), &[("TICKET_HOST_LOG_FORMAT", "json")]);
    let event: Value = serde_json::from_str(&made(&said).unwrap()).unwrap();
    let fields = json!({"ticket": 1, "backend": "good", "attempt": 1, "action": "create"});
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(event["fields"][name], *value, "{event}");
    }
    let said = log(&host(), &[]);
    let line = made(&said).unwrap();
    assert!(line.ends_with(".md") && !line.contains("attempt") && !line.contains("try{"), "{line}");
}

#[test]
fn a_request_is_named_in_its_answer_and_in_what_is_logged_for_it() {
    let host = host();
    let service = host.serve_with(&[("TICKET_HOST_LOG_FORMAT", "json")]);
    let asked = |number: usize, id: &str| {
        let incident = json!({"description": "x", "argus_url": format!("https://a.org/{number}")});
        let body = json!({"incident": incident, "wait_ms": 60_000});
        let headers = [("Content-Type", "application/json"), ("X-Request-Id", id)];
        service.post_as_is("/v1/tickets", &headers, &body.to_string())
    };
    // What isn't begun at once, such as while the service starts, is done for no request.
    let is_named = |number: usize| {
        let id = format!("from-argus.{number}");
        let made = asked(number, &id).is(201);
        assert_eq!(made.header("x-request-id"), Some(id.as_str()));
        host.logged(": created: ", number);
        let log = host.log();
        let line = log.lines().rfind(|line| line.contains(": created: ")).unwrap();
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["fields"]["ticket"], number, "{event}");
        event["fields"]["request"] == id
    };
    assert!((1..=20).any(is_named), "{}", host.log());
    // What could break a line of somebody's log is no name.
    let named = asked(1, "a b").is(200).header("x-request-id").unwrap().to_owned();
    assert!(named.len() == 16 && named.bytes().all(|byte| byte.is_ascii_hexdigit()), "{named}");
    assert!(service.get("/nowhere").is(404).header("x-request-id").is_some());
}

#[cfg(target_os = "linux")]
#[test]
fn an_event_in_json_has_no_colours_though_a_terminal_shows_it() {
    let host = host();
    host.config("nonsense = 1\n");
    let arguments = ["serve", "--log-format", "json"];
    let Some(seen) = crate::validate::on_a_terminal(&host, &arguments, 3) else { return };
    let event: Value =
        serde_json::from_str(&seen).unwrap_or_else(|cause| panic!("{cause}: {seen}"));
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("nonsense") && !message.contains('\u{1b}'), "{message:?}");
}
