//! Walks through everything that can happen to an incident between two hosts, and finds no second ticket and none forgotten.
//!
//! The rows' transitions are the real ones ([`super::Step`]); the hosts, the ticket systems and the people around them are
//! modelled. A host can be killed between any two of its steps and come back, and it can stop for any time between them, as a
//! process does that is stopped or a virtual machine that is suspended. A creation that was sent may be carried out or not,
//! its answer may arrive or not, and what a search sees lags behind. Time passes for the store alone: no decision compares
//! two machines' clocks any more, so clocks that differ can't be modelled, and needn't be. There is no bound on time, tries,
//! kills, retries or changes of the backend: worlds that nothing can tell apart are one ([`world::World`]).
//!
//! What must be true so that there are never two tickets is in [`Assumption`]: without any one of them there can be two, which
//! a test shows. Four more are in the model's shape: a transition is done as a whole or not at all, and is on disk when it was
//! done; an incident has one row; a ticket that the host's plugin can't see was not made by somebody else; and a worker ends
//! with its host, so that what is sent after a kill was on its way before it.

mod action;
mod mutation;
mod world;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::State;
use crate::config::LookFirst;
use crate::lock::lock;
use action::{Action, beginning};
use mutation::{Machine, Mutation};
use world::{Event, Outcome, Work, World};

/// What the model takes for granted, and what the host, its plugins and its operator must see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assumption {
    /// A creation leaves its host before the lease of its claim ends, by the store's time, however long the host was stopped
    /// between two of its steps. Each call's deadline, which ends long before the lease, sees to that, unless a whole machine
    /// is suspended: then that deadline's clock stands still, and where several hosts share a store, the lease must be looked
    /// at last before a request goes out. A host that is alone may be late, until it takes the lease for over itself.
    SentInTime,
    /// A creation that left is carried out within a bounded time, or never. That time and the next assumption's together are
    /// no more than the settling time.
    CarriedOutInTime,
    /// A search sees a ticket within a bounded time after it was made.
    ListedInTime,
    /// A search says "none" only if it can see none.
    SearchesAreTrue,
    /// A refusal that a plugin calls certain ("later" after 429, "never" after 400) was not carried out.
    RefusalsAreTrue,
    /// Who retries what only a person can look for has looked, and found none.
    PersonHasLooked,
    /// A backup is put back at the earliest a settling time after the last request left a host.
    RestoredLate,
    /// A host notices that the store is not the one that it knew: it is stopped while a backup is put back, so that it saw no
    /// older incident begin, and holds no claim.
    HostsKnowOfRestore,
    /// A slot's backend doesn't change between a backup and the restored store's first look for what that backup had waiting.
    RestoredWhereItWas,
    /// Where a plugin can't search, no backup is put back: what it says to be waiting may have been made since.
    RestoredWithSearch,
}

const DOUBLE: &str = "there are never two tickets";
const FORGOTTEN: &str = "nothing that was accepted is forgotten";

/// The making of one ticket, and what can happen in it.
#[derive(Debug, Clone, Default)]
struct Making {
    /// Whether there is one host, which knows that it is the only one.
    alone: bool,
    /// Whether the plugin can search.
    finds: bool,
    look_first: LookFirst,
    /// Whether the main slot's backend changes.
    moves: bool,
    /// Whether the store forgets: a backup is put back, or what ended long ago is removed.
    restores: bool,
    machine: Machine,
    without: Option<Assumption>,
    /// The one property that is looked at, or all.
    only: Option<&'static str>,
    /// Worlds that are known to come to a good end.
    ending_well: Arc<Mutex<HashSet<World>>>,
}

impl Making {
    fn is_without(&self, assumption: Assumption) -> bool {
        self.without == Some(assumption)
    }

    /// In how many ticks a creation is carried out at the latest.
    fn carried_out_in(&self) -> u8 {
        if self.is_without(Assumption::CarriedOutInTime) { 3 } else { 2 }
    }

    /// In how many ticks a search sees a ticket.
    fn listed_in(&self) -> u8 {
        if self.is_without(Assumption::ListedInTime) { 2 } else { 1 }
    }

