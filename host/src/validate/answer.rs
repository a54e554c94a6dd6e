//! What a plugin's function answered, and whether it may answer that.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ticket_plugin_api::abi::host_side::{Operation, Returned};
use ticket_plugin_api::abi::status;
use ticket_plugin_api::message::Checks;
use ticket_plugin_api::{Error as PluginError, ErrorKind, Ticket};
use url::Url;

use super::{Verdict, fail};

/// What a plugin's function answered, if it kept the rules.
#[derive(Debug)]
pub(super) enum Answer {
    Ticket(Ticket),
    Checks(Checks),
    NotFound,
    Unsupported,
    Error(PluginError),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Ticket(ticket) => write!(f, "the ticket {}", ticket.url),
            Answer::Checks(checks) => write!(f, "{} checks", checks.checks.len()),
            Answer::NotFound => f.write_str("NOT_FOUND"),
            Answer::Unsupported => f.write_str("UNSUPPORTED"),
            Answer::Error(PluginError { kind, message, retry, .. }) => {
                write!(f, "a {kind:?} error ({retry:?}): {message}")
            }
        }
    }
}

/// What a function that has a reply of its own answered, if it kept the rules.
#[derive(Debug)]
pub(super) enum Said<T> {
    Reply(T),
    NotFound,
    Unsupported,
    Error(PluginError),
}

impl<T: fmt::Debug> fmt::Display for Said<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Reply(reply) => write!(f, "{reply:?}"),
            Said::NotFound => f.write_str("NOT_FOUND"),
            Said::Unsupported => f.write_str("UNSUPPORTED"),
            Said::Error(PluginError { kind, message, retry, partial, .. }) => {
                let partial = if *partial { ", partial" } else { "" };
                write!(f, "a {kind:?} error ({retry:?}{partial}): {message}")
            }
        }
    }
}

/// The errors that have a message.
const ERRORS: RangeInclusive<i32> = status::SETTINGS_ERROR..=status::PLUGIN_ERROR;

/// Whether a function returned a status that there is, and an error with a message.
fn has_status(name: &str, returned: &Returned) -> Result<(), Verdict> {
    let code = returned.status;
    if !(status::OK..=status::UNSUPPORTED).contains(&code) {
        return Err(fail(format!("{name}() returned {code}, which is not a status")));
    }
    if ERRORS.contains(&code) && message(returned).trim().is_empty() {
        return Err(fail(format!(
            "{name}() returned the error {code} and no message for the operator"
        )));
    }
    Ok(())
}

/// What a function said that has a reply of its own. `Err` says that it may not return that.
pub(super) fn said<T: DeserializeOwned>(
    name: &str,
    returned: Returned,
) -> Result<Said<T>, Verdict> {
    has_status(name, &returned)?;
    let code = returned.status;
    match returned.parse::<T>() {
        Ok(Some(reply)) => Ok(Said::Reply(reply)),
        Ok(None) => Ok(Said::NotFound),
        Err(error) if error.kind == ErrorKind::Unsupported => Ok(Said::Unsupported),
        Err(error) if ERRORS.contains(&code) => Ok(Said::Error(error)),
        Err(error) => Err(fail(format!("{name}(): {}", error.message))),
    }
}

/// Whether what a function returned is one of the things that it may return, and a ticket is one that a person can open.
pub(super) fn judge(
    operation: Operation,
    returned: Returned,
    endpoint: &str,
) -> Result<Answer, Verdict> {
    let answer = parsed(operation, returned)?;
    let Answer::Ticket(ticket) = &answer else { return Ok(answer) };
    let is_preview = ticket.preview.is_some() && ticket.url.is_empty();
    match bad_url(&ticket.url, endpoint) {
        Some(why) if !is_preview => {
            let name = operation.name();
            Err(fail(format!("{name}() replied the URL {:?}: {why}", ticket.url)))
        }
        _ => Ok(answer),
    }
}

/// Whether what a function returned is one of the things that it may return, whatever the ticket's URL is: it may have that
/// from the ticket system.
pub(super) fn parsed(operation: Operation, returned: Returned) -> Result<Answer, Verdict> {
    let name = operation.name();
    has_status(name, &returned)?;
    let (code, errors) = (returned.status, ERRORS);
    if operation == Operation::Check {
        return match returned.parse::<Checks>() {
            Ok(Some(checks)) => Ok(Answer::Checks(checks)),
            Ok(None) => Err(fail("check() returned NOT_FOUND")),
            Err(error) if errors.contains(&code) => Ok(Answer::Error(error)),
            Err(error) => Err(fail(format!("check(): {}", error.message))),
        };
    }
    match returned.parse::<Ticket>() {
        Ok(Some(ticket)) => Ok(Answer::Ticket(ticket)),
        Ok(None) if operation == Operation::Create => Err(fail("create() returned NOT_FOUND")),
        Ok(None) => Ok(Answer::NotFound),
        Err(error) if error.kind == ErrorKind::Unsupported => Ok(Answer::Unsupported),
        Err(error) if errors.contains(&code) => Ok(Answer::Error(error)),
        Err(error) => Err(fail(format!("{name}(): {}", error.message))),
    }
}

/// What is wrong with a ticket's URL, if anything is.
fn bad_url(text: &str, endpoint: &str) -> Option<&'static str> {
    let own = Url::parse(endpoint).ok();
    let own = own.as_ref().map_or("https", Url::scheme);
    match Url::parse(text) {
        Err(_) => Some("it is not an absolute URL"),
        Ok(url) if !["http", "https", own].contains(&url.scheme()) => {
            Some("nobody can open it: not http, https or the endpoint's own scheme")
        }
        Ok(_) if text.len() > 4096 || text.contains(char::is_whitespace) => {
            Some("it is over 4096 bytes, or has white space")
        }
        Ok(_) => None,
    }
}

/// The message in the error that a plugin's function replied; empty if it replied none.
pub(super) fn message(returned: &Returned) -> String {
    let reply = returned.reply.as_ref().ok().and_then(Option::as_ref);
    let json = reply.and_then(|reply| serde_json::from_str::<Value>(reply).ok());
    json.and_then(|json| Some(json["message"].as_str()?.to_owned())).unwrap_or_default()
}
