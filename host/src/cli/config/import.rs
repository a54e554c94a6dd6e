//! `ticket-host config import`: the settings that an Argus has for its own ticket plugin, as a config of this program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use ticket_plugin_api::json::read as read_json;

use super::django::{self, Value};
use crate::cli::init;
use crate::cli::output::{print, print_json};
use crate::cli::warn;
use crate::config::environment::{self, ENDPOINT, INFORMATION, PLUGIN, SECRET};
use crate::config::{Config, secret_source};
use crate::error::{Error, Result};
use crate::terminal::line;

/// Bytes that a settings file may have.
const LARGEST: u64 = 1 << 20;

const VALUES_HELP: &str = "`python manage.py diffsettings | ticket-host config import --django -` reads the values that Argus \
     itself has";

/// Makes a config of TICKET_PLUGIN, TICKET_ENDPOINT, TICKET_AUTHENTICATION_SECRET and TICKET_INFORMATION. No Python is
/// run. Read are a Django settings file, the output of `python manage.py diffsettings`, lines of `env`, and a JSON object.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ticket-host config import --django /etc/argus/settings.py --output config.toml
  python manage.py diffsettings | ticket-host config import --django -")]
pub(in crate::cli) struct Arguments {
    /// The settings file, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    django: PathBuf,
    /// Write the config to this new file, which only its owner can read, and print its name. Without it the config is
    /// printed, with the secret in it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, as_json: bool) -> Result<()> {
    let (name, text) = read(&arguments.django)?;
    let settings = settings(&name, &text)?;
    let (config, holds_secret) = config(&settings)?;
    if let Some(file) = &arguments.output {
        write(file, &config)?;
        let answered = if as_json {
            print_json(&json!({"config": file.display().to_string(), "written": true}))
        } else {
            print(&format!("{}\n", file.display()))
        };
        return answered
            .map_err(|lost| lost.at(&format!("the config file {} was written", file.display())));
    }
    if std::io::stdout().is_terminal() && holds_secret {
        warn(
            "the secret stands in what is printed here; --output FILE writes it to a file that only you can read",
        );
    }
    if as_json { print_json(&json!({"config": config})) } else { print(&config) }
}

fn write(file: &Path, config: &str) -> Result<()> {
    let written = init::options().open(file).and_then(|mut new| new.write_all(config.as_bytes()));
    written.map_err(|cause| {
        let why = match cause.kind() {
            ErrorKind::AlreadyExists => "is there already and is left as it is".to_owned(),
            _ => format!("can't be written: {cause}"),
        };
        Error::usage(format!("{} {why}", file.display())).help("name another file with --output")
    })
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
    Ok((name, text))
}

/// The settings of one ticket plugin of Argus's, as the config has them.
#[derive(Debug, PartialEq, Serialize)]
struct Settings {
    plugin: String,
    endpoint: String,
    secret: toml::Table,
    information: toml::Table,
    /// What of Argus's settings is not in them, a sentence each, without its value.
    #[serde(skip)]
    left_out: Vec<String>,
}

/// A setting as it was found, and where: `settings.py:7`.
struct Found {
    place: String,
    value: Value,
}

/// # Errors
/// A settings error that says which line can't be read, or what is missing, and what to do. It quotes no value.
fn settings(name: &str, text: &str) -> Result<Settings> {
    let mut found = match read_json::<Map<String, Json>>(text.as_bytes()) {
        Ok(members) => of_json(name, members),
        Err(_) => of_python(name, text),
    };
    let mut take = |setting: &str| {
        let missing = || Error::settings(format!("{name} sets no {setting}")).help(VALUES_HELP);
        found.remove(setting).ok_or_else(missing)?
    };
    let mut left_out = Vec::new();
    Ok(Settings {
        plugin: text_of(PLUGIN, take(PLUGIN)?)?,
        endpoint: text_of(ENDPOINT, take(ENDPOINT)?)?,
        secret: table_of(SECRET, take(SECRET)?, &mut left_out)?,
        information: table_of(INFORMATION, take(INFORMATION)?, &mut left_out)?,
        left_out,
    })
}

fn of_json(name: &str, members: Map<String, Json>) -> BTreeMap<String, Result<Found>> {
    let found = members.into_iter().map(|(setting, value)| {
        (setting, Ok(Found { place: name.to_owned(), value: value.into() }))
    });
    found.collect()
}

