//! What failed, grouped by why: failures are of one cause if they differ in quoted texts and in words with digits alone.

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
    /// Whether it isn't known of these whether it was done all the same. The others are a group of their own.
    pub doubtful: bool,
    pub newest: Timestamp,
    pub oldest: Timestamp,
    /// The newest tickets.
    pub named: Vec<i64>,
}

/// The name of a failure's cause.
pub(super) fn of(failed: &Failed) -> String {
    let kind = failed.failure.as_ref().map(|failure| failure.kind);
    let message = failed.failure.as_ref().map_or("", |failure| &failure.message);
    let Failed { backend, action, doubtful, .. } = failed;
    let text = format!("{backend}|{action:?}|{doubtful}|{kind:?}|{}", telling(message));
    Digest::of(text.as_bytes()).to_string()[..16].to_owned()
}

/// What of a message is the same for all of its cause: no words that have digits, and nothing between quotes.
fn telling(message: &str) -> String {
    let end = message.char_indices().nth(TELLING).map_or(message.len(), |(end, _)| end);
    let (mut told, mut rest) = (String::new(), &message[..end]);
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        let quoted = matches!(first, '"' | '`').then(|| after.find(first)).flatten();
        let in_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        let word = &rest[..rest.find(|c| !in_word(c)).unwrap_or(rest.len())];
        if let Some(end) = quoted {
            told.push_str("...");
            rest = &after[end + first.len_utf8()..];
        } else if word.is_empty() {
            told.push(first);
            rest = after;
        } else {
            told.push_str(if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
            rest = &rest[word.len()..];
        }
    }
    told
}

/// The groups of failures, of which the newest come first: the largest group first.
pub(super) fn groups(all: Vec<Failed>) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for failed in all {
        let cause = of(&failed);
        let Failed { ticket, backend, action, changed_at, failure, doubtful, .. } = failed;
        let group = groups.entry(cause.clone()).or_insert_with(|| Group {
            cause,
            backend,
            action,
            kind: failure.as_ref().map(|failure| failure.kind),
            message: failure.as_ref().map_or_else(String::new, |failure| failure.message.clone()),
            help: failure.and_then(|failure| failure.help),
            tickets: 0,
            doubtful,
            newest: changed_at,
            oldest: changed_at,
            named: Vec::new(),
        });
        group.tickets += 1;
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
            step: ticket,
            backend: "b".to_owned(),
            action: None,
            changed_at: Timestamp::from_millis(ticket),
            failure: Some(Failure::new(Kind::Creation, message, Some("help"))),
            doubtful: false,
        }
    }

    #[test]
    fn failures_that_differ_in_words_with_digits_and_quoted_texts_have_one_cause() {
        let cause = |message: &str| of(&failed(1, message));
        let one = cause("POST /api/4711: 422: no field \"a\" in `x`");
        assert_eq!(cause("POST /api/12: 403: no field \"b c\" in `y`"), one);
        let of_request = |id: &str| cause(&format!("failed, correlation id {id}: it's full"));
        assert_eq!(of_request("15345aa4-97d5-4c1e"), of_request("0a-b1"));
        // A quote that doesn't end hides nothing.
        assert_ne!(cause("no \"field a"), cause("no \"field b"));
        assert_eq!(telling("5\" disk: 9`"), "#\" disk: #`");
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
        assert_eq!((first.tickets, first.doubtful, first.message.as_str()), (7, false, "no 7"));
        assert_eq!(first.named, [7, 6, 5, 4, 3]);
        assert_eq!((first.oldest.millis(), first.newest.millis()), (1, 7));
        assert_eq!((groups[1].tickets, groups[1].doubtful), (1, true));
        let doubtful = Failed { doubtful: true, ..failed(1, "no 1") };
        assert_ne!(of(&doubtful), of(&failed(1, "no 1")), "a person looks at these first");
    }
}
