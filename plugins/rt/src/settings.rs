//! What an operator sets: how to log in, the queue, and what a ticket gets beside its text.

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_api::mapping::FieldMappings;
use ticket_plugin_api::{Error, Result, http};

/// A token, or a user's name and password.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Secret {
    Token {
        /// Of the user that creates the tickets; RT makes one under Settings, Auth Tokens.
        token: String,
    },
    Password {
        /// The user that creates the tickets.
        #[schemars(extend("x-ticket-public" = true))]
        username: String,
        /// The user's password.
        password: String,
    },
}

/// The queue, and what a ticket gets beside its text.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Information {
    /// The queue's name or number.
    pub(crate) queue: Queue,
    /// Who has the problem: one email address or RT user name, or a list of them.
    pub(crate) requestor: Option<Requestors>,
    #[serde(flatten)]
    pub(crate) fields: FieldMappings,
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
            Secret::Token { token } if token.trim().is_empty() => Err(Error::settings(
                "secret: token is empty; RT makes one under Settings, Auth Tokens",
            )),
            Secret::Token { token } => Ok(format!("token {}", token.trim())),
            Secret::Password { username, .. } if username.is_empty() || username.contains(':') => {
                Err(Error::settings(
                    "secret: username is empty or has a colon, which HTTP can't send",
                ))
            }
            Secret::Password { username, password } => {
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

    /// Which settings a refused login is about.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Secret::Token { .. } => "the token",
            Secret::Password { .. } => "username and password",
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
