//! Who is signed in to the console: sessions in memory, which end by themselves.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ticket_host_worker::Digest;

use crate::error::{Error, Result};
use crate::lock::lock;

/// How long a session lasts at most, however much it is used.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How many there are at most of one token. The one of these that was used longest ago makes room.
const MOST: usize = 20;
/// How long it is no news that somebody signs in with a token that somebody signed in with before.
const NEWS: Duration = Duration::from_secs(60 * 60);

/// The sessions of all browsers.
#[derive(Debug, Default)]
pub(in crate::serve) struct Sessions(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    sessions: HashMap<Digest, Session>,
    /// When it was last news that somebody signed in with a token, whether or not that session goes on.
    news: HashMap<Digest, Instant>,
}

#[derive(Debug)]
struct Session {
    /// The token that was signed in with.
    token: Digest,
    /// What its forms send along, which no other site can know.
    form_token: String,
    began: Instant,
    used: Instant,
}

/// A session that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub token: Digest,
    pub form_token: String,
}

impl Sessions {
    /// Begins one; what its cookie has, of which only the digest is kept, and whether it is news that somebody signs in with that token.
    ///
    /// # Errors
    /// This machine has no random numbers.
    pub(super) fn begin(&self, token: Digest, now: Instant) -> Result<(String, bool)> {
        let (secret, form_token) = (unguessable()?, unguessable()?);
        let mut all = lock(&self.0);
        let All { sessions: all, news } = &mut *all;
        let since = |at: Instant| now.saturating_duration_since(at);
        news.retain(|_, at| since(*at) < NEWS);
        let is_news = !news.contains_key(&token);
        if is_news {
            news.insert(token, now);
        }
        all.retain(|_, session| since(session.began) < LONGEST);
        let own = || all.iter().filter(|(_, session)| session.token == token);
        let oldest = own().min_by_key(|(_, session)| session.used).map(|(name, _)| *name);
        if own().count() >= MOST {
            oldest.and_then(|name| all.remove(&name));
        }
        let session = Session { token, form_token, began: now, used: now };
        all.insert(Digest::of(secret.as_bytes()), session);
        Ok((secret, is_news))
    }

    /// The session of a cookie, if it has been used within `idle`. With `uses` it is used by that.
    pub(super) fn find(
        &self,
        secret: &str,
        idle: Duration,
        uses: bool,
        now: Instant,
    ) -> Option<Found> {
        let name = Digest::of(secret.as_bytes());
        let all = &mut lock(&self.0).sessions;
        let session = all.get_mut(&name)?;
        let is_over = now.saturating_duration_since(session.used) >= idle
            || now.saturating_duration_since(session.began) >= LONGEST;
        if is_over {
            all.remove(&name);
            return None;
        }
        if uses {
            session.used = now;
        }
        Some(Found { token: session.token, form_token: session.form_token.clone() })
    }

    pub(super) fn end(&self, secret: &str) {
        lock(&self.0).sessions.remove(&Digest::of(secret.as_bytes()));
    }
}

/// 64 hexadecimal digits that nobody can guess.
///
/// # Errors
/// This machine has no random numbers.
pub(super) fn unguessable() -> Result<String> {
    let mut bytes = [0; 32];
    let none = |cause| Error::plugin("this machine has no random numbers").cause(cause);
    getrandom::fill(&mut bytes).map_err(none)?;
    let mut digits = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_ends_when_it_is_not_used_and_a_page_that_renews_itself_is_no_use() {
        let (sessions, began) = (Sessions::default(), Instant::now());
        let (secret, _) = sessions.begin(Digest::of(b"token"), began).unwrap();
        let find = |uses, at| sessions.find(&secret, HOUR, uses, at);
        let found = find(true, began + HOUR - SECOND).unwrap();
        assert_eq!(found.token, Digest::of(b"token"));
        assert_eq!(found.form_token.len(), 64);
        assert!(find(false, began + 2 * HOUR - 2 * SECOND).is_some());
        assert_eq!(find(true, began + 2 * HOUR), None);
        assert_eq!(find(true, began), None, "it is gone");
    }

    #[test]
    fn a_session_ends_after_a_day_and_when_it_is_told_to_and_no_other_is_found() {
        let (sessions, began) = (Sessions::default(), Instant::now());
        let (secret, _) = sessions.begin(Digest::of(b"token"), began).unwrap();
        for hour in 1..24 {
            assert!(sessions.find(&secret, 2 * HOUR, true, began + hour * HOUR).is_some());
        }
        assert_eq!(sessions.find(&secret, 2 * HOUR, true, began + 24 * HOUR), None);
        let (secret, _) = sessions.begin(Digest::of(b"token"), began).unwrap();
        assert_eq!(sessions.find(&secret[1..], HOUR, true, began), None);
        sessions.end(&secret);
        assert_eq!(sessions.find(&secret, HOUR, true, began), None);
    }

    #[test]
    fn of_too_many_sessions_of_a_token_the_one_that_was_used_longest_ago_makes_room() {
        let (sessions, began) = (Sessions::default(), Instant::now());
        let begin = |at| sessions.begin(Digest::of(b"token"), at).unwrap().0;
        let other = sessions.begin(Digest::of(b"other"), began).unwrap().0;
        let (first, second) = (begin(began), begin(began + SECOND));
        assert!(sessions.find(&first, HOUR, true, began + 2 * SECOND).is_some());
        (2..=MOST).for_each(|_| drop(begin(began + 3 * SECOND)));
        assert!(sessions.find(&first, HOUR, true, began + 4 * SECOND).is_some());
        assert_eq!(sessions.find(&second, HOUR, true, began + 4 * SECOND), None);
        assert!(sessions.find(&other, HOUR, true, began + 4 * SECOND).is_some());
    }

    #[test]
    fn that_somebody_signs_in_is_news_once_in_an_hour_for_each_token() {
        let (sessions, began) = (Sessions::default(), Instant::now());
        // Whether or not the session before goes on.
        let is_news = |token: &[u8], at| {
            let (secret, is_news) = sessions.begin(Digest::of(token), at).unwrap();
            sessions.end(&secret);
            is_news
        };
        for (token, at, expected) in [
            (b"a", began, true),
            (b"a", began + SECOND, false),
            (b"b", began + SECOND, true),
            (b"a", began + HOUR - SECOND, false),
            (b"a", began + HOUR, true),
            (b"a", began + HOUR + SECOND, false),
        ] {
            assert_eq!(is_news(token, at), expected, "{token:?} {:?}", at - began);
        }
    }
}
