//! Every incident gets exactly one ticket, which follows its life, though the ticket system fails in every way that it can
//! and the host is killed again and again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use ticket_host_tests::{
    Answer, Fate, Installation, Seen, Service, Stub, Tickets, c_plugin, key_of, post, ticket_of,
    wait_for,
};

const INCIDENTS: usize = 1000;
const KILLS: usize = 20;
/// How many clients file incidents at the same time.
const CLIENTS: usize = 16;

/// After this an answer comes too late: a call may take 1 s. It still comes before the host believes
/// that there is no ticket, which is 2 s after the call.
const LATE: Duration = Duration::from_millis(1600);

/// A ticket system that fails as often as it works: how many tickets each key has.
pub(crate) struct System {
    tickets: Mutex<HashMap<String, usize>>,
    random: Mutex<fastrand::Rng>,
    /// What happened, and how often.
    ways: Mutex<HashMap<&'static str, usize>>,
}

impl System {
    /// One that fails by chance, and what answers for it.
    pub(crate) fn new(random: fastrand::Rng) -> (Arc<System>, Stub) {
        let system = Arc::new(System {
            tickets: Mutex::default(),
            random: Mutex::new(random),
            ways: Mutex::default(),
        });
        let answers = Arc::clone(&system);
        let stub = Stub::new(move |seen| answers.answer(seen));
        (system, stub)
    }

    /// Fails the test if a key has not one ticket, or there are not so many.
    pub(crate) fn has_one_each_of(&self, incidents: usize) {
        let tickets = self.tickets.lock().unwrap();
        println!("{:?}", self.ways.lock().unwrap());
        let twice: Vec<_> = tickets.iter().filter(|(_, made)| **made != 1).collect();
        assert!(twice.is_empty(), "made more than once: {twice:?}");
        assert_eq!(tickets.len(), incidents);
    }

    fn roll(&self) -> u32 {
        self.random.lock().unwrap().u32(0..1000)
    }

    fn went(&self, way: &'static str) {
        *self.ways.lock().unwrap().entry(way).or_default() += 1;
    }

    fn make(&self, key: &str) -> Answer {
        *self.tickets.lock().unwrap().entry(key.to_owned()).or_default() += 1;
        Answer::status(201).header("Location", &ticket_of(key))
    }

    fn answer(&self, seen: &Seen) -> Answer {
        let way = self.roll();
        let limited = || Answer::status(429).header("Retry-After", "1");
        let key = key_of(seen);
        if seen.method == "GET" {
            return match way {
                0..40 => Answer::status(500),
                40..70 => Answer::HangUp,
                70..75 => {
                    thread::sleep(LATE);
                    Answer::HangUp
                }
                75..77 => limited(),
                _ if self.tickets.lock().unwrap().contains_key(&key) => {
                    self.went("found");
                    Answer::status(200).header("Location", &ticket_of(&key))
                }
                _ => Answer::status(204),
            };
        }
        // Rate limits are rare, since each holds up all calls for a second. The first creation meets
        // one, so that there is one in every run.
        let limited_before = self.ways.lock().unwrap().contains_key("429");
        match if limited_before { way } else { 90 } {
            0..60 => {
                self.went("5xx");
                Answer::status([500, 502, 503, 504][way as usize % 4])
            }
            60..90 => {
                self.went("5xx, and made it");
                self.make(&key);
                Answer::status(500)
            }
            90..94 => {
                self.went("429");
                limited()
            }
            94..160 => {
                self.went("reset");
                Answer::HangUp
            }
            160..240 => {
                self.went("made it, answer lost");
                self.make(&key);
                Answer::HangUp
            }
            240..250 => {
                self.went("time-out");
                thread::sleep(LATE);
                Answer::HangUp
            }
            250..260 => {
                self.went("time-out, and made it late");
                thread::sleep(LATE);
                self.make(&key)
            }
            _ => self.make(&key),
        }
    }
}

