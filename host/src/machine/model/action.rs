//! Each thing that can happen, and what it makes of the world.

use super::super::{Doubt, State};
use super::mutation::Mutation;
use super::world::{
    Claim, Event, Host, LEASE, NOW, Outcome, Request, Row, System, Ticket, Work, World,
};
use super::{Assumption, Making};
use crate::config::LookFirst;

/// What can happen. A number is a place in the world's list of hosts or requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Tick,
    /// A host does what time has made due: a row can be claimed, or a lease ends.
    TimeComes,
    Claims(usize),
    /// A search found a ticket.
    Finds(usize),
    /// A search said that there is none.
    FindsNone(usize),
    /// A search for many tickets said so. Who is to make it claims it anew.
    FindsNoneOfMany(usize),
    /// The plugin can't search.
    CannotFind(usize),
    /// The request goes out.
    Sends(usize),
    /// The host ends its call without an answer: its time is over, its plugin broke, the connection was cut, or the answer
    /// was a 5xx or 408.
    KnowsNothing(usize),
    /// Nothing was sent, or a search failed: what that came to.
    GetsNowhere(usize, Outcome),
    Settles(usize),
    Kills(usize),
    Starts(usize),
    /// The ticket system makes the ticket, and its answer arrives.
    Makes(usize),
    /// The ticket system makes the ticket, and its answer is lost.
    MakesUnheard(usize),
    /// The ticket system answers that it did not make the ticket, and will not: again later, or never.
    Refuses(usize, Outcome),
    /// It says so, and it is not true.
    Lies(usize),
    /// The incident is accepted, again or as a new one, which may have begun while the store was open.
    Accepts {
        reopens: bool,
        certain: bool,
    },
    /// What failed for its settings is tried again.
    Reopens,
    /// What waits is due at once, since the ticket system is back.
    Hastens,
    /// A person.
    Retries,
    /// A person.
    Cancels,
    /// The main slot gets the other system.
    ChangesMain,
    /// A host moves the row to the main slot's system, if that may be done.
    Moves,
    /// The store removes what ended long ago.
    Removes,
    /// The store as it is now is put back later, or what it was before the incident came. All that was done meanwhile it knows
    /// nothing of: a ticket may have been made.
    Restores {
        knows_it: bool,
        made: Option<System>,
    },
}

