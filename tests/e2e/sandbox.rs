//! What a malicious library can't do: nothing but talk to its backend's endpoint.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use ticket_host_tests::{
    Installation, Service, c_plugin, desk, run, rust_plugin, skipped, wait_for,
};

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
            "ping_socket",
            "make_setuid",
            "make_setgid",
            "make_unnamed_setuid",
            "make_setuid_directory",
            "make_whiteout",
            "empty_readable",
            "open_for_nothing",
            "change_attributes",
            "sync_disks",
            "secret_memory_file",
            "child_of_host",
            "continue_by_child",
            "wake_itself",
            "share_memory",
            "unshare_descriptors",
            "thread_with_descriptors",
            "leave_session",
            "signal_of_terminal",
            "adopt_orphans",
            "have_capabilities",
            "own_filter",
            "own_filter_by_prctl",
            "queue_io",
            "give_pages",
        ],
    ),
    (
        "ENOSYS: libraries fall back to the call that can be looked into",
        &["clone3_child", "continue_by_timer"],
    ),
    ("EOPNOTSUPP: libraries do without", &["read_attributes"]),
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
            "keep_disk",
        ],
    ),
    ("ENOENT: the working directory has no name any more", &["write_here"]),
    (STATE, &["see_environment", "gain_privileges", "dump_core", "keep_signals_waiting"]),
    ("EPERM: what is written to memory is never run", &["make_code"]),
    (LIMIT, &["take_memory", "take_descriptors"]),
    (
        ALLOWED,
        &[
            "allowed_thread",
            "allowed_random",
            "allowed_library",
            "allowed_any_mode",
            "allowed_flags",
            "allowed_pause",
        ],
    ),
];

fn hostile(more: &str) -> Installation {
    Installation::with(&c_plugin("hostile"), "https://tickets.example.org", more)
}

/// The result of each attempt, by when it was tried and its name.
fn attempts(host: &Installation) -> Results {
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
        "make_setuid",
        "make_setgid",
        "make_setuid_directory",
        "empty_readable",
        "open_for_nothing",
        "keep_disk",
        "thread_with_descriptors",
        "leave_session",
        "signal_of_terminal",
        "adopt_orphans",
        "make_code",
        "keep_signals_waiting",
        "queue_io",
        "continue_by_timer",
        "wake_itself",
        "share_memory",
        "allowed_thread",
    ] {
        let result = &results[&("create".to_owned(), name.to_owned())];
        assert_eq!(result, "OK", "{name}");
    }
    for (name, errno) in [
        ("tcp_connect", "ECONNREFUSED"),
        ("exec_program", "EFAULT"),
        ("make_whiteout", "ENOENT"),
        ("change_attributes", "ENOTTY"),
        ("child_of_host", "EINVAL"),
        ("continue_by_child", "EINVAL"),
        ("unshare_descriptors", "EINVAL"),
        ("own_filter_by_prctl", "EFAULT"),
        ("sync_disks", "EBADF"),
        ("give_pages", "EBADF"),
    ] {
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

type Results = BTreeMap<(String, String), String>;

/// The result of each attempt of a plugin that has these permissions.
fn with(permissions: &str) -> Results {
    attempts(&hostile(&format!(
        "information = {{ fault = \"all\" }}\npermissions = {{ {permissions} }}\n"
    )))
}

/// What a grant to write doesn't let a plugin do, with `exec` or without.
const NEVER_WITH_WRITE: [(&str, &str); 6] = [
    ("make_setuid", "EPERM"),
    ("make_setgid", "EPERM"),
    ("make_unnamed_setuid", "EPERM"),
    ("make_setuid_directory", "EPERM"),
    ("make_whiteout", "EPERM"),
    ("keep_disk", "EPERM"),
];

/// Compares the results of attempts in create() with what they should be, and shows all that differ.
fn in_create<'a>(
    who: &str,
    results: &Results,
    expected: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    let differs = |(name, result): &(&str, &str)| {
        results[&("create".to_owned(), (*name).to_owned())] != *result
    };
    let wrong: Vec<_> = expected.into_iter().filter(differs).collect();
    assert!(wrong.is_empty(), "{who} should have: {wrong:?}, but has {results:?}");
}

