//! Whether ticketing works: decided of what was seen, and nothing done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::store::{Count, Timestamp};
use crate::terminal::counted;

/// What doesn't last so long, or a fifth of the time that the operator says, is nothing: a row that was opened again counts by when it was first
/// accepted.
const GRACE: Duration = Duration::from_secs(2 * 60);

/// What is seen at a moment.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// How many tickets, and updates of these, aren't done; None: the store doesn't say.
    pub(super) rows: Option<[Vec<Count>; 2]>,
    /// Why the store takes no incident.
    pub(super) store: Option<String>,
    pub(super) watcher: Watcher,
    /// Why each backend can't make tickets.
    pub(super) backends: BTreeMap<String, String>,
}

/// How it is with the watching of Argus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Watcher {
    #[default]
    Unknown,
    /// It goes well, or there is nothing to watch.
    Well,
    Fails(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Works,
    /// Something is wrong, and not for long enough.
    Unsure,
    /// For these reasons.
    Fails(Vec<String>),
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Store,
    Watcher,
    Tickets(String),
    Steps(String),
}

impl Trouble {
    fn is_of_rows(&self) -> bool {
        matches!(self, Trouble::Tickets(_) | Trouble::Steps(_))
    }
}

/// Since when something is wrong.
#[derive(Debug, Default)]
pub(super) struct Since(BTreeMap<Trouble, Instant>);

impl Since {
    /// Whether ticketing works by what is seen now.
    pub(super) fn see(
        &mut self,
        sight: &Sight,
        after: Duration,
        now: Instant,
        time: Timestamp,
    ) -> Standing {
        let grace = GRACE.min(after / 5);
        let troubles = troubles(sight, after - grace, time);
        let (knows_rows, knows_watcher) = (sight.rows.is_some(), sight.watcher != Watcher::Unknown);
        // What can't be seen stays as it was.
        let stays = |trouble: &Trouble| {
            troubles.contains_key(trouble)
                || !knows_rows && trouble.is_of_rows()
                || !knows_watcher && *trouble == Trouble::Watcher
        };
        self.0.retain(|trouble, _| stays(trouble));
        let mut reasons = Vec::new();
        for (trouble, what) in troubles {
            let lasts = if trouble.is_of_rows() { grace } else { after };
            let since = *self.0.entry(trouble).or_insert(now);
            if now.duration_since(since) >= lasts {
                reasons.push(what);
            }
        }
        let is_well = self.0.is_empty() && knows_rows && knows_watcher;
        match (reasons.is_empty(), is_well) {
            (false, _) => Standing::Fails(reasons),
            (true, false) => Standing::Unsure,
            (true, true) => Standing::Works,
        }
    }
}

/// What is wrong, if it has been so for long enough, in a sentence each.
fn troubles(sight: &Sight, overdue: Duration, time: Timestamp) -> BTreeMap<Trouble, String> {
    let mut troubles = BTreeMap::new();
    if let Some(why) = &sight.store {
        troubles.insert(Trouble::Store, format!("the store takes no incident: {why}"));
    }
    if let Watcher::Fails(why) = &sight.watcher {
        troubles.insert(Trouble::Watcher, format!("Argus can't be watched: {why}"));
    }
    let Some([tickets, steps]) = &sight.rows else { return troubles };
    let why = |backend: &str| {
        sight.backends.get(backend).map_or_else(String::new, |why| format!(" ({why})"))
    };
    for (backend, rows, since) in overdue_rows(tickets, time - overdue) {
        let (what, why) = (counted(rows, "ticket"), why(&backend));
        let text = format!("{backend}: {what} not made, the oldest accepted at {since}{why}");
        troubles.insert(Trouble::Tickets(backend), text);
    }
    for (backend, rows, since) in overdue_rows(steps, time - overdue) {
        let (what, why) = (counted(rows, "step"), why(&backend));
        let text =
            format!("{backend}: {what} of tickets not done, the oldest due since {since}{why}");
        troubles.insert(Trouble::Steps(backend), text);
    }
    troubles
}

