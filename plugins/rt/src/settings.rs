//! What an operator sets: how to log in, what webhooks are signed with, the queue, and what a ticket gets beside its text.

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_api::mapping::FieldMappings;
use ticket_plugin_api::{Error, Result, TicketState, http};

/// A token, or a user's name and password.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Secret {
    Token {
        /// Of the user that creates the tickets; RT makes one under Settings, Auth Tokens.
        token: String,
        /// What the scrip in RT signs its webhooks with. Without it no webhook is believed.
        webhook_secret: Option<String>,
    },
    Password {
        /// The user that creates the tickets.
        #[schemars(extend("x-ticket-public" = true))]
        username: String,
        /// The user's password.
        password: String,
        /// What the scrip in RT signs its webhooks with. Without it no webhook is believed.
        webhook_secret: Option<String>,
    },
}

/// The queue, and what a ticket gets beside its text.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Information {
    /// The queue's name or number.
    pub(crate) queue: Queue,
    /// Who has the problem: one email address or RT user name, or a list of them.
    pub(crate) requestor: Option<Requestors>,
    /// The status that a ticket gets when it is closed.
    #[serde(default = "resolved")]
    pub(crate) close_status: String,
    /// The status that a closed ticket gets when it is opened again.
    #[serde(default = "open")]
    pub(crate) reopen_status: String,
    /// What the queue's other statuses mean, if its lifecycle isn't RT's own.
    #[serde(default)]
    pub(crate) statuses: Statuses,
    #[serde(flatten)]
    pub(crate) fields: FieldMappings,
}

fn resolved() -> String {
    "resolved".to_owned()
}

fn open() -> String {
    "open".to_owned()
}

/// Statuses beside RT's own, which are known: new, open, stalled, resolved, rejected, deleted.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct Statuses {
    /// Somebody still has to do something.
    #[serde(default)]
    open: Vec<String>,
    /// It is done.
    #[serde(default)]
    closed: Vec<String>,
    /// It is closed, and was not done.
    #[serde(default)]
    cancelled: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Queue {
    Name(String),
    Number(u32),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Requestors {
    One(String),
    Several(Vec<String>),
}

impl Secret {
    /// The value of the Authorization header.
    pub(crate) fn authorization(&self) -> Result<String> {
        match self {
            Secret::Token { token, .. } if token.trim().is_empty() => Err(Error::settings(
                "secret: token is empty; RT makes one under Settings, Auth Tokens",
            )),
            Secret::Token { token, .. } => Ok(format!("token {}", token.trim())),
            Secret::Password { username, .. } if username.is_empty() || username.contains(':') => {
                Err(Error::settings(
                    "secret: username is empty or has a colon, which HTTP can't send",
                ))
            }
            Secret::Password { username, password, .. } => {
                // RT 5 reads the name as UTF-8 and compares the password's bytes as Latin-1.
                let password: Option<Vec<u8>> =
                    password.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                let password = password.ok_or_else(|| {
                    Error::settings(
                        "secret: password has characters outside Latin-1, which RT can't read \
                         from a login over HTTP; use a token instead",
                    )
                })?;
                Ok(http::basic_auth(username.as_bytes(), &password))
            }
        }
    }

    /// What webhooks are signed with; None if it isn't set, or empty, which everybody knows.
    pub(crate) fn into_webhook_secret(self) -> Option<String> {
        let (Secret::Token { webhook_secret, .. } | Secret::Password { webhook_secret, .. }) = self;
        webhook_secret.filter(|secret| !secret.is_empty())
    }

    /// Which settings a refused login is about.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Secret::Token { .. } => "the token",
            Secret::Password { .. } => "username and password",
        }
    }
}

impl Information {
    /// Whether the statuses that are set go together.
    pub(crate) fn verify(&self) -> Result<()> {
        let (close, reopen) = (&self.close_status, &self.reopen_status);
        if !matches!(self.meaning(close), TicketState::Closed | TicketState::Cancelled) {
            return Err(Error::settings(format!(
                "information: close_status {close:?} is no status of a closed ticket"
            )));
        }
        if self.meaning(reopen) != TicketState::Open {
            return Err(Error::settings(format!(
                "information: reopen_status {reopen:?} is no status of an open ticket"
            )));
        }
        Ok(())
    }

    /// What a ticket's status means. RT doesn't tell its upper from its lower case.
    pub(crate) fn meaning(&self, status: &str) -> TicketState {
        let status = status.to_lowercase();
        let is = |name: &String| name.to_lowercase() == status;
        let Statuses { open, closed, cancelled } = &self.statuses;
        match status.as_str() {
            "deleted" => TicketState::Gone,
            _ if open.iter().any(is) => TicketState::Open,
            _ if closed.iter().any(is) => TicketState::Closed,
            _ if cancelled.iter().any(is) => TicketState::Cancelled,
            "new" | "open" | "stalled" => TicketState::Open,
            "resolved" => TicketState::Closed,
            "rejected" => TicketState::Cancelled,
            _ if is(&self.close_status) => TicketState::Closed,
            _ if is(&self.reopen_status) => TicketState::Open,
            _ => TicketState::Unknown,
        }
    }
}

impl Queue {
    pub(crate) fn text(&self) -> String {
        match self {
            Queue::Name(name) => name.clone(),
            Queue::Number(number) => number.to_string(),
        }
    }
}

impl Requestors {
    pub(crate) fn list(&self) -> Vec<String> {
        match self {
            Requestors::One(one) => vec![one.clone()],
            Requestors::Several(several) => several.clone(),
        }
    }
}
