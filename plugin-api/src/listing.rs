//! What a listing of tickets saw, kept in a plugin's instance so that the many calls of a search share it.
//!
//! After a restart a host can have 10,000 keys to look for: 50 calls of [`find_many`](crate::TicketPlugin::find_many), each with other
//! keys, whose tickets are all in the same list. A [`Listing`] reads that list once.
//!
//! Invariant: a key is "none" only by a listing that was read as a whole, goes back as far as the key's ticket can be old, and began
//! after the ticket can have been made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::abi::MAX_CURSOR;
use crate::abi::plugin_side::Call;
use crate::error::{Error, Result};
use crate::incident::unix_time;
use crate::json;
use crate::message::{FindMany, Found, FoundMany, TicketName, WantedKey, fingerprint};

/// With less time left, no other page is asked for.
const TIME_FOR_A_PAGE: Duration = Duration::from_secs(5);
/// After so many bytes of pages a call ends: the host keeps 64 MiB of answers for one call.
const MOST_BYTES: usize = 32 << 20;
/// How often a listing may begin anew within one call.
const MOST_BEGINNINGS: usize = 3;
/// For how long after its beginning a listing shows of a ticket that it didn't have that there is none: others may have made it since, who
/// don't tell the host.
const LONGEST_BELIEVED: Duration = Duration::from_secs(600);
/// How many bytes of tickets are kept: those of about 40,000 tickets.
const MOST_KEPT: usize = 8 << 20;
/// What a ticket costs beside its url and its id.
const COST: usize = 112;

/// A ticket as a page of a list has it.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// The [`fingerprint`]s of the keys that it carries; one that a person made has none.
    pub fingerprints: Vec<String>,
    /// Its url and its id.
    pub ticket: TicketName,
}

/// A page of a list of tickets.
#[derive(Debug, Clone)]
pub struct Page {
    /// The tickets, the oldest first.
    pub tickets: Vec<Listed>,
    /// How many bytes the answers had that it was read from.
    pub bytes: usize,
    /// Where the list goes on.
    pub next: Next,
}

/// Where a list goes on behind a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// At this place: a text of the plugin's own, of at most about 3 KiB, that is not empty.
    Place(String),
    /// At its beginning: it changed so that tickets may have been missed, or the place is one that the ticket system no longer knows.
    Anew,
    /// Nowhere: this was its last page.
    End,
}

/// The list of a ticket system's tickets by the time of their creation, as far as it was read, with what it showed of the tickets that
/// carry keys. It is kept in an instance, and [`Listing::find_many`] is all that a plugin's `find_many` has to do.
///
/// At most 8 MiB of tickets are kept. If there are more, the keys of the call that reads them are found all the same, and the next call
/// lists anew.
#[derive(Debug, Default)]
pub struct Listing {
    run: Option<Run>,
}

/// One reading of the list.
#[derive(Debug)]
struct Run {
    /// The "not_before" from which on it lists; None: all tickets.
    since: Option<String>,
    began: Moment,
    /// Where it goes on: empty at the beginning; None at the end.
    place: Option<String>,
    /// Whether this instance has read it from its beginning.
    is_whole: bool,
    seen: Seen,
}

/// The tickets that a reading showed, by the digests of their keys.
#[derive(Debug, Default)]
struct Seen {
    tickets: BTreeMap<Digest, TicketName>,
    bytes: usize,
    /// Whether there were more than are kept.
    is_over: bool,
}

/// A key's SHA-256.
type Digest = [u8; 32];

/// A moment by two clocks: the wall clock, by which hosts tell times and which people set, and one that only goes forward.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: SystemTime,
    steady: Instant,
}

/// The cursor of a reply.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    since: Option<String>,
    place: String,
    /// How many calls this search has had, so that no cursor is the one that it was asked with.
    calls: u64,
}

/// The keys of a call that are not told yet, and what was told of the others.
#[derive(Debug)]
struct Search<'a> {
    left: BTreeMap<Digest, &'a WantedKey>,
    /// The tickets that were told: none is the ticket of two keys.
    urls: BTreeSet<String>,
    reply: FoundMany,
}

