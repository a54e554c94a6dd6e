//! What a hostile plugin sends in size, count and time: it costs its own call, and the host little.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host_tests::{
    ISOLATIONS, Installation, Run, Service, c_plugin, desk, library_name, rust_plugin, wait_for,
};

/// A store of the test's own.
const QUEUE: &str = "[queue]\npath = \"queue.db\"\n";
/// Kilobytes that the host may have at its most while a plugin sends it 60 MiB.
const MOST: u64 = 200 << 10;

/// The rest of a backend's settings that has `misbehaves` do `fault` in create().
fn fault(fault: &str, isolation: &str) -> String {
    format!(
        "isolation = \"{isolation}\"\ncall_timeout_seconds = 10\ninformation = {{ fault = \"{fault}\" }}"
    )
}

fn misbehaves(name: &str, isolation: &str) -> Installation {
    let endpoint = "https://tickets.example.org";
    Installation::with(&c_plugin("misbehaves"), endpoint, &fault(name, isolation))
}

fn hostile(name: &str) -> Installation {
    let endpoint = "https://tickets.example.org";
    Installation::with(&c_plugin("hostile"), endpoint, &fault(name, "worker"))
}

/// Runs the program so that it, and each of its workers, ends if it takes more than 1.5 GB of address space.
fn limited(host: &Installation, arguments: &[&str]) -> Run {
    let inner = host.command(arguments);
    let mut command = Command::new("sh");
    // The address space of a program with threads is far larger than what it uses.
    command.arg("-c").arg("ulimit -v 1500000; exec \"$@\"").arg("sh");
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().current_dir(host.path("."));
    let incident = fs::read(ticket_host_tests::incident("plugin-closed")).unwrap();
    ticket_host_tests::run(command, &incident)
}

