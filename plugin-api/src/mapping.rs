//! Custom fields and labels from settings: constants (`..._set`) and values taken from the
//! incident (`..._mapping`), as all four Argus ticket plugins have them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::incident::{Incident, is_open_end, plain};
use crate::message::Check;
use crate::text;

/// Where a mapped value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Origin {
    /// An incident attribute by name: `description`, `start_time`, `level`, ...
    Attribute(String),
    /// A tag's value by the tag's key: `{"tag": "location"}`.
    Tag {
        /// The tag's key: what stands before its first `=`.
        tag: String,
    },
}

/// What an incident has where an [`Origin`] points.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// One value of an attribute, or one for each tag with that key.
    Values(Vec<String>),
    /// The end of an incident that is still open. There is nothing to set, but nothing is missing either.
    NotYet,
    /// The incident has nothing of that name.
    Missing,
}

impl Origin {
    fn name(&self) -> &str {
        match self {
            Origin::Attribute(name) | Origin::Tag { tag: name } => name,
        }
    }

    fn find(&self, incident: &Incident) -> Found {
        match self {
            Origin::Attribute(name) => match incident.attributes.get(name) {
                None | Some(Value::Null) => Found::Missing,
                Some(Value::String(time)) if name == "end_time" && is_open_end(time) => {
                    Found::NotYet
                }
                Some(value) => Found::Values(vec![plain(value)]),
            },
            Origin::Tag { tag } => {
                let mut values: Vec<String> = Vec::new();
                for found in incident.tags.iter().filter(|t| t.key == *tag) {
                    if !values.contains(&found.value) {
                        values.push(found.value.clone());
                    }
                }
                if values.is_empty() { Found::Missing } else { Found::Values(values) }
            }
        }
    }
}

/// Custom fields, for systems that have them, as settings of an operator. A plugin flattens it into its information, and its
/// schema then has both settings.
///
/// ```
/// # use serde_json::json;
/// # use ticket_plugin_api::{Incident, mapping::FieldMappings};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Information {
///     queue: String,
///     #[serde(flatten)]
///     fields: FieldMappings,
/// }
///
/// let information: Information = serde_json::from_value(json!({
///     "queue": "NOC",
///     "custom_fields_set": {"Team": "NOC"},
///     "custom_fields_mapping": {"Host": {"tag": "host"}, "Site": {"tag": "location"}},
/// }))?;
/// let incident: Incident = serde_json::from_value(json!({"tags": ["host=gw1"]}))?;
/// let made = information.fields.resolve(&incident);
/// assert_eq!(made.fields["Team"], ["NOC"]);
/// assert_eq!(made.fields["Host"], ["gw1"]);
/// assert_eq!(made.missing, ["location"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct FieldMappings {
    /// Custom fields that every ticket gets: field name to value.
    #[serde(default)]
    pub custom_fields_set: BTreeMap<String, Value>,
    /// Custom fields from the incident: field name to an attribute's name or {"tag": "key"}.
    #[serde(default)]
    pub custom_fields_mapping: BTreeMap<String, Origin>,
}

/// The custom fields of one ticket.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The values of each field by its name. Each has at least one.
    pub fields: BTreeMap<String, Vec<String>>,
    /// What the incident lacks, by attribute name or tag key.
    pub missing: Vec<String>,
}

impl FieldMappings {
    /// The names of all fields, each once.
    pub fn names(&self) -> BTreeSet<&str> {
        let names = self.custom_fields_set.keys().chain(self.custom_fields_mapping.keys());
        names.map(String::as_str).collect()
    }

    /// The fields for `incident`. If a field is both set and mapped, the mapped value is taken. Names that
    /// differ only in upper and lower case mean the same field.
    pub fn resolve(&self, incident: &Incident) -> Fields {
        let mut out = Fields::default();
        for (field, value) in &self.custom_fields_set {
            let values = match value {
                Value::Array(items) => items.iter().map(plain).collect(),
                one => vec![plain(one)],
            };
            if !values.is_empty() {
                out.fields.insert(field.clone(), values);
            }
        }
        for (field, origin) in &self.custom_fields_mapping {
            match origin.find(incident) {
                Found::Values(values) => {
                    out.fields.retain(|known, _| known.to_lowercase() != field.to_lowercase());
                    out.fields.insert(field.clone(), values);
                }
                Found::NotYet => {}
                Found::Missing => out.missing.push(origin.name().to_owned()),
            }
        }
        out
    }
}

/// Labels, for systems that have them. Flatten it into a plugin's information.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct LabelMappings {
    /// Labels that every ticket gets.
    #[serde(default)]
    pub labels_set: Vec<String>,
    /// Labels from the incident: attributes' names or {"tag": "key"}.
    #[serde(default)]
    pub labels_mapping: Vec<Origin>,
}

/// The labels of one ticket.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The labels in the order of the settings. Each comes once, and none is empty.
    pub labels: Vec<String>,
    /// What the incident lacks, by attribute name or tag key.
    pub missing: Vec<String>,
}

