//! What happens to an issue after it was made: a comment, closing, opening again.
//!
//! Invariant: an issue that isn't the project's, or of which that or its state isn't known, is written to by nobody here; a step's comment
//! is written once, however often the step is tried. A state is told by the category of the issue's status, since names are localized, and
//! a resolution may be set on an issue that is open.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ticket_plugin_api::{
    Action, Call, Error, Format, Incident, Request, Response, Result, Retry, Step, TicketName,
    TicketState, UpdateRequest, Updated, Url,
};

use crate::Jira;
use crate::client::{Client, PAGE, PROPERTY, PageError, anchor, has_no_issue};
use crate::transition::{self, Plan};

/// What is read of an issue.
#[derive(Deserialize)]
pub(crate) struct Issue {
    /// Another one than was asked for, if the issue was moved.
    pub(crate) key: String,
    pub(crate) fields: Fields,
}

#[derive(Deserialize)]
pub(crate) struct Fields {
    pub(crate) status: Status,
    pub(crate) project: Project,
    /// Since when its status is of this category; only Cloud tells.
    #[serde(rename = "statuscategorychangedate", default)]
    pub(crate) since: Value,
}

#[derive(Deserialize)]
pub(crate) struct Project {
    id: String,
    key: String,
}

#[derive(Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(rename = "statusCategory")]
    pub(crate) category: Category,
}

#[derive(Deserialize)]
pub(crate) struct Category {
    pub(crate) key: String,
}

#[derive(Deserialize)]
struct Comments {
    comments: Vec<Comment>,
    total: usize,
}

/// What Cloud tells of comments that are asked for by their ids.
#[derive(Deserialize)]
struct ById {
    values: Vec<Comment>,
}

#[derive(Deserialize)]
struct Comment {
    id: String,
    #[serde(default)]
    body: Value,
    properties: Option<Vec<Property>>,
}

#[derive(Deserialize)]
struct Property {
    key: String,
    #[serde(default)]
    value: Value,
}

/// A page of the comments.
struct Page {
    ids: Vec<String>,
    total: usize,
    has_mark: bool,
}

/// One reading of all comments.
struct Reading {
    has_mark: bool,
    pages: usize,
    ids: Vec<String>,
}

pub(crate) fn update(
    jira: &Jira,
    call: &Call,
    request: &UpdateRequest<Incident>,
) -> Result<Updated> {
    let step = &request.step;
    let not_done = |state| Ok(Updated { state, ..Updated::default() });
    let Some(key) = key(jira, &request.ticket) else { return not_done(TicketState::Foreign) };
    let issue = jira.client.rest("issue").segment(key);
    if request.dry_run {
        return rehearse(jira, call, &issue, step);
    }
    let seen = look(jira, call, &issue)?;
    if !is_ours(jira, &seen.fields.project) {
        return not_done(TicketState::Foreign);
    }
    let was = known_state(&seen)?;
    let issue = jira.client.rest("issue").segment(&seen.key);
    let mut written = request.again && has_mark(jira, call, &issue, step)?;
    if (was == TicketState::Open) == (step.action == Action::Reopen) {
        // If the comment isn't there, a person was faster.
        return Ok(Updated { done: written, state: was, ..Updated::default() });
    }
    let told = |written| move |error: Error| if written { error.partial() } else { error };
    // Whether there is a way is found out before anything is written.
    let plan = match step.action {
        Action::Close | Action::Reopen => {
            Some(transition::plan(jira, call, &issue, step).map_err(told(written))?)
        }
        Action::Comment | Action::Other => None,
    };
    let mut warnings = Vec::new();
    if !written && let Some(comment) = comment(jira, call, step, &mut warnings)? {
        write(jira, call, &issue, &comment)?;
        written = true;
    }
    let state = match &plan {
        None => was,
        Some(plan) => change_state(jira, call, &issue, step.action, plan).map_err(told(written))?,
    };
    warnings.extend(plan.into_iter().flat_map(|plan| plan.warnings));
    Ok(Updated { done: true, state, warnings, ..Updated::default() })
}

/// Asks for what the step asks for. In a dry run the host shows each request, and answers none: so the transition isn't known.
fn rehearse(jira: &Jira, call: &Call, issue: &Url, step: &Step) -> Result<Updated> {
    let send = |request| jira.client.send(call, request).map(drop).map_err(Error::from);
    let moves = matches!(step.action, Action::Close | Action::Reopen);
    let mut last = ask(jira, call, issue).map(drop);
    if moves {
        last = send(Request::get(transition::list(issue)));
    }
    if let Some(comment) = comment(jira, call, step, &mut Vec::new())? {
        last = write(jira, call, issue, &comment);
    }
    if moves {
        let named = transition::named(jira, step.action).unwrap_or("the one that is found then");
        let given = transition::given(step);
        let fields = given.into_iter().filter(|(name, _)| !transition::is_kept(name));
        let fields: Map<String, Value> = fields.collect();
        let body = json!({"transition": {"id": named}, "fields": fields});
        last = send(Request::post(issue.clone().segment("transitions")).json(&body));
    }
    last.map(|()| Updated::default())
}

