//! What an operator sets: the token, the webhook's secret, the project, and what an issue gets beside its text.

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_forge::LabelSettings;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Secret {
    /// A personal, group or project access token with the scope `api`.
    pub(crate) token: String,
    /// The signing token of the project's webhook on GitLab (`whsec_...`), or its secret token. Without it no webhook is believed.
    pub(crate) webhook_secret: Option<String>,
}

/// The project, and what an issue gets beside its text.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Information {
    /// The project's path, as `group/sub-group/name`, or its number.
    pub(crate) project_namespace_and_name: Project,
    /// Whether only the project's members may see the issue.
    #[serde(default)]
    pub(crate) confidential: bool,
    /// The numbers of the users who are assigned to the issue; more than one needs GitLab Premium.
    #[serde(default)]
    pub(crate) assignee_ids: Vec<u64>,
    /// The day on which the issue is due, like `2026-12-31`.
    pub(crate) due_date: Option<String>,
    /// `issue` (the default), `incident`, `task` or `test_case`.
    pub(crate) issue_type: Option<String>,
    #[serde(flatten)]
    pub(crate) labels: LabelSettings,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Project {
    Path(String),
    Number(u64),
}

impl Project {
    pub(crate) fn text(&self) -> String {
        match self {
            Project::Path(path) => path.trim_matches('/').to_owned(),
            Project::Number(number) => number.to_string(),
        }
    }
}
