//! ABI version 1 for ever: what was compiled against its header on the day of its freeze, or when it grew, works with today's
//! host, and today's plugins work with a host of yesterday and of tomorrow.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use ticket_host_tests::{Answer, ISOLATIONS, Installation, Stub, c_plugin, desk, rust_plugin};
use ticket_host_worker::Digest;
use ticket_host_worker::library::{self, Image};
use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest, Operation};

fn frozen(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("abi").join(name)
}

#[test]
fn what_is_frozen_is_as_it_was() {
    for (name, digest) in [
        ("v1/ticket_plugin.h", "bc46f261e226de6ae8077dd2571c5aa1daca968fbea125e5301a200abc8b972d"),
        ("v1/plugin.c", "88c212c6493d0438b77fcbd841e5f7809d6c64b305c9febe7d341b36f67cecdc"),
        (
            "v1-grown/ticket_plugin.h",
            "30cd6a110842501f666a910f10b7c3dfcd2df4e78b09272a19e90d76805d4f40",
        ),
        ("v1-grown/plugin.c", "32c3532a25b41b3a704cff2fbd6ef69bdbd3bfd972c884b42c65e489bbf996d2"),
    ] {
        let why = "tests/abi is never edited: a change of the ABI is a new field at a table's end";
        assert_eq!(
            Digest::of(&fs::read(frozen(name)).unwrap()).to_string(),
            digest,
            "{name}: {why}"
        );
    }
}

#[test]
fn a_plugin_of_the_day_of_the_freeze_works() {
    for isolation in ISOLATIONS {
        let desk = desk(|seen| seen.target.ends_with("/health").then(|| Answer::status(200)));
        let host = Installation::with(
            &c_plugin("frozen"),
            &desk.url,
            &format!("secret = {{ token = \"t\" }}\nisolation = \"{isolation}\""),
        );
        let checked = host.run(&["check"]).ended(0).stdout;
        assert!(checked.contains("health: well"), "{checked}");
        let first = host.create("plugin-closed", &["--key", "one"]).ended(0).stdout;
        assert_eq!(first, "https://tickets.example.org/one\n");
        assert_eq!(host.create("plugin-closed", &["--key", "one"]).ended(0).stdout, first);
        assert_eq!(desk.posted(), ["one"]);
        let shown = host.run(&["plugins", "show", "frozen.TicketPlugin"]).ended(0).stdout;
        assert!(shown.contains("Frozen Ltd."), "{shown}");
    }
}

