//! `ticket-host config import`: the settings that an Argus has for its own ticket plugin, as a config of this program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::django::{self, Literal};
use crate::cli::output::{print, print_json};
use crate::cli::warn;
use crate::error::{Error, Result};

/// Bytes that a settings file may have.
const LARGEST: u64 = 1 << 20;

const PLUGIN: &str = "TICKET_PLUGIN";
const ENDPOINT: &str = "TICKET_ENDPOINT";
const SECRET: &str = "TICKET_AUTHENTICATION_SECRET";
const INFORMATION: &str = "TICKET_INFORMATION";

const VALUES_HELP: &str = "`python manage.py diffsettings | ticket-host config import --django -` reads the values that Argus \
     itself has";

/// Prints a config made of TICKET_PLUGIN, TICKET_ENDPOINT, TICKET_AUTHENTICATION_SECRET and TICKET_INFORMATION. No Python is
/// run. Read are a Django settings file, the output of `python manage.py diffsettings`, lines of `env`, and a JSON object.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ticket-host config import --django /etc/argus/settings.py > config.toml
  python manage.py diffsettings | ticket-host config import --django - > config.toml")]
pub(in crate::cli) struct Arguments {
    /// The settings file, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    django: PathBuf,
}

pub(super) fn run(arguments: &Arguments, as_json: bool) -> Result<()> {
    let (name, text) = read(&arguments.django)?;
    let settings = settings(&name, &text)?;
    let config = toml(&settings);
    if std::io::stdout().is_terminal() && has_text(&settings.secret) {
        warn("the secret stands in what is printed here; `> FILE` writes it to a file");
    }
    if as_json {
        print_json(&json!({"config": config}))?;
    } else {
        print(&config)?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<(String, String)> {
    let (name, input): (String, Box<dyn Read>) = if file.as_os_str() == "-" {
        ("standard input".to_owned(), Box::new(std::io::stdin().lock()))
    } else {
        let name = file.display().to_string();
        let opened = File::open(file);
        let opened =
            opened.map_err(|cause| Error::usage(format!("{name} can't be opened")).cause(cause))?;
        (name, Box::new(opened))
    };
    let mut text = String::new();
    let read = input.take(LARGEST + 1).read_to_string(&mut text);
    read.map_err(|cause| Error::usage(format!("{name} can't be read")).cause(cause))?;
    if text.len() as u64 > LARGEST {
        return Err(Error::usage(format!("{name} has more than {LARGEST} bytes"))
            .help("give the lines with TICKET_... alone"));
    }
    // Editors on Windows begin a file with a byte order mark.
    Ok((name, text.trim_start_matches('\u{feff}').to_owned()))
}

/// The settings of one ticket plugin of Argus's.
#[derive(Debug, PartialEq)]
struct Settings {
    plugin: String,
    endpoint: String,
    secret: Value,
    information: Value,
}

/// A setting as it was found, and where: `settings.py:7`.
struct Found {
    place: String,
    literal: Literal,
}

/// # Errors
/// A settings error that says which line can't be read, or what is missing, and what to do. It quotes no value.
fn settings(name: &str, text: &str) -> Result<Settings> {
    let mut found = match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(members) => of_json(name, members),
        Err(_) => of_python(name, text)?,
    };
    let mut take = |setting: &str| {
        found
            .remove(setting)
            .ok_or_else(|| Error::settings(format!("{name} sets no {setting}")).help(VALUES_HELP))
    };
    Ok(Settings {
        plugin: text_of(PLUGIN, take(PLUGIN)?)?,
        endpoint: text_of(ENDPOINT, take(ENDPOINT)?)?,
        secret: table_of(SECRET, take(SECRET)?, true)?,
        information: table_of(INFORMATION, take(INFORMATION)?, false)?,
    })
}

fn of_json(name: &str, members: Map<String, Value>) -> BTreeMap<String, Found> {
    let found = members.into_iter().map(|(setting, value)| {
        let literal = Literal { value, has_variables: false };
        (setting, Found { place: name.to_owned(), literal })
    });
    found.collect()
}

/// What holds at the end of the file: a later assignment replaces an earlier one.
fn of_python(name: &str, text: &str) -> Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    for assignment in django::assignments(text, &[PLUGIN, ENDPOINT, SECRET, INFORMATION]) {
        let literal = assignment.value.map_err(|unreadable| {
            let (line, why) = (unreadable.line, unreadable.why);
            Error::settings(format!("{name}:{line}: {} {why}", assignment.name)).help(VALUES_HELP)
        })?;
        let place = format!("{name}:{}", assignment.line);
        found.insert(assignment.name.to_owned(), Found { place, literal });
    }
    Ok(found)
}

