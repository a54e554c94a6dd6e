//! Measures growth: what it costs to accept and to claim an incident as the queue fills, and to start as
//! plugins are added.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host::Kind;
use ticket_host::machine::Policy;
use ticket_host::store::{Failure, Identity, New, Outcome, Sqlite, Store, Term, Timestamp, Which};
use ticket_host_tests::{Answer, Installation, Service, c_plugin, desk, library_name};

use crate::process;
use crate::report::{Goal, Part, Report};
use crate::statistics::{Sample, figure, interleaved_each, timed};

const CLIENTS: usize = 64;
/// Rows in the largest store. With these it has 15 GB.
const MOST: usize = 10_000_000;

pub fn measure(report: &mut Report) {
    accepting(report);
    queues(report);
    directories(report);
}

/// A service whose ticket system asks for a pause of an hour, so that all that it accepts stays queued.
fn service() -> (Installation, Service) {
    let desk = desk(|_| Some(Answer::status(429).header("Retry-After", "3600")));
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue/queue.db\"\n";
    let host = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    let service = host.serve();
    let first = json!({"description": "the first learns of the pause", "pk": -1, "source": "nav"});
    service.file(&first, 0);
    host.logged("retried", 1);
    (host, service)
}

/// An HTTP client that sends all its requests over one connection.
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

    /// Sends a request, and gives the status of the answer.
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

/// Requests per second of all clients together. `request` makes each request from its number.
pub fn rate(
    service: &Service,
    count: usize,
    status: u16,
    request: impl Fn(usize) -> Vec<u8> + Sync,
) -> f64 {
    let started = Instant::now();
    timed(count, CLIENTS, &|| {
        let (mut client, request) = (Client::new(service), &request);
        move |number| assert_eq!(client.ask(&request(number)), status)
    });
    count as f64 / started.elapsed().as_secs_f64()
}

/// A request that files an incident and doesn't wait.
pub fn filing(incident: &Value) -> Vec<u8> {
    let body = json!({"incident": incident, "wait_ms": 0}).to_string();
    let head = "POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An incident of 1 KB.
fn kilobyte(number: usize) -> Value {
    json!({"description": "gw1 is down", "pk": number, "level": number % 5 + 1,
        "source": {"name": "nav"}, "metadata": {"padding": "x".repeat(800)}})
}

fn accepting(report: &mut Report) {
    const EACH: usize = 4_000;
    const QUEUED: usize = 100_000;
    const ROUNDS: usize = 5;
    let (_host, service) = service();
    let idle = service.memory();
    let ping = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let [mut accepted, mut pinged, mut alone] = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        let from = round * EACH;
        accepted.push(rate(&service, EACH, 202, |number| filing(&kilobyte(from + number))));
        pinged.push(rate(&service, EACH, 200, |_| ping.to_vec()));
        alone.push(one_by_one());
    }
    let from = ROUNDS * EACH;
    rate(&service, QUEUED - from, 202, |number| filing(&kilobyte(from + number)));
    let full = service.memory();
    let [accepted, pinged, alone]: [Sample; 3] =
        [accepted, pinged, alone].map(|values| values.into_iter().collect());
    let title = format!("Accepting: incidents of 1 KB, {CLIENTS} clients on the same cores");
    let part = report.part(&title, &["", "per second: median (p10 to p90)", "x accepted"]);
    for (name, rates) in [
        ("stored and answered 202", &accepted),
        ("/healthz, nothing stored", &pinged),
        ("the store alone, a commit for each", &alone),
    ] {
        let ratio = figure(rates.median() / accepted.median());
        part.row(&[name.to_owned(), rates.to_string(), ratio]);
    }
    part.goal(Goal::at_least("accepted per second", accepted.median(), 20_000.0));
    let [idle, full] = [idle, full].map(|kilobytes| kilobytes as f64 / 1024.0);
    part.goal(Goal::at_most("MB resident, idle", idle, 60.0));
    part.goal(Goal::at_most("MB resident, 100,000 queued", full, 60.0));
}

fn new(number: usize) -> New {
    New {
        identity: Identity::of_key(&format!("nav#{number}")),
        key: format!("nav#{number}"),
        began: String::new(),
        backend: "b".to_owned(),
        is_named: false,
        level: (number % 5 + 1) as i64,
        incident: json!({"description": "gw1 is down", "padding": "x".repeat(800)}).to_string(),
        wanted: true,
        tell: false,
        reopen: true,
        certain: true,
        began_at: None,
        open: true,
        reports: false,
        ticket_url: None,
    }
}

const TERM: Term = Term {
    lease: Duration::from_secs(60),
    policy: Policy { retry_for: WEEK, settle: Duration::ZERO, least_tries: 10 },
    only_certain: false,
    tries: None,
};
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn policy() -> Policy {
    TERM.policy
}

/// Incidents that are accepted in a second by a client that waits for each before it files the next one.
fn one_by_one() -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_directory, store) = store().await;
        let started = Instant::now();
        for number in 0..500 {
            store.accept(new(number), policy(), None).await.unwrap();
        }
        500.0 / started.elapsed().as_secs_f64()
    })
}