    /// Whether the row comes to its end if from now on nobody kills or changes anything, and the ticket system works.
    fn ends_well(&self, world: &World) -> bool {
        if world.event == Some(Event::Removed(State::Failed)) {
            return false;
        }
        let mut passed = vec![World { event: None, ..world.clone() }];
        while passed.len() < 100 {
            let world = &passed[passed.len() - 1];
            if lock(&self.ending_well).contains(world) || has_ended_well(world) {
                lock(&self.ending_well).extend(passed);
                return true;
            }
            let next = self.after(world, self.calmly(world));
            passed.push(World { event: None, ..next });
        }
        false
    }

    /// What happens next where all works and nobody interferes: time passes only when there is nothing to do.
    fn calmly(&self, world: &World) -> Action {
        let Some(row) = &world.row else {
            return Action::Accepts { reopens: false, certain: false };
        };
        if let Some(place) = world.hosts.iter().position(|host| !host.is_up) {
            return Action::Starts(place);
        }
        let mut actions = Vec::new();
        self.possible(world, &mut actions);
        let goes_on = |action: &Action| match action {
            Action::Finds(_)
            | Action::FindsNone(_)
            | Action::CannotFind(_)
            | Action::Sends(_)
            | Action::Makes(_)
            | Action::Settles(_)
            | Action::Claims(_) => true,
            Action::KnowsNothing(_) => world.requests.is_empty(),
            // Its lease ended before it sent anything.
            Action::GetsNowhere(place, Outcome::Again) => world.hosts[*place]
                .claim
                .is_some_and(|claim| claim.work == Work::Begins && claim.lasts == 0),
            Action::TimeComes => row.step.due.is_some_and(|due| due == world::NOW),
            _ => false,
        };
        actions.into_iter().find(goes_on).unwrap_or(Action::Tick)
    }
}

/// Whether there is the ticket, or a person sees why there is none.
fn has_ended_well(world: &World) -> bool {
    world.row.as_ref().is_some_and(|row| match row.step.state {
        State::Created => world.tickets.iter().any(|ticket| ticket.system == row.system),
        state => state.is_final(),
    })
}

