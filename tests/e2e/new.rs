//! Folders that the program writes for who makes plugins: `plugins new` and `plugins sdk`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use ticket_host_tests::{Installation, Run, run};

const LANGUAGES: [&str; 5] = ["rust", "c", "cpp", "zig", "go"];
const RECORD: &str = "sdk/WRITTEN.sha256";

fn sdk(host: &Installation, folder: &str) -> Run {
    host.run(&["plugins", "sdk", folder])
}

/// The names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_plugin_is_a_folder_of_its_own_and_bad_names_are_refused() {
    let host = Installation::new();
    for lang in LANGUAGES {
        let name = format!("new-in-{lang}");
        let run = host.run(&["plugins", "new", &name, "--lang", lang]).ended(0);
        assert!(run.stdout.contains("README.md"), "{run:?}");
        let readme = fs::read_to_string(host.path(&name).join("README.md")).unwrap();
        assert!(readme.contains(&name) && !readme.contains("{{"), "{readme}");
        assert!(host.path(&name).join("validate.toml").is_file());
    }
    host.run(&["plugins", "new", "new-in-c", "--lang", "c"]).ended(2).says("can't be written");
    for name in ["Upper", "1st", "a b", "", "test", "../x"] {
        host.run(&["plugins", "new", name]).ended(2).says("can't be the name of a plugin");
    }
    host.run(&["plugins", "new", "x", "--lang", "cobol"]).ended(2).says("invalid value 'cobol'");
}

#[test]
fn what_is_written_says_that_a_vendor_may_close_it() {
    let host = Installation::new();
    for lang in LANGUAGES {
        host.run(&["plugins", "new", lang, "--lang", lang]).ended(0);
        let licence = fs::read_to_string(host.path(lang).join("LICENSE-TEMPLATE")).unwrap();
        assert!(licence.contains("MIT-0") && licence.contains("AS IS"), "{licence}");
    }
    for file in ["Cargo.toml", "src/lib.rs", "src/tests.rs"] {
        let text = fs::read_to_string(host.path("rust").join(file)).unwrap();
        assert!(text.lines().next().unwrap().ends_with("SPDX-License-Identifier: MIT-0"), "{text}");
    }
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(host.path("rust/sdk").join(name).is_file(), "{name}");
    }
}

#[test]
fn a_new_plugin_in_rust_needs_no_registry_for_its_sdk() {
    let host = Installation::new();
    host.run(&["plugins", "new", "acme"]).ended(0);
    let dependency = |folder: &str| {
        let manifest = fs::read_to_string(host.path(folder).join("Cargo.toml")).unwrap();
        let line = manifest.lines().find(|line| line.starts_with("ticket-plugin-api"));
        line.unwrap().to_owned()
    };
    assert_eq!(dependency("acme"), "ticket-plugin-api = { path = \"sdk\" }");
    let version = host.run(&["--version"]).ended(0).stdout;
    let record = fs::read_to_string(host.path("acme").join(RECORD)).unwrap();
    let written = record.lines().next().unwrap().strip_prefix("# ticket-plugin-api ").unwrap();
    assert!(version.contains(&format!("plugin SDK: {written}\n")), "{version}");
    // Several plugins can share one.
    let shared = host.path("acme/sdk");
    host.run(&["plugins", "new", "other", "--api", "acme/sdk"]).ended(0);
    assert_eq!(dependency("other"), format!("ticket-plugin-api = {{ path = {shared:?} }}"));
    assert!(!host.path("other/sdk").exists());
    let refused = host.run(&["plugins", "new", "third", "--api", "plugins"]).ended(2);
    refused.says("Cargo.toml is not there").says("ticket-host plugins sdk DIR");
    assert!(!host.path("third").exists());
}

