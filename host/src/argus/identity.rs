//! Which incident one is, whichever way it comes in: the watcher, the button, the command line or the API.
//!
//! Invariant: an incident of the watched Argus's has one identity and one key, the watcher's; another Argus's never has it.

use std::time::Duration;

use serde_json::{Map, Value};
use ticket_plugin_api::{Incident, Retry};
use url::Url;

use super::Argus;
use crate::config::ArgusConfig;
use crate::error::{Error, Kind, Result};
use crate::incident::{self, Identified, Identity};
use crate::store::Timestamp;

/// How long Argus may take to tell whether an incident is its own, while somebody waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// The incident's argus_url as Argus itself gives it to ticket plugins (argus/incident/ticket/utils.py): so the watcher and
/// the button in Argus's pages have one key for an incident.
pub(crate) fn page(config: &ArgusConfig, pk: i64) -> Option<String> {
    page_below(&config.frontend_url, pk).map(String::from)
}

fn page_below(base: &Url, pk: i64) -> Option<Url> {
    base.join(&format!("incidents/{pk}")).ok()
}

/// The number of an incident of the watched Argus's, by the URL of its page there: below frontend_url, or below url.
pub(super) fn number(config: Option<&ArgusConfig>, argus_url: &str) -> Option<i64> {
    let config = config?;
    let url = Url::parse(argus_url.trim().trim_end_matches('/')).ok()?;
    let pk = url.path().rsplit('/').next()?.parse().ok()?;
    let is_page = |base| page_below(base, pk).as_ref() == Some(&url);
    (is_page(&config.frontend_url) || is_page(&config.url)).then_some(pk)
}

/// The incident that Argus's attributes of it are, with the page that Argus itself gives to ticket plugins.
///
/// # Errors
/// A usage error: it has no description.
pub(crate) fn as_filed(
    config: &ArgusConfig,
    pk: i64,
    mut attributes: Map<String, Value>,
) -> Result<Incident> {
    attributes.insert("argus_url".to_owned(), page(config, pk).into());
    incident::of(attributes.into(), &format!("Argus's incident {pk}"))
}

/// What can be said of an incident without asking anybody.
#[derive(Debug, PartialEq)]
enum Known {
    /// It is the watched Argus's, with this number.
    Argus(i64),
    /// Argus must be asked whether it is this one.
    Perhaps(i64),
    Other,
}

/// A bare number is no identity: another installation's 266 is another incident.
fn known(config: Option<&ArgusConfig>, incident: &Incident, is_from_argus: bool) -> Known {
    let pk = incident.pk.parse::<i64>().ok();
    if let (true, Some(pk)) = (is_from_argus, pk) {
        return Known::Argus(pk);
    }
    if let Some(pk) = number(config, &incident.argus_url) {
        return Known::Argus(pk);
    }
    let names_its_page = !incident.argus_url.trim().is_empty();
    let is_comparable = !incident.source.is_empty() && !incident.start_time.is_empty();
    match (config, pk) {
        (Some(_), Some(pk)) if is_comparable && !names_its_page => Known::Perhaps(pk),
        _ => Known::Other,
    }
}

/// The incident's identity, and the key of its ticket: the key that is `given`; the watcher's, for an incident of the
/// watched Argus; else as [`incident::key`] says. `is_from_argus`: that Argus itself sent the incident.
///
/// Its beginning counts only if that Argus itself sent it, or says the same.
///
/// An incident as Argus's API gives it doesn't say which Argus that was. The watched one is asked for it; if it is there,
/// the incident gets the argus_url that the watcher would give it.
///
/// # Errors
/// A usage error: nothing identifies the incident. A client error that may be gone later: Argus can't be asked.
pub(crate) async fn identify(
    config: Option<&ArgusConfig>,
    incident: &mut Incident,
    given: Option<&str>,
    is_from_argus: bool,
) -> Result<Identified> {
    let mut is_vouched_for = is_from_argus;
    let pk = match known(config, incident, is_from_argus) {
        Known::Argus(pk) => Some(pk),
        // Who gives a key has said which incident it is.
        Known::Perhaps(pk) if given.is_none() && is_in_argus(config, incident, pk).await? => {
            if let Some(page) = config.and_then(|config| page(config, pk)) {
                incident.attributes.insert("argus_url".to_owned(), page.clone().into());
                incident.argus_url = page;
            }
            is_vouched_for = true;
            Some(pk)
        }
        Known::Perhaps(_) | Known::Other => None,
    };
    let of_watcher = config.zip(pk).and_then(|(config, pk)| page(config, pk));
    let key = incident::key(incident, given.or(of_watcher.as_deref()))?;
    let identity = match pk.or_else(|| number(config, &key)) {
        Some(pk) => Identity::of_argus(pk),
        None => Identity::of_key(&key),
    };
    let began = if is_vouched_for { incident.start_time.clone() } else { String::new() };
    Ok(Identified { identity, key, began })
}

