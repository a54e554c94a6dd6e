//! Who may bring a library in: signatures, pinned digests, and files that others can write to.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use minisign::KeyPair;
use ticket_host_tests::{
    Installation, Run, c_plugin, incident, library_name, rust_plugin, skipped, webhook_as,
};
use ticket_host_worker::Digest;
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

fn digest(library: &Path) -> Digest {
    Digest::of(&fs::read(library).unwrap())
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

/// What the Python plugin of Argus for Jira is called.
const JIRA: &str = "argus_ticket_jira.JiraPlugin";

/// A host that has one library, which is called `acme` and claims Jira's plugin too. The backend `desk` pins it as
/// `acme`; the others don't pin it, and ask for both.
fn pinned_for_desk(head: &str, more: &str) -> Installation {
    let host = Installation::new();
    let library = host.path("plugins").join(library_name("acme"));
    webhook_as(&library, "acme", "1.0.0", &[JIRA]);
    let backend = |name, plugin| {
        format!(
            "[backends.{name}]\nplugin = \"{plugin}\"\nendpoint = \"http://127.0.0.1:9\"\n\
             secret = {{ token = \"token-of-{name}\" }}\n"
        )
    };
    let (desk, jira, other) =
        (backend("desk", "acme"), backend("jira", JIRA), backend("other", "acme"));
    let pin = format!("sha256 = \"{}\"", digest(&library));
    host.config(&format!("{head}\n{desk}{pin}\n{jira}{more}\n{other}"));
    host
}

fn created(host: &Installation, backend: &str) -> Run {
    host.create("plugin-closed", &["--backend", backend])
}

#[test]
fn a_pin_lets_a_library_in_as_the_plugin_that_its_backend_names_and_for_no_other() {
    for signatures in ["require", "warn", "off"] {
        let host = pinned_for_desk(&format!("signatures = \"{signatures}\""), "");
        created(&host, "desk").ended(RUNS);
        created(&host, "jira")
            .ended(IMPORT)
            .says("no trusted key signed it, and backends pin it as \"acme\" only")
            .says("pin its sha256 in it too");
    }
}

#[test]
fn a_pin_vouches_for_no_backend_but_its_own() {
    let required = pinned_for_desk("signatures = \"require\"", "");
    created(&required, "other")
        .ended(IMPORT)
        .says("nobody signed it, and only other backends pin it");
    let warned = pinned_for_desk("signatures = \"warn\"", "");
    created(&warned, "other").ended(RUNS).says("nobody signed it, and signatures = \"warn\"");
    let pinning = created(&warned, "desk").ended(RUNS);
    assert!(!pinning.stderr.contains("signed"), "{pinning:?}");
    // A backend that asks by the alias may pin it as well.
    let library = required.path("plugins").join(library_name("acme"));
    let pin = format!("sha256 = \"{}\"", digest(&library));
    created(&pinned_for_desk("signatures = \"require\"", &pin), "jira").ended(RUNS);
}

#[test]
fn a_pinned_library_is_used_whatever_else_has_its_name() {
    let host = pinned_for_desk("", "");
    let library = |name| host.path("plugins").join(library_name(name));
    fs::rename(library("acme"), library("pinned")).unwrap();
    webhook_as(&library("aaa"), "acme", "6.6.6", &[]);
    created(&host, "desk").ended(RUNS);
    created(&host, "other").ended(IMPORT).says("two libraries have that name");
    // Also if its file is called after the plugin.
    fs::rename(library("aaa"), library("acme")).unwrap();
    created(&host, "desk").ended(RUNS);
}

#[test]
fn the_first_directory_that_has_a_name_or_an_alias_is_the_one_it_is_taken_from() {
    let host = Installation::new();
    let (first, later) = (host.path("first"), host.path("plugins"));
    fs::create_dir(&first).unwrap();
    let (earlier, newcomer) =
        (first.join(library_name("webhook")), later.join(library_name("webhook")));
    config(&host, "");
    let run = |arguments: &[&str]| {
        let directory = ["--plugin-dir", first.to_str().unwrap()];
        host.run(&[&directory, arguments].concat())
    };
    // The name or alias of each, that in the later directory second.
    for (names, others) in [
        (("webhook", vec![]), ("webhook", vec![])),
        (("other", vec!["webhook"]), ("webhook", vec![])),
        (("webhook", vec![]), ("other", vec!["webhook"])),
        (("one", vec!["webhook"]), ("other", vec!["webhook"])),
    ] {
        webhook_as(&earlier, names.0, "1.0.0", &names.1);
        webhook_as(&newcomer, others.0, "2.0.0", &others.1);
        let shown = run(&["plugins", "show", "webhook", "--json"]).ended(0);
        let not_used = format!("{} is not used as \"webhook\"", newcomer.display());
        let shown = shown.says(&not_used).says(&format!("{} goes before it", earlier.display()));
        assert_eq!(shown.json()["manifest"]["version"], "1.0.0");
        assert_eq!(shown.json()["goes_before"][0], newcomer.to_str().unwrap());
        let shown = run(&["plugins", "show", "webhook"]).ended(0).stdout;
        assert!(shown.contains(&format!("goes before      {}", newcomer.display())), "{shown}");
        run(&["create", incident("plugin-closed").to_str().unwrap()]).ended(RUNS).says(&not_used);
    }
    // The same bytes in two directories are nothing to warn of.
    fs::copy(&earlier, &newcomer).unwrap();
    let same = run(&["plugins", "list"]).ended(0);
    assert!(!same.stderr.contains("is not used"), "{same:?}");
    webhook_as(&newcomer, "one", "2.0.0", &[]);
    let list = run(&["plugins", "list"]).ended(0).stdout;
    assert!(list.contains(&format!("(not used: {} goes before it)", earlier.display())), "{list}");
    let list = run(&["plugins", "list", "--json"]).ended(0).json();
    let other = &list["plugins"][1];
    assert_eq!(other["ok"], false);
    assert!(other["unused"].as_str().unwrap().contains("goes before it"), "{list}");
}

#[test]
fn a_key_signs_aliases_too() {
    let ours = key();
    let host = Installation::new();
    let library = host.path("plugins").join(library_name("webhook"));
    webhook_as(&library, "webhook", "1.0.0", &[JIRA]);
    sign(&library, &ours);
    for mode in ["require", "warn"] {
        config(&host, &trusting(mode, &ours, "[\"webhook\"]"));
        host.create("plugin-closed", &[])
            .ended(IMPORT)
            .says("may not sign a plugin called \"argus_ticket_jira.JiraPlugin\"");
        config(&host, &trusting(mode, &ours, &format!("[\"webhook\", {JIRA:?}]")));
        host.create("plugin-closed", &[]).ended(RUNS);
    }
}

#[test]
fn a_key_with_the_number_of_another_one_keeps_nothing_from_being_loaded() {
    let (ours, theirs) = (key(), key());
    // Of a public key's 42 bytes, the third to the tenth are the number that its maker chose.
    let mut bytes = theirs.pk.to_bytes();
    bytes[2..10].copy_from_slice(&ours.pk.to_bytes()[2..10]);
    let theirs = minisign::PublicKey::from_bytes(&bytes).unwrap().to_base64();
    let both = format!(
        "{}[trusted_keys.aaa]\nkey = \"{theirs}\"\nplugins = [\"other\"]\n",
        trusting("require", &ours, "[\"webhook\"]")
    );
    let (host, library) = host(&both);
    sign(&library, &ours);
    host.create("plugin-closed", &[]).ended(RUNS);
}

#[test]
fn what_is_loaded_is_what_was_checked_whatever_becomes_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(library_name("webhook"));
    fs::copy(c_plugin("webhook"), &file).unwrap();
    let image = Image::open(&file).unwrap();
    assert_eq!(image.sha256, digest(&file));
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
fn a_link_that_lies_where_others_write_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (host, library) = host("");
    let shared = host.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::rename(&library, host.path("real.so")).unwrap();
    symlink(host.path("real.so"), shared.join("link")).unwrap();
    symlink(shared.join("link"), &library).unwrap();
    host.create("plugin-closed", &[]).ended(RUNS);
    for mode in [0o777, 0o1777] {
        fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
        let run = host.create("plugin-closed", &[]).ended(IMPORT);
        run.says(&format!("others can write to {} (mode {mode:04o})", shared.display()));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_an_access_list_lets_others_write_to_is_refused() {
    use rustix::fs::{XattrFlags, setxattr};
    let (host, library) = host("");
    // As `setfacl -m u:4321:rwx` writes it: the owner, that user, the group, the mask, everybody else.
    let list = |mask: u8| {
        let mut list = vec![2, 0, 0, 0];
        for (tag, allowed, id) in [
            (1, 7, u32::MAX),
            (2, 7, 4321),
            (4, 5, u32::MAX),
            (16, mask, u32::MAX),
            (32, 5, u32::MAX),
        ] {
            list.extend([tag, 0, allowed, 0]);
            list.extend(u32::to_le_bytes(id));
        }
        list
    };
    let set =
        |at: &Path, list: &[u8]| setxattr(at, "system.posix_acl_access", list, XattrFlags::empty());
    for at in [library, host.path("plugins"), host.path(".")] {
        if set(&at, &list(7)).is_err() {
            return skipped("the file system keeps no access lists");
        }
        let run = host.create("plugin-closed", &[]).ended(IMPORT);
        run.says("the user number 4321 can write to").says("setfacl -b ");
        // Without the right to write in the mask, nobody has it.
        set(&at, &list(5)).unwrap();
        host.create("plugin-closed", &[]).ended(RUNS);
    }
}

#[cfg(unix)]
#[test]
fn what_a_group_can_write_to_is_refused_unless_it_is_the_owners_own() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let (host, library) = host("");
    let own = |what: &str| {
        let id = std::process::Command::new("id").args([what, "-n"]).output().unwrap();
        String::from_utf8(id.stdout).unwrap()
    };
    if own("-u") != own("-g") {
        return skipped("the user's first group is not the user's own");
    }
    for path in [&library, &host.path("plugins")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o775)).unwrap();
    }
    host.create("plugin-closed", &[]).ended(RUNS);
    let other = fs::metadata(&library).unwrap().gid() + 4321;
    if chown(&library, None, Some(other)).is_err() {
        return skipped("needs root, and that it may give a file to another group");
    }
    let run = host.create("plugin-closed", &[]).ended(IMPORT);
    run.says(&format!("the group number {other} can write to")).says("chmod g-w ");
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