async fn store() -> (tempfile::TempDir, Arc<Sqlite>) {
    let directory = tempfile::tempdir_in(ticket_host_tests::built()).unwrap();
    let path = directory.path().join("queue.db");
    let store = Sqlite::open_alone(&path, 64 << 30).await.unwrap();
    (directory, Arc::new(store))
}

fn queues(report: &mut Report) {
    let columns = ["rows queued", "accept, us", "x", "claim and put back, us", "x"];
    let part = report.part("Growth: one accept, and one claim, with their commits", &columns);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_directory, store) = store().await;
        let (mut rows, mut first) = (0, None);
        for size in [1_000, 10_000, 100_000, 1_000_000, MOST] {
            const EACH: usize = 300;
            fill(&store, rows, size - EACH).await;
            rows = size;
            let (mut accepts, mut claims) = (Vec::new(), Vec::new());
            for number in size - EACH..size {
                let started = Instant::now();
                store.accept(new(number), policy(), None).await.unwrap();
                accepts.push(started.elapsed().as_secs_f64() * 1e6);
                let started = Instant::now();
                let claim = store.claim("b", Which::All, 1, TERM).await.unwrap().remove(0);
                claims.push(started.elapsed().as_secs_f64() * 1e6);
                let failure = Failure { kind: Kind::Client, message: String::new(), help: None };
                let outcome = Outcome::Again { after: Duration::ZERO, failure };
                store.settle(Arc::new(claim), Timestamp::now(), outcome, policy()).await.unwrap();
            }
            let [accepts, claims]: [Sample; 2] =
                [accepts, claims].map(|times| times.into_iter().collect());
            let now = [accepts.median(), claims.median()];
            let first = *first.get_or_insert(now);
            let [accept, claim] = [0, 1].map(|which| now[which] / first[which]);
            part.row(&[
                size.to_string(),
                accepts.to_string(),
                figure(accept),
                claims.to_string(),
                figure(claim),
            ]);
            if size == MOST {
                part.goal(Goal::at_most("accept, 10,000,000 rows / 1,000", accept, 1.5));
                part.goal(Goal::at_most("claim, 10,000,000 rows / 1,000", claim, 1.5));
            }
        }
    });
}

/// Accepts many incidents at once, so that they share the store's commits.
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
                store.accept(new(number), policy(), None).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}

fn directories(report: &mut Report) {
    let columns = ["plugins", "plugins list, ms", "x", "serve idle, MB", "x"];
    let part = report.part("Growth: plugins in the directory", &columns);
    let counts = [1, 10, 50, 200];
    let hosts = counts.map(many);
    let mut lists = hosts.each_ref().map(|host| || drop(host.run(&["plugins", "list"]).ended(0)));
    let mut rivals = lists.each_mut().map(|list| list as &mut dyn FnMut());
    let times = interleaved_each(10, &mut rivals);
    let memory = hosts.each_ref().map(|host| process::memory(host.serve().id()) as f64 / 1024.0);
    rows(part, &counts, &times, &memory);
}

fn rows(part: &mut Part, counts: &[usize], times: &[Sample], memory: &[f64]) {
    for ((count, time), megabytes) in counts.iter().zip(times).zip(memory) {
        part.row(&[
            count.to_string(),
            time.map(|microseconds| microseconds / 1e3).to_string(),
            figure(time.median() / times[0].median()),
            figure(*megabytes),
            figure(megabytes / memory[0]),
        ]);
    }
    let last = counts.len() - 1;
    let each = (times[last].median() - times[0].median()) / (counts[last] - counts[0]) as f64;
    part.goal(Goal::at_most("ms for each further plugin", each / 1e3, 5.0));
    let each = (memory[last] - memory[0]) / (counts[last] - counts[0]) as f64;
    part.goal(Goal::at_most("KB for each further plugin", each * 1024.0, 20.0));
}

/// An installation with so many plugins.
fn many(count: usize) -> Installation {
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue/queue.db\"\n";
    let host = Installation::with(&c_plugin("webhook"), "https://tickets.example.org", rest);
    add_plugins(&host, count - 1);
    host
}

/// Adds so many plugins that no backend uses. All are the webhook plugin, in whose library the name is replaced by
/// another one of the same length.
pub fn add_plugins(host: &Installation, count: usize) {
    let webhook = fs::read(c_plugin("webhook")).unwrap();
    for number in 0..count {
        let name = format!("hook{number:03}");
        let mut library = webhook.clone();
        let positions: Vec<usize> = library
            .windows(7)
            .enumerate()
            .filter(|(_, w)| w == b"webhook")
            .map(|(at, _)| at)
            .collect();
        for at in positions {
            library[at..at + 7].copy_from_slice(name.as_bytes());
        }
        fs::write(host.path("plugins").join(library_name(&name)), library).unwrap();
    }
}
