//! `create` on the command line beside a service: through it where it runs, and never against it where it doesn't.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use ticket_host_tests::{
    Answer, Installation, Seen, Stub, c_plugin, desk, library_name, run, skipped, ticket_of,
    wait_for,
};

use super::serve::{Door, host_at, numbered};

const NOBODY: u32 = 65534;

fn create(host: &Installation, number: usize, arguments: &[&str]) -> ticket_host_tests::Run {
    host.create_from(numbered(number).to_string().as_bytes(), arguments)
}

/// `create` while the test goes on.
fn creating(host: &Installation, number: usize) -> Child {
    let file = host.path(&format!("incident-{number}.json"));
    fs::write(&file, numbered(number).to_string()).unwrap();
    let mut command = host.command(&["create", "-v", file.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads what a running command says until it says this.
fn says(child: &mut Child, text: &str) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(text)), "it never says {text:?}");
}

fn ended(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn listed(host: &Installation) -> Vec<Value> {
    let list = host.run(&["queue", "list", "--json"]).ended(0).json();
    list["tickets"].as_array().unwrap().clone()
}

/// A desk that makes no ticket before the door is open.
fn desk_behind(door: &Arc<Door>) -> Stub {
    let door = Arc::clone(door);
    desk(move |seen| {
        if seen.method == "POST" {
            door.pass();
        }
        None
    })
}

#[test]
fn beside_a_service_create_and_http_give_an_incident_the_same_ticket_and_its_queue_has_it() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let token = "[serve.tokens.argus]\ntoken = \"hunter2-hunter2-hunter2\"\nscopes = [\"read\"]\n";
    let text = fs::read_to_string(host.path("config.toml")).unwrap();
    fs::write(host.path("config.toml"), format!("{text}{token}")).unwrap();
    fs::set_permissions(host.path("config.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let service = host.serve();
    // Plugins that the service doesn't have are not looked at.
    let others = host.path("others");
    fs::create_dir(&others).unwrap();
    fs::write(others.join(library_name("webhook")), "no library").unwrap();
    let made = create(&host, 1, &["--json", "--plugin-dir", others.to_str().unwrap()]).ended(0);
    assert_eq!(made.stderr, "");
    let expected = json!({
        "created": true, "backend": "b", "key": "nav#1", "url": ticket_of("nav#1"), "missing_fields": [],
        "warnings": [],
    });
    assert_eq!(made.json(), expected);
    let again = create(&host, 1, &[]).ended(0);
    assert_eq!(again.stdout, format!("{}\n", ticket_of("nav#1")));
    assert_eq!(create(&host, 1, &["--json"]).ended(0).json()["created"], false);
    let other = create(&host, 2, &["--key", "mine", "--backend", "b", "--json"]).ended(0).json();
    assert_eq!(other["key"], "mine");
    let rows = listed(&host);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row["state"] == "created"), "{rows:?}");
    assert_eq!(desk.posted(), ["nav#1", "mine"]);
    create(&host, 3, &["--backend", "c"]).ended(2).says("there is no backend \"c\"");
    drop(service);
}

#[test]
fn what_the_service_cannot_make_now_it_keeps_and_create_says_so_with_the_failures_exit_code() {
    for (status, code, said) in [
        (401, 3, "ticket 1: "),
        (422, 5, "ticket 1: "),
        (503, 4, "ticket 1 is kept by the service"),
    ] {
        let desk = desk(move |seen| {
            (seen.method == "POST").then(|| {
                Answer::status(status).header("Retry-After", "600").body("the server's reason")
            })
        });
        let host = host_at(&desk, "");
        let _service = host.serve();
        let run = create(&host, 1, &[]).ended(code).says(said).says("the server's reason");
        assert_eq!(run.stdout, "");
        run.says("`ticket-host queue show 1` shows what became of it");
        host.run(&["queue", "show", "1"]).ended(0);
        assert_eq!(desk.posted(), ["nav#1"]);
    }
}

#[test]
fn an_incident_that_comes_while_the_ticket_system_is_down_is_kept_and_create_says_why() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"queue.db\"\n";
    let host = Installation::with(&c_plugin("webhook"), &format!("http://127.0.0.1:{port}/"), rest);
    let service = host.serve();
    let kept = "is kept by the service, and will be made when the ticket system takes it: ";
    create(&host, 1, &[]).ended(4).says(kept);
    wait_for("the backend to be held", || {
        service.get("/v1/backends").json()[0]["reason"] == "down"
    });
    // It was never tried itself.
    create(&host, 2, &[]).ended(4).says(kept).says("onnection refused");
    let error = create(&host, 2, &["--json"]).ended(4).json();
    assert_eq!(error["error"]["retry"], "later", "{error}");
    assert_eq!(listed(&host).len(), 2);
}

