//! `check` looks at all that tickets and the service need, and makes nothing; `config import` gives a config that it
//! finds in order.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::json;
use ticket_host_tests::{Answer, Installation, Run, Stub, c_plugin, run, rust_plugin, skipped};

/// The name, owner, mode, size and time of change of all that is in a directory and below.
#[cfg(unix)]
fn tree(directory: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut lines = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let own = (directory.clone(), fs::symlink_metadata(&directory).unwrap());
        let below = fs::read_dir(&directory).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.path(), entry.metadata().unwrap())
        });
        for (path, metadata) in std::iter::once(own).chain(below) {
            lines.push(format!(
                "{} {}:{} {:o} {} {}.{:09}",
                path.display(),
                metadata.uid(),
                metadata.gid(),
                metadata.mode(),
                metadata.size(),
                metadata.mtime(),
                metadata.mtime_nsec()
            ));
            if metadata.is_dir() && path != directory {
                directories.push(path);
            }
        }
    }
    lines.sort();
    lines
}

/// A host with `local`, and the settings of a service of its own.
fn host(rest: &str) -> Installation {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    host.config(&format!(
        "{}[queue]\npath = \"state/queue.db\"\n[serve]\nlisten = \"127.0.0.1:0\"\n{rest}",
        host.local("a")
    ));
    host
}

/// Asserts that the run printed `text`.
#[track_caller]
fn shows(run: Run, text: &str) -> Run {
    assert!(run.stdout.contains(text), "no {text:?} in:\n{}{}", run.stdout, run.stderr);
    run
}

#[cfg(unix)]
#[test]
fn check_and_a_dry_run_make_nothing() {
    for isolation in ["", "isolation = \"in-process\"\n"] {
        let host = Installation::new();
        host.add(&rust_plugin("local"));
        let backend = host.local("a");
        host.config(&format!(
            "{backend}{isolation}[queue]\npath = \"state/queue.db\"\n[serve]\nlisten = \"127.0.0.1:0\"\n"
        ));
        fs::remove_dir(host.path("tickets")).unwrap();
        let look = || {
            let before = tree(&host.path(""));
            for arguments in [&["check"][..], &["check", "--offline"], &["check", "--backend", "a"]]
            {
                host.run(arguments).ended(0);
                assert_eq!(tree(&host.path("")), before, "{arguments:?}");
            }
            host.create("plugin-closed", &["--dry-run"]).ended(0);
            assert_eq!(tree(&host.path("")), before, "a dry run");
        };
        // Nothing is there yet; then everything is, at rest; and then a service works on it.
        look();
        assert_eq!(host.serve().stop(), 0);
        host.create("plugin-closed", &[]).ended(0);
        look();
        let service = host.serve();
        service
            .file(&json!({"description": "x", "pk": 1, "source": {"name": "n"}}), 30_000)
            .is(201);
        drop(service);
        // A service that was killed leaves SQLite's journal, which the next one reads.
        look();
    }
}

#[test]
fn check_says_what_will_be_made_and_which_config_and_store_are_in_use() {
    let host = host("");
    fs::remove_dir(host.path("tickets")).unwrap();
    let checked = host.run(&["check"]).ended(0);
    let checked = shows(checked, &format!("config: {}", host.path("config.toml").display()));
    let checked = shows(checked, &format!("store: {}", host.path("state/queue.db").display()));
    let checked = shows(checked, "tickets isn't there yet; `serve` and `create` make it");
    let checked = shows(checked, "ok      store: ");
    let checked = shows(checked, "isn't there yet; `serve` makes it");
    shows(checked, "ok      listen: 127.0.0.1:0 is free");
    let said = host.run(&["queue", "list", "-v"]).ended(3);
    let said = said.says(&format!("store: {}", host.path("state/queue.db").display()));
    said.says(&format!("error: {}: the store", host.path("config.toml").display()));
    assert_eq!(host.serve().stop(), 0);
    let checked = shows(host.run(&["check"]).ended(0), "ok      store: ");
    assert!(!checked.stdout.contains("isn't there yet"), "{checked:?}");
    host.logged("config: ", 1);
}

