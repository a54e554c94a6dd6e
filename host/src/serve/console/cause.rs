//! What failed, grouped by why: failures are of one cause if they differ in numbers and quoted texts alone.

use std::collections::BTreeMap;

use ticket_host_worker::Digest;
use ticket_plugin_api::Action;

use crate::error::Kind;
use crate::store::{Failed, Timestamp};

/// Characters of a message that tell its cause.
const TELLING: usize = 300;
/// Tickets that are named of a group.
const NAMED: usize = 5;

/// Failures of one cause.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// By what the cause is known again.
    pub cause: String,
    pub backend: String,
    /// What couldn't be done: the making of tickets, or what was to be done to them.
    pub action: Option<Action>,
    pub kind: Option<Kind>,
    /// What the newest failure says.
    pub message: String,
    pub help: Option<String>,
    pub tickets: usize,
    /// Of how many it isn't known whether it was done all the same.
    pub doubtful: usize,
    pub newest: Timestamp,
    pub oldest: Timestamp,
    /// The newest tickets.
    pub named: Vec<i64>,
}

/// The name of a failure's cause.
pub(super) fn of(failed: &Failed) -> String {
    let kind = failed.failure.as_ref().map(|failure| failure.kind);
    let message = failed.failure.as_ref().map_or("", |failure| &failure.message);
    let text = format!("{}|{:?}|{kind:?}|{}", failed.backend, failed.action, telling(message));
    Digest::of(text.as_bytes()).to_string()[..16].to_owned()
}

/// What of a message is the same for all of its cause: no digits, and nothing between quotes.
fn telling(message: &str) -> String {
    let (mut told, mut quote) = (String::new(), None);
    for c in message.chars().take(TELLING) {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => continue,
            None if c == '"' || c == '`' => quote = Some(c),
            None if c.is_ascii_digit() => {
                if !told.ends_with('#') {
                    told.push('#');
                }
                continue;
            }
            None => {}
        }
        told.push(c);
    }
    told
}

/// The groups of failures, of which the newest come first: the largest group first.
pub(super) fn groups(all: Vec<Failed>) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for failed in all {
        let cause = of(&failed);
        let Failed { ticket, backend, action, changed_at, failure, doubtful } = failed;
        let group = groups.entry(cause.clone()).or_insert_with(|| Group {
            cause,
            backend,
            action,
            kind: failure.as_ref().map(|failure| failure.kind),
            message: failure.as_ref().map_or_else(String::new, |failure| failure.message.clone()),
            help: failure.and_then(|failure| failure.help),
            tickets: 0,
            doubtful: 0,
            newest: changed_at,
            oldest: changed_at,
            named: Vec::new(),
        });
        group.tickets += 1;
        group.doubtful += usize::from(doubtful);
        group.newest = group.newest.max(changed_at);
        group.oldest = group.oldest.min(changed_at);
        if group.named.len() < NAMED {
            group.named.push(ticket);
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups
        .sort_by(|one, other| other.tickets.cmp(&one.tickets).then(other.newest.cmp(&one.newest)));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Failure;

    fn failed(ticket: i64, message: &str) -> Failed {
        Failed {
            ticket,
            backend: "b".to_owned(),
            action: None,
            changed_at: Timestamp::from_millis(ticket),
            failure: Some(Failure::new(Kind::Creation, message, Some("help"))),
            doubtful: false,
        }
    }

    #[test]
    fn failures_that_differ_in_numbers_and_quoted_texts_have_one_cause() {
        let cause = |message: &str| of(&failed(1, message));
        let one = cause("POST /api/4711: 422: no field \"a\" in `x`");
        assert_eq!(cause("POST /api/12: 403: no field \"b c\" in `y`"), one);
        for other in
            ["GET /api/4711: 422: no field \"a\" in `x`", "POST /api/4711: 422: no field", ""]
        {
            assert_ne!(cause(other), one, "{other}");
        }
        let other = Failed { backend: "c".to_owned(), ..failed(1, "x") };
        assert_ne!(of(&other), cause("x"));
        assert_ne!(of(&Failed { action: Some(Action::Close), ..failed(1, "x") }), cause("x"));
        assert_ne!(of(&Failed { failure: None, ..failed(1, "x") }), cause("x"));
    }

    #[test]
    fn the_largest_group_comes_first_with_its_newest_tickets_and_words() {
        let mut all: Vec<Failed> = (1..=7).rev().map(|n| failed(n, &format!("no {n}"))).collect();
        all.insert(3, Failed { doubtful: true, ..failed(9, "another") });
        let groups = groups(all);
        assert_eq!(groups.len(), 2);
        let first = &groups[0];
        assert_eq!((first.tickets, first.doubtful, first.message.as_str()), (7, 0, "no 7"));
        assert_eq!(first.named, [7, 6, 5, 4, 3]);
        assert_eq!((first.oldest.millis(), first.newest.millis()), (1, 7));
        assert_eq!((groups[1].tickets, groups[1].doubtful), (1, 1));
    }
}
