//! The README and the guide for plugins show the plugins as they are, and their commands do what they say.

use std::fs;
use std::path::Path;
use std::process::Command;

use ticket_host_tests::{Installation, Run, built, library_name, run, rust_plugin, skipped};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

const README: &str = "README.md";
const GUIDE: &str = "plugin-api/docs/guide.md";

/// The guide with the code of the plugins that it shows put in anew.
fn renewed(guide: &str) -> String {
    let acme = fs::read_to_string(root().join("plugin-api/examples/acme.rs")).unwrap();
    let webhook = fs::read_to_string(root().join("plugins/webhook-c/webhook.c")).unwrap();
    let core = &webhook[webhook.find("static int32_t create(").unwrap()..];
    let mut out = guide.to_owned();
    for (mark, language, code) in [("acme.rs", "rust", acme.as_str()), ("webhook.c", "c", core)] {
        let start = out.find(&format!("<!-- {mark} -->\n")).unwrap();
        let end = start + out[start..].find("<!-- end -->").unwrap();
        let shown = format!("<!-- {mark} -->\n```{language}\n{}\n```\n", code.trim_end());
        out.replace_range(start..end, &shown);
    }
    out
}

#[test]
fn the_guide_shows_the_plugins_as_they_are() {
    let path = root().join(GUIDE);
    let guide = fs::read_to_string(&path).unwrap();
    let renewed = renewed(&guide);
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        fs::write(&path, &renewed).unwrap();
    }
    assert_eq!(guide, renewed, "run this test with UPDATE_GUIDE=1, and look at the change");
    let webhook = fs::read_to_string(root().join("plugins/webhook-c/webhook.c")).unwrap();
    assert!(guide.contains(&format!("in {} lines", webhook.lines().count())));
}

#[test]
fn the_readmes_commands_are_the_ones_that_are_run_here() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(readme.contains("\ncargo test --workspace\n"));
    assert!(ci.contains("cargo test --workspace"));
    let incident = "tests/incidents/plugin-open-infinity.json";
    assert!(readme.contains(&format!("create {incident}\n")) && root().join(incident).exists());
}

/// The lines for a shell that have `words` in them, as they are printed in `page`.
fn lines_with(page: &str, words: &str) -> String {
    let page = fs::read_to_string(root().join(page)).unwrap();
    let mut blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(words)).unwrap().to_owned()
}

/// Runs lines by the shell that every system has, in the repository; the first that fails ends it.
fn sh(lines: &str) -> Run {
    let mut command = Command::new("sh");
    command.args(["-euc", lines]).current_dir(root());
    run(command, b"")
}

#[test]
#[cfg(unix)]
fn what_is_built_is_installed_by_the_readmes_lines() {
    let to = tempfile::tempdir().unwrap();
    let lines = lines_with(README, "/usr/local/bin")
        .replace("target/release", built().to_str().unwrap())
        .replace("/usr/local", to.path().to_str().unwrap());
    sh(&lines).ended(0);
    assert!(to.path().join("bin/ticket-host").exists());
    for plugin in ["local", "rt"] {
        let library = to.path().join("lib/ticket-host/plugins").join(library_name(plugin));
        assert!(library.exists(), "{}", library.display());
    }
}

#[test]
#[cfg(unix)]
fn the_readmes_first_incident_for_the_service_gets_its_ticket() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped("needs curl");
    }
    let host = Installation::new();
    let config = format!("[queue]\npath = \"queue.db\"\n{}", host.local("local"));
    host.add(&rust_plugin("local")).config(&config);
    let service = host.serve();
    let lines = lines_with(README, "curl").replace("http://127.0.0.1:8620", &service.url);
    assert_eq!(sh(&lines).ended(0).json()["state"], "created");
}

#[test]
#[cfg(unix)]
fn the_guides_plugin_in_c_is_compiled_by_its_lines() {
    let to = tempfile::tempdir().unwrap();
    let lines = lines_with(GUIDE, "-o demo/")
        .replace("./target/debug", built().to_str().unwrap())
        .replace("demo", to.path().to_str().unwrap());
    let shown = sh(&lines).ended(0).stdout;
    assert!(shown.starts_with("webhook "), "{shown}");
}