impl Making {
    /// All that can happen in a world.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        for (place, host) in world.hosts.iter().enumerate() {
            self.possible_for(world, place, host, actions);
        }
        for place in 0..world.requests.len() {
            actions.push(Action::Makes(place));
            actions.push(Action::MakesUnheard(place));
            actions.push(Action::Refuses(place, Outcome::Again));
            actions.push(Action::Refuses(place, Outcome::Failed));
            if self.is_without(Assumption::RefusalsAreTrue) {
                actions.push(Action::Lies(place));
            }
        }
        if world.hosts.iter().any(|host| host.is_up) {
            self.possible_for_a_host(world, actions);
        }
        if self.restores {
            self.possible_restores(world, actions);
        }
    }

    fn possible_restores(&self, world: &World, actions: &mut Vec<Action>) {
        let mut made = vec![None];
        // Whatever the store knew, it made no second one.
        if let Some(row) = world.row.as_ref().filter(|_| world.tickets.is_empty()) {
            made.push(Some(row.system));
            if self.is_without(Assumption::RestoredWhereItWas) {
                made.push(Some(row.system.other()));
            }
        }
        for made in made {
            actions.push(Action::Restores { knows_it: true, made });
            actions.push(Action::Restores { knows_it: false, made });
        }
    }

    /// What a host can do with its own claim.
    fn possible_for(&self, world: &World, place: usize, host: &Host, actions: &mut Vec<Action>) {
        if !host.is_up {
            actions.push(Action::Starts(place));
            return;
        }
        actions.push(Action::Kills(place));
        let Some(claim) = host.claim else {
            if world.row.as_ref().is_some_and(|row| self.machine.is_ready(&row.step)) {
                actions.push(Action::Claims(place));
            }
            return;
        };
        let (shows, lies) =
            (world.shows_a_ticket(claim.system), self.is_without(Assumption::SearchesAreTrue));
        let nowhere = |outcome| Action::GetsNowhere(place, outcome);
        match claim.work {
            Work::Searches if !self.finds => actions.push(Action::CannotFind(place)),
            Work::Searches | Work::LooksFirst => {
                if shows {
                    actions.push(Action::Finds(place));
                }
                if !shows || lies {
                    actions.extend([Action::FindsNone(place), Action::FindsNoneOfMany(place)]);
                }
                actions.extend([Outcome::Again, Outcome::Failed].map(nowhere));
                if claim.work == Work::Searches {
                    actions.push(nowhere(Outcome::Unknown));
                }
            }
            Work::Begins => {
                if self.may_send(world, claim) {
                    actions.push(Action::Sends(place));
                }
                actions.extend([Outcome::Again, Outcome::Failed, Outcome::Suppressed].map(nowhere));
            }
            Work::Waits => actions.push(Action::KnowsNothing(place)),
            Work::Knows(outcome) => {
                actions.push(Action::Settles(place));
                if outcome == Outcome::Unknown && self.finds && shows {
                    actions.push(Action::Finds(place));
                }
            }
        }
    }

    /// Who is alone can only be late together with whoever would notice.
    fn may_send(&self, world: &World, claim: Claim) -> bool {
        let holds = world
            .row
            .as_ref()
            .is_some_and(|row| row.step.state == State::Creating && row.step.lease == claim.lease);
        claim.lasts > 0 || self.alone && holds || self.is_without(Assumption::SentInTime)
    }

    /// What any host that is up can do, for itself or for a person.
    fn possible_for_a_host(&self, world: &World, actions: &mut Vec<Action>) {
        if self.moves {
            actions.push(Action::ChangesMain);
        }
        let Some(row) = &world.row else {
            actions.push(Action::Accepts { reopens: false, certain: false });
            if world.hosts.iter().any(|host| host.is_up && host.saw_the_beginning) {
                actions.push(Action::Accepts { reopens: false, certain: true });
            }
            return;
        };
        actions.extend([
            Action::TimeComes,
            Action::Accepts { reopens: false, certain: false },
            Action::Accepts { reopens: true, certain: false },
            Action::Reopens,
            Action::Hastens,
            Action::Cancels,
        ]);
        let has_looked = row.step.doubt != Doubt::Ask || !world.shows_a_ticket(row.system);
        if has_looked || self.is_without(Assumption::PersonHasLooked) {
            actions.push(Action::Retries);
        }
        if row.system != world.main {
            actions.push(Action::Moves);
        }
        let is_long_ago = world.is_settled() && world.hosts.iter().all(|host| host.claim.is_none());
        if self.restores && is_long_ago && self.machine.is_removed(&row.step) {
            actions.push(Action::Removes);
        }
    }

    /// What an action makes of a world.
    pub(super) fn after(&self, world: &World, action: Action) -> World {
        let mut next = world.clone();
        next.event = None;
        match action {
            Action::Tick => next.age(),
            Action::Claims(place) => self.claim(&mut next, place),
            Action::Finds(place) => self.find(&mut next, place),
            Action::FindsNone(place) => next.goes_on(place, |work| match work {
                Work::LooksFirst => Work::Begins,
                _ => Work::Knows(Outcome::NoTicket),
            }),
            Action::FindsNoneOfMany(place) => {
                next.goes_on(place, |_| Work::Knows(Outcome::NoTicket));
            }
            Action::CannotFind(place) => next.goes_on(place, |_| Work::Knows(Outcome::Lost)),
            Action::Sends(place) => self.send(&mut next, place),
            Action::KnowsNothing(place) => {
                next.goes_on(place, |_| Work::Knows(Outcome::Unknown));
                next.nobody_waits(place);
            }
            Action::GetsNowhere(place, outcome) => {
                next.goes_on(place, |_| Work::Knows(outcome));
            }
            Action::Settles(place) => self.settle(&mut next, place),
            Action::Kills(place) => next.kill(place),
            Action::Starts(place) => self.start(&mut next, place),
            Action::Makes(place) => self.carry_out(&mut next, place, Some(Outcome::Created)),
            Action::MakesUnheard(place) => self.carry_out(&mut next, place, None),
            Action::Lies(place) => self.carry_out(&mut next, place, Some(Outcome::Again)),
            Action::Refuses(place, outcome) => {
                let request = next.requests.remove(place);
                next.hears(request, outcome);
            }
            Action::ChangesMain => next.main = next.main.other(),
            Action::Restores { knows_it, made } => self.restore(&mut next, knows_it, made),
            Action::Removes => next.remove(),
            Action::Accepts { reopens, certain } => self.accept(&mut next, reopens, certain),
            Action::Moves => self.move_row(&mut next),
            Action::TimeComes
            | Action::Reopens
            | Action::Hastens
            | Action::Retries
            | Action::Cancels => {
                self.change(&mut next, action);
            }
        }
        next.canonical()
    }

    fn claim(&self, world: &mut World, place: usize) {
        let Some(row) = &mut world.row else { return };
        let host = &mut world.hosts[place];
        let work = if row.step.doubt == Doubt::Look {
            Work::Searches
        } else if self.finds && self.looks_first(row.step.certain) {
            Work::LooksFirst
        } else {
            Work::Begins
        };
        self.machine.claim(&mut row.step);
        let lease = row.step.lease;
        host.claim = Some(Claim { lease, lasts: LEASE, system: row.system, work });
    }

    /// The host's rule, as queue/decide.rs has it.
    fn looks_first(&self, certain: bool) -> bool {
        match self.look_first {
            _ if self.machine.has(Mutation::NobodyLooksFirst) => false,
            LookFirst::WhenInDoubt => !certain,
            LookFirst::Always => true,
        }
    }

    fn find(&self, world: &mut World, place: usize) {
        world.event = match world.hosts[place].claim.map(|claim| claim.work) {
            Some(Work::Searches) => Some(Event::FoundLater),
            Some(Work::LooksFirst) => Some(Event::FoundFirst),
            _ => None,
        };
        world.goes_on(place, |_| Work::Knows(Outcome::Created));
    }

    fn send(&self, world: &mut World, place: usize) {
        let Some(claim) = world.hosts[place].claim else { return };
        let left = self.carried_out_in();
        world.requests.push(Request { system: claim.system, left, lease: Some(claim.lease) });
        world.goes_on(place, |_| Work::Waits);
    }

    fn carry_out(&self, world: &mut World, place: usize, heard: Option<Outcome>) {
        let request = world.requests.remove(place);
        world.tickets.push(Ticket { system: request.system, hidden: self.listed_in() });
        if let Some(outcome) = heard {
            world.hears(request, outcome);
        }
    }

    fn settle(&self, world: &mut World, place: usize) {
        let Some(claim) = world.hosts[place].claim.take() else { return };
        let Work::Knows(outcome) = claim.work else { return };
        let done = world
            .row
            .as_mut()
            .is_some_and(|row| self.machine.settle(&mut row.step, claim.lease, outcome));
        let failed = world.row.as_ref().is_some_and(|row| row.step.state == State::Failed);
        world.event = match outcome {
            _ if !done => Some(Event::CameTooLate),
            Outcome::NoTicket => Some(Event::FoundNone),
            Outcome::Again | Outcome::Unknown if failed => Some(Event::GivenUp),
            _ => None,
        };
    }

    fn start(&self, world: &mut World, place: usize) {
        world.hosts[place].is_up = true;
        // A lock on the store proves to the one host that whoever held a claim is gone. Where there are several, the store stays open without one.
        if self.alone
            && let Some(row) = &mut world.row
        {
            self.machine.lease_over(&mut row.step);
            self.machine.opened(&mut row.step);
        }
    }

    fn accept(&self, world: &mut World, reopens: bool, certain: bool) {
        let Some(row) = &mut world.row else {
            world.row = Some(Row { step: self.machine.accepted(certain), system: world.main });
            return;
        };
        if row.step.state == State::Suppressed {
            world.event = Some(Event::Returned);
        }
        self.machine.accepted_again(&mut row.step, reopens);
    }

    fn move_row(&self, world: &mut World) {
        let Some(row) = &mut world.row else { return };
        if self.machine.change_backend(&mut row.step) {
            row.system = world.main;
            world.event = Some(Event::Moved);
        } else if row.step.doubt != Doubt::None {
            world.event = Some(Event::Stayed);
        }
    }

    fn restore(&self, world: &mut World, knows_it: bool, made: Option<System>) {
        if !knows_it {
            world.row = None;
        }
        let hidden = self.listed_in();
        world.tickets.extend(made.map(|system| Ticket { system, hidden }));
        if !self.is_without(Assumption::RestoredLate) {
            world.requests.clear();
            world.tickets.iter_mut().for_each(|ticket| ticket.hidden = 0);
        }
        for place in 0..world.hosts.len() {
            if self.is_without(Assumption::HostsKnowOfRestore) {
                world.hosts[place].saw_the_beginning = true;
            } else {
                world.kill(place);
            }
        }
        if let Some(row) = &mut world.row
            && !self.is_without(Assumption::HostsKnowOfRestore)
        {
            self.machine.opened(&mut row.step);
        }
    }

    /// What needs a row and nothing else.
    fn change(&self, world: &mut World, action: Action) {
        let Some(row) = &mut world.row else { return };
        let before = row.step.clone();
        let step = &mut row.step;
        match action {
            Action::TimeComes => self.machine.time_came(step),
            Action::Reopens => self.machine.reopen(step),
            Action::Hastens => self.machine.hasten(step),
            Action::Retries => self.machine.retry(step),
            _ => self.machine.cancel(step),
        }
        world.event = match action {
            _ if *step == before => None,
            Action::TimeComes if before.state == State::Creating => Some(Event::LeaseEnded),
            Action::Retries if before.doubt == Doubt::Ask => Some(Event::Looked),
            _ => None,
        };
    }
}