#[test]
fn a_service_that_ends_before_it_answers_leaves_create_with_an_error_that_says_what_to_do() {
    let door = Arc::new(Door::default());
    let desk = desk_behind(&door);
    let host = host_at(&desk, "");
    let service = host.serve();
    let waiting = creating(&host, 1);
    wait_for("the ticket to be asked for", || !desk.posted().is_empty());
    service.kill();
    let (code, _, said) = ended(waiting);
    assert!(code == 4 && said.contains("may be in its queue; run create again"), "{code} {said}");
    door.open();
}

#[test]
fn a_socket_that_a_killed_service_left_is_no_service_and_a_stopped_one_leaves_none() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let socket = host.path("queue.db.socket");
    host.serve().kill();
    assert!(socket.exists());
    create(&host, 1, &[]).ended(0);
    assert_eq!(listed(&host).len(), 0, "by hand");
    let service = host.serve();
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    create(&host, 2, &[]).ended(0);
    assert_eq!(listed(&host).len(), 1);
    assert_eq!(service.stop(), 0);
    assert!(!socket.exists());
}

#[test]
fn a_service_that_does_not_listen_keeps_create_from_working_beside_it() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let _service = host.serve();
    fs::remove_file(host.path("queue.db.socket")).unwrap();
    create(&host, 1, &[]).ended(3).says("can't be reached from here").says("--force");
    assert_eq!(desk.seen().len(), 0);
    create(&host, 1, &["--force"]).ended(0);
}

#[test]
fn force_and_dry_runs_are_not_handed_to_the_service() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    let _service = host.serve();
    let dry = create(&host, 1, &["--dry-run"]).ended(0);
    assert!(dry.stdout.contains("POST "), "{dry:?}");
    assert_eq!(desk.seen().len(), 0);
    create(&host, 1, &["--force"]).ended(0);
    assert_eq!(desk.posted(), ["nav#1"]);
    assert_eq!(listed(&host).len(), 0);
}

#[test]
fn without_a_service_create_leaves_no_row_behind() {
    let desk = desk(|_| None);
    let host = host_at(&desk, "");
    create(&host, 1, &[]).ended(0);
    assert!(!host.path("queue.db").exists());
}

#[test]
fn a_store_whose_path_is_too_long_for_a_socket_has_one_all_the_same() {
    let desk = desk(|_| None);
    let deep = format!("{}/{}", "d".repeat(150), "e".repeat(150));
    let rest = format!("secret = {{ token = \"t\" }}\n[queue]\npath = \"{deep}/queue.db\"\n");
    let host = Installation::with(&c_plugin("webhook"), &desk.url, &rest);
    let _service = host.serve();
    create(&host, 1, &[]).ended(0);
    assert_eq!(listed(&host).len(), 1);
}

#[test]
fn beside_a_service_with_another_config_on_the_same_store_no_ticket_is_made_but_by_force() {
    let (theirs, ours) = (desk(|_| None), desk(|_| None));
    let host = host_at(&theirs, "");
    let _service = host.serve();
    let text = fs::read_to_string(host.path("config.toml")).unwrap();
    let other = host.path("other.toml");
    fs::write(&other, text.replace(&theirs.url, &ours.url)).unwrap();
    let create = |more: &[&str]| {
        let mut command = Command::new(host.path("bin/ticket-host"));
        command.env_clear().arg("--config").arg(&other).arg("create").args(more);
        command.current_dir(host.path(""));
        run(command, numbered(1).to_string().as_bytes())
    };
    create(&[]).ended(3).says("works with another config").says("config.toml").says("--force");
    create(&["--force"]).ended(0);
    assert_eq!((theirs.posted().len(), ours.posted().len()), (0, 1));
    assert_eq!(listed(&host).len(), 0);
}

