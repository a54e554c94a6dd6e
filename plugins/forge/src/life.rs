//! What happens to an issue after it was made: a comment, closing, opening again.
//!
//! Invariant: an issue that isn't the ticket's own, or of which that or its state isn't known, is written to by nobody here; a step's comment
//! is written once, however often the step is tried.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ticket_plugin_api::{
    Action, Call, Error, Format, Incident, Request, Response, Result, Retry, Step, TicketName,
    TicketState, UpdateRequest, Updated, Url, text,
};

use crate::states::{self, Shown};
use crate::{Forge, api};

/// What is read of a comment.
#[derive(Deserialize)]
struct Comment {
    body: Option<String>,
}

/// A Markdown comment that no reader sees: by it a later try knows the step's comment.
fn mark(step: &Step) -> String {
    format!("<!-- ticket-host step:{} -->", step.id)
}

pub(crate) fn update<F: Forge>(
    forge: &F,
    call: &Call,
    request: &UpdateRequest<Incident>,
) -> Result<Option<Updated>> {
    let step = &request.step;
    let not_done = |state| Ok(Some(Updated { state, ..Updated::default() }));
    let Some(number) = states::number(forge, &request.ticket) else {
        return not_done(TicketState::Foreign);
    };
    let issue = forge.project_url().segment("issues").segment(&number);
    if request.dry_run {
        return rehearse(forge, call, issue, step).map(Some);
    }
    let was = match look(forge, call, &issue, &request.ticket)? {
        TicketState::Gone => return Ok(None),
        TicketState::Foreign => return not_done(TicketState::Foreign),
        was => was,
    };
    let mut written = request.again && has_mark(forge, call, &issue, step)?;
    if (was == TicketState::Open) == (step.action == Action::Reopen) {
        // If the comment isn't there, a person was faster.
        return Ok(Some(Updated { done: written, state: was, ..Updated::default() }));
    }
    let kept = step.fields.keys().filter(|name| is_peoples::<F>(name));
    let mut warnings: Vec<String> = kept
        .map(|name| format!("{name}: is left as it is, since people may have edited it"))
        .collect();
    if !written && let Some(text) = comment::<F>(call, step, &mut warnings)? {
        write(forge, call, &issue, &text)?;
        written = true;
    }
    let state = match change_of::<F>(step) {
        None => was,
        Some(change) => change_state(forge, call, issue, step.action, &change)
            .map_err(|error| if written { error.partial() } else { error })?,
    };
    Ok(Some(Updated { done: true, state, warnings, ..Updated::default() }))
}

/// Asks for what the step asks for. In a dry run the host shows each request, and answers none.
fn rehearse<F: Forge>(forge: &F, call: &Call, issue: Url, step: &Step) -> Result<Updated> {
    let mut last = api::send(forge, call, Request::get(issue.clone())).map(drop);
    if let Some(text) = comment::<F>(call, step, &mut Vec::new())? {
        last = write(forge, call, &issue, &text);
    }
    if let Some(change) = change_of::<F>(step) {
        last = change_state(forge, call, issue, step.action, &change).map(drop);
    }
    last.map(|()| Updated::default())
}

/// In which state the issue is: [`TicketState::Foreign`] if it is not the ticket's.
fn look<F: Forge>(forge: &F, call: &Call, issue: &Url, ticket: &TicketName) -> Result<TicketState> {
    let answer = api::send(forge, call, Request::get(issue.clone()))?;
    match states::shown(forge, &answer)? {
        Shown::Deleted => Ok(TicketState::Gone),
        Shown::Moved(_) => Err(states::was_moved(&answer)),
        Shown::Issue(issue) => Ok(states::status::<F>(&issue, &ticket.url, false)?.state),
    }
}

