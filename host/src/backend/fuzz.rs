//! A test that no bytes which a worker writes into its pipe, and nothing that a plugin says of itself, make the
//! host panic.
//!
//! It makes frames like a worker's, with members at their bounds and beyond, and in the last frame of each call
//! turns bits and takes out or puts in bytes. `FUZZ_SECONDS` says for how long (one second if it isn't set),
//! `FUZZ_SEED` with which seed of the random numbers to begin.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use ticket_plugin_api::Ticket;
use ticket_plugin_api::abi::host_side::{BadReply, HttpAnswer, HttpRequest, Returned};
use ticket_plugin_api::message::Checks;
use url::Url;

use super::call::{CallContext, LogAllowance, Mode, PANICKED, Services, Time};
use super::gateway::{Fence, Gateway, Route};
use super::redact::Redactor;
use super::reply;
use super::template::{Given, Templates};
use crate::plugins::manifest;
use crate::worker::{Peer, converse_with};

pub(super) fn services() -> Arc<Services> {
    // Nobody listens there: a request that is let out is refused by this machine at once.
    let endpoint = Url::parse("http://127.0.0.1:1/").unwrap();
    let gateway = Gateway::new(Route {
        fence: Arc::new(Fence::new(&endpoint, Vec::new())),
        ca_file: None,
        proxy: None,
        max_response: 1000,
        user_agent: "fuzz".to_owned(),
        requests_per_second: None,
        backend: "fuzz".to_owned(),
        metrics: Arc::default(),
    });
    let secret = json!({"token": "hunter2-the-secret"});
    Arc::new(Services {
        label: "backend fuzz (fuzz)".to_owned(),
        gateway,
        templates: Templates::new(&Given::default()).unwrap(),
        redactor: Redactor::new(&secret, &json!({})),
        not_done: Vec::new(),
        log_allowance: LogAllowance::default(),
    })
}

/// A text of a kind that some program has got wrong before, or a very long one.
fn text(random: &mut Rng) -> String {
    const TEXTS: [&str; 16] = [
        "",
        "GET",
        "POST",
        "CONNECT",
        "http://127.0.0.1:1/tickets",
        "https://evil.example.org/",
        "http://[",
        "title",
        "body",
        "html",
        "text",
        "x-\0",
        "\u{202e}\n INFO x",
        "hunter2-the-secret",
        "{}",
        "æ\u{fffd}\u{10ffff}",
    ];
    match random.u32(..20_000) {
        0 => "x".repeat(random.usize(..300_000)),
        1..20 => "x".repeat(random.usize(..20_000)),
        _ => TEXTS[random.usize(..TEXTS.len())].to_owned(),
    }
}

fn json_of(random: &mut Rng, depth: usize) -> Value {
    match random.u8(..10) {
        0 => Value::Null,
        1 => json!(random.i64(..)),
        2 => json!(u64::MAX),
        3 => json!(1e300),
        4 => json!(random.bool()),
        5 if depth > 0 => (0..random.usize(..5)).map(|_| json_of(random, depth - 1)).collect(),
        6 if depth > 0 => {
            const NAMES: [&str; 12] = [
                "url",
                "id",
                "warnings",
                "missing_fields",
                "checks",
                "name",
                "message",
                "retry",
                "retry_after_ms",
                "$ref",
                "secret_schema",
                "permissions",
            ];
            let member = |random: &mut Rng| NAMES[random.usize(..NAMES.len())].to_owned();
            (0..random.usize(..5)).map(|_| (member(random), json_of(random, depth - 1))).collect()
        }
        _ => text(random).into(),
    }
}

/// A reply, mostly with the members that plugins' replies have.
fn reply_json(random: &mut Rng) -> String {
    let value = match random.u8(..5) {
        0 => {
            json!({"url": text(random), "id": text(random), "warnings": [text(random), text(random)],
            "missing_fields": (0..random.usize(..50)).map(|_| text(random)).collect::<Vec<_>>()})
        }
        1 => json!({"message": text(random), "retry": "later", "retry_after_ms": random.u64(..)}),
        2 => {
            json!({"checks": [{"name": text(random), "ok": random.bool(), "message": text(random)}]})
        }
        _ => json_of(random, 5),
    };
    value.to_string()
}

