//! Plugins that are brought in: whole, vouched for and valid, or not at all; and their earlier versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ticket_host_tests::{Installation, c_plugin, desk, library_name, rust_plugin, webhook_as};

/// The file of the webhook plugin, changed so that it says it is of this version.
fn version(host: &Installation, version: &str) -> PathBuf {
    download(host, version, "webhook", &[])
}

/// The same for a plugin with these names.
fn download(host: &Installation, version: &str, name: &str, aliases: &[&str]) -> PathBuf {
    let directory = host.path(&format!("download-{name}-{version}"));
    fs::create_dir(&directory).unwrap();
    let file = directory.join(library_name(name));
    webhook_as(&file, name, version, aliases);
    file
}

fn shown(host: &Installation) -> String {
    let shown = host.run(&["plugins", "show", "webhook", "--json"]).ended(0).json();
    shown["manifest"]["version"].as_str().unwrap().to_owned()
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_plugin_is_installed_upgraded_and_rolled_back() {
    let host = Installation::new();
    let (old, new) = (version(&host, "0.1.0"), version(&host, "0.2.0"));
    let install = |file: &Path| host.run(&["plugins", "install", file.to_str().unwrap()]);
    let first = install(&old).ended(0).stdout;
    assert!(first.starts_with("webhook 0.1.0: ") && !first.contains("instead of"), "{first}");
    let second = install(&new).ended(0).stdout;
    assert!(second.contains("instead of 0.1.0, which `plugins rollback webhook` brings back"));
    assert_eq!(shown(&host), "0.2.0");
    assert_eq!(files(&host.path("plugins")), [".previous", &library_name("webhook")]);
    let back = host.run(&["plugins", "rollback", "webhook"]).ended(0).stdout;
    assert!(back.starts_with("webhook 0.1.0: ") && back.contains("instead of 0.2.0"), "{back}");
    assert_eq!(shown(&host), "0.1.0");
    host.run(&["plugins", "rollback", "webhook"]).ended(0);
    assert_eq!(shown(&host), "0.2.0");
    assert_eq!(files(&host.path("plugins/.previous")), [library_name("webhook")]);
    host.run(&["plugins", "rollback", "rt"]).ended(7).says("no earlier version of the plugin rt");
}

#[test]
fn an_archive_is_unpacked_and_what_else_is_in_it_is_not() {
    let host = Installation::new();
    let library = version(&host, "0.3.0");
    fs::write(host.path("README"), "read me").unwrap();
    let archive = host.path("webhook.tar.gz");
    let packed = Command::new("tar")
        .args(["-czf", archive.to_str().unwrap(), "-P", "--transform", "s,^README,../../README,"])
        .arg("-C")
        .arg(host.path("."))
        .args([
            "README",
            library.strip_prefix(host.path(".")).unwrap_or(&library).to_str().unwrap(),
        ])
        .status()
        .unwrap();
    assert!(packed.success());
    host.run(&["plugins", "install", archive.to_str().unwrap()]).ended(0);
    assert_eq!(shown(&host), "0.3.0");
    assert_eq!(files(&host.path("plugins")), [library_name("webhook")]);
    fs::write(&archive, "no archive").unwrap();
    host.run(&["plugins", "install", archive.to_str().unwrap()]).ended(7).says("can't be unpacked");
}

#[test]
fn what_breaks_the_rules_or_is_not_vouched_for_leaves_everything_as_it_was() {
    let host = Installation::new();
    let good = version(&host, "0.1.0");
    host.run(&["plugins", "install", good.to_str().unwrap()]).ended(0);
    for (library, why) in [
        (c_plugin("breaks_table"), "returned NULL"),
        (c_plugin("breaks_permissions"), "asks for \"teleport\", which this host can't grant"),
        (c_plugin("constructor_segfault"), "was ended by signal 11"),
        (host.path("config.toml"), "holds no library"),
    ] {
        let run = host.run(&["plugins", "install", library.to_str().unwrap()]);
        run.ended(7).says(why);
    }
    host.config("signatures = \"require\"\n");
    let rt = rust_plugin("rt");
    host.run(&["plugins", "install", rt.to_str().unwrap()]).ended(7).says("nobody signed it");
    host.config("");
    assert_eq!(files(&host.path("plugins")), [library_name("webhook")]);
    assert_eq!(shown(&host), "0.1.0");
    host.config("");
    fs::write(host.path("config.toml"), "").unwrap();
    host.run(&["plugins", "install", rt.to_str().unwrap()])
        .ended(2)
        .says("no plugin directory is named");
}

#[test]
fn what_claims_a_name_of_another_plugin_there_is_refused() {
    let host = Installation::new();
    let install = |file: &Path| host.run(&["plugins", "install", file.to_str().unwrap()]);
    install(&download(&host, "1.0.0", "webhook", &["argus.Webhook"])).ended(0);
    let there = host.path("plugins").join(library_name("webhook"));
    let is_there = |name: &str| format!("{} is there as {name:?} already", there.display());
    for (name, aliases, taken) in [
        ("acme", vec!["webhook"], "webhook"),
        ("acme", vec!["x", "argus.Webhook"], "argus.Webhook"),
    ] {
        let file = download(&host, "1.0.0", name, &aliases);
        let run = install(&file).ended(7).says("the plugin acme was not installed");
        run.says(&is_there(taken)).says("with --to");
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
    // A file that is called like the newcomer's would be, and is another plugin.
    fs::rename(&there, host.path("plugins").join(library_name("acme"))).unwrap();
    install(&download(&host, "1.0.0", "acme", &[]))
        .ended(7)
        .says("is there as \"webhook\" already");
    assert_eq!(files(&host.path("plugins")), [library_name("acme")]);
    // An upgrade of the same plugin takes its names over.
    install(&download(&host, "2.0.0", "webhook", &["argus.Webhook", "more"])).ended(0);
    assert_eq!(shown(&host), "2.0.0");
    // A version that is brought back must not take a name, either.
    webhook_as(&host.path("plugins").join(library_name("later")), "later", "1.0.0", &[]);
    host.run(&["plugins", "rollback", "webhook"]).ended(0);
    webhook_as(&host.path("plugins").join(library_name("later")), "more", "1.0.0", &[]);
    host.run(&["plugins", "rollback", "webhook"]).ended(7).says("is there as \"more\" already");
    assert_eq!(shown(&host), "1.0.0");
}

#[test]
fn a_running_service_takes_the_new_version_over() {
    let desk = desk(|_| None);
    let host = Installation::new();
    let (old, new) = (version(&host, "0.1.0"), version(&host, "0.2.0"));
    host.run(&["plugins", "install", old.to_str().unwrap()]).ended(0);
    host.config(&format!(
        "[queue]\npath = \"queue.db\"\n[backends.b]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n",
        desk.url
    ));
    let service = host.serve();
    let version = || {
        let backends = service.get("/v1/backends").is(200).json();
        backends[0]["version"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(version(), "0.1.0");
    host.run(&["plugins", "install", new.to_str().unwrap()]).ended(0);
    ticket_host_tests::wait_for("the new version", || version() == "0.2.0");
}