/// Chance with a seed that is printed, or is given to repeat a run.
pub(crate) fn seeded() -> fastrand::Rng {
    let seed = match std::env::var("CHAOS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("CHAOS_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// `at_once` requests for each incident, while the host is killed.
fn chaos(at_once: usize) {
    let mut random = seeded();
    let (system, stub) = System::new(random.fork());
    let rest = "secret = { token = \"t\" }\ncall_timeout_seconds = 1\nconcurrency = 32\n\
                [queue]\npath = \"queue.db\"\nsettle_seconds = 2\nlongest_wait_seconds = 4\n";
    let host = Installation::with(&c_plugin("webhook"), &stub.url, rest);

    let url = Mutex::new(String::new());
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let file = |number: usize, wait: usize| {
        let incident = json!({"description": "gw1 is down", "pk": number, "level": number % 5 + 1,
            "source": {"name": "nav"}});
        let body = json!({"incident": incident, "key": format!("k{number}"), "wait_ms": wait});
        // A client repeats its request until the host says that it has the incident.
        wait_for("the host to take an incident", || {
            let url = url.lock().unwrap().clone();
            !url.is_empty()
                && post(&url, "/v1/tickets", &body).is_ok_and(|r| (200..300).contains(&r.status))
        });
    };
    let last = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= INCIDENTS {
                        return;
                    }
                    thread::scope(|scope| {
                        for _ in 0..at_once {
                            scope.spawn(|| file(number, 100));
                        }
                    });
                }
            });
        }
        let killer = scope.spawn(|| {
            let mut random = random.fork();
            for _ in 0..KILLS {
                let service = host.serve();
                *url.lock().unwrap() = service.url.clone();
                // This waits for nothing: it makes the moment of the kill random.
                thread::sleep(Duration::from_millis(random.u64(0..700)));
                service.kill();
            }
            let service = host.serve();
            *url.lock().unwrap() = service.url.clone();
            over.store(true, Ordering::Relaxed);
            service
        });
        killer.join().unwrap()
    });

    wait_for("every row to be created", || {
        let text = last.get("/metrics").text;
        let created = format!("queue_tickets{{backend=\"b\",state=\"created\"}} {INCIDENTS}\n");
        text.contains(&created)
    });
    system.has_one_each_of(INCIDENTS);
    let rows = last.get("/v1/tickets?state=created&limit=1000").json();
    assert_eq!(rows["tickets"].as_array().unwrap().len(), INCIDENTS);
    for way in ["5xx", "429", "reset", "made it, answer lost", "found"] {
        assert!(system.ways.lock().unwrap().contains_key(way), "it never went {way:?}");
    }
}

#[test]
fn a_thousand_incidents_get_a_ticket_each_though_the_host_is_killed_twenty_times() {
    chaos(1);
}

#[test]
fn two_requests_at_once_for_each_incident_make_one_ticket() {
    chaos(2);
}

/// How many changes each incident goes through in a life.
const CHANGES: i64 = 6;
/// How many incidents live at the same time.
const LIVES: usize = 64;
/// How long nothing may become better: a host that is killed beside others leaves what it was at work on for a minute.
const STANDSTILL: Duration = Duration::from_secs(180);
/// The settings of a backend whose tickets are told everything at once.
pub(crate) const TOLD_AT_ONCE: &str = "quiet = \"0s\"\non_end = \"close\"\nclose_after = \"0s\"\n";

/// Incidents live their lives, each reported as it is now, again and again until a host says that it has it, while hosts are killed. In the end
/// every ticket says what is true, and each step was done once and in order.
pub(crate) fn lives(
    hosts: &[Installation],
    tickets: &Tickets,
    incidents: usize,
    random: &mut fastrand::Rng,
) {
    let urls: Vec<Mutex<String>> = hosts.iter().map(|_| Mutex::default()).collect();
    let tell = |number: usize, level: i64, open: bool| {
        let incident = json!({"description": "gw1 is down", "level": level});
        let status = if open { "open" } else { "ended" };
        let body = json!({"incident": incident, "key": format!("k{number}"), "status": status});
        let mut host = number;
        wait_for("a host to take a report", || {
            host += 1;
            let url = urls[host % urls.len()].lock().unwrap().clone();
            !url.is_empty()
                && post(&url, "/v1/incidents", &body).is_ok_and(|r| (200..300).contains(&r.status))
        });
    };
    // What the last report of each incident said.
    let last = Mutex::new(HashMap::new());
    let (next, living) = (AtomicUsize::new(0), AtomicUsize::new(LIVES));
    let seeds = Mutex::new(random.fork());
    let live = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= incidents {
                living.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let mut random = seeds.lock().unwrap().fork();
            tell(number, 3, true);
            // A half of them change already while their ticket is being made.
            if random.bool() {
                wait_for("a ticket", || tickets.of(&format!("k{number}")).made > 0);
            }
            let (mut level, mut open) = (3, true);
            for _ in 0..CHANGES {
                // This waits for nothing: it makes the moment of the change random.
                thread::sleep(Duration::from_millis(random.u64(0..2000)));
                match random.u32(0..3) {
                    0 => open = !open,
                    _ if open => level = random.i64(1..6),
                    _ => open = true,
                }
                tell(number, level, open);
            }
            last.lock().unwrap().insert(format!("k{number}"), (level, open));
        }
    };
    let start = |index: usize| {
        let service = hosts[index].serve();
        *urls[index].lock().unwrap() = service.url.clone();
        service
    };
    let (services, kills) = thread::scope(|scope| {
        (0..LIVES).for_each(|_| drop(scope.spawn(live)));
        let killer = scope.spawn(|| {
            let mut services: Vec<Option<Service>> =
                (0..hosts.len()).map(|n| Some(start(n))).collect();
            let mut kills = 0;
            while living.load(Ordering::Relaxed) > 0 {
                // As above, for the moment of the kill.
                thread::sleep(Duration::from_millis(random.u64(0..3000)));
                let index = random.usize(0..hosts.len());
                services[index].take().expect("each was started").kill();
                services[index] = Some(start(index));
                kills += 1;
            }
            (services, kills)
        });
        killer.join().unwrap()
    });
    let service = services[0].as_ref().expect("each was started");
    follow(service, tickets, &last.into_inner().unwrap(), kills);
}

