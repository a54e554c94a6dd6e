//! What a malicious library can't do: nothing but talk to its backend's endpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use ticket_host_tests::{Installation, c_plugin, desk, run, rust_plugin, skipped, wait_for};

/// What stops an attempt, after the error that the library gets.
const SYSTEM_CALL: &str = "EPERM: the system call is not on the list";
const FILE: &str = "EACCES: Landlock doesn't have the file";
const LIMIT: &str = "ENOMEM EMFILE: a limit on what the process takes";
const STATE: &str = "ENODATA: there is nothing to find";
const ALLOWED: &str = "OK: it does no harm";

/// Every attempt of `faulty/hostile.c`, and what stops it.
const TABLE: &[(&str, &[&str])] = &[
    (
        SYSTEM_CALL,
        &[
            "tcp_connect",
            "tcp6_connect",
            "tcp_bind",
            "udp_connect",
            "udp_bind",
            "raw_socket",
            "packet_socket",
            "netlink_socket",
            "vsock_socket",
            "unix_connect",
            "unix_abstract",
            "socket_pair",
            "io_uring",
            "make_directory",
            "make_link",
            "make_pipe",
            "change_mode",
            "change_owner",
            "change_time",
            "truncate_file",
            "memory_file",
            "open_by_handle",
            "watch_files",
            "watch_all_files",
            "fork_child",
            "clone_child",
            "clone_namespace",
            "exec_program",
            "exec_memory",
            "trace_parent",
            "copy_parent_memory",
            "write_parent_memory",
            "open_parent",
            "take_descriptor",
            "signal_parent",
            "signal_group",
            "signal_everybody",
            "signal_thread",
            "queue_signal",
            "signal_by_descriptor",
            "choose_signal",
            "thread_in_namespace",
            "slow_parent",
            "limit_parent",
            "pin_parent",
            "new_session",
            "raise_memory_limit",
            "raise_file_limit",
            "be_dumpable",
            "outlive_host",
            "be_traced",
            "set_user",
            "new_user_space",
            "join_namespace",
            "mount_files",
            "change_root",
            "load_program",
            "count_events",
            "handle_faults",
            "read_keys",
            "add_key",
            "load_module",
            "read_kernel_log",
            "set_clock",
            "other_personality",
            "shared_memory",
            "message_queue",
            "semaphores",
            "type_into_terminal",
            "size_of_queue",
        ],
    ),
    ("ENOSYS: libraries fall back to the call that can be looked into", &["clone3_child"]),
    (
        FILE,
        &[
            "read_passwd",
            "read_shadow",
            "list_root",
            "list_home",
            "list_processes",
            "list_here",
            "read_parent_environ",
            "read_parent_cmdline",
            "read_parent_memory",
            "read_parent_descriptor",
            "read_parent_maps",
            "read_own_environ",
            "write_tmp",
            "write_var_tmp",
            "write_shared_memory",
            "fill_disk",
        ],
    ),
    ("ENOENT: the working directory has no name any more", &["write_here"]),
    (STATE, &["see_environment", "gain_privileges", "dump_core"]),
    (LIMIT, &["take_memory", "take_descriptors"]),
    (ALLOWED, &["allowed_thread", "allowed_random", "allowed_library"]),
];

fn hostile(more: &str) -> Installation {
    Installation::with(&c_plugin("hostile"), "https://tickets.example.org", more)
}

/// The result of each attempt, by when it was tried and its name.
fn attempts(host: &Installation) -> BTreeMap<(String, String), String> {
    let created = host.create("plugin-closed", &["--force", "--json"]).ended(0).json();
    let warnings = created["warnings"].as_array().unwrap();
    let attempt = |text: &str| {
        let mut words = text.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap();
        ((word(), word()), word())
    };
    warnings.iter().map(|warning| attempt(warning.as_str().unwrap())).collect()
}

#[test]
fn a_library_can_do_nothing_when_it_is_loaded_nor_in_its_entry_nor_in_a_call() {
    let results = attempts(&hostile("information = { fault = \"all\" }"));
    let rows: usize = TABLE.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(results.len(), 3 * rows, "a row for each attempt");
    for (stopped_by, names) in TABLE {
        let (expected, _) = stopped_by.split_once(':').unwrap();
        for name in *names {
            for when in ["constructor", "entry", "create"] {
                let result = &results[&(when.to_owned(), (*name).to_owned())];
                let as_expected = expected.split(' ').any(|errno| errno == result);
                assert!(as_expected, "{when} {name}: {result}, and not {stopped_by}");
            }
        }
    }
}

