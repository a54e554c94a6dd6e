//! The JSON that GitHub answers with, as far as it is read.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(crate) struct Repository {
    pub(crate) has_issues: bool,
    #[serde(default)]
    pub(crate) archived: bool,
    /// What the token may do; absent for the token of an app.
    pub(crate) permissions: Option<Permissions>,
}

#[derive(Deserialize)]
pub(crate) struct Permissions {
    #[serde(default)]
    pub(crate) triage: bool,
    #[serde(default)]
    pub(crate) push: bool,
}

#[derive(Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) login: String,
}

#[derive(Deserialize)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
}

#[derive(Deserialize)]
pub(crate) struct Issue {
    pub(crate) number: u64,
    pub(crate) html_url: String,
    pub(crate) body: Option<String>,
    #[serde(default)]
    pub(crate) labels: Vec<Named>,
    #[serde(default)]
    pub(crate) assignees: Vec<User>,
    pub(crate) milestone: Option<Numbered>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<Named>,
    #[serde(default)]
    pub(crate) state: String,
    /// Why it was closed: `completed`, `not_planned`, `duplicate`.
    pub(crate) state_reason: Option<String>,
    pub(crate) closed_by: Option<User>,
    pub(crate) closed_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    /// Only pull requests have it.
    pub(crate) pull_request: Option<Value>,
}

#[derive(Deserialize)]
pub(crate) struct Refusal {
    message: String,
    #[serde(default)]
    errors: Vec<Value>,
}

impl Refusal {
    /// GitHub's message, and what it says of each field.
    pub(crate) fn text(&self) -> String {
        let mut text = self.message.trim_end_matches('.').to_owned();
        for error in &self.errors {
            let part = |name: &str| error[name].as_str().unwrap_or_default();
            let said = match error {
                Value::String(said) => said.clone(),
                _ if !part("message").is_empty() => part("message").to_owned(),
                _ => format!("{} {} {}", part("field"), part("code"), part("value")),
            };
            text.push_str(&format!("; {}", said.trim_end()));
        }
        text
    }
}