#[test]
fn check_looks_at_the_service_as_serve_does() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let host = host("");
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    let config = config.replace("127.0.0.1:0", &address.to_string());
    fs::write(host.path("config.toml"), config).unwrap();
    for arguments in [&["check"][..], &["check", "--offline"]] {
        shows(
            host.run(arguments).ended(6),
            &format!("FAILED  listen: {address} can't be listened"),
        );
    }
    for (text, failed, why) in [
        ("[serve]\nlisten = \"0.0.0.0:0\"\n", "tokens", "would let everybody make tickets"),
        (
            "[serve.tokens]\na = { scopes = [\"read\"], token = \"t\" }\nb = { scopes = [\"admin\"], token = \"t\" }\n",
            "tokens",
            "serve.tokens.b is the same token as serve.tokens.a",
        ),
        (
            "[serve.tokens.a]\nscopes = []\ntoken = { file = \"nowhere\" }\n",
            "tokens",
            "serve.tokens.a.token: the file",
        ),
        ("[queue]\npath = \"config.toml\"\n", "store", "is corrupt"),
        ("[queue]\npath = \"config.toml/queue.db\"\n", "store", "config.toml/queue.db"),
        (
            "[argus]\nurl = \"http://127.0.0.1:1\"\ntoken = { file = \"nowhere\" }\n",
            "token",
            "argus.token: the file",
        ),
    ] {
        let host = Installation::new();
        host.add(&rust_plugin("local"));
        let own = [("[queue]", "path = \"q.db\""), ("[serve]", "listen = \"127.0.0.1:0\"")];
        let own = own.into_iter().filter(|(table, _)| !text.contains(table));
        let own: String = own.map(|(table, setting)| format!("{table}\n{setting}\n")).collect();
        host.config(&format!("{}{own}{text}", host.local("a")));
        for arguments in [&["check"][..], &["check", "--offline"]] {
            let run = shows(host.run(arguments).ended(3), &format!("FAILED  {failed}: "));
            shows(run, why);
        }
    }
}

#[test]
fn a_running_service_is_no_failure() {
    let host = host("");
    let service = host.serve();
    let address = service.url.trim_start_matches("http://").to_owned();
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    fs::write(host.path("config.toml"), config.replace("127.0.0.1:0", &address)).unwrap();
    let run = host.run(&["check"]).ended(0);
    let run = shows(run, &format!("note    listen: a running service answers at {address}"));
    shows(run, "note    store: a running `serve` works on ");
}

#[test]
fn a_service_that_works_on_another_store_is_one_and_serve_fails_alike() {
    let other = host("");
    let service = other.serve();
    let address = service.url.trim_start_matches("http://").to_owned();
    let host = host("");
    let config = fs::read_to_string(host.path("config.toml")).unwrap();
    fs::write(host.path("config.toml"), config.replace("127.0.0.1:0", &address)).unwrap();
    let run = host.run(&["check"]).ended(6);
    let run = shows(run, &format!("FAILED  listen: {address} can't be listened on"));
    shows(run, "a ticket-host that works on another store has it");
    host.run(&["serve"]).ended(6).says(&format!("{address} can't be listened on"));
}

