//! The console where the config has no tokens, and where it is switched off. tests/console.sh has the rest, in a browser.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use ticket_host_tests::{Answer, Installation, Service, c_plugin, desk, wait_for};

const QUEUE: &str = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\n";

/// What the service answers to a request with these headers.
fn ask(
    service: &Service,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut stream = TcpStream::connect(service.url.trim_start_matches("http://")).unwrap();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn is(status: &str, answer: &str) {
    assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
}

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const HOST: (&str, &str) = ("Host", "localhost:8620");

#[test]
fn without_tokens_the_console_is_for_this_machine_and_for_no_page_of_another_site() {
    let desk = desk(|_| Some(Answer::status(422)));
    let host = Installation::with(&c_plugin("webhook"), &desk.url, QUEUE);
    let service = host.serve();
    let incident = serde_json::json!({"description": "gw1", "pk": 1, "source": {"name": "nav"}});
    service.file(&incident, 30_000).is(403);
    let page = ask(&service, "GET", "/tickets/1", &[HOST, ("Sec-Fetch-Site", "none")], "");
    is("200", &page);
    assert!(page.contains("anybody on this machine"), "{page}");
    let token = page.split("name=\"form_token\" value=\"").nth(1).unwrap();
    let token = &token[..token.find('"').unwrap()];
    // A name that was made to lead here (DNS rebinding).
    let rebound = ask(&service, "GET", "/tickets/1", &[("Host", "evil.example.org:8620")], "");
    is("403", &rebound);
    assert!(!rebound.contains(token), "{rebound}");
    // A picture of another site's page, and a proxy that gives this machine's name.
    let image = [HOST, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
    is("403", &ask(&service, "GET", "/tickets?q=x", &image, ""));
    is("403", &ask(&service, "GET", "/", &[HOST, ("X-Forwarded-For", "192.0.2.1")], ""));
    let form = format!("form_token={token}");
    for (headers, body) in [
        (&[HOST, FORM][..], ""),
        (&[HOST, FORM], "form_token=0"),
        (&[HOST, FORM, ("Sec-Fetch-Site", "cross-site")], &form),
        (&[("Host", "evil.example.org"), FORM], &form),
        (&[HOST, FORM, ("Origin", "https://tickets.example.org")], &form),
    ] {
        is("403", &ask(&service, "POST", "/tickets/1/cancel", headers, body));
    }
    let own = [HOST, FORM, ("Sec-Fetch-Site", "same-origin"), ("Origin", "http://localhost:8620")];
    is("303", &ask(&service, "POST", "/tickets/1/cancel", &own, &form));
    assert_eq!(service.get("/v1/tickets/1").json()["state"], "cancelled");
    is("303", &ask(&service, "GET", "/login", &[HOST], ""));
    let audit = host.run(&["queue", "audit", "--ticket", "1"]).ended(0);
    assert!(
        audit.stdout.contains("anybody on this machine (console)  cancel ticket 1"),
        "{audit:?}"
    );
}

#[test]
fn a_console_that_is_switched_off_is_not_there_and_the_api_is() {
    let desk = desk(|_| None);
    let rest = format!("{QUEUE}[serve.console]\nenabled = true\n");
    let host = Installation::with(&c_plugin("webhook"), &desk.url, &rest);
    let service = host.serve();
    is("200", &ask(&service, "GET", "/", &[HOST], ""));
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    fs::write(host.path("config.toml"), config.replace("enabled = true", "enabled = false"))
        .unwrap();
    wait_for("the config to be read", || {
        ask(&service, "GET", "/", &[HOST], "").starts_with("HTTP/1.1 404")
    });
    let refused = ask(&service, "GET", "/login", &[HOST], "");
    is("404", &refused);
    assert!(refused.contains("serve.console"), "{refused}");
    service.get("/v1/overview").is(200);
    // What changed is kept, and shown where there is a console.
    let audit = host.run(&["queue", "audit"]).ended(0);
    assert!(audit.stdout.contains("(config)  config: @@"), "{audit:?}");
    assert!(audit.stdout.contains("-enabled = true\\n+enabled = false"), "{audit:?}");
}

#[test]
fn a_config_that_is_refused_is_in_the_audit_without_its_secrets() {
    let desk = desk(|_| None);
    let host = Installation::with(&c_plugin("webhook"), &desk.url, QUEUE);
    let service = host.serve();
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    let broken = config.replace("token = \"t\"", "token = \"hunter2\", tokn = \"hunter2\"");
    fs::write(host.path("config.toml"), format!("nonsense = 1\n{broken}")).unwrap();
    // The command line can't read that config either.
    let page = || ask(&service, "GET", "/config", &[HOST], "");
    wait_for("the refusal", || page().contains("config refused"));
    assert!(page().contains("nonsense") && !page().contains("hunter2"), "{}", page());
    service.get("/readyz").is(200);
}

#[test]
fn a_person_has_another_backend_make_the_tickets_over_a_restart_until_it_is_given_back() {
    let refusing = desk(|request| (request.method == "GET").then(|| Answer::status(503)));
    let other = desk(|_| None);
    let rest = format!(
        "default_backend = \"b\"\n{QUEUE}[backends.other]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n",
        other.url
    );
    let host = Installation::with(&c_plugin("webhook"), &refusing.url, "");
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    // The default backend stands before all tables, and where the plugins are is always there.
    let (first, rest) = rest.split_once('\n').unwrap();
    let (_, backend) = config.split_once('\n').unwrap();
    host.config(&format!("{first}\n{backend}{rest}"));
    let service = host.serve();
    let incident =
        |pk: i64| serde_json::json!({"description": "gw1", "pk": pk, "source": {"name": "nav"}});
    service.file(&incident(1), 0).is(202);
    let own = [HOST, FORM, ("Sec-Fetch-Site", "same-origin")];
    let send = |service: &Service, path: &str, fields: &str| {
        let page = ask(service, "GET", "/backends", &[HOST], "");
        let token = page.split("name=\"form_token\" value=\"").nth(1).unwrap();
        let token = &token[..token.find('"').unwrap()];
        ask(service, "POST", path, &own, &format!("form_token={token}&{fields}"))
    };
    let nobody = send(&service, "/backends/b/swap", "to=nobody");
    is("400", &nobody);
    assert!(nobody.contains("there is no backend"), "{nobody}");
    is("303", &send(&service, "/backends/b/swap", "to=other"));
    // What waits moves, and what comes goes there.
    wait_for("the one that waited", || service.get("/v1/tickets/1").json()["state"] == "created");
    assert_eq!(service.get("/v1/tickets/1").json()["backend"], "other");
    assert_eq!(service.file(&incident(2), 30_000).is(201).json()["backend"], "other");
    wait_for("the overview to say so", || {
        let page = ask(&service, "GET", "/", &[HOST], "");
        page.contains("other makes the tickets of b, as a person said")
    });
    assert_eq!(service.stop(), 0);
    let service = host.serve();
    assert_eq!(service.file(&incident(3), 30_000).is(201).json()["backend"], "other");
    is("303", &send(&service, "/backends/b/swap", "to="));
    wait_for("the first one to make them", || {
        let needs = service.get("/v1/overview").json()["needs"].to_string();
        !needs.contains("as a person said")
    });
    assert_eq!(service.file(&incident(4), 0).is(202).json()["backend"], "b");
    let audit = host.run(&["queue", "audit"]).ended(0).stdout;
    for line in ["swap: b makes its tickets itself", "swap: other makes the tickets of b"] {
        assert!(audit.contains(&format!("anybody on this machine (console)  {line}")), "{audit}");
    }
}

#[test]
fn what_a_token_may_do_and_a_changed_secret_are_in_the_audit_and_no_secret_is() {
    let desk = desk(|_| None);
    let rest = format!("{QUEUE}[serve.tokens.noc]\ntoken = \"hunter2\"\nscopes = [\"read\"]\n");
    let host = Installation::with(&c_plugin("webhook"), &desk.url, &rest);
    let _service = host.serve();
    let audit = || host.run(&["queue", "audit"]).ended(0).stdout;
    let file = host.path("config.toml");
    let config = fs::read_to_string(&file).unwrap();
    let more = config.replace("[\"read\"]", "[\"read\", \"admin\"]");
    fs::write(&file, &more).unwrap();
    wait_for("the scopes", || audit().contains("+scopes = [\"read\", \"admin\"]"));
    fs::write(&file, more.replace("hunter2", "another-hunter2")).unwrap();
    wait_for("the token", || audit().contains("config: something that isn't shown: a secret"));
    assert!(!audit().contains("hunter2"), "{}", audit());
}