#[test]
fn what_a_plugin_gives_to_its_templates_is_bounded() {
    for isolation in ISOLATIONS {
        let host = misbehaves("huge_extra", isolation);
        let started = Instant::now();
        let run = limited(&host, &["create", "--force"]);
        run.ended(5).says("extra of 62914560 bytes, more than the 262144 that it may have");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_frame_over_a_bound_costs_the_call_its_worker_and_the_host_nothing() {
    for (fault, why) in [
        ("forged_headers", "the number of headers of an HTTP request"),
        ("forged_log", "the length of a body"),
        ("forged_extra", "the length of a body"),
        ("forged_reply", "the length of a body"),
        ("forged_heads", "the head of a frame is not what this version writes"),
        ("forged_often", "how often a call may ask"),
        ("forged_requests", "what a call may send in all"),
    ] {
        let run = limited(&hostile(fault), &["create", "--force"]).ended(6);
        let run = run.says("its process sent what no worker sends, and was killed").says(why);
        assert!(!run.stderr.contains("panicked"), "{run:?}");
    }
}

#[test]
fn a_call_logs_a_thousand_lines_and_256_kib_at_most() {
    for isolation in ISOLATIONS {
        let run = misbehaves("long_log", isolation).create("plugin-closed", &["--force"]).ended(0);
        let run = run.says("or 262144 bytes of them in one call; the rest is dropped");
        assert!(run.stderr.len() < 300 << 10, "{} bytes", run.stderr.len());
        // Each is cut to 16 KiB: 16 of 500 go through.
        assert_eq!(run.stderr.matches("llllll").count() / ((16 << 10) / 6), 16);
    }
}

#[test]
fn no_text_of_a_plugin_is_a_line_of_its_own() {
    for isolation in ISOLATIONS {
        let run = misbehaves("forges_lines", isolation).create("plugin-closed", &["--force"]);
        let run = run.ended(5).says("from the plugin\\n INFO ticket 99").says("refused\\n INFO");
        let forged =
            run.stderr.lines().find(|line| line.trim_start().starts_with("INFO ticket 99"));
        assert_eq!(forged, None, "{run:?}");
    }
}

#[test]
fn what_a_constructor_says_in_its_workers_place_is_no_line_of_its_own_either() {
    let host = Installation::new();
    host.add(&c_plugin("forges_loaded")).add(&rust_plugin("local"));
    host.config(&format!("{QUEUE}{}", host.local("good")));
    let service = host.serve();
    let shown = host.run(&["plugins", "show", "forges_loaded"]).ended(0).stdout;
    assert!(shown.contains("\\n INFO ticket 99"), "{shown}");
    for text in [host.log(), shown] {
        let forged = text.lines().find(|line| line.trim_start().starts_with("INFO ticket 99"));
        assert_eq!(forged, None, "{text}");
    }
    service.get("/healthz").is(200);
}

#[test]
fn the_end_of_a_last_line_is_told_however_long_it_is() {
    misbehaves("dies_with_long_line", "worker")
        .create("plugin-closed", &["--force"])
        .ended(6)
        .says("assertion failed: queue != NULL");
}

#[test]
fn a_dry_run_shows_the_beginning_of_what_is_long() {
    let run = limited(&misbehaves("huge_request", "worker"), &["create", "--force", "--dry-run"]);
    let run = run.ended(0);
    assert!(run.stdout.contains("(15663104 bytes more)"), "{}", &run.stdout[..200]);
    assert!(run.stdout.len() < 400 << 10, "{} bytes", run.stdout.len());
}

#[test]
fn a_schema_without_an_end_is_refused_and_the_other_plugins_are_there() {
    for (name, why) in [
        (
            "schema_bomb",
            "information_schema has more than 10000 parts if each reference is written out",
        ),
        ("schema_within", "information_schema has the keyword \"$id\" below its root"),
        (
            "schema_circle",
            "secret_schema has the reference \"#\", which leads back to where it stands",
        ),
    ] {
        let host = Installation::new();
        host.add(&c_plugin(name)).add(&rust_plugin("local"));
        host.config(&host.local("good"));
        let list = host.run(&["plugins", "list"]).ended(0);
        assert!(list.stdout.contains(why), "{list:?}");
        host.run(&["plugins", "show", name]).ended(7).says(why);
        host.create("plugin-closed", &[]).ended(0);
    }
}

#[test]
fn a_plugin_with_such_a_schema_that_is_dropped_live_stalls_nobody() {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    host.config(&format!("{QUEUE}{}", host.local("good")));
    let service = host.serve();
    for name in ["schema_bomb", "constructor_spins"] {
        host.add(&c_plugin(name));
    }
    host.logged("read again", 1);
    let made = service.file(&json!({"description": "x", "pk": 1, "source": {"name": "s"}}), 10_000);
    made.is(201);
    let plugins = service.get("/v1/plugins").is(200).json();
    let of = |name: &str| {
        let file = library_name(name);
        let all = plugins.as_array().unwrap();
        all.iter().find(|p| p["file"].as_str().unwrap().ends_with(&file)).unwrap().clone()
    };
    assert!(of("schema_bomb")["error"]["message"].as_str().unwrap().contains("10000 parts"));
    let spins = of("constructor_spins");
    assert!(spins["error"]["message"].as_str().unwrap().contains("of processor time"), "{spins}");
}

/// A service with a good backend `good`, and `bad` whose plugin does `fault`.
fn beside_a_good_one(fault: &str, plugin: &str) -> (Installation, Service) {
    let host = Installation::new();
    host.add(&c_plugin(plugin)).add(&rust_plugin("local"));
    host.config(&format!(
        "default_backend = \"good\"\n{QUEUE}{}[backends.bad]\nplugin = \"{plugin}\"\n\
         endpoint = \"https://tickets.example.org\"\ncall_timeout_seconds = 20\n\
         information = {{ fault = \"{fault}\" }}\n",
        host.local("good")
    ));
    let service = host.serve();
    (host, service)
}

fn file(service: &Service, backend: &str, pk: u32) -> Value {
    let incident = json!({"description": "x", "pk": pk, "source": {"name": "s"}});
    let body = json!({"incident": incident, "backend": backend, "wait_ms": 20_000});
    service.post("/v1/tickets", &body).json()
}

#[test]
fn while_a_plugin_sends_far_too_much_the_service_answers_and_stays_small() {
    for fault in ["forged_lines", "forged_log", "forged_headers"] {
        let (_host, service) = beside_a_good_one(fault, "hostile");
        let body = json!({
            "incident": {"description": "x", "pk": 1, "source": {"name": "s"}},
            "backend": "bad", "wait_ms": 0,
        });
        service.post("/v1/tickets", &body).is(202);
        let state = || service.get("/v1/tickets?backend=bad").json()["tickets"][0].clone();
        wait_for("the bad one to have been tried", || {
            let asked = Instant::now();
            service.get("/healthz").is(200);
            // Less than any probe's patience, on a machine that runs other tests beside this one.
            assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
            state()["error"]["message"].as_str().is_some_and(|m| m.contains("no worker sends"))
        });
        assert_eq!(file(&service, "good", 2)["state"], "created");
        assert!(service.memory() < MOST, "{fault}: {} KB", service.memory());
    }
}

#[test]
fn what_is_kept_of_a_failure_is_8_kib_however_long_the_plugin_makes_it() {
    let (host, service) = beside_a_good_one("long_error", "misbehaves");
    for pk in 0..20 {
        file(&service, "bad", pk);
    }
    let failed = service.get("/v1/tickets/1").json();
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.len() < 9 << 10, "{}", message.len());
    assert!(message.ends_with("bytes more)"), "{message}");
    let size = fs::metadata(host.path("queue.db")).map_or(0, |file| file.len());
    assert!(size < 4 << 20, "{size}");
}

/// The processes that a process has started and that still run (proc(5): the state, then the parent).
fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next() != Some("Z") && fields.next() == Some(&parent.to_string())
    };
    numbers.filter(is_child).collect()
}

