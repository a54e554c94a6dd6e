//! When what failed is tried again: a ticket by itself, and all tickets of a backend that is held. Decided, and nothing done.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(2);
/// The longest pause between two calls that find out whether a ticket system is back: with [`BEHIND`] also the only ticket that waits is tried
/// again within 4 s, and so requests flow within 5 s of the system's return.
const LONGEST_BREAK: Duration = Duration::from_secs(3);
/// The same where it is this machine that lacks something: finding out costs nobody else anything.
const LONGEST_OF_MACHINE: Duration = Duration::from_secs(10);
/// The pauses while a person is needed, in seconds. Each try is a refused login, and some systems lock who has many.
const PAUSES_OF_SETTINGS: [u64; 3] = [60, 120, 300];
/// How long after a held backend's next call a ticket that failed meanwhile is due, so that the call is for another one if
/// there is one: a ticket that can't be made must not be the only one that is ever tried.
const BEHIND: Duration = Duration::from_secs(1);

/// How long to wait after try number `attempt` (from 1): doubled each time up to `longest`, with
/// jitter so that what failed together isn't tried together.
pub(super) fn wait(attempt: i64, longest: Duration) -> Duration {
    let doublings = attempt.saturating_sub(1).clamp(0, 20) as u32;
    jitter((FIRST * 2_u32.pow(doublings)).min(longest))
}

/// A random time between half of `time` and all of it.
fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// What keeps a backend from making tickets, whichever ticket it is. The later one counts if there are two: as long as a
/// person must mend the settings, it doesn't matter that the ticket system is restarted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Cause {
    /// This machine has no room for what a call needs, such as another process.
    Machine,
    /// The ticket system can't be reached, or fails.
    Down,
    /// The ticket system refuses the settings, the login, or what the login may do.
    Settings,
}

impl Cause {
    /// What hosts that share a store call it among each other; None where it concerns one of them alone.
    pub(super) const fn shared(self) -> Option<&'static str> {
        match self {
            Cause::Machine => None,
            Cause::Down => Some("down"),
            Cause::Settings => Some("settings"),
        }
    }

    /// The cause that hosts call so.
    pub(super) fn of_shared(name: &str) -> Option<Cause> {
        [Cause::Down, Cause::Settings].into_iter().find(|cause| cause.shared() == Some(name))
    }

    /// How long a host has its turn in finding out how the backend is, if it isn't heard of any more. Of a system that is down, others may ask
    /// meanwhile.
    pub(super) fn turn(self, call_timeout: Duration) -> Duration {
        match self {
            Cause::Machine | Cause::Down => call_timeout.min(LONGEST_BREAK),
            Cause::Settings => call_timeout,
        }
    }

    /// How long no call begins after so many failures in a row, each of a call that began after the one before had failed.
    ///
    /// The first failure may be about its ticket alone: another one is tried at once.
    fn pause(self, failures: u32) -> Duration {
        let Some(more) = failures.checked_sub(2) else { return Duration::ZERO };
        let doubled = Duration::from_secs(1 << more.min(6));
        match self {
            Cause::Machine => doubled.min(LONGEST_OF_MACHINE),
            Cause::Down => doubled.min(LONGEST_BREAK),
            Cause::Settings => {
                let last = PAUSES_OF_SETTINGS.len() - 1;
                Duration::from_secs(PAUSES_OF_SETTINGS[last.min(more as usize)])
            }
        }
    }
}

/// What a call of a backend came to, or who has it tried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The ticket system answered.
    Answered,
    /// It made a ticket.
    Made,
    Failed(Cause),
    /// The settings were read anew, or a person wants a ticket tried: what was known may be true no longer.
    Renewed,
}

/// What an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A call failed. The next one tells whether that was about its ticket alone.
    Suspected,
    /// The next one failed, too: the backend is held for this cause.
    Held(Cause),
    /// It still is.
    StillHeld,
    /// Calls begin freely again.
    Released {
        /// What it was held for, if that was said ([`Change::Held`]).
        told: Option<Cause>,
        /// When the first call failed.
        since: Instant,
        /// Whether no other host that held it has found so before.
        is_first: bool,
    },
}

