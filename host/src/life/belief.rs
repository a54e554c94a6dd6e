//! When it is believed that a ticket is in a state that its system tells: decided, and nothing done.
//!
//! One answer is no proof: a permission that was lost, a search that lags or a system that is half up can look like tickets that were
//! closed or deleted. What follows from a belief (an incident is acknowledged, or ended) can't be taken back. Invariants: what the host knows
//! already is no news; nothing is believed that was told once, by nobody else; so many at once are a person's to believe.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use ticket_plugin_api::TicketState;

/// So many tickets of a backend may be closed or gone within [`WINDOW`] before a person is asked whether that is so.
pub const MANY: usize = 20;
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// By how much the answers of one round may be later than those of another.
const JITTER: Duration = Duration::from_secs(5);

/// Who else says that a ticket changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    Nobody,
    /// A webhook that the ticket system signed.
    Signed,
}

/// What was told of a ticket.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// The state that it is known to be in.
    pub known: TicketState,
    /// The one that was told.
    pub told: TicketState,
    pub witness: Witness,
    /// When the round began that it was asked for in.
    pub began: Instant,
    /// When it was told.
    pub now: Instant,
}

/// What a state that was told means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is as it was known, or nothing was told.
    NoNews,
    /// It is to be asked for again.
    AskAgain,
    /// It is so.
    So,
}

/// What the tickets of a backend were seen in, until that is believed.
#[derive(Debug, Default)]
pub struct Belief {
    /// For each ticket what was told of it that isn't believed yet, and when it was told first and last.
    doubtful: HashMap<i64, (Told, Instant, Instant)>,
    /// When tickets were last believed to be closed or gone.
    believed: VecDeque<Instant>,
}

/// What is told alike: how it was closed makes no difference to whether it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Open,
    Closed,
    Gone,
    Foreign,
}

impl Told {
    fn of(state: TicketState) -> Option<Told> {
        match state {
            TicketState::Open => Some(Told::Open),
            TicketState::Closed | TicketState::Cancelled => Some(Told::Closed),
            TicketState::Gone => Some(Told::Gone),
            TicketState::Foreign => Some(Told::Foreign),
            TicketState::Unknown => None,
        }
    }
}

impl Belief {
    /// What an answer about a ticket means, of which the same must be told again that long `apart`, in another round.
    pub fn see(&mut self, ticket: i64, sight: Sight, apart: Duration) -> Seen {
        let Sight { known, told, witness, began, now } = sight;
        let Some(told) = Told::of(told) else { return Seen::NoNews };
        // One of which nothing is known was made by this host, or found: then it was open.
        if told == Told::of(known).unwrap_or(Told::Open) {
            self.doubtful.remove(&ticket);
            return Seen::NoNews;
        }
        let is_proven = match told {
            // What is written to it then comes to no harm.
            Told::Open => true,
            Told::Closed => witness == Witness::Signed,
            Told::Gone | Told::Foreign => false,
        };
        let (before, since, last) = self.doubtful.entry(ticket).or_insert((told, now, now));
        if *before != told {
            (*before, *since) = (told, now);
        }
        *last = now;
        let since = *since;
        // Rounds begin that far apart, and their calls take longer at times.
        let apart = apart - (apart / 4).min(JITTER);
        let lasts = began > since && now.saturating_duration_since(since) >= apart;
        if is_proven || lasts { Seen::So } else { Seen::AskAgain }
    }

    /// Whether tickets may be believed to be closed or gone: not if that would be too many, all counted that may yet be.
    pub fn may_believe(&mut self, apart: Duration, now: Instant) -> bool {
        // What isn't told any more is no reason to ask a person.
        let lasts = WINDOW.max(4 * apart);
        self.doubtful.retain(|_, (_, _, last)| now.saturating_duration_since(*last) < lasts);
        while self.believed.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            self.believed.pop_front();
        }
        self.believed.len() + self.doubtful.len() <= MANY
    }

    /// A ticket's new state is known from now on. `news`: it was closed, or is gone.
    pub fn is_known(&mut self, ticket: i64, news: bool, now: Instant) {
        self.doubtful.remove(&ticket);
        if news {
            self.believed.push_back(now);
            // No more than counts.
            if self.believed.len() > MANY {
                self.believed.pop_front();
            }
        }
    }

    /// Whether a ticket is to be asked for again, though nothing tells that it changed.
    pub fn doubts(&self, ticket: i64) -> bool {
        self.doubtful.contains_key(&ticket)
    }

    pub fn is_sure(&self) -> bool {
        self.doubtful.is_empty()
    }

    /// Forgets all that isn't about one of these.
    pub fn retain(&mut self, tickets: &HashSet<i64>) {
        self.doubtful.retain(|ticket, _| tickets.contains(ticket));
    }
}

#[cfg(test)]
mod tests {
    use TicketState::{Cancelled, Closed, Foreign, Gone, Open, Unknown};

    use super::*;

    const APART: Duration = Duration::from_secs(60);

    /// An open ticket is told to be in that state, and nobody else says so.
    fn first(told: TicketState, now: Instant) -> Sight {
        Sight { known: Open, told, witness: Witness::Nobody, began: now, now }
    }

    /// What each state comes to that is told of a ticket at that second.
    #[track_caller]
    fn sees(known: TicketState, witness: Witness, told: &[(u64, TicketState, Seen)]) {
        let (mut belief, start) = (Belief::default(), Instant::now());
        for (second, state, expected) in told {
            let now = start + Duration::from_secs(*second);
            let began = now - Duration::from_millis(10);
            let sight = Sight { known, told: *state, witness, began, now };
            let seen = belief.see(1, sight, APART);
            assert_eq!(seen, *expected, "{known:?} {witness:?} {state:?} at {second} of {told:?}");
        }
    }

