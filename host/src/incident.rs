//! Reads an incident as it comes in, which has a bound and must be an object with a description, and tells
//! the key of its ticket.

use std::io::Read;

use serde_json::{Map, Value};
use ticket_plugin_api::{Incident, json};

use crate::error::{Error, Result};
use crate::store::Timestamp;

/// The most characters that a key may have.
const LONGEST_KEY: usize = 1000;

/// Where an incident without a level stands in the order; Argus's worst is 1, its mildest 5.
pub(crate) const NO_LEVEL: i64 = 6;

/// The source of incidents of the configured Argus.
pub(crate) const ARGUS: &str = "argus";

/// Which incident one is, whichever way it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who reported it: [`ARGUS`], or nothing if all that is known of the incident is its key.
    pub source: String,
    /// Its number there, or its key.
    pub id: String,
}

impl Identity {
    /// An incident of the configured Argus.
    pub(crate) fn of_argus(pk: i64) -> Identity {
        Identity { source: ARGUS.to_owned(), id: pk.to_string() }
    }

    /// An incident of which nothing else is known.
    pub fn of_key(key: &str) -> Identity {
        Identity { source: String::new(), id: key.to_owned() }
    }

    /// Its number in the configured Argus, if it is of that one.
    pub(crate) fn argus_pk(&self) -> Option<i64> {
        if self.source == ARGUS { self.id.parse().ok() } else { None }
    }
}

/// Which incident one is, and what its ticket is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    pub identity: Identity,
    /// By what plugins know the incident.
    pub key: String,
    /// When it began, if its source itself says so; else nothing. Anybody may give an incident another start_time, which
    /// must not make another incident of it.
    pub began: String,
}

impl Identified {
    /// An incident of which nothing but its key is known.
    pub fn of_key(key: String) -> Identified {
        Identified { identity: Identity::of_key(&key), key, began: String::new() }
    }
}