/// What holds at the end of the file: a later assignment replaces an earlier one.
fn of_python(name: &str, text: &str) -> BTreeMap<String, Result<Found>> {
    let assignments = django::assignments(text, &[PLUGIN, ENDPOINT, SECRET, INFORMATION]);
    let found = assignments.into_iter().map(|assignment| {
        let setting = assignment.name;
        let found = match assignment.value {
            Ok(value) => Ok(Found { place: format!("{name}:{}", assignment.line), value }),
            Err(unreadable) => {
                let (line, why) = (unreadable.line, unreadable.why);
                Err(Error::settings(format!("{name}:{line}: {setting} {why}")).help(VALUES_HELP))
            }
        };
        (setting.to_owned(), found)
    });
    found.collect()
}

fn text_of(setting: &str, found: Found) -> Result<String> {
    let Found { place, value } = found;
    match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(text),
        Value::Variable { .. } => Err(from_environment(&place, setting)),
        _ => Err(Error::settings(format!("{place}: {setting} must be a text that is not empty"))
            .help(VALUES_HELP)),
    }
}

/// The table that a setting is, be it written as a dict, or as a text of JSON. What is left out of it is told in
/// `left_out`.
fn table_of(setting: &str, found: Found, left_out: &mut Vec<String>) -> Result<toml::Table> {
    let Found { place, value } = found;
    let value = match value {
        Value::Text(text) => {
            let members = environment::object(setting, &text);
            let at_place =
                |error: Error| Error { message: format!("{place}: {}", error.message), ..error };
            Json::Object(members.map_err(at_place)?).into()
        }
        value => value,
    };
    match value {
        Value::Map(members) => {
            let mut conversion =
                Conversion { place: &place, is_secret: setting == SECRET, left_out };
            let members = conversion.members(setting, members)?;
            toml::Table::try_from(members).map_err(|_| {
                Error::settings(format!("{place}: {setting} has a number that is too large")).help(
                    "a config's whole numbers are at most 9223372036854775807; write it as a text",
                )
            })
        }
        Value::Variable { .. } => Err(from_environment(&place, setting)),
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

/// One setting's way from Argus's values to the config's.
struct Conversion<'a> {
    place: &'a str,
    /// In a secret, and nowhere else, `{ env = NAME }` and `{ file = PATH }` mean where to read.
    is_secret: bool,
    left_out: &'a mut Vec<String>,
}

impl Conversion<'_> {
    fn members(
        &mut self,
        path: &str,
        members: BTreeMap<String, Value>,
    ) -> Result<Map<String, Json>> {
        let mut converted = Map::new();
        for (name, value) in members {
            let path = format!("{path}[{name:?}]");
            let value = match value {
                Value::Variable { name, has_default } if self.is_secret => {
                    if has_default {
                        self.leave_out(&format!("the default of {path}"), "a config has none");
                    }
                    Some(json!({"env": name}))
                }
                value => self.value(&path, value)?,
            };
            converted.extend(value.map(|value| (name, value)));
        }
        if self.is_secret && secret_source(&converted).is_some() {
            return Err(Error::settings(format!(
                "{}: {} would say in a config where to read the secret, and not what it is",
                self.place,
                line(path)
            ))
            .help("rename its member, or write the config by hand: `ticket-host init`"));
        }
        Ok(converted)
    }

    /// The value. TOML has no null; to the plugins a member that isn't there means the same.
    fn value(&mut self, path: &str, value: Value) -> Result<Option<Json>> {
        Ok(Some(match value {
            Value::Null => {
                self.leave_out(path, "it is None, which a config doesn't have");
                return Ok(None);
            }
            Value::Bool(flag) => flag.into(),
            Value::Number(number) => number.into(),
            Value::Text(text) => text.into(),
            Value::List(items) => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(at, item)| self.value(&format!("{path}[{at}]"), item));
                items.filter_map(Result::transpose).collect::<Result<Vec<_>>>()?.into()
            }
            Value::Map(members) => self.members(path, members)?.into(),
            Value::Variable { .. } => return Err(from_environment(self.place, &line(path))),
        }))
    }

    fn leave_out(&mut self, what: &str, why: &str) {
        self.left_out.push(format!("{}: {what} is left out: {why}", self.place));
    }
}

