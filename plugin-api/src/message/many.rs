//! The JSON of `find_many`: the keys of many tickets, and what one search for all of them found.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::TicketName;
use crate::abi::{MAX_CURSOR, MAX_KEY_BYTES, MAX_KEYS};

/// What `find_many` is called with: at most [`MAX_KEYS`](crate::abi::MAX_KEYS) keys, those first whose tickets can be the oldest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindMany {
    /// The keys, each of them once.
    pub keys: Vec<WantedKey>,
    /// The cursor of the last reply, where this call goes on with a search. Its keys are among those of the call before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A key, and when its ticket can have been made. The times are in UTC (RFC 3339), by the host's clock: leave room for one that
/// differs from the ticket system's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedKey {
    /// The key that `create` was called with.
    pub key: String,
    /// The ticket isn't older than that. None: nobody knows how old it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The ticket isn't younger than that. None: it may have been made just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// The reply of `find_many`. A key that is in neither list was not found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundMany {
    /// The tickets that there are.
    #[serde(default)]
    pub found: Vec<Found>,
    /// The keys that certainly have no ticket: the search came to its end, and no page of it had one.
    #[serde(default)]
    pub none: Vec<String>,
    /// Where the search goes on: a text of the plugin's own, of at most [`MAX_CURSOR`] bytes. The host asks again with it, for the
    /// keys that are left. None: the search came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// For how many milliseconds the ticket system is to be left alone before the search goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A ticket that was found, and its key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The key as it was asked for.
    pub key: String,
    /// Its ticket: of several with the key the oldest.
    pub ticket: TicketName,
}

impl FindMany {
    /// Whether a host may ask this.
    ///
    /// # Errors
    /// Why not, in words after "the request".
    pub fn is_sound(&self) -> Result<(), String> {
        let bytes: usize = self.keys.iter().map(|wanted| wanted.key.len()).sum();
        if self.keys.len() > MAX_KEYS || bytes > MAX_KEY_BYTES {
            return Err(format!(
                "has {} keys of {bytes} bytes, more than {MAX_KEYS} or {MAX_KEY_BYTES}",
                self.keys.len()
            ));
        }
        super::fits(self.cursor.as_deref(), "cursor", MAX_CURSOR)
    }
}

impl FoundMany {
    /// Whether this can be the reply to `asked`.
    ///
    /// # Errors
    /// Why not, in words after "its reply": it names a key that wasn't asked for, or one twice, one ticket for two keys, or none; its cursor is
    /// too long, or the one that it was asked with.
    pub fn answers(&self, asked: &FindMany) -> Result<(), String> {
        let mut open: BTreeSet<&str> =
            asked.keys.iter().map(|wanted| wanted.key.as_str()).collect();
        let named = self.found.iter().map(|found| &found.key).chain(&self.none);
        for key in named {
            if !open.remove(key.as_str()) {
                return Err(format!("names the key {key:?} twice, or it wasn't asked for"));
            }
        }
        if let Some(found) = self.found.iter().find(|found| found.ticket.url.is_empty()) {
            return Err(format!("has no url for the ticket of the key {:?}", found.key));
        }
        let mut tickets = BTreeSet::new();
        if let Some(twice) = self.found.iter().find(|found| !tickets.insert(&found.ticket.url)) {
            return Err(format!("has the ticket {:?} for two keys", twice.ticket.url));
        }
        if self.cursor.is_some() && self.cursor == asked.cursor {
            return Err("has the cursor that it was asked with".to_owned());
        }
        super::fits(self.cursor.as_deref(), "cursor", MAX_CURSOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_bounded_number_of_keys() {
        let wanted = |key: String| WantedKey { key, ..WantedKey::default() };
        for (keys, length, sound) in [(200, 100, true), (201, 1, false), (200, 700, false)] {
            let keys = (0..keys).map(|n| wanted(format!("{n:length$}"))).collect();
            assert_eq!(FindMany { keys, cursor: None }.is_sound().is_ok(), sound, "{length}");
        }
    }

    #[test]
    fn a_reply_names_each_key_once_that_was_asked_for_and_goes_on() {
        let wanted = |key: &str| WantedKey { key: key.to_owned(), ..WantedKey::default() };
        let asked =
            FindMany { keys: vec![wanted("a"), wanted("b")], cursor: Some("page 1".to_owned()) };
        let long = |length| "c".repeat(length);
        for (found, none, cursor, fault) in [
            (&[("a", "u:1")][..], &["b"][..], None, None),
            (&[], &[], Some(long(MAX_CURSOR)), None),
            (&[("a", "u:1"), ("b", "u:2")], &[], None, None),
            (&[("a", "u:1"), ("a", "u:2")], &[], None, Some("\"a\" twice")),
            (&[("a", "u:1")], &["a"], None, Some("\"a\" twice")),
            (&[("c", "u:1")], &[], None, Some("\"c\" twice, or it wasn't asked for")),
            (&[], &["c"], None, Some("wasn't asked for")),
            (&[("a", "")], &[], None, Some("no url for the ticket of the key \"a\"")),
            (&[("a", "u:1"), ("b", "u:1")], &[], None, Some("\"u:1\" for two keys")),
            (&[], &[], Some(long(MAX_CURSOR + 1)), Some("has a cursor of 4097 bytes")),
            (&[], &[], Some("page 1".to_owned()), Some("the cursor that it was asked with")),
        ] {
            let found = found.iter().map(|(key, url)| Found {
                key: (*key).to_owned(),
                ticket: TicketName { url: (*url).to_owned(), ..TicketName::default() },
            });
            let reply = FoundMany {
                found: found.collect(),
                none: none.iter().map(|key| (*key).to_owned()).collect(),
                cursor,
                retry_after_ms: None,
            };
            match (reply.answers(&asked), fault) {
                (Ok(()), None) => {}
                (Err(why), Some(part)) if why.contains(part) => {}
                (answer, _) => panic!("{reply:?}: {answer:?}"),
            }
        }
    }
}
