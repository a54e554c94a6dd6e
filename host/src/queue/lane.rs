//! How many calls of one backend are under way, and who may begin another: the runner that claims what waits, or, where
//! nothing waits, whoever brings the next incident.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::lock::lock;

/// A backend's places for calls.
#[derive(Debug, Default)]
pub(super) struct Lane {
    state: Mutex<State>,
    /// Is told when a call has ended whose place somebody may wait for.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    calls: usize,
    /// Calls that have ended, and whose ends are not recorded yet.
    records: usize,
    /// Whether the call is under way that finds out how a held backend is.
    probes: bool,
    /// Whether a search for many tickets is under way.
    searches: bool,
    /// Whether rows may be waiting that the runner has not seen.
    waits: bool,
}

impl Default for State {
    fn default() -> State {
        State { calls: 0, records: 0, probes: false, searches: false, waits: true }
    }
}

/// What a call is for, beside its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Plain,
    /// It finds out how a held backend is.
    Probe,
}

/// What is under way in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy {
    pub calls: usize,
    pub probes: bool,
    pub searches: bool,
}

impl Lane {
    pub(super) fn busy(&self) -> Busy {
        let State { calls, probes, searches, .. } = *lock(&self.state);
        Busy { calls, probes, searches }
    }

    /// There may be something new to claim.
    pub(super) fn note_waiting(&self) {
        lock(&self.state).waits = true;
    }

    /// Whether there may be something to claim. Who asks looks.
    pub(super) fn take_waiting(&self) -> bool {
        std::mem::take(&mut lock(&self.state).waits)
    }

    /// A call begins.
    pub(super) fn begin(self: &Arc<Lane>, purpose: Purpose) -> Place {
        let mut state = lock(&self.state);
        state.calls += 1;
        state.probes |= purpose == Purpose::Probe;
        Place { lane: Arc::clone(self), purpose, searches: false }
    }

    /// A search for many tickets begins.
    pub(super) fn begin_search(self: &Arc<Lane>, purpose: Purpose) -> Place {
        let mut place = self.begin(purpose);
        place.searches = true;
        lock(&self.state).searches = true;
        place
    }

    /// A call begins, if `most` are not under way and nothing waits for its turn.
    pub(super) fn begin_at_once(self: &Arc<Lane>, most: usize) -> Option<Place> {
        let mut state = lock(&self.state);
        let may = state.calls < most && !state.waits;
        may.then(|| {
            state.calls += 1;
            Place { lane: Arc::clone(self), purpose: Purpose::Plain, searches: false }
        })
    }

    /// Waits until a call has ended. Only one may wait.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Waits until no call is under way, nor its record. Only one may wait, and not for [`Lane::ended`] at the same time.
    pub(super) async fn empty(&self) {
        while !lock(&self.state).is_empty() {
            self.ended.notified().await;
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.calls + self.records == 0
    }
}

/// A call's place in its lane, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    lane: Arc<Lane>,
    purpose: Purpose,
    searches: bool,
}

impl Place {
    /// The call has ended: another may begin, while this one's end is recorded.
    pub(super) fn free(self) -> Record {
        lock(&self.lane.state).records += 1;
        Record { lane: Arc::clone(&self.lane) }
    }
}

/// The record of a call that has ended, until it is dropped.
#[derive(Debug)]
pub(super) struct Record {
    lane: Arc<Lane>,
}

impl Drop for Record {
    fn drop(&mut self) {
        let mut state = lock(&self.lane.state);
        state.records -= 1;
        if state.is_empty() {
            self.lane.ended.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.lane.state);
        state.calls -= 1;
        state.probes &= self.purpose != Purpose::Probe;
        state.searches &= !self.searches;
        // What a search found none of waits now, and what it had no room for.
        state.waits |= self.searches;
        if state.waits || state.is_empty() {
            self.lane.ended.notify_one();
        }
    }
}