impl Model for Making {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![beginning(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.possible(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let next = self.after(world, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Making>> {
        let mut properties = vec![
            Property::always(DOUBLE, |_, world: &World| world.tickets.len() < 2),
            Property::always(FORGOTTEN, |making: &Making, world| making.ends_well(world)),
        ];
        properties.extend(self.reached());
        properties.retain(|property| self.only.is_none_or(|only| property.name == only));
        properties
    }
}

impl Making {
    /// What the model is known to reach, so that it says something about it.
    fn reached(&self) -> Vec<Property<Making>> {
        macro_rules! happens {
            ($name:literal, $event:pat) => {
                Property::<Making>::sometimes($name, |_, world| matches!(world.event, Some($event)))
            };
        }
        macro_rules! ends {
            ($name:literal, $state:pat) => {
                Property::<Making>::sometimes($name, |_, world| {
                    world.row.as_ref().is_some_and(|row| matches!(row.step.state, $state))
                })
            };
        }
        let mut properties = vec![
            ends!("created", State::Created),
            ends!("failed", State::Failed),
            ends!("cancelled", State::Cancelled),
            ends!("suppressed", State::Suppressed),
            happens!("a lease ends", Event::LeaseEnded),
            happens!("it is given up", Event::GivenUp),
            happens!("what was suppressed comes in again", Event::Returned),
        ];
        if !self.alone {
            properties.push(happens!("a host comes too late", Event::CameTooLate));
        }
        if self.finds {
            properties.push(happens!("a lost answer is found later", Event::FoundLater));
            properties.push(happens!("none is found in doubt", Event::FoundNone));
        } else {
            properties.push(happens!("a person has looked", Event::Looked));
        }
        if self.moves {
            properties.push(happens!("it moves", Event::Moved));
            properties.push(happens!("it stays, since it may have a ticket", Event::Stayed));
        }
        if self.restores {
            properties
                .push(happens!("a ticket is found that the backup forgot", Event::FoundFirst));
            properties
                .push(happens!("what was created is removed", Event::Removed(State::Created)));
        }
        properties
    }

    /// Walks through all worlds.
    fn check(self, name: &str) {
        let began = Instant::now();
        let checker = self.checker().spawn_bfs().join();
        println!(
            "model: {name}: {} worlds, depth {}, {:.1} s",
            checker.unique_state_count(),
            checker.max_depth(),
            began.elapsed().as_secs_f64()
        );
        checker.assert_properties();
    }

    /// The shortest way to a world that doesn't have the property.
    fn broken(mut self, property: &'static str) -> Option<Vec<Action>> {
        self.only = Some(property);
        let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        let checker = self.checker().finish_when(found).spawn_bfs().join();
        checker.discovery(property).map(|path| path.into_actions())
    }
}

/// Two hosts, a plugin that can search.
fn two_hosts() -> Making {
    Making { finds: true, look_first: LookFirst::WhenInDoubt, ..Making::default() }
}

#[test]
fn two_hosts_whose_backend_changes_make_one_ticket() {
    Making { moves: true, ..two_hosts() }.check("two hosts, the backend changes");
}

#[test]
fn two_hosts_that_look_first_make_one_ticket() {
    let making = Making { moves: true, look_first: LookFirst::Always, ..two_hosts() };
    making.check("two hosts that always look first, the backend changes");
}

#[test]
fn two_hosts_whose_store_is_restored_make_one_ticket() {
    Making { restores: true, ..two_hosts() }.check("two hosts, a backup is put back");
}

#[test]
fn two_hosts_whose_plugin_cannot_search_make_one_ticket() {
    let making = Making { finds: false, moves: true, ..two_hosts() };
    making.check("two hosts, the plugin can't search, the backend changes");
}

#[test]
fn a_host_that_is_alone_makes_one_ticket() {
    Making { alone: true, moves: true, ..two_hosts() }.check("one host, the backend changes");
    Making { alone: true, restores: true, ..two_hosts() }.check("one host, a backup is put back");
}

/// The worlds in which a mistake can show.
fn all_kinds() -> [Making; 4] {
    [
        Making { moves: true, ..two_hosts() },
        Making { finds: false, moves: true, ..two_hosts() },
        Making { restores: true, ..two_hosts() },
        Making { alone: true, ..two_hosts() },
    ]
}

#[track_caller]
fn is_caught(what: &str, property: &'static str, kinds: &[Making]) {
    let way = kinds.iter().find_map(|making| making.clone().broken(property));
    let way = way.unwrap_or_else(|| panic!("{what}: still {property}"));
    println!("model: {what}: not so that {property}, in {} actions: {way:?}", way.len());
}

#[test]
fn each_mistake_that_can_make_a_second_ticket_is_found() {
    for mistake in Mutation::DOUBLES {
        let kinds = all_kinds()
            .map(|making| Making { machine: Machine { mistake: Some(mistake) }, ..making });
        is_caught(&format!("{mistake:?}"), DOUBLE, &kinds);
    }
}

#[test]
fn each_mistake_that_can_forget_an_incident_is_found() {
    for mistake in Mutation::FORGETS {
        let kinds = all_kinds()
            .map(|making| Making { machine: Machine { mistake: Some(mistake) }, ..making });
        is_caught(&format!("{mistake:?}"), FORGOTTEN, &kinds);
    }
}

#[test]
fn without_any_one_of_the_assumptions_there_can_be_two_tickets() {
    let plain = Making { moves: true, ..two_hosts() };
    let restored = Making { restores: true, ..two_hosts() };
    for (assumption, making) in [
        (Assumption::SentInTime, plain.clone()),
        (Assumption::CarriedOutInTime, plain.clone()),
        (Assumption::ListedInTime, plain.clone()),
        (Assumption::SearchesAreTrue, plain.clone()),
        (Assumption::RefusalsAreTrue, plain.clone()),
        (Assumption::PersonHasLooked, Making { finds: false, ..plain }),
        (Assumption::RestoredLate, restored.clone()),
        (Assumption::HostsKnowOfRestore, restored.clone()),
        (Assumption::RestoredWhereItWas, Making { moves: true, ..restored.clone() }),
        (Assumption::RestoredWithSearch, Making { finds: false, ..restored }),
    ] {
        let making = Making { without: Some(assumption), ..making };
        is_caught(&format!("without {assumption:?}"), DOUBLE, &[making]);
    }
}
