//! The environment variables that Argus gives to its own ticket plugins, as the settings of one backend,
//! which is called `default`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use ticket_plugin_api::json;

use super::backends::BackendConfig;
use super::limits::Limits;
use super::secret::SecretSource;
use super::settings::{Config, Draft};
use super::urls;
use crate::error::{Error, Errors, Result};

/// The names, in Argus's settings as well as in the environment.
pub(crate) const PLUGIN: &str = "TICKET_PLUGIN";
pub(crate) const ENDPOINT: &str = "TICKET_ENDPOINT";
pub(crate) const SECRET: &str = "TICKET_AUTHENTICATION_SECRET";
pub(crate) const INFORMATION: &str = "TICKET_INFORMATION";

/// A sentence about those of the variables that are set and have no effect, since there is the config file `file`.
pub(super) fn unused(
    config: &Config,
    file: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut read: Vec<String> =
        config.backends.values().flat_map(|backend| backend.permissions.env.clone()).collect();
    let secrets = config.backends.values().map(|backend| &backend.secret);
    read.extend(secrets.chain(config.tokens()).flat_map(SecretSource::variables));
    let is_unused = |name: &&str| variable(name).is_some() && !read.iter().any(|read| read == name);
    let unused: Vec<&str> =
        [PLUGIN, ENDPOINT, SECRET, INFORMATION].into_iter().filter(is_unused).collect();
    (!unused.is_empty()).then(|| {
        format!(
            "{} {} no effect, since there is the config file {}; unset them, or move that file away",
            unused.join(", "),
            if unused.len() == 1 { "has" } else { "have" },
            file.display()
        )
    })
}

/// The error that there is nothing to read settings from. `files` are the config files that were looked for.
pub(super) fn nothing(files: &[PathBuf]) -> Error {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let files = files.join(", ");
    Error::settings(format!("there is no config file ({files}), and {PLUGIN} is not set")).help(
        "`ticket-host init` writes a config to start from; or name one with --config, or set \
         TICKET_PLUGIN, TICKET_ENDPOINT, TICKET_AUTHENTICATION_SECRET and TICKET_INFORMATION",
    )
}

/// The settings that `variable` gives, which tells the value of an environment variable. None if TICKET_PLUGIN is not
/// set. Each other variable that is not set, or whose value can't be used, is a mistake.
pub(super) fn load(variable: impl Fn(&str) -> Option<String>) -> Option<Draft> {
    let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let plugin = get(PLUGIN)?;
    let required = |name: &str| {
        get(name).ok_or_else(|| {
            Error::settings(format!("{PLUGIN} is set, but {name} is not"))
                .help(format!("set {name} too, or write a config file: `ticket-host init`"))
        })
    };
    let mut errors = Errors::default();
    let endpoint = required(ENDPOINT).and_then(|text| urls::endpoint(ENDPOINT, &text));
    let endpoint = errors.keep(endpoint).unwrap_or_else(urls::nowhere);
    let mut member = |name| {
        let read = required(name).and_then(|text| object(name, &text));
        Value::from(errors.keep(read).unwrap_or_default())
    };
    let (secret, information) = (member(SECRET), member(INFORMATION));
    let backend = BackendConfig {
        secret: SecretSource { value: secret, base: PathBuf::new() },
        information,
        ..BackendConfig::new("default".to_owned(), plugin, endpoint, Limits::default())
    };
    let backends = BTreeMap::from([(backend.name.clone(), backend)]);
    let plugins_are_known = errors.is_empty();
    Some(Draft { config: Config { backends, ..Config::default() }, errors, plugins_are_known })
}

