//! Who may bring a library in: signatures, pinned digests, and files that others can write to.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use minisign::KeyPair;
use ticket_host::plugins::trust::sha256;
use ticket_host_tests::{Installation, c_plugin, library_name, rust_plugin, skipped};
use ticket_host_worker::library::{self, Image};

fn key() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn sign(library: &Path, key: &KeyPair) {
    let bytes = Cursor::new(fs::read(library).unwrap());
    let signature = minisign::sign(Some(&key.pk), &key.sk, bytes, None, None).unwrap();
    fs::write(signature_of(library), signature.into_string()).unwrap();
}

fn signature_of(library: &Path) -> PathBuf {
    PathBuf::from(format!("{}.minisig", library.display()))
}

/// A host with the webhook and `local`, whose config begins with `head`.
fn host(head: &str) -> (Installation, PathBuf) {
    let host = Installation::new();
    host.add(&c_plugin("webhook")).add(&rust_plugin("local"));
    config(&host, head);
    let library = host.path("plugins").join(library_name("webhook"));
    (host, library)
}

fn config(host: &Installation, head: &str) {
    host.config(&format!(
        "{head}\n[backends.b]\nplugin = \"webhook\"\nendpoint = \"http://127.0.0.1:9\"\nsecret = {{ token = \"t\" }}\n"
    ));
}

fn trusting(mode: &str, key: &KeyPair, plugins: &str) -> String {
    let key = key.pk.to_base64();
    format!("signatures = \"{mode}\"\n[trusted_keys.acme]\nkey = \"{key}\"\nplugins = {plugins}\n")
}

/// How `create` ends if the plugin was loaded: nobody listens at its endpoint.
const RUNS: i32 = 4;
/// How it ends if the plugin was refused.
const IMPORT: i32 = 7;

#[test]
fn with_signatures_required_only_what_a_trusted_key_signed_is_loaded() {
    let ours = key();
    let (host, library) = host(&trusting("require", &ours, "[\"webhook\"]"));
    let create = |code| host.create("plugin-closed", &[]).ended(code);
    create(IMPORT).says("nobody signed it").says("ask its vendor for a signature");
    sign(&library, &key());
    create(IMPORT).says("its signature is by no key in trusted_keys");
    fs::write(signature_of(&library), "nonsense").unwrap();
    create(IMPORT).says("is not a signature of minisign's");
    sign(&library, &ours);
    create(RUNS);
    let mut bytes = fs::read(&library).unwrap();
    // Behind all that is read of a library: it would still load.
    bytes.push(0);
    fs::write(&library, bytes).unwrap();
    create(IMPORT)
        .says("the signature by the key acme is not this file's")
        .says("get it from its vendor");
    let list = host.run(&["plugins", "list"]).ended(0).stdout;
    assert!(list.contains("nobody signed it"), "local is not signed either: {list}");
}

#[test]
fn a_key_signs_the_plugins_that_it_is_trusted_with_and_no_others() {
    let ours = key();
    let (host, library) = host(&trusting("require", &ours, "[\"acme\"]"));
    sign(&library, &ours);
    let run = host.create("plugin-closed", &[]).ended(IMPORT);
    run.says("it is signed by the key acme, which may not sign a plugin called \"webhook\"")
        .says("add \"webhook\" to trusted_keys.acme.plugins");
}

#[test]
fn with_a_warning_what_nobody_signed_runs_and_what_was_changed_does_not() {
    let ours = key();
    let (host, library) = host(&trusting("warn", &ours, "[\"webhook\"]"));
    host.create("plugin-closed", &[])
        .ended(RUNS)
        .says("nobody signed it, and signatures = \"warn\" lets it run");
    sign(&library, &ours);
    let run = host.create("plugin-closed", &[]).ended(RUNS);
    assert!(!run.stderr.contains("signed"), "{run:?}");
    let mut bytes = fs::read(&library).unwrap();
    bytes.push(0);
    fs::write(&library, bytes).unwrap();
    host.create("plugin-closed", &[]).ended(IMPORT).says("is not this file's");
}

