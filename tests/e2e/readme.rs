//! The README's commands do what it says, as they are printed.

use std::fs;
use std::process::Command;

use serde_json::Value;
use ticket_host_tests::pages::{block, blocks, root, sh};
use ticket_host_tests::{Installation, built, c_plugin, library_name, rust_plugin, skipped};

/// Words of the README's blocks for a shell, and the script that takes the block from there and runs it. Without one
/// a test of this module runs it.
const BLOCKS: [(&str, Option<&str>); 8] = [
    ("cargo fetch", Some("tests/quick-start.sh")),
    ("cargo test", Some(".ci/run")),
    ("apt-get install", Some("tests/real/deb.sh")),
    (INSTALL, None),
    (CREATE, None),
    (SERVE, None),
    (FIRST, None),
    (NEW, None),
];
const README: &str = "README.md";
const INSTALL: &str = "install -D";
const CREATE: &str = "create --dry-run";
const SERVE: &str = "ticket-host serve";
const FIRST: &str = "curl";
const NEW: &str = "plugins new";

/// An installation whose program is the one that a shell finds, and whose config is where it looks first: the
/// environment of such a shell, without the settings of whoever runs the tests.
fn at_home(host: &Installation, config: &str) -> Vec<(&'static str, String)> {
    let settings = host.path(".config/ticket-host");
    fs::create_dir_all(&settings).unwrap();
    let plugins = host.path("plugins");
    let file = settings.join("config.toml");
    fs::write(file, format!("plugin_dirs = [{plugins:?}]\n{config}")).unwrap();
    let found = std::env::var("PATH").unwrap();
    let path = format!("{}:{found}", host.path("bin").display());
    let home = host.path("").display().to_string();
    let nowhere = host.path("nowhere").display().to_string();
    vec![
        ("PATH", path),
        ("HOME", home.clone()),
        ("XDG_CONFIG_HOME", home + "/.config"),
        ("XDG_STATE_HOME", nowhere),
    ]
}

#[test]
fn each_of_the_readmes_blocks_for_a_shell_is_run() {
    let blocks = blocks(README, "sh");
    for block in &blocks {
        let known = BLOCKS.iter().filter(|(words, _)| block.contains(words)).count();
        assert_eq!(known, 1, "of these lines one test must know:\n{block}");
    }
    assert_eq!(blocks.len(), BLOCKS.len());
    for (words, script) in BLOCKS {
        let Some(script) = script else { continue };
        let text = fs::read_to_string(root().join(script)).unwrap();
        let takes = format!("tests/readme-block.sh \"{words}\"");
        assert!(text.contains(&takes), "{script} doesn't run the README's lines with {words}");
    }
}

/// What each plugin can, as the README's table says it: from the manifests.
#[test]
fn the_readmes_table_says_what_each_plugin_can() {
    let host = Installation::new();
    host.config("");
    for name in ["rt", "jira", "github", "gitlab", "local"] {
        host.add(&rust_plugin(name));
    }
    host.add(&c_plugin("webhook"));
    let readme = fs::read_to_string(root().join(README)).unwrap();
    let rows = readme.lines().skip_while(|line| !line.starts_with("| plugin | tickets | create"));
    let mut rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    for name in ["rt", "jira", "github", "gitlab", "local", "webhook"] {
        let shown = host.run(&["plugins", "show", name, "--json"]).ended(0).json();
        let has = |list: &Value, word: &str| list.as_array().unwrap().iter().any(|it| it == word);
        let (offers, actions) = (&shown["offers"], &shown["manifest"]["actions"]);
        let updates = |action| has(offers, "update") && has(actions, action);
        let can = [
            true,
            has(offers, "find"),
            updates("comment"),
            updates("close"),
            updates("reopen"),
            has(offers, "state"),
            has(offers, "receive"),
        ];
        let cells: String = can.map(|can| if can { " yes |" } else { " |" }).concat();
        let row = rows.next().unwrap_or_default();
        assert!(row.contains(&format!("`{name}`")), "{name}: {row}");
        assert!(row.ends_with(&format!(" |{cells}")), "{name}:{cells} {row}");
    }
}

#[test]
fn the_readme_is_short() {
    let bytes = fs::metadata(root().join(README)).unwrap().len();
    assert!(bytes <= 12 * 1024, "{bytes} bytes: the rest belongs into the pages below host/docs");
}

#[test]
#[cfg(unix)]
fn what_is_built_is_installed_by_the_readmes_lines() {
    let to = tempfile::tempdir().unwrap();
    let lines = block(README, "sh", INSTALL)
        .replace("target/release", built().to_str().unwrap())
        .replace("/usr/local", to.path().to_str().unwrap());
    sh(&lines, root(), &[]).ended(0);
    assert!(to.path().join("bin/ticket-host").exists());
    for plugin in ["local", "rt"] {
        let library = to.path().join("lib/ticket-host/plugins").join(library_name(plugin));
        assert!(library.exists(), "{}", library.display());
    }
}

#[test]
#[cfg(unix)]
fn the_readmes_backend_has_all_that_its_plugin_asks_for() {
    let host = Installation::new();
    let environment =
        at_home(host.add(&rust_plugin("rt")), &block(README, "toml", "[backends.noc-rt]"));
    let run = sh("RT_TOKEN=1-14-secret ticket-host check --offline", &host.path(""), &environment);
    let said = run.ended(0).stdout;
    assert!(said.contains("noc-rt"), "{said}");
}

#[test]
#[cfg(unix)]
fn the_readmes_incident_is_checked_tried_and_made_a_ticket_by_its_lines() {
    let host = Installation::new();
    let environment = at_home(host.add(&rust_plugin("local")), &host.local("local"));
    fs::write(host.path("incident.json"), block(README, "json", "description")).unwrap();
    let run = sh(&block(README, "sh", CREATE), &host.path(""), &environment).ended(0);
    let url = run.stdout.lines().last().unwrap().to_owned();
    let ticket = fs::read_to_string(url.strip_prefix("file://").unwrap()).unwrap();
    assert!(ticket.contains("gw1 is down") && ticket.contains("host=gw1"), "{ticket}");
    assert_eq!(fs::read_dir(host.path("tickets")).unwrap().count(), 1);
}

#[test]
#[cfg(unix)]
fn the_readmes_first_incident_for_the_service_gets_its_ticket() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped("needs curl");
    }
    let host = Installation::new();
    let config = format!(
        "[serve]\nlisten = \"127.0.0.1:0\"\n[queue]\npath = \"queue.db\"\n{}",
        host.local("local")
    );
    let environment = at_home(host.add(&rust_plugin("local")), &config);
    // By no shell, which would be what is ended at the end instead of the service.
    let lines = block(README, "sh", SERVE);
    let mut words = lines.split_whitespace();
    let mut command = Command::new(host.path("bin").join(words.next().unwrap()));
    command.args(words).envs(environment).current_dir(host.path(""));
    let service = host.serve_by(command);
    let lines = block(README, "sh", FIRST).replace("http://127.0.0.1:8620", &service.url);
    let answer: Value = sh(&lines, root(), &[]).ended(0).json();
    assert_eq!(answer["state"], "created");
}

#[test]
#[cfg(unix)]
fn the_readmes_new_plugin_passes_its_tests_and_the_validator() {
    if Command::new("make").arg("--version").output().is_err() {
        return skipped("needs make");
    }
    let host = Installation::new();
    let run = sh(&block(README, "sh", NEW), &host.path(""), &at_home(&host, ""));
    let said = run.ended(0).stdout;
    assert!(said.contains("all as expected"), "{said}");
}
