//! All that matters to one incident at one moment: its row, the hosts, what is on the way, and the ticket systems.
//!
//! Two moments that can't be told apart by what may follow are one [`World`]: times count from now, leases are renumbered in
//! their order, and which of two hosts or systems is which doesn't matter. So the worlds are few, though the time, the tries and the kills
//! that lead through them have no end.

use std::time::Duration;

use super::super::{Moment, Policy, State, Step};

/// What time it always is: when time passes, all else becomes older.
pub(super) const NOW: Moment = Moment::from_millis(1000);
/// The time that passes at once.
const TICK: i64 = 1;
/// The times that the store's rules are about, in ticks.
pub(super) const LEASE: u8 = 3;
pub(super) const SETTLE: u8 = 3;
/// For how long a ticket is tried. It is given up some time after that, and so a short time stands for every longer one.
const RETRY_FOR: u8 = 1;
pub(super) const POLICY: Policy =
    Policy { retry_for: ticks(RETRY_FOR), settle: ticks(SETTLE), least_tries: 1 };

pub(super) const fn ticks(ticks: u8) -> Duration {
    Duration::from_millis(ticks as u64)
}

/// A ticket system, of which the main slot may have one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum System {
    A,
    B,
}

impl System {
    pub(super) fn other(self) -> System {
        match self {
            System::A => System::B,
            System::B => System::A,
        }
    }
}

/// The incident in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub step: Step,
    pub system: System,
}

/// What a host that holds a claim is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Work {
    /// It looks for what may be there.
    Searches,
    /// It looks before it creates.
    LooksFirst,
    /// It is about to create.
    Begins,
    /// Its request is on the way, or was.
    Waits,
    /// It is about to record what it knows.
    Knows(Outcome),
}

/// What a host makes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    Created,
    Again,
    Unknown,
    NoTicket,
    Suppressed,
    Failed,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Claim {
    pub lease: i64,
    /// How many ticks its lease lasts.
    pub lasts: u8,
    pub system: System,
    pub work: Work,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Host {
    pub is_up: bool,
    /// Whether it has worked on this store since before the incident began.
    pub saw_the_beginning: bool,
    pub claim: Option<Claim>,
}

/// A creation on its way to the ticket system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Request {
    pub system: System,
    /// In how many ticks it can be carried out at the latest.
    pub left: u8,
    /// The claim whose host waits for the answer.
    pub lease: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub system: System,
    /// In how many ticks a search sees it.
    pub hidden: u8,
}

/// What happened last, where that is worth a word: the model is known to reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    LeaseEnded,
    /// A host recorded what it knew after its lease, and was refused.
    CameTooLate,
    /// A ticket whose creation's answer was lost was found by a search.
    FoundLater,
    /// A ticket that the store knew nothing of was found before another was made.
    FoundFirst,
    /// A search, after the settling time, said that there is no ticket.
    FoundNone,
    GivenUp,
    Moved,
    /// It may have a ticket, and so it stayed where it is though the slot has another system.
    Stayed,
    /// A person looked where only a person can look, and had it tried again.
    Looked,
    /// What was suppressed came in again.
    Returned,
    /// The store removed what was in that state long ago.
    Removed(State),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub row: Option<Row>,
    pub hosts: Vec<Host>,
    pub requests: Vec<Request>,
    pub tickets: Vec<Ticket>,
    /// Where the main slot's tickets are to be made.
    pub main: System,
    pub event: Option<Event>,
}

impl World {
    /// A tick passes.
    pub(super) fn age(&mut self) {
        if let Some(row) = &mut self.row {
            let earlier = |moment: Moment| Moment::from_millis(moment.millis() - TICK);
            let step = &mut row.step;
            (step.settled, step.expires) = (earlier(step.settled), earlier(step.expires));
            // What is due at once has no moment.
            step.due = step.due.map(|due| if due == Moment::NOW { due } else { earlier(due) });
        }
        for claim in self.hosts.iter_mut().filter_map(|host| host.claim.as_mut()) {
            claim.lasts = claim.lasts.saturating_sub(1);
        }
        self.requests.retain(|request| request.left > 0);
        for request in &mut self.requests {
            request.left -= 1;
        }
        for ticket in &mut self.tickets {
            ticket.hidden = ticket.hidden.saturating_sub(1);
        }
    }

    /// The one world that stands for all that nothing can tell from this one.
    pub(super) fn canonical(mut self) -> World {
        self.renumber();
        self.rename();
        if let Some(row) = &mut self.row {
            forget_the_past(&mut row.step);
        }
        self.forget_what_is_not_asked_again();
        self.hosts.sort_unstable();
        self.requests.sort_unstable();
        self.tickets.sort_unstable();
        self
    }

    /// Only who accepts the incident asks whether its host saw it begin, and only what is not sent yet how long its lease lasts.
    fn forget_what_is_not_asked_again(&mut self) {
        for host in &mut self.hosts {
            host.saw_the_beginning &= self.row.is_none();
            if let Some(claim) = &mut host.claim
                && !matches!(claim.work, Work::LooksFirst | Work::Begins)
            {
                claim.lasts = 0;
            }
        }
    }

    /// Claims are compared, and their order matters; and whether there was any.
    fn renumber(&mut self) {
        let own = self.row.iter().map(|row| row.step.lease);
        let held = self.hosts.iter().filter_map(|host| host.claim).map(|claim| claim.lease);
        let awaited = self.requests.iter().filter_map(|request| request.lease);
        let mut leases: Vec<i64> = own.chain(held).chain(awaited).chain([0]).collect();
        leases.sort_unstable();
        leases.dedup();
        let number = |lease: &mut i64| {
            let place = leases.binary_search(lease).expect("each lease was put there");
            *lease = i64::try_from(place).expect("there are few leases");
        };
        self.row.iter_mut().for_each(|row| number(&mut row.step.lease));
        for host in &mut self.hosts {
            host.claim.iter_mut().for_each(|claim| number(&mut claim.lease));
        }
        for request in &mut self.requests {
            request.lease.iter_mut().for_each(number);
        }
    }

    /// The main slot's system is called A.
    fn rename(&mut self) {
        if self.main == System::A {
            return;
        }
        let claims = self.hosts.iter_mut().filter_map(|host| host.claim.as_mut());
        let mut systems: Vec<&mut System> = claims.map(|claim| &mut claim.system).collect();
        systems.extend(self.row.iter_mut().map(|row| &mut row.system));
        systems.extend(self.requests.iter_mut().map(|request| &mut request.system));
        systems.extend(self.tickets.iter_mut().map(|ticket| &mut ticket.system));
        systems.push(&mut self.main);
        for system in systems {
            *system = system.other();
        }
    }

    /// Whether a search in that system sees a ticket.
    pub(super) fn shows_a_ticket(&self, system: System) -> bool {
        self.tickets.iter().any(|ticket| ticket.system == system && ticket.hidden == 0)
    }

    /// Whether nothing is on the way any more, nor hidden.
    pub(super) fn is_settled(&self) -> bool {
        self.requests.is_empty() && self.tickets.iter().all(|ticket| ticket.hidden == 0)
    }
}

/// By how much a moment is past, or a try was the second or a later one, makes no difference to any rule.
fn forget_the_past(step: &mut Step) {
    step.settled = step.settled.max(NOW);
    step.expires = step.expires.max(NOW);
    step.due = step.due.map(|due| if due == Moment::NOW { due } else { due.max(NOW) });
    step.tries = (step.tries - step.tried_before).min(1);
    step.tried_before = 0;
}
