//! Settings that are wrong, and where they come from.

use std::fs;

use ticket_host_tests::{Installation, c_plugin, incident, run, rust_plugin};

fn webhook(rest: &str) -> Installation {
    Installation::with(&c_plugin("webhook"), "https://hooks.example.org", rest)
}

#[test]
fn an_error_in_the_config_shows_line_caret_and_help() {
    let installation = webhook("isolation = \"nowhere\"");
    let run = installation
        .run(&["check"])
        .ended(3)
        .says("`isolation` must be \"worker\" or \"in-process\"; this is \"nowhere\"")
        .says("help:");
    assert!(run.stderr.contains("isolation = \"nowhere\"") && run.stderr.contains("─"), "{run:?}");
    assert!(run.stderr.contains("config.toml:"), "{run:?}");
}

#[test]
fn the_schema_and_the_reference_are_printed_whatever_the_config_is() {
    let installation = webhook("isolation = \"nowhere\"");
    let schema = installation.run(&["config", "schema"]).ended(0).stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["properties"]["limits"]["properties"]["concurrency"]["maximum"], 256);
    let reference = installation.run(&["config", "reference"]).ended(0).stdout;
    assert!(reference.starts_with("# The config file\n"), "{reference}");
    assert!(reference.contains("\n## `[serve.tokens.NAME]`\n"), "{reference}");
}

#[test]
fn an_endpoint_without_scheme_is_a_settings_error_with_its_place() {
    let installation = Installation::with(&c_plugin("webhook"), "hooks.example.org", "");
    installation
        .create("plugin-closed", &[])
        .ended(3)
        .says("endpoint \"hooks.example.org\" is not a valid URL")
        .says("https://rt.example.org/")
        .says("config.toml:");
}

#[test]
fn a_secret_that_the_schema_refuses_is_not_shown() {
    let run =
        webhook("secret = { tokn = \"hunter2-the-secret\" }").create("plugin-closed", &[]).ended(3);
    assert!(run.stderr.contains("secret: token is missing"), "{run:?}");
    assert!(run.stderr.contains("backend b (webhook)"), "{run:?}");
    assert!(!run.stderr.contains("hunter2"), "{run:?}");
}

#[test]
fn credentials_in_an_endpoint_are_not_shown() {
    for endpoint in [
        "https://u:p4ssw0rd@x.org/",
        "https://x.org/?token=p4ssw0rd",
        "https://x.org/#p4ssw0rd",
        "u:p4ssw0rd@x.org",
    ] {
        let text = format!("[backends.a]\nplugin = \"webhook\"\nendpoint = \"{endpoint}\"\n");
        let installation = Installation::new();
        installation.add(&c_plugin("webhook"));
        let run = installation.config(&text).run(&["check"]).ended(3).says("endpoint ");
        assert!(!run.stderr.contains("p4ssw0rd"), "{}", run.stderr);
        // Nor are they where the error is in another line.
        let run = installation.config(&format!("{text}concurency = 1\n")).run(&["check"]).ended(3);
        assert!(!run.stderr.contains("p4ssw0rd"), "{}", run.stderr);
    }
}

#[test]
fn an_empty_secret_file_is_named() {
    let installation = webhook("secret = { token = { file = \"empty\" } }");
    fs::write(installation.path("empty"), "\n").unwrap();
    let run =
        installation.run(&["check"]).ended(3).says("empty is empty").says("{ file = \"empty\" }");
    run.says("   ╭─[");
}

#[test]
fn a_missing_secret_file_is_a_settings_error() {
    let run =
        webhook("secret = { token = { file = \"no-such-file\" } }").create("plugin-closed", &[]);
    run.ended(3).says("secret.token: the file").says("no-such-file can't be read");
}

#[cfg(unix)]
#[test]
fn a_secret_file_that_all_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let installation = webhook("secret = { token = { file = \"token\" } }");
    let file = installation.path("token");
    fs::write(&file, "hunter2").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let run = installation.create("plugin-closed", &["--dry-run"]).ended(0);
    assert!(run.stderr.contains("warning:") && run.stderr.contains("chmod 600"), "{run:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let run = installation.create("plugin-closed", &["--dry-run"]).ended(0);
    assert!(!run.stderr.contains("chmod"), "{run:?}");
}

