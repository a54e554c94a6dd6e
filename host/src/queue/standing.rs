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

/// The calls of a backend that failed since the last one that succeeded.
#[derive(Debug, Default)]
pub(super) struct Streak {
    failed: u32,
    last: Option<Failure>,
}

impl Streak {
    /// One more call ended.
    pub(super) fn add(&mut self, outcome: &Outcome, health: Health) {
        match outcome.failure() {
            None => *self = Streak::default(),
            // Nothing was asked of the ticket system.
            Some(_) if matches!(outcome, Outcome::Lost(_)) => {}
            Some(failure) if is_of_backend(failure.kind, health) => {
                self.failed = self.failed.saturating_add(1);
                self.last = Some(failure.clone());
            }
            Some(_) => {}
        }
    }

    /// Why the backend can't make tickets, by its last calls, and what the last of them failed with.
    pub(super) fn unfit(&self) -> Option<(Unfit, Failure)> {
        let last = self.last.as_ref()?;
        let (most, unfit) = match last.kind {
            Kind::Settings | Kind::Import => (1, Unfit::Settings),
            Kind::Creation => (ROW, Unfit::Refused),
            Kind::Client => (DOWN, Unfit::Down),
            Kind::Plugin | Kind::Usage | Kind::Output => (ROW, Unfit::Broken),
        };
        (self.failed >= most).then(|| (unfit, last.clone()))
    }
}

/// Whether a failure can be about the backend, and not only about its incident, or about a pause.
fn is_of_backend(kind: Kind, health: Health) -> bool {
    match kind {
        Kind::Client => health == Health::Down,
        Kind::Usage | Kind::Output => false,
        Kind::Settings | Kind::Import | Kind::Creation | Kind::Plugin => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Timestamp;

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
        streak.add(&Outcome::Again { at: Timestamp::now(), failure }, Health::Down);
        streak.add(&Outcome::NoTicket, Health::Up);
        assert!(streak.unfit().is_none());
        for _ in 0..ROW {
            streak.add(&Outcome::Lost(Failure::new(Kind::Plugin, "no", None)), Health::Unsaid);
        }
        assert!(streak.unfit().is_none(), "no call was made");
    }
}
