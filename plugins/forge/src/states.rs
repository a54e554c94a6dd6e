//! In which states issues are, and whether they are a ticket's: by one list of many, where the forge has one, else by a look at each.
//!
//! Invariant: what is told of an issue stands in an answer about this very issue. One that isn't listed, or is answered 404, may be there
//! and hidden from the token.

use ticket_plugin_api::{
    Call, Error, Request, Response, Result, StateRequest, States, TicketName, TicketState,
    TicketStatus, ToldStates, Url,
};

use crate::{Forge, api};

/// How often an issue may have been moved.
const MOST_MOVES: usize = 3;

/// A ticket that is asked for: the issue's number, and the ticket's URL.
type Asked<'a> = (String, &'a str);

/// What an answer to a request for an issue says of it.
pub(crate) enum Shown<I> {
    Issue(I),
    Deleted,
    /// It is somewhere else, where the API has it if the forge says so.
    Moved(Option<Url>),
}

pub(crate) fn state<F: Forge>(forge: &F, call: &Call, request: &StateRequest) -> Result<States> {
    let (mut told, mut asked) = (ToldStates::default(), Vec::new());
    for ticket in &request.tickets {
        let name = TicketName { url: ticket.url.clone(), id: ticket.id.clone() };
        match number(forge, &name) {
            Some(number) => asked.push((number, ticket.url.as_str())),
            None => told.tell(call, Ok(TicketStatus::of(&ticket.url, TicketState::Foreign))),
        }
    }
    let ended = match F::DIALECT.numbers {
        Some(numbers) => list(forge, call, numbers, &asked, &mut told),
        None => look_at_each(forge, call, &asked, &mut told),
    };
    told.ended(call, ended)
}

/// # Errors
/// What keeps it from finding out more.
fn list<F: Forge>(
    forge: &F,
    call: &Call,
    numbers: &str,
    asked: &[Asked],
    told: &mut ToldStates,
) -> Result<()> {
    let what = "the issues";
    let (mut left, mut size, mut bytes) = (asked, 0, 0);
    while !left.is_empty() && api::has_room(call, bytes) {
        let answer = api::fitting(forge, call, &mut size, |most| {
            let mut url = forge.project_url().segment("issues");
            for (name, value) in F::DIALECT.all_issues {
                url = url.query(name, value);
            }
            url = url.query("per_page", &most.to_string());
            left.iter().take(most).fold(url, |url, (number, _)| url.query(numbers, number))
        });
        let (these, others) = left.split_at(api::PAGES[size].min(left.len()));
        left = others;
        let answer = match answer {
            // One issue alone is longer than the host takes.
            Err(cause) if cause.is_too_large() => {
                told.miss(call, cause.into());
                continue;
            }
            answer => answer?,
        };
        bytes += answer.body.len().max(1);
        let issues: Vec<F::Issue> = api::read(forge, &answer, 200, what)?;
        for (number, url) in these {
            if let Some(issue) = issues.iter().find(|issue| F::ticket(issue).id == *number) {
                told.tell(call, status::<F>(issue, url, false));
            }
        }
    }
    Ok(())
}

/// # Errors
/// What keeps it from finding out more.
fn look_at_each<F: Forge>(
    forge: &F,
    call: &Call,
    asked: &[Asked],
    told: &mut ToldStates,
) -> Result<()> {
    let mut bytes = 0;
    for (number, url) in asked {
        let mut place = Some(forge.project_url().segment("issues").segment(number));
        let mut moves = 0;
        while let Some(issue) = place.take() {
            if !api::has_room(call, bytes) {
                return Ok(());
            }
            let answer = api::send(forge, call, Request::get(issue))?;
            bytes += answer.body.len().max(1);
            match shown(forge, &answer) {
                // It may be there and hidden: that is no error.
                Err(error) if answer.status == 404 && F::reason(&answer).is_some() => {
                    call.debug(&error.message);
                }
                Err(error) if is_about_all(&answer) => return Err(error),
                Err(error) => told.miss(call, error),
                Ok(Shown::Deleted) => {
                    told.tell(call, Ok(TicketStatus::of(url, TicketState::Gone)));
                }
                Ok(Shown::Moved(Some(to))) if moves < MOST_MOVES => {
                    (place, moves) = (Some(to), moves + 1);
                }
                Ok(Shown::Moved(_)) => told.miss(call, was_moved(&answer)),
                Ok(Shown::Issue(issue)) => told.tell(call, status::<F>(&issue, url, moves > 0)),
            }
        }
    }
    Ok(())
}

/// Whether the forge would answer a request for another issue like this, too.
fn is_about_all(answer: &Response) -> bool {
    matches!(answer.status, 401 | 403 | 410 | 429) || answer.retry_after().is_some()
}

pub(crate) fn shown<F: Forge>(forge: &F, answer: &Response) -> Result<Shown<F::Issue>> {
    match answer.status {
        _ if F::is_deleted(answer) => Ok(Shown::Deleted),
        301 | 302 | 307 | 308 => Ok(Shown::Moved(forge.moved_to(answer))),
        _ => api::read(forge, answer, 200, "the issue").map(Shown::Issue),
    }
}

/// The error for an issue that can't be followed to where it is.
pub(crate) fn was_moved(answer: &Response) -> Error {
    Error::creation(format!(
        "the issue was moved ({}): its project was renamed, or it is in another one now",
        answer.status
    ))
}

/// What an issue is to the ticket of this URL: foreign if it is another one's, unless it `was_moved`.
///
/// # Errors
/// The forge has a word for its state that it doesn't document.
pub(crate) fn status<F: Forge>(
    issue: &F::Issue,
    url: &str,
    was_moved: bool,
) -> Result<TicketStatus> {
    let page = F::ticket(issue).url;
    let is_there = place::<F>(url) == place::<F>(&page);
    if !is_there && !was_moved {
        return Ok(TicketStatus::of(url, TicketState::Foreign));
    }
    let status = F::status(issue);
    if status.state == TicketState::Unknown {
        let name = F::DIALECT.name;
        return Err(Error::plugin(format!("the issue is in a state that {name} doesn't document")));
    }
    let moved = (!is_there).then(|| TicketName { url: page, id: status.id.clone() });
    Ok(TicketStatus { url: url.to_owned(), moved, ..status })
}

/// The number of the issue that a ticket is; None if it can be none of the project's.
pub(crate) fn number<F: Forge>(forge: &F, ticket: &TicketName) -> Option<String> {
    let (page, of_url) = place::<F>(&ticket.url)?;
    let project = forge.project_name().to_lowercase();
    // The page of a project that the settings name by its number isn't known before one of its issues is.
    let is_ours = !project.contains('/') || page.ends_with(&format!("/{project}"));
    let number = if ticket.id.is_empty() { of_url } else { ticket.id.clone() };
    (is_ours && is_number(&number)).then_some(number)
}

/// The project's page, and the number, in the URL of an issue's page. Both in lower case, since neither forge tells names apart by case.
pub(crate) fn place<F: Forge>(url: &str) -> Option<(String, String)> {
    let url = url.split(['?', '#']).next()?.trim_end_matches('/').to_lowercase();
    let (before, number) = url.rsplit_once('/')?;
    let project = F::DIALECT.issue_pages.iter().find_map(|page| before.strip_suffix(page))?;
    is_number(number).then(|| (project.to_owned(), number.to_owned()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