#[cfg(unix)]
#[test]
fn a_config_that_holds_a_secret_and_all_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let installation = webhook("secret = { token = \"hunter2\" }");
    fs::set_permissions(installation.path("config.toml"), fs::Permissions::from_mode(0o644))
        .unwrap();
    installation.create("plugin-closed", &["--dry-run"]).ended(0).says("chmod 600");
}

#[test]
fn a_member_that_the_plugin_does_not_know_is_a_warning() {
    let installation = Installation::with(
        &rust_plugin("rt"),
        "https://rt.example.org",
        "secret = { token = \"1-14-abc\" }\ninformation = { queue = \"NOC\", quue = 1 }",
    );
    installation.create("plugin-closed", &["--dry-run"]).ended(0).says("information.quue");
}

#[test]
fn arguss_own_variables_make_a_backend() {
    let installation = Installation::new();
    installation.add(&rust_plugin("rt"));
    let program = |information: &str| {
        let mut command = installation.command(&[]);
        let file = incident("plugin-closed");
        // Without --config, in a home that has none.
        let mut bare = std::process::Command::new(command.get_program());
        bare.env_clear().env("HOME", installation.path("tickets"));
        bare.env("TICKET_PLUGIN", "argus_ticket_rt.RequestTrackerPlugin");
        bare.env("TICKET_ENDPOINT", "https://rt.example.org/");
        bare.env("TICKET_AUTHENTICATION_SECRET", r#"{"token": "1-14-hunter2"}"#);
        bare.env("TICKET_INFORMATION", information);
        bare.env("TICKET_HOST_PLUGIN_PATH", installation.path("plugins"));
        bare.args(["create", "--dry-run"]).arg(file);
        command.current_dir(".");
        run(bare, b"")
    };
    let good = program(r#"{"queue": "NOC"}"#).ended(0);
    assert!(good.stdout.contains("POST https://rt.example.org/REST/2.0/ticket"), "{good:?}");
    assert!(
        good.stdout.contains("\"Queue\": \"NOC\"") && !good.stdout.contains("hunter2"),
        "{good:?}"
    );
    program("{}").ended(3).says("information: queue is missing");
    program("{'queue': 'NOC'}").ended(3).says("TICKET_INFORMATION is not a JSON object");
}

#[test]
fn a_config_that_is_there_and_cannot_be_read_is_an_error_of_every_command() {
    let installation = Installation::new();
    // A directory can be read by nobody, not even by root.
    let file = installation.path("home/ticket-host/config.toml");
    fs::create_dir_all(&file).unwrap();
    for arguments in [&["plugins", "list"][..], &["plugins", "show", "rt"], &["check"]] {
        let mut bare = std::process::Command::new(installation.command(&[]).get_program());
        bare.env_clear().env("XDG_CONFIG_HOME", installation.path("home"));
        bare.env("HOME", installation.path("home")).args(arguments);
        run(bare, b"").ended(3).says(&format!("the config file {} can't be read", file.display()));
    }
}

#[test]
fn a_home_that_is_no_directory_holds_no_config() {
    let installation = Installation::new();
    let mut bare = std::process::Command::new(installation.command(&[]).get_program());
    bare.env_clear().env("HOME", "/dev/null").args(["plugins", "list"]);
    bare.env("TICKET_HOST_PLUGIN_PATH", installation.path("plugins"));
    run(bare, b"").ended(0);
}

#[test]
fn the_commands_about_plugins_tell_what_is_odd_about_the_config() {
    let installation = Installation::new();
    let mut command = installation.command(&["-v", "plugins", "list"]);
    command.env("TICKET_PLUGIN", "rt");
    let run = run(command, b"").ended(0).says("warning: TICKET_PLUGIN has no effect");
    run.says(&format!("config: {}", installation.path("config.toml").display()));
}

#[test]
fn an_error_in_a_template_points_at_its_very_line() {
    let installation = Installation::new();
    installation.add(&rust_plugin("local"));
    let backend = installation.local("a");
    for (template, shown, carets) in [
        (
            "body = \"\"\"\n## One\n\n{% if incident %}\nthree {{ end }\n\"\"\"",
            "three {{ end }",
            14,
        ),
        ("body = '''\none\n  {{ incident.description | nosuch }}\n'''", "| nosuch }}", 35),
        ("title = \"one\"\nbody = \"x\\n{{ a | nosuch }}\\ny\"", "nosuch", 16),
        ("title = \"{{ a | nosuch }}\"\nbody = \"x\"", "nosuch", 16),
    ] {
        installation.config(&format!("{backend}[backends.a.template]\n{template}\n"));
        let run = installation.run(&["check"]).ended(3).says("help: the syntax is Jinja's");
        let lines: Vec<&str> = run.stderr.lines().collect();
        let under = lines.iter().position(|line| line.contains('─') && line.contains('·'));
        let under = under.unwrap_or_else(|| panic!("{}", run.stderr));
        assert!(lines[under - 1].contains(shown), "{template}:\n{}", run.stderr);
        assert_eq!(lines[under].matches('─').count(), carets, "{template}:\n{}", run.stderr);
    }
}

#[test]
fn a_template_of_the_operators_own_makes_title_and_body() {
    let installation = Installation::new();
    installation.add(&rust_plugin("local"));
    let backend = installation.local("a");
    let template = |template: &str| {
        installation.config(&format!("{backend}[backends.a.template]\n{template}\n"));
        installation.create("plugin-html", &["--dry-run"])
    };
    let run = template(
        "title = \"[{{ incident.level }}] {{ incident.description }}\"\nbody = \"# {{ incident.description }}\\n\"",
    )
    .ended(0);
    assert!(run.stdout.contains("title: \"[3] <script>alert(1)</script>"), "{run:?}");
    assert!(run.stdout.contains("# \\<script\\>alert(1)"), "{run:?}");
    template("body = \"{{ incident.\"")
        .ended(3)
        .says("template.body, line 1: can't be read")
        .says("config.toml:");
    template("title = \"{{ incident.descripton }} {{ nothing }}\"")
        .ended(0)
        .says("template.title: incident.descripton is nothing that Argus's incidents have")
        .says("template.title: nothing is nothing");
    template("body = \"{{ incident.level | nosuch }}\"").ended(3).says("unknown filter");
    let good = template(
        r#"body = "{% for tag in tags %}{{ loop.index }}{{ tag }}{% endfor %}{{ range(2) }}""#,
    );
    assert!(!good.ended(0).stderr.contains("template"), "names that Jinja has are no mistakes");
}

#[test]
fn init_writes_a_config_that_works_and_leaves_one_that_is_there() {
    let installation = Installation::new();
    installation.add(&rust_plugin("local"));
    fs::remove_file(installation.path("config.toml")).unwrap();
    let written = installation.run(&["init"]).ended(0).stdout;
    assert_eq!(written.trim_end(), installation.path("config.toml").to_str().unwrap());
    let plugins = installation.path("plugins");
    let directory = ["--plugin-dir", plugins.to_str().unwrap()];
    let ticket = installation.create("plugin-closed", &directory).ended(0).stdout;
    assert!(ticket.starts_with("file:///") && ticket.contains("/tickets/"), "{ticket}");
    installation.run(&["check", directory[0], directory[1]]).ended(0);
    let before = fs::read_to_string(installation.path("config.toml")).unwrap();
    installation.run(&["init"]).ended(0).says("is left as it is");
    assert_eq!(fs::read_to_string(installation.path("config.toml")).unwrap(), before);
}

#[test]
fn which_backend_is_meant_must_be_clear() {
    let installation = webhook("secret = { token = \"abcd\" }");
    let two = "[backends.a]\nplugin = \"webhook\"\nendpoint = \"https://a.org\"\n\
               [backends.b]\nplugin = \"webhook\"\nendpoint = \"https://b.org\"\n";
    installation.config(two);
    installation.create("plugin-closed", &[]).ended(2).says("there are: a, b");
    installation.create("plugin-closed", &["--backend", "c"]).ended(2).says("no backend \"c\"");
    installation.config("");
    installation.create("plugin-closed", &[]).ended(3).says("no backend in the config");
}

#[test]
fn an_unknown_argument_ends_with_2() {
    Installation::new().run(&["create", "--no-such-flag"]).ended(2);
}

#[test]
fn the_exit_codes_are_documented() {
    let help = Installation::new().run(&["--help"]).ended(0).stdout;
    for code in
        ["0  done", "2  usage", "3  settings", "4  client", "5  creation", "6  plugin", "7  import"]
    {
        assert!(help.contains(code), "{code}");
    }
}
