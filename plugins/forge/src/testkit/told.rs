//! The tests of what a forge's plugin tells: states, changes, and what webhooks are about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest};
use ticket_plugin_api::message::{AskedTicket, WebhookHead};
use ticket_plugin_api::testkit::Fixture;
use ticket_plugin_api::{
    Changed, ChangesRequest, ErrorKind, Received, StateRequest, TicketName, TicketState,
    TicketStatus, unix_time,
};

use super::{SHOWS_TIMES, World, time};

/// The secret of the webhooks in these tests.
pub const WEBHOOK_SECRET: &str = "hook-secret";

pub use ticket_plugin_api::testkit::hmac_sha256;

pub fn asking(urls: &[String]) -> StateRequest {
    let asked = |url: &String| AskedTicket { url: url.clone(), ..AskedTicket::default() };
    StateRequest { tickets: urls.iter().map(asked).collect() }
}

impl World {
    pub fn url(&self, number: u32) -> String {
        format!("{}{number}", self.page)
    }

    /// The URL of a ticket with this number in another project.
    fn url_elsewhere(&self, number: u32) -> String {
        self.url(number).replace("/noc/", "/other/")
    }

    /// Issue `number` in this state: 0 is open, 1 is closed.
    pub fn shown(&self, number: u32, state: usize) -> Value {
        let mut issue = (self.issue)(number, "...", &[]);
        issue["state"] = self.states[state].into();
        if state == 1 {
            issue["closed_at"] = "2026-11-24T09:00:00Z".into();
            issue["closed_by"] = json!({"id": 7, "login": "anna", "username": "anna"});
        }
        issue
    }

    /// The URL by which so many issues at most are asked for.
    pub fn list_of(&self, numbers: &[u32], most: usize) -> String {
        let list = format!("{}?{}&per_page={most}", self.issues(), self.all_issues);
        numbers.iter().take(most).fold(list, |list, number| {
            format!("{list}&{}={number}", self.numbers.unwrap_or_default())
        })
    }

    /// Scripts that the states of these issues are asked for, of which the forge shows some.
    pub fn has(&self, forge: &mut Fixture, issues: &[(u32, Option<Value>)]) {
        if self.numbers.is_none() {
            for (number, shown) in issues {
                let url = format!("{}/{number}", self.issues());
                match shown {
                    Some(issue) => forge.host.answer("GET", &url, 200, issue.clone()),
                    None => {
                        forge.host.answer("GET", &url, 404, json!({"message": "Not Found"}));
                    }
                }
            }
            return;
        }
        let numbers: Vec<u32> = issues.iter().map(|(number, _)| *number).collect();
        let shown: Value = issues.iter().filter_map(|(_, issue)| issue.clone()).collect();
        forge.host.answer("GET", &self.list_of(&numbers, 100), 200, shown);
    }
}

pub fn states_are_told_by_urls_alone_with_the_forges_words_and_who_closed_an_issue(world: &World) {
    let mut forge = (world.open)(json!({}));
    let shown = [(47, Some(world.shown(47, 0))), (48, None), (49, Some(world.shown(49, 1)))];
    world.has(&mut forge, &shown);
    let told = forge.state(&asking(&[47, 48, 49].map(|number| world.url(number)))).unwrap();
    let [open, closed] = &told.tickets[..] else { panic!("{told:?}") };
    let status = |number, state, word: &str| TicketStatus {
        url: world.url(number),
        id: number.to_string(),
        state,
        detail: word.to_owned(),
        ..TicketStatus::default()
    };
    assert_eq!(*open, status(47, TicketState::Open, world.states[0]));
    let (by, at) = ("anna".to_owned(), "2026-11-24T09:00:00Z".to_owned());
    let expected = status(49, TicketState::Closed, world.states[1]);
    assert_eq!(*closed, TicketStatus { by, at, ..expected });
    assert_eq!(told.retry_after_ms, None);
    // It may be hidden from the token: that is no error, and the issue isn't gone.
    world.has(&mut forge, &[(48, None)]);
    assert_eq!(forge.state(&asking(&[world.url(48)])).unwrap().tickets, []);
    assert_eq!(forge.state(&asking(&[])).unwrap().tickets, []);
}