/// The key of the issue that a ticket is, if it can be one of this Jira's.
pub(crate) fn key<'a>(jira: &Jira, ticket: &'a TicketName) -> Option<&'a str> {
    let key = match ticket.url.as_str() {
        "" => Some(ticket.id.as_str()),
        url => jira.client.key_in(url),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    key.filter(|key| {
        let parts = key.rsplit_once('-');
        parts.is_some_and(|(project, number)| is_word(project) && is_number(number))
    })
}

/// The fields that tell an issue's state.
pub(crate) fn fields(client: &Client) -> &'static str {
    match client.cloud {
        true => "status,project,statuscategorychangedate",
        false => "status,project",
    }
}

fn look(jira: &Jira, call: &Call, issue: &Url) -> Result<Issue> {
    read(jira, &ask(jira, call, issue)?)
}

pub(crate) fn ask(jira: &Jira, call: &Call, issue: &Url) -> Result<Response> {
    let url = issue.clone().query("fields", fields(&jira.client));
    Ok(jira.client.send(call, Request::get(url))?)
}

pub(crate) fn read(jira: &Jira, answer: &Response) -> Result<Issue> {
    jira.client.read(answer, "the issue").map_err(|error| match has_no_issue(answer) {
        // It concerns this ticket, and the others can be all right.
        true => Error::creation(format!(
            "{}; it was deleted, or the login may no longer see it: Jira says the same of both",
            error.message
        )),
        false => error,
    })
}

pub(crate) fn is_ours(jira: &Jira, project: &Project) -> bool {
    let ours = &jira.information.project_key_or_id;
    match ours.is_id() {
        true => project.id == ours.text(),
        false => project.key.to_lowercase() == ours.text().to_lowercase(),
    }
}

impl Status {
    /// Open or closed, by the categories that Jira has for that; [`TicketState::Unknown`] in another one.
    pub(crate) fn state(&self) -> TicketState {
        match self.category.key.as_str() {
            "new" | "indeterminate" => TicketState::Open,
            "done" => TicketState::Closed,
            _ => TicketState::Unknown,
        }
    }
}

pub(crate) fn known_state(issue: &Issue) -> Result<TicketState> {
    let status = &issue.fields.status;
    match status.state() {
        TicketState::Unknown => Err(Error::creation(format!(
            "issue {}: its status {} has the category {:?}, which says neither open nor closed; give the status one of To Do, In \
             Progress and Done",
            issue.key, status.name, status.category.key
        ))),
        state => Ok(state),
    }
}

/// Whether the step's comment is there. Of several pages that is believed when two readings agree: a comment that is removed meanwhile
/// moves others onto a page that was read already.
fn has_mark(jira: &Jira, call: &Call, issue: &Url, step: &Step) -> Result<bool> {
    let first = read_comments(jira, call, issue, step)?;
    if first.has_mark || first.pages < 2 {
        return Ok(first.has_mark);
    }
    let second = read_comments(jira, call, issue, step)?;
    if second.has_mark || second.ids == first.ids {
        return Ok(second.has_mark);
    }
    Err(Error::client("the comments: some are made or removed while they are read"))
}

/// Reads the comments until one has the mark.
fn read_comments(jira: &Jira, call: &Call, issue: &Url, step: &Step) -> Result<Reading> {
    let what = "the comments";
    let mut reading = Reading { has_mark: false, pages: 0, ids: Vec::new() };
    let mut size = PAGE;
    loop {
        let page = match page(jira, call, issue, step, reading.ids.len(), size) {
            Err(PageError::Http(cause)) if cause.is_too_large() && size > 1 => {
                size /= 2;
                continue;
            }
            Err(PageError::Http(cause)) => {
                return Err(call.unfinished(what, reading.ids.len(), cause));
            }
            page => page?,
        };
        let got = page.ids.len();
        reading.pages += 1;
        reading.has_mark = page.has_mark;
        reading.ids.extend(page.ids);
        if reading.has_mark || reading.ids.len() >= page.total {
            return Ok(reading);
        }
        if got == 0 {
            return Err(Error::client(format!("{what}: Jira's pages don't add up to all of them")));
        }
    }
}

/// The page of at most `size` comments behind the first `start` ones.
fn page(
    jira: &Jira,
    call: &Call,
    issue: &Url,
    step: &Step,
    start: usize,
    size: usize,
) -> std::result::Result<Page, PageError> {
    let client = &jira.client;
    let url = issue.clone().segment("comment").query("expand", "properties");
    let url = url.query("startAt", &start.to_string()).query("maxResults", &size.to_string());
    let answer = client.send(call, Request::get(url)).map_err(PageError::Http)?;
    let read: Comments = client.read(&answer, "the comments").map_err(PageError::Refused)?;
    let ids: Vec<String> = read.comments.iter().map(|comment| comment.id.clone()).collect();
    let has_mark = match client.cloud {
        true => on_cloud(jira, call, &ids, step)?,
        false => on_server(&read.comments, step).map_err(PageError::Refused)?,
    };
    Ok(Page { ids, total: read.total, has_mark })
}

