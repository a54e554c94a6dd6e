//! What an operator sets: the token, the repository, and what an issue gets beside its text.

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_api::mapping::LabelMappings;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Secret {
    /// A personal access token, fine-grained or classic, or an app's installation token.
    pub(crate) token: String,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Information {
    /// The repository, as `owner/name`.
    pub(crate) project_namespace_and_name: String,
    /// User names.
    #[serde(default)]
    pub(crate) assignees: Vec<String>,
    /// The milestone's number, as in its URL.
    pub(crate) milestone: Option<u64>,
    /// The issue type's name, where the organization has types.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// Whether labels that the repository lacks are made.
    #[serde(default)]
    pub(crate) create_missing_labels: bool,
    #[serde(flatten)]
    pub(crate) labels: LabelMappings,
}