/// A backend's circuit breaker: holds its calls while they would fail whichever ticket they are for. One call at a time is
/// let through, after pauses that grow; when it succeeds, all are.
///
/// A call is stamped with the breaker's generation when it begins. One outage is one failure: the calls that were under way
/// when it was noticed have an older stamp, and their failures say nothing new.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    generation: u64,
    hold: Option<Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hold {
    cause: Cause,
    /// Failures in a row. 0: it was renewed, and nothing is known since.
    failures: u32,
    until: Instant,
    since: Instant,
    told: Option<Cause>,
    /// Whether no other host has said that it makes tickets again.
    is_first: bool,
    /// Since when other hosts can read of its last failure.
    noted: Option<Instant>,
}

impl Breaker {
    /// What a call that begins now is stamped with.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A call with this stamp ended so, or the backend is renewed.
    pub(super) fn step(&mut self, event: Event, stamp: u64, now: Instant) -> Option<Change> {
        let is_new = stamp == self.generation;
        match (event, self.hold) {
            (Event::Failed(cause), hold) if is_new => Some(self.fail(cause, hold, now)),
            (Event::Answered | Event::Made, Some(hold)) => {
                let ends = match hold.cause {
                    // However long ago the call began, the ticket system answers now.
                    Cause::Down => true,
                    Cause::Machine => is_new,
                    // Looking for a ticket may be allowed where making one isn't.
                    Cause::Settings => is_new && event == Event::Made,
                };
                ends.then(|| {
                    self.hold = None;
                    Change::Released { told: hold.told, since: hold.since, is_first: hold.is_first }
                })
            }
            (Event::Renewed, Some(hold)) => {
                self.hold = Some(Hold { failures: 0, until: now, ..hold });
                None
            }
            (Event::Failed(_), _) | (_, None) => None,
        }
    }

    fn fail(&mut self, cause: Cause, hold: Option<Hold>, now: Instant) -> Change {
        self.generation += 1;
        let (since, told) = hold.map_or((now, None), |hold| (hold.since, hold.told));
        let (cause, failures) = match hold {
            Some(hold) if cause <= hold.cause => (hold.cause, hold.failures.saturating_add(1)),
            _ => (cause, 1),
        };
        let until = now + cause.pause(failures);
        let told = if failures < 2 { told } else { Some(cause) };
        // What this host finds from now on counts more than what another one found before.
        self.hold = Some(Hold { cause, failures, until, since, told, is_first: true, noted: None });
        match failures {
            1 => Change::Suspected,
            2 => Change::Held(cause),
            _ => Change::StillHeld,
        }
    }

    /// How many calls may begin, if so many of `all` are under way, and whether one of these finds out how the backend is.
    pub(super) fn may_begin(
        &self,
        all: usize,
        under_way: usize,
        probing: bool,
        now: Instant,
    ) -> usize {
        match self.hold {
            None => all.saturating_sub(under_way),
            Some(hold) => usize::from(!probing && now >= hold.until),
        }
    }

    /// What it is held for, if the hosts that hold it for that take turns in finding out how it is: more than one call said so, and it isn't only
    /// this machine that lacks something.
    pub(super) fn shared_cause(&self) -> Option<Cause> {
        let hold = self.hold.filter(|hold| hold.failures > 1 && hold.cause.shared().is_some())?;
        Some(hold.cause)
    }

    /// The hosts that hold it for this cause have agreed when the next one finds out how it is, as this one read after `asked`. What it has to
    /// say itself is not there yet, if that is not noted since before.
    pub(super) fn agree(&mut self, cause: Cause, until: Instant, asked: Instant) {
        let is_shared = self.shared_cause() == Some(cause);
        if let Some(hold) = self.hold.as_mut().filter(|_| is_shared)
            && hold.noted.is_some_and(|noted| noted <= asked)
        {
            // Whoever is nearest to the store would have each turn.
            hold.until = until + BEHIND.mul_f64(fastrand::f64());
        }
    }

    /// Others can read now what this host found last.
    pub(super) fn is_noted(&mut self, now: Instant) {
        if let Some(hold) = self.hold.as_mut() {
            hold.noted = Some(now);
        }
    }