/// The JSON object that the text of `name` is. Errors say only where it is wrong, and quote nothing: the text
/// may be the secret.
///
/// # Errors
/// A settings error: it isn't one.
pub(crate) fn object(name: &str, json: &str) -> Result<Map<String, Value>> {
    json::read(json.as_bytes()).map_err(|cause| {
        let (line, column) = (cause.line(), cause.column());
        Error::settings(format!("{name} is not a JSON object (line {line}, column {column})"))
            .help(r#"write it like {"token": "..."}, with double quotes: Python's repr of a dict is not JSON"#)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    fn load(variables: &[(&str, &str)]) -> Result<Option<Config>> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let draft = super::load(|name| variables.get(name).map(|v| (*v).to_owned()));
        draft.map(Draft::whole).transpose()
    }

    const ALL: [(&str, &str); 4] = [
        (PLUGIN, "argus_ticket_rt.RequestTrackerPlugin"),
        (ENDPOINT, "https://rt.example.org"),
        (SECRET, r#"{"token": "1-14-abc"}"#),
        (INFORMATION, r#"{"queue": "NOC"}"#),
    ];

    #[test]
    fn arguss_variables_make_one_backend() {
        let config = load(&ALL).unwrap().unwrap();
        let backend = config.backend(None).unwrap();
        assert_eq!((backend.name.as_str(), backend.plugin.as_str()), ("default", ALL[0].1));
        assert_eq!(backend.information["queue"], "NOC");
        assert_eq!(backend.secret.resolve("secret").unwrap().value["token"], "1-14-abc");
    }

    #[test]
    fn an_empty_or_missing_variable_is_a_settings_error_that_names_it() {
        for missing in [ENDPOINT, SECRET, INFORMATION] {
            let some: Vec<_> =
                ALL.iter().map(|&(n, v)| (n, if n == missing { " " } else { v })).collect();
            let error = load(&some).unwrap_err();
            assert!(error.message.contains(missing), "{error}");
        }
    }

    #[test]
    fn all_variables_that_are_wrong_are_told_together() {
        let some = [ALL[0], (ENDPOINT, "rt.example.org"), (SECRET, "{'token': 'hunter2'}")];
        let error = load(&some).unwrap_err();
        let told: Vec<&str> = error.each().map(|error| error.message.as_str()).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for (told, name) in told.iter().zip([ENDPOINT, SECRET, INFORMATION]) {
            assert!(told.contains(name) && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn without_ticket_plugin_there_are_no_settings_and_the_error_says_what_was_looked_for() {
        assert!(load(&[]).unwrap().is_none());
        assert!(load(&ALL[1..]).unwrap().is_none());
        let error = nothing(&[PathBuf::from("/etc/c.toml")]);
        assert!(error.message.contains("no config file (/etc/c.toml)"), "{error}");
        assert!(error.help.unwrap().contains("ticket-host init"));
    }

    #[test]
    fn variables_that_a_config_file_makes_ineffective_are_told() {
        let backend = "[backends.a]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n";
        let own = format!("{backend}secret = {{ token = {{ env = \"{SECRET}\" }} }}\n");
        for (text, set, told) in [
            (
                backend,
                &[PLUGIN, ENDPOINT][..],
                Some("TICKET_PLUGIN, TICKET_ENDPOINT have no effect"),
            ),
            (backend, &[SECRET], Some("TICKET_AUTHENTICATION_SECRET has no effect")),
            (&own, &[SECRET], None),
            (backend, &[], None),
        ] {
            let file = Path::new("/etc/c.toml");
            let config = file::parse(file, text).unwrap().config;
            let unused = unused(&config, file, |name| set.contains(&name).then(String::new));
            assert_eq!(unused.is_some(), told.is_some(), "{unused:?}");
            let unused = unused.unwrap_or_default();
            assert!(unused.contains(told.unwrap_or_default()), "{unused}");
            assert!(told.is_none() || unused.contains("/etc/c.toml"), "{unused}");
        }
    }

    #[test]
    fn a_secret_that_is_not_json_is_not_shown() {
        let mut bad = ALL;
        bad[2].1 = "{'token': 'hunter2'}";
        let error = load(&bad).unwrap_err();
        assert!(error.message.contains(SECRET) && !format!("{error:?}").contains("hunter2"));
    }
}