/// Otherwise the table above would prove nothing.
#[test]
fn without_the_sandbox_the_same_attempts_succeed() {
    let results =
        attempts(&hostile("information = { fault = \"all\" }\nisolation = \"in-process\""));
    for name in [
        "tcp_bind",
        "udp_bind",
        "socket_pair",
        "make_directory",
        "make_link",
        "make_pipe",
        "memory_file",
        "fork_child",
        "clone_child",
        "clone3_child",
        "signal_parent",
        "signal_by_descriptor",
        "raise_memory_limit",
        "be_dumpable",
        "outlive_host",
        "other_personality",
        "read_passwd",
        "list_root",
        "list_processes",
        "list_here",
        "read_parent_cmdline",
        "write_tmp",
        "write_here",
        "gain_privileges",
        "take_memory",
        "allowed_thread",
    ] {
        let result = &results[&("create".to_owned(), name.to_owned())];
        assert_eq!(result, "OK", "{name}");
    }
    for (name, errno) in [("tcp_connect", "ECONNREFUSED"), ("exec_program", "EFAULT")] {
        assert_eq!(results[&("create".to_owned(), name.to_owned())], errno);
    }
}

#[test]
fn a_rust_plugin_can_do_nothing_either() {
    let endpoint = "https://tickets.example.org";
    let host = Installation::with(&rust_plugin("hostile_rust"), endpoint, "");
    let created = host.create("plugin-closed", &["--json"]).ended(0).json();
    let warnings = created["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 14);
    for warning in warnings {
        assert!(!warning.as_str().unwrap().ends_with(": OK"), "{warning}");
    }
}

#[test]
fn what_is_granted_by_name_works_and_the_rest_does_not() {
    let with = |permissions: &str| {
        let more =
            format!("information = {{ fault = \"all\" }}\npermissions = {{ {permissions} }}\n");
        attempts(&hostile(&more))
    };
    let in_create = |results: &BTreeMap<_, String>, name: &str| {
        results[&("create".to_owned(), name.to_owned())].clone()
    };
    let direct = with("network = \"direct\"");
    for (name, result) in [
        ("tcp_connect", "ECONNREFUSED"),
        ("tcp_bind", "OK"),
        ("udp_bind", "OK"),
        ("raw_socket", "EPERM"),
        ("netlink_socket", "EPERM"),
        ("unix_connect", "EPERM"),
        ("read_passwd", "EACCES"),
        ("fork_child", "EPERM"),
    ] {
        assert_eq!(in_create(&direct, name), result, "direct {name}");
    }
    let exec = with("exec = true");
    for (name, result) in [
        ("fork_child", "OK"),
        ("clone3_child", "OK"),
        ("exec_program", "EFAULT"),
        ("tcp_connect", "EPERM"),
        ("io_uring", "EPERM"),
        ("unix_abstract", "EPERM"),
        ("trace_parent", "EPERM"),
        ("copy_parent_memory", "EPERM"),
        ("limit_parent", "EPERM"),
        ("slow_parent", "EPERM"),
        ("read_passwd", "EACCES"),
        ("write_tmp", "EACCES"),
        ("change_mode", "EPERM"),
        ("mount_files", "EPERM"),
        ("read_parent_environ", "EACCES"),
        ("signal_parent", "EPERM"),
        ("unix_connect", "EPERM"),
    ] {
        assert_eq!(in_create(&exec, name), result, "exec {name}");
    }
    let write = with("write = [\"/tmp\"]");
    for (name, result) in [
        ("write_tmp", "OK"),
        ("fill_disk", "EFBIG"),
        ("make_directory", "OK"),
        ("make_link", "OK"),
        ("make_pipe", "EPERM"),
        ("write_var_tmp", "EACCES"),
        ("change_mode", "EPERM"),
        ("truncate_file", "EPERM"),
    ] {
        assert_eq!(in_create(&write, name), result, "write {name}");
    }
}

fn tries(fault: &str, argument: &str, permissions: &str) -> ticket_host_tests::Run {
    let host = hostile(&format!(
        "secret = {{ token = \"hunter2\" }}\npermissions = {{ {permissions} }}\n\
         information = {{ fault = \"{fault}\", argument = \"{argument}\" }}\n"
    ));
    let mut command = host.command(&["create", "--force", "-"]);
    command.env("GRANTED", "seen").env("OTHER", "seen");
    let incident = fs::read(ticket_host_tests::incident("plugin-closed")).unwrap();
    run(command, &incident)
}

#[test]
fn files_and_variables_are_granted_one_by_one() {
    tries("read", "/etc/passwd", "").ended(5).says("read: EACCES");
    tries("read", "/etc/passwd", "read = [\"/etc/passwd\"]").ended(5).says("read: OK");
    tries("read", "/etc/shadow", "read = [\"/etc/passwd\"]").ended(5).says("read: EACCES");
    tries("variable", "GRANTED", "").ended(5).says("variable: absent");
    tries("variable", "GRANTED", "env = [\"GRANTED\"]").ended(5).says("variable: seen");
    tries("variable", "OTHER", "env = [\"GRANTED\"]").ended(5).says("variable: absent");
    // The config, in which every backend's secret may stand.
    let host = hostile("");
    let config = host.path("config.toml");
    tries("read", config.to_str().unwrap(), "").ended(5).says("read: EACCES");
}

#[test]
fn descriptors_that_the_host_was_started_with_stay_with_the_host() {
    let open = |isolation: &str| {
        let host = hostile(&format!(
            "isolation = \"{isolation}\"\ninformation = {{ fault = \"descriptor\", argument = \"9\" }}"
        ));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!(
            "exec 9</etc/passwd; exec {} --config {} create --force {}",
            host.path("bin/ticket-host").display(),
            host.path("config.toml").display(),
            ticket_host_tests::incident("plugin-closed").display(),
        ));
        run(shell, b"").ended(5)
    };
    open("worker").says("descriptor: EBADF");
    open("in-process").says("descriptor: OK");
}

