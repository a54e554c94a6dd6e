//! How many calls of one backend are under way, and who may begin another: the runner that claims what waits, or, where
//! nothing waits, whoever brings the next incident.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::agree::Turn;
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
    /// How many of the calls do something to tickets that were made, and whether more of these wait than had a place.
    updates: usize,
    more_updates: bool,
    /// How often it was said that rows may be waiting, and up to which time of these the runner has looked.
    noted: u64,
    seen: u64,
    /// Whether another host has said that rows may be waiting.
    heard: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            calls: 0,
            records: 0,
            probes: false,
            searches: false,
            updates: 0,
            more_updates: false,
            noted: 1,
            seen: 0,
            heard: false,
        }
    }
}

/// What a call is for, beside its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Plain,
    /// It finds out how a held backend is, in turn with the other hosts that hold it for the same cause, if there are such.
    Probe(Option<Turn>),
}

impl Purpose {
    fn is_probe(self) -> bool {
        self != Purpose::Plain
    }
}

/// What is under way in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy {
    pub calls: usize,
    pub probes: bool,
    pub searches: bool,
    pub updates: usize,
}

impl Lane {
    pub(super) fn busy(&self) -> Busy {
        let State { calls, probes, searches, updates, .. } = *lock(&self.state);
        Busy { calls, probes, searches, updates }
    }

    /// There may be something new to claim.
    pub(super) fn note_waiting(&self) {
        lock(&self.state).noted += 1;
    }

    /// Another host has said that there may be something to claim. It may claim that itself: nobody here has to wait for his turn for that.
    pub(super) fn note_heard(&self) {
        lock(&self.state).heard = true;
    }

    /// Whether another host has said so since this was last asked.
    pub(super) fn has_heard(&self) -> bool {
        std::mem::take(&mut lock(&self.state).heard)
    }

    /// As [`Lane::look`], where it isn't known that anything waits: nobody has to wait for his turn meanwhile.
    pub(super) fn peek(&self) -> Look {
        Look(lock(&self.state).noted)
    }

    /// Whether there may be something to claim.
    pub(super) fn waits(&self) -> bool {
        lock(&self.state).waits()
    }

    /// Notes whether more updates wait than had a place.
    pub(super) fn note_updates(&self, more: bool) {
        lock(&self.state).more_updates = more;
    }

    /// Whether more updates wait than had a place when it was last looked.
    pub(super) fn has_more_updates(&self) -> bool {
        lock(&self.state).more_updates
    }

    /// Somebody looks whether something waits: until he has looked, everybody has to wait for his turn.
    pub(super) fn look(&self) -> Look {
        let mut state = lock(&self.state);
        if !state.waits() {
            state.noted += 1;
        }
        Look(state.noted)
    }

    /// Nothing waits any more of what was noted before that look.
    pub(super) fn saw_all(&self, look: Look) {
        let mut state = lock(&self.state);
        state.seen = state.seen.max(look.0);
    }

    /// A call begins.
    pub(super) fn begin(self: &Arc<Lane>, purpose: Purpose) -> Place {
        let mut state = lock(&self.state);
        state.calls += 1;
        state.probes |= purpose.is_probe();
        Place { lane: Arc::clone(self), purpose, searches: false, updates: false }
    }

    /// A search for many tickets begins.
    pub(super) fn begin_search(self: &Arc<Lane>, purpose: Purpose) -> Place {
        let mut place = self.begin(purpose);
        place.searches = true;
        lock(&self.state).searches = true;
        place
    }

    /// Something begins to be done to a ticket that was made.
    pub(super) fn begin_update(self: &Arc<Lane>, purpose: Purpose) -> Place {
        let mut place = self.begin(purpose);
        place.updates = true;
        lock(&self.state).updates += 1;
        place
    }

