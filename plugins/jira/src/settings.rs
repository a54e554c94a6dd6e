//! What an operator sets: how to log in, the webhook's secret, the project, and what an issue gets beside its text.

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_api::mapping::FieldMappings;
use ticket_plugin_api::{Error, Result, http};

/// Jira Cloud: email and token. Data Center: a personal access token.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Secret {
    Cloud {
        /// The account that creates the issues.
        #[schemars(extend("x-ticket-public" = true))]
        email: String,
        /// Its API token: <https://id.atlassian.com/manage-profile/security/api-tokens>.
        token: String,
        /// The secret of the webhook in Jira, which signs what it sends. Without it no webhook is believed.
        webhook_secret: Option<String>,
    },
    DataCenter {
        /// A personal access token: Profile, Personal Access Tokens.
        token: String,
        /// The secret of the webhook in Jira, which signs what it sends. Without it no webhook is believed.
        webhook_secret: Option<String>,
    },
}

/// The project, and what an issue gets beside its text.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Information {
    /// The project's key or number.
    pub(crate) project_key_or_id: Project,
    /// The name of the issue type.
    #[serde(rename = "type", default = "task")]
    pub(crate) kind: String,
    /// 2 (wiki markup) or 3 (Atlassian Document Format, only Cloud); 3 for Cloud if not set.
    #[schemars(range(min = 2, max = 3))]
    pub(crate) api_version: Option<u8>,
    /// The transition that closes an issue, or the status that it leads to, by name or id; if not set, the plugin takes one that leads
    /// to a status of the category "done".
    pub(crate) close_transition: Option<String>,
    /// The same of the one that opens an issue again, which leads to a status of another category.
    pub(crate) reopen_transition: Option<String>,
    #[serde(flatten)]
    pub(crate) fields: FieldMappings,
}

fn task() -> String {
    "Task".to_owned()
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Project {
    Key(String),
    Id(u64),
}

impl Secret {
    pub(crate) fn is_cloud(&self) -> bool {
        matches!(self, Secret::Cloud { .. })
    }

    pub(crate) fn webhook_secret(&self) -> Option<&str> {
        let (Secret::Cloud { webhook_secret, .. } | Secret::DataCenter { webhook_secret, .. }) =
            self;
        webhook_secret.as_deref()
    }

    /// The value of the Authorization header.
    pub(crate) fn authorization(&self) -> Result<String> {
        let (Secret::Cloud { token, .. } | Secret::DataCenter { token, .. }) = self;
        let token = token.trim();
        if token.is_empty() {
            return Err(Error::settings("secret: token is empty; make one in Jira's profile"));
        }
        match self {
            Secret::Cloud { email, .. } if email.trim().is_empty() => {
                Err(Error::settings("secret: email is empty; leave it out for Jira Data Center"))
            }
            Secret::Cloud { email, .. } => {
                Ok(http::basic_auth(email.trim().as_bytes(), token.as_bytes()))
            }
            Secret::DataCenter { .. } => Ok(format!("Bearer {token}")),
        }
    }
}

impl Project {
    pub(crate) fn text(&self) -> String {
        match self {
            Project::Key(key) => key.trim().to_owned(),
            Project::Id(id) => id.to_string(),
        }
    }

    /// Whether it is named by its number, which no key is.
    pub(crate) fn is_id(&self) -> bool {
        self.text().bytes().all(|byte| byte.is_ascii_digit())
    }
}
