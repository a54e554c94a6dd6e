//! Whether a backend can make tickets, as far as the host knows without asking it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decide::Health;
use super::retry::{Breaker, Cause, Change, Event};
use crate::error::Kind;
use crate::store::Failure;

/// So many calls in a row that failed by themselves, each for another ticket perhaps, are no longer about the tickets.
const ROW: u32 = 3;

/// Why a backend can't make tickets now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unfit {
    /// Its plugin isn't there or can't be used, or its settings are wrong
    Unprepared,
    /// Its last call failed for its settings, such as a token that is refused, or for its plugin's library. What is accepted
    /// for it waits for a person; one ticket is tried now and then, and when it is made, all go on
    Settings,
    /// The ticket system refused what the last calls asked for
    Refused,
    /// Its plugin broke in the last calls
    Broken,
    /// The ticket system can't be reached
    Down,
    /// The ticket system asked to be left alone for a while
    Paused,
    /// The machine that the host runs on has no room for what a call needs, such as another process
    Machine,
}

impl Unfit {
    /// As answers and metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Unfit::Unprepared => "unprepared",
            Unfit::Settings => "settings",
            Unfit::Refused => "refused",
            Unfit::Broken => "broken",
            Unfit::Down => "down",
            Unfit::Paused => "paused",
            Unfit::Machine => "machine",
        }
    }
}

/// What is known about a backend.
#[derive(Debug, Clone)]
pub struct Standing {
    pub name: String,
    /// None if nothing is known that keeps it from making tickets.
    pub unfit: Option<Unfit>,
    /// What it is about, if it is about a failure.
    pub failure: Option<Failure>,
}

/// How a call ended that told something.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub failure: Option<&'a Failure>,
    pub health: Health,
    /// Whether it made a ticket.
    pub made: bool,
}

/// What the calls of a backend have told about it.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub breaker: Breaker,
    /// What the breaker's last call failed with.
    failure: Option<Failure>,
    streak: Streak,
    /// When it made its last ticket.
    made: Option<Instant>,
    /// Whether the ticket system's last word was that it wants to be left alone.
    is_asked_to_wait: bool,
    /// How often a host that held it for a cause has found that it makes tickets again, as far as this one has heard.
    released: HashMap<Cause, i64>,
}

impl Record {
    /// A call ended that had this stamp of the breaker's. What that changed, if it is about the backend; and whether it is
    /// news, which the log is to have.
    pub(super) fn add(&mut self, end: End<'_>, stamp: u64, now: Instant) -> Heard {
        self.streak.add(end.failure);
        if end.made {
            self.made = Some(Instant::now());
        }
        let event = match end.health {
            Health::Failing(cause) => Some(Event::Failed(cause)),
            Health::Up if end.made => Some(Event::Made),
            Health::Up => Some(Event::Answered),
            Health::Unsaid => None,
        };
        let change = event.and_then(|event| self.breaker.step(event, stamp, now));
        if let (Some(_), Health::Failing(_)) = (change, end.health) {
            self.failure = end.failure.cloned();
        }
        let asks =
            end.health == Health::Unsaid && end.failure.is_some_and(|f| f.kind == Kind::Client);
        let asked_before = std::mem::replace(&mut self.is_asked_to_wait, asks);
        let is_news = match end.health {
            // What it is held for has a line of its own.
            Health::Failing(_) => change == Some(Change::Suspected),
            Health::Up | Health::Unsaid => !(asks && asked_before),
        };
        Heard { change, is_news }
    }

    /// What was known may be true no longer.
    pub(super) fn renew(&mut self, now: Instant) {
        self.streak = Streak::default();
        self.breaker.step(Event::Renewed, self.breaker.generation(), now);
    }

    /// What hosts have noted for each other of a cause for which they hold it, as it was read after `asked`.
    pub(super) fn hear(&mut self, cause: Cause, left: Duration, released: i64, asked: Instant) {
        let now = Instant::now();
        if self.knows_released(cause, released) {
            self.breaker.is_released_elsewhere(cause, now);
        } else {
            self.breaker.agree(cause, now + left, asked);
        }
    }

