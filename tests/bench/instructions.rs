//! The guard against code that gets slower little by little. It compares the number of instructions of an
//! in-process call, and of accepting an incident, with stored numbers. Callgrind counts them. They don't depend
//! on the machine's load, so that a difference is a reason to fail: `tests/instructions.sh`.
#![allow(clippy::unwrap_used, unreachable_pub, missing_debug_implementations)]

mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use ticket_host::config::Config;
use ticket_host::plugins::catalog::Catalog;
use ticket_host::plugins::trust::Trust;
use ticket_host::queue::{self, Identified, Queue};
use ticket_host::setup::Setup;
use ticket_host::store::Sqlite;
use ticket_host_tests::rust_plugin;
use ticket_host_worker::library::{self, Image};
use ticket_plugin_api::abi::host_side::Operation;
use ticket_plugin_api::{Incident, Ticket};

use samples::{Silent, numbered, padded};

/// The first argument, by which this program does what is counted. The next two are the index of what is
/// counted, and how many times it is done.
const ARGUMENT: &str = "counted";
/// What is counted: its name in the file of stored numbers, and a function that does it so many times.
type Counted = (&'static str, fn(usize));
const COUNTED: [Counted; 2] = [("in-process call, 2 KB", calls), ("accepted incident", accepts)];
/// How many times it is done in a first run.
const FEW: usize = 100;
/// How many times it is done in a second run. By taking the difference of the two runs, the start of the
/// program isn't counted.
const MANY: usize = 600;
/// How far a count may be from the stored one, as a part of that.
const TOLERANCE: f64 = 0.05;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == ARGUMENT) {
        let [which, times] = [1, 2].map(|index| arguments[index].parse::<usize>().unwrap());
        COUNTED[which].1(times);
        return ExitCode::SUCCESS;
    }
    guard()
}

/// Counts, and compares with the stored numbers. If the variable UPDATE_INSTRUCTIONS is set, it stores the new
/// ones.
fn guard() -> ExitCode {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    let stored: BTreeMap<String, f64> = fs::read(&path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut counted = BTreeMap::new();
    let mut off = false;
    for (which, (name, _)) in COUNTED.iter().enumerate() {
        let [few, many] = [FEW, MANY].map(|times| collected(which, times));
        let each = ((many - few) / (MANY - FEW) as f64).round();
        match stored.get(*name).map(|stored| each / stored) {
            Some(ratio) => {
                println!("{name}: {each} instructions, {ratio:.3} of the stored");
                off |= (ratio - 1.0).abs() > TOLERANCE;
            }
            None => {
                println!("{name}: {each} instructions, none stored");
                off = true;
            }
        }
        counted.insert(*name, each);
    }
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        let text = serde_json::to_string_pretty(&counted).unwrap();
        fs::write(&path, text + "\n").unwrap();
    } else if off {
        eprintln!(
            "more than {TOLERANCE} off tests/bench/instructions.json: mend what costs, or say in \
             the commit why it has to, and store the new figures: \
             UPDATE_INSTRUCTIONS=1 tests/instructions.sh"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The number of instructions of a whole run, all threads together.
fn collected(which: usize, times: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let counts = directory.path().join("callgrind");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe().unwrap())
        .args([ARGUMENT, &which.to_string(), &times.to_string()])
        .output()
        .expect("valgrind is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let counts = fs::read_to_string(counts).unwrap();
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    total.trim().parse().unwrap()
}

fn calls(times: usize) {
    let settings = json!({"endpoint": "https://x.org", "secret": {}, "information": {"in": ""}});
    let image = Image::open(&rust_plugin("panics")).unwrap();
    let table = library::load(&image).unwrap().table;
    let mut instance = table.open(&settings.to_string(), &mut Silent).unwrap();
    let request = json!({"incident": padded(2048), "key": "k", "dry_run": false}).to_string();
    for _ in 0..times {
        let returned = instance.call(Operation::Create, &request, &mut Silent);
        drop(black_box(returned.parse::<Ticket>().unwrap()));
    }
}

/// Accepts incidents, from their JSON to the commit: all that `serve` does with a request except for the HTTP.
fn accepts(times: usize) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, "[backends.b]\nplugin = \"local\"\nendpoint = \"file:///tmp\"\n").unwrap();
    let config = Config::load(Some(&file)).unwrap();
    // A single thread beside the database's: several threads would take work from each other, and how often
    // they do is chance.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = directory.path().join("queue.db");
        let catalog = Catalog::discover(Vec::new(), &Trust::default()).await;
        let (backends, errors, kept) = Default::default();
        let setup = Setup { config, catalog, backends, errors, kept };
        let store = Sqlite::open_alone(&path, 1 << 30).await.unwrap();
        let queue = Queue::new(Arc::new(store), setup, Arc::default());
        let incidents: Vec<String> =
            (0..times).map(|number| numbered(number).to_string()).collect();
        for incident in &incidents {
            let incident: Incident = serde_json::from_str(incident).unwrap();
            let key = format!("{}#{}", incident.source, incident.pk);
            let identified = Identified::of_key(key);
            let setup = queue.setup();
            let new = queue::new(&queue, &setup, &incident, identified, None).unwrap();
            assert!(queue.keep(new, Duration::ZERO).await.unwrap().filed().await.new);
        }
    });
}
