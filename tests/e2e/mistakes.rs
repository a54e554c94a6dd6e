//! All that is wrong in the settings is told at once, in the order of the file.

use std::fs;

use serde_json::Value;
use ticket_host_tests::{Installation, Run, c_plugin, run, rust_plugin};

fn host(config: &str) -> Installation {
    let host = Installation::new();
    host.add(&rust_plugin("rt")).add(&c_plugin("webhook"));
    host.config(config);
    host
}

/// The mistakes of the file, of what it names, and of what the plugins say to it.
const ALL: &str = "\
default_backend = \"nowhere\"
limits = { concurrency = 0 }
[backends.a]
plugin = \"rt\"
endpoint = \"rt.example.org\"
concurency = 4
secret = { token = { env = \"NOT_SET_ANYWHERE\" } }
information = { queue = \"NOC\", custom_fields_mapping = 5, custom_fields_set = 7 }
[backends.a.template]
title = \"{{ incident. }}\"
body = \"{{ a | nosuch }}\"
[backends.b]
plugin = \"nope\"
endpoint = \"https://x.org/?token=hunter2\"
secret = { token = { file = \"nowhere\" } }
ca_file = \"none.pem\"
[backends.c]
plugin = \"webhook\"
endpoint = \"https://x.org\"
secret = { tokn = \"hunter2\" }
";
/// What nothing of the file is pointed at for.
const OF_TOKENS: &str = "\
[serve.tokens.argus]
token = { env = \"NOT_SET_EITHER\" }
scopes = [\"create\"]
[argus]
url = \"https://argus.example.org\"
token = { file = \"no-token\" }
";
/// What the file alone tells.
const OF_FILE: [&str; 5] = [
    "default_backend names a backend \"nowhere\" that doesn't exist",
    "`concurrency` must be 1 to 256; this is 0",
    "endpoint \"rt.example.org\" is not a valid URL",
    "unknown setting `concurency`; did you mean `concurrency`?",
    "endpoint has a query or a fragment",
];
const OF_A: [&str; 5] = [
    "backend a (rt): secret.token: the environment variable NOT_SET_ANYWHERE is not set",
    "backend a (rt): information.custom_fields_mapping: 5 is not of type \"object\"",
    "backend a (rt): information.custom_fields_set: 7 is not of type \"object\"",
    "backend a (rt): template.title, line 1: can't be read",
    "backend a (rt): template.body, line 1:",
];
const OF_B_AND_C: [&str; 4] = [
    "backend b: no plugin \"nope\" was found",
    "backend b: secret.token: the file",
    "backend b: ca_file",
    "backend c (webhook): secret: token is missing",
];

/// Asserts that the run told these, each with a line of the file and what to do, and nothing else.
#[track_caller]
fn told(run: &Run, all: &[&[&str]]) {
    let all = all.concat();
    for text in &all {
        assert_eq!(run.stderr.matches(text).count(), 1, "{text:?} in:\n{}", run.stderr);
    }
    // In a log the level takes the place of the first one's word.
    let begins = |line: &&str| line.trim_start_matches([' ', '|']).starts_with("error: ");
    let errors = run.stderr.lines().filter(begins).count();
    let errors = errors + run.stderr.matches(" ERROR ").count();
    assert_eq!(errors, all.len(), "{}", run.stderr);
    assert_eq!(run.stderr.matches("─[").count(), all.len(), "{}", run.stderr);
    assert_eq!(run.stderr.matches("help: ").count(), all.len(), "{}", run.stderr);
    assert!(!run.stderr.contains("hunter2") && !run.stdout.contains("hunter2"), "{run:?}");
}

#[test]
fn all_mistakes_of_a_config_are_told_in_one_run_of_every_command_that_needs_it() {
    let host = host(ALL);
    told(&host.run(&["check"]).ended(3), &[&OF_FILE, &OF_A, &OF_B_AND_C]);
    told(&host.run(&["serve"]).ended(3), &[&OF_FILE, &OF_A, &OF_B_AND_C]);
    // Those of the file, and those of the backend that is meant.
    told(&host.create("plugin-closed", &["--backend", "a"]).ended(3), &[&OF_FILE, &OF_A]);
    told(&host.run(&["check", "--backend", "a"]).ended(3), &[&OF_FILE, &OF_A]);
    told(&host.run(&["queue", "list"]).ended(3), &[&OF_FILE]);
    told(&host.run(&["plugins", "list"]).ended(3), &[&OF_FILE]);
    // Nothing was made.
    assert!(!fs::exists(host.path("ticket-host.db")).unwrap());
}

#[test]
fn programs_are_told_all_mistakes_in_the_order_of_the_file() {
    let host = host(ALL);
    let checked = host.run(&["check", "--json"]).ended(3).json();
    let errors = checked["errors"].as_array().unwrap();
    assert_eq!(errors[0], checked["error"], "scripts that know of one go on");
    let lines: Vec<u64> = errors.iter().map(|e| e["at"]["line"].as_u64().unwrap()).collect();
    assert!(lines.is_sorted() && lines[0] == 2, "{lines:?}");
    let messages: Vec<&str> = errors.iter().map(|e| e["message"].as_str().unwrap()).collect();
    assert_eq!(messages.len(), OF_FILE.len() + OF_A.len() + OF_B_AND_C.len(), "{messages:#?}");
    for text in [&OF_FILE[..], &OF_A, &OF_B_AND_C].concat() {
        assert!(messages.iter().any(|message| message.contains(text)), "{text:?}: {messages:#?}");
    }
    assert_eq!(checked, host.run(&["check", "--json"]).ended(3).json(), "it is the same each time");
    assert_eq!(checked["errors"], host.run(&["serve", "--json"]).ended(3).json()["errors"]);
}

#[test]
fn all_mistakes_of_a_backend_are_told_where_the_file_has_none() {
    let backend = "[backends.a]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n";
    let host = host(&format!(
        "{backend}secret = {{ token = {{ env = \"NOT_SET_ANYWHERE\" }} }}\n\
         information = {{ queue = \"NOC\", custom_fields_mapping = 5, custom_fields_set = 7 }}\n\
         [backends.a.template]\ntitle = \"{{{{ incident. }}}}\"\nbody = \"{{{{ a | nosuch }}}}\"\n"
    ));
    told(&host.run(&["check"]).ended(3), &[&OF_A]);
    told(&host.create("plugin-closed", &[]).ended(3), &[&OF_A]);
    let checked = host.run(&["check", "--json"]).ended(3).json();
    assert_eq!(checked["backends"][0]["errors"].as_array().unwrap().len(), OF_A.len());
    // The exit code is that of the first.
    host.config(
        "[backends.a]\nplugin = \"nope\"\nendpoint = \"https://x.org\"\nconcurrency = 0\n\
         [queue]\nretry_days = 0\n",
    );
    let mixed = host.run(&["check"]).ended(7).says("no plugin \"nope\" was found");
    mixed.says("`retry_days` must be").says("`concurrency` must be");
}

#[test]
fn tokens_that_cannot_be_read_are_told_with_the_rest() {
    let host = host(&format!("default_backend = \"nowhere\"\n{OF_TOKENS}"));
    for command in ["check", "serve"] {
        let run = host.run(&[command]).ended(3).says(OF_FILE[0]);
        run.says("serve.tokens.argus.token: the environment variable NOT_SET_EITHER is not set")
            .says("argus.token: the file");
    }
}

#[test]
fn all_tokens_are_told_and_where_none_would_be_needed_to_ask() {
    let twice = "[serve.tokens.a]\ntoken = \"hunter2\"\nscopes = [\"read\"]\n\
                 [serve.tokens.b]\ntoken = \"hunter2\"\nscopes = [\"read\"]\n";
    let same = "serve.tokens.b is the same token as serve.tokens.a";
    let unset = "serve.tokens.argus.token: the environment variable NOT_SET_EITHER is not set";
    // The file alone is wrong, or nothing of it, or the tokens with it.
    let wrong = "default_backend = \"nowhere\"\n";
    let host = host(&format!("{wrong}{twice}{OF_TOKENS}"));
    for command in ["check", "serve"] {
        let run = host.run(&[command]).ended(3).says(OF_FILE[0]).says(same);
        assert!(!run.says(unset).says("argus.token: the file").stderr.contains("hunter2"));
    }
    let backend = "[backends.c]\nplugin = \"webhook\"\nendpoint = \"https://x.org\"\n\
                   secret = { token = \"t\" }\n";
    host.config(&format!("{twice}{OF_TOKENS}{backend}"));
    told(&host.run(&["serve"]).ended(3), &[&[same, unset]]);
    let check = host.run(&["check", "--offline"]).ended(3);
    for text in [same, unset] {
        assert!(check.stdout.contains(text), "{check:?}");
    }
    let open = "listening on 0.0.0.0:1 without tokens would let everybody make tickets";
    host.config(&format!("{wrong}[serve]\nlisten = \"0.0.0.0:1\"\n"));
    for command in ["check", "serve"] {
        host.run(&[command]).ended(3).says(OF_FILE[0]).says(open);
    }
    // What the command line says goes before what the config says.
    let run = host.run(&["serve", "--listen", "127.0.0.1:1"]).ended(3).says(OF_FILE[0]);
    assert!(!run.stderr.contains("without tokens"), "{}", run.stderr);
    host.config(wrong);
    host.run(&["serve", "--listen", "0.0.0.0:1"]).ended(3).says(OF_FILE[0]).says(open);
}

#[test]
fn nothing_is_told_that_only_follows_from_a_mistake() {
    let backend = "[backends.c]\nplugin = \"webhook\"\nendpoint = \"https://x.org\"\n";
    let argus = "[argus]\nurl = \"https://argus.example.org\"\n";
    let signed = format!("signatures = \"require\"\n{backend}secret = {{}}\n");
    let host = host("");
    for (config, all) in [
        (format!("{signed}sha256 = \"0\"\n"), &["sha256 is not a SHA-256"][..]),
        (format!("{signed}sha256 = 5\n"), &["`sha256` must be a text in quotes"]),
        (format!("{signed}sha265 = \"0\"\n"), &["`sha265`; did you mean `sha256`?"]),
        (argus.to_owned(), &["`token` is missing"]),
        (format!("{argus}tokn = \"hunter2\"\n"), &["`tokn`; did you mean `token`?"]),
        (
            format!("{argus}token = {{}}\ninterval_seconds = 0\n"),
            &["argus.token must be", "`interval_seconds` must be"],
        ),
        (
            format!("default_backend = \"c\"\n{}", backend.replace("backends", "backend")),
            &["`backend`; did you mean"],
        ),
        (
            "[serve]\nlisten = \"0.0.0.0:1\"\n[serve.token.a]\ntoken = \"hunter2\"\n".to_owned(),
            &["`token`; did you mean `tokens`?"],
        ),
    ] {
        host.config(&config);
        told(&host.run(&["check"]).ended(3), &[all]);
    }
}

#[test]
fn of_very_many_mistakes_the_first_are_told_and_how_many_more_there_are() {
    let host = host(&(0..25).map(|n| format!("unknown_{n} = {n}\n")).collect::<String>());
    let shown = host.run(&["check"]).ended(3).says("`unknown_19`").says("... and 5 errors more\n");
    assert!(!shown.stderr.contains("`unknown_20`"), "{}", shown.stderr);
    let all = host.run(&["check", "--json"]).ended(3).json();
    assert_eq!(all["errors"].as_array().map(Vec::len), Some(25));
    assert_eq!(all["more_errors"], 0);
    host.config(&(0..1000).map(|n| format!("unknown_{n} = {n}\n")).collect::<String>());
    host.run(&["check"]).ended(3).says("... and 980 errors more\n");
    let all = host.run(&["check", "--json"]).ended(3).json();
    assert_eq!(all["errors"].as_array().map(Vec::len), Some(100));
    assert_eq!(all["more_errors"], 900);
}

#[test]
fn a_mistake_that_may_be_about_which_plugins_may_be_loaded_keeps_them_from_being_loaded() {
    let host = host("");
    host.add(&c_plugin("constructor_segfault"));
    let backend = "[backends.a]\nplugin = \"crashes\"\nendpoint = \"https://x.org\"\n";
    let check = |config: &str| host.config(config).run(&["check"]);
    let loaded = "(SIGSEGV)";
    // That is how it looks when it is loaded.
    let run = check(&format!("{backend}[queue]\nretry_days = 0\n"));
    assert!(run.stderr.contains(loaded), "{}", run.stderr);
    for (before, after) in [
        ("signatures = \"requir\"\n", ""),
        ("signatuers = \"require\"\n", ""),
        ("sigs = \"require\"\n", ""),
        ("[serve]\nsignatures = \"require\"\n", ""),
        ("[limits]\nsignatures = \"require\"\n", ""),
        ("[limit]\nsignatures = \"require\"\n", ""),
        ("", "signatures = \"require\"\n"),
        ("", "concurrency = 0\n[backends.a.information]\nsignatures = \"require\"\n"),
        ("", "[backends.a.permissions]\nsignatures = \"require\"\n"),
    ] {
        let config = format!("{before}{backend}{after}");
        let run = check(&config);
        assert!(!run.stderr.contains(loaded), "{config}\n{}", run.stderr);
        assert!(!run.stderr.contains("backend a"), "{config}\n{}", run.stderr);
    }
}

#[test]
fn a_service_that_reads_a_wrong_config_anew_tells_all_mistakes_and_keeps_the_old_one() {
    let good = "[backends.c]\nplugin = \"webhook\"\nendpoint = \"https://x.org\"\n\
                secret = { token = \"hunter2\" }\n[queue]\npath = \"queue.db\"\n";
    let host = host(good);
    let service = host.serve();
    host.config(&format!("{ALL}[queue]\npath = \"queue.db\"\n"));
    host.logged("the changed config is refused, the old one stays", 1);
    for text in [&OF_FILE[..], &OF_A, &OF_B_AND_C].concat() {
        host.logged(text, 1);
    }
    // One that only the plugins can tell is refused as well.
    host.config(&good.replace("token =", "tokn ="));
    host.logged("the changed config is refused, the old one stays", 2);
    host.logged("secret: token is missing", 2);
    let backends: Value = service.get("/v1/backends").is(200).json();
    assert_eq!(backends[0]["name"], "c", "{backends}");
    assert!(!host.log().contains("hunter2"), "{}", host.log());
}

#[test]
fn a_reload_is_refused_for_wrong_settings_whatever_else_is_wrong_and_all_of_it_is_told() {
    let good = "[queue]\npath = \"queue.db\"\n[backends.c]\nplugin = \"webhook\"\nendpoint = \"https://x.org\"\n\
                secret = { token = \"hunter2\" }\n";
    let host = host(good);
    let service = host.serve();
    // What comes first in the file would be no reason by itself.
    let pin = format!("sha256 = \"{}\"\nsecret = {{ tokn", "0".repeat(64));
    let tokens =
        "[serve.tokens.argus]\ntoken = { env = \"NOT_SET_EITHER\" }\nscopes = [\"read\"]\n";
    host.config(&format!("{}{tokens}", good.replace("secret = { token", &pin)));
    host.logged("the changed config is refused, the old one stays", 1);
    for text in
        ["is not the one that sha256 pins", "secret: token is missing", "NOT_SET_EITHER is not set"]
    {
        host.logged(text, 1);
    }
    let backends: Value = service.get("/v1/backends").is(200).json();
    assert_eq!(
        (&backends[0]["name"], &backends[0]["error"]),
        (&"c".into(), &Value::Null),
        "{backends}"
    );
}

#[test]
fn who_asks_the_service_is_told_all_that_keeps_a_backend_from_being_ready() {
    let host = host(
        "[queue]\npath = \"queue.db\"\n[backends.a]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n\
         secret = { token = { env = \"NOT_SET_ANYWHERE\" } }\n\
         information = { queue = \"NOC\", custom_fields_mapping = 5, custom_fields_set = 7 }\n\
         [backends.a.template]\ntitle = \"{{ incident. }}\"\nbody = \"{{ a | nosuch }}\"\n",
    );
    let service = host.serve();
    let backends: Value = service.get("/v1/backends").is(200).json();
    let message = backends[0]["error"]["message"].as_str().unwrap_or_default();
    for text in OF_A {
        assert_eq!(message.matches(text).count(), 1, "{text:?} in {message:?}");
    }
}

#[test]
fn all_of_arguss_variables_that_are_wrong_are_told() {
    let host = host("");
    let mut bare = std::process::Command::new(host.command(&[]).get_program());
    bare.env_clear().env("HOME", host.path("tickets")).arg("check");
    bare.env("TICKET_PLUGIN", "rt").env("TICKET_ENDPOINT", "rt.example.org");
    bare.env("TICKET_AUTHENTICATION_SECRET", "{'token': 'hunter2'}");
    let run = run(bare, b"").ended(3).says("TICKET_ENDPOINT \"rt.example.org\" is not a valid URL");
    let run = run.says("TICKET_AUTHENTICATION_SECRET is not a JSON object");
    let run = run.says("TICKET_PLUGIN is set, but TICKET_INFORMATION is not");
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}
