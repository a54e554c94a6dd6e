//! From an incident to its one ticket in a backend.
//!
//! Invariant: nothing is created unless the plugin has just said that there is certainly no ticket
//! of that key, or can't search, or who asks knows better ([`Look`]).

use serde::Serialize;
use ticket_plugin_api::abi::host_side::Operation;
use ticket_plugin_api::{Retry, Ticket};

use crate::backend::{Answer, Backend, DryRun, KeyedIncident, Step, can_be_opened};
use crate::error::{Error, Kind, Result};
use crate::terminal::short_line;

/// The ticket that an incident has now.
#[derive(Debug, Serialize)]
pub(crate) struct Delivery {
    /// Whether this made the ticket; else it was there.
    pub created: bool,
    pub backend: String,
    pub key: String,
    #[serde(flatten)]
    pub ticket: Ticket,
}

/// When a ticket is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
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
pub(crate) async fn create(
    backend: &Backend,
    wanted: &KeyedIncident,
    look: Look,
) -> Result<Delivery> {
    let delivery = |created: bool, ticket: Ticket| Delivery {
        created,
        backend: backend.name.clone(),
        key: wanted.key.clone(),
        ticket,
    };
    if let Some(ticket) = carried(wanted) {
        return Ok(delivery(false, ticket));
    }
    let mut cannot_look = false;
    if look == Look::First {
        match backend.find(wanted).await {
            Ok(Answer::Given(ticket)) => return Ok(delivery(false, ticket)),
            Ok(Answer::NotFound) => {}
            Ok(Answer::Unsupported) => cannot_look = true,
            // Not knowing is not "none". Nothing was created: find doesn't.
            Err(error) => return Err(looking(error)),
        }
    }
    match backend.create(wanted).await {
        Ok(mut ticket) => {
            if cannot_look && let Some(warning) = backend.lacks_find() {
                ticket.warnings.insert(0, warning);
            }
            Ok(delivery(true, ticket))
        }
        Err(error) if error.retry == Retry::Unknown && look != Look::Never => {
            settle(backend, wanted, error).await.map(|ticket| delivery(true, ticket))
        }
        Err(error) => Err(error),
    }
}

/// Remarks that are told of one ticket; of more only the number is.
const REMARKS: usize = 3;
/// Bytes of one remark.
const LONGEST_REMARK: usize = 200;

/// What isn't on a ticket as it was asked for, on one line that is safe for a terminal. None if all is.
pub(crate) fn remarks(ticket: &Ticket) -> Option<String> {
    let lacks = (!ticket.missing_fields.is_empty())
        .then(|| format!("lacks {}", ticket.missing_fields.join(", ")));
    let all: Vec<&String> = lacks.iter().chain(&ticket.warnings).collect();
    let told = all.iter().take(REMARKS).map(|remark| short_line(remark, LONGEST_REMARK));
    let mut told: Vec<String> = told.collect();
    if all.len() > REMARKS {
        told.push(format!("and {} more", all.len() - REMARKS));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// What `create` would do, without doing it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Plan {
    /// Nothing: there is a ticket.
    Existing(Ticket),
    /// These requests, as they would go out, without secrets; last what the plugin would make.
    /// Where an answer would decide how to go on, they go on as if there were no ticket.
    Steps(Vec<Step>),
}

/// Bytes of what a person says with a step.
pub(crate) const LONGEST_TEXT: usize = 64 << 10;

/// What a person says with a step.
///
/// # Errors
/// It is empty, too long, or has a NUL.
pub(crate) fn said(text: &str) -> Result<&str> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST_TEXT || text.contains('\0') {
        let what = format!("the text must have 1 to {LONGEST_TEXT} bytes, and no NUL");
        return Err(Error::usage(what));
    }
    Ok(text)
}

