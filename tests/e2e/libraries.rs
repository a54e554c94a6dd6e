//! What lies in a plugin directory: found, named, or refused with its reason while the rest works.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ticket_host_tests::{
    Installation, c_plugin, desk, incident, library_name, run, rust_plugin, ticket_of, webhook_as,
};

/// The error that the host reports of this library, which lies beside the plugin `local`.
#[track_caller]
fn broken(library: &Path) -> String {
    let installation = Installation::new();
    installation.add(library).add(&rust_plugin("local"));
    error_beside_local(&installation)
}

/// The same for a file with these bytes.
#[track_caller]
fn broken_bytes(bytes: &[u8]) -> String {
    let installation = Installation::new();
    installation.add(&rust_plugin("local"));
    fs::write(installation.path("plugins").join(library_name("bytes")), bytes).unwrap();
    error_beside_local(&installation)
}

#[track_caller]
fn error_beside_local(installation: &Installation) -> String {
    let good = installation.local("good");
    installation.config(&format!(
        "{good}[backends.bad]\nplugin = \"no-such-name\"\nendpoint = \"https://x.org\"\n"
    ));
    // The host goes on: the other plugin makes its ticket.
    installation.create("plugin-closed", &["--backend", "good"]).ended(0);
    // Whoever asks for a plugin that isn't there is told which library is broken.
    let run = installation.create("plugin-closed", &["--backend", "bad"]).ended(7);
    let list = installation.run(&["plugins", "list", "--json"]).ended(0).json();
    let plugins = list["plugins"].as_array().unwrap();
    let broken = plugins.iter().find(|entry| entry["ok"] == false).unwrap();
    let error = broken["error"]["message"].as_str().unwrap().to_owned();
    assert!(run.stderr.contains(&error), "{error:?} is not in:\n{}", run.stderr);
    error
}

#[track_caller]
fn contains(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in {text:?}");
}

#[test]
fn a_file_that_is_not_a_library_is_reported() {
    contains(&broken_bytes(b"#!/bin/sh\necho nonsense\n"), "is not a library");
    contains(&broken_bytes(b""), "is not a library");
}