    /// A call begins, if `most` are not under way and nothing waits for its turn.
    pub(super) fn begin_at_once(self: &Arc<Lane>, most: usize) -> Option<Place> {
        let mut state = lock(&self.state);
        let may = state.calls < most && !state.waits();
        may.then(|| {
            state.calls += 1;
            Place {
                lane: Arc::clone(self),
                purpose: Purpose::Plain,
                searches: false,
                updates: false,
            }
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

/// When somebody began to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look(u64);

impl State {
    fn waits(&self) -> bool {
        self.noted != self.seen
    }

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
    updates: bool,
}

impl Place {
    /// The turn of this host that the call is, if it is one.
    pub(super) fn turn(&self) -> Option<Turn> {
        match self.purpose {
            Purpose::Probe(turn) => turn,
            Purpose::Plain => None,
        }
    }

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
        state.probes &= !self.purpose.is_probe();
        state.searches &= !self.searches;
        state.updates -= usize::from(self.updates);
        // What a search found none of waits now, and what it had no room for.
        state.noted += u64::from(self.searches);
        if state.waits() || state.more_updates || state.is_empty() {
            self.lane.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A lane of which the runner has seen that nothing waits.
    fn quiet() -> Arc<Lane> {
        let lane = Arc::<Lane>::default();
        assert!(lane.waits(), "at first nobody knows what waits");
        lane.saw_all(lane.look());
        lane
    }

    async fn ends_soon(waiting: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok()
    }

    #[test]
    fn nobody_waits_for_his_turn_while_it_is_looked_for_what_another_host_has_left() {
        let lane = Arc::new(Lane::default());
        lane.saw_all(lane.look());
        lane.note_heard();
        assert!(lane.has_heard() && !lane.has_heard(), "it is heard once");
        let look = lane.peek();
        assert!(lane.begin_at_once(1).is_some());
        lane.note_waiting();
        lane.saw_all(look);
        assert!(lane.waits(), "that came after the look");
    }

    #[test]
    fn who_comes_begins_at_once_only_where_there_is_room_and_nothing_waits() {
        assert!(Arc::<Lane>::default().begin_at_once(9).is_none(), "rows may be waiting");
        let lane = quiet();
        let first = lane.begin_at_once(2);
        let second = lane.begin_at_once(2);
        assert!(first.is_some() && second.is_some());
        assert!(lane.begin_at_once(2).is_none(), "there is no room");
        drop(first);
        assert!(lane.begin_at_once(2).is_some());
        lane.note_waiting();
        assert!(lane.begin_at_once(2).is_none(), "another one's turn comes first");
        lane.saw_all(lane.look());
        assert!(!lane.waits());
        let look = lane.look();
        assert!(lane.begin_at_once(9).is_none(), "the runner is looking");
        lane.note_waiting();
        lane.saw_all(look);
        assert!(lane.waits(), "that came after the look");
        drop(second);
    }

    #[test]
    fn a_call_leaves_the_lane_as_it_was() {
        let lane = quiet();
        let idle = lane.busy();
        let probe = lane.begin(Purpose::Probe(None));
        assert_eq!(lane.busy(), Busy { calls: 1, probes: true, searches: false, updates: 0 });
        let plain = lane.begin(Purpose::Plain);
        drop(plain);
        assert_eq!(lane.busy(), Busy { calls: 1, probes: true, searches: false, updates: 0 });
        drop(probe.free());
        assert_eq!(lane.busy(), idle);
        let search = lane.begin_search(Purpose::Plain);
        assert_eq!(lane.busy(), Busy { calls: 1, probes: false, searches: true, updates: 0 });
        drop(search);
        assert_eq!(lane.busy(), idle);
        assert!(lane.waits(), "what a search found none of is to be made now");
    }

    #[tokio::test]
    async fn a_lane_is_empty_when_the_last_call_has_ended_and_is_recorded() {
        let lane = quiet();
        assert!(ends_soon(lane.empty()).await);
        let record = lane.begin(Purpose::Plain).free();
        assert_eq!(lane.busy().calls, 0, "another call may begin");
        let still = tokio::time::timeout(Duration::from_millis(20), lane.empty()).await;
        assert!(still.is_err(), "it is not recorded yet");
        let waits = tokio::spawn({
            let lane = Arc::clone(&lane);
            async move { lane.empty().await }
        });
        drop(record);
        assert!(ends_soon(async { waits.await.unwrap() }).await);
    }
}
