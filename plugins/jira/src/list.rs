//! The list of a project's issues for many keys, page by page, and behind its end what Jira's index doesn't know yet.
//!
//! Invariant: no issue is hidden by others that are made or removed while the list is read. Cloud goes on by a token. On Data Center
//! each page begins with the issue that the page before ended with; if it doesn't, issues were removed, and the list is read anew.

use serde::{Deserialize, Serialize};
use ticket_plugin_api::listing::{Listed, Next, Page};
use ticket_plugin_api::{Call, Error, Result, TicketName};

use crate::client::{Client, Issue, PAGE, PageError};
use crate::{GAP, INDEX_LAG, PROBES, not_indexed};

/// Where the list goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    /// How many issues were read, and on Data Center the key of the last one.
    end: usize,
    last: String,
    /// Cloud's token of the next page.
    token: String,
    /// The project's own key, once it is known.
    project: String,
    /// The highest number of the issues that the index knew before the list was read, or that were read.
    highest: u64,
    /// How many times a page was halved, since the host has no room for a whole one.
    halvings: u32,
}

/// A page of the list that a query gives, whose project is called `project`.
pub(crate) fn page(
    client: &Client,
    call: &Call,
    project: &str,
    query: &str,
    place: &str,
) -> Result<Page> {
    // A place that isn't one of ours is the list's beginning.
    let mut place: Place = serde_json::from_str(place).unwrap_or_default();
    if place.project.is_empty() {
        place.begin(client, call, project)?;
    }
    // The page begins with the issue that the one before ended with.
    let start = place.end.saturating_sub(1);
    let (read, bytes) = loop {
        let size = (PAGE >> place.halvings).max(2);
        match client.page(call, query, size, start, &place.token) {
            Err(PageError::Http(cause)) if cause.is_too_large() && size > 2 => place.halvings += 1,
            Err(PageError::Token) => return Ok(anew()),
            read => break read?,
        }
    };
    let mut issues = read.issues;
    let first = issues.first().map(|issue| issue.key.as_str());
    if !client.cloud && !place.last.is_empty() && first != Some(&place.last) {
        return Ok(anew());
    }
    let got = issues.len();
    let numbers = issues.iter().filter_map(|issue| issue.number(&place.project));
    place.highest = numbers.fold(place.highest, u64::max);
    let next = if read.rest.has_more(client.cloud, start + got) {
        // A page with nothing but the issue that was read before doesn't go on.
        let fresh = if place.end > start { got.saturating_sub(1) } else { got };
        read.rest.can_go_on(client.cloud, fresh, &place.token)?;
        place.end = start + got;
        place.last = issues.last().map(|issue| issue.key.clone()).unwrap_or_default();
        place.token = read.rest.next.unwrap_or_default();
        Next::Place(serde_json::to_string(&place).expect("texts and numbers are always JSON"))
    } else {
        issues.extend(beyond_the_index(client, call, &place)?);
        Next::End
    };
    let tickets = issues.into_iter().map(|issue| listed(client, &issue)).collect();
    Ok(Page { tickets, bytes, next })
}

impl Place {
    /// Asks for the highest number that the index knows *before* the list is read: whatever it learns of meanwhile is in the list, or has
    /// a higher number. Issues that were imported or moved have high numbers and old times, so the list may be without them.
    fn begin(&mut self, client: &Client, call: &Call, project: &str) -> Result<()> {
        let query = format!("project = \"{project}\" ORDER BY key DESC");
        let highest = client.search(call, &query, Some(1))?.pop();
        let parts = highest.as_ref().and_then(|issue| issue.key.rsplit_once('-'));
        match parts.and_then(|(project, number)| Some((project, number.parse().ok()?))) {
            Some((project, number)) => {
                (self.project, self.highest) = (project.to_owned(), number);
            }
            None => self.project = client.project(call, project)?.key,
        }
        Ok(())
    }
}

/// The issues that have the next higher numbers, of which the index doesn't know: until [`GAP`] in a row don't exist.
fn beyond_the_index(client: &Client, call: &Call, place: &Place) -> Result<Vec<Issue>> {
    let (mut issues, mut missing) = (Vec::new(), 0);
    for number in (place.highest + 1..).take(PROBES as usize) {
        match client.issue(call, &format!("{}-{number}", place.project))? {
            Some(issue) => {
                issues.push(issue);
                missing = 0;
            }
            None => missing += 1,
        }
        if missing == GAP {
            return Ok(issues);
        }
    }
    let last = format!("{}-{}", place.project, place.highest + u64::from(PROBES));
    Err(Error { retry_after: Some(INDEX_LAG), ..Error::client(not_indexed(&last)) })
}

fn anew() -> Page {
    Page { tickets: Vec::new(), bytes: 1, next: Next::Anew }
}

fn listed(client: &Client, issue: &Issue) -> Listed {
    let ticket = TicketName { url: client.page_of(&issue.key), id: issue.key.clone() };
    Listed { fingerprints: issue.fingerprints(), ticket }
}
