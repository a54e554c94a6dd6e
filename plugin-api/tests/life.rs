//! The functions that a plugin may be without, through the C table as a host calls them.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use ticket_plugin_api::message::{AskedTicket, WebhookHead};
use ticket_plugin_api::testkit::{self, Fixture};
use ticket_plugin_api::{
    About, Action, Call, Changed, ChangesRequest, Check, ErrorKind, FindMany, Format, Found,
    FoundMany, Incident, Offer, Received, Result, Settings, StateRequest, States, Step, Ticket,
    TicketName, TicketPlugin, TicketRequest, TicketState, TicketStatus, UpdateRequest, Updated,
    WantedKey, Webhook,
};

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// Knows one ticket, of the key "one", and replies what no plugin may where it is told to.
struct Tracker {
    host: String,
    odd: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Information {
    #[serde(default)]
    odd: bool,
}

fn one() -> TicketName {
    TicketName { url: "https://tracker.example.org/1".to_owned(), id: "1".to_owned() }
}

impl TicketPlugin for Tracker {
    const ABOUT: About = About {
        name: "tracker",
        offers: &[Offer::FindMany, Offer::State, Offer::Receive, Offer::Changes],
        actions: &[Action::Comment, Action::Close],
        marks: true,
        ..About::new("1.0.0")
    };
    type Secret = Nothing;
    type Information = Information;

    fn open(settings: Settings<Nothing, Information>) -> Result<Tracker> {
        Ok(Tracker { host: settings.host.name, odd: settings.information.odd })
    }

    fn check(&mut self, _: &Call) -> Result<Vec<Check>> {
        Ok(vec![Check::passed("host", &self.host)])
    }

    fn create(&mut self, _: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let id = request.not_before.clone().unwrap_or_default();
        Ok(Ticket { url: one().url, id, ..Ticket::default() })
    }

    fn find_many(&mut self, _: &Call, request: &FindMany) -> Result<FoundMany> {
        let cursor = request.cursor.as_ref().map(|cursor| format!("{cursor}, and on"));
        let mut reply = FoundMany { cursor, ..FoundMany::default() };
        for WantedKey { key, .. } in &request.keys {
            if key == "one" {
                reply.found.push(Found { key: key.clone(), ticket: one() });
            }
            if key != "one" || self.odd {
                reply.none.push(key.clone());
            }
        }
        Ok(reply)
    }

    fn update(
        &mut self,
        call: &Call,
        request: &UpdateRequest<Incident>,
    ) -> Result<Option<Updated>> {
        assert_ne!(request.step.action, Action::Reopen, "it doesn't say that it can");
        if request.ticket != one() {
            return Ok(None);
        }
        let text = call.comment(request.step.action, Format::Text)?;
        let change = request.step.diff.get("level").map(|change| format!("{}", change.to));
        Ok(Some(Updated {
            done: !request.again && !self.odd,
            state: TicketState::Closed,
            warnings: vec![text, request.step.id.clone(), change.unwrap_or_default()],
            preview: None,
        }))
    }

    fn state(&mut self, _: &Call, request: &StateRequest) -> Result<States> {
        let known = |asked: &&AskedTicket| asked.url == one().url || self.odd;
        let status = |asked: &AskedTicket| TicketStatus {
            url: if self.odd { "elsewhere:1".to_owned() } else { asked.url.clone() },
            state: TicketState::Cancelled,
            detail: "Rejected".to_owned(),
            ..TicketStatus::default()
        };
        Ok(States {
            tickets: request.tickets.iter().filter(known).map(status).collect(),
            retry_after_ms: None,
        })
    }

    fn receive(&mut self, _: &Call, webhook: &Webhook) -> Result<Received> {
        let tickets = if self.odd { vec![TicketName::default()] } else { vec![one()] };
        Ok(match webhook.head.header("x-signature") {
            Some("good") if webhook.body == b"\xffbytes" => {
                Received { tickets, ..Received::default() }
            }
            other => {
                Received { forged: Some(format!("signature {other:?}")), ..Received::default() }
            }
        })
    }