impl World {
    /// The host at that place goes on with its claim.
    fn goes_on(&mut self, place: usize, next: impl Fn(Work) -> Work) {
        if let Some(claim) = &mut self.hosts[place].claim {
            claim.work = next(claim.work);
        }
    }

    /// Who waits for the request's answer has it.
    fn hears(&mut self, request: Request, outcome: Outcome) {
        for claim in self.hosts.iter_mut().filter_map(|host| host.claim.as_mut()) {
            if claim.work == Work::Waits && request.lease == Some(claim.lease) {
                claim.work = Work::Knows(outcome);
            }
        }
    }

    /// The host at that place waits for no answer any more.
    fn nobody_waits(&mut self, place: usize) {
        let lease = self.hosts[place].claim.map(|claim| claim.lease);
        for request in self.requests.iter_mut().filter(|request| request.lease == lease) {
            request.lease = None;
        }
    }

    /// Its request, if there is one, is on its way all the same.
    fn kill(&mut self, place: usize) {
        if self.hosts[place].claim.is_some() {
            self.nobody_waits(place);
        }
        self.hosts[place] = Host { is_up: false, saw_the_beginning: false, claim: None };
    }

    fn remove(&mut self) {
        self.event = self.row.take().map(|row| Event::Removed(row.step.state));
        // A host knows from when on rows may have been removed, and takes an older incident for one that it did not see begin.
        for host in &mut self.hosts {
            host.saw_the_beginning = false;
        }
    }
}

/// The world in which an incident was just accepted.
pub(super) fn beginning(making: &Making) -> World {
    let host = Host { is_up: true, saw_the_beginning: true, claim: None };
    let step = making.machine.accepted(true);
    debug_assert!(step.expires > NOW, "nothing is given up before it was tried");
    World {
        row: Some(Row { step, system: System::A }),
        hosts: vec![host; if making.alone { 1 } else { 2 }],
        requests: Vec::new(),
        tickets: Vec::new(),
        main: System::A,
        event: None,
    }
    .canonical()
}
