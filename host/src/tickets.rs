//! From an incident to its one ticket in a backend.
//!
//! Invariant: nothing is created unless the plugin has just said that there is certainly no ticket
//! of that key, or can't search, or who asks knows better ([`Look`]).

use serde::Serialize;
use ticket_plugin_api::abi::host_side::Operation;
use ticket_plugin_api::{Retry, Ticket};

use crate::backend::{Backend, Request, is_unsupported};
use crate::error::{Error, Kind, Result};

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Whether this made the ticket; else it was there.
    pub created: bool,
    pub backend: String,
    pub key: String,
    #[serde(flatten)]
    pub ticket: Ticket,
}

/// When a ticket is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Before one is made.
    First,
    /// Only after a call of which nobody knows what it did: there was certainly none before.
    InDoubt,
    /// Not at all: there may be an older one, which could not be told from a new one.
    Never,
}

/// The incident's ticket: the one that it says it has, the one that is found, or a new one.
///
/// # Errors
/// The error's `retry` says whether there may be a ticket all the same.
pub async fn create(backend: &Backend, request: &Request, look: Look) -> Result<Outcome> {
    let outcome = |created: bool, ticket: Ticket| Outcome {
        created,
        backend: backend.name.clone(),
        key: request.key.clone(),
        ticket,
    };
    if let Some(ticket) = carried(request) {
        return Ok(outcome(false, ticket));
    }
    let mut warnings = Vec::new();
    if look == Look::First {
        match backend.find(request).await {
            Ok(Some(ticket)) => return Ok(outcome(false, ticket)),
            Ok(None) => {}
            Err(error) if is_unsupported(&error) => warnings.push(format!(
                "the plugin {} can't look for tickets: creating this one again makes a second",
                backend.manifest.name
            )),
            // Not knowing is not "none". Nothing was created: find doesn't.
            Err(error) => return Err(looking(error)),
        }
    }
    match backend.create(request).await {
        Ok(mut ticket) => {
            ticket.warnings.append(&mut warnings);
            Ok(outcome(true, ticket))
        }
        Err(error) if error.retry == Retry::Unknown && look != Look::Never => {
            settle(backend, request, error, outcome).await
        }
        Err(error) => Err(error),
    }
}

/// What `create` would do, without doing it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// Nothing: there is a ticket.
    Existing(Ticket),
    /// These requests, as they would go out, without secrets; last what the plugin would make.
    /// Where an answer would decide how to go on, they go on as if there were no ticket.
    Steps(Vec<String>),
}

/// Tells what `create` would do.
pub async fn plan(backend: &Backend, request: &Request, force: bool) -> Result<Plan> {
    if let Some(ticket) = carried(request) {
        return Ok(Plan::Existing(ticket));
    }
    let mut steps = Vec::new();
    if !force {
        let (found, shown) = backend.dry_run(Operation::Find, request).await;
        match found {
            Ok(Some(ticket)) => return Ok(Plan::Existing(ticket)),
            Ok(None) => {}
            // It went as far as it could without an answer.
            Err(error) if !shown.is_empty() || is_unsupported(&error) => {}
            Err(error) => return Err(error),
        }
        steps = shown;
    }
    let (made, shown) = backend.dry_run(Operation::Create, request).await;
    steps.extend(shown.iter().cloned());
    match made {
        Ok(ticket) => steps.extend(ticket.and_then(|ticket| ticket.preview)),
        Err(error) if error.kind == Kind::Client && !shown.is_empty() => {}
        Err(error) => return Err(error),
    }
    Ok(Plan::Steps(steps))
}

/// The ticket that the incident itself says it has.
fn carried(request: &Request) -> Option<Ticket> {
    let url = request.incident.ticket_url.trim();
    (!url.is_empty()).then(|| Ticket { url: url.to_owned(), ..Ticket::default() })
}

fn looking(error: Error) -> Error {
    let said = error.retry == Retry::Later && error.kind == Kind::Client;
    let none = if said { "" } else { "; none was created" };
    let message = format!("{} (while looking for a ticket{none})", error.message);
    Error { message, ..error }
}

/// After a call of which nobody knows what it did: asks whether there is a ticket now.
async fn settle(
    backend: &Backend,
    request: &Request,
    error: Error,
    outcome: impl Fn(bool, Ticket) -> Outcome,
) -> Result<Outcome> {
    match backend.find(request).await {
        Ok(Some(mut ticket)) => {
            ticket.warnings.push(format!(
                "the ticket was created, though its creation seemed to fail: {error}"
            ));
            Ok(outcome(true, ticket))
        }
        Ok(None) => Err(Error {
            // The ticket system may still be at work on it.
            message: format!("{} (looked for it: there is no ticket yet)", error.message),
            retry: Retry::Unknown,
            ..error
        }),
        Err(cause) => {
            tracing::debug!("looking for the ticket failed too: {cause}");
            Err(error)
        }
    }
}
