//! Argus's own settings as environment variables: one backend, called `default`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::secret::SecretSource;
use super::service::{self, ServeConfig};
use super::{BackendConfig, Config, Isolation, Limits, LookFirst, endpoint};
use crate::error::{Error, Result};
use crate::plugins::trust::Trust;
use ticket_host_worker::permissions::Permissions;

const PLUGIN: &str = "TICKET_PLUGIN";
const ENDPOINT: &str = "TICKET_ENDPOINT";
const SECRET: &str = "TICKET_AUTHENTICATION_SECRET";
const INFORMATION: &str = "TICKET_INFORMATION";

/// The config that `variable` gives.
pub(super) fn load(variable: impl Fn(&str) -> Option<String>) -> Result<Config> {
    let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let Some(plugin) = get(PLUGIN) else {
        return Err(Error::settings("there is no config file, and TICKET_PLUGIN is not set").help(
            "`ticket-host init` writes a config to start from; or name one with --config, or set \
             TICKET_PLUGIN, TICKET_ENDPOINT, TICKET_AUTHENTICATION_SECRET and TICKET_INFORMATION",
        ));
    };
    let required = |name: &str| {
        get(name).ok_or_else(|| Error::settings(format!("{name} is not set, and {PLUGIN} is")))
    };
    let url = endpoint(&required(ENDPOINT)?)
        .map_err(|(message, help)| Error::settings(format!("{ENDPOINT}: {message}")).help(help))?;
    let limits = Limits::default();
    let backend = BackendConfig {
        name: "default".to_owned(),
        plugin,
        endpoint: url,
        secret: SecretSource {
            value: object(SECRET, &required(SECRET)?)?.into(),
            base: PathBuf::new(),
        },
        information: object(INFORMATION, &required(INFORMATION)?)?.into(),
        isolation: Isolation::default(),
        permissions: Permissions::default(),
        sha256: None,
        allow_origins: Vec::new(),
        ca_file: None,
        proxy: None,
        title: None,
        body: None,
        call_timeout: Duration::from_secs(limits.call_timeout_seconds),
        max_response_bytes: limits.max_response_bytes,
        concurrency: limits.concurrency,
        requests_per_second: None,
        look_first: LookFirst::default(),
        places: None,
    };
    Ok(Config {
        serve: ServeConfig {
            listen: service::default_listen(),
            tokens: Vec::new(),
            shutdown: Duration::from_secs(30),
        },
        queue: service::default_queue(None),
        argus: None,
        file: None,
        default_backend: None,
        plugin_dirs: Vec::new(),
        trust: Trust::default(),
        max_incident_bytes: limits.max_incident_bytes,
        backends: BTreeMap::from([(backend.name.clone(), backend)]),
        warnings: Vec::new(),
    })
}

/// A JSON object. Its text gets into no error: it may be the secret.
fn object(name: &str, json: &str) -> Result<serde_json::Map<String, Value>> {
    serde_json::from_str(json).map_err(|cause| {
        let at = format!("line {}, column {}", cause.line(), cause.column());
        Error::settings(format!("{name} is no JSON object (at {at})"))
            .help(r#"like {"token": "..."}, with double quotes: a Python dict's repr is not JSON"#)
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
    fn a_secret_that_is_no_json_is_not_shown() {
        let mut bad = ALL;
        bad[2].1 = "{'token': 'hunter2'}";
        let error = load(&bad).unwrap_err();
        assert!(error.message.contains(SECRET) && !format!("{error:?}").contains("hunter2"));
    }
}