#[test]
fn argus_is_asked_as_the_watcher_asks_and_nothing_is_written() {
    let argus = Stub::new(|seen| match (seen.target.as_str(), seen.header("authorization")) {
        ("/api/", _) => Answer::status(200).body(r#"{"server-version": "2.1.0"}"#),
        // An older one, that doesn't describe its API.
        ("/api/v2/schema/?format=json" | "/", _) => Answer::status(404),
        (_, Some("Token good")) => Answer::status(200).body(r#"{"next": null, "results": []}"#),
        _ => Answer::status(401),
    });
    let with = |token: &str| {
        host(&format!(
            "[argus]\nurl = \"{}\"\ntoken = \"{token}\"\nfilter = \"level__lte=3\"\n",
            argus.url
        ))
    };
    let run = with("good").run(&["check"]).ended(0);
    let run = shows(run, "is there (Argus 2.1.0), and takes the token");
    let run = shows(run, "note    filter: this Argus doesn't tell which parameters it knows");
    shows(run, "note    frontend_url: this Argus doesn't tell its FRONTEND_URL");
    shows(
        with("hunter2").run(&["check"]).ended(3),
        "FAILED  api: Argus (GET /api/v2/incidents/): answered 401",
    );
    let first = &argus.seen()[0];
    assert_eq!(first.target, "/api/v2/incidents/?open=true&ticket=false&page_size=1&level__lte=3");
    assert!(argus.seen().iter().all(|seen| seen.method == "GET"));
}

#[test]
fn argus_is_asked_whether_it_takes_the_alarms_token_and_nobody_is_alarmed() {
    let told = Stub::new(|seen| match (seen.target.as_str(), seen.header("authorization")) {
        ("/api/", _) => Answer::status(200).body(r#"{"server-version": "2.1.0"}"#),
        ("/", _) => Answer::status(404),
        (_, Some("Token good")) => Answer::status(200).body(r#"{"next": null, "results": []}"#),
        _ => Answer::status(401),
    });
    let url = &told.url;
    let with = |token: &str| {
        host(&format!(
            "[argus]\nurl = \"{url}\"\ntoken = \"good\"\n[alarm]\nargus_token = \"{token}\"\nwebhook = \"{url}/hunter2\"\n\
             ping = {{ file = \"nowhere\" }}\n"
        ))
    };
    let run = with("good").run(&["check"]).ended(3);
    let run = shows(run, "ok      argus_token: Argus takes it");
    let run =
        shows(run, "note    webhook: can be read; it was not called, since that would tell people");
    let run = shows(run, "FAILED  ping: alarm.ping: the file");
    assert!(!run.stdout.contains("hunter2"), "{}", run.stdout);
    let run = with("another").run(&["check"]).ended(3);
    let run = shows(run, "FAILED  argus_token: Argus (GET /api/v2/incidents/mine/): answered 401");
    shows(run, "alarm.argus_token must be the token of a source system in Argus");
    let seen = told.seen();
    assert!(seen.iter().all(|seen| seen.method == "GET" && !seen.target.contains("hunter2")));
}

#[test]
fn offline_nobody_is_asked_and_the_plugin_still_sees_its_settings() {
    let system = Stub::new(|_| Answer::status(500));
    let rest = format!(
        "secret = {{ token = \"t\" }}\n[queue]\npath = \"q.db\"\n[serve]\nlisten = \"127.0.0.1:0\"\n\
         [argus]\nurl = \"{}\"\ntoken = \"t\"\n",
        system.url
    );
    let host = Installation::with(&c_plugin("webhook"), &system.url, &rest);
    let run = shows(
        host.run(&["check", "--offline"]).ended(0),
        "ok      settings: the plugin takes them",
    );
    let run = shows(run, "was not asked: --offline");
    shows(run, "the ticket systems were not asked: --offline\n");
    assert!(system.seen().is_empty(), "{:?}", system.seen());
    // `local` itself wants a file:// URL.
    let host = Installation::with(
        &rust_plugin("local"),
        "https://x.org",
        "permissions = { write = [\"t\"] }\n",
    );
    host.run(&["check", "--offline"]).ended(3).says("must be a file:// URL");
}

#[test]
fn variables_that_the_config_file_makes_ineffective_are_a_warning() {
    let host = host("");
    let mut command = host.command(&["check"]);
    command.env("TICKET_PLUGIN", "rt");
    run(command, b"")
        .ended(0)
        .says("warning: TICKET_PLUGIN has no effect, since there is the config file");
}

/// The settings of Argus's own four plugins.
const ARGUS: [(&str, &str, &str, &str); 4] = [
    (
        "rt",
        "argus_ticket_rt.RequestTrackerPlugin",
        r#"{"username": "argus", "password": "hun'ter\"2"}"#,
        r#"{"queue": "NOC", "custom_fields_set": {"Start Time": "x"},
            "custom_fields_mapping": {"Severity": {"tag": "severity"}, 'Level': 'level'},}"#,
    ),
    (
        "jira",
        "argus_ticket_jira.JiraPlugin",
        r#"dict(email='a@example.org', token=os.getenv("JIRA_TOKEN"))"#,
        r#"{"project_key_or_id": "NOC", "type": "Task", "custom_fields_set": {}}"#,
    ),
    (
        "github",
        "argus_ticket_github.GithubPlugin",
        r#"{"token": "hunter2"}"#,
        r#"{"project_namespace_and_name": "example/noc", "labels_set": ["argus", 'x' 'y'],
            "labels_mapping": ["level", {"tag": "severity"}]}"#,
    ),
    (
        "gitlab",
        "argus_ticket_gitlab.GitlabPlugin",
        r#"{"token": r'''hunter2'''}"#,
        r#"{"project_namespace_and_name": "example/noc", "labels_mapping": ("level",)}"#,
    ),
];

#[test]
fn what_is_imported_of_arguss_settings_is_in_order() {
    for (plugin, class, secret, information) in ARGUS {
        let host = Installation::new();
        host.add(&rust_plugin(plugin));
        let settings = format!(
            "from argus.site.settings.base import *\n\nTICKET_PLUGIN = \"{class}\"\n\
             TICKET_ENDPOINT = 'https://tickets.example.org/sub'  # ours\n\
             TICKET_AUTHENTICATION_SECRET = {secret}\nTICKET_INFORMATION = {information}\n"
        );
        fs::write(host.path("settings.py"), &settings).unwrap();
        let imported = host.run(&["config", "import", "--django", "settings.py"]).ended(0);
        host.config(&format!("sandbox = \"best-effort\"\n{}", imported.stdout));
        let mut command = host.command(&["check", "--offline"]);
        command.env("JIRA_TOKEN", "hunter2");
        let checked = run(command, b"").ended(0);
        assert!(!checked.stderr.contains("warning: backend"), "{checked:?}");
        // What the file leaves to Python is told with its line.
        let other = settings.replace("'https://tickets.example.org/sub'", "ENDPOINT");
        let mut command = host.command(&["config", "import", "--django", "-"]);
        command.env_remove("HOME");
        let refused = run(command, other.as_bytes()).ended(3);
        let refused = refused.says("standard input:4: TICKET_ENDPOINT is not a literal");
        assert!(refused.says("diffsettings").stdout.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn whose_the_store_is_is_told_where_it_is_not_the_checking_users() {
    let host = host("");
    assert_eq!(host.serve().stop(), 0);
    if std::os::unix::fs::chown(host.path("state/queue.db"), Some(54321), None).is_err() {
        return skipped("needs root to give a file to another user");
    }
    shows(host.run(&["check"]).ended(0), "runuser -u '#54321' -- ticket-host --config ");
}
