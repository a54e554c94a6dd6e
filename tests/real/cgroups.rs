//! Workers in control groups. `tests/real/cgroups.sh` boots a machine whose cgroups can be had, and runs this there in a
//! cgroup that is delegated to a user.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use ticket_host_tests::{Installation, Service, c_plugin, wait_for};

/// The cgroups of workers, below the delegated one.
const WORKERS: &str = "/sys/fs/cgroup/delegated/workers";

fn greedy(fault: &str) -> Installation {
    Installation::with(
        &c_plugin("greedy"),
        "https://tickets.example.org",
        &format!(
            "call_timeout_seconds = 100\ninformation = {{ fault = \"{fault}\" }}\n\
             [queue]\npath = \"queue.db\"\n[limits]\nworkers_memory_megabytes = 200\n"
        ),
    )
}

/// Begins a call that doesn't end, and gives its worker's cgroup.
fn in_a_call(service: &Service) -> PathBuf {
    let incident = json!({"description": "x", "pk": 1, "source": {"name": "s"}});
    service.file(&incident, 0).is(202);
    let mut all = Vec::new();
    wait_for("a worker", || {
        all = cgroups_of(service);
        all.len() == 1 && !read(&all[0], "cgroup.procs").is_empty()
    });
    all.remove(0)
}

fn cgroups_of(service: &Service) -> Vec<PathBuf> {
    let start = format!("{}-", service.id());
    let all = fs::read_dir(WORKERS).unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&start)).collect()
}

fn read(cgroup: &Path, file: &str) -> String {
    fs::read_to_string(cgroup.join(file)).unwrap_or_default().trim().to_owned()
}

/// A number of a file such as `cpu.stat`, which has a name and a number on each line.
fn count(cgroup: &Path, file: &str, name: &str) -> u64 {
    let text = read(cgroup, file);
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    number.unwrap_or(0)
}

#[test]
#[ignore = "tests/real/cgroups.sh runs it"]
fn a_worker_gets_no_more_threads_than_it_may_have() {
    let host = greedy("threads");
    let service = host.serve();
    let cgroup = in_a_call(&service);
    wait_for("a thread to be refused", || count(&cgroup, "pids.events", "max") > 0);
    assert_eq!(read(&cgroup, "pids.current"), "64");
    assert_eq!(read(&cgroup, "pids.max"), "64");
}

#[test]
#[ignore = "tests/real/cgroups.sh runs it"]
fn a_worker_gets_no_more_than_one_processor() {
    let host = greedy("works");
    let service = host.serve();
    let cgroup = in_a_call(&service);
    assert_eq!(read(&cgroup, "cpu.max"), "100000 100000");
    wait_for("it to be held back", || count(&cgroup, "cpu.stat", "nr_throttled") > 3);
}

#[test]
#[ignore = "tests/real/cgroups.sh runs it"]
fn a_worker_that_takes_too_much_memory_is_killed_by_linux_and_the_error_says_so() {
    greedy("memory").create("plugin-closed", &[]).ended(6).says(
        "its process took too much memory, and was killed by Linux (512 MiB are allowed, and 200 MiB to all \
         workers together)",
    );
    let host = greedy("waits");
    let service = host.serve();
    let cgroup = in_a_call(&service);
    assert_eq!(read(&cgroup, "memory.max"), (512 << 20).to_string());
    assert_eq!(read(Path::new(WORKERS), "memory.max"), (200 << 20).to_string());
}

#[test]
#[ignore = "tests/real/cgroups.sh runs it"]
fn an_idle_worker_uses_nothing_and_its_cgroup_goes_with_it() {
    let host = greedy("works_on");
    let service = host.serve();
    let incident = json!({"description": "x", "pk": 1, "source": {"name": "s"}});
    service.file(&incident, 60_000).is(201);
    let [cgroup] = &cgroups_of(&service)[..] else { panic!("{:?}", cgroups_of(&service)) };
    let used = || count(cgroup, "cpu.stat", "usage_usec");
    let worker = read(cgroup, "cgroup.procs");
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.starts_with(" T")
    };
    wait_for("the worker to be stopped", is_stopped);
    let (before, started) = (used(), std::time::Instant::now());
    wait_for("a second", || started.elapsed().as_secs() > 0);
    assert_eq!(used(), before);
    assert_eq!(service.stop(), 0);
    // The one that stopped may not have had the time for it; then the next one does it.
    host.serve();
    assert!(!cgroup.exists());
}

#[test]
#[ignore = "tests/real/cgroups.sh runs it"]
fn what_a_killed_host_leaves_is_removed_by_the_next_one() {
    let host = greedy("waits");
    let service = host.serve();
    let cgroup = in_a_call(&service);
    service.kill();
    wait_for("its worker to end", || read(&cgroup, "cgroup.procs").is_empty());
    let _service = host.serve();
    assert!(!cgroup.exists());
}

#[test]
#[ignore = "tests/real/cgroups.sh runs it"]
fn check_says_that_workers_have_cgroups() {
    let checked = greedy("").run(&["check"]).ended(0).stdout;
    let bounds = "each worker has a cgroup, which lets it have";
    assert!(checked.contains(bounds), "{checked}");
    for bound in ["512 MiB of memory", "64 threads", "one processor"] {
        assert!(checked.contains(bound), "{checked}");
    }
}