#[test]
fn what_is_granted_by_name_works_and_the_rest_does_not() {
    let direct = with("network = \"direct\"");
    in_create(
        "direct",
        &direct,
        [
            ("tcp_connect", "ECONNREFUSED"),
            ("tcp_bind", "OK"),
            ("udp_bind", "OK"),
            ("raw_socket", "EPERM"),
            ("ping_socket", "EPERM"),
            ("netlink_socket", "EPERM"),
            ("unix_connect", "EPERM"),
            ("read_passwd", "EACCES"),
            ("fork_child", "EPERM"),
        ],
    );
    let write = with("write = [\"/tmp\"]");
    in_create(
        "write",
        &write,
        [
            ("write_tmp", "OK"),
            ("fill_disk", "EFBIG"),
            ("make_directory", "OK"),
            ("make_link", "OK"),
            ("make_pipe", "EPERM"),
            ("write_var_tmp", "EACCES"),
            ("change_mode", "EPERM"),
            ("truncate_file", "EPERM"),
            ("change_attributes", "EPERM"),
        ],
    );
    in_create("write", &write, NEVER_WITH_WRITE);
    let jit = with("jit = true");
    in_create(
        "jit",
        &jit,
        [("make_code", "OK"), ("fork_child", "EPERM"), ("read_passwd", "EACCES")],
    );
}