/// The config, with what to do next, and whether a secret is written out in it.
///
/// # Errors
/// A settings error: the program wouldn't take it.
fn config(settings: &Settings) -> Result<(String, bool)> {
    let file = BTreeMap::from([("backends", BTreeMap::from([("argus", settings)]))]);
    let tables = toml::to_string(&file).map_err(|_| {
        Error::settings("the settings can't be written as a config").help(VALUES_HELP)
    })?;
    let read = Config::parse(Path::new("the config that was made"), &tables)?;
    let holds_secret = read.backends.values().any(|backend| backend.secret.is_written_out());
    let mut out = String::from(
        "# Made by `ticket-host config import` of an Argus's TICKET_* settings. Next: save it as\n\
         # ~/.config/ticket-host/config.toml (chmod 600), or for the service as /etc/ticket-host/config.toml\n\
         # (chown root:ticket-host, chmod 640), then: ticket-host check\n",
    );
    for sentence in &settings.left_out {
        out.push_str(&format!("# {}\n", line(sentence)));
    }
    if holds_secret {
        out.push_str(
            "# The secret stands here as it was found. In a file of its own, as closed as this one, it is safer:\n\
             # token = { file = \"/etc/ticket-host/token\" }\n",
        );
    }
    out.push_str(&format!("\n{tables}"));
    out.push_str(
        "\n# With this, `ticket-host serve` makes tickets of Argus's open incidents by itself, and tells Argus of them:\n\
         # [argus]\n\
         # url = \"https://argus.example.org/\"\n\
         # frontend_url = \"https://argus.example.org/\"   # Argus's FRONTEND_URL, if it isn't the url\n\
         # token = { file = \"/etc/ticket-host/argus-token\" }\n\
         # filter = \"level__lte=3\"\n",
    );
    Ok((out, holds_secret))
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
        let toml: toml::Value = toml::from_str(&config(&settings).unwrap().0).unwrap();
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
            secret: toml::Table::try_from(secret).unwrap(),
            information: toml::Table::from_iter([("queue".to_owned(), "NOC".into())]),
            left_out: Vec::new(),
        };
        for text in [lines, json.to_string(), format!("\u{feff}{json}")] {
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
            (
                "\"NOC\"",
                "env('hunter2')",
                "settings.py:10: TICKET_INFORMATION[\"queue\"] is read from",
            ),
            ("TICKET_PLUGIN", "OTHER", "sets no TICKET_PLUGIN"),
            (
                "= {\n    \"token\": os.environ[\"RT_TOKEN\"],  # never here\n}",
                "= 'hunter2'",
                "is not a JSON object",
            ),
            ("\"token\": os.environ[\"RT_TOKEN\"]", "'file': 'hunter2'", "SECRET would say"),
            ("os.environ[\"RT_TOKEN\"]", "{'file': 'hunter2'}", "[\"token\"] would say"),
            ("os.environ[\"RT_TOKEN\"]", "{'env': 'hunter2', 'a': None}", "[\"token\"] would say"),
            ("os.environ[\"RT_TOKEN\"]", "[env('hunter2')]", "[\"token\"][0] is read from"),
            (
                "TICKET_PLUGIN =",
                "TICKET_PLUGIN, hunter2 =",
                "settings.py:4: TICKET_PLUGIN is set here",
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

    #[test]
    fn a_later_assignment_replaces_one_that_cannot_be_read() {
        let python = PYTHON.replace("\"https://old.example.org\"", "get_endpoint()");
        assert_eq!(settings("-", &python).unwrap().endpoint, "https://rt.example.org");
    }

    #[test]
    fn what_the_program_would_refuse_is_not_made() {
        let json = |endpoint: &str, number: u64| {
            json!({"TICKET_PLUGIN": "rt", "TICKET_ENDPOINT": endpoint,
                "TICKET_AUTHENTICATION_SECRET": {}, "TICKET_INFORMATION": {"n": [number]}})
        };
        let error =
            settings("-", &json("https://rt.example.org", u64::MAX).to_string()).unwrap_err();
        assert!(
            error.message.contains("TICKET_INFORMATION has a number that is too large"),
            "{error}"
        );
        let settings = settings("-", &json("rt.example.org", 1).to_string()).unwrap();
        assert!(config(&settings).unwrap_err().message.contains("is not a valid URL"));
    }

    #[test]
    fn what_is_left_out_is_told_without_its_value() {
        let python = PYTHON
            .replace("os.environ[\"RT_TOKEN\"]", "os.getenv(\"RT_TOKEN\", \"hunter2\")")
            .replace("\"NOC\",", "\"NOC\", 'a\\nb': ['x', None],");
        let (text, holds_secret) = config(&settings("settings.py", &python).unwrap()).unwrap();
        for told in [
            "# settings.py:7: the default of TICKET_AUTHENTICATION_SECRET[\"token\"] is left out",
            r#"# settings.py:10: TICKET_INFORMATION["a\nb"][1] is left out"#,
            r#"# settings.py:10: TICKET_INFORMATION["custom_fields_set"]["Where \"it\" is"] is left out"#,
        ] {
            assert!(text.contains(told), "{told} in {text}");
        }
        assert!(!text.contains("hunter2") && !holds_secret, "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_new_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        write(&file, "one").unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write(&file, "two").unwrap_err().message.contains("is there already"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    }
}