impl Listing {
    /// The reply to a call of `find_many`: from what is known already, and for the keys of which that tells nothing by reading on.
    ///
    /// `page` reads a page of the list of all tickets, in whatever state they are, that were made since a time, the oldest first. It
    /// gets the oldest "not_before" as the host gave it (take [`utc_before`](crate::utc_before), to leave room for clocks; None: all
    /// tickets), and the place that the page before gave, which is empty for the first page. It must notice where tickets that were
    /// removed meanwhile made others move to a page before, and then say [`Next::Anew`] or go back. Its error says that the page didn't
    /// come; what was found until then is told, and the search goes on there in another call.
    ///
    /// A key without "not_after" may have been made just now, so it is never "none" by a listing of an earlier call.
    ///
    /// # Errors
    /// That of `page`, if nothing was found out at all.
    pub fn find_many(
        &mut self,
        call: &Call,
        request: &FindMany,
        page: impl FnMut(Option<&str>, &str) -> Result<Page>,
    ) -> Result<FoundMany> {
        self.search(request, Moment::now(), || call.remaining(), page)
    }

    fn search(
        &mut self,
        request: &FindMany,
        now: Moment,
        remaining: impl Fn() -> Duration,
        mut page: impl FnMut(Option<&str>, &str) -> Result<Page>,
    ) -> Result<FoundMany> {
        let cursor = request.cursor.as_deref().and_then(Cursor::read);
        let calls = cursor.as_ref().map_or(0, |cursor| cursor.calls) + 1;
        let mut search = Search::new(&request.keys);
        let run = self.run_for(&mut search, cursor, now);
        let (mut bytes, mut beginnings) = (0, 0);
        while !search.left.is_empty() {
            let Some(place) = &run.place else {
                search.rest_is_none(|key| covers(run.since.as_deref(), key));
                break;
            };
            if bytes > 0 && (remaining() < TIME_FOR_A_PAGE || bytes > MOST_BYTES) {
                return Ok(search.unfinished(run.cursor(calls), None));
            }
            let read = page(run.since.as_deref(), place).and_then(|read| {
                beginnings += usize::from(read.next == Next::Anew);
                if beginnings <= MOST_BEGINNINGS { Ok(read) } else { Err(changes_too_often()) }
            });
            match read {
                Ok(read) => {
                    bytes += read.bytes.max(1);
                    run.read(read, &mut search);
                }
                Err(error) if search.has_told_nothing() && bytes == 0 => return Err(error),
                Err(error) => {
                    return Ok(search.unfinished(run.cursor(calls), error.retry_after));
                }
            }
        }
        Ok(search.reply)
    }

    /// The reading that tells of the keys that are left: the kept one, if it can, or a new one. What it knows already is told.
    fn run_for(&mut self, search: &mut Search, cursor: Option<Cursor>, now: Moment) -> &mut Run {
        let kept = self.run.take().filter(|run| match &cursor {
            Some(cursor) => run.is_at(cursor),
            None => {
                search.ask(run, now);
                // It goes on for these keys, or is at its end and has told of all of them.
                search.left.values().all(|key| run.proves(key, now))
            }
        });
        let (since, place) = match cursor {
            Some(Cursor { since, place, .. }) => (since, place),
            None => (oldest(search.left.values().copied()), String::new()),
        };
        self.run.insert(kept.unwrap_or_else(|| Run::new(since, place, now)))
    }
}

impl Run {
    fn new(since: Option<String>, place: String, now: Moment) -> Run {
        let is_whole = place.is_empty();
        Run { since, began: now, place: Some(place), is_whole, seen: Seen::default() }
    }

    fn is_at(&self, cursor: &Cursor) -> bool {
        self.place.as_ref() == Some(&cursor.place) && self.since == cursor.since
    }

    fn cursor(&self, calls: u64) -> Option<String> {
        let place = self.place.clone()?;
        let cursor = Cursor { since: self.since.clone(), place, calls };
        let text = serde_json::to_string(&cursor).expect("texts and numbers are always JSON");
        Some(text).filter(|text| text.len() <= MAX_CURSOR)
    }