impl LabelMappings {
    /// The labels for `incident`.
    pub fn resolve(&self, incident: &Incident) -> Labels {
        let mut out = Labels::default();
        let mut wanted = self.labels_set.clone();
        for origin in &self.labels_mapping {
            match origin.find(incident) {
                Found::Values(values) => wanted.extend(values),
                Found::NotYet => {}
                Found::Missing => out.missing.push(origin.name().to_owned()),
            }
        }
        for label in wanted {
            if !label.is_empty() && !out.labels.contains(&label) {
                out.labels.push(label);
            }
        }
        out
    }
}

/// Parts labels into those that the ticket system has, in the spelling that they have there, and those that
/// it doesn't have. Where `known` has no label of the same spelling, one that differs only in upper and lower
/// case is taken.
pub fn part_labels(wanted: Vec<String>, known: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut present, mut absent) = (Vec::new(), Vec::new());
    for label in wanted {
        let lower = label.to_lowercase();
        let alike = || known.iter().find(|known| known.to_lowercase() == lower);
        match known.iter().find(|known| **known == label).or_else(alike) {
            Some(known) if present.contains(known) => {}
            Some(known) => present.push(known.clone()),
            None => absent.push(label),
        }
    }
    (present, absent)
}

/// The lines of a check about the labels that the settings set: one for each, which says whether it is there.
pub fn check_labels(wanted: &[String], known: &[String]) -> Vec<Check> {
    let (present, absent) = part_labels(wanted.to_vec(), known);
    let present =
        present.iter().map(|label| Check::passed(&format!("label {label}"), "it is there"));
    let absent = absent.iter().map(|label| {
        let help = "make it, or set create_missing_labels = true";
        Check::failed(&format!("label {label}"), "there is none of that name", help)
    });
    present.chain(absent).collect()
}

/// The warning that a label was left out, because the ticket system has none of that name.
pub fn no_such_label(label: &str) -> String {
    let shown = text::cut(label, 60, |_| 1);
    let shown = shown.as_deref().unwrap_or(label);
    format!("label {shown}: there is none of that name, so it is not set")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn incident() -> Incident {
        serde_json::from_value(json!({
            "description": "", "level": 0, "end_time": "infinity", "start_time": null,
            "source": {"name": "nav"},
            "tags": [{"tag": "q=a=b"}, {"tag": "host=x"}, {"tag": "host=y"}, {"tag": "host=x"}],
        }))
        .unwrap()
    }

    fn fields(mapping: Value) -> Fields {
        let mappings: FieldMappings = serde_json::from_value(mapping).unwrap();
        mappings.resolve(&incident())
    }

    #[test]
    fn falsy_values_are_values() {
        let got = fields(json!({"custom_fields_mapping": {"L": "level", "D": "description"}}));
        assert_eq!(got.fields["L"], ["0"]);
        assert_eq!(got.fields["D"], [""]);
        assert!(got.missing.is_empty());
    }

    #[test]
    fn an_open_end_is_left_out_and_not_missing() {
        let got = fields(json!({"custom_fields_mapping": {"E": "end_time"}}));
        assert_eq!(got, Fields::default());
    }

    #[test]
    fn what_the_incident_lacks_is_missing_by_its_name() {
        let got = fields(
            json!({"custom_fields_mapping": {"A": "no_such", "B": {"tag": "nope"}, "C": "start_time"}}),
        );
        assert_eq!(got.missing, ["no_such", "nope", "start_time"]);
        assert!(got.fields.is_empty());
    }

    #[test]
    fn a_tag_that_occurs_several_times_gives_each_value_once() {
        let got =
            fields(json!({"custom_fields_mapping": {"H": {"tag": "host"}, "Q": {"tag": "q"}}}));
        assert_eq!(got.fields["H"], ["x", "y"]);
        assert_eq!(got.fields["Q"], ["a=b"]);
    }

    #[test]
    fn a_mapped_value_wins_over_a_constant_and_an_object_goes_by_its_name() {
        let got = fields(json!({
            "custom_fields_set": {"S": "constant", "N": 3, "M": ["a", "b"], "E": []},
            "custom_fields_mapping": {"S": "source", "n": "level"},
        }));
        assert_eq!(got.fields["S"], ["nav"]);
        assert_eq!(got.fields.get("N"), None, "n is the same field");
        assert_eq!(got.fields["n"], ["0"]);
        assert_eq!(got.fields["M"], ["a", "b"]);
        assert!(!got.fields.contains_key("E"), "no value is nothing to set");
    }

    #[test]
    fn labels_are_known_by_their_spelling_and_else_in_any_case() {
        let text = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let known = text(&["Bug", "bug", "Æ"]);
        let (present, absent) = part_labels(text(&["bug", "BUG", "æ", "new"]), &known);
        assert_eq!(present, ["bug", "Bug", "Æ"]);
        assert_eq!(absent, ["new"]);
    }

    #[test]
    fn labels_keep_their_order_and_come_once() {
        let mappings: LabelMappings = serde_json::from_value(json!({
            "labels_set": ["noc", "x"],
            "labels_mapping": [{"tag": "host"}, "level", "description", "no_such"],
        }))
        .unwrap();
        let got = mappings.resolve(&incident());
        assert_eq!(got.labels, ["noc", "x", "y", "0"]);
        assert_eq!(got.missing, ["no_such"]);
    }
}
