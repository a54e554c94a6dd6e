//! Which issues changed, by the list of those that were changed since a time.
//!
//! Invariant: a cursor never passes a change that wasn't named, or it is a gap. Pages by their numbers would: an issue that is changed while
//! the list is read moves to its end, and another one into its place. So each page begins at the time where the one before ended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use ticket_plugin_api::{
    Call, Changed, ChangesRequest, Error, Response, Result, TicketName, json, unix_time,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Forge, api, states};

/// For how many seconds a change may be missing in the list, which replicas may answer. Those of so long a time are named again.
const LAG: i64 = 120;
/// How many pages one call reads: as many as name 500 tickets.
const MOST_PAGES: usize = 5;

/// Up to when all changes were named, in seconds since 1970 by the forge's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    since: i64,
}

/// A page of the list.
struct Page {
    tickets: Vec<TicketName>,
    bytes: usize,
    /// When the last issue on it was changed.
    last: Option<i64>,
    /// Whether there is no page behind it; where there is one, `last` is known.
    is_last: bool,
    /// The forge's clock, if the answer tells it.
    now: Option<i64>,
}

pub(crate) fn changes<F: Forge>(
    forge: &F,
    call: &Call,
    request: &ChangesRequest,
) -> Result<Changed> {
    let known = request.cursor.as_deref().map(json::read_text::<Cursor>);
    let Some(Ok(cursor)) = known else {
        // Where the forge tells no time, all that it has counts as changed.
        let page = page(forge, call, 0, &mut (api::PAGES.len() - 1))?;
        let cursor = Cursor { since: page.now.map_or(0, |now| now - LAG) };
        return Ok(Changed { cursor: cursor.text(), gap: known.is_some(), ..Changed::default() });
    };
    let (mut changed, mut named) = (Changed::default(), BTreeSet::new());
    let (mut since, mut size, mut bytes) = (cursor.since, 0, 0);
    for pages in 0.. {
        // As long as each page leads on, the host may ask again at once.
        changed.more = since > cursor.since;
        if pages == MOST_PAGES || !api::has_room(call, bytes) {
            break;
        }
        let page = match page(forge, call, since, &mut size) {
            Err(error) if pages == 0 => return Err(error),
            Err(error) => {
                call.warn(&format!("not all changes could be read: {error}"));
                changed.more = false;
                changed.retry_after_ms = error.retry_after_ms();
                break;
            }
            Ok(page) => page,
        };
        bytes += page.bytes.max(1);
        changed.tickets.extend(page.tickets.into_iter().filter(|name| named.insert(name.clone())));
        if page.is_last {
            changed.more = false;
            since = page.now.or(page.last).map_or(since, |time| time - LAG);
            break;
        }
        // A forge may leave out what was changed at that very time, so the next page begins before it.
        let begins = page.last.map_or(since, |last| last - 1);
        if begins <= since {
            // More issues were changed at one moment than a page has: the rest of them can't be listed so, and it goes on behind them.
            changed.gap = true;
            since += 2;
        } else {
            since = begins;
        }
    }
    changed.cursor = Cursor { since }.text();
    Ok(changed)
}

impl Cursor {
    fn text(self) -> String {
        serde_json::json!(self).to_string()
    }
}

fn page<F: Forge>(forge: &F, call: &Call, since: i64, size: &mut usize) -> Result<Page> {
    let what = "the issues";
    let time = OffsetDateTime::from_unix_timestamp(since).ok();
    let time = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
    let answer: Response = api::fitting(forge, call, size, |most| {
        let mut url = forge.project_url().segment("issues");
        for (name, value) in F::DIALECT.changed_issues {
            url = url.query(name, value);
        }
        url.query(F::DIALECT.changed_since, &time).query("per_page", &most.to_string())
    })?;
    let issues: Vec<F::Issue> = api::read(forge, &answer, 200, what)?;
    let is_full = issues.len() >= api::PAGES[*size];
    let tickets = issues.iter().map(F::ticket);
    let tickets = tickets.map(|ticket| TicketName { url: ticket.url, id: ticket.id });
    let last = issues.last().and_then(F::updated).and_then(unix_time);
    let is_last = F::next_page(&answer, 1, is_full)?.is_none();
    if last.is_none() && !is_last {
        let name = F::DIALECT.name;
        return Err(Error::plugin(format!(
            "{what}: {name} lists more of them, and not when the last one was changed"
        )));
    }
    Ok(Page {
        // Not all that is listed is an issue.
        tickets: tickets.filter(|name| states::place::<F>(&name.url).is_some()).collect(),
        bytes: answer.body.len(),
        last,
        is_last,
        now: answer.header("date").and_then(unix_time),
    })
}