/// Whether an incident that began at one time can be the one that began at another, as they say: where one of them says
/// nothing that can be understood, it can.
pub(crate) fn may_have_begun_together(one: &str, other: &str) -> bool {
    match (Timestamp::from_rfc3339(one), Timestamp::from_rfc3339(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Whether an incident has ended, as it says itself. `now` is compared with the end of one that doesn't say whether it is open; one that has
/// no state never ends.
pub(crate) fn has_ended(incident: &Incident, now: Timestamp) -> bool {
    let is_over = || Timestamp::from_rfc3339(&incident.end_time).is_some_and(|end| end <= now);
    let open = flag(&incident.attributes, "open");
    !is_stateless(&incident.attributes) && open.map_or_else(is_over, |is_open| !is_open)
}

/// Whether an incident has no state, so that it is never open and never ends.
pub(crate) fn is_stateless(attributes: &Map<String, Value>) -> bool {
    flag(attributes, "stateful") == Some(false)
        || attributes.get("end_time").is_some_and(Value::is_null)
}

fn flag(attributes: &Map<String, Value>, name: &str) -> Option<bool> {
    attributes.get(name).and_then(Value::as_bool)
}

/// Reads one incident of at most `max` bytes from `input`, called `name` in errors.
///
/// # Errors
/// A usage error: it can't be read, has more than `max` bytes, or is not an incident.
pub(crate) fn read(input: impl Read, name: &str, max: usize) -> Result<Incident> {
    let refuse = |what: String| Error::usage(format!("{name}: the incident {what}"));
    let mut bytes = Vec::new();
    input.take(max as u64 + 1).read_to_end(&mut bytes).map_err(|cause| {
        Error::usage(format!("{name}: the incident can't be read")).cause(cause)
    })?;
    if bytes.len() > max {
        return Err(refuse(format!("has more than {max} bytes")).help(
            "if your incidents are that large, raise limits.max_incident_bytes in the config",
        ));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(Error::usage(format!("{name} is empty"))
            .help("name a FILE that holds an incident, or pipe one in"));
    }
    let value: Value =
        json::read(&bytes).map_err(|cause| refuse(format!("is not valid JSON: {cause}")))?;
    of(value, name)
}

/// The incident that a JSON value stands for, called `name` in errors.
///
/// # Errors
/// A usage error: the value is not an object, or has no description.
pub(crate) fn of(value: Value, name: &str) -> Result<Incident> {
    let refuse = |what: &str| Error::usage(format!("{name}: the incident {what}"));
    let Value::Object(attributes) = value else {
        return Err(refuse("is not a JSON object")
            .help("give one incident, as Argus serializes it: {\"description\": \"...\", ...}"));
    };
    if !attributes.get("description").is_some_and(Value::is_string) {
        return Err(refuse("has no description: give it a text, which may be empty"));
    }
    Ok(without_nul(attributes).into())
}

/// The description of an incident that was read before, from its JSON.
pub(crate) fn description(json: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Described {
        description: String,
    }
    serde_json::from_str::<Described>(json).map_or_else(|_| String::new(), |told| told.description)
}

/// The attributes with U+FFFD in place of each NUL, which would end the text in the C libraries and
/// databases that many ticket systems are made with.
fn without_nul(attributes: Map<String, Value>) -> Map<String, Value> {
    fn clean(value: Value) -> Value {
        match value {
            Value::String(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").into(),
            Value::Array(items) => items.into_iter().map(clean).collect(),
            Value::Object(members) => without_nul(members).into(),
            other => other,
        }
    }
    attributes.into_iter().map(|(name, value)| (name, clean(value))).collect()
}

/// What identifies the incident's ticket in a backend: the key that is `given`, else the incident's
/// `argus_url`, else its source and number, else the URL of the ticket that it says it has.
///
/// # Errors
/// A usage error: the incident has none of them, or what was found can't be a key.
pub(crate) fn key(incident: &Incident, given: Option<&str>) -> Result<String> {
    let key = match given {
        Some(key) => key.trim().to_owned(),
        None if !incident.argus_url.trim().is_empty() => incident.argus_url.trim().to_owned(),
        None if !incident.source.is_empty() && !incident.pk.is_empty() => {
            format!("{}#{}", incident.source, incident.pk)
        }
        // A ticket that the incident carries needs no key to be found.
        None if !incident.ticket_url.trim().is_empty() => incident.ticket_url.trim().to_owned(),
        None => {
            return Err(Error::usage(
                "the incident has neither an argus_url nor a source's name and a pk, so nothing tells \
                 its ticket from another's",
            )
            .help("give a key, with --key or as \"key\": the same key finds the same ticket again"));
        }
    };
    if key.is_empty() || key.chars().count() > LONGEST_KEY || key.chars().any(char::is_control) {
        return Err(Error::usage(format!(
            "the key of an incident's ticket must have 1 to {LONGEST_KEY} characters, and no control characters"
        ))
        .help("give another key, with --key or as \"key\""));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refuse(bytes: &[u8]) -> String {
        read(bytes, "x.json", 1000).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_an_incident_is_refused_with_its_reason() {
        assert!(refuse(b"nonsense").contains("x.json: the incident is not valid JSON: "));
        assert!(refuse(b"[{}]").contains("not a JSON object"));
        assert!(refuse(b"{}").contains("no description"));
        assert!(refuse(b"{\"description\": 5}").contains("no description"));
        assert!(refuse(&[b' '; 1001]).contains("more than 1000 bytes"));
        assert!(refuse(b"{\"description\": \"\xff\"}").contains("not valid JSON"));
        let deep = "[".repeat(900);
        assert!(refuse(deep.as_bytes()).contains("not valid JSON"));
    }

    #[test]
    fn a_byte_order_mark_before_an_incident_is_left_out() {
        let json = "\u{feff}{\"description\": \"a\"}";
        assert_eq!(read(json.as_bytes(), "x", 1000).unwrap().description, "a");
    }

    #[test]
    fn nuls_are_replaced_at_every_depth() {
        let json = br#"{"description": "a\u0000b", "metadata": [{"x": "\u0000"}]}"#;
        let incident = read(json.as_slice(), "x", 1000).unwrap();
        assert_eq!(incident.description, "a\u{fffd}b");
        assert_eq!(incident.attributes["metadata"], json!([{"x": "\u{fffd}"}]));
    }

    #[test]
    fn the_key_is_the_argus_url_else_source_and_number() {
        let incident = |value: Value| -> Incident { serde_json::from_value(value).unwrap() };
        let both =
            incident(json!({"argus_url": "https://a/1", "pk": 1, "source": {"name": "nav"}}));
        assert_eq!(key(&both, None).unwrap(), "https://a/1");
        assert_eq!(key(&both, Some(" mine ")).unwrap(), "mine");
        assert_eq!(
            key(&incident(json!({"pk": 1, "source": {"name": "nav"}})), None).unwrap(),
            "nav#1"
        );
        assert!(
            key(&incident(json!({"pk": 1})), None).unwrap_err().help.unwrap().contains("--key")
        );
        for bad in ["", " ", "a\nb", &"x".repeat(1001)] {
            assert!(key(&both, Some(bad)).is_err(), "{bad:?}");
        }
    }
}