#[test]
fn two_creates_of_one_key_at_the_same_time_make_one_ticket() {
    let door = Arc::new(Door::default());
    let desk = desk_behind(&door);
    let host = host_at(&desk, "");
    let first = creating(&host, 1);
    wait_for("the first to make its ticket", || !desk.posted().is_empty());
    let mut second = creating(&host, 1);
    says(&mut second, "waiting: another create");
    // Another key's is not in its way.
    let looked = |seen: &Seen| seen.target.contains("nav%232") || seen.body.contains("nav#2");
    let third = creating(&host, 2);
    wait_for("the third to look", || desk.seen().iter().any(looked));
    door.open();
    for child in [first, second, third] {
        let (code, _, said) = ended(child);
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(desk.posted().iter().filter(|key| *key == "nav#1").count(), 1);
}

#[test]
fn a_service_that_starts_while_create_is_at_work_waits_for_it_and_finds_its_ticket() {
    let door = Arc::new(Door::default());
    let desk = desk_behind(&door);
    let host = host_at(&desk, "");
    let by_hand = creating(&host, 1);
    wait_for("create to make its ticket", || !desk.posted().is_empty());
    let service = host.serve();
    let id = service.file(&numbered(1), 0).is(202).json()["id"].clone();
    host.logged("no ticket is made until a `ticket-host create` has ended", 1);
    // What comes by hand now goes through the service, which has it wait as well.
    let later = creating(&host, 1);
    door.open();
    for child in [by_hand, later] {
        let (code, stdout, said) = ended(child);
        assert_eq!((code, stdout), (0, format!("{}\n", ticket_of("nav#1"))), "{said}");
    }
    wait_for("the job to be created", || {
        service.get(&format!("/v1/tickets/{id}")).json()["state"] == "created"
    });
    assert_eq!(desk.posted(), ["nav#1"]);
}

/// The command, run by another user than root.
fn by_nobody(command: &Command) -> Command {
    let mut other = Command::new("setpriv");
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    other.args(user).args(["--clear-groups", "--"]);
    other.arg(command.get_program()).args(command.get_args()).env_clear();
    other
}

/// A host with its store in a directory of its own that belongs to `owner`. None, and it is said, where that can't be tried.
fn host_of_users(desk: &Stub, owner: u32) -> Option<Installation> {
    if !rustix::process::geteuid().is_root() {
        skipped("needs root, to be two users");
        return None;
    }
    let rest = "secret = { token = \"t\" }\n[queue]\npath = \"store/queue.db\"\n";
    let host = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    fs::set_permissions(host.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(host.path("store")).unwrap();
    chown(host.path("store"), Some(owner), Some(owner)).unwrap();
    let mut look = Command::new("cat");
    look.arg(host.path("config.toml"));
    if !by_nobody(&look).output().is_ok_and(|output| output.status.success()) {
        skipped("needs setpriv, and a checkout that everybody may enter");
        return None;
    }
    Some(host)
}

#[test]
fn who_may_not_connect_to_the_service_is_told_as_whom_to_run_create() {
    let desk = desk(|_| None);
    let Some(host) = host_of_users(&desk, 0) else { return };
    let _service = host.serve();
    let incident = numbered(1).to_string();
    let as_nobody = || run(by_nobody(&host.command(&["create"])), incident.as_bytes());
    for (directory, socket) in [(0o755, 0o600), (0o700, 0o600)] {
        fs::set_permissions(host.path("store"), fs::Permissions::from_mode(directory)).unwrap();
        let path = host.path("store/queue.db.socket");
        fs::set_permissions(path, fs::Permissions::from_mode(socket)).unwrap();
        let refused = as_nobody().ended(3).says("can't be found out");
        refused.says("run create as the service's user (root) or as root");
    }
    // The mode is not all that keeps others out.
    for (path, mode) in [("store", 0o755), ("store/queue.db.socket", 0o666)] {
        fs::set_permissions(host.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    as_nobody().ended(4).says("ended before it answered");
    host.logged("another user tried to connect", 1);
    assert_eq!(desk.seen().len(), 0);
}

/// The files of root's in a directory and below it.
fn of_root(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.uid() == 0 {
            found.push(path.display().to_string());
        }
        if metadata.is_dir() {
            found.extend(of_root(&path));
        }
    }
    found
}

#[test]
fn root_makes_tickets_beside_another_users_service_and_leaves_nothing_in_its_way() {
    let desk = desk(|_| None);
    let Some(host) = host_of_users(&desk, NOBODY) else { return };
    let store = host.path("store");
    let serve = || host.serve_by(by_nobody(&host.command(&["serve", "--listen", "127.0.0.1:0"])));
    // Before the service ever ran, and after it did.
    create(&host, 1, &[]).ended(0);
    assert_eq!(of_root(&store), [""; 0]);
    let service = serve();
    create(&host, 2, &[]).ended(0);
    assert_eq!(listed(&host).len(), 1);
    assert_eq!(service.stop(), 0);
    create(&host, 3, &[]).ended(0);
    let service = serve();
    create(&host, 4, &[]).ended(0);
    assert_eq!(of_root(&store), [""; 0]);
    assert!(!host.log().contains("can't be locked"), "{}", host.log());
    assert_eq!(service.stop(), 0);
    assert_eq!(desk.posted(), ["nav#1", "nav#2", "nav#3", "nav#4"]);
}
