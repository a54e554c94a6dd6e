//! What an operator grants is what its path led to when the backend was made, and nothing by which a plugin could get
//! at more.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use ticket_host_tests::{Installation, c_plugin, rust_plugin, wait_for};

/// A backend of the hostile plugin that tries to read `argument`.
fn reader(name: &str, argument: &str, permissions: &str) -> String {
    format!(
        "[backends.{name}]\nplugin = \"hostile\"\nendpoint = \"https://tickets.example.org\"\n\
         secret = {{ token = \"t\" }}\npermissions = {{ {permissions} }}\n\
         information = {{ fault = \"read\", argument = \"{argument}\" }}\n"
    )
}

#[test]
fn a_grant_that_leads_over_a_symbolic_link_is_refused_and_named_where_it_leads() {
    let host = Installation::new();
    host.add(&c_plugin("hostile"));
    fs::create_dir(host.path("real")).unwrap();
    symlink(host.path("real"), host.path("link")).unwrap();
    let link = host.path("link");
    let real = host.path("real").canonicalize().unwrap();
    for setting in ["read", "write"] {
        host.config(&reader("b", "x", &format!("{setting} = [{link:?}]")));
        host.run(&["check"])
            .ended(3)
            .says(&format!("permissions.{setting}: {}", link.display()))
            .says("is a symbolic link")
            .says(&format!("name where it leads: {}", real.display()))
            .says("config.toml:");
    }
}

#[test]
fn a_grant_from_which_a_plugin_could_get_at_more_is_refused_and_other_backends_work() {
    let host = Installation::new();
    host.add(&c_plugin("hostile"));
    for directory in ["a", "a/b"] {
        fs::create_dir(host.path(directory)).unwrap();
    }
    let (above, below) = (host.path("a"), host.path("a/b"));
    let good = reader("good", below.to_str().unwrap(), &format!("read = [{below:?}]"));
    let root = host.path("").canonicalize().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let queue = format!("[queue]\npath = {:?}\n", elsewhere.path().join("queue.db"));
    for (permissions, why) in [
        (format!("write = [{above:?}]"), "what the backend good is granted lies there"),
        (format!("read = [{root:?}]"), "the config file lies there"),
        (format!("write = [{:?}]", host.path("plugins")), "a plugin directory lies there"),
    ] {
        host.config(&format!("{queue}{good}{}", reader("bad", "x", &permissions)));
        host.create("plugin-closed", &["--force", "--backend", "bad"]).ended(3).says(why);
        host.create("plugin-closed", &["--force", "--backend", "good"]).ended(5).says("read: OK");
    }
}

#[test]
fn what_takes_the_name_of_a_granted_file_later_is_not_granted() {
    let host = Installation::new();
    host.add(&c_plugin("hostile"));
    fs::write(host.path("granted"), "x").unwrap();
    let granted = host.path("granted").canonicalize().unwrap();
    let path = granted.to_str().unwrap();
    host.config(&format!(
        "[queue]\npath = \"queue.db\"\n{}",
        reader("b", path, &format!("read = [{path:?}]"))
    ));
    let service = host.serve();
    let mut number = 0;
    let mut said = || {
        number += 1;
        let incident = json!({"description": "x", "pk": number, "source": {"name": "n"}});
        service.file(&incident, 30_000).text
    };
    let first = said();
    assert!(first.contains("read: OK"), "{first}");
    fs::remove_file(&granted).unwrap();
    symlink(host.path("config.toml"), &granted).unwrap();
    // A worker that is started anew opens nothing anew.
    wait_for("an idle worker to end", || {
        let ended = std::process::Command::new("pkill")
            .args(["-KILL", "-P", &service.id().to_string()])
            .status();
        ended.unwrap().success()
    });
    wait_for("a call by a new worker", || said().contains("read: "));
    let said = said();
    assert!(said.contains("read: EACCES"), "{said}");
}

#[test]
fn a_directory_that_was_made_anew_is_granted_when_the_config_is_read_anew() {
    let host = Installation::new();
    host.add(&rust_plugin("local"));
    let config = format!("[queue]\npath = \"queue.db\"\n{}", host.local("b"));
    host.config(&config);
    let service = host.serve();
    let file = |number: u32| {
        let incident = json!({"description": "x", "pk": number, "source": {"name": "n"}});
        service.file(&incident, 1_000)
    };
    file(1).is(201);
    fs::remove_dir_all(host.path("tickets")).unwrap();
    fs::create_dir(host.path("tickets")).unwrap();
    // The host reads the config anew since it was changed.
    host.config(&format!("{config}# changed\n"));
    host.logged("config and plugins were read again", 1);
    file(2).is(201);
}
