//! What a ticket is told of an incident, and how two of those differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ticket_plugin_api::Difference;

/// What of an incident a ticket is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub open: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
    #[serde(default)]
    pub description: String,
}

impl Snapshot {
    /// Of an incident with these attributes (JSON).
    pub fn of(attributes: &str, open: bool) -> Snapshot {
        // What isn't of the kind that is meant counts as absent, as everywhere.
        let attributes: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
        Snapshot {
            open,
            level: attributes.get("level").and_then(Value::as_i64),
            description: text(&attributes, "description"),
        }
    }

    /// How this differs from what was told before, by the incident's attributes.
    pub fn diff(&self, told: &Snapshot) -> BTreeMap<String, Difference> {
        let mut diff = BTreeMap::new();
        let mut add = |name: &str, from: Value, to: Value| {
            if from != to {
                diff.insert(name.to_owned(), Difference { from, to });
            }
        };
        add("open", told.open.into(), self.open.into());
        add("level", told.level.into(), self.level.into());
        add("description", told.description.as_str().into(), self.description.as_str().into());
        diff
    }
}

fn text(attributes: &Map<String, Value>, name: &str) -> String {
    attributes.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