/// The head and the body of a frame. Its form is right, though its members don't always keep their bounds.
fn frame(random: &mut Rng) -> (String, Vec<u8>) {
    let quoted = |text: String| Value::from(text).to_string();
    match random.u8(..12) {
        0..4 => {
            let mut head = format!(
                "{{\"Http\":{{\"method\":{},\"url\":{},\"headers\":[",
                quoted(text(random)),
                quoted(text(random))
            );
            let most = if random.u8(..50) == 0 { 30_000 } else { 6 };
            for n in 0..random.usize(..most) {
                let comma = if n > 0 { "," } else { "" };
                let _ = write!(head, "{comma}[\"x-{n}\",{}]", quoted(text(random)));
            }
            (head + "]}}", reply_json(random).into_bytes())
        }
        4 => {
            let (part, format) = (quoted(text(random)), quoted(text(random)));
            let head = format!("{{\"Render\":{{\"part\":{part},\"format\":{format}}}}}");
            (head, reply_json(random).into_bytes())
        }
        5..10 => {
            let line = text(random).into_bytes();
            (format!("{{\"Log\":{{\"level\":{}}}}}", random.u32(..7)), line)
        }
        10 => ("\"NotLoaded\"".to_owned(), text(random).into_bytes()),
        _ => {
            let bad = ["null", "\"NotText\"", "{\"TooLarge\":99}"][random.usize(..3)];
            let (status, replied) = (random.i32(-1..9), random.bool());
            let head = format!(
                "{{\"Returned\":{{\"status\":{status},\"replied\":{replied},\"bad\":{bad}}}}}"
            );
            (head, reply_json(random).into_bytes())
        }
    }
}

fn bytes_of((head, body): &(String, Vec<u8>)) -> Vec<u8> {
    let lengths = [head.len() as u32, body.len() as u32].map(u32::to_le_bytes).concat();
    [&lengths, head.as_bytes(), body].concat()
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..bytes.len().max(1));
        match random.u8(..5) {
            _ if bytes.is_empty() => bytes.push(random.u8(..)),
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, [b'"', b'\\', b'{', b'[', b',', 0, 0xff][random.usize(..7)]),
            _ => bytes.truncate(at),
        }
    }
}

/// A call that counts the frames which were read: each asks for something.
struct Counting {
    context: CallContext,
    asked: AtomicU64,
}

impl Peer for Counting {
    async fn http(&self, request: HttpRequest) -> HttpAnswer {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.context.http(request).await
    }

    async fn render(&self, part: String, format: String, extra: String) -> Result<String, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let rendered = self.context.render(part, format, extra).await;
        assert!(rendered.as_ref().err().is_none_or(|why| why != PANICKED), "a template panicked");
        rendered
    }

    fn log(&self, level: u32, message: &str) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.context.log(level, message);
    }

    fn printed(&self, line: &str) {
        self.context.printed(line);
    }

    fn remaining(&self) -> Duration {
        self.context.remaining()
    }
}

/// Does all that the host does with what a plugin's function returned.
fn make_of(returned: &Returned, redactor: &Redactor) {
    if let Ok(Some(ticket)) = returned.clone().parse::<Ticket>() {
        let _ = reply::ticket(&ticket, "https", redactor);
    }
    match returned.clone().parse::<Checks>() {
        Ok(checks) => drop(reply::checks(&checks.unwrap_or_default().checks, redactor)),
        Err(error) => drop(reply::text(&crate::Error::from(error).message, redactor)),
    }
    if let Ok(Some(json)) = &returned.reply {
        let _ = manifest::read(json);
    }
    if let Err(bad @ (BadReply::TooLarge(_) | BadReply::NotText)) = &returned.reply {
        let _ = bad.to_string();
    }
}

#[tokio::test]
async fn no_bytes_of_a_worker_make_the_host_panic() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(1));
    let seed = number("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("FUZZ_SEED={seed}");
    let (mut random, started) = (Rng::with_seed(seed), Instant::now());
    let services = services();
    let incident: ticket_plugin_api::Incident =
        serde_json::from_value(json!({"description": "gw1 is down"})).unwrap();
    let incident = Arc::new(incident);
    let (mut frames, mut calls) = (0_u64, 0_u64);
    while started.elapsed() < time {
        // A request that is let out takes a hundred times as long as one that isn't.
        let mode = match random.u8(..30) {
            0 => Mode::Normal,
            1..15 => Mode::DryRun,
            _ => Mode::Offline,
        };
        let time = Time::of(Duration::from_secs(60));
        let context =
            CallContext::new(Arc::clone(&services), Some(Arc::clone(&incident)), time, mode);
        let count = random.usize(1..40);
        let mut bytes = Vec::new();
        for _ in 1..count {
            bytes.extend(bytes_of(&frame(&mut random)));
        }
        let mut last = bytes_of(&frame(&mut random));
        mutate(&mut last, &mut random);
        bytes.extend(last);
        let counting = Counting { context, asked: AtomicU64::new(0) };
        if let Ok(returned) = converse_with(&bytes, &counting).await {
            make_of(&returned, &services.redactor);
        }
        let Counting { context, asked } = counting;
        let shown: usize = context.shown().iter().map(|step| step.to_string().len()).sum();
        assert!(shown < 2 << 20, "{shown}");
        // And the one that ended the call.
        frames += asked.into_inner() + 1;
        calls += 1;
    }
    println!("{frames} frames in {calls} calls, {:?}", started.elapsed());
}