#[test]
fn grants_that_cannot_be_are_pointed_at() {
    tries("", "", "read = [\"/nowhere/at/all\"]")
        .ended(3)
        .says("permissions.read: /nowhere/at/all")
        .says("config.toml:");
    tries("", "", "write = [\"/proc/nowhere\"]").ended(3).says("permissions.write: /proc/nowhere");
    tries("", "", "teleport = true").ended(3).says("unknown field `teleport`");
    tries("", "", "network = \"all\"").ended(3).says("unknown variant");
}

#[test]
fn what_a_plugin_asks_for_and_is_not_granted_is_a_settings_error_before_its_first_call() {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    let whole = host.local("b");
    let without: String = whole
        .lines()
        .filter(|line| !line.starts_with("permissions"))
        .collect::<Vec<_>>()
        .join("\n");
    host.config(&without);
    for arguments in [&["check"][..], &["create", "-"]] {
        let run = run(
            host.command(arguments),
            b"{\"description\": \"x\", \"pk\": 1, \"source\": {\"name\": \"n\"}}",
        );
        run.ended(3)
            .says("the plugin needs permissions that are not granted: write (the directory that the endpoint names")
            .says("to grant that, set permissions = { write = [");
    }
    assert_eq!(fs::read_dir(host.path("tickets")).unwrap().count(), 0);
    host.config(&whole);
    let checked = host.run(&["check"]).ended(0).stdout;
    assert!(checked.contains("asks for write; granted: write = ["), "{checked}");
    assert!(checked.contains("the sandbox keeps it from everything else"), "{checked}");
    let shown = host.run(&["plugins", "show", "local"]).ended(0).stdout;
    assert!(shown.contains("write: the directory that the endpoint names"), "{shown}");
    assert!(shown.contains("granted to b: write = ["), "{shown}");
}

