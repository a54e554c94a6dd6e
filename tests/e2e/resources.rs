//! What workers can't take: threads, processes, memory and processor time beyond their share; and that nothing which a
//! plugin started outlives its worker, or the host.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use ticket_host_tests::{Installation, Reply, Service, c_plugin, skipped, wait_for};

const QUEUE: &str = "[queue]\npath = \"queue.db\"\n";
/// What `file` gives if a ticket was made.
const CREATED: &str = "\"created\"";

/// A host with a backend for each of these names, faults and further settings, all of the greedy plugin.
fn greedy(limits: &str, backends: &[(&str, &str, &str)]) -> Installation {
    let host = Installation::new();
    host.add(&c_plugin("greedy"));
    let backends = backends.iter().map(|(name, fault, more)| {
        format!(
            "[backends.{name}]\nplugin = \"greedy\"\nendpoint = \"https://tickets.example.org\"\n\
             information = {{ fault = \"{fault}\" }}\n{more}\n"
        )
    });
    let serve = "[serve]\nlisten = \"127.0.0.1:0\"\n";
    host.config(&format!("[limits]\n{limits}\n{QUEUE}{serve}{}", backends.collect::<String>()));
    host
}

/// Files an incident, and gives its state once it was tried.
fn file(service: &Service, backend: &str, pk: u32) -> String {
    post(service, backend, pk, 60_000).json()["state"].to_string()
}

/// Files an incident whose call doesn't end.
fn file_and_go(service: &Service, backend: &str) {
    post(service, backend, 1, 0).is(202);
}

fn post(service: &Service, backend: &str, pk: u32, wait_ms: u32) -> Reply {
    let incident = json!({"description": "x", "pk": pk, "source": {"name": "s"}});
    let body = json!({"incident": incident, "backend": backend, "wait_ms": wait_ms});
    service.post("/v1/tickets", &body)
}

/// A process as `/proc/PID/stat` shows it (proc_pid_stat(5)).
#[derive(Debug)]
struct Process {
    id: u32,
    state: char,
    parent: u32,
    group: u32,
    /// Processor time that it has used, in hundredths of a second.
    cpu: u64,
}

impl Process {
    fn read(id: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields[field].parse::<u64>().unwrap();
        let state = fields[0].chars().next()?;
        let (parent, group) = (number(1) as u32, number(2) as u32);
        Some(Process { id, state, parent, group, cpu: number(11) + number(12) })
    }

    /// All that run. Those that have ended and that nobody has waited for don't.
    fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(Process::read).filter(|process| process.state != 'Z').collect()
    }
}

/// The service's workers: its children that lead a group, but for the keepers, which wait for its end.
fn workers(service: &Service) -> Vec<u32> {
    let is_worker = |process: &Process| {
        let command = fs::read(format!("/proc/{}/cmdline", process.id)).unwrap_or_default();
        let keeps = command.split(|byte| *byte == 0).any(|argument| argument == b"keep");
        process.parent == service.id() && process.group == process.id && !keeps
    };
    Process::all().iter().filter(|process| is_worker(process)).map(|process| process.id).collect()
}

fn members(groups: &[u32]) -> Vec<Process> {
    Process::all().into_iter().filter(|process| groups.contains(&process.group)).collect()
}

#[test]
fn a_worker_that_takes_too_much_in_a_call_is_killed_and_the_error_says_what_it_took() {
    for (fault, more, words) in [
        ("threads", "", ["its process had ", "threads, and was killed (64 are allowed)"]),
        (
            "processes",
            "permissions = { exec = true }",
            ["threads in ", "processes, and was killed (64 are allowed)"],
        ),
        (
            "zombies",
            "permissions = { exec = true }",
            ["threads in ", "processes, and was killed (64 are allowed)"],
        ),
        (
            "memory",
            "",
            ["its process took ", "MiB of memory, and was killed (512 MiB are allowed)"],
        ),
        ("headless", "", ["its process went on without its main thread", "and was killed"]),
    ] {
        let more = format!("call_timeout_seconds = 100\n{more}");
        let host = greedy("", &[("b", fault, &more)]);
        let started = Instant::now();
        let run = host.create("plugin-closed", &[]).ended(6);
        let end = &run.says(words[0]).says(words[1]).stderr;
        assert!(started.elapsed() < Duration::from_secs(30), "{fault}: {end}");
    }
}