/// What programs may do that a plugin starts, tried by the plugin itself: the same rules bind it.
#[test]
fn programs_are_granted_all_but_what_leads_out() {
    let exec = with("exec = true");
    in_create(
        "exec",
        &exec,
        [
            ("fork_child", "OK"),
            ("clone_child", "OK"),
            ("exec_program", "EFAULT"),
            ("make_code", "OK"),
            ("socket_pair", "OK"),
            ("signal_group", "OK"),
            ("allowed_thread", "OK"),
            ("allowed_any_mode", "OK"),
            ("clone3_child", "ENOSYS"),
            ("read_attributes", "EOPNOTSUPP"),
            // What Landlock has to stop.
            ("read_passwd", "EACCES"),
            ("write_tmp", "EACCES"),
            ("read_parent_environ", "EACCES"),
            ("signal_parent", "EPERM"),
            ("signal_thread", "EPERM"),
            ("queue_signal", "EPERM"),
            // What nothing is left of.
            ("have_capabilities", "ENODATA"),
            ("keep_signals_waiting", "ENODATA"),
        ],
    );
    let refused = [
        "tcp_connect",
        "io_uring",
        "unix_abstract",
        "unix_connect",
        "trace_parent",
        "copy_parent_memory",
        "limit_parent",
        "slow_parent",
        "change_mode",
        "change_attributes",
        "mount_files",
        "clone_namespace",
        "child_of_host",
        "continue_by_child",
        "wake_itself",
        "share_memory",
        "memory_file",
        "unshare_descriptors",
        "thread_with_descriptors",
        "thread_in_namespace",
        "new_session",
        "leave_session",
        "watch_files",
        "watch_all_files",
        "signal_by_descriptor",
        "choose_signal",
        "signal_of_terminal",
        "be_dumpable",
        "be_traced",
        "outlive_host",
        "adopt_orphans",
        "own_filter",
        "own_filter_by_prctl",
        "type_into_terminal",
        "empty_readable",
        "open_for_nothing",
        "secret_memory_file",
        "queue_io",
        "give_pages",
        "sync_disks",
    ];
    in_create("exec", &exec, refused.map(|name| (name, "EPERM")));
    let more = with("exec = true, network = \"direct\", write = [\"/tmp\"]");
    in_create(
        "exec with more",
        &more,
        [
            ("tcp_bind", "OK"),
            ("write_tmp", "OK"),
            ("make_directory", "OK"),
            ("socket_pair", "EPERM"),
            ("unix_connect", "EPERM"),
            ("ping_socket", "EPERM"),
            ("make_pipe", "EPERM"),
        ],
    );
    in_create("exec with more", &more, NEVER_WITH_WRITE);
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
fn ordinary_programs_run() {
    let host = hostile("");
    let directory = host.path("work");
    fs::create_dir(&directory).unwrap();
    fs::create_dir(host.path("work/made")).unwrap();
    let directory = directory.display();
    let grants = format!("exec = true, write = [\"{directory}\"]");
    for command in [
        "cp /usr/bin/env copy && ! ./copy true && ls -l copy && cat copy | sort | uniq -c | tail -n 1",
        "tar -c made | tar -t && mkdir -p a/b && mv a c && find c -name b | xargs rmdir && rm -r c",
        // Landlock before Linux 6.12 can't tell whom a signal is sent to, so there none may be sent to another process.
        "timeout 60 true; sleep 60 & if kill $!; then ! wait $!; fi",
        "head -c 100000 /dev/urandom > noise && gzip -c noise | gunzip -c | cmp - noise && dd if=noise of=half bs=1 count=9",
        "echo {} > settings && sed -i s/x/y/ settings && ln -s settings link && readlink link && date && id",
    ] {
        let run = format!("cd {directory} && set -e; {command}");
        tries("run", &run, &grants).ended(5).says("run: 0");
    }
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
    tries("", "", "teleport = true").ended(3).says("unknown setting `teleport`");
    tries("", "", "network = \"all\"").ended(3).says("`network` must be \"gateway\" or \"direct\"");
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

/// A service with a worker that never returns from its call.
fn in_a_call() -> (Installation, Service, Vec<PathBuf>) {
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
    (host, service, workers)
}

#[test]
fn a_worker_has_no_capabilities_and_a_process_group_of_its_own() {
    let (_host, service, workers) = in_a_call();
    let status = || fs::read_to_string(workers[0].join("status")).unwrap();
    // It confines itself some time after it was started.
    wait_for("a filter of system calls", || status().contains("Seccomp:\t2"));
    let status = status();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        value.unwrap_or_else(|| panic!("{name}: {status}")).to_owned()
    };
    let none = "0000000000000000";
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), none, "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_ne!(field("Speculation_Store_Bypass"), "thread vulnerable");
    // Only who has capabilities can also limit what it could get.
    if field("Uid").starts_with("0\t") {
        assert_eq!(field("CapBnd"), none);
    }
    let number = workers[0].file_name().unwrap().to_str().unwrap().to_owned();
    let stat = fs::read_to_string(workers[0].join("stat")).unwrap();
    let group = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap();
    assert_eq!(group, number);
    service.kill();
}

#[test]
fn a_directory_that_root_cannot_write_to_without_capabilities_is_pointed_at_before_the_plugin_is_loaded()
 {
    let host = hostile("");
    let directory = host.path("of-somebody");
    fs::create_dir(&directory).unwrap();
    // A number that no user has who runs this.
    if chown(&directory, Some(54_321), None).is_err() {
        return skipped("needs root");
    }
    host.config(&format!(
        "[backends.b]\nplugin = \"hostile\"\nendpoint = \"https://tickets.example.org\"\n\
         information = {{ fault = \"all\" }}\npermissions = {{ write = [{directory:?}] }}\n"
    ));
    let run = host.create("plugin-closed", &["--force"]);
    assert_ne!(run.code, 0, "{}", run.stderr);
    run.says(&format!("permissions.write: {} can't be written to", directory.display()))
        .says("runs as root without capabilities")
        .says("of-somebody belongs to user 54321: run the host as that user");
}

#[test]
fn a_worker_dies_with_its_host_even_in_the_middle_of_a_call() {
    let (_host, service, workers) = in_a_call();
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
