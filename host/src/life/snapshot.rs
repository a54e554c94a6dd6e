//! What a ticket is told of an incident, and how two of those differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ticket_plugin_api::Difference;

use crate::terminal::cut;

/// Bytes that are kept of a description.
const LONGEST: usize = 2 << 10;

/// What of an incident a ticket is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub open: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
    /// Its beginning, if it is long.
    #[serde(default)]
    pub description: String,
    /// What tells a long description from others that begin so: its CRC-32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<u32>,
}

impl Snapshot {
    /// Of an incident with these attributes (JSON).
    pub fn of(attributes: &str, open: bool) -> Snapshot {
        // What isn't of the kind that is meant counts as absent, as everywhere.
        let attributes: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
        let said = attributes.get("description").and_then(Value::as_str).unwrap_or_default();
        let is_long = said.len() > LONGEST;
        Snapshot {
            open,
            level: attributes.get("level").and_then(Value::as_i64),
            description: cut(said, LONGEST),
            rest: is_long.then(|| crc32(said)),
        }
    }

    /// How this differs from what was told before, by the incident's attributes.
    pub fn diff(&self, told: &Snapshot) -> BTreeMap<String, Difference> {
        let said = |it: &Snapshot| Value::from(it.description.as_str());
        let is_said_otherwise = (&told.description, told.rest) != (&self.description, self.rest);
        let all = [
            ("open", told.open != self.open, told.open.into(), self.open.into()),
            ("level", told.level != self.level, told.level.into(), self.level.into()),
            ("description", is_said_otherwise, said(told), said(self)),
        ];
        let differing = all.into_iter().filter(|(_, differs, ..)| *differs);
        differing.map(|(name, _, from, to)| (name.to_owned(), Difference { from, to })).collect()
    }
}

fn crc32(text: &str) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}
