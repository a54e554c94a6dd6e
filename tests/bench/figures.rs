//! What a call and a whole run cost, as ratios from interleaved runs: `cargo bench -p ticket-host-tests`.
//!
//! Not a test: machines are noisy. Each row stands beside its rival, measured in turn with it.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;
use ticket_host::backend::{Backend, Request};
use ticket_host::catalog::{Catalog, Place};
use ticket_host::config::Config;
use ticket_host::trust::Trust;
use ticket_host::{library, worker};
use ticket_host_tests::{Installation, c_plugin, incident, library_name, rust_plugin};
use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest, Operation};
use ticket_plugin_api::message::object;
use ticket_plugin_api::{Incident, Ticket, TicketRequest};

fn main() -> ExitCode {
    // The workers of the calls that are measured are this program, as the host's are the host.
    if std::env::args().nth(1).is_some_and(|first| first == worker::ARGUMENT) {
        return worker::child::main();
    }
    calls();
    whole_runs();
    sizes();
    ExitCode::SUCCESS
}

/// A host that is asked nothing.
struct Silent;

impl Host for Silent {
    fn http(&mut self, _: HttpRequest) -> HttpAnswer {
        HttpAnswer::DryRun
    }
    fn render(&mut self, _: &str, _: &str, _: &str) -> Result<String, String> {
        Err(String::new())
    }
    fn log(&mut self, _: u32, _: &str) {}
    fn remaining(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// The JSON work of a call whose plugin only replies, without a boundary.
fn direct(request: &str) -> Ticket {
    let request: TicketRequest<Incident> = serde_json::from_str(request).unwrap();
    black_box(&request);
    let ticket = Ticket { url: "https://tickets.example.org/1".into(), ..Ticket::default() };
    object(&serde_json::to_string(&ticket).unwrap()).unwrap()
}

/// An incident of 2 KB.
fn two_kilobytes() -> serde_json::Value {
    let mut incident: serde_json::Value =
        serde_json::from_slice(&fs::read(incident("plugin-open-infinity")).unwrap()).unwrap();
    let rest = 2048 - incident.to_string().len();
    incident["metadata"] = json!({"padding": "x".repeat(rest.saturating_sub(16))});
    incident
}

fn calls() {
    let incident = two_kilobytes();
    let request = json!({"incident": incident, "key": "k", "dry_run": false}).to_string();
    let plugin =
        library::load(&library::prepare(&rust_plugin("panics"), None).unwrap()).unwrap().table;
    let settings = json!({"endpoint": "https://x.org", "secret": {}, "information": {"in": ""}});
    let mut instance = plugin.open(&settings.to_string(), &mut Silent).unwrap();

    // As the program has it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let [in_process, worker] = ["in-process", "worker"].map(|i| runtime.block_on(backend(i)));
    let asked = Request {
        incident: Arc::new(serde_json::from_value(incident).unwrap()),
        key: "k".to_owned(),
    };
    println!(
        "a create of a plugin that only replies, incident of 2 KB (the request: {} bytes)",
        request.len()
    );
    let medians = interleaved(
        2000,
        &mut [
            ("direct Rust call", &mut || drop(direct(&request))),
            ("through the C table", &mut || {
                let returned = instance.call(Operation::Create, &request, &mut Silent);
                drop(returned.parse::<Ticket>().unwrap());
            }),
            ("backend in-process", &mut || {
                drop(runtime.block_on(in_process.create(&asked)).unwrap())
            }),
            ("backend in a worker", &mut || drop(runtime.block_on(worker.create(&asked)).unwrap())),
        ],
    );
    println!(
        "  C table over direct: {:.2} x (goal: under 3 x, under 20 us)",
        medians[1] / medians[0]
    );
    println!(
        "  worker over the C table: {:.1} us more (goal: under 100 us)\n",
        medians[3] - medians[1]
    );
}

async fn backend(isolation: &str) -> Backend {
    let installation = Installation::new();
    installation.add(&rust_plugin("panics"));
    let config = format!(
        "[backends.b]\nplugin = \"panics\"\nendpoint = \"https://tickets.example.org\"\n\
         isolation = \"{isolation}\"\ninformation = {{ in = \"\" }}\n"
    );
    installation.config(&config);
    let config = Config::load(Some(&installation.path("config.toml"))).unwrap();
    // The build's own directory outlives the installation.
    let places = vec![Place { directory: plugin_directory(), marked_only: false, named: true }];
    let catalog = Catalog::discover(places, &Trust::default()).await;
    let backend = Backend::new(
        config.backend(None).unwrap(),
        catalog.find("panics").unwrap(),
        &Arc::default(),
    );
    backend.unwrap()
}

fn plugin_directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-plugins");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(rust_plugin("panics"), directory.join(library_name("panics"))).unwrap();
    directory
}

fn whole_runs() {
    let installation = Installation::new();
    for plugin in
        [rust_plugin("local"), rust_plugin("rt"), rust_plugin("panics"), c_plugin("webhook")]
    {
        installation.add(&plugin);
    }
    installation.config(&installation.local("b"));
    let file = incident("plugin-open-infinity");
    let file = file.to_str().unwrap().to_owned();
    let mut number = 0;
    let quiet = |arguments: &[&str]| {
        let mut command = installation.command(arguments);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    };
    println!("whole processes, four plugins in the directory");
    let medians = interleaved(
        100,
        &mut [
            ("ticket-host --version", &mut || quiet(&["--version"])),
            ("plugins list", &mut || quiet(&["plugins", "list"])),
            ("create with local, synced to disk", &mut || {
                number += 1;
                quiet(&["create", &file, "--key", &number.to_string()]);
            }),
            ("create that finds its ticket", &mut || quiet(&["create", &file, "--key", "1"])),
        ],
    );
    println!("  four plugins discovered: {:.1} ms (goal: under 15 ms)", medians[1] / 1000.0);
    println!("  create with local: {:.1} ms (goal: under 25 ms)\n", medians[2] / 1000.0);
}

fn sizes() {
    for plugin in ["github", "gitlab", "jira", "local", "rt"] {
        let stripped = Path::new(env!("CARGO_TARGET_TMPDIR")).join(library_name(plugin));
        fs::copy(rust_plugin(plugin), &stripped).unwrap();
        let _ = Command::new("strip").arg(&stripped).status();
        let bytes = fs::metadata(&stripped).unwrap().len();
        println!("plugin {plugin}, stripped: {:.2} MB (goal: under 1.5 MB)", bytes as f64 / 1e6);
    }
    if cfg!(target_os = "linux") {
        println!("worker that waits in a call: {:.1} MB RSS (goal: under 6 MB)", waiting_worker());
    }
}

/// The resident memory of a worker, in MB, while its plugin waits.
fn waiting_worker() -> f64 {
    let rest = "call_timeout_seconds = 2\nsecret = { token = \"abcd\" }\n\
                information = { fault = \"slow\", in = \"create\" }";
    let installation = Installation::with(&c_plugin("misbehaves"), "https://x.org", rest);
    let file = incident("plugin-closed");
    let mut command = installation.command(&["create", "--force", file.to_str().unwrap()]);
    let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut samples = Vec::new();
    while host.try_wait().unwrap().is_none() {
        for child in children(host.id()) {
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
            samples.extend(kilobytes.map(|k| k / 1000.0));
        }
        thread::yield_now();
    }
    // Not the largest: between fork and exec a child shows its parent's memory.
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn children(parent: u32) -> Vec<String> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(list.split_whitespace().map(str::to_owned));
    }
    all
}

type Rival<'a> = (&'a str, &'a mut dyn FnMut());

/// Runs the rivals in turn, `rounds` times, prints each one's median and spread, and gives the
/// medians in microseconds.
fn interleaved(rounds: usize, rivals: &mut [Rival<'_>]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(rounds); rivals.len()];
    for round in 0..rounds + rounds / 10 {
        for (rival, times) in rivals.iter_mut().zip(&mut times) {
            let start = Instant::now();
            rival.1();
            // The first tenth warms up.
            if round >= rounds / 10 {
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    let mut medians = Vec::new();
    for ((name, _), times) in rivals.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let at = |part: usize| times[(times.len() - 1) * part / 100];
        medians.push(at(50));
        let ratio = at(50) / medians[0];
        println!(
            "  {name:36} {:10.1} us  {ratio:8.2} x   (p10 {:.1}, p90 {:.1})",
            at(50),
            at(10),
            at(90)
        );
    }
    medians
}