/// Of each backend how many rows aren't done, and since when the oldest isn't, if that was before.
fn overdue_rows(counts: &[Count], before: Timestamp) -> Vec<(String, u64, String)> {
    let mut of: BTreeMap<&str, (u64, Timestamp)> = BTreeMap::new();
    for count in counts {
        let (rows, oldest) = of.entry(&count.backend).or_insert((0, count.oldest));
        *rows += count.rows.unsigned_abs();
        *oldest = (*oldest).min(count.oldest);
    }
    let overdue = of.into_iter().filter(|(_, (_, oldest))| *oldest < before);
    let told = |(backend, (rows, oldest)): (&str, (u64, Timestamp))| {
        (backend.to_owned(), rows, oldest.second().rfc3339())
    };
    overdue.map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::State;

    const AFTER: Duration = Duration::from_secs(900);
    const MINUTE: Duration = Duration::from_secs(60);
    const TIME: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn count(state: State, minutes: u32) -> Count {
        Count { backend: "rt".to_owned(), state, rows: 2, oldest: TIME - MINUTE * minutes }
    }

    fn tickets(counts: Vec<Count>) -> Sight {
        Sight { rows: Some([counts, Vec::new()]), watcher: Watcher::Well, ..Sight::default() }
    }

    /// What is made of sights, each so many minutes after the one before.
    #[track_caller]
    fn stands(sights: &[(u32, &Sight)], expected: &[Standing]) {
        let (mut since, mut now) = (Since::default(), Instant::now());
        for ((minutes, sight), expected) in sights.iter().zip(expected) {
            now += MINUTE * *minutes;
            assert_eq!(since.see(sight, AFTER, now, TIME), *expected, "{sight:?}");
        }
    }

    fn fails(reason: &str) -> Standing {
        Standing::Fails(vec![reason.to_owned()])
    }

    #[test]
    fn tickets_that_are_not_made_fail_after_that_time() {
        for state in [State::Queued, State::Creating, State::Unknown, State::Failed] {
            let (early, late) = (tickets(vec![count(state, 12)]), tickets(vec![count(state, 14)]));
            let what = "rt: 2 tickets not made, the oldest accepted at 2027-01-15T07:46:00Z";
            stands(
                &[(0, &early), (1, &late), (1, &late), (1, &late), (1, &early)],
                &[
                    Standing::Works,
                    Standing::Unsure,
                    Standing::Unsure,
                    fails(what),
                    Standing::Works,
                ],
            );
        }
    }

    #[test]
    fn a_row_that_is_opened_again_and_made_at_once_is_no_failure() {
        let (old, none) = (tickets(vec![count(State::Queued, 9999)]), tickets(Vec::new()));
        stands(
            &[(0, &old), (1, &none), (9, &old), (1, &none)],
            &[Standing::Unsure, Standing::Works, Standing::Unsure, Standing::Works],
        );
    }

    #[test]
    fn a_step_of_a_ticket_that_is_not_done_fails_as_well_and_says_why_if_that_is_known() {
        let steps = vec![count(State::Failed, 60)];
        let backends = BTreeMap::from([("rt".to_owned(), "it is down".to_owned())]);
        let sight = Sight { rows: Some([Vec::new(), steps]), backends, ..tickets(Vec::new()) };
        let what = "rt: 2 steps of tickets not done, the oldest due since 2027-01-15T07:00:00Z (it is down)";
        stands(&[(0, &sight), (2, &sight)], &[Standing::Unsure, fails(what)]);
    }

    #[test]
    fn a_store_that_takes_nothing_and_an_argus_that_is_away_fail_after_that_time() {
        let well = tickets(Vec::new());
        let store = Sight { store: Some("it is full".to_owned()), ..tickets(Vec::new()) };
        let watcher =
            Sight { watcher: Watcher::Fails("no route".to_owned()), ..tickets(Vec::new()) };
        for (sight, what) in [
            (&store, "the store takes no incident: it is full"),
            (&watcher, "Argus can't be watched: no route"),
        ] {
            stands(
                &[(0, sight), (14, sight), (1, sight), (1, &well), (1, sight)],
                &[
                    Standing::Unsure,
                    Standing::Unsure,
                    fails(what),
                    Standing::Works,
                    Standing::Unsure,
                ],
            );
        }
    }

    #[test]
    fn what_nobody_can_see_at_the_moment_is_not_over() {
        let late = tickets(vec![count(State::Queued, 60)]);
        let silent = Sight { store: Some("no answer".to_owned()), ..Sight::default() };
        let unwatched = Sight { watcher: Watcher::Unknown, ..tickets(Vec::new()) };
        let away = Sight { watcher: Watcher::Fails("no route".to_owned()), ..tickets(Vec::new()) };
        stands(
            &[(0, &unwatched), (0, &away), (9, &unwatched), (6, &away)],
            &[
                Standing::Unsure,
                Standing::Unsure,
                Standing::Unsure,
                fails("Argus can't be watched: no route"),
            ],
        );
        let what = "rt: 2 tickets not made, the oldest accepted at 2027-01-15T07:00:00Z";
        stands(
            &[(0, &late), (1, &silent), (1, &late)],
            &[Standing::Unsure, Standing::Unsure, fails(what)],
        );
    }
}
