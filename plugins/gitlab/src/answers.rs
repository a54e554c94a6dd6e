//! The JSON that GitLab answers with, as far as it is read.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(crate) struct Login {
    pub(crate) username: String,
}

#[derive(Deserialize)]
pub(crate) struct Project {
    pub(crate) issues_enabled: bool,
    #[serde(default)]
    pub(crate) archived: bool,
    permissions: Option<Permissions>,
}

#[derive(Deserialize)]
struct Permissions {
    project_access: Option<Access>,
    group_access: Option<Access>,
}

#[derive(Deserialize)]
struct Access {
    access_level: u32,
}

#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) id: u64,
}

#[derive(Deserialize)]
pub(crate) struct Issue {
    pub(crate) iid: u64,
    pub(crate) web_url: String,
    pub(crate) description: Option<String>,
    pub(crate) created_at: Option<String>,
    #[serde(default)]
    pub(crate) labels: Vec<String>,
    #[serde(default)]
    pub(crate) assignees: Vec<User>,
    #[serde(default)]
    pub(crate) confidential: bool,
    pub(crate) due_date: Option<String>,
    pub(crate) issue_type: Option<String>,
    #[serde(default)]
    pub(crate) state: String,
    pub(crate) closed_by: Option<Login>,
    pub(crate) closed_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    /// The issue of another project that goes on with this one, which is closed.
    pub(crate) moved_to_id: Option<u64>,
    #[serde(rename = "_links", default)]
    pub(crate) links: Links,
}

#[derive(Deserialize, Default)]
pub(crate) struct Links {
    pub(crate) closed_as_duplicate_of: Option<String>,
}

impl Project {
    /// The role of the token's user: 10 guest, 15 planner, 20 reporter and so on; 0 for none.
    pub(crate) fn role(&self) -> u32 {
        let access = self.permissions.as_ref();
        let levels = access.into_iter().flat_map(|a| [&a.project_access, &a.group_access]);
        levels.flatten().map(|access| access.access_level).max().unwrap_or(0)
    }
}

/// GitLab's reason in each of its shapes: `message` as text, as a list or by field, or `error`.
pub(crate) fn reason(json: &Value) -> Option<String> {
    let flat = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    };
    match (&json["message"], &json["error"]) {
        (Value::Object(fields), _) => {
            let each = fields.iter().map(|(field, why)| format!("{field} {}", flat(why)));
            Some(each.collect::<Vec<_>>().join("; "))
        }
        (Value::Null, Value::Null) => None,
        (Value::Null, error) => match &json["error_description"] {
            Value::Null => Some(flat(error)),
            more => Some(format!("{}: {}", flat(error), flat(more))),
        },
        (message, _) => Some(flat(message)),
    }
}