    /// It was released so often. Whether that is news.
    pub(super) fn knows_released(&mut self, cause: Cause, released: i64) -> bool {
        self.released.insert(cause, released).unwrap_or_default() != released
    }

    /// Whether it has made a ticket within that time.
    pub(super) fn has_made_within(&self, time: Duration) -> bool {
        self.made.is_some_and(|made| made.elapsed() < time)
    }

    /// Why the backend can't make tickets, by its last calls, and what the last of them failed with.
    pub(super) fn unfit(&self) -> Option<(Unfit, Failure)> {
        let unfit = match self.breaker.cause() {
            Some(Cause::Machine) => Unfit::Machine,
            Some(Cause::Down) => Unfit::Down,
            Some(Cause::Settings) => Unfit::Settings,
            None => return self.streak.unfit(),
        };
        Some((unfit, self.failure.clone()?))
    }

    /// What a person must do before the backend can make a ticket. `failed` is what the ticket's own last try failed with.
    pub(super) fn needs_person(&self, failed: Option<&Failure>, now: Instant) -> Option<Failure> {
        if self.breaker.cause() != Some(Cause::Settings) {
            return None;
        }
        let own = failed.filter(|failure| failure.kind == Kind::Settings).cloned();
        own.or_else(|| self.failure.clone().filter(|_| self.breaker.keeps_from(now).is_some()))
    }
}

/// What a call told about its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub change: Option<Change>,
    /// Whether the log is to have a line of its ticket.
    pub is_news: bool,
}

/// The calls of a backend that failed in the same way, one after another, and not for what the breaker holds it for.
#[derive(Debug, Default)]
struct Streak(Option<Failed>);

#[derive(Debug)]
struct Failed {
    reason: Unfit,
    times: u32,
    last: Failure,
}

impl Streak {
    /// One more call ended.
    fn add(&mut self, failure: Option<&Failure>) {
        let Some(failure) = failure else {
            self.0 = None;
            return;
        };
        let Some(reason) = reason(failure.kind) else { return };
        let times = match &self.0 {
            Some(before) if before.reason == reason => before.times.saturating_add(1),
            _ => 1,
        };
        self.0 = Some(Failed { reason, times, last: failure.clone() });
    }

    fn unfit(&self) -> Option<(Unfit, Failure)> {
        let Failed { reason, times, last } = self.0.as_ref()?;
        let most = if *reason == Unfit::Settings { 1 } else { ROW };
        (*times >= most).then(|| (*reason, last.clone()))
    }
}