/// Waits until tickets are as their incidents are in the end (their level, and whether they are open), and looks at what was done to them.
fn follow(service: &Service, tickets: &Tickets, last: &HashMap<String, (i64, bool)>, kills: usize) {
    let is_at_rest = || {
        let text = service.get("/metrics").text;
        let waits = |line: &str| {
            let of = ["queue_tickets{", "queue_steps{"].iter().any(|name| line.contains(name));
            let states = ["queued", "creating", "working", "unknown"];
            of && states.iter().any(|state| line.contains(&format!("state=\"{state}\"")))
        };
        !text.lines().any(waits)
    };
    let is_right = |key: &str| {
        let (level, open) = last[key];
        let ticket = tickets.of(key);
        // One that ended before its ticket was made has none.
        if !open {
            return ticket.made == 0 || ticket.state == "closed";
        }
        let made = format!("level {}", ticket.incident["level"]);
        let said = ticket.steps.last().map_or(made.as_str(), |(.., text)| text);
        ticket.state == "open" && said.contains(&format!("level {level}"))
    };
    let wrong = || last.keys().filter(|key| !is_right(key)).count();
    let (mut left, mut since) = (wrong(), Instant::now());
    while left > 0 || !is_at_rest() {
        let before = std::mem::replace(&mut left, wrong());
        if left != before {
            since = Instant::now();
        }
        assert!(since.elapsed() < STANDSTILL, "{left} tickets aren't as their incidents are");
        thread::sleep(Duration::from_millis(100));
    }
    let mut done = 0;
    for (url, ticket) in tickets.all() {
        assert_eq!(ticket.made, 1, "{url}");
        assert!(!ticket.has_one_twice(), "{url}: {ticket:?}");
        let turns: Vec<&str> = ticket.actions().into_iter().filter(|a| *a != "comment").collect();
        let mut wanted = ["close", "reopen"].iter().cycle();
        assert!(turns.iter().all(|action| Some(action) == wanted.next()), "{url}: {ticket:?}");
        done += ticket.steps.len();
    }
    println!("{} lives, {kills} kills, {done} steps", last.len());
    // In the hosts' record each step that was done is on its ticket, in the same order.
    let rows = service.get("/v1/tickets?limit=1000").json();
    for row in rows["tickets"].as_array().unwrap() {
        let shown = service.get(&format!("/v1/tickets/{}", row["id"])).json();
        let steps = shown["steps"].as_array().unwrap().iter();
        let kept = steps
            .filter(|step| step["state"] == "done")
            .map(|step| step["action"].as_str().unwrap());
        let ticket = tickets.of(row["key"].as_str().unwrap());
        assert_eq!(kept.collect::<Vec<_>>(), ticket.actions(), "{shown}");
    }
}

/// What becomes of a request, by chance.
fn fate(seen: &Seen, way: u32) -> Fate {
    let lost = |is_done: bool, answer| match is_done {
        true => Fate::Afterwards(answer),
        false => Fate::Instead(answer),
    };
    match (seen.method.as_str(), way) {
        (_, 0..60) => Fate::Instead(Answer::status([500, 502, 503, 504][way as usize % 4])),
        (_, 60..120) => Fate::Instead(Answer::HangUp),
        (_, 120..123) => Fate::Instead(Answer::status(429).header("Retry-After", "1")),
        (_, 123..130) => {
            thread::sleep(LATE);
            lost(way.is_multiple_of(2), Answer::HangUp)
        }
        ("POST" | "PATCH", 130..190) => Fate::Afterwards(Answer::HangUp),
        ("POST" | "PATCH", 190..230) => Fate::Afterwards(Answer::status(500)),
        _ => Fate::Done,
    }
}

/// A ticket system that fails by chance.
pub(crate) fn tickets_by_chance(random: &mut fastrand::Rng) -> (Tickets, Stub) {
    let tickets = Tickets::default();
    let fates = Mutex::new(random.fork());
    let stub = tickets.serve(move |seen| {
        let way = fates.lock().unwrap().u32(0..1000);
        fate(seen, way)
    });
    (tickets, stub)
}

fn lives_on_one_host(incidents: usize) {
    let mut random = seeded();
    let (tickets, stub) = tickets_by_chance(&mut random);
    let rest = format!(
        "secret = {{ token = \"t\" }}\ncall_timeout_seconds = 1\nconcurrency = 32\n{TOLD_AT_ONCE}\
         [queue]\npath = \"queue.db\"\nsettle_seconds = 2\nlongest_wait_seconds = 4\n"
    );
    let host = Installation::with(&c_plugin("webhook"), &stub.url, &rest);
    lives(&[host], &tickets, incidents, &mut random);
}

#[test]
fn tickets_follow_the_lives_of_sixty_incidents_though_the_host_is_killed_again_and_again() {
    lives_on_one_host(60);
}

/// `.ci/long lives` runs it with ten seeds.
#[test]
#[ignore = ".ci/long runs it"]
fn tickets_follow_the_lives_of_five_hundred_incidents() {
    lives_on_one_host(500);
}
