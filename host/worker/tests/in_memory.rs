//! Tests of the worker's loop without a process: it reads from memory what a host would write, and writes to
//! memory.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind::UnexpectedEof;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_host_worker::exercise::{Order, Other, Report, Run};
use ticket_host_worker::frame::{
    FrameError, FromWorker, HttpHead, LENGTHS, ToWorker, decode, encode, lengths,
};
use ticket_host_worker::serve::{Pipe, exercise, serve};
use ticket_plugin_api::abi::host_side::Operation;
use ticket_plugin_api::abi::status;
use ticket_plugin_api::testkit::table;
use ticket_plugin_api::{
    About, Call, Check, Endpoint, Extra, Format, Incident, Offer, Received, Request, Result,
    Settings, Ticket, TicketPlugin, TicketRequest, Webhook,
};

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// Asks for all that a call can ask for.
struct Curious(Settings<Nothing, Nothing>);

impl TicketPlugin for Curious {
    const ABOUT: About =
        About { name: "curious", offers: &[Offer::Receive], ..About::new("1.0.0") };
    type Secret = Nothing;
    type Information = Nothing;

    fn open(settings: Settings<Nothing, Nothing>) -> Result<Curious> {
        Ok(Curious(settings))
    }

    fn check(&mut self, _: &Call) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    fn create(&mut self, call: &Call, _: &TicketRequest<Incident>) -> Result<Ticket> {
        let body = call.body(Format::Text, &Extra::default())?;
        let request = Request::post(Endpoint::new(&self.0.endpoint).join("tickets")).json(&body);
        let answer = call.http(request)?;
        let url = String::from_utf8_lossy(&answer.body).into_owned();
        let has_long = call.remaining() > Duration::from_secs(10);
        let id = if has_long { "has long" } else { "has little time" }.to_owned();
        Ok(Ticket { url, id, ..Ticket::default() })
    }

    fn receive(&mut self, _: &Call, webhook: &Webhook) -> Result<Received> {
        let told =
            format!("{} {:?} {}", webhook.head.method, webhook.body, webhook.head.headers.len());
        Ok(Received { answer: Some(told), ..Received::default() })
    }
}

/// A frame with its body.
fn whole(head: &ToWorker, body: &[u8]) -> Vec<u8> {
    [&encode(head, body.len()).unwrap()[..], body].concat()
}

/// What the host says, in this order, and then it closes the pipe.
fn said(frames: &[(ToWorker, &str)]) -> Vec<u8> {
    let bytes = frames.iter().map(|(head, body)| whole(head, body.as_bytes()));
    bytes.collect::<Vec<_>>().concat()
}

/// Runs a worker that hears `input`: how it ended, and what it said.
fn run(input: &[u8]) -> (FrameError, Vec<(FromWorker, String)>) {
    let mut output = Vec::new();
    let ended = serve(&mut Pipe::new(input, &mut output), &table::<Curious>()).unwrap_err();
    (ended, frames(&output))
}

/// The frames that a worker wrote.
fn frames(output: &[u8]) -> Vec<(FromWorker, String)> {
    let mut said = Vec::new();
    let mut rest = output;
    while let Some((start, after)) = rest.split_first_chunk::<LENGTHS>() {
        let (head, body) = lengths(*start).unwrap();
        let text = String::from_utf8(after[head..head + body].to_vec()).unwrap();
        said.push((decode(&after[..head], body).unwrap(), text));
        rest = &after[head + body..];
    }
    said
}

fn open() -> (ToWorker, &'static str) {
    let settings = r#"{"endpoint": "https://x.org", "secret": {}, "information": {}}"#;
    (ToWorker::Open { remaining_ms: 1000 }, settings)
}

fn create() -> (ToWorker, &'static str) {
    let request = r#"{"incident": {"description": "gw1 is down"}, "key": "k"}"#;
    (ToWorker::Call { operation: Operation::Create, remaining_ms: 1000 }, request)
}