    /// Whether this reading, once it is at its end, says of a key that it didn't show that there is no ticket.
    fn proves(&self, key: &WantedKey, now: Moment) -> bool {
        let before =
            |time: &str| unix_time(time).is_some_and(|time| time < self.began.seconds(now));
        self.is_whole
            && now.steady.duration_since(self.began.steady) <= LONGEST_BELIEVED
            && !self.seen.is_over
            && covers(self.since.as_deref(), key)
            && key.not_after.as_deref().is_some_and(before)
    }

    fn read(&mut self, page: Page, search: &mut Search) {
        for Listed { fingerprints, ticket } in page.tickets {
            for digest in fingerprints.iter().filter_map(|hex| digest(hex)) {
                // The first one is the oldest.
                search.found(digest, self.seen.tickets.get(&digest).unwrap_or(&ticket));
                self.seen.keep(digest, &ticket);
            }
        }
        self.is_whole |= page.next == Next::Anew;
        self.place = match page.next {
            Next::Place(place) => Some(place),
            Next::Anew => Some(String::new()),
            Next::End => None,
        };
    }
}

impl Seen {
    fn keep(&mut self, digest: Digest, ticket: &TicketName) {
        if self.tickets.contains_key(&digest) {
            return;
        }
        let bytes = ticket.url.len() + ticket.id.len() + COST;
        if self.bytes + bytes > MOST_KEPT {
            self.is_over = true;
            return;
        }
        self.bytes += bytes;
        self.tickets.insert(digest, ticket.clone());
    }
}