#[test]
fn the_secret_goes_to_the_endpoint_and_nowhere_else() {
    for url in [
        "https://evil.example.org/",
        "https://tickets.example.org@evil.example.org/",
        "https://hunter2@tickets.example.org/",
        "https://tickets.example.org:8443/",
        "http://tickets.example.org/",
        "https://tickets.example.org.evil.example.net/",
        "https://eviltickets.example.org/",
        "https://example.org/",
        "https://evil.example.org\\\\@tickets.example.org/",
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "ftp://tickets.example.org/",
        "nonsense",
    ] {
        let run = tries("http", url, "").ended(3).says("denied: the plugin asked for");
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
}

#[test]
fn a_redirect_takes_no_secret_along() {
    let elsewhere = desk(|_| None);
    let target = elsewhere.url.clone();
    let endpoint =
        desk(move |_| Some(ticket_host_tests::Answer::status(307).header("Location", &target)));
    let host = Installation::with(
        &c_plugin("hostile"),
        &endpoint.url,
        &format!(
            "secret = {{ token = \"hunter2\" }}\ninformation = {{ fault = \"http\", argument = \"{}x\" }}",
            endpoint.url
        ),
    );
    host.create("plugin-closed", &["--force"]).ended(6).says("it went out");
    assert_eq!(endpoint.seen().len(), 1);
    assert!(elsewhere.seen().is_empty());
}

/// What `create` says when the hostile plugin asks for `http://NAME:PORT`. The host is given a hosts file of its own,
/// which answers as whoever owns the endpoint's domain could; `namespaces` are arguments of unshare(1). None where
/// that can't be had.
fn asks_with_hosts(
    namespaces: &[&str],
    hosts: &str,
    name: &str,
    port: &str,
    more: &str,
) -> Option<ticket_host_tests::Run> {
    let private = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(namespaces).args(["--mount", "sh", "-c", command]);
        unshare
    };
    if !private("true").output().is_ok_and(|output| output.status.success()) {
        return None;
    }
    let host = Installation::with(
        &c_plugin("hostile"),
        &format!("http://tickets.example.org:{port}"),
        &format!(
            "secret = {{ token = \"hunter2\" }}\n{more}\n\
             information = {{ fault = \"http\", argument = \"http://{name}:{port}/x?key=1\" }}"
        ),
    );
    fs::write(host.path("hosts"), hosts).unwrap();
    let command = format!(
        "mount --bind {} /etc/hosts && exec {} --config {} create --force {}",
        host.path("hosts").display(),
        host.path("bin/ticket-host").display(),
        host.path("config.toml").display(),
        ticket_host_tests::incident("plugin-closed").display(),
    );
    Some(run(private(&command), b""))
}

const OWN_HOSTS: &str = "needs root, and that it may mount a hosts file of its own";

#[test]
fn a_name_below_the_endpoints_that_leads_home_is_denied() {
    let home = desk(|_| None);
    let port = home.url.trim_end_matches('/').rsplit(':').next().unwrap();
    let asks = |hosts: &str, name: &str, more: &str| asks_with_hosts(&[], hosts, name, port, more);
    let evil = "1.1.1.1 tickets.example.org\n127.0.0.1 evil.tickets.example.org\n";
    let Some(denied) = asks(evil, "evil.tickets.example.org", "") else {
        return skipped(OWN_HOSTS);
    };
    let origin = format!("http://evil.tickets.example.org:{port}");
    denied
        .ended(3)
        .says(&format!("denied: the plugin asked for {origin}, but its name leads to 127.0.0.1"))
        .says("which is this machine")
        .says(&format!("add \"{origin}\" to the backend's allow_origins"));
    assert!(home.seen().is_empty());
    let added = format!("allow_origins = [\"{origin}\"]");
    let own = "127.0.0.1 tickets.example.org same.tickets.example.org\n";
    for (hosts, name, more) in [
        (evil, "evil.tickets.example.org", added.as_str()),
        // The operator wrote this one, and the other is where this one is.
        (own, "tickets.example.org", ""),
        (own, "same.tickets.example.org", ""),
    ] {
        asks(hosts, name, more).unwrap().ended(6).says("it went out");
    }
    assert_eq!(home.seen().len(), 3);
}

