//! The service against bad tokens, bad requests, slow senders and full disks.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host_tests::{Installation, Reply, Service, agent, run, rust_plugin, skipped, wait_for};

/// A host whose tickets are files.
fn local(more: &str) -> Installation {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    host.config(&format!("{more}\n{}", host.local("b")));
    host
}

const QUEUE: &str = "[queue]\npath = \"queue.db\"\n";

fn numbered(number: usize) -> Value {
    json!({"description": "gw1 is down", "pk": number, "source": {"name": "nav"}})
}

/// Sends bytes as they are, and reads until the service closes.
fn raw(service: &Service, bytes: &[u8]) -> String {
    raw_over(connect(service), bytes)
}

fn raw_over(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    // The service may close the connection before it has read everything.
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// A request that files what its body says, as the only one of its connection.
fn post_of(body: &str) -> String {
    format!(
        "POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(service.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn send(service: &Service, body: &[u8]) -> Reply {
    let sent = agent()
        .post(format!("{}/v1/tickets", service.url))
        .header("Content-Type", "application/json")
        .send(body);
    let mut response = sent.unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    Reply { status: response.status().as_u16(), headers: Vec::new(), text }
}

#[test]
fn tokens_may_do_what_their_scopes_say_and_no_more() {
    let digest = "9f735e0df9a1ddc702bf0a1a7b83033f9f7153a00c29de82cedadc9957289b05"; // testpassword
    let host = local(&format!(
        "{QUEUE}[serve.tokens.argus]\ntoken = {{ file = \"token\" }}\nscopes = [\"create\"]\n\
         [serve.tokens.noc]\nsha256 = \"{digest}\"\nscopes = [\"read\", \"admin\"]\n"
    ));
    fs::write(host.path("token"), "argus-token\n").unwrap();
    let service = host.serve();
    let ask = |method: &str, path: &str, token: &str| {
        let url = format!("{}{path}", service.url);
        let bearer = format!("Bearer {token}");
        let body = json!({"incident": numbered(1), "wait_ms": 0});
        let sent = match method {
            "GET" => agent().get(url).header("Authorization", bearer).call(),
            _ => agent().post(url).header("Authorization", bearer).send_json(body),
        };
        let mut response = sent.unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    };
    assert_eq!(ask("POST", "/v1/tickets", "argus-token").0, 202);
    for (method, path, token, status, name) in [
        ("POST", "/v1/tickets", "testpassword", 403, "forbidden"),
        ("POST", "/v1/tickets", "argus-toke", 401, "unauthorized"),
        ("POST", "/v1/tickets", "", 401, "unauthorized"),
        ("GET", "/v1/tickets", "argus-token", 403, "forbidden"),
        ("GET", "/metrics", "argus-token", 403, "forbidden"),
        ("POST", "/v1/tickets/1/retry", "argus-token", 403, "forbidden"),
        ("POST", "/v1/tickets/1/cancel", "wrong", 401, "unauthorized"),
    ] {
        let (got, text) = ask(method, path, token);
        assert_eq!(got, status, "{method} {path} {token:?}: {text}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["type"], format!("urn:ticket-host:problem:{name}"));
    }
    for (path, status) in [("/v1/tickets", 200), ("/metrics", 200), ("/v1/backends", 200)] {
        assert_eq!(ask("GET", path, "testpassword").0, status);
    }
    for open in ["/healthz", "/readyz", "/openapi.json", "/docs"] {
        service.get(open).is(200);
    }
    // The names of backends are for who may read.
    assert_eq!(service.get("/readyz").json().get("each"), None);
    assert!(ask("GET", "/readyz", "testpassword").1.contains("\"each\""));
    let without = service.get("/v1/tickets").is(401);
    assert_eq!(without.header("www-authenticate"), Some("Bearer realm=\"ticket-host\""));
    let log = host.log();
    assert!(!log.contains("argus-token") && !log.contains("no tokens"), "{log}");
}

#[test]
fn without_tokens_it_listens_on_this_machine_only_and_says_so() {
    let host = local(QUEUE);
    let elsewhere = host.run(&["serve", "--listen", "0.0.0.0:0"]).ended(3);
    elsewhere.says("would let everybody make tickets").says("[serve.tokens.NAME]");
    let service = host.serve();
    host.logged("there are no tokens", 1);
    let rebound = "POST /v1/tickets HTTP/1.1\r\nHost: evil.example.org\r\nConnection: close\r\n\
                   Content-Length: 0\r\n\r\n";
    assert!(raw(&service, rebound.as_bytes()).starts_with("HTTP/1.1 403"));
}

#[test]
fn bad_requests_are_refused_with_their_reason_and_keep_nothing() {
    let host = local(QUEUE);
    let service = host.serve();
    let deep = format!("{{\"incident\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
    for (body, status, why) in [
        (b"".as_slice(), 400, "EOF"),
        (b"{", 400, "EOF"),
        (b"nonsense", 400, "expected"),
        (b"[]", 400, "not as it should be"),
        (b"[{\"description\": \"x\"}, null, \"k\", null]", 400, "invalid type: sequence"),
        (b"{}", 400, "missing field `incident`"),
        (b"{\"incident\": []}", 400, "not a JSON object"),
        (b"{\"incident\": {}}", 400, "no description"),
        (b"{\"incident\": {\"description\": \"x\"}}", 400, "neither an argus_url"),
        (b"{\"incident\": {\"description\": \"x\"}, \"key\": \"\"}", 400, "1 to 1000"),
        (b"{\"incident\": {\"description\": \"x\"}, \"key\": \"k\", \"wait\": 1}", 400, "`wait`"),
        (
            b"{\"incident\": {\"description\": \"x\"}, \"key\": \"k\", \"backend\": \"c\"}",
            400,
            "no backend \"c\"",
        ),
        (
            b"{\"incident\": {\"description\": \"\xff\"}, \"key\": \"k\"}",
            400,
            "not as it should be",
        ),
        (deep.as_bytes(), 400, "recursion limit"),
        (&[b' '; 2 << 20], 413, "more than"),
    ] {
        let reply = send(&service, body).is(status);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{shown}: {detail}");
    }
    let plain = agent().post(format!("{}/v1/tickets", service.url)).send("{}").unwrap();
    assert_eq!(plain.status(), 415);
    // Without a length, the bound holds as well.
    let head = "POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20)).repeat(2);
    let answer = raw(&service, format!("{head}{chunk}0\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(service.get("/v1/tickets").json()["tickets"], json!([]));
    service.file(&numbered(1), 30_000).is(201);
}

/// Lets this process have as many files and connections open as it may. All tests share one process,
/// which often begins with 1024.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn a_thousand_idle_connections_and_slow_senders_cost_little_and_end() {
    raise_open_files();
    let host = local(QUEUE);
    let service = host.serve();
    service.file(&numbered(0), 30_000).is(201);
    let before = service.memory();
    let idle: Vec<TcpStream> = (0..1000).map(|_| connect(&service)).collect();
    let mut slow = connect(&service);
    slow.write_all(b"POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Ty").unwrap();
    let mut slower = connect(&service);
    slower
        .write_all(
            b"POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
              Content-Length: 1000\r\n\r\n{\"inc",
        )
        .unwrap();
    service.file(&numbered(1), 30_000).is(201);
    let grown = service.memory().saturating_sub(before);
    assert!(grown < 20_000, "{grown} KB for 1,000 connections");
    // Each of them is closed by the service, which goes on.
    for mut stream in idle {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut answer = [0; 12];
    slower.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    service.file(&numbered(2), 30_000).is(201);
}

/// Connects from an address of this machine.
#[cfg(target_os = "linux")]
async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let stream = socket.connect(to).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn who_announces_a_large_incident_and_sends_nothing_takes_nothing_from_others() {
    raise_open_files();
    let host = local(QUEUE);
    let service = host.serve();
    let silent: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect(&service);
            stream
                .write_all(
                    b"POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                      Content-Length: 1000000\r\n\r\n{",
                )
                .unwrap();
            stream
        })
        .collect();
    service.file(&numbered(1), 30_000).is(201);
    drop(silent);
}

#[cfg(target_os = "linux")]
#[test]
fn who_has_too_many_connections_gets_the_probes_and_is_told_so_for_all_else() {
    raise_open_files();
    let host = local(QUEUE);
    let service = host.serve();
    let idle: Vec<TcpStream> = (0..1400).map(|_| connect(&service)).collect();
    for probe in ["/healthz", "/readyz", "/metrics"] {
        let reply = service.get(probe).is(200);
        assert_eq!(reply.header("connection"), Some("close"), "{probe}");
    }
    for path in ["/v1/tickets", "/openapi.json", "/docs", "/nowhere"] {
        let busy = service.get(path).is(503);
        assert_eq!(busy.header("retry-after"), Some("1"), "{path}");
        assert_eq!(busy.json()["type"], "urn:ticket-host:problem:busy");
    }
    let busy = service.file(&numbered(1), 0).is(503).json();
    assert!(busy["help"].as_str().unwrap().contains("read the answers"), "{busy}");
    host.logged("there are too many connections, of 127.0.0.1 or in all", 1);
    // Another address has its own share.
    let address = service.url.trim_start_matches("http://").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let beside = runtime.block_on(connect_from(Ipv4Addr::new(127, 0, 0, 4), address));
    let body = json!({"incident": numbered(1)}).to_string();
    let answer = raw_over(beside, post_of(&body).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    drop(idle);
    wait_for("its own share to be free again", || service.get("/v1/tickets").status == 200);
}

/// Connects from an address of this machine, and sends many requests of which no answer is ever read.
#[cfg(target_os = "linux")]
async fn ask_and_never_read(from: Ipv4Addr, to: SocketAddr) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // So that answers soon find no room.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let request = "GET /v1/tickets?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // An error: it was closed already, which is as good.
    let _ = stream.write_all(request.repeat(50).as_bytes()).await;
    stream
}

/// How many sockets the process has that listens on a port of the loopback addresses. Its descriptors can't be counted:
/// they are closed even to its own user.
#[cfg(target_os = "linux")]
fn sockets(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let held = |line: &&str| {
        // See proc_net_tcp(5): the second field is the own address, the tenth is 0 if no process has the socket.
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[9] != "0"
    };
    table.lines().skip(1).filter(held).count()
}

/// Says that it is over when it is dropped, also by a test that fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks again and again, each time over a new connection, until `over`; the longest time that an answer took.
fn probe(service: &Service, path: &str, over: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        service.get(path).is(200);
        longest = longest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    longest
}

#[cfg(target_os = "linux")]
#[test]
fn clients_that_ask_and_never_read_keep_no_probe_out_and_are_closed() {
    raise_open_files();
    // A backend that isn't ready: what is filed is kept, and costs nothing more.
    let host = Installation::new();
    host.config(&format!("{QUEUE}[backends.b]\nplugin = \"none\"\nendpoint = \"https://x.org\"\n"));
    let service = host.serve();
    let padding = "k".repeat(900);
    thread::scope(|scope| {
        for client in 0..8 {
            let (service, padding) = (&service, &padding);
            scope.spawn(move || {
                for number in 0..125 {
                    let key = format!("{client}-{number}-{padding}");
                    let body = json!({"incident": {"description": "d"}, "key": key, "wait_ms": 0});
                    service.post("/v1/tickets", &body).is(500);
                }
            });
        }
    });
    let address: SocketAddr = service.url.trim_start_matches("http://").parse().unwrap();
    let before = (sockets(address.port()), service.memory());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let until = Over(&over);
        let probes = ["/healthz", "/metrics"];
        let probes = probes.map(|path| {
            let (service, over) = (&service, &over);
            scope.spawn(move || (path, probe(service, path, over)))
        });
        let mut clients = Vec::new();
        for (last, count) in [(1, 2300), (2, 400), (3, 400)] {
            for _ in 0..count {
                let from = Ipv4Addr::new(127, 0, 0, last);
                clients.push(runtime.block_on(ask_and_never_read(from, address)));
            }
        }
        // Another one's incident is accepted meanwhile.
        let beside = runtime.block_on(connect_from(Ipv4Addr::new(127, 0, 0, 4), address));
        let body = json!({"incident": numbered(1), "wait_ms": 0}).to_string();
        let answer = raw_over(beside, post_of(&body).as_bytes());
        assert!(answer.contains("the incident is kept"), "{answer}");
        wait_for("the service to close their connections", || {
            sockets(address.port()) <= before.0 + 50
        });
        drop(until);
        for probe in probes {
            let (path, longest) = probe.join().unwrap();
            println!("{path}: at most {longest:?}");
            assert!(longest < Duration::from_secs(2), "{path} took {longest:?}");
        }
    });
    let grown = service.memory().saturating_sub(before.1);
    assert!(grown < 400_000, "{grown} KB for 3,100 clients that don't read");
}

#[test]
fn bodies_that_do_not_end_take_a_bounded_part_of_memory() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = local(QUEUE);
    let service = host.serve();
    let address: SocketAddr = service.url.trim_start_matches("http://").parse().unwrap();
    // All but the last byte.
    let mut request = post_of(&"x".repeat(1_000_000)).into_bytes();
    request.pop();
    let request = std::sync::Arc::new(request);
    let unfinished = move |request: std::sync::Arc<Vec<u8>>| async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut answers, mut requests) = stream.into_split();
        let sending = tokio::spawn(async move {
            // An error: it was answered before.
            let _ = requests.write_all(&request).await;
            requests
        });
        let mut status = [0; 12];
        answers.read_exact(&mut status).await.unwrap();
        sending.abort();
        String::from_utf8(status.to_vec()).unwrap()
    };
    let before = service.memory();
    let over = AtomicBool::new(false);
    let (answers, most) = thread::scope(|scope| {
        let until = Over(&over);
        let most = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(service.memory());
                thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answers = runtime.block_on(async {
            let clients: Vec<_> = (0..400)
                .map(|_| tokio::spawn(unfinished(std::sync::Arc::clone(&request))))
                .collect();
            let mut answers = Vec::new();
            for client in clients {
                answers.push(client.await.unwrap());
            }
            answers
        });
        drop(until);
        (answers, most.join().unwrap())
    });
    let grown = most.saturating_sub(before);
    assert!(grown < 250_000, "{grown} KB for 400 bodies of 1 MB");
    let answered = |status: &str| answers.iter().filter(|answer| answer.contains(status)).count();
    assert_eq!(answered("408") + answered("503"), 400, "{answers:?}");
    // How many of each is a matter of how fast they come.
    assert!(answered("408") > 0 && answered("503") > 0, "{answers:?}");
    service.file(&numbered(1), 30_000).is(201);
}

