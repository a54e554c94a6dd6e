//! Measures warm tickets: many tickets are made in one ticket system by the service, by Argus's own plugins,
//! and by a client that sends nothing but the request that creates the ticket.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host_tests::{Installation, Service, agent, rust_plugin};

use crate::process;
use crate::report::{Bar, Goal, Report};
use crate::samples::{numbered, sample};
use crate::statistics::{Sample, figure, timed};
use crate::system::{Behaviour, System};

/// The first argument, by which this program becomes that bare client.
pub const ARGUMENT: &str = "bare-client";

const TICKETS: usize = 2000;
const ROUNDS: usize = 3;

/// A ticket system, and how its plugins are set up.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub plugin: &'static str,
    python: &'static str,
    /// The path below the endpoint to which the request goes that creates a ticket.
    path: &'static str,
    /// The name of the header that has the token, and what stands in it before the token.
    login: (&'static str, &'static str),
}

pub const KINDS: [Kind; 4] = [
    Kind {
        plugin: "rt",
        python: "argus_ticket_rt.RequestTrackerPlugin",
        path: "REST/2.0/ticket",
        login: ("Authorization", "token "),
    },
    Kind {
        plugin: "jira",
        python: "argus_ticket_jira.JiraPlugin",
        path: "rest/api/2/issue",
        login: ("Authorization", "Bearer "),
    },
    Kind {
        plugin: "github",
        python: "argus_ticket_github.GithubPlugin",
        path: "api/v3/repos/noc/tickets/issues",
        login: ("Authorization", "Bearer "),
    },
    Kind {
        plugin: "gitlab",
        python: "argus_ticket_gitlab.GitlabPlugin",
        path: "api/v4/projects/noc%2Ftickets/issues",
        login: ("PRIVATE-TOKEN", ""),
    },
];

const TOKEN: &str = "a-token-of-the-bench";

impl Kind {
    /// The backend's information, the same for the host and for Python.
    pub fn information(self) -> Value {
        match self.plugin {
            "rt" => json!({"queue": "General"}),
            "jira" => json!({"project_key_or_id": "AT", "type": "Task"}),
            _ => json!({"project_namespace_and_name": "noc/tickets", "labels_set": ["argus"]}),
        }
    }

    /// A host with this plugin and one backend for it. `settings` are the backend's other settings.
    pub fn host(self, system: &System, settings: &str, concurrency: usize) -> Installation {
        self.host_on(system, settings, concurrency, "")
    }

    /// As [`Kind::host`]. `queue` are other settings of the queue.
    pub fn host_on(
        self,
        system: &System,
        settings: &str,
        concurrency: usize,
        queue: &str,
    ) -> Installation {
        let information = self.information();
        let members = information.as_object().unwrap().iter();
        let information: Vec<String> =
            members.map(|(name, value)| format!("{name} = {value}")).collect();
        let rest = format!(
            "{settings}\nconcurrency = {concurrency}\n\
             secret = {{ token = \"{TOKEN}\" }}\ninformation = {{ {} }}\n\
             [queue]\npath = \"queue/queue.db\"\n{queue}\n",
            information.join(", ")
        );
        Installation::with(&rust_plugin(self.plugin), &system.url, &rest)
    }

    /// The command that runs Python with Argus and its plugin, and creates so many tickets.
    pub fn python(self, system: &System, count: usize, threads: usize) -> Command {
        let mut command = Command::new(python());
        command
            .arg(scripts().join("tickets.py"))
            .args([count.to_string(), threads.to_string()])
            .env("PYTHONPATH", scripts())
            .env("TICKET_PLUGIN", self.python)
            .env("TICKET_ENDPOINT", &system.url)
            .env("TICKET_AUTHENTICATION_SECRET", json!({"token": TOKEN}).to_string())
            .env("TICKET_INFORMATION", self.information().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// The Python interpreter of the environment in which Argus's own plugins are installed.
fn python() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut command = Command::new(scripts().join("install.sh"));
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "Argus's plugins can't be installed");
        let environment = String::from_utf8(output.stdout).unwrap();
        Path::new(environment.trim()).join("bin/python")
    });
    &PYTHON
}

/// As [`numbered`], with this start time.
pub fn begun(number: usize, start_time: &str) -> Value {
    let mut incident = numbered(number);
    incident["start_time"] = json!(start_time);
    incident
}

/// The result of one rival's run. `wall` and `cpu` are in seconds.
#[derive(Debug)]
pub struct Run {
    tickets: usize,
    wall: f64,
    cpu: f64,
    /// In kilobytes.
    memory: u64,
    /// In milliseconds, one for each ticket.
    times: Sample,
    requests: usize,
}