#[test]
fn a_pinned_digest_lets_that_library_in_and_no_other() {
    for signatures in ["require", "off"] {
        let (host, library) = host("");
        let shown = host.run(&["plugins", "show", "webhook", "--json"]).ended(0).json();
        let digest = shown["sha256"].as_str().unwrap().to_owned();
        let pinned = |digest: &str| {
            config(&host, &format!("signatures = \"{signatures}\""));
            let text = fs::read_to_string(host.path("config.toml")).unwrap();
            fs::write(host.path("config.toml"), format!("{text}sha256 = \"{digest}\"\n")).unwrap();
        };
        pinned(&digest);
        host.create("plugin-closed", &[]).ended(RUNS);
        let mut bytes = fs::read(&library).unwrap();
        bytes.push(0);
        fs::write(&library, bytes).unwrap();
        let run = host.create("plugin-closed", &[]).ended(IMPORT);
        run.says(if signatures == "off" {
            "is not the one that sha256 pins"
        } else {
            "nobody signed it"
        });
        pinned("abc");
        host.create("plugin-closed", &[])
            .ended(3)
            .says("sha256 is not a SHA-256")
            .says("config.toml:");
    }
}

#[test]
fn what_is_loaded_is_what_was_checked_whatever_becomes_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(library_name("webhook"));
    fs::copy(c_plugin("webhook"), &file).unwrap();
    let image = Image::open(&file).unwrap();
    assert_eq!(image.sha256, sha256(&file).unwrap());
    fs::write(&file, "something else").unwrap();
    let loaded = library::load(&image);
    if cfg!(target_os = "linux") {
        assert!(loaded.unwrap().table.manifest.contains("\"webhook\""));
    } else {
        let changed = loaded.unwrap_err().to_string();
        assert!(
            changed.starts_with("is not the file that was checked: its SHA-256 is "),
            "{changed}"
        );
    }
}

#[test]
fn keys_that_are_not_valid_are_pointed_at() {
    let (host, _) = host("[trusted_keys.acme]\nkey = \"nonsense\"\nplugins = [\"a\"]\n");
    host.create("plugin-closed", &[])
        .ended(3)
        .says("key is not a public key of minisign's")
        .says("beginning with RW");
    config(&host, &trusting("warn", &key(), "[]"));
    host.create("plugin-closed", &[])
        .ended(3)
        .says("plugins is empty, so the key may sign nothing");
}

#[cfg(unix)]
#[test]
fn what_others_can_write_to_is_refused_with_the_line_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let (host, library) = host("");
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&library, 0o666);
    let help = format!("chmod go-w {}", library.display());
    host.create("plugin-closed", &[]).ended(IMPORT).says("others can write to").says("mode 0666");
    let verify = host.run(&["plugins", "verify", library.to_str().unwrap()]).ended(IMPORT);
    verify.says(&help);
    set(&library, 0o755);
    host.create("plugin-closed", &[]).ended(RUNS);
    set(&host.path("plugins"), 0o777);
    host.create("plugin-closed", &[]).ended(IMPORT).says("others can write to");
    set(&host.path("plugins"), 0o1777);
    host.create("plugin-closed", &[]).ended(IMPORT).says("mode 1777");
    set(&host.path("plugins"), 0o755);
    host.create("plugin-closed", &[]).ended(RUNS);
}

#[cfg(unix)]
#[test]
fn what_belongs_to_another_user_is_refused() {
    let (host, library) = host("");
    if std::os::unix::fs::chown(&library, Some(4321), None).is_err() {
        return skipped("needs root, and that it may give a file to another user");
    }
    let run = host.create("plugin-closed", &[]).ended(IMPORT);
    run.says("belongs to another user (number 4321)").says("chown root ");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_a_signatures_place_is_refused_and_not_waited_for() {
    let (host, library) = host(&trusting("require", &key(), "[\"webhook\"]"));
    let made = std::process::Command::new("mkfifo").arg(signature_of(&library)).status();
    assert!(made.unwrap().success());
    let list = host.run(&["plugins", "list"]).ended(0).stdout;
    assert!(list.contains("minisig: is not a file"), "{list}");
}