pub fn a_ticket_of_another_project_is_foreign_and_nobody_asks_for_it(world: &World) {
    let mut forge = (world.open)(json!({}));
    let urls = [
        world.url_elsewhere(47),
        "https://wiki.example.org/47".to_owned(),
        world.url(47).replace("/issues/", "/pull/"),
        format!("{}x", world.url(47)),
    ];
    let told = forge.state(&asking(&urls)).unwrap();
    assert_eq!(told.tickets.len(), urls.len());
    assert!(told.tickets.iter().all(|status| status.state == TicketState::Foreign), "{told:?}");
    // The forge shows another project's issue.
    let mut other = world.shown(47, 0);
    for url in ["html_url", "web_url"] {
        if other[url].is_string() {
            other[url] = world.url_elsewhere(47).into();
        }
    }
    world.has(&mut forge, &[(47, Some(other))]);
    let told = forge.state(&asking(&[world.url(47)])).unwrap();
    assert_eq!(told.tickets[0].state, TicketState::Foreign);
}

pub fn a_state_without_a_documented_word_is_left_out_and_alone_it_is_an_error(world: &World) {
    let mut forge = (world.open)(json!({}));
    let mut strange = world.shown(47, 0);
    strange["state"] = "simmering".into();
    let shown = [(47, Some(strange.clone())), (48, Some(world.shown(48, 0)))];
    world.has(&mut forge, &shown);
    let told = forge.state(&asking(&[world.url(47), world.url(48)])).unwrap();
    assert_eq!((told.tickets.len(), told.tickets[0].url.as_str()), (1, world.url(48).as_str()));
    world.has(&mut forge, &[(47, Some(strange))]);
    let error = forge.state(&asking(&[world.url(47)])).unwrap_err();
    assert!(error.message.contains("doesn't document"), "{error}");
}

pub fn states_that_could_not_be_asked_for_are_an_error(world: &World) {
    let message = |text: &str| json!({"message": text});
    for (status, body, kind) in [
        (401, message("Bad"), ErrorKind::Settings),
        (429, message("Too many"), ErrorKind::Client),
        (502, json!(""), ErrorKind::Client),
        (404, json!("<html>a proxy's</html>"), ErrorKind::Settings),
        (200, json!("<html>login</html>"), ErrorKind::Settings),
        (200, json!("{"), ErrorKind::Plugin),
    ] {
        let mut forge = (world.open)(json!({}));
        let url = match world.numbers {
            Some(_) => world.list_of(&[47], 100),
            None => format!("{}/47", world.issues()),
        };
        forge.host.answer("GET", &url, status, body);
        let error = forge.state(&asking(&[world.url(47)])).unwrap_err();
        assert_eq!(error.kind, kind, "{status}: {error}");
        assert!(!error.message.contains(world.token), "{error}");
    }
}

/// A forge's issues with the seconds of their last changes, and what is changed before which request.
#[derive(Debug, Default)]
struct Changing {
    issues: Vec<(u32, u32)>,
    asked: usize,
    meanwhile: BTreeMap<usize, Vec<(u32, u32)>>,
    /// The request that isn't answered.
    fails: Option<usize>,
    /// The forge's clock, if it tells it.
    now: Option<&'static str>,
    /// Whether it leaves out what was changed at the very time that it is asked for.
    is_strict: bool,
}