/// Whether the step's comment is there. Of several pages that is believed when two readings agree: one that is removed meanwhile moves
/// others onto a page that was read already.
fn has_mark<F: Forge>(forge: &F, call: &Call, issue: &Url, step: &Step) -> Result<bool> {
    let (list, mark) = (issue.clone().segment(F::DIALECT.comments), mark(step));
    let mut before = None;
    loop {
        let (mut pages, mut count) = (0, 0);
        let found = api::look_through(forge, call, &list, "the comments", |page: Vec<Comment>| {
            (pages, count) = (pages + 1, count + page.len());
            let mut bodies = page.into_iter().filter_map(|comment| comment.body);
            bodies.any(|body| body.contains(&mark)).then_some(())
        })?;
        if found.is_some() || pages < 2 || before == Some(count) {
            return Ok(found.is_some());
        }
        if before.replace(count).is_some() {
            let why = "the comments: some are made or removed while they are read";
            return Err(Error::client(why).retry(Retry::Later));
        }
    }
}

/// What the comment says, with the step's mark; None if the operator's template says nothing.
fn comment<F: Forge>(
    call: &Call,
    step: &Step,
    warnings: &mut Vec<String>,
) -> Result<Option<String>> {
    let said = call.comment(step.action, Format::Markdown)?;
    if said.is_empty() {
        return Ok(None);
    }
    let mark = mark(step);
    let said = text::without_references(&said, F::DIALECT.body_signs);
    let said = text::body(said, F::DIALECT.comment_limit - mark.len() - 1, warnings);
    Ok(Some(format!("{said}\n{mark}")))
}

fn write<F: Forge>(forge: &F, call: &Call, issue: &Url, text: &str) -> Result<()> {
    let comments = issue.clone().segment(F::DIALECT.comments);
    let answer = api::send(forge, call, Request::post(comments).json(&json!({"body": text})))?;
    carried_out::<F, Comment>(forge, &answer, 201, "the comment").map(drop)
}

/// The JSON of an answer to a request that changes something. It may have been carried out after a 2xx, whatever that says, and after a
/// failure of the forge's own.
fn carried_out<F: Forge, T: DeserializeOwned>(
    forge: &F,
    answer: &Response,
    wanted: u16,
    what: &str,
) -> Result<T> {
    let may_be = matches!(answer.status, 200..=299 | 408 | 500..);
    api::read(forge, answer, wanted, what)
        .map_err(|error| if may_be { error.retry(Retry::Unknown) } else { error })
}

/// What is sent to change the issue's state, with the fields that the operator wants to be set; None if it stays.
fn change_of<F: Forge>(step: &Step) -> Option<Value> {
    let dialect = F::DIALECT;
    let change = match step.action {
        Action::Close => dialect.closes,
        Action::Reopen => dialect.reopens,
        Action::Comment | Action::Other => return None,
    };
    let mut all = serde_json::Map::new();
    all.extend(change.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    if step.action == Action::Close {
        // No field turns the step round.
        let is_free = |name: &str| name != change[0].0 && !is_peoples::<F>(name);
        let fields = step.fields.iter().filter(|(name, _)| is_free(name));
        all.extend(fields.map(|(name, value)| (name.clone(), value.clone())));
    }
    Some(Value::Object(all))
}

/// Whether people may have edited what an issue calls so, which no step replaces.
fn is_peoples<F: Forge>(name: &str) -> bool {
    name == "title" || name == F::DIALECT.body
}

/// Changes the issue's state. Gives the one that it is in then.
fn change_state<F: Forge>(
    forge: &F,
    call: &Call,
    issue: Url,
    action: Action,
    change: &Value,
) -> Result<TicketState> {
    let answer = api::send(forge, call, Request::new(F::DIALECT.changes, issue).json(change))?;
    let state = F::status(&carried_out(forge, &answer, 200, "the issue's state")?).state;
    let is_open = state == TicketState::Open;
    if state == TicketState::Unknown || is_open != (action == Action::Reopen) {
        let name = F::DIALECT.name;
        let why = format!("{name} took the change, and the issue's state is another one");
        return Err(Error::plugin(why).retry(Retry::Unknown));
    }
    Ok(state)
}