impl Moment {
    fn now() -> Moment {
        Moment { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// This moment in seconds since 1970, by the wall clock as it is `now`; the earlier one, if somebody has set that clock since.
    fn seconds(self, now: Moment) -> i64 {
        let passed = now.steady.saturating_duration_since(self.steady);
        let by_steady = now.wall.checked_sub(passed).unwrap_or(SystemTime::UNIX_EPOCH);
        let earlier = self.wall.min(by_steady);
        let since = earlier.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

impl Cursor {
    /// None if it is none of ours: then the search begins anew.
    fn read(text: &str) -> Option<Cursor> {
        json::read(text.as_bytes()).ok()
    }
}

impl<'a> Search<'a> {
    fn new(keys: &'a [WantedKey]) -> Search<'a> {
        let hex = |key: &WantedKey| fingerprint(&key.key);
        let left = keys.iter().filter_map(|key| Some((digest(&hex(key))?, key)));
        Search { left: left.collect(), urls: BTreeSet::new(), reply: FoundMany::default() }
    }

    /// Tells what a reading knows already.
    fn ask(&mut self, run: &Run, now: Moment) {
        let known: Vec<(Digest, &TicketName)> = self
            .left
            .keys()
            .filter_map(|digest| Some((*digest, run.seen.tickets.get(digest)?)))
            .collect();
        for (digest, ticket) in known {
            self.found(digest, ticket);
        }
        if run.place.is_none() {
            self.rest_is_none(|key| run.proves(key, now));
        }
    }

    fn found(&mut self, digest: Digest, ticket: &TicketName) {
        let Some(key) = self.left.get(&digest) else { return };
        // Of a ticket that carries two keys, since people copied a text, one key is told; of the other it wasn't found out.
        if self.urls.insert(ticket.url.clone()) {
            self.reply.found.push(Found { key: key.key.clone(), ticket: ticket.clone() });
        }
        self.left.remove(&digest);
    }

    /// Tells "none" of those keys that are left for which that is certain.
    fn rest_is_none(&mut self, is_certain: impl Fn(&WantedKey) -> bool) {
        let none = self.left.extract_if(.., |_, key| is_certain(key));
        self.reply.none.extend(none.map(|(_, key)| key.key.clone()));
    }

    fn has_told_nothing(&self) -> bool {
        self.reply.found.is_empty() && self.reply.none.is_empty()
    }

    fn unfinished(mut self, cursor: Option<String>, wait: Option<Duration>) -> FoundMany {
        let milliseconds = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.reply.cursor = cursor;
        self.reply.retry_after_ms = wait.map(milliseconds);
        self.reply
    }
}

/// Whether a listing since then has a key's ticket, however old it can be.
fn covers(since: Option<&str>, key: &WantedKey) -> bool {
    let Some(since) = since.and_then(unix_time) else { return true };
    key.not_before.as_deref().and_then(unix_time).is_some_and(|time| since <= time)
}

/// The oldest "not_before"; None if a key has none.
fn oldest<'a>(keys: impl Iterator<Item = &'a WantedKey>) -> Option<String> {
    let times: Option<Vec<(i64, &str)>> = keys
        .map(|key| key.not_before.as_deref().and_then(|text| Some((unix_time(text)?, text))))
        .collect();
    times?.into_iter().min().map(|(_, text)| text.to_owned())
}

/// The bytes that 64 hexadecimal digits stand for.
fn digest(hex: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if hex.len() != 2 * digest.len() {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn changes_too_often() -> Error {
    Error::client(
        "the list of tickets changes faster than it can be read: each time some may have been missed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOON: &str = "2026-11-23T12:00:00Z";
    const ONE: &str = "2026-11-23T13:00:00Z";

    /// Some minutes after 14:00.
    fn at(minutes: u32) -> Moment {
        let two = u64::try_from(unix_time("2026-11-23T14:00:00Z").unwrap()).unwrap();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(two) + minutes * MINUTE;
        static BEGINNING: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Moment { wall, steady: *BEGINNING + minutes * MINUTE }
    }

    fn wanted(key: &str, not_before: Option<&str>, not_after: Option<&str>) -> WantedKey {
        let time = |time: Option<&str>| time.map(str::to_owned);
        WantedKey { key: key.to_owned(), not_before: time(not_before), not_after: time(not_after) }
    }

    /// Keys whose tickets were made between noon and one.
    fn old(keys: &[&str]) -> FindMany {
        let keys = keys.iter().map(|key| wanted(key, Some(NOON), Some(ONE)));
        FindMany { keys: keys.collect(), cursor: None }
    }

    fn named(id: &str) -> TicketName {
        TicketName { url: format!("u:{id}"), id: id.to_owned() }
    }

    fn listed(id: &str, keys: &[&str]) -> Listed {
        let fingerprints = keys.iter().map(|key| fingerprint(key)).collect();
        Listed { fingerprints, ticket: named(id) }
    }

    /// A ticket system with two tickets on each page, which counts how often it is asked.
    #[derive(Default)]
    struct System {
        tickets: Vec<Listed>,
        asked: Vec<(Option<String>, String)>,
        /// The pages that don't come.
        failing: Vec<usize>,
        /// How long each call has.
        time: Option<Duration>,
    }

    impl System {
        fn new(tickets: &[(&str, &[&str])]) -> System {
            let tickets = tickets.iter().map(|(id, keys)| listed(id, keys)).collect();
            System { tickets, ..System::default() }
        }

        fn search(
            &mut self,
            listing: &mut Listing,
            request: &FindMany,
            now: Moment,
        ) -> Result<FoundMany> {
            let time = self.time.unwrap_or(MINUTE);
            let reply = listing.search(
                request,
                now,
                || time,
                |since, place| {
                    self.asked.push((since.map(str::to_owned), place.to_owned()));
                    let number: usize = place.parse().unwrap_or(0);
                    if self.failing.contains(&number) {
                        let wait = Some(Duration::from_secs(7));
                        return Err(Error { retry_after: wait, ..Error::client("down") });
                    }
                    let begin = (number * 2).min(self.tickets.len());
                    let end = (begin + 2).min(self.tickets.len());
                    let next = match end == self.tickets.len() {
                        true => Next::End,
                        false => Next::Place((number + 1).to_string()),
                    };
                    Ok(Page { tickets: self.tickets[begin..end].to_vec(), bytes: 10, next })
                },
            )?;
            assert_eq!(reply.answers(request), Ok(()));
            Ok(reply)
        }
    }

    fn told(reply: &FoundMany) -> (Vec<(&str, &str)>, Vec<&str>) {
        let found = reply.found.iter().map(|f| (f.key.as_str(), f.ticket.id.as_str())).collect();
        (found, reply.none.iter().map(String::as_str).collect())
    }

    #[test]
    fn later_calls_are_told_by_the_listing_of_the_first_one() {
        let mut system = System::new(&[("1", &["a"]), ("2", &[]), ("3", &["b"]), ("4", &["c"])]);
        let mut listing = Listing::default();
        let reply = system.search(&mut listing, &old(&["a", "x"]), at(0)).unwrap();
        assert_eq!(told(&reply), (vec![("a", "1")], vec!["x"]));
        assert_eq!(system.asked.len(), 2);
        let reply = system.search(&mut listing, &old(&["b", "c", "y"]), at(1)).unwrap();
        assert_eq!(told(&reply).0.len(), 2);
        assert_eq!(reply.none, ["y"]);
        assert_eq!(system.asked.len(), 2);
    }

    #[test]
    fn a_call_whose_keys_are_all_found_reads_no_further_and_the_next_one_goes_on_there() {
        let mut system = System::new(&[("1", &["a"]), ("2", &[]), ("3", &["b"]), ("4", &["c"])]);
        let mut listing = Listing::default();
        system.search(&mut listing, &old(&["a"]), at(0)).unwrap();
        assert_eq!(system.asked.len(), 1);
        let reply = system.search(&mut listing, &old(&["a", "x", "c"]), at(1)).unwrap();
        assert_eq!(told(&reply), (vec![("a", "1"), ("c", "4")], vec!["x"]));
        assert_eq!(system.asked.len(), 2);
    }

    #[test]
    fn none_is_believed_only_of_what_the_listing_can_have_seen() {
        for (not_before, not_after, believed) in [
            (Some(NOON), Some(ONE), true),
            (Some(NOON), Some("2026-11-23T13:59:59Z"), true),
            (Some("2026-11-23T13:00:00+01:00"), Some(ONE), true),
            // It may have been made after the listing began, or while it did.
            (Some(NOON), Some("2026-11-23T14:00:00Z"), false),
            (Some(NOON), None, false),
            (Some(NOON), Some("tomorrow"), false),
            // It may be older than all that was listed.
            (Some("2026-11-23T11:59:59Z"), Some(ONE), false),
            (None, Some(ONE), false),
            (Some("yesterday"), Some(ONE), false),
        ] {
            let mut system = System::new(&[("1", &["a"])]);
            let mut listing = Listing::default();
            system.search(&mut listing, &old(&["x"]), at(0)).unwrap();
            let keys = vec![wanted("y", not_before, not_after)];
            let request = FindMany { keys, cursor: None };
            let reply = system.search(&mut listing, &request, at(5)).unwrap();
            assert_eq!(reply.none, ["y"]);
            let case = format!("{not_before:?} {not_after:?}");
            assert_eq!(system.asked.len(), if believed { 1 } else { 2 }, "{case}");
        }
    }

    #[test]
    fn a_listing_begins_with_the_oldest_key_or_with_all_tickets() {
        for (times, since) in [
            (&[Some(ONE), Some(NOON)][..], Some(NOON)),
            (&[Some("2026-11-23T13:30:00+02:00"), Some(NOON)], Some("2026-11-23T13:30:00+02:00")),
            (&[Some(NOON), None], None),
            (&[Some(NOON), Some("nonsense")], None),
        ] {
            let keys = times.iter().enumerate().map(|(n, &t)| wanted(&n.to_string(), t, None));
            let request = FindMany { keys: keys.collect(), cursor: None };
            let mut system = System::default();
            system.search(&mut Listing::default(), &request, at(0)).unwrap();
            assert_eq!(system.asked, [(since.map(str::to_owned), String::new())], "{times:?}");
        }
    }

    #[test]
    fn a_listing_that_is_older_than_ten_minutes_still_finds_and_says_none_of_nothing() {
        let mut system = System::new(&[("1", &["a"]), ("2", &["b"])]);
        let mut listing = Listing::default();
        system.search(&mut listing, &old(&["x"]), at(0)).unwrap();
        let asked = system.asked.len();
        let reply = system.search(&mut listing, &old(&["a", "y"]), at(10)).unwrap();
        assert_eq!((told(&reply), system.asked.len()), ((vec![("a", "1")], vec!["y"]), asked));
        let reply = system.search(&mut listing, &old(&["b"]), at(11)).unwrap();
        assert_eq!((told(&reply), system.asked.len()), ((vec![("b", "2")], vec![]), asked));
        let reply = system.search(&mut listing, &old(&["z"]), at(11)).unwrap();
        assert_eq!(told(&reply), (vec![], vec!["z"]));
        assert!(system.asked.len() > asked, "it is read anew");
    }

    #[test]
    fn a_clock_that_is_set_makes_no_listing_younger_than_it_is() {
        let noon = at(0);
        let seconds = |moment: Moment| moment.seconds(moment);
        // The clock was an hour ahead when the listing began, and was set right since.
        let ahead = Moment { wall: noon.wall + 60 * MINUTE, ..noon };
        assert_eq!(ahead.seconds(at(10)), seconds(at(0)));
        // It was an hour behind, and was set right since.
        let behind = Moment { wall: noon.wall - 60 * MINUTE, ..noon };
        assert_eq!(behind.seconds(at(10)), seconds(behind));
        assert_eq!(noon.seconds(at(10)), seconds(noon));
    }

    #[test]
    fn a_search_goes_on_by_its_cursor_in_this_instance_or_another_one() {
        let pages: [(&str, &[&str]); 5] =
            [("1", &["a"]), ("2", &[]), ("3", &["b"]), ("4", &[]), ("5", &["c"])];
        let mut system = System::new(&pages);
        system.time = Some(Duration::from_secs(1));
        let mut listing = Listing::default();
        let first = system.search(&mut listing, &old(&["a", "b", "c", "x"]), at(0)).unwrap();
        assert_eq!(told(&first), (vec![("a", "1")], vec![]));
        let mut left = old(&["b", "c", "x"]);
        left.cursor = first.cursor;
        let second = system.search(&mut listing, &left, at(0)).unwrap();
        let mut left = old(&["c", "x"]);
        left.cursor = second.cursor;
        let mut other = Listing::default();
        for listing in [&mut other, &mut listing] {
            let third = system.search(listing, &left, at(0)).unwrap();
            assert_eq!(told(&third), (vec![("c", "5")], vec!["x"]));
            assert_eq!(third.cursor, None);
        }
        assert_eq!(system.asked.len(), 4);
        // The other instance has read the last page alone, which proves nothing of other keys; the first one has read all.
        system.search(&mut listing, &old(&["y"]), at(1)).unwrap();
        assert_eq!(system.asked.len(), 4);
        system.time = None;
        system.search(&mut other, &old(&["y"]), at(1)).unwrap();
        assert_eq!(system.asked.len(), 7);
    }

    #[test]
    fn a_page_that_does_not_come_is_an_error_if_nothing_was_found_out_and_else_a_cursor() {
        let mut system = System::new(&[("1", &["a"]), ("2", &[]), ("3", &["b"])]);
        let mut listing = Listing::default();
        system.failing = vec![0];
        system.search(&mut listing, &old(&["a"]), at(0)).unwrap_err();
        system.failing = vec![1];
        let reply = system.search(&mut listing, &old(&["a", "b"]), at(0)).unwrap();
        assert_eq!((told(&reply), reply.retry_after_ms), ((vec![("a", "1")], vec![]), Some(7000)));
        // Nor is a key told "none" by what was read until then.
        let mut left = old(&["b"]);
        left.cursor = reply.cursor;
        system.search(&mut listing, &left, at(0)).unwrap_err();
        system.failing.clear();
        let reply = system.search(&mut listing, &left, at(0)).unwrap();
        assert_eq!(told(&reply), (vec![("b", "3")], vec![]));
    }

    #[test]
    fn a_cursor_that_nobody_understands_begins_anew() {
        let mut system = System::new(&[("1", &[]), ("2", &[]), ("3", &["b"])]);
        for cursor in ["", "7", "{}", "{\"place\": 1}"] {
            let mut request = old(&["b", "x"]);
            request.cursor = Some(cursor.to_owned());
            let reply = system.search(&mut Listing::default(), &request, at(0)).unwrap();
            assert_eq!(told(&reply), (vec![("b", "3")], vec!["x"]), "{cursor}");
        }
    }

    #[test]
    fn a_list_that_changes_is_read_anew_and_not_for_ever() {
        let mut listing = Listing::default();
        for (changes, asked) in [(1, 3), (3, 7), (4, 8)] {
            let mut pages = 0;
            let reply = listing.search(
                &old(&["a", "x"]),
                at(0),
                || MINUTE,
                |_, place| {
                    pages += 1;
                    let (tickets, next) = match place {
                        "" => (vec![], Next::Place("1".to_owned())),
                        _ if pages / 2 <= changes => (vec![], Next::Anew),
                        _ => (vec![listed("1", &["a"])], Next::End),
                    };
                    Ok(Page { tickets, bytes: 1, next })
                },
            );
            let reply = reply.unwrap();
            assert_eq!(reply.none.len(), usize::from(changes < 4), "{changes}");
            assert_eq!(reply.cursor.is_some(), changes == 4);
            assert_eq!(pages, if changes < 4 { 2 * changes + 2 } else { asked });
            listing = Listing::default();
        }
    }

    #[test]
    fn of_tickets_with_one_key_the_oldest_counts_and_a_ticket_is_told_once() {
        let tickets: [(&str, &[&str]); 3] = [("1", &["a"]), ("2", &["a"]), ("3", &["b", "c"])];
        let mut system = System::new(&tickets);
        let mut listing = Listing::default();
        for now in [at(0), at(1)] {
            let reply = system.search(&mut listing, &old(&["a", "b", "c"]), now).unwrap();
            // Of "c" it isn't found out, since that ticket is told for "b".
            let found = reply.found.iter().map(|found| found.ticket.id.as_str());
            assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from(["1", "3"]));
            assert_eq!((reply.none.len(), reply.cursor), (0, None));
        }
    }

    #[test]
    fn more_tickets_than_are_kept_are_found_and_nothing_else_is_said_by_them() {
        let long = "u".repeat(4000);
        let tickets = (0..3000).map(|n| {
            let mut ticket = listed(&n.to_string(), &[&n.to_string()]);
            ticket.ticket.url += &long;
            ticket
        });
        let mut system = System { tickets: tickets.collect(), ..System::default() };
        let mut listing = Listing::default();
        let reply = system.search(&mut listing, &old(&["0", "2999", "x"]), at(0)).unwrap();
        assert_eq!(told(&reply), (vec![("0", "0"), ("2999", "2999")], vec!["x"]));
        let seen = &listing.run.as_ref().unwrap().seen;
        assert!(seen.is_over && seen.bytes <= MOST_KEPT, "{}", seen.bytes);
        let asked = system.asked.len();
        let reply = system.search(&mut listing, &old(&["1", "2998", "y"]), at(1)).unwrap();
        assert_eq!(told(&reply), (vec![("1", "1"), ("2998", "2998")], vec!["y"]));
        assert_eq!(system.asked.len(), 2 * asked);
    }

    #[test]
    fn a_digest_is_read_of_64_hexadecimal_digits_alone() {
        assert_eq!(digest(&"0f".repeat(32)), Some([15; 32]));
        for none in ["", &"0f".repeat(31), &"0f".repeat(33), &"xy".repeat(32), &"å".repeat(32)] {
            assert_eq!(digest(none), None, "{none}");
        }
    }
}
