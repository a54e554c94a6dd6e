//! Incidents as Argus serializes them (API v2 and v3), read so that no odd member makes one unusable.

use serde::Deserialize;
use serde_json::{Map, Value};

/// An incident: what happened. A member that is absent, or of another type than it should be, reads as empty.
/// `attributes` has all members as they came.
///
/// Source: Argus, `/api/v2/incidents/` and the serialized incident that it gives to ticket plugins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct Incident {
    /// The incident's number in its source of incidents, as text.
    pub pk: String,
    /// What happened, in a sentence or more, as the source wrote it: of any length, with any characters.
    pub description: String,
    /// 1 (worst) to 5.
    pub level: Option<i64>,
    /// When it began: RFC 3339, with the sender's own offset from UTC.
    pub start_time: String,
    /// When it ended: RFC 3339. It is empty as long as the incident is open (Argus then says "infinity"), and
    /// for an incident that has no state (null).
    pub end_time: String,
    /// The name of the monitoring system that reported it.
    pub source: String,
    /// The URL of the incident's page in Argus.
    pub argus_url: String,
    /// The URL of the incident's page in its source. It may be relative.
    pub details_url: String,
    /// The URL of the ticket that the incident already has, or empty.
    pub ticket_url: String,
    /// The tags, in the order in which they came. A key can occur several times.
    pub tags: Vec<Tag>,
    /// All members as they came, with those that have a field here and those that have none.
    pub attributes: Map<String, Value>,
}

/// A tag, `key=value`. The key ends at the first `=`; the value may have more of them in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag as it came.
    pub text: String,
    /// What stands before the first `=`; the whole tag if it has none.
    pub key: String,
    /// What stands after the first `=`; empty if there is none.
    pub value: String,
}

impl From<Map<String, Value>> for Incident {
    fn from(attributes: Map<String, Value>) -> Incident {
        let text = |name: &str| match attributes.get(name) {
            Some(Value::String(text)) => text.clone(),
            _ => String::new(),
        };
        let end_time = text("end_time");
        Incident {
            pk: attributes.get("pk").map(plain).unwrap_or_default(),
            description: text("description"),
            level: attributes.get("level").and_then(Value::as_i64),
            start_time: text("start_time"),
            end_time: if is_open_end(&end_time) { String::new() } else { end_time },
            source: attributes.get("source").map(plain).unwrap_or_default(),
            argus_url: text("argus_url"),
            details_url: text("details_url"),
            ticket_url: text("ticket_url"),
            tags: match attributes.get("tags") {
                Some(Value::Array(tags)) => tags.iter().filter_map(Tag::of).collect(),
                _ => Vec::new(),
            },
            attributes,
        }
    }
}

impl Tag {
    /// Reads both shapes of a tag: `{"tag": "key=value", ...}` (API v2) and `"key=value"` (v3).
    fn of(value: &Value) -> Option<Tag> {
        let text = match value {
            Value::String(text) => text,
            Value::Object(tag) => match tag.get("tag")? {
                Value::String(text) => text,
                _ => return None,
            },
            _ => return None,
        };
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Some(Tag { text: text.clone(), key: key.to_owned(), value: value.to_owned() })
    }
}

/// Whether an end_time means that the incident has not ended yet.
pub(crate) fn is_open_end(time: &str) -> bool {
    time == "infinity"
}

/// A value as a person would write it: a text without quotes, an object that has a name by that name.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Object(object) if object.get("name").is_some_and(Value::is_string) => {
            plain(&object["name"])
        }
        other => other.to_string(),
    }
}

/// A time in seconds since 1970. It may be written as in RFC 3339 or as HTTP writes dates (RFC 9110, 5.6.7);
/// None if it is neither.
pub fn unix_time(time: &str) -> Option<i64> {
    use time::OffsetDateTime;
    use time::format_description::well_known::{Rfc2822, Rfc3339};
    let parsed = OffsetDateTime::parse(time, &Rfc3339);
    let parsed = parsed.or_else(|_| OffsetDateTime::parse(time, &Rfc2822));
    parsed.ok().map(OffsetDateTime::unix_timestamp)
}

/// A time (RFC 3339) in UTC, as `2026-11-23T06:00:00+00:00`; None if it is not one.
pub fn utc(time: &str) -> Option<String> {
    utc_before(time, std::time::Duration::ZERO)
}

/// As [`utc`], but `earlier` by so much. A plugin that looks for tickets that were made since a time begins
/// somewhat earlier, since the ticket system's clock may differ from the incident's.
pub fn utc_before(time: &str, earlier: std::time::Duration) -> Option<String> {
    use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
    let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
    let time = time.checked_to_offset(UtcOffset::UTC)?.checked_sub(earlier.try_into().ok()?)?;
    let text = time.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?;
    Some(text.trim_end_matches('Z').to_owned() + "+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn incident(value: Value) -> Incident {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_tags_key_ends_at_the_first_equals_sign() {
        let incident = incident(json!({"tags": [{"tag": "query=a=b&c=d"}, {"tag": "bare"}]}));
        let pairs: Vec<_> =
            incident.tags.iter().map(|t| (t.key.as_str(), t.value.as_str())).collect();
        assert_eq!(pairs, [("query", "a=b&c=d"), ("bare", "")]);
    }

    #[test]
    fn tags_of_api_v2_and_v3_read_the_same() {
        let v2 = incident(json!({"tags": [{"tag": "host=x", "added_by": 1}]}));
        let v3 = incident(json!({"tags": ["host=x"]}));
        assert_eq!(v2.tags, v3.tags);
    }

    #[test]
    fn an_open_and_a_stateless_incident_have_no_end() {
        assert_eq!(incident(json!({"end_time": "infinity"})).end_time, "");
        assert_eq!(incident(json!({"end_time": null})).end_time, "");
        let closed = incident(json!({"end_time": "2026-11-23T08:30:00+01:00"}));
        assert_eq!(closed.end_time, "2026-11-23T08:30:00+01:00");
    }

    #[test]
    fn members_of_unexpected_types_read_as_empty() {
        let odd = incident(json!({"description": 5, "level": "high", "tags": 3, "source": null}));
        assert_eq!((odd.description.as_str(), odd.level, odd.source.as_str()), ("", None, ""));
        assert!(odd.tags.is_empty());
    }

    #[test]
    fn a_source_is_known_by_its_name() {
        assert_eq!(incident(json!({"source": {"name": "nav", "pk": 1}})).source, "nav");
        assert_eq!(incident(json!({"source": "nav"})).source, "nav");
    }

    #[test]
    fn a_time_before_another_crosses_days() {
        let day = std::time::Duration::from_secs(86400);
        let before = utc_before("2026-03-01T00:30:00+01:00", day);
        assert_eq!(before.unwrap(), "2026-02-27T23:30:00+00:00");
        assert_eq!(utc_before("infinity", day), None);
    }

    #[test]
    fn times_become_utc_with_an_explicit_offset() {
        assert_eq!(utc("2026-11-23T07:00:00+01:00").unwrap(), "2026-11-23T06:00:00+00:00");
        assert_eq!(utc("2026-07-01T12:00:00.000001Z").unwrap(), "2026-07-01T12:00:00+00:00");
        assert_eq!(utc("2026-11-23"), None);
        assert_eq!(utc("infinity"), None);
    }
}
