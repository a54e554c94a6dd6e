//! A forge's REST API over the host's HTTP: requests, lists of several pages, refusals as errors.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ticket_plugin_api::{Call, Error, ErrorKind, HttpError, Request, Response, Result, Retry, Url};

use crate::Forge;
use crate::issues::{self, Next, Place};

/// How many items are asked for at a time. Neither forge gives more than the first. The others are for pages that are longer than the
/// host takes; each divides the one before it, so that a smaller page can begin where a larger one would have.
pub(crate) const PAGES: [usize; 5] = [100, 50, 25, 5, 1];

/// With less time left, no other request of several begins.
const TIME_FOR_A_REQUEST: Duration = Duration::from_secs(2);
/// After so many bytes of answers none does: the host keeps 64 MiB for one call.
const MOST_BYTES: usize = 32 << 20;
/// How often a search begins anew in a list that changes.
const MOST_BEGINNINGS: usize = 3;

#[derive(Deserialize)]
struct Label {
    name: String,
}

/// The answer to a request, whatever its status.
pub fn send(forge: &impl Forge, call: &Call, request: Request) -> Result<Response> {
    Ok(call.http(forge.with_headers(request))?)
}

/// The JSON that a GET of `url` is answered with. `what` names it in errors: `the project`.
pub fn get<T: DeserializeOwned>(
    forge: &impl Forge,
    call: &Call,
    url: Url,
    what: &str,
) -> Result<T> {
    read(forge, &send(forge, call, Request::get(url))?, 200, what)
}

/// The JSON of an answer that must have the status `wanted`.
pub fn read<F: Forge, T: DeserializeOwned>(
    forge: &F,
    answer: &Response,
    wanted: u16,
    what: &str,
) -> Result<T> {
    let from = format!("{what}: {}", F::DIALECT.name);
    answer.read(wanted, &from, || refusal(forge, answer, what))
}

pub(crate) fn create<F: Forge>(forge: &F, call: &Call, issue: &Value) -> Result<F::Issue> {
    let request = Request::post(forge.project_url().segment("issues")).json(issue);
    let answer = send(forge, call, request)?;
    // After a 2xx the issue may exist, whatever the answer says: it isn't a refusal.
    let done = (200..300).contains(&answer.status);
    let created = read(forge, &answer, 201, "the issue");
    created.map_err(|error| if done { error.retry(Retry::Unknown) } else { error })
}

/// The names of all labels that the project's issues can have.
pub(crate) fn labels(forge: &impl Forge, call: &Call) -> Result<Vec<String>> {
    let url = forge.project_url().segment("labels");
    let mut names = Vec::new();
    look_through(forge, call, &url, "the labels", |labels: Vec<Label>| {
        names.extend(labels.into_iter().map(|label| label.name));
        None::<()>
    })?;
    Ok(names)
}

/// The oldest issue since `since` that has `marker` in its body.
///
/// The issues are read one by one. The forges' searches are no help: GitHub's hears of an issue
/// minutes after its creation, and GitLab's leaves out long words and comments.
pub(crate) fn with_marker<F: Forge>(
    forge: &F,
    call: &Call,
    marker: &str,
    since: Option<&str>,
) -> Result<Option<F::Issue>> {
    let has = |issue: &F::Issue| F::body(issue).is_some_and(|body| body.contains(marker));
    let (mut place, mut so_far, mut beginnings) = (Place::default(), 0, 0);
    loop {
        let page = issues::page(forge, call, since, &place, so_far)?;
        so_far += page.issues.len();
        if let Some(found) = page.issues.into_iter().find(has) {
            return Ok(Some(found));
        }
        place = match page.next {
            Next::End => return Ok(None),
            Next::Place(place) => place,
            Next::Anew if beginnings < MOST_BEGINNINGS => {
                beginnings += 1;
                Place::default()
            }
            Next::Anew => {
                return Err(Error::client(
                    "the issues: so many are removed meanwhile that they can't be read as a whole",
                ));
            }
        };
    }
}

/// Reads a list page by page, until `look` finds something on a page.
pub(crate) fn look_through<F: Forge, T: DeserializeOwned, R>(
    forge: &F,
    call: &Call,
    list: &Url,
    what: &str,
    mut look: impl FnMut(Vec<T>) -> Option<R>,
) -> Result<Option<R>> {
    let (mut size, mut so_far) = (0, 0);
    loop {
        let answer = fitting(forge, call, &mut size, |most| {
            let page = so_far / most + 1;
            list.clone().query("per_page", &most.to_string()).query("page", &page.to_string())
        });
        let answer = answer.map_err(|cause| call.unfinished(what, so_far, cause))?;
        let (size, page) = (PAGES[size], so_far / PAGES[size] + 1);
        let items: Vec<T> = read(forge, &answer, 200, what)?;
        let is_full = items.len() >= size;
        if let Some(found) = look(items) {
            return Ok(Some(found));
        }
        match F::next_page(&answer, page, is_full)? {
            Some(next) => so_far = (next - 1) * size,
            None => return Ok(None),
        }
    }
}

/// The answer to a GET of `url`, which gets the most items that it may ask for: those of `PAGES[size]`, or fewer from now on, if the host
/// has no room for so many.
pub(crate) fn fitting(
    forge: &impl Forge,
    call: &Call,
    size: &mut usize,
    url: impl Fn(usize) -> Url,
) -> std::result::Result<Response, HttpError> {
    *size = (*size).min(PAGES.len() - 1);
    loop {
        match call.http(forge.with_headers(Request::get(url(PAGES[*size])))) {
            Err(cause) if cause.is_too_large() && *size + 1 < PAGES.len() => *size += 1,
            outcome => return outcome,
        }
    }
}

/// Whether a call that got so many bytes of answers has the time, and the host the room, for another one.
pub(crate) fn has_room(call: &Call, bytes: usize) -> bool {
    bytes == 0 || (bytes <= MOST_BYTES && call.remaining() >= TIME_FOR_A_REQUEST)
}

/// The error for an answer that isn't the wanted one, with the forge's own reason.
fn refusal<F: Forge>(forge: &F, answer: &Response, what: &str) -> Error {
    let (status, name) = (answer.status, F::DIALECT.name);
    let reason = F::reason(answer);
    if status == 401 {
        return Error::settings(F::token_refused(reason.as_deref()));
    }
    let Some(reason) = reason else {
        let got = format!("{what}: answered {status} with {}", answer.kind_of_body());
        return match status {
            200..=399 | 404 => Error::settings(format!(
                "{got}, so this isn't {name}'s API: the endpoint must be {}",
                F::DIALECT.endpoint
            )),
            _ => answer.error(format!("{got} and no reason of {name}'s")),
        };
    };
    let said = format!("{what}: {reason} ({status})");
    if let Some(advice) = forge.advice(status, &reason) {
        return Error::settings(format!("{said}; {advice}"));
    }
    match status {
        200..=299 => answer.error(format!(
            "{what}: answered {status} with {reason:?} instead of what {name} documents"
        )),
        301 | 302 | 307 | 308 => Error::settings(format!(
            "{said}; {} was renamed or moved: correct project_namespace_and_name",
            forge.project_name()
        )),
        // The answer to a burst of requests sometimes lacks the headers of a rate limit.
        403 | 429 if reason.to_lowercase().contains(F::DIALECT.rate_limit) => {
            Error { kind: ErrorKind::Client, retry: Retry::Later, ..answer.error(said) }
        }
        _ => answer.error(said),
    }
}