#[test]
fn many_large_incidents_at_once_leave_memory_flat() {
    let host = local(&format!("{QUEUE}max_megabytes = 1000\n"));
    let service = host.serve();
    let mut incident = numbered(0);
    incident["metadata"] = json!({"padding": "x".repeat(900_000)});
    let fill = |from: usize| {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (service, mut incident) = (&service, incident.clone());
                scope.spawn(move || {
                    for number in 0..5 {
                        incident["pk"] = (from + client * 5 + number).into();
                        service.file(&incident, 30_000).is(201);
                    }
                });
            }
        });
    };
    fill(100);
    let before = service.memory();
    fill(200);
    fill(300);
    let grown = service.memory().saturating_sub(before);
    assert!(grown < 40_000, "{grown} KB more after 80 more incidents of 900 KB");
}

#[test]
fn a_full_store_acknowledges_nothing_that_it_does_not_keep() {
    let host = local("[queue]\npath = \"queue.db\"\nmax_megabytes = 1\n");
    let service = host.serve();
    fill_up(&host, service);
}

/// Files incidents until the store is full; then exactly what was acknowledged is there.
fn fill_up(host: &Installation, service: Service) -> Service {
    let mut incident = numbered(0);
    incident["metadata"] = json!({"padding": "x".repeat(100_000)});
    let mut acknowledged = Vec::new();
    let refused = loop {
        let number = acknowledged.len();
        incident["pk"] = number.into();
        let reply = service.file(&incident, 0);
        if reply.status != 202 {
            break reply.is(503).json();
        }
        acknowledged.push(format!("nav#{number}"));
        assert!(number < 1000, "it never fills up");
    };
    let said = refused["detail"].as_str().unwrap();
    assert!(said.contains("is full; nothing was accepted"), "{refused}\n{}", host.log());
    assert!(refused["help"].as_str().unwrap().contains("free space on its disk"), "{refused}");
    // Reading goes on.
    let page = service.get("/v1/tickets?limit=1000").is(200).json();
    let kept: Vec<&str> =
        page["tickets"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap()).collect();
    assert_eq!(kept, acknowledged);
    host.logged("is full", 1);
    service
}

