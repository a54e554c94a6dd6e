//! How many workers there may be at once, of all backends. If there are as many as may be, a new one takes the place of
//! the one that has been idle for the longest time.
//!
//! Invariant: a worker of a backend has a place from before its start until it is dropped.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use super::pool::IdleList;
use crate::lock::lock;

/// The places of this process. There is one of these, as it is this process whose children the workers are; so it
/// stays when the backends are made anew.
pub(super) static PLACES: Places = Places::new(usize::MAX);

/// The places for workers.
#[derive(Debug)]
pub(super) struct Places {
    state: Mutex<State>,
    /// Tells one who waits that a worker ended or is idle.
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// How many there are.
    most: usize,
    taken: usize,
    /// The idle workers of each backend.
    idle: Vec<Weak<IdleList>>,
}

/// A place for one worker. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place(&'static Places);

impl Places {
    const fn new(most: usize) -> Places {
        Places {
            state: Mutex::new(State { most, taken: 0, idle: Vec::new() }),
            freed: Notify::const_new(),
        }
    }

    /// Sets how many there are. Those that are too many then are freed as soon as their workers are idle.
    pub(super) fn bound(&self, most: usize) {
        self.state().most = most;
        self.end_surplus();
        self.freed.notify_waiters();
    }

    fn end_surplus(&self) {
        let too_many = || {
            let state = self.state();
            state.taken > state.most
        };
        while too_many() && self.end_longest_idle() {}
    }

    /// Takes notice of a list of idle workers.
    pub(super) fn watch(&self, list: Weak<IdleList>) {
        let mut state = self.state();
        state.idle.retain(|list| list.strong_count() > 0);
        state.idle.push(list);
    }

    /// Takes a place. Waits for one if all workers are busy.
    pub(super) async fn take(&'static self) -> Place {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on no place is freed unheard.
            freed.as_mut().enable();
            if let Some(place) = self.free() {
                return place;
            }
            if !self.end_longest_idle() {
                freed.await;
            }
        }
    }

    /// To be called when a worker has become idle.
    pub(super) fn is_idle(&self) {
        self.end_surplus();
        self.freed.notify_one();
    }

    fn free(&'static self) -> Option<Place> {
        let mut state = self.state();
        if state.taken >= state.most {
            return None;
        }
        state.taken += 1;
        Some(Place(self))
    }

    /// Ends the worker that has been idle for the longest time. False if none is idle.
    fn end_longest_idle(&self) -> bool {
        let lists: Vec<_> = self.state().idle.iter().filter_map(Weak::upgrade).collect();
        // The first in a list has been idle for longer than the others there: see `Pool::next_idle`.
        let since = |list: &IdleList| lock(list).first().map(|idle| idle.since);
        let longest = lists
            .iter()
            .filter_map(|list| Some((since(list)?, list)))
            .min_by_key(|(since, _)| *since);
        let Some((_, list)) = longest else { return false };
        let mut list = lock(list);
        let ended = if list.is_empty() { None } else { Some(list.remove(0)) };
        // Not while the list is locked, nor while the state is: the worker gives its place back as it is dropped.
        drop(list);
        drop(ended);
        // If somebody else took it meanwhile, another one may be idle.
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().taken -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_waits_for_one() {
        static PLACES: Places = Places::new(2);
        let _first = PLACES.take().await;
        let second = PLACES.take().await;
        let mut third = pin!(PLACES.take());
        let waits = poll_fn(|context| Poll::Ready(third.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        drop(second);
        let _third = third.await;
        assert!(PLACES.free().is_none());
        PLACES.bound(3);
        assert!(PLACES.free().is_some());
    }
}
