//! What an operator sets: the token, the webhook's secret, the repository, and what an issue gets beside its text.

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_forge::LabelSettings;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Secret {
    /// A personal access token, fine-grained or classic, or an app's installation token.
    pub(crate) token: String,
    /// The secret of the repository's webhook on GitHub, which signs what it sends. Without it no webhook is believed.
    pub(crate) webhook_secret: Option<String>,
}

/// The repository, and what an issue gets beside its text.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Information {
    /// The repository, as `owner/name`.
    pub(crate) project_namespace_and_name: String,
    /// The user names of those who are assigned to the issue.
    #[serde(default)]
    pub(crate) assignees: Vec<String>,
    /// The milestone's number, as in its URL.
    pub(crate) milestone: Option<u64>,
    /// The issue type's name, where the organization has types.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(flatten)]
    pub(crate) labels: LabelSettings,
}

impl Information {
    /// Whether an issue gets something that only the role triage may set.
    pub(crate) fn needs_triage(&self) -> bool {
        let mappings = &self.labels.mappings;
        let labels = !mappings.labels_set.is_empty() || !mappings.labels_mapping.is_empty();
        labels || !self.assignees.is_empty() || self.milestone.is_some() || self.kind.is_some()
    }
}