    #[test]
    fn what_is_known_is_no_news_nor_is_a_state_that_was_not_found_out() {
        for (known, told) in [
            (Open, Open),
            (Unknown, Open),
            (Closed, Closed),
            (Closed, Cancelled),
            (Gone, Gone),
            (Foreign, Foreign),
            (Open, Unknown),
        ] {
            let no_news = [(0, told, Seen::NoNews), (60, told, Seen::NoNews)];
            sees(known, Witness::Nobody, &no_news);
            sees(known, Witness::Signed, &no_news);
        }
    }

    #[test]
    fn closed_and_gone_count_when_they_are_told_again_a_minute_later() {
        for told in [Closed, Cancelled, Gone, Foreign] {
            for known in [Open, Unknown] {
                let again = [
                    (0, told, Seen::AskAgain),
                    (0, told, Seen::AskAgain),
                    (54, told, Seen::AskAgain),
                    (55, told, Seen::So),
                ];
                sees(known, Witness::Nobody, &again);
            }
        }
        // How it is closed may change meanwhile; whether it is closed, or gone, not.
        let closed = [(0, Closed, Seen::AskAgain), (60, Cancelled, Seen::So)];
        sees(Open, Witness::Nobody, &closed);
        let other = [
            (0, Gone, Seen::AskAgain),
            (60, Closed, Seen::AskAgain),
            (90, Closed, Seen::AskAgain),
            (120, Closed, Seen::So),
        ];
        sees(Open, Witness::Nobody, &other);
    }

    #[test]
    fn a_ticket_that_was_open_in_between_begins_anew_and_one_that_was_not_told_does_not() {
        let open = [
            (0, Closed, Seen::AskAgain),
            (30, Open, Seen::NoNews),
            (60, Closed, Seen::AskAgain),
            (120, Closed, Seen::So),
        ];
        sees(Open, Witness::Nobody, &open);
        let untold =
            [(0, Closed, Seen::AskAgain), (30, Unknown, Seen::NoNews), (60, Closed, Seen::So)];
        sees(Open, Witness::Nobody, &untold);
    }

    #[test]
    fn a_signed_webhook_is_a_second_witness_of_a_closing_and_of_no_loss() {
        for (told, expected) in [
            (Closed, Seen::So),
            (Cancelled, Seen::So),
            (Gone, Seen::AskAgain),
            (Foreign, Seen::AskAgain),
        ] {
            sees(Open, Witness::Signed, &[(0, told, expected)]);
        }
    }

    #[test]
    fn a_ticket_that_a_person_opened_again_is_open_at_once() {
        for known in [Closed, Cancelled, Gone, Foreign] {
            sees(known, Witness::Nobody, &[(0, Open, Seen::So)]);
        }
    }

    #[test]
    fn so_many_at_once_are_for_a_person_to_believe() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        let see = |belief: &mut Belief, ticket| {
            belief.see(ticket, first(Closed, start), APART);
        };
        (0..MANY as i64).for_each(|ticket| see(&mut belief, ticket));
        assert!(belief.may_believe(APART, start));
        see(&mut belief, 99);
        assert!(!belief.may_believe(APART, start), "those count, too, that were told once");
        belief.retain(&(0..MANY as i64).collect());
        (0..MANY as i64).for_each(|ticket| belief.is_known(ticket, true, start));
        // That one was opened again is no loss.
        belief.is_known(100, false, start);
        assert!(belief.may_believe(APART, start));
        see(&mut belief, 101);
        for (seconds, may) in [(0, false), (599, false), (600, true)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(belief.may_believe(APART, now), may, "after {seconds} s");
        }
    }

    #[test]
    fn an_answer_of_the_same_round_is_no_second_one_however_late_it_comes() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let mut see =
            |began, now| belief.see(1, Sight { began: at(began), ..first(Gone, at(now)) }, APART);
        assert_eq!(see(0, 100), Seen::AskAgain);
        assert_eq!(see(0, 300), Seen::AskAgain);
        assert_eq!(see(110, 120), Seen::AskAgain, "it follows too soon");
        assert_eq!(see(160, 170), Seen::So);
    }

    #[test]
    fn what_is_not_told_any_more_keeps_nobody_from_being_believed() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        for ticket in 0..=MANY as i64 {
            belief.see(ticket, first(Gone, start), APART);
        }
        assert!(!belief.may_believe(APART, start));
        assert!(belief.may_believe(APART, start + WINDOW));
        for minute in 0..20 {
            let now = start + minute * APART;
            for ticket in 0..=MANY as i64 {
                belief.see(ticket, first(Gone, now), APART);
            }
            assert!(!belief.may_believe(APART, now), "they are told on and on: {minute}");
        }
    }

    #[test]
    fn what_is_doubted_is_asked_for_until_it_is_known_or_of_nobody() {
        let (mut belief, now) = (Belief::default(), Instant::now());
        for ticket in [1, 2, 3] {
            belief.see(ticket, first(Gone, now), APART);
        }
        belief.is_known(1, true, now);
        belief.retain(&HashSet::from([1, 2]));
        assert_eq!([1, 2, 3].map(|ticket| belief.doubts(ticket)), [false, true, false]);
        assert!(!belief.is_sure());
    }
}