#[test]
fn an_sdk_of_another_version_is_replaced_as_a_whole() {
    let host = Installation::new();
    let answer = || host.run(&["plugins", "sdk", "sdk", "--json"]).ended(0).json();
    let first = answer();
    assert_eq!((&first["written"], &first["replaced"]), (&json!(true), &Value::Null));
    assert_eq!(first["folder"], "sdk");
    assert_eq!(answer()["written"], false);
    let again = sdk(&host, "sdk").ended(0).stdout;
    assert_eq!(
        again,
        format!(
            "sdk: ticket-plugin-api {} was there already\n",
            first["version"].as_str().unwrap()
        )
    );
    // As an older program would have left it: with a file that this one doesn't have.
    let before = fs::read_to_string(host.path(RECORD)).unwrap();
    let version = first["version"].as_str().unwrap();
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let old = before.replacen(version, "0.0.7", 1) + of_nothing + "  src/gone/old.rs\n";
    fs::write(host.path(RECORD), old).unwrap();
    fs::create_dir(host.path("sdk/src/gone")).unwrap();
    fs::write(host.path("sdk/src/gone/old.rs"), "").unwrap();
    assert_eq!(answer()["replaced"], "0.0.7");
    assert!(!host.path("sdk/src/gone").exists());
    assert_eq!(fs::read_to_string(host.path(RECORD)).unwrap(), before);
    let beside = names(&host.path(""));
    assert!(beside.iter().all(|name| !name.starts_with('.')), "{beside:?}");
}

#[test]
fn an_empty_folder_and_a_link_to_an_sdk_can_be_written_to() {
    let host = Installation::new();
    fs::create_dir(host.path("empty")).unwrap();
    sdk(&host, "empty").ended(0);
    fs::remove_file(host.path("empty/README.md")).unwrap();
    std::os::unix::fs::symlink("empty", host.path("link")).unwrap();
    sdk(&host, "link").ended(0);
    assert!(host.path("link").is_symlink() && host.path("empty/README.md").is_file());
}

#[test]
fn what_is_no_sdk_is_refused_and_left_as_it_is() {
    let host = Installation::new();
    fs::write(host.path("file"), "mine").unwrap();
    fs::create_dir(host.path("mine")).unwrap();
    fs::write(host.path("mine/Cargo.toml"), "mine").unwrap();
    sdk(&host, "changed").ended(0);
    fs::write(host.path("changed/src/lib.rs"), "mine").unwrap();
    sdk(&host, "used").ended(0);
    fs::create_dir(host.path("used/target")).unwrap();
    let before = ["mine", "changed/src", "used"].map(|folder| names(&host.path(folder)));
    for (folder, what, help) in [
        ("file", "file: it is not a folder", "name another one"),
        ("mine", "so it is not the SDK", "an empty one"),
        ("changed", "didn't write: src/lib.rs;", "move that elsewhere"),
        ("used", "didn't write: target;", "move that elsewhere"),
        (".", "can't be the folder of the SDK", "from outside of it"),
        ("nowhere/sdk", "nowhere/sdk can't be written", "may you write to where it lies?"),
        ("file/sdk", "file/sdk can't be looked at", "you may read and write to"),
    ] {
        let run = sdk(&host, folder).ended(2).says(what).says(help);
        let error = host.run(&["plugins", "sdk", folder, "--json"]).ended(2).json();
        assert_eq!(error["error"]["kind"], "usage", "{run:?}");
    }
    assert_eq!(fs::read_to_string(host.path("file")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(host.path("mine/Cargo.toml")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(host.path("changed/src/lib.rs")).unwrap(), "mine");
    let after = ["mine", "changed/src", "used"].map(|folder| names(&host.path(folder)));
    assert_eq!(after, before);
}

#[test]
fn a_folder_that_may_not_be_written_to_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let host = Installation::new();
    // Permissions don't bind root, but nobody can make a folder there.
    sdk(&host, "/proc/sdk").ended(2).says("/proc/sdk can't be written");
    if rustix::process::geteuid().is_root() {
        // Run as a user, this goes on.
        return;
    }
    let closed = host.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    sdk(&host, "closed/sdk").ended(2).says("closed/sdk can't be written").says("Permission denied");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(names(&closed).is_empty());
}

#[test]
fn a_plugin_that_cannot_be_written_whole_is_not_there_at_all() {
    let host = Installation::new();
    fs::create_dir(host.path("home")).unwrap();
    // A disk that is full looks like this: no file gets more than a block. Who ignores the signal gets an error instead.
    let lines = "trap '' XFSZ; ulimit -f 1; exec ../bin/ticket-host plugins new acme --lang c";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", lines]).current_dir(host.path("home"));
    run(command, b"").ended(2).says("can't be written");
    assert_eq!(names(&host.path("home")), Vec::<String>::new());
}

#[test]
fn a_record_that_is_no_file_is_not_read() {
    let host = Installation::new();
    fs::create_dir(host.path("sdk")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", host.path("sdk/WRITTEN.sha256")).unwrap();
    sdk(&host, "sdk").ended(2).says("so it is not the SDK");
}