#[test]
fn a_worker_that_prints_without_end_is_slowed_down_and_then_killed() {
    let (host, service) = beside_a_good_one("prints", "greedy");
    let incident = json!({"description": "x", "pk": 1, "source": {"name": "s"}});
    let body = json!({"incident": incident, "backend": "bad", "wait_ms": 0});
    service.post("/v1/tickets", &body).is(202);
    let cpu = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", service.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // utime and stime (proc(5)), in hundredths of a second.
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, started) = (cpu(), Instant::now());
    wait_for("a worker", || !children_of(service.id()).is_empty());
    host.logged("wrote to standard error without end, and was killed", 1);
    let used = (cpu() - before) as f64 / 100.0 / started.elapsed().as_secs_f64();
    assert!(used < 0.2, "the host used {used:.2} of a core");
    assert_eq!(file(&service, "good", 3)["state"], "created");
}

#[test]
fn an_archive_whose_names_are_huge_is_refused_before_they_are_read() {
    let host = Installation::new();
    // A GNU long name of 2 GiB (tar's header: name, mode, ..., size in octal, ..., type 'L').
    let mut header = [0_u8; 512];
    header[..13].copy_from_slice(b"././@LongLink");
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(b"20000000000\0");
    header[156] = b'L';
    header[257..265].copy_from_slice(b"ustar  \0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let tar = host.path("huge.tar");
    let mut file = fs::File::create(&tar).unwrap();
    file.write_all(&header).unwrap();
    // A hole that reads as zeros: it packs to 2 MB.
    file.set_len(512 + (1 << 31) + 1024).unwrap();
    let packed = Command::new("gzip").arg("-1").arg(&tar).status().unwrap();
    assert!(packed.success());
    let archive = host.path("huge.tar.gz");
    let plugins = host.path("plugins");
    let arguments =
        ["plugins", "install", archive.to_str().unwrap(), "--to", plugins.to_str().unwrap()];
    let run = limited(&host, &arguments);
    run.ended(7).says("a name in it has more than 65536 bytes");
}

#[test]
fn an_archive_with_long_names_of_a_usual_length_is_installed() {
    let stub = desk(|_| None);
    let host = Installation::new();
    let folder = host.path("a").join("a-folder-with-a-long-name-".repeat(6));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(c_plugin("webhook"), folder.join(library_name("webhook"))).unwrap();
    for format in ["gnu", "pax"] {
        let archive = host.path(&format!("{format}.tar.gz"));
        let tar = Command::new("tar")
            .arg(format!("--format={format}"))
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(host.path("."))
            .arg("a")
            .status();
        assert!(tar.unwrap().success());
        let plugins = host.path("plugins");
        let to = plugins.to_str().unwrap();
        host.run(&["plugins", "install", archive.to_str().unwrap(), "--to", to]).ended(0);
    }
    host.config(&format!(
        "[backends.b]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n",
        stub.url
    ));
    host.create("plugin-closed", &[]).ended(0);
}
