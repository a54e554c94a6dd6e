//! What accepting, keeping and claiming incidents costs: `cargo bench -p ticket-host-tests --bench service`.
//!
//! Not a test: machines are noisy. Each figure stands beside its rival, measured in turn with it.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use ticket_host::error::Kind;
use ticket_host::store::{Failure, New, Outcome, Sqlite, Store, now};
use ticket_host_tests::{Answer, Installation, Service, c_plugin, desk};

const CLIENTS: usize = 64;
const ROUNDS: usize = 5;

fn main() {
    if std::env::args().nth(1).is_some_and(|first| first == ticket_host::worker::ARGUMENT) {
        ticket_host::worker::child::main();
        return;
    }
    accepting();
    claiming();
}

/// A service whose tickets can't be made now: what is accepted stays queued.
fn service() -> (Installation, Service) {
    let desk = desk(|_| Some(Answer::status(429).header("Retry-After", "3600")));
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\n";
    let host = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    let service = host.serve();
    service.file(
        &json!({"description": "the first learns of the pause", "pk": -1, "source": "nav"}),
        0,
    );
    host.logged("retried", 1);
    (host, service)
}

/// A client that keeps its connection.
struct Client {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Client {
    fn new(service: &Service) -> Client {
        let stream = TcpStream::connect(service.url.trim_start_matches("http://")).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream), line: String::new() }
    }

    /// Sends a request; the answer's status.
    fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.get_mut().write_all(request).unwrap();
        let (mut status, mut length) = (0, 0);
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line).unwrap();
            let line = self.line.trim_end();
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        status
    }
}

/// Requests per second of all clients together, each request made by its number.
fn rate(
    service: &Service,
    count: usize,
    status: u16,
    request: impl Fn(usize) -> Vec<u8> + Sync,
) -> f64 {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::new(service);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    assert_eq!(client.ask(&request(number)), status);
                }
            });
        }
    });
    count as f64 / started.elapsed().as_secs_f64()
}

/// An incident of 1 KB, as a request that doesn't wait.
fn file(number: usize) -> Vec<u8> {
    let incident = json!({"description": "gw1 is down", "pk": number, "level": number % 5 + 1,
        "source": {"name": "nav"}, "metadata": {"padding": "x".repeat(800)}});
    let body = json!({"incident": incident, "wait_ms": 0}).to_string();
    let head = "POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn accepting() {
    const EACH: usize = 4_000;
    const QUEUED: usize = 100_000;
    let (host, service) = service();
    let before = service.memory();
    let ping = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (mut accepted, mut pinged, mut from) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        accepted.push(rate(&service, EACH, 202, |number| file(from + number)));
        from += EACH;
        pinged.push(rate(&service, EACH, 200, |_| ping.to_vec()));
    }
    let alone = one_by_one();
    let (accepted, pinged) = (median(&mut accepted), median(&mut pinged));
    println!("accepting incidents of 1 KB, {CLIENTS} clients, both on this machine's cores");
    println!("  stored and answered 202     {accepted:>9.0} /s   (goal: 3,000 /s)");
    println!("  /healthz, nothing stored    {pinged:>9.0} /s   {:.2} x", pinged / accepted);
    println!("  stored, a commit for each   {alone:>9.0} /s   {:.2} x", alone / accepted);
    rate(&service, QUEUED - from, 202, |number| file(from + number));
    let after = service.memory();
    println!(
        "memory of the service: {:.1} MB idle, {:.1} MB with {QUEUED} queued (goal: under 60 MB)\n",
        before as f64 / 1024.0,
        after as f64 / 1024.0
    );
    drop(service);
    drop(host);
}

fn new(number: usize) -> New {
    New {
        backend: "b".to_owned(),
        key: format!("nav#{number}"),
        level: (number % 5 + 1) as i64,
        incident: json!({"description": "gw1 is down", "padding": "x".repeat(800)}).to_string(),
        expires_at: now() + 1_000_000_000,
        tell_argus: None,
        reopen: true,
    }
}

/// Accepts per second of one who waits for each.
fn one_by_one() -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_directory, store) = store().await;
        let started = Instant::now();
        for number in 0..500 {
            store.accept(new(number)).await.unwrap();
        }
        500.0 / started.elapsed().as_secs_f64()
    })
}

async fn store() -> (tempfile::TempDir, Arc<Sqlite>) {
    let directory = tempfile::tempdir_in(ticket_host_tests::built()).unwrap();
    let path = directory.path().join("queue.db");
    let store = Sqlite::open_alone(&path, 16 << 30, Duration::ZERO).await.unwrap();
    (directory, Arc::new(store))
}

fn claiming() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_directory, store) = store().await;
        let mut rows = 0;
        let mut first = None;
        println!("claiming the next of many queued, with its commit, and putting it back");
        for size in [1_000, 10_000, 100_000, 1_000_000] {
            fill(&store, rows, size).await;
            rows = size;
            let mut times = Vec::new();
            for _ in 0..500 {
                let started = Instant::now();
                let claim = store.claim("b", 1, Duration::from_secs(60)).await.unwrap().remove(0);
                times.push(started.elapsed().as_secs_f64() * 1e6);
                let failure = Failure { kind: Kind::Client, message: String::new(), help: None };
                let outcome = Outcome::Again { at: 0, failure };
                store.settle(&claim, now(), outcome).await.unwrap();
            }
            let time = median(&mut times);
            let first = *first.get_or_insert(time);
            println!(
                "  {size:>9} rows  {time:>8.1} us   {:.2} x  (goal: within 1.5 x)",
                time / first
            );
        }
    });
}

/// Accepts many at once, so that they share commits.
async fn fill(store: &Arc<Sqlite>, from: usize, to: usize) {
    let next = Arc::new(AtomicUsize::new(from));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..256 {
        let (store, next) = (Arc::clone(store), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return;
                }
                store.accept(new(number)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