    fn changes(&mut self, _: &Call, request: &ChangesRequest) -> Result<Changed> {
        let tickets = request.cursor.iter().map(|_| one()).collect();
        let cursor = if self.odd { String::new() } else { "2".to_owned() };
        Ok(Changed { tickets, cursor, ..Changed::default() })
    }
}

fn tracker(odd: bool) -> Fixture {
    let settings = json!({"odd": odd});
    testkit::open::<Tracker>("https://tracker.example.org/", json!({}), settings).unwrap()
}

fn step(action: Action) -> Step {
    let diff = BTreeMap::from([(
        "level".to_owned(),
        ticket_plugin_api::Difference { from: json!(3), to: json!(1) },
    )]);
    Step { id: "s-1".to_owned(), action, diff, fields: serde_json::Map::new() }
}

#[test]
fn one_search_finds_the_tickets_of_many_keys() {
    let wanted = |key: &str| WantedKey { key: key.to_owned(), ..WantedKey::default() };
    let request =
        FindMany { keys: vec![wanted("one"), wanted("two")], cursor: Some("page 2".to_owned()) };
    let reply = tracker(false).find_many(&request).unwrap();
    assert_eq!(reply.found[0].ticket.url, one().url);
    assert_eq!(
        (&reply.none[..], reply.cursor.as_deref()),
        (&["two".to_owned()][..], Some("page 2, and on"))
    );
    let odd = tracker(true).find_many(&request).unwrap_err();
    assert_eq!(odd.kind, ErrorKind::Plugin);
    assert!(odd.message.contains("find_many: its reply names the key \"one\" twice"), "{odd}");
}

#[test]
fn a_step_is_carried_out_with_its_text_and_its_changes() {
    let mut tracker = tracker(false);
    let incident = || json!({"description": "gw1 is down"});
    let commented = tracker.update(&one(), incident(), &step(Action::Comment), false).unwrap();
    let commented = commented.unwrap();
    assert!(commented.done && commented.warnings[0].contains("comment of gw1 is down"));
    assert_eq!(commented.warnings[1..], ["s-1", "1"]);
    let closed = tracker.update(&one(), incident(), &step(Action::Close), true).unwrap().unwrap();
    assert!(!closed.done && closed.warnings[0].contains("closing of gw1 is down"), "{closed:?}");
    let gone = TicketName { id: "2".to_owned(), ..one() };
    assert_eq!(tracker.update(&gone, incident(), &step(Action::Close), false).unwrap(), None);
}

#[test]
fn a_step_that_a_plugin_does_not_name_is_unsupported_and_the_plugin_is_not_asked() {
    for action in [Action::Reopen, Action::Other] {
        let refused = tracker(false).update(&one(), json!({}), &step(action), false).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unsupported, "{action:?}");
    }
}

#[test]
fn states_are_told_of_the_tickets_that_were_asked_for() {
    let asked = |url: &str| AskedTicket { url: url.to_owned(), ..AskedTicket::default() };
    let request = StateRequest { tickets: vec![asked(&one().url), asked("https://x.org/2")] };
    let states = tracker(false).state(&request).unwrap();
    assert_eq!(states.tickets.len(), 1);
    assert_eq!(states.tickets[0].state, TicketState::Cancelled);
    let odd = tracker(true).state(&request).unwrap_err();
    assert!(odd.message.contains("\"elsewhere:1\" twice, or it wasn't asked for"), "{odd}");
}

#[test]
fn a_webhook_is_read_byte_for_byte_and_a_forged_one_is_called_that() {
    let signed = |signature: &str| WebhookHead {
        headers: vec![("x-signature".to_owned(), signature.to_owned())],
        ..WebhookHead::default()
    };
    let received = tracker(false).receive(&signed("good"), b"\xffbytes").unwrap();
    assert_eq!(received, Received { tickets: vec![one()], ..Received::default() });
    for (signature, body) in [("bad", &b"\xffbytes"[..]), ("good", b"other bytes")] {
        let received = tracker(false).receive(&signed(signature), body).unwrap();
        assert!(received.forged.is_some() && received.tickets.is_empty(), "{received:?}");
    }
    let odd = tracker(true).receive(&signed("good"), b"\xffbytes").unwrap_err();
    assert!(odd.message.contains("names a ticket by neither url nor id"), "{odd}");
}

#[test]
fn changes_are_told_from_where_the_last_reply_said() {
    let mut tracker_of = tracker(false);
    let first = tracker_of.changes(&ChangesRequest::default()).unwrap();
    assert_eq!((first.tickets.len(), first.cursor.as_str()), (0, "2"));
    let next = tracker_of.changes(&ChangesRequest { cursor: Some(first.cursor) }).unwrap();
    assert_eq!(next.tickets, [one()]);
    let odd = tracker(true).changes(&ChangesRequest::default()).unwrap_err();
    assert!(odd.message.contains("has an empty cursor"), "{odd}");
}