/// Whether one of the comments has the step's mark, as Data Center tells them: where it shows no properties, there is the anchor.
fn on_server(comments: &[Comment], step: &Step) -> Result<bool> {
    let anchor = anchor(&mark(step));
    let mut found = false;
    for comment in comments {
        let Some(text) = comment.body.as_str() else {
            return Err(Error::plugin(format!("comment {}: Jira shows no text of it", comment.id)));
        };
        found |= comment.is_marked(step) || text.contains(&anchor);
    }
    Ok(found)
}

/// Whether one of the comments has the step's mark, as Cloud tells them: only where they are asked for by their ids does its reference
/// promise their properties.
fn on_cloud(
    jira: &Jira,
    call: &Call,
    ids: &[String],
    step: &Step,
) -> std::result::Result<bool, PageError> {
    if ids.is_empty() {
        return Ok(false);
    }
    let numbers: Vec<u64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
    let url = jira.client.rest("comment").segment("list").query("expand", "properties");
    let request = Request::post(url).json(&json!({"ids": numbers})).changes_nothing();
    let answer = jira.client.send(call, request).map_err(PageError::Http)?;
    let read = jira.client.read(&answer, "the comments' properties");
    let ById { values } = read.map_err(PageError::Refused)?;
    if values.iter().any(|comment| comment.is_marked(step)) {
        return Ok(true);
    }
    let shown: HashSet<&str> = values.iter().map(|comment| comment.id.as_str()).collect();
    match ids.iter().find(|id| !shown.contains(id.as_str())) {
        Some(id) => {
            let why = format!("comment {id}: Jira doesn't show its properties");
            Err(PageError::Refused(Error::client(why)))
        }
        None => Ok(false),
    }
}

impl Comment {
    fn is_marked(&self, step: &Step) -> bool {
        let mut properties = self.properties.iter().flatten();
        properties.any(|property| property.key == PROPERTY && property.value["step"] == step.id)
    }
}

/// What the anchor of a step's comment has, beside those of the issues' descriptions.
fn mark(step: &Step) -> String {
    format!("step-{}", step.id)
}

/// The comment with its mark; None if the operator's template says nothing.
fn comment(
    jira: &Jira,
    call: &Call,
    step: &Step,
    warnings: &mut Vec<String>,
) -> Result<Option<Value>> {
    let said = call.comment(step.action, Format::Markdown)?;
    if said.is_empty() {
        return Ok(None);
    }
    let body = jira.text(&said, &anchor(&mark(step)), warnings);
    let properties = json!([{"key": PROPERTY, "value": {"step": step.id}}]);
    Ok(Some(json!({"body": body, "properties": properties})))
}

fn write(jira: &Jira, call: &Call, issue: &Url, comment: &Value) -> Result<()> {
    let what = "the comment";
    let request = Request::post(issue.clone().segment("comment")).json(comment);
    let answer = jira.client.send(call, request)?;
    let refusal = || refused(jira, &answer, what, &BTreeMap::new());
    answer.read::<Map<String, Value>>(201, &format!("{what}: Jira"), refusal).map(drop)
}

/// The error for an answer that isn't the wanted one to a request that changes something. It may have been carried out after a 2xx,
/// whatever that says, and after a failure of Jira's own.
fn refused(jira: &Jira, answer: &Response, what: &str, names: &BTreeMap<String, String>) -> Error {
    let error = jira.client.refusal(answer, what, names);
    match answer.status {
        200..=299 | 408 | 500.. => error.retry(Retry::Unknown),
        // Somebody else changes the issue at the same moment.
        409 => Error { retry_after: error.retry_after, ..Error::client(error.message) },
        _ => error,
    }
}

/// Takes the transition. Gives the state that the issue is in then.
fn change_state(
    jira: &Jira,
    call: &Call,
    issue: &Url,
    action: Action,
    plan: &Plan,
) -> Result<TicketState> {
    let request = Request::post(issue.clone().segment("transitions")).json(&plan.body);
    let answer = jira.client.send(call, request)?;
    if answer.status != 204 {
        return Err(refused(jira, &answer, "the transition", &plan.names));
    }
    let unknown = |error: Error| error.retry(Retry::Unknown);
    let state = look(jira, call, issue).and_then(|seen| known_state(&seen)).map_err(unknown)?;
    if (state == TicketState::Open) != (action == Action::Reopen) {
        let why = "Jira took the transition, and the issue's status is of another category";
        return Err(unknown(Error::plugin(why)));
    }
    Ok(state)
}