    /// Another host that held it for this cause found that it makes tickets again: this one finds out, too. Its own settings may be wrong, or
    /// its network be cut.
    pub(super) fn is_released_elsewhere(&mut self, cause: Cause, now: Instant) {
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.cause == cause) {
            (hold.failures, hold.until, hold.is_first) = (0, now, false);
        }
    }

    /// How long this host would wait by itself after the failure that changed this. Nothing else keeps others from trying at once.
    pub(super) fn pause(&self, change: Change) -> Duration {
        match (change, self.hold) {
            (Change::Held(_) | Change::StillHeld, Some(hold)) => hold.cause.pause(hold.failures),
            _ => Duration::ZERO,
        }
    }

    /// Until when no call may begin.
    pub(super) fn until(&self) -> Option<Instant> {
        self.hold.map(|hold| hold.until)
    }

    /// What the backend is held for, if more than one call said so. Settings need no second one to be told: the first to
    /// wait for its ticket is who can mend them.
    pub(super) fn cause(&self) -> Option<Cause> {
        let hold =
            self.hold.filter(|hold| hold.failures > u32::from(hold.cause != Cause::Settings));
        hold.map(|hold| hold.cause)
    }

    /// What keeps tickets from being made now, so that nobody need wait for one.
    pub(super) fn keeps_from(&self, now: Instant) -> Option<Cause> {
        // The call that finds out whether the settings were mended may be the one that somebody waits for.
        self.cause()
            .filter(|cause| *cause != Cause::Settings || self.hold.is_some_and(|h| now < h.until))
    }

    /// How long a ticket waits whose call failed for what concerns its backend, and by itself would wait for `own`.
    ///
    /// With `is_shared` another host may make it: a login that is refused here puts it off for that one only as long as the ticket itself waits.
    pub(super) fn wait(
        &self,
        own: Duration,
        change: Option<Change>,
        is_shared: bool,
        now: Instant,
    ) -> Duration {
        match self.hold {
            // The outage that it met is over already.
            None => own.min(BEHIND),
            // It may be about this ticket alone.
            Some(_) if change == Some(Change::Suspected) => own.max(BEHIND),
            Some(hold) if hold.failures < 2 => own.min(LONGEST_BREAK).max(BEHIND),
            Some(hold) if is_shared && hold.cause == Cause::Settings => own.max(BEHIND),
            Some(hold) => hold.until.saturating_duration_since(now) + BEHIND,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Cause::{Down, Machine, Settings};
    use Event::{Answered, Failed, Made, Renewed};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        for (attempt, seconds) in [(1, 2.0), (2, 4.0), (3, 8.0), (10, 600.0), (i64::MAX, 600.0)] {
            let wait = wait(attempt, Duration::from_secs(600)).as_secs_f64();
            assert!((seconds / 2.0..=seconds).contains(&wait), "{attempt}: {wait}");
        }
    }

    /// A breaker after these events, each of a call that began after the one before had ended, and each at the moment `now`.
    fn after(events: &[Event], now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for event in events {
            breaker.step(*event, breaker.generation(), now);
        }
        breaker
    }

    #[test]
    fn one_call_at_a_time_is_let_through_after_pauses_that_grow() {
        let now = Instant::now();
        for (cause, pauses) in [
            (Down, &[0, 1, 2, 3, 3, 3][..]),
            (Machine, &[0, 1, 2, 4, 8, 10, 10]),
            (Settings, &[0, 60, 120, 300, 300]),
        ] {
            let mut breaker = Breaker::default();
            assert_eq!((breaker.may_begin(8, 3, false, now), breaker.until()), (5, None));
            for seconds in pauses {
                breaker.step(Failed(cause), breaker.generation(), now);
                let until = now + *seconds * SECOND;
                assert_eq!(breaker.until(), Some(until), "{cause:?} {seconds}");
                assert_eq!(breaker.may_begin(8, 0, false, until), 1);
                assert_eq!(breaker.may_begin(8, 7, false, until), 1, "older calls may hang");
                assert_eq!(breaker.may_begin(8, 0, true, until), 0);
                if *seconds > 0 {
                    assert_eq!(breaker.may_begin(8, 0, false, until - SECOND / 2), 0);
                }
            }
        }
    }

    #[test]
    fn an_outage_is_one_failure_however_many_calls_were_under_way() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.step(Failed(Down), 0, now), Some(Change::Suspected));
        for _ in 1..64 {
            assert_eq!(breaker.step(Failed(Down), 0, now), None);
        }
        assert_eq!(breaker.until(), Some(now));
        assert_eq!(breaker.step(Failed(Down), 1, now), Some(Change::Held(Down)));
        assert_eq!(breaker.step(Failed(Down), 2, now), Some(Change::StillHeld));
        // A call that hung since before it was down ends long after it is back.
        let told = Some(Down);
        assert_eq!(
            breaker.step(Made, 3, now),
            Some(Change::Released { told, since: now, is_first: true })
        );
        assert_eq!(breaker.step(Failed(Down), 0, now), None);
        assert_eq!(breaker.may_begin(8, 0, false, now), 8);
    }

    #[test]
    fn what_ends_a_hold_is_an_answer_that_its_cause_would_have_prevented() {
        let now = Instant::now();
        for (cause, event, is_new, ends) in [
            (Down, Answered, true, true),
            (Down, Made, true, true),
            (Down, Answered, false, true),
            (Machine, Answered, true, true),
            (Machine, Made, false, false),
            (Settings, Made, true, true),
            (Settings, Made, false, false),
            (Settings, Answered, true, false),
        ] {
            for failures in 1..4 {
                let mut breaker = after(&vec![Failed(cause); failures], now);
                let stamp = if is_new { breaker.generation() } else { 0 };
                let change = breaker.step(event, stamp, now);
                let told = (failures > 1).then_some(cause);
                let expected =
                    ends.then_some(Change::Released { told, since: now, is_first: true });
                assert_eq!(change, expected, "{cause:?} {event:?} {is_new}");
                assert_eq!(breaker.until().is_none(), ends);
            }
        }
    }

    #[test]
    fn what_is_known_of_a_backend_and_whether_anybody_need_wait() {
        let now = Instant::now();
        let (later, much_later) = (now + SECOND / 2, now + 100 * SECOND);
        for (events, known, keeps_now, keeps_later) in [
            (&[][..], None, None, None),
            (&[Failed(Down)], None, None, None),
            (&[Failed(Down), Failed(Down)], Some(Down), Some(Down), Some(Down)),
            (&[Failed(Down), Answered], None, None, None),
            (&[Failed(Machine), Failed(Machine)], Some(Machine), Some(Machine), Some(Machine)),
            (&[Failed(Settings)], Some(Settings), None, None),
            (&[Failed(Settings), Failed(Settings)], Some(Settings), Some(Settings), None),
            // Settings stay wrong while the ticket system is down, and count more than that it was.
            (&[Failed(Settings), Failed(Down)], Some(Settings), Some(Settings), None),
            (&[Failed(Down), Failed(Down), Failed(Settings)], Some(Settings), None, None),
            (&[Failed(Down), Failed(Machine)], Some(Down), Some(Down), Some(Down)),
            (&[Failed(Settings), Failed(Settings), Renewed], None, None, None),
            (&[Renewed], None, None, None),
        ] {
            let breaker = after(events, now);
            assert_eq!(breaker.cause(), known, "{events:?}");
            assert_eq!(breaker.keeps_from(later), keeps_now, "{events:?}");
            assert_eq!(breaker.keeps_from(much_later), keeps_later, "{events:?}");
        }
    }

    #[test]
    fn hosts_take_turns_as_soon_as_it_is_known_that_the_backend_is_to_be_held_and_not_for_this_machine()
     {
        let now = Instant::now();
        for (events, cause) in [
            (&[][..], None),
            (&[Failed(Down)], None),
            (&[Failed(Down), Failed(Down)], Some(Down)),
            (&[Failed(Down); 9], Some(Down)),
            (&[Failed(Settings); 2], Some(Settings)),
            (&[Failed(Machine); 9], None),
            // A person says that it may be otherwise now.
            (&[Failed(Settings), Failed(Settings), Renewed], None),
        ] {
            let mut breaker = after(events, now);
            assert_eq!(breaker.shared_cause(), cause, "{events:?}");
            breaker.is_noted(now);
            let before = breaker.until();
            for agreed in [Down, Settings, Machine] {
                breaker.agree(agreed, now + 500 * SECOND, now);
                let heeds = breaker.until() != before;
                assert_eq!(heeds, cause == Some(agreed), "{events:?} {agreed:?}");
                breaker = after(events, now);
                breaker.is_noted(now);
            }
        }
        // What was read before others could read of this host's failure doesn't count.
        let mut breaker = after(&[Failed(Down), Failed(Down)], now);
        breaker.agree(Down, now + 30 * SECOND, now);
        breaker.is_noted(now + SECOND);
        breaker.agree(Down, now + 30 * SECOND, now);
        assert_eq!(breaker.until(), Some(now + SECOND));
        breaker.agree(Down, now + 30 * SECOND, now + SECOND);
        assert_eq!(breaker.may_begin(8, 0, false, now + 30 * SECOND - SECOND / 2), 0);
        assert_eq!(breaker.may_begin(8, 0, false, now + 31 * SECOND), 1);
        // What others wait for then is this host's own pause, whatever was agreed upon before.
        for (change, pause) in [
            (Change::Held(Down), SECOND),
            (Change::StillHeld, SECOND),
            (Change::Suspected, Duration::ZERO),
            (Change::Released { told: None, since: now, is_first: true }, Duration::ZERO),
        ] {
            assert_eq!(breaker.pause(change), pause, "{change:?}");
        }
    }

    #[test]
    fn what_another_host_found_is_tried_here_for_the_same_cause_and_said_by_one() {
        let now = Instant::now();
        let mut breaker = after(&[Failed(Settings); 3], now);
        breaker.is_released_elsewhere(Down, now);
        assert_eq!(breaker.may_begin(8, 0, false, now), 0, "that was another cause");
        breaker.is_released_elsewhere(Settings, now);
        assert_eq!(breaker.may_begin(8, 0, false, now), 1, "one call finds out");
        let mut released = Breaker { hold: breaker.hold, ..Breaker::default() };
        let told = Some(Settings);
        let change = released.step(Made, 0, now);
        assert_eq!(change, Some(Change::Released { told, since: now, is_first: false }));
        // This host's own are wrong: what it finds after that it finds first.
        breaker.step(Failed(Settings), breaker.generation(), now);
        breaker.step(Failed(Settings), breaker.generation(), now);
        assert_eq!(breaker.may_begin(8, 0, false, now), 0);
        let change = breaker.step(Made, breaker.generation(), now);
        assert_eq!(change, Some(Change::Released { told, since: now, is_first: true }));
    }

    #[test]
    fn a_hold_is_said_once_and_again_if_what_was_renewed_did_not_help() {
        let now = Instant::now();
        let mut breaker = after(&[Failed(Settings)], now);
        let fail =
            |breaker: &mut Breaker| breaker.step(Failed(Settings), breaker.generation(), now);
        assert_eq!(fail(&mut breaker), Some(Change::Held(Settings)));
        assert_eq!(fail(&mut breaker), Some(Change::StillHeld));
        assert_eq!(breaker.step(Renewed, 0, now), None);
        assert_eq!(breaker.until(), Some(now));
        assert_eq!(fail(&mut breaker), Some(Change::Suspected));
        assert_eq!(fail(&mut breaker), Some(Change::Held(Settings)));
        // What helped is said, though it was only renewed.
        breaker.step(Renewed, 0, now);
        let told = Some(Settings);
        let released = breaker.step(Made, breaker.generation(), now);
        assert_eq!(released, Some(Change::Released { told, since: now, is_first: true }));
    }

    #[test]
    fn a_ticket_of_a_held_backend_is_due_just_behind_the_next_call_and_not_for_its_tries() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        for (events, own, change, expected) in [
            // One that fails alone keeps its own wait.
            (&[Failed(Down)][..], 600, Some(Change::Suspected), 600),
            (&[Failed(Down)], 0, Some(Change::Suspected), 1),
            // One that was under way then.
            (&[Failed(Down)], 600, None, 3),
            (&[Failed(Down); 2], 600, Some(Change::Held(Down)), 2),
            (&[Failed(Down); 3], 600, Some(Change::StillHeld), 3),
            (&[Failed(Down); 9], 600, Some(Change::StillHeld), 4),
            (&[Failed(Settings); 3], 600, Some(Change::StillHeld), 121),
            // One that ends when all is well again.
            (&[Failed(Down), Made], 600, None, 1),
        ] {
            let wait = after(events, now).wait(seconds(own), change, false, now);
            assert_eq!(wait, seconds(expected), "{events:?} {own}");
        }
        for (cause, expected) in [(Settings, 600), (Down, 3)] {
            let breaker = after(&[Failed(cause); 3], now);
            let wait = breaker.wait(seconds(600), Some(Change::StillHeld), true, now);
            assert_eq!(wait, seconds(expected), "another host may make it");
        }
    }
}