#[test]
fn a_plugin_is_told_its_host_and_since_when_there_can_be_a_ticket() {
    let mut tracker = tracker(false);
    assert_eq!(tracker.check().unwrap()[0].message, "testkit");
    let incident = json!({"start_time": "2026-11-23T08:00:00+01:00"});
    assert_eq!(tracker.create(incident, "key").unwrap().id, "2026-11-23T07:00:00+00:00");
    assert_eq!(tracker.create(json!({}), "key").unwrap().id, "");
}

#[test]
fn no_host_asks_for_more_than_the_header_says() {
    let mut tracker = tracker(false);
    let many = FindMany { keys: vec![WantedKey::default(); 201], cursor: None };
    let tickets = StateRequest { tickets: vec![AskedTicket::default(); 101] };
    let refused = [
        tracker.find_many(&many).unwrap_err(),
        tracker.state(&tickets).unwrap_err(),
        tracker.receive(&WebhookHead::default(), &vec![0; (256 << 10) + 1]).unwrap_err(),
    ];
    assert!(
        refused.iter().all(|error| error.message.starts_with("no host asks so")),
        "{refused:?}"
    );
}

/// Asks for HTTP and for a text where it may not.
struct Curious;

impl TicketPlugin for Curious {
    const ABOUT: About =
        About { name: "curious", offers: &[Offer::State, Offer::Receive], ..About::new("1") };
    type Secret = Nothing;
    type Information = Nothing;

    fn open(_: Settings<Nothing, Nothing>) -> Result<Curious> {
        Ok(Curious)
    }

    fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
        Ok(vec![Check::passed("text", call.title()?)])
    }

    fn create(&mut self, _: &Call, _: &TicketRequest<Incident>) -> Result<Ticket> {
        Ok(Ticket { url: one().url, ..Ticket::default() })
    }

    fn state(&mut self, call: &Call, _: &StateRequest) -> Result<States> {
        call.title().map(|_| States::default())
    }

    fn receive(&mut self, call: &Call, _: &Webhook) -> Result<Received> {
        let answer = call.http(ticket_plugin_api::Request::get(one().url));
        Ok(Received { forged: answer.err().map(|error| error.to_string()), ..Received::default() })
    }
}

#[test]
fn the_test_kit_denies_what_hosts_deny() {
    let mut curious = testkit::open::<Curious>("https://x.org", json!({}), json!({})).unwrap();
    curious.create(json!({"description": "x"}), "key").unwrap();
    for error in
        [curious.check().unwrap_err(), curious.state(&StateRequest::default()).unwrap_err()]
    {
        assert!(error.message.contains("no incident in this call"), "{error}");
    }
    let received = curious.receive(&WebhookHead::default(), b"{}").unwrap();
    assert!(received.forged.unwrap().contains("may not use the network"));
}

/// Has nothing but what every plugin has.
struct Bare;

impl TicketPlugin for Bare {
    const ABOUT: About = About { name: "bare", ..About::new("1") };
    type Secret = Nothing;
    type Information = Nothing;

    fn open(_: Settings<Nothing, Nothing>) -> Result<Bare> {
        Ok(Bare)
    }

    fn check(&mut self, _: &Call) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    fn create(&mut self, _: &Call, _: &TicketRequest<Incident>) -> Result<Ticket> {
        Ok(Ticket { url: one().url, ..Ticket::default() })
    }
}

#[test]
fn what_a_plugin_does_not_offer_is_not_in_its_table() {
    assert_eq!(testkit::table::<Bare>().offers(), ["find"]);
    let all = ["find", "find_many", "update", "state", "receive", "changes"];
    assert_eq!(testkit::table::<Tracker>().offers(), all);
    let mut bare = testkit::open::<Bare>("https://x.org/", json!({}), json!({})).unwrap();
    let refused = [
        bare.find_many(&FindMany::default()).unwrap_err(),
        bare.update(&one(), json!({}), &step(Action::Comment), false).unwrap_err(),
        bare.state(&StateRequest::default()).unwrap_err(),
        bare.receive(&WebhookHead::default(), b"").unwrap_err(),
        bare.changes(&ChangesRequest::default()).unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.kind == ErrorKind::Unsupported), "{refused:?}");
    let manifest = testkit::manifest::<Tracker>();
    assert_eq!((manifest.actions, manifest.marks), (vec!["comment".into(), "close".into()], true));
}