/// There is no network in the host's namespace: what isn't denied can't be reached.
#[test]
fn a_name_below_the_endpoints_leads_to_a_private_network_only_if_the_endpoint_does() {
    for (own, below, is_denied) in [
        ("1.1.1.1", "1.0.0.1", false),
        ("1.1.1.1", "10.0.0.2", true),
        ("1.1.1.1", "100.64.0.1", true),
        ("1.1.1.1", "fd00::2", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("10.0.0.1", "fd00::2", false),
        ("10.0.0.1", "127.0.0.1", true),
        ("10.0.0.1", "169.254.169.254", true),
        ("10.0.0.1", "100.100.100.200", true),
        ("10.0.0.1", "168.63.129.16", true),
        ("10.0.0.1", "192.0.0.192", true),
        ("10.0.0.1", "fd00:ec2::254", true),
        ("10.0.0.1", "64:ff9b::169.254.169.254", true),
        ("fd00::1", "::ffff:169.254.169.254", true),
    ] {
        let hosts = format!("{own} tickets.example.org\n{below} api.tickets.example.org\n");
        let asked = asks_with_hosts(&["--net"], &hosts, "api.tickets.example.org", "80", "");
        let Some(asked) = asked else { return skipped(OWN_HOSTS) };
        let case = format!("{own} -> {below}: {}", asked.stderr);
        assert_eq!(asked.stderr.contains("but its name leads to"), is_denied, "{case}");
        assert_eq!(asked.stderr.contains("can't be reached"), !is_denied, "{case}");
        assert!(!asked.stderr.contains("hunter2"), "{case}");
    }
}

#[test]
fn forged_frames_and_threads_that_go_on_harm_nobody_else() {
    let evil = desk(|_| None);
    let good = desk(|_| None);
    for fault in ["thread", "forge", "nonsense"] {
        let host = Installation::new();
        host.add(&c_plugin("hostile")).add(&c_plugin("webhook"));
        host.config(&format!(
            "[queue]\npath = \"queue.db\"\nsettle_seconds = 0\nlongest_wait_seconds = 1\n\
             [backends.bad]\nplugin = \"hostile\"\nendpoint = \"https://tickets.example.org\"\n\
             secret = {{ token = \"t\" }}\n\
             information = {{ fault = \"{fault}\", argument = \"{}\" }}\n\
             [backends.good]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n",
            evil.url, good.url
        ));
        let service = host.serve();
        for number in 0..3 {
            for (backend, wait) in [("bad", 0), ("good", 30_000)] {
                let incident = json!({"description": "x", "pk": number, "source": {"name": fault}});
                let body = json!({"incident": incident, "backend": backend, "wait_ms": wait});
                let reply = service.post("/v1/tickets", &body);
                assert!(reply.status < 300, "{fault} {backend}: {} {}", reply.status, reply.text);
            }
        }
        let tried = |text: &str| text.contains(&format!("({fault}#2)"));
        wait_for("the last try of the bad one", || tried(&host.log()));
        match fault {
            "nonsense" => host.logged("sent what no worker sends, and was killed", 1),
            _ => assert_eq!(service.get("/healthz").status, 200),
        }
    }
    assert!(evil.seen().is_empty(), "{:?}", evil.seen());
    assert_eq!(good.posted().len(), 9);
}

#[test]
fn a_worker_dies_with_its_host_even_in_the_middle_of_a_call() {
    let host = Installation::with(
        &c_plugin("misbehaves"),
        "https://tickets.example.org",
        "call_timeout_seconds = 600\nsecret = { token = \"t\" }\n\
         information = { fault = \"loop\" }\n[queue]\npath = \"queue.db\"\n",
    );
    let service = host.serve();
    let incident = json!({"description": "x", "pk": 1, "source": {"name": "n"}});
    service.file(&incident, 0).is(202);
    let mut workers = Vec::new();
    wait_for("a worker in its call", || {
        workers = children(service.id());
        !workers.is_empty()
    });
    service.kill();
    wait_for("nothing is left", || {
        !workers.iter().any(|worker| parent_if_running(worker).is_some())
    });
}

/// The directories in /proc of the processes that `parent` started.
fn children(parent: u32) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
    processes.filter(|process| parent_if_running(process) == Some(parent)).collect()
}

/// The number of a process's parent, if it still runs. Everybody may see this of a worker, while the links in its
/// directory are closed even to its own user.
fn parent_if_running(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // After the name in parentheses: see proc_pid_stat(5).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Z has ended, and waits for its parent to look at that.
    (state != "Z").then_some(parent)
}
