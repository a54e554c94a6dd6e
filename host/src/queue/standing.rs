//! Whether a backend can make tickets, as far as the host knows without asking it.

use serde::Serialize;
use utoipa::ToSchema;

use super::decide::Health;
use super::retry::DOWN;
use crate::error::Kind;
use crate::store::{Failure, Outcome};

/// So many calls in a row that failed by themselves, each for another ticket perhaps, are no longer about the tickets.
const ROW: u32 = 3;

/// Why a backend can't make tickets now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unfit {
    /// Its plugin isn't there or can't be used, or its settings are wrong
    Unprepared,
    /// Its last call failed for its settings, such as a token that is refused, or for its plugin's library
    Settings,
    /// The ticket system refused what the last calls asked for
    Refused,
    /// Its plugin broke in the last calls
    Broken,
    /// The ticket system can't be reached
    Down,
    /// The ticket system asked to be left alone for a while
    Paused,
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

/// The calls of a backend that failed in the same way, one after another.
#[derive(Debug, Default)]
pub(super) struct Streak(Option<Failed>);

#[derive(Debug)]
struct Failed {
    reason: Unfit,
    times: u32,
    last: Failure,
}

impl Streak {
    /// One more call ended.
    pub(super) fn add(&mut self, outcome: &Outcome, health: Health) {
        let Some(failure) = outcome.failure() else {
            self.0 = None;
            return;
        };
        let reason = reason(failure.kind, health);
        // Nothing was asked of the ticket system if a ticket is given up as lost.
        let Some(reason) = reason.filter(|_| !matches!(outcome, Outcome::Lost(_))) else { return };
        let times = match &self.0 {
            Some(before) if before.reason == reason => before.times.saturating_add(1),
            // Settings that were refused stay wrong while the ticket system is down.
            Some(before) if before.reason == Unfit::Settings => return,
            _ => 1,
        };
        self.0 = Some(Failed { reason, times, last: failure.clone() });
    }

    /// Why the backend can't make tickets, by its last calls, and what the last of them failed with.
    pub(super) fn unfit(&self) -> Option<(Unfit, Failure)> {
        let Failed { reason, times, last } = self.0.as_ref()?;
        let most = match reason {
            Unfit::Settings => 1,
            Unfit::Down => DOWN,
            _ => ROW,
        };
        (*times >= most).then(|| (*reason, last.clone()))
    }
}

/// What a failure can say about its backend. None: it is only about its incident, or about a pause.
fn reason(kind: Kind, health: Health) -> Option<Unfit> {
    match kind {
        Kind::Settings | Kind::Import => Some(Unfit::Settings),
        Kind::Creation => Some(Unfit::Refused),
        Kind::Plugin => Some(Unfit::Broken),
        Kind::Client => (health == Health::Down).then_some(Unfit::Down),
        Kind::Usage | Kind::Output => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn failed(kind: Kind) -> Outcome {
        Outcome::Failed(Failure::new(kind, "no", None))
    }

    #[test]
    fn a_backend_is_unfit_after_failures_that_are_not_about_one_ticket() {
        use Health::{Down, Unsaid, Up};
        use Kind::{Client, Creation, Import, Plugin, Settings, Usage};
        for (calls, expected) in [
            (&[][..], None),
            (&[(Settings, Up)], Some(Unfit::Settings)),
            (&[(Import, Unsaid)], Some(Unfit::Settings)),
            (&[(Creation, Up); 2], None),
            (&[(Creation, Up); 3], Some(Unfit::Refused)),
            (&[(Plugin, Unsaid); 2], None),
            (&[(Plugin, Unsaid); 3], Some(Unfit::Broken)),
            (&[(Client, Down); 4], None),
            (&[(Client, Down); 5], Some(Unfit::Down)),
            // It asked for a pause: nothing is wrong.
            (&[(Client, Unsaid); 9], None),
            (&[(Usage, Unsaid); 9], None),
            // Settings that were refused, and then a call that never came so far.
            (&[(Settings, Up), (Client, Unsaid)], Some(Unfit::Settings)),
            (&[(Settings, Up), (Client, Down)], Some(Unfit::Settings)),
            // Failures of different kinds are no row.
            (&[(Creation, Up), (Creation, Up), (Plugin, Unsaid)], None),
            (
                &[(Creation, Up), (Creation, Up), (Creation, Up), (Creation, Up), (Client, Down)],
                None,
            ),
        ] {
            let mut streak = Streak::default();
            for (kind, health) in calls {
                streak.add(&failed(*kind), *health);
            }
            assert_eq!(streak.unfit().map(|(unfit, _)| unfit), expected, "{calls:?}");
        }
    }

    #[test]
    fn a_call_that_succeeds_ends_it() {
        let mut streak = Streak::default();
        streak.add(&failed(Kind::Settings), Health::Up);
        let failure = Failure::new(Kind::Client, "down", None);
        streak.add(&Outcome::Again { after: Duration::ZERO, failure }, Health::Down);
        streak.add(&Outcome::NoTicket, Health::Up);
        assert!(streak.unfit().is_none());
        for _ in 0..ROW {
            streak.add(&Outcome::Lost(Failure::new(Kind::Plugin, "no", None)), Health::Unsaid);
        }
        assert!(streak.unfit().is_none(), "no call was made");
    }
}