/// What a failure can say about its backend in a row of its like. None: the breaker counts it, or it is only about its incident.
fn reason(kind: Kind) -> Option<Unfit> {
    match kind {
        Kind::Import => Some(Unfit::Settings),
        Kind::Creation => Some(Unfit::Refused),
        Kind::Plugin => Some(Unfit::Broken),
        Kind::Settings | Kind::Client | Kind::Usage | Kind::Output => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Failing, Unsaid, Up};
    use Kind::{Client, Creation, Import, Plugin, Settings, Usage};

    const DOWN: Health = Failing(Cause::Down);
    const HELD: Health = Failing(Cause::Settings);

    fn add(record: &mut Record, kind: Option<Kind>, health: Health) -> Heard {
        let failure = kind.map(|kind| Failure::new(kind, "no", None));
        let end = End { failure: failure.as_ref(), health, made: kind.is_none() };
        record.add(end, record.breaker.generation(), Instant::now())
    }

    #[test]
    fn a_backend_is_unfit_after_failures_that_are_not_about_one_ticket() {
        for (calls, expected) in [
            (&[][..], None),
            (&[(Settings, HELD)], Some(Unfit::Settings)),
            (&[(Settings, Up)], None),
            (&[(Import, Unsaid)], Some(Unfit::Settings)),
            (&[(Creation, Up); 2], None),
            (&[(Creation, Up); 3], Some(Unfit::Refused)),
            (&[(Plugin, Unsaid); 2], None),
            (&[(Plugin, Unsaid); 3], Some(Unfit::Broken)),
            (&[(Client, DOWN); 1], None),
            (&[(Client, DOWN); 2], Some(Unfit::Down)),
            (&[(Client, Failing(Cause::Machine)); 2], Some(Unfit::Machine)),
            // It asked for a pause: nothing is wrong.
            (&[(Client, Unsaid); 9], None),
            (&[(Usage, Unsaid); 9], None),
            // Settings that were refused, and then a call that never came so far.
            (&[(Settings, HELD), (Client, Unsaid)], Some(Unfit::Settings)),
            (&[(Settings, HELD), (Client, DOWN)], Some(Unfit::Settings)),
            // Failures of different kinds are no row.
            (&[(Creation, Up), (Creation, Up), (Plugin, Unsaid)], None),
        ] {
            let mut record = Record::default();
            for (kind, health) in calls {
                add(&mut record, Some(*kind), *health);
            }
            assert_eq!(record.unfit().map(|(unfit, _)| unfit), expected, "{calls:?}");
            add(&mut record, None, Up);
            assert!(record.unfit().is_none(), "a ticket was made: {calls:?}");
        }
    }

    #[test]
    fn the_log_has_the_first_ticket_of_an_outage_and_of_a_pause_and_no_other() {
        let mut record = Record::default();
        for (kind, health, is_news) in [
            (Some(Client), DOWN, true),
            (Some(Client), DOWN, false),
            (Some(Client), DOWN, false),
            (None, Up, true),
            (Some(Client), Unsaid, true),
            (Some(Client), Unsaid, false),
            (None, Up, true),
            (Some(Client), Unsaid, true),
            (Some(Settings), HELD, true),
            (Some(Settings), HELD, false),
            (Some(Plugin), Unsaid, true),
            (Some(Plugin), Unsaid, true),
        ] {
            assert_eq!(add(&mut record, kind, health).is_news, is_news, "{kind:?} {health:?}");
        }
    }

    #[test]
    fn a_release_is_heard_once_and_of_its_own_this_host_hears_nothing() {
        let now = Instant::now;
        let minute = Duration::from_secs(60);
        let mut record = Record::default();
        record.hear(Cause::Settings, minute, 7, now());
        let hold = |record: &mut Record| {
            for _ in 0..3 {
                add(record, Some(Settings), HELD);
            }
            record.breaker.is_noted(now());
        };
        hold(&mut record);
        let may = |record: &Record| record.breaker.may_begin(8, 0, false, now());
        record.hear(Cause::Settings, 9 * minute, 7, now());
        assert_eq!(may(&record), 0, "others have worked for long");
        record.hear(Cause::Down, minute, 1, now());
        assert_eq!(may(&record), 0);
        assert!(record.knows_released(Cause::Settings, 8), "its own");
        record.hear(Cause::Settings, minute, 8, now());
        assert_eq!(may(&record), 0);
        record.hear(Cause::Settings, minute, 9, now());
        assert_eq!(may(&record), 1);
        hold(&mut record);
        record.hear(Cause::Settings, Duration::ZERO, 9, now());
        let soon = now() + Duration::from_secs(1);
        assert_eq!(record.breaker.may_begin(8, 0, false, soon), 1, "its turn");
    }

    #[test]
    fn who_waits_is_told_what_a_person_must_do_unless_it_may_be_done() {
        let now = Instant::now;
        let own = Failure::new(Settings, "own", None);
        let mut record = Record::default();
        assert_eq!(record.needs_person(Some(&own), now()), None, "that was long ago");
        add(&mut record, Some(Settings), HELD);
        assert_eq!(record.needs_person(Some(&own), now()), Some(own.clone()));
        assert_eq!(record.needs_person(None, now()), None, "it is tried next");
        add(&mut record, Some(Settings), HELD);
        assert_eq!(record.needs_person(None, now()).unwrap().message, "no");
        record.renew(now());
        assert_eq!(record.needs_person(Some(&own), now()), None);
    }
}