impl Run {
    /// Reads the result that the other rivals' processes print.
    fn parse(output: &[u8]) -> Run {
        let said: Value = serde_json::from_slice(output).unwrap();
        let times: Vec<f64> = serde_json::from_value(said["times"].clone()).unwrap();
        Run {
            tickets: times.len(),
            wall: said["wall"].as_f64().unwrap(),
            cpu: said["cpu"].as_f64().unwrap(),
            memory: said["rss"].as_u64().unwrap(),
            times: times.into_iter().collect(),
            requests: 0,
        }
    }

    fn rate(&self) -> f64 {
        self.tickets as f64 / self.wall
    }

    /// Milliseconds of processor time for each ticket.
    fn cpu_each(&self) -> f64 {
        self.cpu * 1e3 / self.tickets as f64
    }
}

/// Files an incident, and waits for its ticket.
pub fn ticket_of(service: &Service, agent: &ureq::Agent, incident: &Value) {
    let body = json!({"incident": incident, "wait_ms": 60_000});
    let mut answer = agent.post(format!("{}/v1/tickets", service.url)).send_json(body).unwrap();
    let answer: Value = answer.body_mut().read_json().unwrap();
    assert!(answer["ticket"]["url"].is_string(), "{answer}");
}

/// Makes tickets by the service. Its clients wait for each ticket.
fn served(kind: Kind, system: &System, settings: &str, concurrency: usize) -> Run {
    let host = kind.host(system, settings, concurrency);
    let service = host.serve();
    let began = service.just_now();
    let file = |agent: &ureq::Agent, number: usize| {
        ticket_of(&service, agent, &begun(number, &began));
    };
    // Before the measurement: each instance is open, and has looked up what it looks up only once.
    timed(concurrency, concurrency, &|| {
        let (agent, file) = (agent(), &file);
        move |number| file(&agent, TICKETS + number)
    });
    let requests = system.counted().requests;
    let before = process::cpu(service.id());
    let started = Instant::now();
    let times = timed(TICKETS, concurrency, &|| {
        let (agent, file) = (agent(), &file);
        move |number| file(&agent, number)
    });
    let wall = started.elapsed().as_secs_f64();
    let cpu = (process::cpu(service.id()) - before).as_secs_f64();
    let counted = system.counted();
    assert_eq!(counted.titles.len(), TICKETS + concurrency, "each incident has one ticket");
    let requests = counted.requests - requests;
    let memory = process::most_memory(service.id());
    Run { tickets: TICKETS, wall, cpu, memory, times, requests }
}

/// Makes tickets by Argus's own plugin.
fn pythons(kind: Kind, system: &System, threads: usize) -> Run {
    // PyGithub waits half a second before each request that writes.
    let count = if kind.plugin == "github" { 40 * threads.min(4) } else { TICKETS / 4 };
    let mut child = kind.python(system, count, threads).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sample().to_string().as_bytes()).unwrap();
    let run = Run::parse(&child.wait_with_output().unwrap().stdout);
    Run { requests: system.counted().requests, ..run }
}

/// Makes tickets by the bare client, in a process of its own.
fn bare(kind: Kind, system: &System, concurrency: usize) -> Run {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ARGUMENT).arg(format!("{}{}", system.url, kind.path));
    command.args([kind.login.0, &format!("{}{TOKEN}", kind.login.1), &concurrency.to_string()]);
    let run = Run::parse(&command.stderr(Stdio::inherit()).output().unwrap().stdout);
    Run { requests: system.counted().requests, ..run }
}

/// The main function of the bare client's process. Its arguments are the URL, the header's name, its value, and
/// the number of requests at once.
pub fn bare_client(arguments: &[String]) -> ExitCode {
    let [url, header, value, concurrency] = arguments else { return ExitCode::FAILURE };
    let concurrency: usize = concurrency.parse().unwrap();
    let body = |number: usize| {
        let (title, text) = (format!("incident {number}"), "x".repeat(800));
        json!({"title": title, "body": text, "labels": ["argus"], "Subject": title,
            "fields": {"summary": title}})
        .to_string()
    };
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (times, wall) = runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let next = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..concurrency {
            let (client, next) = (client.clone(), Arc::clone(&next));
            let (url, header, value) = (url.clone(), header.clone(), value.clone());
            tasks.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= TICKETS {
                        return times;
                    }
                    let started = Instant::now();
                    let request = client.post(&url).header(&header, &value).body(body(number));
                    let answer = request.send().await.unwrap();
                    assert_eq!(answer.status(), 201);
                    answer.bytes().await.unwrap();
                    times.push(started.elapsed().as_secs_f64() * 1e3);
                }
            });
        }
        let times: Vec<f64> = tasks.join_all().await.concat();
        (times, started.elapsed().as_secs_f64())
    });
    let own = std::process::id();
    let said = json!({"wall": wall, "cpu": process::cpu(own).as_secs_f64(),
        "rss": process::peak(own), "times": times});
    println!("{said}");
    ExitCode::SUCCESS
}