#[test]
fn a_worker_that_keeps_too_much_after_its_call_is_killed() {
    let host = greedy("", &[("b", "keeps_threads", "")]);
    let service = host.serve();
    assert_eq!(file(&service, "b", 1), CREATED);
    wait_for("the worker to be killed", || workers(&service).is_empty());
    assert_eq!(file(&service, "b", 2), CREATED, "in a new worker");
    host.logged("the process of an idle worker had 101 threads, and was killed", 1);
}

#[test]
fn all_workers_together_take_no_more_than_they_may() {
    let backends = [("a", "keeps_memory", ""), ("b", "keeps_memory", "")];
    let host = greedy("workers_memory_megabytes = 150", &backends);
    let service = host.serve();
    for backend in ["a", "b"] {
        assert_eq!(file(&service, backend, 1), CREATED);
    }
    wait_for("one of both to be killed", || workers(&service).len() == 1);
    for backend in ["a", "b"] {
        file(&service, backend, 2);
    }
    host.logged("was killed as the largest of 2, which together took ", 1);
    host.logged("(limits.workers_memory_megabytes allows 150)", 1);
}

#[test]
fn an_idle_worker_gets_no_processor_time_whatever_its_plugin_left_behind() {
    for (fault, permissions) in
        [("works_on", ""), ("wakes_on", ""), ("wakes_on", "permissions = { exec = true }")]
    {
        let host = greedy("", &[("b", fault, permissions)]);
        let service = host.serve();
        for pk in 1..4 {
            // Each call goes on in the same worker.
            assert_eq!(file(&service, "b", pk), CREATED);
        }
        let [worker] = workers(&service)[..] else { panic!("{:?}", workers(&service)) };
        let look = || Process::read(worker).unwrap();
        wait_for("the worker to be stopped", || look().state == 'T');
        let (before, started) = (look().cpu, Instant::now());
        wait_for("half a second", || started.elapsed() > Duration::from_millis(500));
        assert_eq!(look().cpu, before, "{fault} {permissions}");
    }
}

#[test]
fn what_a_plugin_started_ends_with_its_worker() {
    let exec = "permissions = { exec = true }\ncall_timeout_seconds = 100";
    let host = greedy("max_workers = 1", &[("a", "daemons", exec), ("b", "", "")]);
    let service = host.serve();
    assert_eq!(file(&service, "a", 1), CREATED);
    let workers = workers(&service);
    // The ticket is told of before they are stopped.
    wait_for("its daemons to be stopped", || {
        let members = members(&workers);
        members.len() == 7 && members.iter().all(|process| process.state == 'T')
    });
    // It is ended, since there is only one place.
    assert_eq!(file(&service, "b", 1), CREATED);
    wait_for("nothing is left", || members(&workers).is_empty());
}

#[test]
fn a_workers_end_is_seen_at_once_though_what_it_started_holds_its_pipe() {
    let exec = "permissions = { exec = true }\ncall_timeout_seconds = 100";
    let host = greedy("", &[("b", "dies", exec)]);
    let started = Instant::now();
    host.create("plugin-closed", &[]).ended(6).says("its process exited with code 3");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn nothing_outlives_the_host_even_if_it_is_killed() {
    let exec = "permissions = { exec = true }\ncall_timeout_seconds = 100";
    // One is stopped since it is idle, the other one is in its call.
    let host = greedy("", &[("a", "daemons", exec), ("b", "daemons_and_waits", exec)]);
    let service = host.serve();
    assert_eq!(file(&service, "a", 1), CREATED);
    file_and_go(&service, "b");
    let mut groups = Vec::new();
    wait_for("two workers with six daemons each", || {
        groups = workers(&service);
        members(&groups).len() == 14
    });
    let is_keeper =
        |process: &Process| process.parent == service.id() && !groups.contains(&process.id);
    let keepers: Vec<u32> = Process::all()
        .iter()
        .filter(|process| is_keeper(process))
        .map(|process| process.id)
        .collect();
    assert_eq!(keepers.len(), 2);
    service.kill();
    wait_for("nothing is left", || members(&groups).is_empty() && members(&keepers).is_empty());
}

#[test]
fn a_service_that_is_told_to_stop_leaves_nothing_behind() {
    let host = greedy("", &[("a", "daemons", "permissions = { exec = true }")]);
    let service = host.serve();
    assert_eq!(file(&service, "a", 1), CREATED);
    let children: Vec<u32> =
        Process::all().iter().filter(|p| p.parent == service.id()).map(|p| p.id).collect();
    assert_eq!(children.len(), 2, "a worker and its keeper");
    assert_eq!(service.stop(), 0);
    wait_for("nothing is left", || members(&children).is_empty());
}

#[test]
fn the_longest_idle_worker_makes_room_for_a_new_one() {
    let host = greedy("max_workers = 2", &[("a", "", ""), ("b", "", ""), ("c", "", "")]);
    let service = host.serve();
    let mut before = Vec::new();
    for (pk, backend) in (1..).zip(["a", "b", "a", "c", "a"]) {
        assert_eq!(file(&service, backend, pk), CREATED);
        wait_for("the ended one to be gone", || workers(&service).len() <= 2);
        before.push(workers(&service));
    }
    // c took the place of b, since a was used after b.
    let of_a = before[0][0];
    assert!(before.iter().all(|workers| workers.contains(&of_a)), "{before:?}");
    assert_ne!(before[2], before[3]);
}

#[test]
fn who_waits_for_a_worker_in_vain_is_told_so() {
    let backends =
        [("a", "waits", "call_timeout_seconds = 100"), ("b", "", "call_timeout_seconds = 1")];
    let host = greedy("max_workers = 1", &backends);
    let service = host.serve();
    file_and_go(&service, "a");
    wait_for("the one worker", || !workers(&service).is_empty());
    file_and_go(&service, "b");
    host.logged("as many workers as may be, of all backends, were busy for 1 s", 1);
}

#[test]
fn check_says_what_bounds_a_worker() {
    let checked = greedy("", &[("b", "", "")]).run(&["check"]).ended(0).stdout;
    let watched = checked.contains("killed if one has more than 512 MiB of memory or 64 threads");
    assert!(watched || checked.contains("each worker has a cgroup"), "{checked}");
}

/// A user who may have no more processes than this. Root may have as many as there is room for.
#[cfg(target_os = "linux")]
const NOBODY: u32 = 65534;

/// The command, run by a user whose processes Linux counts.
#[cfg(target_os = "linux")]
fn counted(command: std::process::Command) -> std::process::Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut counted = std::process::Command::new("setpriv");
    counted.args([
        &format!("--reuid={NOBODY}"),
        &format!("--regid={NOBODY}"),
        "--clear-groups",
        "--",
    ]);
    counted.arg(command.get_program()).args(command.get_args()).env_clear();
    counted
}

