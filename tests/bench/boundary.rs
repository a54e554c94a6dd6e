//! Measures the boundary between host and plugin alone: what a call costs whose plugin does nothing but reply,
//! in each way to run a plugin.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::library::RootModule;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use ticket_bench_root_module::{PluginRef, reply};
use ticket_host::Errors;
use ticket_host::backend::{Backend, KeyedIncident};
use ticket_host::config::Config;
use ticket_host::plugins::catalog::{Catalog, PluginDir};
use ticket_host::plugins::trust::Trust;
use ticket_host::store::Timestamp;
use ticket_host::worker::{Confinement, Missing, Peer, Worker};
use ticket_host_tests::{Installation, built, library_name, rust_plugin};
use ticket_host_worker::library::{self, Image};
use ticket_host_worker::sandbox::Policy;
use ticket_plugin_api::Ticket;
use ticket_plugin_api::abi::host_side::{HttpAnswer, HttpRequest, Operation};
use tokio::runtime::Runtime;

use crate::bare::BareSocket;
use crate::grpc::GrpcPlugin;
use crate::report::{Bar, Goal, Report};
use crate::samples::{Silent, padded};
use crate::statistics::{Sample, figure, interleaved};

/// The main function of a worker's process.
pub fn worker() -> ExitCode {
    ticket_host_worker::main([])
}

impl Peer for Silent {
    async fn http(&self, _: HttpRequest) -> HttpAnswer {
        HttpAnswer::DryRun
    }
    async fn render(&self, _: String, _: String, _: String) -> Result<String, String> {
        Err(String::new())
    }
    fn log(&self, _: u32, _: &str) {}
    fn printed(&self, _: &str) {}
    fn remaining(&self) -> Duration {
        Duration::from_secs(30)
    }
}

const NAMES: [&str; 9] = [
    "direct Rust call",
    "in-process: the C table",
    "in-process: an abi_stable root module",
    "worker without a sandbox",
    "worker + sandbox",
    "gRPC over a Unix socket (tonic), a process",
    "the whole backend, in-process",
    "the whole backend, worker + sandbox",
    "the floor: a bare socket, a process",
];

/// Measures with this thread and all processes that it starts on one processor. Otherwise each call would wake
/// another processor that sleeps; how long that takes depends on the machine, and differs from run to run by
/// more than all the rest takes.
pub fn measure(report: &mut Report) {
    let all = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|&processor| all.is_set(processor)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).unwrap();
    calls(report);
    sched_setaffinity(None, &all).unwrap();
}

fn calls(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plugin = rust_plugin("panics");
    let settings = json!({"endpoint": "https://x.org", "secret": {}, "information": {"in": ""}});
    let settings = settings.to_string();
    let image = Image::open(&plugin).unwrap();
    let table = library::load(&image).unwrap().table;
    let mut instance = table.open(&settings, &mut Silent).unwrap();
    let module = PluginRef::load_from_file(&root_module()).unwrap();
    let [mut free, mut confined] = [Policy::Off, Policy::Require].map(|policy| {
        runtime.block_on(async {
            let confinement = Confinement::nothing(policy);
            let mut worker =
                Worker::load(&image, &confinement, Duration::from_secs(30)).await.unwrap();
            worker.open(&settings, &Silent).await.unwrap();
            worker
        })
    });
    let mut grpc = GrpcPlugin::start(&runtime);
    let mut bare = BareSocket::start();
    let [in_process, worker] = ["in-process", "worker"].map(|i| runtime.block_on(backend(i)));

    for kilobytes in [2, 64] {
        let incident = padded(kilobytes * 1024);
        let request = json!({"incident": incident, "key": "k", "dry_run": false}).to_string();
        let asked = KeyedIncident {
            incident: Arc::new(serde_json::from_value(incident).unwrap()),
            key: "k".to_owned(),
            accepted_at: Timestamp::now(),
            leave_by: None,
            requests: Default::default(),
        };
        let parse = |reply: &str| {
            drop(black_box(ticket_plugin_api::json::read_text::<Ticket>(reply).unwrap()))
        };
        let in_worker = |runtime: &Runtime, worker: &mut Worker| {
            let returned =
                runtime.block_on(worker.call(Operation::Create, &request, &Silent)).unwrap();
            drop(returned.parse::<Ticket>().unwrap());
        };
        let times = interleaved(
            200,
            &mut [
                &mut || parse(&reply(&request).unwrap()),
                &mut || {
                    let returned = instance.call(Operation::Create, &request, &mut Silent);
                    drop(black_box(returned.parse::<Ticket>().unwrap()));
                },
                &mut || {
                    let reply = (module.create())(request.as_str().into());
                    parse(&reply.into_result().unwrap());
                },
                &mut || in_worker(&runtime, &mut free),
                &mut || in_worker(&runtime, &mut confined),
                &mut || parse(&runtime.block_on(grpc.create(&request))),
                &mut || drop(runtime.block_on(in_process.create(&asked)).unwrap()),
                &mut || drop(runtime.block_on(worker.create(&asked)).unwrap()),
                &mut || parse(&bare.create(&request)),
            ],
        );
        tell(report, kilobytes, &times);
    }
}

/// Reports how long the calls took, in the order of [`NAMES`].
fn tell(report: &mut Report, kilobytes: usize, times: &[Sample]) {
    let title = format!(
        "The boundary alone, on one processor: JSON of {kilobytes} KB, a create that only replies"
    );
    let part = report.part(&title, &["", "us: median (p10 to p90)", "x direct", "x gRPC"]);
    let [direct, grpc] = [0, 5].map(|rival: usize| times[rival].median());
    for (rival, (name, time)) in NAMES.iter().zip(times).enumerate() {
        let median = time.median();
        part.row(&[
            (*name).to_owned(),
            time.to_string(),
            figure(median / direct),
            figure(median / grpc),
        ]);
        let own = ![0, 2, 5, 8].contains(&rival);
        part.bar(Bar { label: (*name).to_owned(), value: median, unit: "us".to_owned(), own });
    }
    part.goal(Goal::at_most("C table / abi_stable", times[1].median() / times[2].median(), 1.2));
    part.goal(Goal::at_least("gRPC / worker + sandbox", grpc / times[4].median(), 3.0));
}

fn root_module() -> PathBuf {
    let name = library_name("x").replace("ticket_plugin_x", "ticket_bench_root_module");
    built().join(name)
}

/// A backend as the program makes it from a config.
async fn backend(isolation: &str) -> Backend {
    let installation = Installation::new();
    installation.config(&format!(
        "[backends.b]\nplugin = \"panics\"\nendpoint = \"https://tickets.example.org\"\n\
         isolation = \"{isolation}\"\ninformation = {{ in = \"\" }}\n"
    ));
    let config = Config::load(Some(&installation.path("config.toml"))).unwrap();
    // The library lies in the build's directory, since the installation is removed when this function returns.
    let directories =
        vec![PluginDir { directory: plugin_directory(), marked_only: false, named: true }];
    let catalog = Catalog::discover(directories, &Trust::default()).await;
    let plugin = catalog.find("panics").unwrap();
    Backend::prepare(
        config.backend(None).unwrap(),
        plugin,
        Policy::Require,
        Missing::Made,
        &Arc::default(),
        Errors::default(),
    )
    .unwrap()
}

fn plugin_directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-plugins");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(rust_plugin("panics"), directory.join(library_name("panics"))).unwrap();
    directory
}
