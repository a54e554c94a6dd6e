//! Several hosts on one PostgreSQL. `tests/real/postgres.sh` installs one, and runs these; each starts a server of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use ticket_host_tests::postgres::{Postgres, as_postgres, give_away, program};
use ticket_host_tests::{
    Answer, Installation, Service, Stub, c_plugin, desk, key_of, post, ticket_of, wait_for,
};

use crate::chaos::{System, TOLD_AT_ONCE, lives, seeded, tickets_by_chance};
use crate::clock;

const HOUR: i64 = 3600;

/// What lies between one host and the database.
struct Network {
    port: u16,
    /// Nothing goes through, and nobody is told so.
    is_cut: Arc<AtomicBool>,
}

impl Network {
    fn to(port: u16) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        let network =
            Network { port: listener.local_addr().unwrap().port(), is_cut: Arc::clone(&is_cut) };
        thread::spawn(move || {
            for here in listener.incoming().flatten() {
                let Ok(there) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&here, &there), (&there, &here)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let is_cut = Arc::clone(&is_cut);
                    thread::spawn(move || pass(from, to, &is_cut));
                }
            }
        });
        network
    }
}

/// Passes on what comes from one side, as long as the network isn't cut.
fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        while is_cut.load(Ordering::Relaxed) {
            // This waits for nothing but that somebody mends the network.
            thread::sleep(Duration::from_millis(10));
        }
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// A host on the database behind that port. `rest` are the backend's other settings.
fn host_on(port: u16, endpoint: &str, rest: &str) -> Installation {
    let timeout = if rest.contains("call_timeout") { "" } else { "call_timeout_seconds = 1\n" };
    let rest = format!(
        "secret = {{ token = \"t\" }}\n{timeout}{rest}[queue]\nsettle_seconds = 2\n\
         longest_wait_seconds = 4\npath = \"state/queue.db\"\nurl = \"postgres://postgres@127.0.0.1:{port}/tickets\"\n"
    );
    Installation::with(&c_plugin("webhook"), endpoint, &rest)
}

/// A desk that answers 503 while it is down.
fn desk_that_may_be_down(is_down: &Arc<AtomicBool>) -> Stub {
    let down = Arc::clone(is_down);
    desk(move |_| down.load(Ordering::Relaxed).then(|| Answer::status(503)))
}

/// Whether a host holds its backend since the ticket system is down.
fn finds_it_down(service: &Service) -> bool {
    service.get("/readyz").text.contains("down")
}

/// Files incidents of the numbers behind this one at each of the hosts until something is so.
fn file_until(services: &[&Service], number: &mut usize, is_so: impl Fn() -> bool) {
    wait_for("enough incidents", || {
        *number += 1;
        for service in services {
            service.post("/v1/tickets", &numbered(*number, 0)).is(202);
        }
        let until = Instant::now() + Duration::from_secs(1);
        wait_for("their calls", || is_so() || Instant::now() > until);
        is_so()
    });
}

/// With a time for calls that is longer than the pauses of who holds a backend.
const PATIENT: &str = "call_timeout_seconds = 30\n";