#[test]
fn a_plugin_of_the_day_when_the_abi_grew_works() {
    for isolation in ISOLATIONS {
        let desk = Stub::new(|seen| match (seen.method.as_str(), seen.target.as_str()) {
            (_, "/health") => Answer::status(200),
            ("POST", _) => Answer::status(201).body(r#"{"url":"https://tickets.example.org/7"}"#),
            _ => Answer::status(204),
        });
        let settings = format!("secret = {{ token = \"t\" }}\nisolation = \"{isolation}\"");
        let host = Installation::with(&c_plugin("grown"), &desk.url, &settings);
        let checked = host.run(&["check"]).ended(0).stdout;
        assert!(checked.contains("health: seen by ticket-host"), "{checked}");
        let made = host.create("plugin-closed", &[]).ended(0).stdout;
        assert_eq!(made, "https://tickets.example.org/7\n");
        let begun = "2026-11-23T07:00:00Z";
        let [.., looked_for, created] = &desk.seen()[..] else { panic!("{:?}", desk.seen()) };
        assert!(looked_for.target.ends_with(&format!("&since={begun}")), "{looked_for:?}");
        assert!(created.body.contains(begun), "{created:?}");
        let shown = host.run(&["plugins", "show", "grown"]).ended(0).stdout;
        let does = "find, find_many, update (comment, close, reopen), state, receive, changes";
        assert!(shown.contains(does), "{shown}");
    }
}

/// A host that gives these answers, in this order.
struct Answers {
    bodies: VecDeque<(u16, &'static str)>,
    asked: Vec<String>,
}

impl Host for Answers {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        let body = String::from_utf8(request.body).unwrap();
        let path = request.url.strip_prefix("https://t.example.org/").unwrap();
        self.asked.push(format!("{} {path} {body}", request.method).trim().to_owned());
        let (status, body) = self.bodies.pop_front().unwrap();
        HttpAnswer::Answered { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    fn render(&mut self, part: &str, _: &str, _: &str) -> Result<String, String> {
        Ok(part.to_owned())
    }

    fn log(&mut self, _: u32, _: &str) {}

    fn remaining(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// What a grown plugin makes of a request, given these answers: its reply, and what it asked for.
fn grown(
    operation: Operation,
    request: &Value,
    bodies: &[(u16, &'static str)],
) -> (Value, Vec<String>) {
    let mut host = Answers { bodies: bodies.iter().copied().collect(), asked: Vec::new() };
    let table = library::load(&Image::open(&c_plugin("grown")).unwrap()).unwrap().table;
    let settings = r#"{"endpoint":"https://t.example.org/","secret":{"token":"t"},"information":{},"host":{"name":"h"}}"#;
    let mut instance = table.open(settings, &mut host).unwrap();
    let returned = instance.call(operation, &request.to_string(), &mut host);
    let reply =
        returned.reply.unwrap().map_or(Value::Null, |reply| serde_json::from_str(&reply).unwrap());
    assert!(host.bodies.is_empty(), "answers that nobody asked for");
    (json!({"status": returned.status, "reply": reply}), host.asked)
}

#[test]
fn each_function_that_was_added_does_what_the_header_says() {
    let keys = json!({"keys": [
        {"key": "one", "not_before": "2026-01-01T00:00:00Z", "not_after": "2026-01-02T00:00:00Z"},
        {"key": "two", "not_before": "2026-01-01T00:00:00Z"},
    ]});
    let page = r#"{"tickets":[{"key":"one","url":"https://t.example.org/1"}]}"#;
    let (found, asked) = grown(Operation::FindMany, &keys, &[(200, page)]);
    assert_eq!(
        found,
        json!({"status": 0, "reply": {
            "found": [{"key": "one", "ticket": {"url": "https://t.example.org/1"}}], "none": ["two"],
        }})
    );
    assert_eq!(asked, ["GET tickets?since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z&page="]);

    let step = |action: &str, again: bool| {
        json!({
            "ticket": {"url": "https://t.example.org/7", "id": "7"}, "key": "one", "incident": {},
            "again": again, "step": {"id": "s-1", "action": action}, "dry_run": false,
        })
    };
    let (closed, asked) = grown(
        Operation::Update,
        &step("close", false),
        &[(200, r#"{"state":"open"}"#), (201, ""), (200, "")],
    );
    assert_eq!(closed["reply"], json!({"done": true, "state": "closed"}));
    assert_eq!(asked[1], r#"POST tickets/7/comments {"mark":"s-1","text":"closing"}"#);
    assert_eq!(asked[2], r#"PUT tickets/7 {"state":"closed"}"#);
    let marked = r#"{"state":"open","marks":["s-1"]}"#;
    let (again, asked) = grown(Operation::Update, &step("comment", true), &[(200, marked)]);
    assert_eq!((again["reply"]["done"].clone(), asked.len()), (json!(true), 1));
    let (refused, _) = grown(
        Operation::Update,
        &step("close", false),
        &[(200, r#"{"state":"open"}"#), (201, ""), (422, "")],
    );
    assert_eq!((&refused["status"], &refused["reply"]["partial"]), (&json!(3), &json!(true)));
    let (unknown, asked) = grown(Operation::Update, &step("merge", false), &[]);
    assert_eq!((unknown["status"].clone(), asked.len()), (json!(6), 0));

    let tickets = json!({"tickets": [{"url": "https://t.example.org/7", "id": "7"}, {"url": "https://t.example.org/8"}]});
    let (states, _) =
        grown(Operation::State, &tickets, &[(200, r#"{"state":"closed"}"#), (404, "")]);
    let seven = json!({"url": "https://t.example.org/7", "id": "7", "state": "closed"});
    assert_eq!(states["reply"], json!({"tickets": [seven]}));

    let changed = (200, r#"{"now":"5","tickets":[{"id":"7"}]}"#);
    let (first, _) = grown(Operation::Changes, &json!({}), &[changed]);
    assert_eq!(first["reply"], json!({"tickets": [], "cursor": "5", "more": false}));
    let (next, _) = grown(Operation::Changes, &json!({"cursor": "4"}), &[changed]);
    assert_eq!(next["reply"]["tickets"], json!([{"id": "7"}]));
}

#[test]
fn plugins_work_with_a_host_of_another_day() {
    let settings = |information: &str| {
        format!(
            "{{\"endpoint\":\"https://t.example.org/\",\"secret\":{{\"token\":\"t\"}},\
             \"information\":{information},\"later\":true}}"
        )
    };
    for (host, library, information) in
        ["earlier_host", "later_host"].into_iter().flat_map(|host| {
            [
                (host, c_plugin("frozen"), "{}"),
                (host, c_plugin("grown"), "{}"),
                (host, c_plugin("webhook"), "{}"),
                (host, rust_plugin("rt"), "{\"queue\":\"NOC\",\"later\":1}"),
                (host, rust_plugin("github"), "{\"project_namespace_and_name\":\"noc/tickets\"}"),
            ]
        })
    {
        let program = c_plugin(host).with_extension("");
        let output =
            Command::new(&program).arg(&library).arg(settings(information)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{host}: {}: {said}", library.display());
    }
}