fn returned(frame: &(FromWorker, String)) -> (i32, &str) {
    let FromWorker::Returned { status, .. } = frame.0 else { panic!("{frame:?}") };
    (status, &frame.1)
}

fn closed(ended: &FrameError) -> bool {
    matches!(ended, FrameError::Pipe(cause) if cause.kind() == UnexpectedEof)
}

#[test]
fn a_text_that_was_filled_in_before_is_not_asked_for_and_another_one_or_the_next_calls_is() {
    let answer = || HttpHead::Answered { status: 201, headers: Vec::new() };
    let remaining_ms = 60_000;
    let (_, said_once) = run(&said(&[open(), create()]));
    let (FromWorker::Render { part, format }, extra) = &said_once[1] else {
        panic!("{said_once:?}")
    };
    let filled = |part: &str| {
        let (part, format, extra) = (part.to_owned(), format.clone(), extra.clone());
        (ToWorker::Filled { part, format, extra }, "filled in before")
    };
    let (ended, said_then) = run(&said(&[
        open(),
        filled(part),
        create(),
        (ToWorker::Http { answer: answer(), remaining_ms }, "https://x.org/1"),
        filled("another"),
        create(),
        (ToWorker::Rendered { ok: true }, "asked for"),
        (ToWorker::Http { answer: answer(), remaining_ms }, "https://x.org/2"),
        create(),
    ]));
    assert!(closed(&ended), "{ended}");
    let bodies: Vec<&str> = said_then.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(bodies[1], r#""filled in before""#, "{said_then:?}");
    assert!(matches!(said_then[3].0, FromWorker::Render { .. }), "{said_then:?}");
    assert_eq!(bodies[4], r#""asked for""#);
    assert!(matches!(said_then[6].0, FromWorker::Render { .. }), "that was the last call's");
}

#[test]
fn a_call_asks_the_host_for_texts_and_requests_and_replies() {
    let answer = HttpHead::Answered { status: 201, headers: Vec::new() };
    let remaining_ms = 60_000;
    let (ended, said) = run(&said(&[
        open(),
        create(),
        (ToWorker::Rendered { ok: true }, "gw1 is down, says nav"),
        (ToWorker::Http { answer, remaining_ms }, "https://x.org/1"),
    ]));
    assert!(closed(&ended), "{ended}");
    assert_eq!(said.len(), 4);
    assert_eq!(returned(&said[0]), (status::OK, ""));
    assert!(matches!(&said[1].0, FromWorker::Render { part, .. } if part == "body"));
    assert!(matches!(&said[2].0, FromWorker::Http { url, .. } if url == "https://x.org/tickets"));
    assert_eq!(said[2].1, r#""gw1 is down, says nav""#);
    let (status, reply) = returned(&said[3]);
    assert_eq!(status, status::OK);
    assert!(reply.contains(r#""url":"https://x.org/1""#), "{reply}");
    assert!(reply.contains("has long"), "an answer can lengthen the call's time: {reply}");
}

#[test]
fn a_host_that_goes_away_during_a_call_leaves_an_error_and_ends_the_worker() {
    let (ended, said) = run(&said(&[open(), create()]));
    assert!(closed(&ended), "{ended}");
    let (status, reply) = returned(said.last().unwrap());
    assert_ne!(status, status::OK);
    assert!(reply.contains("the host can't be asked"), "{reply}");
}

#[test]
fn what_no_host_sends_ends_the_worker() {
    for frames in [
        said(&[create()]),
        said(&[open(), (ToWorker::Rendered { ok: true }, "nobody asked")]),
        said(&[(ToWorker::Open { remaining_ms: 1 }, "{}"), create()]),
    ] {
        assert!(matches!(run(&frames).0, FrameError::OutOfTurn));
    }
    let mut not_text = said(&[open()]);
    *not_text.last_mut().unwrap() = 0xff;
    assert!(matches!(run(&not_text).0, FrameError::OutOfTurn));
    assert!(matches!(run(&[0xff; 8]).0, FrameError::Bound(_)));
    let mut nonsense = 4_u32.to_le_bytes().to_vec();
    nonsense.extend([0, 0, 0, 0, b'n', b'o', b'p', b'e']);
    assert!(matches!(run(&nonsense).0, FrameError::Head(_)));
}

#[test]
fn a_cut_frame_is_a_closed_pipe() {
    let whole = said(&[open()]);
    for length in [0, 5, LENGTHS + 3, whole.len() - 1] {
        assert!(closed(&run(&whole[..length]).0), "{length}");
    }
}

/// What an exerciser gets for an order, in a body.
fn order(order: &Order) -> (ToWorker, String) {
    (ToWorker::Open { remaining_ms: 60_000 }, serde_json::to_string(order).unwrap())
}

/// Exercises [`Curious`], after its creation was recorded with a ticket system that answers this URL.
fn exercised(url: &'static str, other: Option<Other>) -> Report {
    let settings = r#"{"endpoint": "https://x.org", "secret": {}, "information": {}}"#.to_owned();
    let request = create().1.to_owned();
    let answer = HttpHead::Answered { status: 201, headers: Vec::new() };
    let record = Order::Record {
        settings: settings.clone(),
        operation: Operation::Create,
        request: request.clone(),
    };
    let run = Run {
        settings,
        other,
        request,
        threads: 2,
        visits: 4,
        within_ms: 60_000,
        taken_away: true,
    };
    let (record, run) = (order(&record), order(&Order::Run(run)));
    let input = said(&[
        (record.0, &record.1),
        (ToWorker::Rendered { ok: true }, "gw1 is down, says nav"),
        (ToWorker::Http { answer, remaining_ms: 60_000 }, url),
        (run.0, &run.1),
    ]);
    let mut output = Vec::new();
    let ended = exercise(&mut Pipe::new(input.as_slice(), &mut output), &table::<Curious>());
    assert!(closed(&ended.unwrap_err()));
    let said = frames(&output);
    let (status, report) = returned(said.last().unwrap());
    assert_eq!(status, status::OK);
    serde_json::from_str(report).unwrap()
}

#[test]
fn instances_of_an_exerciser_are_answered_as_was_recorded_without_asking_the_host_again() {
    let report = exercised("https://x.org/1", None);
    assert_eq!((report.odd, report.used_elsewhere, report.visits), (None, false, 8));
}

#[test]
fn an_instance_that_shows_the_other_settings_is_told_of() {
    let settings = r#"{"endpoint": "https://y.org", "secret": {}, "information": {}}"#.to_owned();
    let other = |swaps: &[(&str, &str)]| Other {
        settings: settings.clone(),
        swaps: swaps.iter().map(|(first, its)| (first.to_string(), its.to_string())).collect(),
    };
    let differ = other(&[("https://x.org", "https://y.org")]);
    assert_eq!(exercised("https://x.org/1", Some(differ)).odd, None);
    // The second settings' endpoint is said to be another than they have, as if it came from other settings.
    let confused = other(&[("https://x.org", "https://z.org"), ("https://y.org", "https://q.org")]);
    let odd = exercised("https://x.org/1", Some(confused)).odd.unwrap();
    assert!(odd.starts_with("an instance used another instance's settings: create has"), "{odd}");
}

#[test]
fn a_webhook_reaches_the_plugin_byte_for_byte_also_with_the_longest_head() {
    let header = format!("[\"x-long\", \"{}\"]", "\\\"".repeat(30 << 10));
    let head =
        format!("{{\"method\": \"POST\", \"url\": \"https://x.org\", \"headers\": [{header}]}}");
    let (to, settings) = open();
    let receive = ToWorker::Receive { head, remaining_ms: 1000 };
    let input = [whole(&to, settings.as_bytes()), whole(&receive, b"\xff\x00{")];
    let (_, said) = run(&input.concat());
    let (FromWorker::Returned { status, .. }, reply) = &said[1] else { panic!("{said:?}") };
    assert_eq!(*status, status::OK);
    assert!(reply.contains("POST [255, 0, 123] 1"), "{reply}");
}
