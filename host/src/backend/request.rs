//! What a plugin's create() and find() are called with: the incident, its key, and how old its ticket may be.

use std::borrow::Cow;

use serde_json::{Map, Value};
use ticket_plugin_api::abi::host_side::Operation;
use ticket_plugin_api::message::{TicketRequest, WantedKey};

use super::KeyedIncident;
use crate::store::Timestamp;

/// The request that the plugin's function is called with.
pub(super) fn request_for(operation: Operation, wanted: &KeyedIncident, dry_run: bool) -> String {
    asked_for(operation, wanted, dry_run, Timestamp::now())
}

fn asked_for(
    operation: Operation,
    wanted: &KeyedIncident,
    dry_run: bool,
    now: Timestamp,
) -> String {
    let oldest = oldest(wanted, now);
    let incident = match operation {
        Operation::Find => looked_for(&wanted.incident.attributes, oldest),
        _ => Cow::Borrowed(&wanted.incident.attributes),
    };
    let not_before = oldest.not_before();
    let incident: &Map<String, Value> = &incident;
    let asked = TicketRequest { incident, key: wanted.key.clone(), not_before, dry_run };
    serde_json::to_string(&asked).expect("JSON's own values become JSON")
}

/// What find_many() is asked of an incident's ticket, which was made by `not_after` if that is known.
pub fn wanted_key(wanted: &KeyedIncident, not_after: Option<Timestamp>) -> WantedKey {
    WantedKey {
        key: wanted.key.clone(),
        not_before: oldest(wanted, Timestamp::now()).not_before(),
        not_after: not_after.map(Timestamp::rfc3339),
    }
}

/// How old an incident's ticket may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oldest {
    /// Not older than the incident.
    Began(Timestamp),
    /// Not older than when the host was told of the incident, which was before it began: a clock is ahead, or maintenance was
    /// planned.
    Told(Timestamp),
    /// The incident hasn't begun. Its ticket may have been made by hand, or before a store was lost.
    NotBegun,
    /// The incident doesn't say when it began.
    Unknown,
}

impl Oldest {
    /// The time before which the ticket can't have been made.
    fn not_before(self) -> Option<String> {
        match self {
            Oldest::Began(time) | Oldest::Told(time) => Some(time.rfc3339()),
            Oldest::Unknown | Oldest::NotBegun => None,
        }
    }
}

fn oldest(wanted: &KeyedIncident, now: Timestamp) -> Oldest {
    let told = wanted.accepted_at.min(now);
    match Timestamp::from_rfc3339(&wanted.incident.start_time) {
        Some(start) if start > now => Oldest::NotBegun,
        Some(start) if start > told => Oldest::Told(told),
        Some(start) => Oldest::Began(start),
        None => Oldest::Unknown,
    }
}

/// The incident as a search is asked for it. Plugins from before `not_before` read the tickets since its start_time, so that is never
/// later than its ticket can be; where nothing tells how old that may be there is no start_time, and they read all tickets.
fn looked_for(attributes: &Map<String, Value>, oldest: Oldest) -> Cow<'_, Map<String, Value>> {
    let mut looked_for = Cow::Borrowed(attributes);
    match oldest {
        Oldest::Told(told) => {
            looked_for.to_mut().insert("start_time".to_owned(), told.rfc3339().into());
        }
        Oldest::NotBegun => {
            looked_for.to_mut().remove("start_time");
        }
        Oldest::Began(_) | Oldest::Unknown => {}
    }
    looked_for
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::sent::Noted;

    fn keyed(incident: &Value, accepted_at: Timestamp) -> KeyedIncident {
        KeyedIncident {
            incident: Arc::new(serde_json::from_value(incident.clone()).unwrap()),
            key: "k".to_owned(),
            accepted_at,
            leave_by: None,
            requests: Noted::default(),
        }
    }

    #[test]
    fn a_search_never_begins_later_than_the_host_was_told_of_the_incident_and_reads_all_before_it_began()
     {
        let at = |text| Timestamp::from_rfc3339(text).unwrap();
        let (told, now) = (at("2026-11-23T12:00:00Z"), at("2026-11-24T00:00:00Z"));
        for (start_time, accepted_at, looked_for_since, not_before) in [
            ("2026-11-30T00:00:00+01:00", told, None, None),
            ("2026-11-30T00:00:00+01:00", now, None, None),
            ("2026-11-24T00:00:01Z", told, None, None),
            (
                "2026-11-24T00:00:00Z",
                told,
                Some("2026-11-23T12:00:00Z"),
                Some("2026-11-23T12:00:00Z"),
            ),
            (
                "2026-11-23T13:00:01+01:00",
                told,
                Some("2026-11-23T12:00:00Z"),
                Some("2026-11-23T12:00:00Z"),
            ),
            (
                "2026-11-23T13:00:00+01:00",
                told,
                Some("2026-11-23T13:00:00+01:00"),
                Some("2026-11-23T12:00:00Z"),
            ),
            (
                "2026-11-20T00:00:00Z",
                told,
                Some("2026-11-20T00:00:00Z"),
                Some("2026-11-20T00:00:00Z"),
            ),
            // The clock was set back since.
            (
                "2026-11-24T00:00:00Z",
                at("2026-12-24T00:00:00Z"),
                Some("2026-11-24T00:00:00Z"),
                Some("2026-11-24T00:00:00Z"),
            ),
            ("in a week", told, Some("in a week"), None),
            ("infinity", told, Some("infinity"), None),
        ] {
            let incident = json!({"description": "x", "start_time": start_time});
            let wanted = keyed(&incident, accepted_at);
            let request = asked_for(Operation::Find, &wanted, false, now);
            let request: Value = serde_json::from_str(&request).unwrap();
            let since = request["incident"].get("start_time").cloned();
            assert_eq!(since, looked_for_since.map(Value::from), "{start_time} {accepted_at:?}");
            let before = request.get("not_before").cloned();
            assert_eq!(before, not_before.map(Value::from), "{start_time} {accepted_at:?}");
        }
    }

    #[test]
    fn what_a_search_is_asked_for_is_not_what_the_ticket_says() {
        let incident = json!({"description": "x", "start_time": "9999-01-01T00:00:00Z"});
        let accepted_at = Timestamp::now();
        let wanted = keyed(&incident, accepted_at);
        let start_time_for = |operation| {
            let request = request_for(operation, &wanted, false);
            serde_json::from_str::<Value>(&request).unwrap()["incident"].get("start_time").cloned()
        };
        assert_eq!(start_time_for(Operation::Find), None);
        assert_eq!(start_time_for(Operation::Create), Some(json!("9999-01-01T00:00:00Z")));
    }
}