/// Whether the watched Argus has this incident, and not another of the same number.
async fn is_in_argus(config: Option<&ArgusConfig>, incident: &Incident, pk: i64) -> Result<bool> {
    let Some(config) = config else { return Ok(false) };
    let ask = async { Argus::new(config).await?.incident(pk).await };
    let late = |_| Error::new(Kind::Client, format!("no answer in {} s", PATIENCE.as_secs()));
    let answer = tokio::time::timeout(PATIENCE, ask).await.map_err(late).flatten();
    match answer {
        Ok(theirs) => Ok(theirs.is_some_and(|theirs| is_same(incident, &theirs.into()))),
        Err(cause) => Err(Error::new(
            Kind::Client,
            format!("whether this is incident {pk} of {} can't be found out", config.url),
        )
        .retry(Retry::Later)
        .help(
            "try again when that Argus answers. Or say which incident it is: `create --argus PK` takes it from there; \
             a key (--key, or \"key\") makes it one of its own",
        )
        .cause(cause)),
    }
}

fn is_same(ours: &Incident, theirs: &Incident) -> bool {
    let began = |incident: &Incident| Timestamp::from_rfc3339(&incident.start_time);
    let source = |incident: &Incident| incident.attributes.get("source")?.get("pk").cloned();
    let sources_differ =
        source(ours).zip(source(theirs)).is_some_and(|(ours, theirs)| ours != theirs);
    ours.source == theirs.source
        && !sources_differ
        && began(ours).is_some()
        && began(ours) == began(theirs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config;
    use super::*;

    fn incident(value: Value) -> Incident {
        serde_json::from_value(value).unwrap()
    }

    /// What Python's urljoin makes of them, which Argus uses.
    #[test]
    fn an_incidents_page_is_the_one_that_argus_gives_to_its_plugins() {
        for (frontend, expected) in [
            ("https://argus.example.org", "https://argus.example.org/incidents/16"),
            ("https://argus.example.org/", "https://argus.example.org/incidents/16"),
            ("https://argus.example.org/sub/", "https://argus.example.org/sub/incidents/16"),
            ("https://argus.example.org/sub", "https://argus.example.org/incidents/16"),
        ] {
            let config = config("https://api.example.org/", frontend);
            assert_eq!(page(&config, 16).as_deref(), Some(expected));
            for same in [
                expected,
                &format!("{expected}/"),
                &format!(" {expected}"),
                &expected.replace("argus.example", "Argus.Example"),
                &expected.replace(".org/", ".org:443/"),
                "https://api.example.org/incidents/16",
            ] {
                assert_eq!(number(Some(&config), same), Some(16), "{same}");
            }
            for other in [
                "https://other.example.org/incidents/16",
                "http://argus.example.org/incidents/16",
                "16",
                "",
                expected.trim_end_matches("16"),
                &expected.replace("16", "016"),
                &format!("{expected}?x=1"),
            ] {
                assert_eq!(number(Some(&config), other), None, "{other}");
            }
            assert_eq!(number(None, expected), None);
        }
    }

    #[test]
    fn a_number_alone_is_no_identity() {
        let config = config("https://api.example.org/", "https://argus.example.org/");
        let page = "https://argus.example.org/incidents/5";
        let of_api = json!({"pk": 5, "source": {"pk": 1, "name": "nav"}, "start_time": "2026-11-23T07:00:00Z"});
        let elsewhere = json!({"pk": 5, "source": "nav", "start_time": "2026-11-23T07:00:00Z",
            "argus_url": "https://other.example.org/incidents/5"});
        for (is_configured, is_from_argus, value, expected) in [
            (true, false, json!({"argus_url": page}), Known::Argus(5)),
            (true, false, json!({"pk": 7, "argus_url": page}), Known::Argus(5)),
            (true, false, of_api.clone(), Known::Perhaps(5)),
            (false, false, of_api.clone(), Known::Other),
            (true, true, of_api, Known::Argus(5)),
            (true, false, elsewhere.clone(), Known::Other),
            (true, true, elsewhere.clone(), Known::Argus(5)),
            (false, true, elsewhere, Known::Argus(5)),
            (true, false, json!({"pk": 5}), Known::Other),
            (true, false, json!({"pk": 5, "source": "nav"}), Known::Other),
            (true, false, json!({"pk": "x", "source": "nav", "start_time": "x"}), Known::Other),
            (true, true, json!({"description": "x"}), Known::Other),
            (false, false, json!({"argus_url": page}), Known::Other),
        ] {
            let config = is_configured.then_some(&config);
            assert_eq!(known(config, &incident(value.clone()), is_from_argus), expected, "{value}");
        }
    }

    #[test]
    fn an_incident_is_the_same_if_its_source_and_its_beginning_are() {
        let theirs = json!({"pk": 5, "source": {"pk": 1, "name": "nav"}, "start_time": "2026-11-23T08:00:00.5+01:00"});
        for (ours, expected) in [
            (theirs.clone(), true),
            (json!({"source": "nav", "start_time": "2026-11-23T07:00:00.500Z"}), true),
            (
                json!({"source": {"pk": 2, "name": "nav"}, "start_time": "2026-11-23T07:00:00.5Z"}),
                false,
            ),
            (json!({"source": "zabbix", "start_time": "2026-11-23T07:00:00.5Z"}), false),
            (json!({"source": "nav", "start_time": "2026-11-23T07:00:01Z"}), false),
            (json!({"source": "nav", "start_time": "yesterday"}), false),
        ] {
            assert_eq!(
                is_same(&incident(ours.clone()), &incident(theirs.clone())),
                expected,
                "{ours}"
            );
        }
        let odd = json!({"source": "nav", "start_time": "odd"});
        assert!(!is_same(&incident(odd.clone()), &incident(odd)));
    }

    #[tokio::test]
    async fn every_way_in_gives_an_incident_of_the_watched_argus_the_watchers_key() {
        let config = config("https://api.example.org/", "https://argus.example.org/");
        let page = "https://argus.example.org/incidents/5";
        let argus = Identity::of_argus(5);
        let other = Identity::of_key;
        let elsewhere = "https://other.example.org/incidents/5";
        let pressed = json!({"pk": 5, "argus_url": elsewhere});
        let start = "2026-11-23T07:00:00Z";
        for (config, mut value, given, is_from_argus, identity, key) in [
            (Some(&config), json!({"argus_url": page}), None, false, argus.clone(), page),
            (
                Some(&config),
                json!({"argus_url": format!("{page}/")}),
                None,
                false,
                argus.clone(),
                page,
            ),
            (Some(&config), pressed.clone(), None, true, argus.clone(), page),
            (Some(&config), pressed.clone(), None, false, other(elsewhere), elsewhere),
            (None, pressed.clone(), None, true, argus.clone(), elsewhere),
            (Some(&config), pressed.clone(), Some("mine"), true, argus.clone(), "mine"),
            (Some(&config), pressed.clone(), Some("mine"), false, other("mine"), "mine"),
            (Some(&config), pressed, Some(page), false, argus, page),
            (None, json!({"pk": 5, "source": "nav"}), None, false, other("nav#5"), "nav#5"),
        ] {
            value["start_time"] = start.into();
            let mut incident = incident(value.clone());
            let found = identify(config, &mut incident, given, is_from_argus).await.unwrap();
            // What anybody but Argus says of its beginning doesn't count.
            let began = if is_from_argus { start } else { "" }.to_owned();
            assert_eq!(found, Identified { identity, key: key.to_owned(), began }, "{value}");
        }
    }
}