fn numbered(number: usize, wait_ms: usize) -> Value {
    let incident = json!({"description": "gw1 is down", "pk": number, "level": number % 5 + 1,
        "source": {"name": "nav"}});
    json!({"incident": incident, "key": format!("k{number}"), "wait_ms": wait_ms})
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn three_hosts_make_one_ticket_each_whatever_is_killed_cut_or_set() {
    let incidents: usize =
        std::env::var("POSTGRES_INCIDENTS").map_or(1000, |number| number.parse().unwrap());
    let mut random = seeded();
    let (system, stub) = System::new(random.fork());
    let mut server = Postgres::start();
    let networks: Vec<Network> = (0..3).map(|_| Network::to(server.port)).collect();
    let hosts: Vec<Installation> = networks
        .iter()
        .map(|network| host_on(network.port, &stub.url, "concurrency = 16\n"))
        .collect();
    let start = |index: usize| clock::serve(&hosts[index], [0, HOUR, -HOUR][index]);
    let urls: [Mutex<String>; 3] = Default::default();
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    let file = |number: usize, host: usize| {
        let body = numbered(number, 100);
        wait_for("a host to take an incident", || {
            let url = urls[host].lock().unwrap().clone();
            !url.is_empty()
                && post(&url, "/v1/tickets", &body).is_ok_and(|r| (200..300).contains(&r.status))
        });
    };
    let services = thread::scope(|scope| {
        let mut filing = Vec::new();
        for _ in 0..12 {
            filing.push(scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= incidents {
                        return;
                    }
                    // Each incident is posted to two of the hosts, at once.
                    let left_out = number % 3;
                    thread::scope(|scope| {
                        for host in (0..3).filter(|host| *host != left_out) {
                            scope.spawn(move || file(number, host));
                        }
                    });
                }
            }));
        }
        let run = |index: usize| {
            let service = start(index);
            *urls[index].lock().unwrap() = service.url.clone();
            service
        };
        let mut services: Vec<Service> = (0..3).map(run).collect();
        let mut rounds = 0;
        // This waits for nothing: it makes the moments random.
        let mut pause = |most| thread::sleep(Duration::from_millis(random.u64(0..most)));
        while !filing.iter().all(thread::ScopedJoinHandle::is_finished) || rounds < 8 {
            pause(1500);
            match rounds % 4 {
                0 | 2 => {
                    let index = rounds / 2 % 3;
                    services.remove(index).kill();
                    urls[index].lock().unwrap().clear();
                    pause(500);
                    services.insert(index, run(index));
                }
                1 => {
                    let network = &networks[rounds / 4 % 3];
                    network.is_cut.store(true, Ordering::Relaxed);
                    pause(12_000);
                    network.is_cut.store(false, Ordering::Relaxed);
                }
                _ => {
                    server.kill();
                    pause(2000);
                    server.start_again();
                }
            }
            rounds += 1;
        }
        println!("{rounds} kills and cuts; all was accepted after {:?}", began.elapsed());
        services
    });
    // Claims of hosts that were killed last until their leases end.
    let created = || {
        let counted = "SELECT count(*) FROM ticket_host.steps WHERE state = 'created'";
        server.try_sql("tickets", counted).is_some_and(|rows| rows == incidents.to_string())
    };
    for _ in 0..4 {
        if created() {
            break;
        }
        let until = Instant::now() + Duration::from_secs(50);
        wait_for("more tickets", || created() || Instant::now() > until);
    }
    println!("all were created after {:?}", began.elapsed());
    system.has_one_each_of(incidents);
    let rows = services[0].get("/v1/tickets?state=created&limit=1").json();
    assert_eq!(rows["tickets"].as_array().unwrap().len(), 1);
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn tickets_follow_their_incidents_though_three_hosts_are_killed_again_and_again() {
    let mut random = seeded();
    let (tickets, stub) = tickets_by_chance(&mut random);
    let server = Postgres::start();
    let hosts: Vec<Installation> = (0..3)
        .map(|_| host_on(server.port, &stub.url, &format!("concurrency = 16\n{TOLD_AT_ONCE}")))
        .collect();
    lives(&hosts, &tickets, 100, &mut random);
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn without_its_database_a_host_refuses_at_once_and_goes_on_when_it_is_back() {
    let mut server = Postgres::start();
    let desk = desk(|_| None);
    let host = host_on(server.port, &desk.url, "");
    let service = host.serve();
    service.post("/v1/tickets", &numbered(1, 5000)).is(201);
    server.kill();
    service.post("/v1/tickets", &numbered(2, 5000)).is(503);
    let started = Instant::now();
    let reply = service.post("/v1/tickets", &numbered(2, 5000)).is(503);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(reply.text.contains("can't be reached"), "{}", reply.text);
    assert!(reply.text.contains("nothing is lost that was accepted"), "{}", reply.text);
    assert_eq!(service.get("/readyz").status, 503);
    server.start_again();
    wait_for("the host to accept", || {
        service.post("/v1/tickets", &numbered(2, 5000)).status == 201
    });
    assert_eq!(desk.posted(), ["k1", "k2"]);
    host.logged("the store goes on", 1);
    assert_eq!(service.stop(), 0);
    // systemd starts it again, as nothing need be changed for that.
    server.kill();
    host.run(&["serve", "--listen", "127.0.0.1:0"]).ended(4).says("can't be reached");
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn who_asks_one_host_for_a_ticket_that_another_one_makes_gets_it() {
    let server = Postgres::start();
    let (asked, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counts, waits) = (Arc::clone(&asked), Arc::clone(&answers));
    let desk = Stub::new(move |seen| {
        if seen.method == "GET" {
            return Answer::status(204);
        }
        counts.fetch_add(1, Ordering::Relaxed);
        wait_for("the other host to be asked", || waits.load(Ordering::Relaxed));
        Answer::status(201).header("Location", &ticket_of(&key_of(seen)))
    });
    let hosts = [(); 2].map(|()| host_on(server.port, &desk.url, ""));
    let services: Vec<Service> = hosts.iter().map(Installation::serve).collect();
    thread::scope(|scope| {
        let first = scope.spawn(|| services[0].post("/v1/tickets", &numbered(1, 20_000)));
        wait_for("the creation", || asked.load(Ordering::Relaxed) == 1);
        let second = services[1].post("/v1/tickets", &numbered(1, 0)).is(202);
        assert_eq!(second.json()["state"], "creating");
        answers.store(true, Ordering::Relaxed);
        let second = services[1].post("/v1/tickets", &numbered(1, 20_000)).is(200).json();
        assert_eq!(second["ticket"]["url"], ticket_of("k1"));
        first.join().unwrap().is(201);
    });
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn a_limit_of_fifty_requests_a_second_is_one_for_three_hosts_and_so_is_a_pause() {
    let server = Postgres::start();
    let times = Arc::new(Mutex::new(Vec::new()));
    let (seen, refuses) = (Arc::clone(&times), Arc::new(AtomicBool::new(false)));
    let refused = Arc::clone(&refuses);
    let desk = desk(move |request| {
        if request.method == "POST" {
            seen.lock().unwrap().push(Instant::now());
            let refuses = refused.swap(false, Ordering::Relaxed);
            return refuses.then(|| Answer::status(429).header("Retry-After", "4"));
        }
        None
    });
    let rest = "concurrency = 8\nrequests_per_second = 50\n";
    let hosts = [(); 3].map(|()| host_on(server.port, &desk.url, rest));
    let services: Vec<Service> = hosts.iter().map(Installation::serve).collect();
    // Known to be new, so that each ticket is one request.
    server.is_known_for_long("tickets");
    let began = services[0].just_now();
    let file = |numbers: std::ops::Range<usize>| {
        thread::scope(|scope| {
            for (host, service) in services.iter().enumerate() {
                for number in numbers.clone().filter(|number| number % 3 == host) {
                    let mut new = numbered(number, 60_000);
                    new["incident"]["start_time"] = began.clone().into();
                    scope.spawn(move || service.post("/v1/tickets", &new).is(201));
                }
            }
        });
    };
    file(0..180);
    let all = std::mem::take(&mut *times.lock().unwrap());
    assert_eq!(all.len(), 180);
    // In no second more than fifty, and those that a batch of a tenth of a second may be ahead or behind on each host.
    let busiest = all.iter().map(|from| {
        all.iter().filter(|at| **at >= *from && **at < *from + Duration::from_secs(1)).count()
    });
    let busiest = busiest.max().unwrap();
    let took = all.iter().max().unwrap().duration_since(*all.iter().min().unwrap());
    println!("180 requests of three hosts in {took:?}, {busiest} in the busiest second");
    assert!(busiest <= 65, "{busiest}");
    assert!(took >= Duration::from_millis(2900), "{took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");

    // What one host was asked to wait the others wait, too.
    refuses.store(true, Ordering::Relaxed);
    let number = 200;
    thread::scope(|scope| {
        scope.spawn(|| services[0].post("/v1/tickets", &numbered(number, 60_000)));
        wait_for("the pause to be known to all", || {
            let paused = "SELECT count(*) FROM ticket_host.backends WHERE paused > extract(epoch FROM now()) * 1000";
            server.sql("tickets", paused) == "1"
        });
        wait_for("another host to heed it", || services[1].get("/readyz").text.contains("paused"));
    });
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn of_three_hosts_one_at_a_time_finds_out_whether_the_ticket_system_is_back_and_then_all_go_on() {
    let server = Postgres::start();
    let (is_down, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (down, counts) = (Arc::clone(&is_down), Arc::clone(&asked));
    let made = Arc::new(Mutex::new(Vec::new()));
    let makes = Arc::clone(&made);
    let desk = desk(move |seen| {
        counts.fetch_add(1, Ordering::Relaxed);
        if down.load(Ordering::Relaxed) {
            return Some(Answer::status(503));
        }
        if seen.method == "POST" {
            makes.lock().unwrap().push(key_of(seen));
        }
        None
    });
    let hosts = [(); 3].map(|()| host_on(server.port, &desk.url, PATIENT));
    let services: Vec<Service> = hosts.iter().map(Installation::serve).collect();
    let mut number = 0;
    for service in &services {
        file_until(&[service], &mut number, || finds_it_down(service));
    }
    // Each by itself would ask every three or four seconds.
    let (before, began) = (asked.load(Ordering::Relaxed), Instant::now());
    wait_for("five more requests", || asked.load(Ordering::Relaxed) >= before + 5);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(7), "{took:?}");
    is_down.store(false, Ordering::Relaxed);
    let began = Instant::now();
    wait_for("all hosts to go on", || services.iter().all(|service| !finds_it_down(service)));
    let went_on = began.elapsed();
    println!("down: five requests of three hosts in {took:?}; back: all went on after {went_on:?}");
    assert!(went_on < Duration::from_secs(10), "{went_on:?}");
    wait_for("all tickets", || {
        let rows = "SELECT count(*) FROM ticket_host.steps WHERE state <> 'created'";
        server.sql("tickets", rows) == "0"
    });
    let mut made = made.lock().unwrap().clone();
    made.sort_unstable();
    let mut expected: Vec<String> = (1..=number).map(|number| format!("k{number}")).collect();
    expected.sort_unstable();
    assert_eq!(made, expected, "one ticket each");
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn a_host_with_a_wrong_secret_keeps_no_other_from_going_on_after_an_outage() {
    let server = Postgres::start();
    let is_down = Arc::new(AtomicBool::new(false));
    let refuses = desk(|_| Some(Answer::status(401)));
    let desk = desk_that_may_be_down(&is_down);
    let [lame, well] = [&refuses, &desk].map(|desk| host_on(server.port, &desk.url, PATIENT));
    let [lame, well] = [&lame, &well].map(Installation::serve);
    let mut number = 0;
    // It pauses for a minute, and all hosts know that.
    file_until(&[&lame], &mut number, || {
        let paused = "SELECT count(*) FROM ticket_host.holds WHERE cause = 'settings' AND try_at > extract(epoch FROM now()) * 1000 + 30000";
        server.sql("tickets", paused) == "1"
    });
    is_down.store(true, Ordering::Relaxed);
    file_until(&[&well], &mut number, || finds_it_down(&well));
    is_down.store(false, Ordering::Relaxed);
    let began = Instant::now();
    wait_for("the other host to go on", || !finds_it_down(&well));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    well.post("/v1/tickets", &numbered(1000, 10_000)).is(201);
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn each_host_that_holds_a_backend_has_its_turn_however_often_another_one_tries_in_vain() {
    let server = Postgres::start();
    let is_down = Arc::new(AtomicBool::new(true));
    let away = desk(|_| Some(Answer::status(503)));
    let desk = desk_that_may_be_down(&is_down);
    let [lame, well] = [&away, &desk].map(|desk| host_on(server.port, &desk.url, PATIENT));
    let [lame, well] = [&lame, &well].map(Installation::serve);
    file_until(&[&lame, &well], &mut 0, || finds_it_down(&lame) && finds_it_down(&well));
    is_down.store(false, Ordering::Relaxed);
    let began = Instant::now();
    wait_for("the one that can to go on", || !finds_it_down(&well));
    // Each turn is one's or the other's by chance.
    println!("it went on after {:?}", began.elapsed());
    well.post("/v1/tickets", &numbered(1000, 10_000)).is(201);
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn a_host_that_alone_cannot_reach_the_ticket_system_holds_no_other_one() {
    let server = Postgres::start();
    let away = desk(|_| Some(Answer::status(503)));
    let desk = desk(|_| None);
    let lame = host_on(server.port, &away.url, "");
    let well = host_on(server.port, &desk.url, "");
    let [lame, well] = [&lame, &well].map(Installation::serve);
    for number in 0..20 {
        lame.post("/v1/tickets", &numbered(number, 0)).is(202);
        well.post("/v1/tickets", &numbered(100 + number, 10_000)).is(201);
    }
    assert!(finds_it_down(&lame), "{}", lame.get("/readyz").text);
    wait_for("the tickets that the other host was told of", || desk.posted().len() == 40);
    assert!(!finds_it_down(&well), "{}", well.get("/readyz").text);
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn a_backup_that_is_put_back_makes_no_second_ticket() {
    let server = Postgres::start();
    let desk = desk(|_| None);
    let host = host_on(server.port, &desk.url, "");
    let service = host.serve();
    // Long enough that an incident which began now is known to be new.
    server.is_known_for_long("tickets");
    let mut new = numbered(1, 5000);
    new["incident"]["start_time"] = service.just_now().into();
    let empty = server.directory.path().join("empty.sql");
    let dump = |arguments: &[&str]| {
        let port = server.port.to_string();
        let of = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", "tickets", "-q"];
        let tool = if arguments[0] == "-f" && arguments.len() == 2 { "psql" } else { "pg_dump" };
        let of = if tool == "psql" { &of[..] } else { &of[..8] };
        let done = program(tool).args(of).args(arguments).status();
        assert!(done.unwrap().success(), "{tool}");
    };
    dump(&["--clean", "--if-exists", "-f", empty.to_str().unwrap()]);
    service.post("/v1/tickets", &new).is(201);
    assert_eq!(desk.seen().len(), 1, "a new incident's ticket isn't looked for");
    dump(&["-f", empty.to_str().unwrap()]);
    // The store doesn't know it any more, and it is found.
    let found = service.post("/v1/tickets", &new).is(200).json();
    assert_eq!(found["ticket"]["url"], ticket_of("k1"));
    assert_eq!((desk.seen().len(), desk.posted().len()), (2, 1));
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn create_does_nothing_beside_other_hosts_without_a_service_of_its_own() {
    let server = Postgres::start();
    let desk = desk(|_| None);
    let (host, other) = (host_on(server.port, &desk.url, ""), host_on(server.port, &desk.url, ""));
    let service = other.serve();
    host.create("plugin-closed", &[]).ended(2).says("no service runs on this machine");
    assert!(desk.seen().is_empty());
    let own = host.serve();
    host.create("plugin-closed", &[]).ended(0);
    assert_eq!(desk.posted().len(), 1);
    let list = host.run(&["queue", "list"]).ended(0).stdout;
    assert!(list.contains("created"), "{list}");
    host.run(&["queue", "backup", "file"]).ended(2).says("pg_dump");
    for service in [service, own] {
        assert_eq!(service.stop(), 0);
    }
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn tables_that_an_administrator_made_are_worked_on_by_a_user_who_may_make_none() {
    let server = Postgres::start();
    let desk = desk(|_| None);
    let host = host_on(server.port, &desk.url, "");
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    fs::write(host.path("config.toml"), config.replace("//postgres@", "//clerk@")).unwrap();
    server.sql("tickets", "CREATE USER clerk");
    let refused = host.run(&["serve", "--listen", "127.0.0.1:0"]).ended(3);
    refused.says("queue migrate --print");
    let check = host.run(&["check"]).ended(3);
    assert!(check.stdout.contains("has no tables of this version"), "{}", check.stdout);
    let script = host.run(&["queue", "migrate", "--print"]).ended(0).stdout;
    server.sql("tickets", &script);
    let granted: Vec<&str> =
        script.lines().filter_map(|line| line.strip_prefix("--   GRANT")).collect();
    for grant in granted {
        server.sql("tickets", &format!("GRANT{}", grant.replace("\"ticket-host\"", "clerk")));
    }
    let service = host.serve();
    service.post("/v1/tickets", &numbered(1, 5000)).is(201);
    let check = host.run(&["check"]);
    assert!(check.stdout.contains("are of this version"), "{}", check.stdout);
    let script = host.run(&["queue", "migrate", "--print"]).ended(0).stdout;
    assert!(script.contains("nothing is to be done"), "{script}");
    let answer = host.run(&["queue", "migrate", "--json"]).ended(0).json();
    assert!(answer["store"].as_str().unwrap().starts_with("postgres://clerk@"), "{answer}");
}

/// PgBouncer before a server, which gives each transaction whichever of two connections is free.
struct Pooler {
    _directory: TempDir,
    port: u16,
    process: Child,
}

impl Pooler {
    fn before(server: &Postgres) -> Pooler {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\ntickets = host=127.0.0.1 port={} dbname=tickets user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 2\n",
            server.port
        );
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        give_away(directory.path());
        let mut command = as_postgres(Path::new("/usr/sbin/pgbouncer"));
        let process = command.arg(&file).process_group(0).spawn().unwrap();
        wait_for("the pooler to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Pooler { _directory: directory, port, process }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn behind_a_pooler_that_gives_each_transaction_another_connection_all_works() {
    let server = Postgres::start();
    let pooler = Pooler::before(&server);
    let desk = desk(|_| None);
    let hosts = [(); 2].map(|()| {
        let host = host_on(pooler.port, &desk.url, "concurrency = 4\n");
        let config = fs::read_to_string(host.path("config.toml")).unwrap();
        let config = config.replace("/tickets\"", "/tickets?statement-cache-capacity=0\"");
        fs::write(host.path("config.toml"), config).unwrap();
        host
    });
    let services: Vec<Service> = hosts.iter().map(Installation::serve).collect();
    thread::scope(|scope| {
        for number in 0..40 {
            for service in &services {
                scope.spawn(move || {
                    let reply = service.post("/v1/tickets", &numbered(number, 60_000));
                    assert_eq!(reply.json()["state"], "created", "{}", reply.text);
                });
            }
        }
    });
    let mut posted = desk.posted();
    posted.sort_unstable();
    posted.dedup();
    assert_eq!((posted.len(), desk.posted().len()), (40, 40));
    for (host, service) in hosts.iter().zip(services) {
        assert!(!host.log().contains("ERROR"), "{}", host.log());
        assert_eq!(service.stop(), 0);
    }
}

#[test]
#[ignore = "tests/real/postgres.sh runs it"]
fn a_store_is_copied_to_a_database_while_no_service_works_on_it() {
    let server = Postgres::start();
    let desk = desk(|_| None);
    let host = host_on(server.port, &desk.url, "");
    let other = fs::read_to_string(host.path("config.toml")).unwrap();
    fs::write(host.path("postgres.toml"), &other).unwrap();
    let file: String = other
        .lines()
        .filter(|line| !line.starts_with("url = "))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(host.path("config.toml"), &file).unwrap();
    let service = host.serve();
    service.post("/v1/tickets", &numbered(1, 5000)).is(201);
    let copy = ["queue", "copy", "--to", "postgres.toml"];
    host.run(&copy).ended(3).says("is used by another host");
    assert_eq!(service.stop(), 0);
    let copied = host.run(&copy).ended(0).stdout;
    assert_eq!(copied, "copied 1 incident and 1 ticket\n");
    host.run(&copy).ended(3).says("has incidents already");
    fs::rename(host.path("postgres.toml"), host.path("config.toml")).unwrap();
    let service = host.serve();
    service.post("/v1/tickets", &numbered(1, 5000)).is(200);
    assert_eq!(desk.posted(), ["k1"]);
    // Back, which nobody may do while a service works there.
    fs::write(host.path("back.toml"), file.replace("state/queue.db", "back/queue.db")).unwrap();
    wait_for("the service to lead", || {
        server.sql(
            "tickets",
            "SELECT count(*) FROM ticket_host.leader WHERE host NOT IN ('', 'queue copy')",
        ) == "1"
    });
    host.run(&["queue", "copy", "--to", "back.toml"]).ended(2).says("a service works on the store");
    assert_eq!(service.stop(), 0);
    wait_for("the service's term to end", || {
        host.run(&["queue", "copy", "--to", "back.toml"]).code == 0
    });
    fs::rename(host.path("back.toml"), host.path("config.toml")).unwrap();
    let list = host.run(&["queue", "list"]).ended(0).stdout;
    assert!(list.contains("created"), "{list}");
}
