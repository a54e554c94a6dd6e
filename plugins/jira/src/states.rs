//! In which states issues are: of one by a look at it, of several by one request that they share.
//!
//! Invariant: what is told of an issue stands in an answer about this very issue. One that isn't listed, or is answered 404, may be there
//! and hidden from the login.
//!
//! Source: `POST issue/bulkfetch` in <https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/>, and `POST search` in
//! <https://developer.atlassian.com/server/jira/platform/rest/>.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ticket_plugin_api::message::AskedTicket;
use ticket_plugin_api::{
    Call, Error, ErrorKind, Request, Response, Result, StateRequest, States, TicketName,
    TicketState, TicketStatus, ToldStates, utc,
};

use crate::Jira;
use crate::client::{PAGE, has_no_issue};
use crate::life::{self, Issue};

/// With less time left, no other request of several begins.
const TIME_FOR_A_REQUEST: Duration = Duration::from_secs(2);

/// An issue that is asked for by its key, and the ticket that it is.
struct Asked<'a> {
    key: String,
    ticket: &'a AskedTicket,
}

/// Issues, each of which is read for itself.
#[derive(Deserialize)]
struct List {
    issues: Vec<Value>,
    /// Data Center: how many there are, of which a page may have fewer.
    total: Option<usize>,
}

pub(crate) fn state(jira: &Jira, call: &Call, request: &StateRequest) -> Result<States> {
    let (mut told, mut asked) = (ToldStates::default(), Vec::new());
    for ticket in &request.tickets {
        let name = TicketName { url: ticket.url.clone(), id: ticket.id.clone() };
        match life::key(jira, &name) {
            Some(key) => asked.push(Asked { key: key.to_owned(), ticket }),
            None => told.tell(call, Ok(TicketStatus::of(&ticket.url, TicketState::Foreign))),
        }
    }
    let ended = ask(jira, call, &asked, &mut told);
    told.ended(call, ended)
}

/// # Errors
/// What keeps it from finding out more.
fn ask(jira: &Jira, call: &Call, asked: &[Asked], told: &mut ToldStates) -> Result<()> {
    let unlisted = match asked {
        // A look is never behind, as an index may be; it is what follows a webhook.
        [] | [_] => asked.iter().collect(),
        several => list(jira, call, several, told)?,
    };
    for one in unlisted {
        if asked.len() > 1 && call.remaining() < TIME_FOR_A_REQUEST {
            return Ok(());
        }
        let answer = life::ask(jira, call, &jira.client.rest("issue").segment(&one.key))?;
        match life::read(jira, &answer) {
            Ok(issue) => told.tell(call, status(jira, &issue, one)),
            // It may be there and hidden: that is no error.
            Err(error) if has_no_issue(&answer) => call.debug(&error.message),
            Err(error) if is_about_all(&answer, &error) => return Err(error),
            Err(error) => told.miss(call, error),
        }
    }
    Ok(())
}

/// Asks for all of them by one request. Gives those that are to be looked at one by one.
///
/// # Errors
/// What keeps it from finding out more.
fn list<'a>(
    jira: &Jira,
    call: &Call,
    asked: &'a [Asked<'a>],
    told: &mut ToldStates,
) -> Result<Vec<&'a Asked<'a>>> {
    let client = &jira.client;
    let keys: Vec<&str> = asked.iter().map(|one| one.key.as_str()).collect();
    let fields: Vec<&str> = life::fields(client).split(',').collect();
    let (resource, body) = if client.cloud {
        ("issue/bulkfetch", json!({"issueIdsOrKeys": keys, "fields": fields}))
    } else {
        let jql = format!("key in (\"{}\")", keys.join("\", \""));
        // Else the whole query is refused for one issue that isn't there.
        let lenient =
            json!({"jql": jql, "fields": fields, "maxResults": PAGE, "validateQuery": false});
        ("search", lenient)
    };
    let request = Request::post(client.rest(resource)).json(&body).changes_nothing();
    let answer = match client.send(call, request) {
        Err(cause) if cause.is_too_large() => return Ok(asked.iter().collect()),
        answer => answer?,
    };
    let listed: List = client.read(&answer, "the issues")?;
    let got = listed.issues.len();
    let mut issues = Vec::new();
    for issue in listed.issues {
        match serde_json::from_value::<Issue>(issue) {
            Ok(issue) => issues.push(issue),
            Err(cause) => {
                let why = format!("the issues: Jira lists one of which {cause}");
                told.miss(call, Error::plugin(why));
            }
        }
    }
    let mut unlisted = Vec::new();
    for one in asked {
        match issues.iter().find(|issue| is_same(&issue.key, &one.key)) {
            Some(issue) => told.tell(call, status(jira, issue, one)),
            None => unlisted.push(one),
        }
    }
    // One that was moved is listed under its new key alone. If all that came was asked for, the others didn't come.
    let was_asked = |issue: &Issue| keys.iter().any(|key| is_same(&issue.key, key));
    if issues.iter().all(was_asked) && listed.total.is_none_or(|total| total <= got) {
        unlisted.clear();
    }
    Ok(unlisted)
}

/// Whether Jira would answer a request for another issue like this, too.
fn is_about_all(answer: &Response, error: &Error) -> bool {
    let refused = matches!(answer.status, 401 | 403 | 429) || answer.retry_after().is_some();
    refused || error.kind == ErrorKind::Settings
}

/// # Errors
/// The issue's status has a category that says neither open nor closed.
fn status(jira: &Jira, issue: &Issue, asked: &Asked) -> Result<TicketStatus> {
    if !life::is_ours(jira, &issue.fields.project) {
        return Ok(TicketStatus::of(&asked.ticket.url, TicketState::Foreign));
    }
    let state = life::known_state(issue)?;
    let shown = TicketName { url: jira.client.page_of(&issue.key), id: issue.key.clone() };
    let moved = (!is_same(&issue.key, &asked.key)).then_some(shown);
    // A name that the host has is kept, in whatever case that is.
    let is_named = moved.is_none() && !asked.ticket.id.is_empty();
    Ok(TicketStatus {
        url: asked.ticket.url.clone(),
        id: if is_named { asked.ticket.id.clone() } else { issue.key.clone() },
        state,
        at: issue.fields.since.as_str().and_then(rfc_3339).unwrap_or_default(),
        detail: issue.fields.status.name.clone(),
        moved,
        ..TicketStatus::default()
    })
}

/// Jira tells keys apart without their case.
fn is_same(key: &str, other: &str) -> bool {
    key.to_lowercase() == other.to_lowercase()
}

/// A time of Jira's, whose offset has no colon.
fn rfc_3339(time: &str) -> Option<String> {
    let (local, minutes) = time.split_at_checked(time.len().checked_sub(2)?)?;
    utc(&format!("{local}:{minutes}")).or_else(|| utc(time))
}
