//! `top`: the overview of a service in a terminal, and where there is none.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use ticket_host_tests::{Answer, Installation, c_plugin, desk};

const REST: &str = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\n[serve.tokens.wall]\ntoken = \"look\"\nscopes = [\"read\"]\n\
    [serve.tokens.file]\ntoken = \"file\"\nscopes = [\"create\"]\n";

#[test]
fn it_shows_how_it_goes_by_the_socket_and_by_a_url_with_a_token() {
    let desk = desk(|_| Some(Answer::status(422)));
    let host = Installation::with(&c_plugin("webhook"), &desk.url, REST);
    let none = host.run(&["top"]).ended(2).stderr;
    assert!(none.contains("no service works on the store"), "{none}");
    let service = host.serve();
    let incident = serde_json::json!({"description": "gw1", "pk": 1, "source": {"name": "nav"}});
    let asked = serde_json::json!({"incident": incident, "wait_ms": 30_000}).to_string();
    let headers = [("Authorization", "Bearer file"), ("Content-Type", "application/json")];
    service.post_as_is("/v1/tickets", &headers, &asked).is(403);
    let shown = host.run(&["top", "--once"]).ended(0).stdout;
    for part in
        ["accepts incidents", "1 ticket of b failed", "The last hour: 1 came, 0 made, 1 failed"]
    {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let json = host.run(&["top", "--json"]).ended(0).json();
    assert_eq!((&json["ready"], &json["backends"][0]["failed"]), (&true.into(), &1.into()));
    let by_url = |token: &str, code| {
        let mut command = host.command(&["top", "--url", &service.url]);
        command.env("TICKET_HOST_TOKEN", token);
        ticket_host_tests::run(command, b"").ended(code)
    };
    assert!(by_url("look", 0).stdout.contains("1 ticket of b failed"));
    assert!(by_url("nonsense", 2).stderr.contains("the service refuses (401"));
    assert!(by_url("file", 2).stderr.contains("the token lacks the scope read"));
}

#[test]
#[cfg(target_os = "linux")]
fn in_a_terminal_it_goes_on_until_somebody_presses_q() {
    let desk = desk(|_| None);
    let host = Installation::with(&c_plugin("webhook"), &desk.url, REST);
    let _service = host.serve();
    // util-linux's script gives it a terminal.
    let command = host.command(&["top"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| format!("'{}'", word.display())).collect::<Vec<_>>().join(" ");
    let line = format!("stty rows 40 cols 120; {line}");
    let mut script = Command::new("timeout")
        .args(["60", "script", "--quiet", "--flush", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .current_dir(host.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut screen, mut shown) = (script.stdout.take().unwrap(), Vec::new());
    let mut part = [0; 4096];
    while !String::from_utf8_lossy(&shown).contains("ends") {
        let read = screen.read(&mut part).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&part[..read]);
    }
    script.stdin.take().unwrap().write_all(b"q").unwrap();
    screen.read_to_end(&mut shown).unwrap();
    assert!(script.wait().unwrap().success());
    // The terminal is as it was.
    assert!(String::from_utf8_lossy(&shown).contains("\u{1b}[?1049l"), "{shown:?}");
}