/// The ticket at a URL that a person gives, in a backend whose endpoint has that scheme.
///
/// # Errors
/// That is no URL of a ticket.
pub(crate) fn made_by_hand(url: &str, scheme: &str) -> Result<Ticket> {
    if !can_be_opened(url, scheme) {
        let help = "write the whole URL, as the browser shows it";
        return Err(Error::usage("that is no URL of a ticket").help(help));
    }
    Ok(Ticket { url: url.to_owned(), ..Ticket::default() })
}

/// Tells what `create` would do.
///
/// # Errors
/// The plugin offers no dry run, or failed in it.
pub(crate) async fn plan(backend: &Backend, wanted: &KeyedIncident, look: Look) -> Result<Plan> {
    if let Some(ticket) = carried(wanted) {
        return Ok(Plan::Existing(ticket));
    }
    let mut steps = Vec::new();
    if look == Look::First {
        let DryRun { answer, requests } = backend.dry_run(Operation::Find, wanted).await;
        match answer {
            Ok(Answer::Given(ticket)) => return Ok(Plan::Existing(ticket)),
            Ok(Answer::NotFound | Answer::Unsupported) => {}
            // It went as far as it could without an answer.
            Err(_) if !requests.is_empty() => {}
            Err(error) => return Err(error),
        }
        steps = requests;
    }
    let DryRun { answer, requests } = backend.dry_run(Operation::Create, wanted).await;
    let sends = !requests.is_empty();
    steps.extend(requests);
    match answer {
        Ok(Answer::Given(ticket)) => {
            steps.extend(ticket.preview.map(|preview| Step::Preview { preview }));
        }
        Ok(Answer::NotFound | Answer::Unsupported) => {}
        Err(error) if error.kind == Kind::Client && sends => {}
        Err(error) => return Err(error),
    }
    Ok(Plan::Steps(steps))
}

/// The ticket that the incident itself says it has.
pub(crate) fn carried(wanted: &KeyedIncident) -> Option<Ticket> {
    let url = wanted.incident.ticket_url.trim();
    (!url.is_empty()).then(|| Ticket { url: url.to_owned(), ..Ticket::default() })
}

fn looking(error: Error) -> Error {
    let said = error.retry == Retry::Later && error.kind == Kind::Client;
    let none = if said { "" } else { "; none was created" };
    let message = format!("{} (while looking for a ticket{none})", error.message);
    Error { message, ..error }
}

/// After a call of which nobody knows what it did: asks whether there is a ticket now.
async fn settle(backend: &Backend, wanted: &KeyedIncident, error: Error) -> Result<Ticket> {
    match backend.find(wanted).await {
        Ok(Answer::Given(mut ticket)) => {
            ticket.warnings.push(format!(
                "the ticket was created, though its creation seemed to fail: {error}"
            ));
            Ok(ticket)
        }
        Ok(Answer::NotFound) => Err(Error {
            // The ticket system may still be at work on it.
            message: format!("{} (looked for it: there is no ticket yet)", error.message),
            retry: Retry::Unknown,
            ..error
        }),
        Ok(Answer::Unsupported) => Err(error),
        Err(cause) => {
            tracing::debug!("looking for the ticket failed too: {cause}");
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_few_and_short_and_stay_on_their_line() {
        assert_eq!(remarks(&Ticket::default()), None);
        let ticket = |missing: &[&str], warnings: &[String]| Ticket {
            missing_fields: missing.iter().map(|&field| field.to_owned()).collect(),
            warnings: warnings.to_vec(),
            ..Ticket::default()
        };
        let said = remarks(&ticket(&["location", "rack"], &["RT left out\n\u{1b}[2J".to_owned()]));
        assert_eq!(said.unwrap(), "lacks location, rack; RT left out\\n\\u{1b}[2J");
        let many = remarks(&ticket(&["x"], &vec!["w".repeat(1000); 50])).unwrap();
        assert!(many.len() < 1000 && many.ends_with("; and 48 more"), "{many}");
    }
}
