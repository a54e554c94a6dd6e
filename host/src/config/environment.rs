//! The environment variables that Argus gives to its own ticket plugins, as the settings of one backend,
//! which is called `default`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::backends::BackendConfig;
use super::limits::Limits;
use super::secret::SecretSource;
use super::settings::Config;
use super::urls;
use crate::error::{Error, Result};

const PLUGIN: &str = "TICKET_PLUGIN";
const ENDPOINT: &str = "TICKET_ENDPOINT";
const SECRET: &str = "TICKET_AUTHENTICATION_SECRET";
const INFORMATION: &str = "TICKET_INFORMATION";

/// The settings that `variable` gives, which tells the value of an environment variable.
///
/// # Errors
/// A settings error: a variable is not set, or its value can't be used.
pub(super) fn load(variable: impl Fn(&str) -> Option<String>) -> Result<Config> {
    let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let Some(plugin) = get(PLUGIN) else {
        return Err(Error::settings("there is no config file, and TICKET_PLUGIN is not set").help(
            "`ticket-host init` writes a config to start from; or name one with --config, or set \
             TICKET_PLUGIN, TICKET_ENDPOINT, TICKET_AUTHENTICATION_SECRET and TICKET_INFORMATION",
        ));
    };
    let required = |name: &str| {
        get(name).ok_or_else(|| {
            Error::settings(format!("{PLUGIN} is set, but {name} is not"))
                .help(format!("set {name} too, or write a config file: `ticket-host init`"))
        })
    };
    let endpoint = urls::endpoint(ENDPOINT, &required(ENDPOINT)?)?;
    let secret = object(SECRET, &required(SECRET)?)?;
    let information = object(INFORMATION, &required(INFORMATION)?)?;
    let backend = BackendConfig {
        secret: SecretSource { value: secret.into(), base: PathBuf::new() },
        information: information.into(),
        ..BackendConfig::new("default".to_owned(), plugin, endpoint, Limits::default())
    };
    let backends = BTreeMap::from([(backend.name.clone(), backend)]);
    Ok(Config { backends, ..Config::default() })
}

/// The JSON object that a variable holds. Errors say only where it is wrong, and quote nothing: the text
/// may be the secret.
fn object(name: &str, json: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(json).map_err(|cause| {
        let (line, column) = (cause.line(), cause.column());
        Error::settings(format!("{name} is not a JSON object (line {line}, column {column})"))
            .help(r#"write it like {"token": "..."}, with double quotes: Python's repr of a dict is not JSON"#)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Config> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        super::load(|name| variables.get(name).map(|v| (*v).to_owned()))
    }

    const ALL: [(&str, &str); 4] = [
        (PLUGIN, "argus_ticket_rt.RequestTrackerPlugin"),
        (ENDPOINT, "https://rt.example.org"),
        (SECRET, r#"{"token": "1-14-abc"}"#),
        (INFORMATION, r#"{"queue": "NOC"}"#),
    ];

    #[test]
    fn arguss_variables_make_one_backend() {
        let config = load(&ALL).unwrap();
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
        assert!(load(&[]).unwrap_err().help.unwrap().contains("ticket-host init"));
    }

    #[test]
    fn a_secret_that_is_not_json_is_not_shown() {
        let mut bad = ALL;
        bad[2].1 = "{'token': 'hunter2'}";
        let error = load(&bad).unwrap_err();
        assert!(error.message.contains(SECRET) && !format!("{error:?}").contains("hunter2"));
    }
}