fn text_of(setting: &str, found: Found) -> Result<String> {
    let Found { place, literal } = found;
    match literal.value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        _ if literal.has_variables => Err(from_environment(&place, setting)),
        _ => Err(Error::settings(format!("{place}: {setting} must be a text that is not empty"))),
    }
}

/// The object that a setting is, be it written as one, or as a text of JSON.
fn table_of(setting: &str, found: Found, may_have_variables: bool) -> Result<Value> {
    let Found { place, literal } = found;
    if literal.has_variables && (!may_have_variables || is_variable(&literal.value)) {
        return Err(from_environment(&place, setting));
    }
    let value = match literal.value {
        Value::String(json) => serde_json::from_str(&json).unwrap_or_default(),
        value => value,
    };
    match value {
        Value::Object(_) => Ok(without_nulls(value)),
        _ => Err(Error::settings(format!("{place}: {setting} must be a dict, or its JSON"))
            .help(r#"write it like {"name": "value"}"#)),
    }
}

fn from_environment(place: &str, setting: &str) -> Error {
    Error::settings(format!(
        "{place}: {setting} is read from an environment variable, which only a secret's members can be here"
    ))
    .help(VALUES_HELP)
}

fn is_variable(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.len() == 1 && members.contains_key("env"))
}

/// TOML has no null; to the plugins a member that isn't there means the same.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            members.map(|(name, value)| (name, without_nulls(value))).collect()
        }
        Value::Array(items) => {
            items.into_iter().filter(|item| !item.is_null()).map(without_nulls).collect()
        }
        leaf => leaf,
    }
}

/// Whether the secret has a text that is one, and not only the name of a variable.
fn has_text(secret: &Value) -> bool {
    match secret {
        Value::Object(members) => !is_variable(secret) && members.values().any(has_text),
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) | Value::String(_) | Value::Array(_) => true,
    }
}

/// The config, with what to do next.
fn toml(settings: &Settings) -> String {
    let Settings { plugin, endpoint, secret, information } = settings;
    let mut out = String::from(
        "# Made by `ticket-host config import` of an Argus's TICKET_* settings. Next: save it as\n\
         # /etc/ticket-host/config.toml or ~/.config/ticket-host/config.toml (chmod 600), then: ticket-host check\n\n",
    );
    out.push_str("[backends.argus]\n");
    out.push_str(&format!("plugin = {}\n", string(plugin)));
    out.push_str(&format!("endpoint = {}\n", string(endpoint)));
    if has_text(secret) {
        out.push_str(
            "# As it was found. In a file of its own (chmod 600) it is safer: { token = { file = \"/etc/ticket-host/token\" } }\n",
        );
    }
    out.push_str(&format!("secret = {}\n", inline(secret)));
    out.push_str("\n[backends.argus.information]\n");
    for (name, value) in information.as_object().into_iter().flatten() {
        out.push_str(&format!("{} = {}\n", key(name), inline(value)));
    }
    out.push_str(
        "\n# With this, `ticket-host serve` makes tickets of Argus's open incidents by itself, and tells Argus of them:\n\
         # [argus]\n\
         # url = \"https://argus.example.org/\"\n\
         # frontend_url = \"https://argus.example.org/\"   # Argus's FRONTEND_URL, if it isn't the url\n\
         # token = { file = \"/etc/ticket-host/argus-token\" }\n\
         # filter = \"level__lte=3\"\n",
    );
    out
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => string(text),
        leaf => leaf.to_string(),
    }
}

fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { string(name) }
}

/// A text as TOML's basic string. JSON's is one, but for a character that TOML wants escaped.
fn string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {

    use super::*;

    const PYTHON: &str = r#"
from argus.site.settings.prod import *

TICKET_PLUGIN = "argus_ticket_rt.RequestTrackerPlugin"
TICKET_ENDPOINT = "https://old.example.org"
TICKET_ENDPOINT = "https://rt.example.org"
TICKET_AUTHENTICATION_SECRET = {
    "token": os.environ["RT_TOKEN"],  # never here
}
TICKET_INFORMATION = {
    "queue": "NOC",
    "custom_fields_set": {"Where \"it\" is": None, "Start Time": "x\x7f"},
}
"#;

    #[test]
    fn a_settings_file_becomes_a_config_that_reads_the_same() {
        let settings = settings("settings.py", PYTHON).unwrap();
        let toml: toml::Value = toml::from_str(&super::toml(&settings)).unwrap();
        let backend = &toml["backends"]["argus"];
        assert_eq!(backend["plugin"].as_str(), Some("argus_ticket_rt.RequestTrackerPlugin"));
        assert_eq!(backend["endpoint"].as_str(), Some("https://rt.example.org"));
        assert_eq!(backend["secret"]["token"]["env"].as_str(), Some("RT_TOKEN"));
        let set = &backend["information"]["custom_fields_set"];
        assert_eq!(set["Start Time"].as_str(), Some("x\u{7f}"));
        assert!(set.get("Where \"it\" is").is_none(), "TOML has no null");
    }

    #[test]
    fn json_and_the_lines_of_an_environment_are_read_as_well() {
        let secret = json!({"token": "a\"b"});
        let lines = format!(
            "HOME=/root\nTICKET_PLUGIN=rt\nTICKET_ENDPOINT=https://rt.example.org/\n\
             TICKET_AUTHENTICATION_SECRET={secret}\nTICKET_INFORMATION='{{\"queue\": \"NOC\"}}'\n"
        );
        let json = json!({"TICKET_PLUGIN": "rt", "TICKET_ENDPOINT": "https://rt.example.org/",
            "TICKET_AUTHENTICATION_SECRET": secret, "TICKET_INFORMATION": {"queue": "NOC"}, "DEBUG": true});
        let expected = Settings {
            plugin: "rt".to_owned(),
            endpoint: "https://rt.example.org/".to_owned(),
            secret,
            information: json!({"queue": "NOC"}),
        };
        for text in [lines, json.to_string()] {
            assert_eq!(settings("-", &text).unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_imported_is_told_with_its_line_and_without_its_value() {
        for (from, to, why) in [
            (
                "\"https://rt.example.org\"",
                "hunter2",
                "settings.py:6: TICKET_ENDPOINT is not a literal",
            ),
            (
                "\"https://rt.example.org\"",
                "os.getenv('hunter2')",
                "settings.py:6: TICKET_ENDPOINT is read from",
            ),
            ("\"NOC\"", "env('hunter2')", "settings.py:10: TICKET_INFORMATION is read from"),
            ("TICKET_PLUGIN", "OTHER", "sets no TICKET_PLUGIN"),
            (
                "= {\n    \"token\": os.environ[\"RT_TOKEN\"],  # never here\n}",
                "= 'hunter2'",
                "must be a dict",
            ),
            (
                "= {\n    \"token\": os.environ[\"RT_TOKEN\"],  # never here\n}",
                "= env('hunter2')",
                "is read from",
            ),
        ] {
            assert!(PYTHON.contains(from), "{from}");
            let error = settings("settings.py", &PYTHON.replace(from, to)).unwrap_err();
            assert!(error.message.contains(why), "{error}");
            assert!(error.help.is_some(), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