/// A file system of its own that is really full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_acknowledges_nothing_that_it_does_not_keep() {
    let host = local("[queue]\npath = \"disk/queue.db\"\n");
    let disk = host.path("disk");
    fs::create_dir(&disk).unwrap();
    let Some(mounted) = Mount::new(&disk) else {
        return skipped("needs root, and that it may mount file systems");
    };
    let service = fill_up(&host, host.serve());
    mounted.grow();
    // What was kept goes on by itself.
    wait_for("the tickets that were kept", || {
        service.get("/v1/tickets?state=queued").json()["tickets"] == json!([])
    });
    service.file(&numbered(5000), 30_000).is(201);
}

/// 2 MB of memory, mounted for as long as this lives.
#[cfg(target_os = "linux")]
struct Mount<'a>(&'a Path);

#[cfg(target_os = "linux")]
impl Mount<'_> {
    fn new(place: &Path) -> Option<Mount<'_>> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(place);
        mount.output().is_ok_and(|output| output.status.success()).then(|| Mount(place))
    }

    fn grow(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,size=20m"]).arg(self.0);
        assert!(mount.status().unwrap().success());
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_store_that_cannot_be_used_keeps_the_service_from_starting_with_what_to_do() {
    let host = local(QUEUE);
    fs::write(host.path("queue.db"), "this is no database at all".repeat(100)).unwrap();
    let refused = host.run(&["serve", "--listen", "127.0.0.1:0"]).ended(3);
    refused.says("queue.db is corrupt").says("help: stop the host, keep");
    fs::remove_file(host.path("queue.db")).unwrap();
    host.run(&["queue", "list"]).ended(3).says("queue.db does not exist");

    let service = host.serve();
    let second = host.run(&["serve", "--listen", "127.0.0.1:0"]).ended(3);
    second.says("queue.db is used by another host");
    drop(service);
}

/// The command, made to obey the modes of files like anybody else's if root runs the tests.
#[cfg(target_os = "linux")]
fn bound_by_modes(command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut bound = Command::new("setpriv");
    bound.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    bound.arg(command.get_program()).args(command.get_args()).env_clear();
    bound
}

#[cfg(target_os = "linux")]
#[test]
fn a_store_that_cannot_be_written_to_keeps_the_service_from_starting() {
    use std::os::unix::fs::PermissionsExt;
    let host = local("[queue]\npath = \"store/queue.db\"\n");
    let store = host.path("store");
    fs::create_dir(&store).unwrap();
    drop(host.serve());
    // Somebody's home, for example, is closed to root if root obeys the modes.
    let mut look = Command::new("cat");
    look.arg(host.path("config.toml"));
    if !bound_by_modes(look).output().is_ok_and(|output| output.status.success()) {
        return skipped("needs setpriv, and a checkout that root may enter by its mode");
    }
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&store.join("queue.db"), 0o400);
    set(&store, 0o500);
    let refused = run(bound_by_modes(host.command(&["serve", "--listen", "127.0.0.1:0"])), b"");
    // So that it can be removed.
    set(&store, 0o700);
    refused.ended(3).says("queue.db can't be").says("let the host's user");
}