/// The rivals: the host with different settings, then Python and the bare POST.
const RIVALS: [(&str, Option<&str>); 5] = [
    ("serve, worker + sandbox", Some("isolation = \"worker\"")),
    ("serve, worker + sandbox, look_first always", Some("look_first = \"always\"")),
    ("serve, in-process", Some("isolation = \"in-process\"")),
    ("Argus's Python plugin", None),
    ("bare POST (reqwest)", None),
];
const SERVE: usize = 0;
const PYTHON: usize = 3;
const BARE: usize = 4;

fn run(rival: usize, kind: Kind, system: &System, concurrency: usize) -> Run {
    match RIVALS[rival].1 {
        Some(settings) => served(kind, system, settings, concurrency),
        None if rival == PYTHON => pythons(kind, system, concurrency),
        None => bare(kind, system, concurrency),
    }
}

pub fn measure(report: &mut Report) {
    python();
    for (latency, concurrencies) in [(0, &[1, 32][..]), (20, &[32])] {
        for &concurrency in concurrencies {
            at(report, Duration::from_millis(latency), concurrency);
        }
    }
}

fn at(report: &mut Report, latency: Duration, concurrency: usize) {
    let system = match latency.as_millis() {
        0 => "that answers at once".to_owned(),
        ms => format!("that takes {ms} ms for each answer"),
    };
    let title = format!("A ticket, warm: {concurrency} at once, a ticket system {system}");
    let part = report.part(
        &title,
        &["", "tickets/s", "x bare", "requests each", "CPU ms each", "p50 ms", "p99 ms", "MB"],
    );
    for kind in KINDS {
        let mut runs: [Vec<Run>; RIVALS.len()] = Default::default();
        for _ in 0..ROUNDS {
            for (rival, runs) in runs.iter_mut().enumerate() {
                let system = System::start(Behaviour { latency, limit: None });
                runs.push(run(rival, kind, &system, concurrency));
            }
        }
        let of = |rival: usize, value: fn(&Run) -> f64| -> Sample {
            runs[rival].iter().map(value).collect()
        };
        let bare = of(BARE, Run::rate).median();
        for (rival, (name, _)) in RIVALS.iter().enumerate() {
            let rate = of(rival, Run::rate);
            part.row(&[
                format!("{}: {name}", kind.plugin),
                rate.to_string(),
                figure(rate.median() / bare),
                figure(of(rival, |run| run.requests as f64 / run.tickets as f64).median()),
                of(rival, Run::cpu_each).to_string(),
                figure(of(rival, |run| run.times.median()).median()),
                figure(of(rival, |run| run.times.percentile(99.0)).median()),
                figure(of(rival, |run| run.memory as f64 / 1024.0).median()),
            ]);
            // What a ticket costs depends little on the rest.
            if concurrency > 1 && latency.is_zero() {
                part.bar(Bar {
                    label: format!("{}: {name}", kind.plugin),
                    value: of(rival, Run::cpu_each).median(),
                    unit: "ms CPU each".to_owned(),
                    own: rival < PYTHON,
                });
            }
        }
        let (plugin, cpu) = (kind.plugin, of(SERVE, Run::cpu_each).median());
        let python = of(PYTHON, Run::cpu_each).median();
        let what = format!("{plugin}: requests each");
        let requests = of(SERVE, |run| run.requests as f64 / run.tickets as f64).median();
        part.goal(Goal::at_most(&what, requests, 1.0));
        let what = format!("{plugin}: Python's CPU / serve's");
        part.goal(Goal::at_least(&what, python / cpu, 20.0));
        if !latency.is_zero() {
            let what = format!("{plugin}: tickets/s, serve / bare");
            part.goal(Goal::at_least(&what, of(SERVE, Run::rate).median() / bare, 0.95));
        } else if concurrency > 1 {
            part.goal(Goal::at_most(&format!("{plugin}: CPU ms each"), cpu, 0.25));
        } else {
            part.goal(Goal::at_most(&format!("{plugin}: CPU ms each"), cpu, 0.4));
            let time = |rival| of(rival, |run| run.times.median()).median();
            let what = format!("{plugin}: ms on top of the bare POST's");
            part.goal(Goal::at_most(&what, time(SERVE) - time(BARE), 0.6));
        }
    }
}
