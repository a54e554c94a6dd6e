//! The list of a project's issues, the oldest first, page by page.
//!
//! Invariant: no issue is hidden by others that are made or removed while the list is read. Where the forge can go on behind an issue,
//! it is asked to. Where pages have numbers alone, each page begins with issues that the page before had, and if it doesn't, issues
//! were removed and the list is read again from a page before.

use serde::{Deserialize, Serialize};
use ticket_plugin_api::{Call, Result};

use crate::Forge;
use crate::api::{PAGES, fitting, read};

/// With how many issues of the page before a page begins. More than one, since GitHub may leave some out of a page.
const OVERLAP: usize = 5;
/// The smallest pages that have so many issues to spare; smaller ones have one.
const ROOMY: usize = 25;

/// Where a list goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The parameter of the query by which the forge goes on behind an issue; None at the beginning of the list, and where it can't.
    behind: Option<(String, String)>,
    /// How many places of the list were read since then.
    end: usize,
    /// The issues on the page before, by their numbers: this page has to begin with one of them.
    before: Vec<String>,
    /// Whether the list was stepped back in to get here.
    is_back: bool,
    /// Which of [`PAGES`] the host has room for.
    size: usize,
}

/// A page of the list.
#[derive(Debug)]
pub(crate) struct Page<I> {
    pub(crate) issues: Vec<I>,
    /// How many bytes the answer had.
    pub(crate) bytes: usize,
    pub(crate) next: Next,
}

/// Where the list goes on behind a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Place(Place),
    /// At its beginning: more issues were removed than can be stepped over.
    Anew,
    End,
}

/// The page of a list at `place`, of issues since `since`. `so_far` tells an error how many issues were read.
pub(crate) fn page<F: Forge>(
    forge: &F,
    call: &Call,
    since: Option<&str>,
    place: &Place,
    so_far: usize,
) -> Result<Page<F::Issue>> {
    let what = "the issues";
    let mut size = place.size;
    let answer = fitting(forge, call, &mut size, |most| {
        Window::at(place.end, most).url(forge, since, place)
    });
    let answer = answer.map_err(|cause| call.unfinished(what, so_far, cause))?;
    let window = Window::at(place.end, PAGES[size]);
    let issues: Vec<F::Issue> = read(forge, &answer, 200, what)?;
    let bytes = answer.body.len();
    let numbers: Vec<String> = issues.iter().map(|issue| F::ticket(issue).id).collect();
    let is_whole = !window.overlaps
        || place.before.is_empty()
        || numbers.first().is_some_and(|first| place.before.contains(first));
    if !is_whole {
        return Ok(Page { issues: Vec::new(), bytes, next: place.back() });
    }
    let is_full = issues.len() >= window.size;
    let next = match F::next_page(&answer, window.number, is_full)? {
        None => Next::End,
        Some(_) => {
            let behind = issues.last().and_then(|last| F::behind(&answer, last));
            let behind = behind.map(|(name, value)| (name.to_owned(), value));
            Next::Place(match behind.filter(|behind| place.behind.as_ref() != Some(behind)) {
                Some(behind) => Place { behind: Some(behind), size, ..Place::default() },
                None => Place {
                    behind: place.behind.clone(),
                    end: window.end(),
                    before: numbers,
                    is_back: false,
                    size,
                },
            })
        }
    };
    Ok(Page { issues, bytes, next })
}

impl Place {
    /// Where to go on when this page didn't begin with issues of the one before: at that page, and from there at the list's beginning.
    fn back(&self) -> Next {
        if self.is_back {
            return Next::Anew;
        }
        let end = self.end.saturating_sub(self.before.len()) + OVERLAP;
        Next::Place(Place { end, is_back: true, ..self.clone() })
    }
}

/// The number and the size of a page.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    number: usize,
    size: usize,
    /// Whether it begins with places of the list that were read already.
    overlaps: bool,
}

impl Window {
    /// The page of at most `most` issues that goes furthest beyond the first `end` ones, and begins some places before that. Pages begin
    /// at multiples of their size alone, so it takes the size that fits best.
    fn at(end: usize, most: usize) -> Window {
        let target = end.saturating_sub(if most >= ROOMY { OVERLAP } else { 1 });
        let reach = |size: usize| target - target % size + size;
        let size = (1..=most).max_by_key(|&size| reach(size)).unwrap_or(most);
        if reach(size) > end {
            return Window { number: target / size + 1, size, overlaps: target >= size };
        }
        // No page of so few issues overlaps.
        let size = (1..=most).rev().find(|size| end.is_multiple_of(*size)).unwrap_or(1);
        Window { number: end / size + 1, size, overlaps: false }
    }

    fn end(&self) -> usize {
        self.number * self.size
    }

    fn url<F: Forge>(
        &self,
        forge: &F,
        since: Option<&str>,
        place: &Place,
    ) -> ticket_plugin_api::Url {
        let dialect = F::DIALECT;
        let mut url = forge.project_url().segment("issues");
        for (name, value) in dialect.all_issues {
            url = url.query(name, value);
        }
        let is_since = |(name, _): &(String, String)| name == dialect.since;
        if let Some(since) = since.filter(|_| !place.behind.as_ref().is_some_and(is_since)) {
            url = url.query(dialect.since, since);
        }
        if let Some((name, value)) = &place.behind {
            url = url.query(name, value);
        }
        url = url.query("per_page", &self.size.to_string());
        match (self.number, &place.behind) {
            (1, Some(_)) => url,
            (number, _) => url.query("page", &number.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_begins_where_the_one_before_was_read_and_goes_beyond_it() {
        for most in PAGES {
            let (mut end, mut pages) = (0, 0);
            while end < 10_000 {
                let window = Window::at(end, most);
                let begin = (window.number - 1) * window.size;
                assert!(
                    window.size <= most && begin <= end && window.end() > end,
                    "{end} {window:?}"
                );
                let spare = if most >= ROOMY { OVERLAP } else { 1 };
                assert!(!window.overlaps || begin + spare <= end, "{end} {window:?}");
                assert!(window.overlaps || end == 0 || most < ROOMY, "{end} {window:?}");
                (end, pages) = (window.end(), pages + 1);
            }
            // Not many more than pages without an overlap.
            assert!(most < PAGES[0] || pages * most < 13_000, "{most}: {pages}");
        }
    }
}