#[cfg(target_os = "linux")]
#[test]
fn tickets_wait_while_this_machine_has_no_room_for_a_process_and_are_made_when_it_has() {
    use rustix::process::{Resource, getrlimit};
    use std::os::unix::fs::{PermissionsExt, chown};
    let desk = ticket_host_tests::desk(|_| None);
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"store/queue.db\"\nlongest_wait_seconds = 1\n";
    let host = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(host.path(""), open).unwrap();
    std::fs::create_dir(host.path("store")).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(host.path("store"), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut look = std::process::Command::new("cat");
    look.arg(host.path("config.toml"));
    if !counted(look).output().is_ok_and(|output| output.status.success()) {
        return skipped("needs setpriv, and a checkout that everybody may enter");
    }
    let service = host.serve_by(counted(host.command(&["serve", "--listen", "127.0.0.1:0"])));
    // Only who is that user may change how many it may have.
    let limit_processes = |soft: &str| {
        let mut prlimit = std::process::Command::new("prlimit");
        prlimit.args(["--pid", &service.id().to_string(), &format!("--nproc={soft}:")]);
        let changed = counted(prlimit).status();
        assert!(changed.is_ok_and(|status| status.success()));
    };
    let before = getrlimit(Resource::Nproc).current;
    limit_processes("1");
    let incident =
        |pk: u32| json!({"description": "gw1 is down", "pk": pk, "source": {"name": "nav"}});
    for pk in 0..3 {
        service.file(&incident(pk), 0).is(202);
    }
    host.logged("this machine has no room for another process", 2);
    let each = || service.get("/readyz").is(200).json()["each"].clone();
    wait_for("it to be told", || {
        each() == json!([{"name": "b", "ready": false, "reason": "machine"}])
    });
    let job = service.file(&incident(3), 30_000).is(202).json();
    assert_eq!(job["state"], "queued", "{job}");
    limit_processes(&before.map_or("unlimited".to_owned(), |most| most.to_string()));
    wait_for("the tickets", || desk.posted().len() == 4);
    let made = || service.get("/v1/tickets?state=created").is(200).json();
    wait_for("all to be recorded", || made()["tickets"].as_array().unwrap().len() == 4);
    for job in made()["tickets"].as_array().unwrap() {
        assert_eq!(job["attempts"], 1, "what this machine lacked was no try: {job}");
    }
    host.logged("this machine has room again", 1);
    assert!(!host.log().contains("this is the plugin's fault"), "{}", host.log());
    assert_eq!(each(), json!([{"name": "b", "ready": true}]));
}