impl Changing {
    fn answer(
        &mut self,
        request: &HttpRequest,
        since: &str,
        issue: fn(u32, &str, &[&str]) -> Value,
        header: fn(u32, Option<&str>) -> (&'static str, String),
    ) -> HttpAnswer {
        self.asked += 1;
        if self.fails == Some(self.asked) {
            return super::limited();
        }
        for (number, second) in self.meanwhile.remove(&self.asked).unwrap_or_default() {
            self.issues.retain(|(its, _)| *its != number);
            self.issues.push((number, second));
        }
        self.issues.sort_by_key(|(_, second)| *second);
        let value = |name: &str| {
            let mut parameters = request.url.split(['?', '&']).filter_map(|p| p.split_once('='));
            parameters.find(|(its, _)| *its == name).map(|(_, value)| value.replace("%3A", ":"))
        };
        let most: usize = value("per_page").unwrap().parse().unwrap();
        let since = unix_time(&value(since).unwrap()).unwrap();
        let is_listed = |second: u32| {
            let changed = unix_time(&time(second)).unwrap();
            changed > since || changed == since && !self.is_strict
        };
        let list: Vec<_> = self.issues.iter().filter(|(_, second)| is_listed(*second)).collect();
        let shown = list.iter().take(most).map(|(number, second)| {
            let mut issue = issue(*number, "...", &[]);
            issue["updated_at"] = time(*second).into();
            issue
        });
        let (name, value) = header(if list.len() > most { 2 } else { 0 }, None);
        let mut headers = vec![(name.to_owned(), value)];
        headers.extend(self.now.map(|now| ("date".to_owned(), now.to_owned())));
        let body = shown.collect::<Value>().to_string().into_bytes();
        HttpAnswer::Answered { status: 200, headers, body }
    }
}

fn changing(world: &World, changing: Changing) -> (Fixture, Arc<Mutex<Changing>>) {
    let changing = Arc::new(Mutex::new(changing));
    let mut forge = (world.open)(json!({}));
    let (kept, issue, header) = (Arc::clone(&changing), world.issue, world.header_of_next);
    let since = world.changed_since;
    forge.host.play(move |request| kept.lock().unwrap().answer(request, since, issue, header));
    (forge, changing)
}

/// Asks until there is no more: the numbers of what changed, and the last reply.
fn all(forge: &mut Fixture, mut cursor: String) -> (BTreeSet<u32>, Changed) {
    let mut numbers = BTreeSet::new();
    for _ in 0..20 {
        let reply = forge.changes(&ChangesRequest { cursor: Some(cursor) }).unwrap();
        assert!(!reply.gap, "{reply:?}");
        numbers.extend(reply.tickets.iter().map(|name| name.id.parse::<u32>().unwrap()));
        if !reply.more {
            return (numbers, reply);
        }
        cursor = reply.cursor;
    }
    panic!("it asks for ever")
}

/// The cursor of what changed since this second.
fn since(second: u32) -> String {
    json!({"since": unix_time(&time(second))}).to_string()
}

pub fn changes_begin_by_the_forges_clock_and_tell_what_changed_since(world: &World) {
    let (mut forge, played) = changing(
        world,
        Changing {
            issues: vec![(1, 10), (2, 7300)],
            now: Some("Mon, 23 Nov 2026 02:00:00 GMT"),
            ..Changing::default()
        },
    );
    let begun = forge.changes(&ChangesRequest::default()).unwrap();
    assert_eq!((begun.tickets.len(), begun.gap, begun.more), (0, false, false));
    assert_eq!(begun.cursor, since(7200 - 120), "with room for what is listed late");
    let query = format!("?{}&{}=", world.changed_issues, world.changed_since);
    assert!(forge.host.sent[0].url.contains(&query), "{}", forge.host.sent[0].url);
    played.lock().unwrap().now = Some("Mon, 23 Nov 2026 02:10:00 GMT");
    let (numbers, last) = all(&mut forge, begun.cursor);
    assert_eq!(numbers, BTreeSet::from([2]));
    let name = TicketName { url: world.url(2), id: "2".to_owned() };
    assert_eq!(last.tickets, [name]);
    // By then it was named.
    let (numbers, last) = all(&mut forge, last.cursor);
    assert_eq!((numbers.len(), last.tickets.len()), (0, 0));
    // Without a clock it goes on at the newest change.
    played.lock().unwrap().now = None;
    let begun = forge.changes(&ChangesRequest::default()).unwrap();
    let (numbers, last) = all(&mut forge, begun.cursor);
    assert_eq!(numbers, BTreeSet::from([1, 2]));
    assert_eq!(last.cursor, since(7300 - 120));
}

pub fn no_change_is_lost_while_issues_are_changed_and_pages_are_read(world: &World) {
    for is_strict in SHOWS_TIMES {
        // Three in each second, and of those that were read some are changed before each other page.
        let issues = (1..=1200).map(|number| (number, 1000 + number / 3)).collect();
        let later = |page: u32| {
            (page * 90 - 60..page * 90).map(|number| (number, 2000 + 5 * page)).collect::<Vec<_>>()
        };
        let meanwhile = (2..10).map(|page| (page as usize, later(page))).collect();
        let (mut forge, played) =
            changing(world, Changing { issues, meanwhile, is_strict, ..Changing::default() });
        let (numbers, _) = all(&mut forge, since(999));
        let missing: Vec<u32> = (1..=1200).filter(|number| !numbers.contains(number)).collect();
        assert_eq!(missing, [0; 0]);
        let asked = played.lock().unwrap().asked;
        assert!(asked < 30, "{asked}");
    }
}

pub fn more_changes_at_one_moment_than_a_page_has_are_a_gap(world: &World) {
    for is_strict in SHOWS_TIMES {
        let mut issues: Vec<(u32, u32)> = (1..=250).map(|number| (number, 1000)).collect();
        issues.push((251, 1200));
        let (mut forge, _) = changing(world, Changing { issues, is_strict, ..Changing::default() });
        let mut cursor = since(900);
        let (mut gap, mut last) = (false, false);
        for _ in 0..10 {
            let reply = forge.changes(&ChangesRequest { cursor: Some(cursor) }).unwrap();
            gap |= reply.gap;
            last |= reply.tickets.iter().any(|name| name.id == "251");
            cursor = reply.cursor;
            if !reply.more {
                break;
            }
        }
        assert!(gap && last);
    }
}

pub fn changes_that_could_not_be_read_are_told_later(world: &World) {
    let issues = (1..=300).map(|number| (number, 1000 + number)).collect();
    let fails = Some(2);
    let (mut forge, played) = changing(world, Changing { issues, fails, ..Changing::default() });
    let asked = ChangesRequest { cursor: Some(since(999)) };
    let reply = forge.changes(&asked).unwrap();
    assert_eq!((reply.tickets.len(), reply.more, reply.retry_after_ms), (100, false, Some(7000)));
    let (numbers, _) = all(&mut forge, reply.cursor);
    assert!((101..=300).all(|number| numbers.contains(&number)), "{numbers:?}");
    // With no time left for another page there is more.
    forge.host.remaining = Duration::from_secs(1);
    let reply = forge.changes(&asked).unwrap();
    assert_eq!((reply.tickets.len(), reply.more), (100, true));
    for cursor in [None, asked.cursor.clone()] {
        {
            let mut played = played.lock().unwrap();
            played.fails = Some(played.asked + 1);
        }
        let error = forge.changes(&ChangesRequest { cursor }).unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    }
    // One of another version: what changed until now isn't known.
    for cursor in ["cursor-of-another-version", "{}", "[1]", ""] {
        let reply = forge.changes(&ChangesRequest { cursor: Some(cursor.to_owned()) }).unwrap();
        assert!(reply.gap && reply.tickets.is_empty(), "{cursor}: {reply:?}");
    }
}

impl World {
    fn receive(&self, event: &Value) -> Received {
        let body = event.to_string().into_bytes();
        (self.open)(json!({})).receive(&head((self.sign)(&body)), &body).unwrap()
    }
}

pub fn head(headers: Vec<(String, String)>) -> WebhookHead {
    let url = "https://host.example.org/v1/hooks/noc".to_owned();
    WebhookHead { method: "POST".to_owned(), url, headers }
}

pub fn a_signed_webhook_names_the_projects_issue_that_it_is_about(world: &World) {
    let name = TicketName { url: world.url(47), id: "47".to_owned() };
    for (url, tickets) in [
        (world.url(47), vec![name.clone()]),
        (format!("{}#note_12", world.url(47)), vec![name]),
        (world.url_elsewhere(47), vec![]),
        (world.url(47).replace("/issues/", "/merge_requests/"), vec![]),
        (world.url(47).replace("/issues/", "/pull/"), vec![]),
    ] {
        let received = world.receive(&(world.event)(&url));
        assert_eq!((received.tickets, received.forged), (tickets, None), "{url}");
    }
    for event in [json!({"zen": "x"}), json!({"issue": 7, "object_attributes": [7]}), json!([])] {
        let received = world.receive(&event);
        assert_eq!((received.tickets, received.forged), (vec![], None), "{event}");
    }
    for body in [&b""[..], b"payload=%7B%7D", b"{\"issue\": "] {
        let mut forge = (world.open)(json!({}));
        let error = forge.receive(&head((world.sign)(body)), body).unwrap_err();
        assert!(error.message.contains("application/json"), "{error}");
    }
}

pub fn a_webhook_that_is_not_signed_with_the_secret_is_forged(world: &World) {
    let body = (world.event)(&world.url(47)).to_string().into_bytes();
    let mut forge = (world.open)(json!({}));
    let signed = (world.sign)(&body);
    let mut forged = vec![vec![], vec![("x-signature".to_owned(), "x".to_owned())]];
    for value in ["", "sha256=", "sha256=zz", "sha256=0", "æ", "hook", "hook-secret0"] {
        let with = |(name, _): &(String, String)| (name.clone(), value.to_owned());
        forged.push(signed.iter().map(with).collect());
    }
    for headers in forged {
        let received = forge.receive(&head(headers.clone()), &body).unwrap();
        let why = received.forged.unwrap_or_else(|| panic!("{headers:?} is believed"));
        assert!(!why.contains(WEBHOOK_SECRET), "{why}");
    }
    for secret in [Value::Null, json!("")] {
        let mut forge = (world.open_with)(secret);
        let why = forge.receive(&head(signed.clone()), &body).unwrap().forged.unwrap();
        assert!(why.contains("secret.webhook_secret isn't set"), "{why}");
    }
}