#[cfg(target_os = "linux")]
#[test]
fn a_truncated_library_is_reported() {
    let bytes = fs::read(c_plugin("misbehaves")).unwrap();
    for length in [100, bytes.len() / 2, bytes.len() - 100] {
        contains(&broken_bytes(&bytes[..length]), "is a truncated library");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_for_another_architecture_is_reported() {
    let mut bytes = fs::read(c_plugin("misbehaves")).unwrap();
    bytes[18..20].copy_from_slice(&0xf3u16.to_le_bytes());
    contains(&broken_bytes(&bytes), "is for another architecture: riscv64");
}

#[test]
fn a_library_without_the_symbol_is_reported() {
    contains(&broken(&c_plugin("no_symbol")), "it doesn't export ticket_plugin_entry");
}

#[test]
fn tables_that_break_the_rules_are_reported() {
    for (variant, why) in [
        ("null_table", "its entry function returned NULL"),
        ("other_version", "compiled for ABI version 2, this host speaks 1"),
        ("small_table", "too few for the functions that every plugin has"),
        ("null_create", "no function create()"),
        ("null_open", "no function open()"),
    ] {
        contains(&broken(&c_plugin(variant)), why);
    }
}

#[test]
fn manifests_that_are_not_valid_are_reported() {
    for (variant, why) in [
        ("not_json", "its manifest is not valid: "),
        ("no_name", "missing field `name`"),
        ("bad_name", "name \"Bad Name!\" is not valid"),
        ("not_utf8", "its manifest is not UTF-8"),
        ("huge_manifest", "more than the 1048576"),
    ] {
        contains(&broken(&c_plugin(variant)), why);
    }
}

#[test]
fn a_library_that_crashes_while_it_is_loaded_is_reported() {
    contains(&broken(&c_plugin("constructor_segfault")), "was ended by signal 11 (SIGSEGV)");
    contains(&broken(&c_plugin("entry_exits")), "exited with code 3");
}

#[test]
fn a_library_that_hangs_while_it_is_loaded_is_reported() {
    let why = "it took more than 5 s of processor time to be loaded, and was killed";
    contains(&broken(&c_plugin("constructor_spins")), why);
}

#[test]
fn a_rust_plugin_of_an_altered_plugin_api_is_reported() {
    contains(&broken(&rust_plugin("altered")), "abi_version is u32 here and u64 there");
}

#[test]
fn a_table_that_has_grown_or_lacks_what_is_optional_works() {
    for variant in ["larger_table", "null_find", "constructor_prints"] {
        let installation =
            Installation::with(&c_plugin(variant), "https://tickets.example.org", "");
        let run = installation.create("plugin-closed", &[]).ended(0);
        assert_eq!(run.stdout, "https://tickets.example.org/1\n", "{variant}");
    }
}

#[test]
fn a_plugin_that_cannot_look_for_tickets_is_a_warning() {
    let installation =
        Installation::with(&c_plugin("null_find"), "https://tickets.example.org", "");
    installation.create("plugin-closed", &[]).ended(0).says("can't look for tickets");
}

#[test]
fn an_alias_takes_no_backend_from_the_plugin_of_that_name() {
    let installation = Installation::new();
    installation.add(&rust_plugin("local")).add(&c_plugin("alias_local"));
    installation.config(&installation.local("b"));
    installation.create("plugin-closed", &[]).ended(0);
}

#[test]
fn two_plugins_of_one_name_are_both_refused() {
    let installation =
        Installation::with(&c_plugin("misbehaves"), "https://tickets.example.org", "");
    let plugins = installation.path("plugins");
    let called_after_it = plugins.join(library_name("misbehaves"));
    fs::copy(c_plugin("misbehaves"), plugins.join(library_name("copy"))).unwrap();
    fs::rename(&called_after_it, plugins.join(library_name("other_copy"))).unwrap();
    installation
        .create("plugin-closed", &[])
        .ended(7)
        .says("two libraries have that name")
        .says(&library_name("copy"))
        .says(&library_name("other_copy"));
    let list = installation.run(&["plugins", "list"]).ended(0).stdout;
    contains(&list, "two libraries have this name");
    // The one whose file is called after the plugin goes before others.
    fs::copy(c_plugin("misbehaves"), &called_after_it).unwrap();
    installation.create("plugin-closed", &[]).ended(0);
    let list = installation.run(&["plugins", "list"]).ended(0).stdout;
    let unused = format!("(not used: {} goes before it)", called_after_it.display());
    assert_eq!(list.matches(&unused).count(), 2, "{list}");
}

/// If the others were started, each would take 5 s of processor time.
#[test]
fn create_starts_no_library_but_the_one_that_is_called_after_its_plugin() {
    let installation =
        Installation::with(&c_plugin("misbehaves"), "https://tickets.example.org", "");
    for number in 1..200 {
        let other = installation.path("plugins").join(library_name(&format!("spins{number:03}")));
        fs::copy(c_plugin("constructor_spins"), other).unwrap();
    }
    let started = Instant::now();
    let run = installation.create("plugin-closed", &[]).ended(0);
    assert_eq!(run.stdout, "https://tickets.example.org/1\n");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_plugin_is_found_by_its_alias_and_in_a_file_of_any_name() {
    let desk = desk(|_| None);
    let installation = Installation::new();
    let library = |name: &str| installation.path("plugins").join(library_name(name));
    let made_by = |plugin: &str| {
        installation.config(&format!(
            "[backends.b]\nplugin = {plugin:?}\nendpoint = {:?}\nsecret = {{ token = \"t\" }}\n",
            desk.url
        ));
        installation.create("plugin-closed", &["--key", plugin])
    };
    webhook_as(&library("desk"), "desk", "1.0.0", &["argus.Desk"]);
    for plugin in ["desk", "argus.Desk"] {
        assert_eq!(made_by(plugin).ended(0).stdout, format!("{}\n", ticket_of(plugin)));
    }
    // Files whose names say something else than their manifests, or whose library is broken, keep nothing from being found.
    webhook_as(&library("acme"), "later", "1.0.0", &[]);
    webhook_as(&library("aaa"), "acme", "1.0.0", &[]);
    fs::write(library("zzz"), "").unwrap();
    webhook_as(&library("bbb"), "zzz", "1.0.0", &[]);
    for plugin in ["acme", "later", "zzz"] {
        assert_eq!(made_by(plugin).ended(0).stdout, format!("{}\n", ticket_of(plugin)));
    }
    // Who asks for what isn't there is told all that is.
    fs::write(library("none"), "").unwrap();
    let run = made_by("none").ended(7).says("no plugin \"none\" was found");
    let broken = |name| format!("broken: {}: ", library(name).display());
    run.says(&broken("none")).says(&broken("zzz")).says("found: acme, later, zzz, desk; looked in");
}

/// The worker that told what its library is goes on as the backend's: what the sandbox refused it was refused to the backend.
#[cfg(target_os = "linux")]
#[test]
fn what_a_library_was_refused_while_it_was_loaded_is_told_of_its_backend_too() {
    let installation = Installation::with(&c_plugin("refused"), "https://tickets.example.org", "");
    let run = installation.create("plugin-closed", &[]).ended(0);
    for line in [
        "when it was asked what it is, the sandbox refused it personality(2)",
        "backend b (refused): the sandbox refused its plugin personality(2)",
        "backend b (refused): the sandbox refused its plugin socket(2); if you trust it with that",
    ] {
        assert_eq!(run.stderr.matches(line).count(), 1, "{line} in:\n{}", run.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn tickets_are_made_without_certificates_where_nothing_is_encrypted() {
    let desk = desk(|_| None);
    let rest = "secret = { token = \"t\" }";
    let installation = Installation::with(&c_plugin("webhook"), &desk.url, rest);
    let mut command =
        installation.command(&["create", incident("plugin-closed").to_str().unwrap()]);
    let nowhere = installation.path("no-certificates");
    command.env("SSL_CERT_FILE", &nowhere).env("SSL_CERT_DIR", &nowhere);
    run(command, b"").ended(0);
}

#[cfg(unix)]
#[test]
fn one_library_by_two_ways_is_one_plugin() {
    let installation =
        Installation::with(&c_plugin("misbehaves"), "https://tickets.example.org", "");
    let link = installation.path("plugins").join(library_name("link"));
    std::os::unix::fs::symlink(installation.path("plugins").join(library_name("misbehaves")), link)
        .unwrap();
    installation.create("plugin-closed", &[]).ended(0);
}

#[test]
fn every_way_to_name_a_plugin_directory_is_looked_in() {
    let installation = Installation::new();
    let elsewhere = installation.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(c_plugin("misbehaves"), elsewhere.join(library_name("misbehaves"))).unwrap();
    let listed = |command: std::process::Command| {
        let run = ticket_host_tests::run(command, b"").ended(0);
        run.stdout.contains("misbehaves")
    };
    assert!(!listed(installation.command(&["plugins", "list"])));
    let argument = ["plugins", "list", "--plugin-dir", elsewhere.to_str().unwrap()];
    assert!(listed(installation.command(&argument)));
    let mut environment = installation.command(&["plugins", "list"]);
    assert!(listed({
        environment.env("TICKET_HOST_PLUGIN_PATH", &elsewhere);
        environment
    }));
    // Beside the program, where other files lie, too.
    fs::copy(c_plugin("misbehaves"), installation.path("bin").join(library_name("misbehaves")))
        .unwrap();
    assert!(listed(installation.command(&["plugins", "list"])));
}

#[test]
fn a_plugin_directory_that_is_named_and_not_there_is_a_warning() {
    let installation = Installation::new();
    let run = installation.run(&["plugins", "list", "--plugin-dir", "/no/such/directory"]).ended(0);
    contains(&run.stderr, "warning: plugin directory /no/such/directory: can't be read");
}

#[test]
fn show_documents_a_plugin() {
    let installation = Installation::new();
    installation.add(&rust_plugin("rt")).add(&c_plugin("webhook"));
    let rt = installation
        .run(&["plugins", "show", "argus_ticket_rt.RequestTrackerPlugin"])
        .ended(0)
        .stdout;
    for part in [
        "rt 0.",
        "sha256",
        "ABI 1, ticket-plugin-api 0.",
        "queue",
        ", required)",
        "username",
        "custom_fields_mapping",
    ] {
        contains(&rt, part);
    }
    let webhook = installation.run(&["plugins", "show", "webhook", "--json"]).ended(0).json();
    assert_eq!(webhook["compiled_against"], "ABI 1, the C header");
    assert_eq!(webhook["sha256"].as_str().unwrap().len(), 64);
    installation
        .run(&["plugins", "show", "nope"])
        .ended(7)
        .says("no plugin \"nope\"")
        .says("found: rt, webhook");
}

/// The loader knows a library by the name that it was loaded by, which is a descriptor's number on Linux.
#[test]
fn plugins_in_the_hosts_process_are_not_taken_for_each_other() {
    let host = Installation::new();
    host.add(&rust_plugin("local")).add(&c_plugin("webhook"));
    let local = host.local("a").replace("[backends.a]", "[backends.a]\nisolation = \"in-process\"");
    host.config(&format!(
        "{local}[backends.b]\nplugin = \"webhook\"\nendpoint = \"http://127.0.0.1:9\"\n\
         isolation = \"in-process\"\nsecret = {{ token = \"t\" }}\n"
    ));
    let checked = host.run(&["check"]).ended(3);
    assert!(checked.stdout.contains("ok      directory"), "{checked:?}");
    assert!(checked.stdout.contains("127.0.0.1:9 can't be reached"), "{checked:?}");
}
